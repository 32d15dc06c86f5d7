"""A patient's record at the door: names, kinds, units and ranges are checked here; messages repeat no value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.bundle import CardVariable
from il7ml.data.sources import as_text
from il7ml.errors import InputError, nearest
from il7ml.features.columns import DERIVED, Columns
from il7ml.schema import Variable, load_dictionary

Inputs = Mapping[str, CardVariable]
Numbers = float | NDArray[np.float64]

_ALIKE = 0.8  # likeness from which an unknown column is taken for a misspelt variable


class ParsedTable(NamedTuple):
    """A table of patients, checked row by row.

    Attributes
    ----------
    columns : dict of str to ndarray of shape (n,)
        Values of all inputs; NaN where missing or refused.
    problems : list of str
        For each row what is wrong with it; empty for a good row.
    """

    columns: Columns
    problems: list[str]


def check_names(names: Sequence[str], inputs: Inputs) -> tuple[str, ...]:
    """Refuse unknown names and missing required ones.

    Returns
    -------
    tuple of str
        Variables of the dictionary that this model does not use.

    Raises
    ------
    InputError
        Naming the field and the nearest known one.
    """
    unused = []
    for name in names:
        if name in DERIVED:
            raise InputError(f"{name!r} is computed, not entered. Give {' and '.join(DERIVED[name].sources)}.")
        if name in inputs:
            continue
        if name not in load_dictionary():
            raise InputError(f"unknown field {name!r}.{nearest(name, inputs)}")
        unused.append(name)
    _check_required(names, inputs)
    return tuple(unused)


def _check_required(names: Sequence[str], inputs: Inputs) -> None:
    absent = [name for name, entry in inputs.items() if entry.required and name not in names]
    if absent:
        raise InputError(f"required field{'s' * (len(absent) > 1)} missing: {', '.join(absent)}. Give a value.")


def parse_patient(values: Mapping[str, Any], inputs: Inputs) -> tuple[Columns, tuple[str, ...]]:
    """Return one patient's columns of length 1, and the names of variables that the model does not use.

    Raises
    ------
    InputError
        For the first thing that is wrong with the record.
    """
    given = {str(name): value for name, value in values.items() if not is_missing(value)}
    unknown = [str(name) for name in values if str(name) not in inputs and str(name) not in given]
    unused = check_names([*given, *unknown], inputs)
    for name in unused:
        if name in given:  # what cannot be is refused even where it has no influence: the record may be another's
            parse_value(name, given[name], CardVariable(variable=load_dictionary()[name], required=False))
    columns = {
        name: np.array([parse_value(name, given[name], entry) if name in given else math.nan])
        for name, entry in inputs.items()
    }
    return columns, unused


def parse_table(table: pd.DataFrame, inputs: Inputs) -> ParsedTable:
    """Return the columns of a table (one row a patient) and each row's problems.

    Raises
    ------
    InputError
        If the table as a whole is wrong: a doubled column, one that looks like a misspelt variable, or a required one
        that is not there. Tables have columns of their own (arm, site); what resembles no variable is left aside.
    """
    names = [str(name) for name in table.columns]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"column {doubled[0]!r} stands twice in the table. Keep one.")
    for name in names:
        likely = get_close_matches(name, inputs, n=1, cutoff=_ALIKE)
        if likely and name not in inputs and name not in load_dictionary():
            raise InputError(f"column {name!r}: did you mean {likely[0]!r}? Rename it, or drop it from the table.")
    _check_required(names, inputs)
    problems: list[list[str]] = [[] for _ in range(len(table))]
    columns = {}
    for name, entry in inputs.items():
        if name not in names:
            columns[name] = np.full(len(table), np.nan)
            continue
        columns[name] = _parse_column(name, table[name], entry, problems)
    return ParsedTable(columns, ["; ".join(row) for row in problems])


def _parse_column(name: str, series: pd.Series, entry: CardVariable, problems: list[list[str]]) -> NDArray[np.float64]:
    """Return the column as numbers, noting each refused row; only rows not plainly right are looked at singly."""
    values = _fast(series, entry)
    unsure = np.isnan(values)
    if not entry.required:
        unsure &= ~series.isna().to_numpy()
    for row in np.flatnonzero(unsure):
        value = series.iloc[row]
        if is_missing(value):
            if entry.required:
                problems[row].append(f"required field missing: {name}")
            continue
        try:
            values[row] = parse_value(name, value, entry)
        except InputError as error:
            problems[row].append(str(error))
    return values


def _fast(series: pd.Series, entry: CardVariable) -> NDArray[np.float64]:
    """Return the values that are right beyond doubt, NaN elsewhere."""
    variable = entry.variable
    if variable.kind == "categorical":
        text = series.astype("object").map(as_text)
        codes = pd.Index(variable.levels).get_indexer(pd.Index(text)).astype(float)
        return np.asarray(np.where(codes < 0, np.nan, codes))
    if not pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_bool_dtype(series.dtype):
        return np.full(len(series), np.nan)
    values = series.to_numpy(dtype=float, na_value=np.nan).copy()
    if variable.kind == "binary":
        good = (values == 0) | (values == 1)
    else:
        good = _within(values, variable.possible) & (_within(values, variable.plausible) | _seen(values, entry))
    values[~good] = np.nan
    return values


def parse_value(name: str, value: Any, entry: CardVariable) -> float:
    """Return one value as a number in the canonical unit, or refuse it without repeating it.

    Raises
    ------
    InputError
        For text where a number is expected, an unknown category, an impossible value, or one that makes sense in
        another unit only (and that no training patient had).
    """
    variable = entry.variable
    if variable.kind == "categorical":
        if as_text(value) not in variable.levels:
            raise InputError(f"{name}: expected one of {', '.join(variable.levels)}; another value came.")
        return float(variable.levels.index(as_text(value)))
    number = _number(name, value, variable.kind)
    if variable.kind == "binary":
        if number not in (0.0, 1.0):
            raise InputError(f"{name}: expected 0 (no) or 1 (yes); another value came.")
        return number
    if _plain(number, variable):
        return number
    unit = variable.unit or "a pure number"
    other = variable.other_unit(np.array([number]))
    if other is not None and not _seen(number, entry):
        raise InputError(f"{name}: expected {unit}, the value looks like {other}. Did you mean {other}? Convert it.")
    if variable.possible is not None and not _within(number, variable.possible):
        low, high = variable.possible
        raise InputError(f"{name}: impossible value. Expected {low:g} to {high:g} ({unit}).")
    return number


def _plain(number: float, variable: Variable) -> bool:
    """Return whether a number is plausible and possible, as nearly all are: nothing else has to be looked at."""
    ranges = (variable.plausible, variable.possible)
    return all(limits is not None and limits[0] <= number <= limits[1] for limits in ranges)


def _seen(values: Numbers, entry: CardVariable) -> NDArray[np.bool_]:
    """Return which values lie in the training range: what patients had is no mistake of units, however rare."""
    if entry.low is None or entry.high is None:
        return np.zeros(np.shape(values), dtype=bool)
    return _within(values, (entry.low, entry.high))


def _within(values: Numbers, limits: tuple[float, float] | None) -> NDArray[np.bool_]:
    low, high = limits if limits is not None else (-math.inf, math.inf)
    return np.asarray((values >= low) & (values <= high) & np.isfinite(values))


def _number(name: str, value: Any, kind: str) -> float:
    wanted = "0 or 1" if kind == "binary" else "a number"
    if isinstance(value, bool | np.bool_) and kind != "binary":
        raise InputError(f"{name}: expected {wanted}, got true or false.")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name}: expected {wanted}, got {type(value).__name__}.") from None
    if not math.isfinite(number):
        raise InputError(f"{name}: expected {wanted}, got one that is not finite.")
    return number


def is_missing(value: Any) -> bool:
    """Return whether a field counts as not given: None, NaN, NA or empty text."""
    if value is pd.NA or value is pd.NaT:
        return True
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float | np.floating) and math.isnan(value))
