"""Who the patients with the smallest and the largest predicted effects are: classification analysis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from il7ml.evaluation.checks import check_count
from il7ml.evaluation.outcome import as_repeats
from il7ml.evaluation.quantile_groups import quantile_groups
from il7ml.evaluation.repeated_splits import median_over_splits, split_level

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_COLUMNS = [
    "variable", "category", "n_first", "n_last", "first", "last",
    "difference", "low", "high", "standardised", "standardised_low", "standardised_high",
]  # fmt: skip


class _Measured(NamedTuple):
    """A number a patient: a variable, or whether it has a category (then `share`)."""

    variable: str
    category: str
    values: Floats
    share: bool


def classification_analysis(
    baseline: pd.DataFrame, effect: ArrayLike, groups: int = 4, level: float = 0.95
) -> pd.DataFrame:
    """Compare baseline variables between the first and the last group along the predicted effect.

    It describes what the model goes by, not what causes a larger effect, and says nothing about whether effects differ
    at all: a model of pure noise has such groups, too.

    Parameters
    ----------
    baseline : DataFrame of shape (n, k)
        Numbers are compared by their mean; booleans, numbers that are only 0 and 1, and categories by their share.
        Missing values are left out.
    effect : array-like of shape (n,) or (repeats, n)
        Out-of-fold predicted effects. Repeats are joined as by `median_over_splits`.
    groups : int
        Groups of about equal size: 4 compares the first with the last quarter.
    level : float
        Confidence level of each interval, not simultaneous.

    Returns
    -------
    DataFrame
        A row a variable, or a category of it: variable, category ('' for numbers), n_first, n_last (patients with a
        value), first, last (means or shares), difference (last minus first) with low, high, and the same three over
        the standard deviation among all patients: standardised, standardised_low, standardised_high. `first` has the
        lowest predicted effects; for a bad outcome that is the largest benefit. Limits: Welch's for means, Newcombe's
        for shares. NaN where all predicted effects are equal, so that there are no groups, and standardised numbers
        also where the variable does not vary.

    Raises
    ------
    InputError
        If lengths differ or there are fewer than two groups.

    References
    ----------
    Chernozhukov, Demirer, Duflo and Fernández-Val, Econometrica 2025;93:1121, doi 10.3982/ECTA19303 (NBER Working
    Paper 24678, 2018). Welch, Biometrika 1947;34:28, doi 10.1093/biomet/34.1-2.28. Newcombe, Stat Med 1998;17:873,
    doi 10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I (method 10).

    Examples
    --------
    >>> baseline = pd.DataFrame({"age": [50.0, 60, 70, 80], "sex": ["f", "m", "f", "f"]})
    >>> table = classification_analysis(baseline, [-0.3, -0.2, -0.1, 0.0], groups=2)
    >>> table[["variable", "category", "first", "last"]].to_numpy().tolist()
    [['age', '', 55.0, 75.0], ['sex', 'f', 0.5, 1.0], ['sex', 'm', 0.5, 0.0]]
    """
    check_count(groups, 2, "groups")
    repeats = as_repeats(effect, len(baseline), "effect")
    measured = list(_measured(baseline))
    within = split_level(level, len(repeats))
    tables = [_compare(measured, quantile_groups(values, groups), within) for values in repeats]
    return median_over_splits(tables, ["variable", "category"])


def _measured(baseline: pd.DataFrame) -> Iterator[_Measured]:
    for name, column in baseline.items():
        known = column.notna().to_numpy()
        if pd.api.types.is_numeric_dtype(column.dtype):
            values = column.to_numpy(dtype=float, na_value=np.nan)
            yield _Measured(str(name), "", values, bool(np.isin(values[known], (0, 1)).all()))
            continue
        is_category = isinstance(column.dtype, pd.CategoricalDtype)
        for category in column.cat.categories if is_category else sorted(column[known].unique()):
            values = np.where(known, (column == category).fillna(False).to_numpy(dtype=float), np.nan)
            yield _Measured(str(name), str(category), values, True)


def _compare(measured: list[_Measured], group: NDArray[np.intp], level: float) -> pd.DataFrame:
    rows = []
    for variable, category, values, share in measured:
        known = ~np.isnan(values)
        first, last = values[known & (group == 0)], values[known & (group == group.max())]
        sizes = first.size, last.size
        if group.max() == 0 or min(sizes) == 0:
            rows.append((variable, category, *sizes, *[np.nan] * 8))
            continue
        means = first.mean(), last.mean()
        low, high = _newcombe(*means, *sizes, level) if share else _welch(first, last, level)
        limits = np.array([means[1] - means[0], low, high])
        spread = values[known].std() or np.nan
        rows.append((variable, category, *sizes, *means, *limits, *(limits / spread)))
    return pd.DataFrame(rows, columns=_COLUMNS)


def _welch(first: Floats, last: Floats, level: float) -> tuple[float, float]:
    if min(first.size, last.size) < 2:
        return np.nan, np.nan
    difference = last.mean() - first.mean()
    variances = np.array([values.var(ddof=1) / values.size for values in (first, last)])
    if variances.sum() == 0:
        return difference, difference
    degrees = variances.sum() ** 2 / (variances**2 / [first.size - 1, last.size - 1]).sum()
    half = stdtrit(degrees, 0.5 + level / 2) * np.sqrt(variances.sum())
    return difference - half, difference + half


def _newcombe(first: float, last: float, n_first: int, n_last: int, level: float) -> tuple[float, float]:
    """Return the hybrid score interval of a difference of shares."""
    z = float(ndtri(0.5 + level / 2))
    share, n = np.array([first, last]), np.array([n_first, n_last])
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    below, above = share - (centre - half), centre + half - share
    difference = last - first
    return difference - np.hypot(below[1], above[0]), difference + np.hypot(above[1], below[0])
