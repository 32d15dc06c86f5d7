"""One table from many: results of repeated sample splits are joined by medians, with a P value that stays valid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from il7ml.errors import InputError
from il7ml.evaluation.checks import check_count, check_level

# What a table says that knows nothing: the widest interval and no evidence.
_NOTHING = {"low": -np.inf, "high": np.inf, "p_value": 1.0, "std_error": np.inf}


def split_level(level: float, splits: int) -> float:
    """Return the confidence level that each split's table needs, so that the joined one has `level`.

    Half of the splits can be wrong together, so the median of limits errs at most twice as often as a single one.

    Parameters
    ----------
    level : float
        Confidence level wanted.
    splits : int
        Tables to be joined.

    Examples
    --------
    >>> split_level(0.95, 1), split_level(0.95, 10)
    (0.95, 0.975)
    """
    check_level(level)
    check_count(splits, 1, "splits")
    return level if splits == 1 else (1 + level) / 2


def median_over_splits(tables: Sequence[pd.DataFrame], keys: Sequence[str]) -> pd.DataFrame:
    """Join the tables of repeated sample splits, one a split, by the median of each number.

    Estimates, standard errors and limits are medians over splits; make each table at the level of `split_level`. A
    median of valid P values is not itself one, twice the median is: a column `p_value` is doubled, at most 1.

    A number that is missing in a split, or a row that a split lacks, counts as knowing nothing: it moves the limits
    outwards and P to 1. Limits and P are NaN where that holds in at least half of the splits.

    Parameters
    ----------
    tables : sequence of DataFrame
        All with the same columns. Those named std_error, p_value, or ending in low or high are treated as such; all
        others but `keys` are estimates. Whole numbers, such as group sizes, are rounded to whole ones again.
    keys : sequence of str
        Columns that say which rows belong together; a table has each combination once.

    Returns
    -------
    DataFrame
        The columns of `tables`; rows in the order in which they first appear. A single table comes back unchanged.

    Raises
    ------
    InputError
        If there is no table, columns differ, or keys are missing or repeated.

    References
    ----------
    Chernozhukov, Demirer, Duflo and Fernández-Val, NBER Working Paper 24678, 2018, doi 10.3386/w24678; Econometrica
    2025;93:1121, doi 10.3982/ECTA19303. Rüger, Metrika 1978;25:171 (twice the median).

    Examples
    --------
    >>> splits = [
    ...     pd.DataFrame({"group": [1], "effect": [e], "low": [e - 0.2], "p_value": [p]})
    ...     for e, p in ((0.1, 0.04), (0.3, 0.01), (0.2, 0.02))
    ... ]
    >>> median_over_splits(splits, ["group"]).iloc[0].to_dict()
    {'group': 1.0, 'effect': 0.2, 'low': 0.0, 'p_value': 0.04}
    """
    columns, keys = _check(tables, keys)
    if len(tables) == 1:
        return tables[0].reset_index(drop=True)
    indexed = [table.set_index(keys) for table in tables]
    rows = indexed[0].index
    for table in indexed[1:]:
        rows = rows.append(table.index.difference(rows, sort=False))
    numbers = [column for column in columns if column not in keys]
    joined = {column: _joined(column, [table[column].reindex(rows) for table in indexed]) for column in numbers}
    frame = pd.DataFrame(joined, index=rows)
    for column in numbers:
        if all(pd.api.types.is_integer_dtype(table[column].dtype) for table in tables):
            frame[column] = frame[column].round().astype(int)
    return frame.reset_index()[columns]


def _check(tables: Sequence[pd.DataFrame], keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return columns and keys of tables that can be joined."""
    if not tables:
        raise InputError("tables: expected one a split, got none. Pass the tables of all splits.")
    columns, keys = list(tables[0].columns), list(keys)
    if any(list(table.columns) != columns for table in tables):
        raise InputError("tables: expected the same columns in each split, got different ones. Make all by one call.")
    missing = [key for key in keys if key not in columns]
    if not keys or missing:
        raise InputError(f"keys: expected columns of the tables, such as {columns[0]!r}; got {keys}.")
    if any(table.duplicated(keys).any() for table in tables):
        raise InputError(
            f"keys: expected one row for each combination of {', '.join(keys)}. Add the column that differs."
        )
    return columns, keys


def _joined(column: str, splits: Sequence[pd.Series]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = np.array([split.to_numpy(dtype=float) for split in splits])
    nothing = next((value for name, value in _NOTHING.items() if column == name or column.endswith(f"_{name}")), None)
    if nothing is None:
        known = pd.DataFrame(values)
        return np.asarray(known.median(axis=0), dtype=float)
    missing = np.isnan(values)
    median = np.median(np.where(missing, nothing, values), axis=0)
    if column.endswith("p_value"):
        median = np.minimum(2 * median, 1.0)
    return np.where(2 * missing.sum(axis=0) >= len(splits), np.nan, median)
