"""What `il7ml check` shows: a cohort in words and tables, or all of its problems."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from il7ml import texts
from il7ml.data.cohort import Cohort
from il7ml.data.description import endpoint_counts, missing_by_arm, outside_eligibility, table_one
from il7ml.data.loading import load_cohort
from il7ml.endpoints.outcome import learning_outcome
from il7ml.errors import InputError

_WIDEST = 60


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
    parts.append(
        _text(_said_once(table_one(cohort)).rename(columns={**labels, "standardised_difference": "difference"}))
    )
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


def _said_once(table: pd.DataFrame) -> pd.DataFrame:
    """Name a variable on the first of its levels' rows only."""
    further = table["variable"].eq(table["variable"].shift()) & table["standardised_difference"].isna()
    return table.assign(variable=table["variable"].mask(further, ""))


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
    """Return a table as aligned text: words to the left, numbers to the right."""
    if table.empty:
        return "none"
    lines = [[str(name) for name in table.columns], *([_cell(value) for value in row] for row in table.to_numpy())]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    right = [pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]
    aligned = [
        [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in aligned)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{round(value, 2) + 0.0:.2f}"  # adding 0 turns -0.00 into 0.00
    text = " ".join(str(value).split())
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."
