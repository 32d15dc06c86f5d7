"""Leakage audit: when each feature is known, and whether one alone predicts the outcome suspiciously well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.errors import InputError
from il7ml.evaluation.influence import auroc
from il7ml.evaluation.outcome import Outcome, as_outcome
from il7ml.family import Kind

Floats = NDArray[np.float64]

#: No single baseline variable of a critically ill patient is known to rank later outcomes this well.
SUSPICIOUS = 0.95
# With fewer patients of either kind chance alone reaches such an area now and then.
_FEWEST = 5


class _Column(NamedTuple):
    """How well a variable, and whether it is missing, ranks the outcome."""

    auroc: float
    missing_auroc: float
    duplicate: bool


def leakage_audit(
    values: pd.DataFrame,
    known: Mapping[str, str],
    y: ArrayLike,
    kind: Kind,
    *,
    weight: ArrayLike | None = None,
    suspicious: float = SUSPICIOUS,
) -> pd.DataFrame:
    """List when each variable is known and warn of what may give the outcome away.

    Parameters
    ----------
    values : DataFrame of shape (n, k)
        Features, with missing values.
    known : mapping of str to str
        When each variable is known: 'before_randomisation', 'at_randomisation' or 'after_randomisation'.
    y : array-like of shape (n,)
        Outcome; may be NaN where `weight` is 0.
    kind : {'binary', 'count', 'continuous'}
        Counts are ranked as any event against none, continuous outcomes as above the median against the rest.
    weight : array-like of shape (n,), optional
        Inverse probability that the outcome is observed.
    suspicious : float
        Area under the ROC curve above which a single variable is suspicious.

    Returns
    -------
    DataFrame
        A row a variable: variable, known, n (with variable and outcome known), auroc (in the variable's better
        direction, at least 0.5; for categories that of the best single level), missing_auroc (of whether it is
        missing), duplicate (as good as the outcome itself), warning (empty where nothing is suspicious). An area is
        NaN where fewer than 5 patients are of either kind.

    Raises
    ------
    InputError
        If lengths differ or it is not said when a variable is known.

    References
    ----------
    Kaufman et al., ACM Trans Knowl Discov Data 2012;6:15, doi 10.1145/2382577.2382579 (leakage).

    Examples
    --------
    >>> values = pd.DataFrame({"age": [50, 70, 60, 40, 80, 55] * 4, "ward_antibiotic": [0, 1, 1, 0, 0, 1] * 4})
    >>> known = {"age": "before_randomisation", "ward_antibiotic": "at_randomisation"}
    >>> audit = leakage_audit(values, known, [0, 1, 1, 0, 0, 1] * 4, "binary")
    >>> audit["duplicate"].tolist()
    [False, True]
    """
    outcome = as_outcome(y, kind, weight)
    if outcome.y.size != len(values):
        raise InputError(
            f"outcome: expected one value for each of {len(values)} patients, got {outcome.y.size}. Pass one a patient."
        )
    unstated = [name for name in values.columns if name not in known]
    if unstated:
        raise InputError(f"known: it is not said when {', '.join(unstated)} is known. Add it to the variable's entry.")
    observed = outcome.weight > 0
    weights, result = outcome.weight[observed], outcome.y[observed]
    event = {"binary": result == 1, "count": result > 0, "continuous": result > np.median(result)}[kind].astype(float)
    rows = []
    for name in values.columns:
        column = values.loc[observed, name]
        found = _look_at(column, result, event, weights, kind)
        warning = _warning(known[name], found, suspicious)
        rows.append((name, known[name], int(column.notna().sum()), *found, warning))
    return pd.DataFrame(rows, columns=["variable", "known", "n", "auroc", "missing_auroc", "duplicate", "warning"])


def _look_at(column: pd.Series, result: Floats, event: Floats, weight: Floats, kind: Kind) -> _Column:
    missing = column.isna().to_numpy()
    present = column[~missing]
    if pd.api.types.is_numeric_dtype(present) and not pd.api.types.is_bool_dtype(present):
        scores = [present.to_numpy(dtype=float)]
    else:
        scores = [(present == level).to_numpy(dtype=float) for level in present.unique()]
    areas = [_area(score, event[~missing], weight[~missing]) for score in scores]
    return _Column(
        max(areas, default=np.nan),
        _area(missing.astype(float), event, weight),
        _same(present, scores, result[~missing], kind),
    )


def _area(score: Floats, event: Floats, weight: Floats) -> float:
    """Return the area under the ROC curve in the better direction."""
    if min(event.sum(), (1 - event).sum()) < _FEWEST:
        return np.nan
    area = auroc(Outcome(event, weight, np.ones_like(event)), score).value
    return max(area, 1 - area)


def _same(present: pd.Series, scores: list[Floats], result: Floats, kind: Kind) -> bool:
    """Return whether the variable holds the outcome under other names or in another unit."""
    if present.size < 2 or np.ptp(result) == 0:
        return False
    if kind == "continuous":
        varies = len(scores) == 1 and np.ptp(scores[0]) > 0
        return bool(varies and abs(np.corrcoef(scores[0], result)[0, 1]) > 1 - 1e-12)
    # One value for each value of the outcome and the reverse.
    pairs = pd.DataFrame({"value": present.to_numpy(), "outcome": result}).drop_duplicates()
    return bool(pairs["value"].is_unique and pairs["outcome"].is_unique)


def _warning(known: str, found: _Column, suspicious: float) -> str:
    said = []
    if known == "after_randomisation":
        said.append("known only after randomisation, so it cannot be a feature")
    if found.duplicate:
        said.append("holds the same as the outcome")
    elif found.auroc > suspicious:
        said.append(f"alone predicts the outcome with AUROC {found.auroc:.2f} (above {suspicious:g})")
    if found.missing_auroc > suspicious:
        said.append(f"whether it is missing predicts the outcome with AUROC {found.missing_auroc:.2f}")
    return f"{'; '.join(said)}. Check when it was recorded." if said else ""
