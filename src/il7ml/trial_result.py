"""What a trial's own analysis found: plain numbers, tables, figures and words. Holds no patient's data."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from il7ml import texts
from il7ml.config import RunConfig


@dataclass(frozen=True)
class TrialResult:
    """A trial's endpoints, compared between the arms.

    Attributes
    ----------
    config : RunConfig
    study, title : str
        The study's name and title.
    simulated : bool
    control_label, treated_label : str
    n_control, n_treated : int
        Patients analysed, as randomised.
    data_digest : str
        SHA-256 of the cohort and what happened to it.
    table : DataFrame
        ``endpoint, method, scale, estimate, std_error, low, high, p_value, n, events``; a row a result. The standard
        error of a ratio is that of its logarithm.
    headline : DataFrame
        One row an endpoint, in the stated order: endpoint, title, kind, measure (what is compared, such as "risk"),
        unit, harmful (whether more of it is worse), control, treated (what was seen in each arm, such as
        "30/65 (46 %)"), method, scale, estimate, low, high, p_value, p_hierarchical, p_holm, p_benjamini_hochberg,
        n, events. The last P values are adjusted for the number of endpoints; NaN where an endpoint is outside the
        stated order.
    subgroups : DataFrame
        Columns modifier, label, protected (whether randomisation protects the comparison: the modifier is known before
        it), subgroup, then those of `table`, then interaction_p (one P value a modifier and endpoint).
    tables : dict of str to DataFrame
        Further tidy tables by file name.
    figures : dict of str to bytes
        PNG pictures by file name.
    words : tuple of str
        The results in plain sentences.
    run_id : str
        Tracked run; empty where there is none.
    notes : tuple of str
        What a reader should know (rules applied, endpoints that could not be compared, sensitivity).
    """

    config: RunConfig
    study: str
    title: str
    simulated: bool
    control_label: str
    treated_label: str
    n_control: int
    n_treated: int
    data_digest: str
    table: pd.DataFrame
    headline: pd.DataFrame
    subgroups: pd.DataFrame
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, bytes] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    run_id: str = ""

    @property
    def contrast(self) -> str:
        """Which arm is compared with which."""
        return f"{self.treated_label} ({self.n_treated}) against {self.control_label} ({self.n_control})"

    def to_text(self) -> str:
        """Return the endpoints at a glance and the words as text, under the notice where patients are simulated."""
        columns = ["endpoint", "control", "treated", "method", "scale", "estimate", "low", "high", "p_value"]
        shown = self.headline[columns].to_string(index=False, na_rep="", float_format=_short)
        notice = [texts.SIMULATED_DATA] if self.simulated else []
        return "\n".join([*notice, self.title, self.contrast, "", shown, "", *self.words, *self.notes])


def _short(value: float) -> str:
    return f"{value:.3g}"
