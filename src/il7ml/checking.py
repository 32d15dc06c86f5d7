"""What `il7ml check` shows: a cohort in words and tables, or all of its problems."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from il7ml import texts
from il7ml.data.cohort import Cohort
from il7ml.data.description import endpoint_counts, missing_by_arm, outside_eligibility, table_one
from il7ml.data.loading import load_cohort
from il7ml.endpoints.outcome import learning_outcome
from il7ml.errors import InputError


def check(study: str | Path) -> str:
    """Read a study and describe it: flow, Table 1, missing data, endpoints, and what could not be trained on.

    Parameters
    ----------
    study : path
        Study file, or the folder that holds ``study.yaml``.

    Raises
    ------
    InputError
        Listing everything that is wrong.
    """
    return describe(load_cohort(study))


def describe(cohort: Cohort) -> str:
    """Return a cohort's description as text; sums and shares only, no patient."""
    study, flow = cohort.study, cohort.flow
    labels = {
        "control": f"{cohort.control_label} ({flow.control})",
        "treated": f"{cohort.treated_label} ({flow.treated})",
    }
    parts = [texts.SIMULATED] if study.simulated else []
    parts += [
        study.title,
        f"{flow.rows} patients in the table, {flow.other_arms} of other arms, {flow.analysed} analysed",
    ]
    parts += ["", "Table 1 (median [quartiles] or n (%); standardised difference, treated - control)"]
    parts.append(_text(table_one(cohort).rename(columns={**labels, "standardised_difference": "difference"})))
    missing = missing_by_arm(cohort)
    parts += ["", "Missing data (patients)"]
    parts.append(
        _text(missing.assign(share=[f"{100 * share:.1f} %" for share in missing["share"]]).rename(columns=labels))
    )
    parts += ["", "Endpoints", _text(endpoint_counts(cohort).rename(columns=labels))]
    if notes := _notes(cohort):
        parts += ["", "Notes", *(f"- {note}" for note in notes)]
    parts += ["", f"Data digest {cohort.digest}"]
    return "\n".join(parts)


def _notes(cohort: Cohort) -> list[str]:
    later = [name for name in cohort.variables if name not in cohort.baseline_variables]
    notes = [f"known only after randomisation, never a feature: {', '.join(later)}"] if later else []
    for name, count in outside_eligibility(cohort).items():
        notes.append(f"{count} patients lie outside the eligibility limits of {name}")
    for name in cohort.outcomes:
        try:
            learning_outcome(cohort, name)
        except InputError as error:
            notes.append(str(error))
    return notes


def _text(table: pd.DataFrame) -> str:
    if table.empty:
        return "none"
    return table.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.2f}", justify="left")
