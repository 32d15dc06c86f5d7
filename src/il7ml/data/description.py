"""What is in a cohort, as tidy tables: Table 1 by arm, missing data by arm, endpoints."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.data.cohort import Cohort, Observed
from il7ml.schema import Variable, ctcae_grade

Floats = NDArray[np.float64]


def table_one(cohort: Cohort) -> pd.DataFrame:
    """Describe baseline variables by arm, with standardised differences and no P values.

    Returns
    -------
    DataFrame
        ``variable, level, control, treated, standardised_difference``: median [quartiles] for numbers, n (%) for
        yes/no variables and levels.

    References
    ----------
    Austin, Stat Med 2009;28:3083, doi 10.1002/sim.3697; for several levels Yang and Dalton, SAS Global Forum 2012,
    paper 335.
    """
    values = cohort.baseline
    rows = []
    for name, variable in cohort.baseline_variables.items():
        arms = [values.loc[cohort.treatment == arm, name] for arm in (0, 1)]
        difference = standardised_difference(arms[0], arms[1], variable)
        if variable.kind == "categorical":
            for place, level in enumerate(variable.levels):
                cells = [_share(arm.dropna() == level) for arm in arms]
                rows.append((variable.term, level, *cells, difference if place == 0 else np.nan))
        elif variable.kind == "binary":
            rows.append((variable.term, "yes", *(_share(arm.dropna() == 1) for arm in arms), difference))
        else:
            rows.append((variable.label, "", *(_quartiles(arm) for arm in arms), difference))
        if name == "absolute_lymphocyte_count":
            rows += _lymphopenia_grades(*arms)
    return pd.DataFrame(rows, columns=["variable", "level", "control", "treated", "standardised_difference"])


def _lymphopenia_grades(control: pd.Series, treated: pd.Series) -> list[tuple[object, ...]]:
    """Return a row for each CTCAE grade of the count."""
    grades = [arm.dropna().astype(float).map(ctcae_grade) for arm in (control, treated)]
    return [
        ("Lymphocyte count decreased (CTCAE v5)", f"grade {grade}", *(_share(arm == grade) for arm in grades), np.nan)
        for grade in range(5)
    ]


def missing_by_arm(cohort: Cohort) -> pd.DataFrame:
    """Return the number and share of missing values by variable and arm: ``variable, control, treated, share``."""
    values = cohort.values
    rows = []
    for name, variable in cohort.variables.items():
        gaps = values[name].isna().to_numpy()
        if gaps.any():
            control, treated = int(gaps[cohort.treatment == 0].sum()), int(gaps[cohort.treatment == 1].sum())
            rows.append((variable.term, control, treated, float(gaps.mean())))
    return pd.DataFrame(rows, columns=["variable", "control", "treated", "share"])


def endpoint_counts(cohort: Cohort) -> pd.DataFrame:
    """Summarise each endpoint by arm: ``endpoint, kind, title, control, treated``."""
    rows = []
    for name, observed in cohort.outcomes.items():
        arms = [_summary(observed, cohort.treatment == arm) for arm in (0, 1)]
        rows.append((name, observed.spec.kind, observed.spec.title, *arms))
    return pd.DataFrame(rows, columns=["endpoint", "kind", "title", "control", "treated"])


def outside_eligibility(cohort: Cohort) -> dict[str, int]:
    """Return how many patients lie outside each eligibility limit, where any do."""
    values = cohort.baseline
    found = {}
    for name, (low, high) in cohort.study.eligibility.items():
        outside = int(
            (
                (values[name] < (-np.inf if low is None else low)) | (values[name] > (np.inf if high is None else high))
            ).sum()
        )
        if outside:
            found[name] = outside
    return found


def standardised_difference(control: pd.Series, treated: pd.Series, variable: Variable) -> float:
    """Return the standardised difference, treated minus control, in pooled standard deviations.

    For several levels it is the Mahalanobis distance of the shares (Yang and Dalton), which has no sign.

    Examples
    --------
    >>> import pandas as pd
    >>> from il7ml.schema import load_dictionary
    >>> a, b = pd.Series([0.0, 2.0]), pd.Series([2.0, 4.0])
    >>> round(standardised_difference(a, b, load_dictionary()["age"]), 3)
    1.414
    """
    control, treated = control.dropna(), treated.dropna()
    if control.empty or treated.empty:
        return float("nan")
    if variable.kind == "categorical":
        return _level_distance(control, treated, variable.levels)
    first, second = control.astype(float), treated.astype(float)
    if variable.kind == "binary":
        spread = np.sqrt((first.mean() * (1 - first.mean()) + second.mean() * (1 - second.mean())) / 2)
    else:
        spread = np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)
    difference = float(second.mean() - first.mean())
    return difference / float(spread) if spread > 0 else (0.0 if difference == 0 else float("nan"))


def _level_distance(control: pd.Series, treated: pd.Series, levels: tuple[str, ...]) -> float:
    shares = np.array([[float((arm == level).mean()) for level in levels[1:]] for arm in (control, treated)])
    difference = shares[1] - shares[0]
    covariance = sum(np.diag(share) - np.outer(share, share) for share in shares) / 2
    return float(np.sqrt(max(difference @ np.linalg.pinv(covariance) @ difference, 0.0)))


def _share(chosen: pd.Series) -> str:
    n = len(chosen)
    return f"{int(chosen.sum())}/{n} ({100 * chosen.mean():.0f} %)" if n else "-"


def _quartiles(values: pd.Series) -> str:
    known = values.dropna().astype(float)
    if known.empty:
        return "-"
    low, middle, high = known.quantile([0.25, 0.5, 0.75])
    return f"{_short(middle)} [{_short(low)}-{_short(high)}]"


def _short(value: float) -> str:
    """Return three digits, without an exponent for large numbers."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _summary(observed: Observed, rows: NDArray[np.bool_]) -> str:
    value = observed.value[rows]
    known = value[~np.isnan(value)]
    kind = observed.spec.kind
    if kind == "binary":
        return f"{int(known.sum())}/{known.size}"
    if kind == "count" and observed.exposure is not None:
        return f"{int(known.sum())} in {observed.exposure[rows].sum():.4g} ({known.size} patients)"
    if kind == "time_to_event":
        competing = f", {int((known == 2).sum())} competing" if (observed.value == 2).any() else ""
        return f"{int((known == 1).sum())}/{known.size}, {int((known == 0).sum())} censored{competing}"
    return (
        f"{known.mean():.4g} (SD {known.std(ddof=1):.3g}), n = {known.size}" if known.size > 1 else f"n = {known.size}"
    )
