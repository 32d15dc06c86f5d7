"""Patients as named numeric columns: the one form in which variables reach designs and models.

A column is a float array in the variable's canonical unit; missing is NaN; a categorical variable is the index of its
level. Kept free of scikit-learn so that a stored model can predict without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.errors import InputError, nearest
from il7ml.schema import Variable

Floats = NDArray[np.float64]
Columns = dict[str, Floats]


class Derived(NamedTuple):
    """A feature computed from baseline variables."""

    variable: Variable
    sources: tuple[str, ...]
    compute: Callable[..., Floats]


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = numerator / denominator
    return np.where(np.isfinite(ratio), ratio, np.nan)


#: Features that are computed, never entered: the ratio is missing where a part is missing or the divisor is 0.
DERIVED: dict[str, Derived] = {
    "neutrophil_lymphocyte_ratio": Derived(
        Variable(
            term="Neutrophil-lymphocyte ratio",
            possible=(0, 10000),
            known="before_randomisation",
            role="inflammation",
            scale="log",
        ),
        ("neutrophil_count", "absolute_lymphocyte_count"),
        _ratio,
    ),
    "cd4_cd8_ratio": Derived(
        Variable(
            term="CD4/CD8 ratio",
            possible=(0, 10000),
            known="before_randomisation",
            role="lymphopenia",
            scale="log",
        ),
        ("cd4_count", "cd8_count"),
        _ratio,
    ),
}


def with_derived(variables: Mapping[str, Variable], exclude: tuple[str, ...] = ()) -> dict[str, Variable]:
    """Return `variables` and the derived features whose sources are all among them."""
    added = {
        name: derived.variable
        for name, derived in DERIVED.items()
        if name not in exclude and all(source in variables for source in derived.sources)
    }
    return {**variables, **added}


def to_columns(frame: pd.DataFrame, variables: Mapping[str, Variable]) -> Columns:
    """Return the columns of `variables` from a frame of baseline values, derived ones computed.

    Parameters
    ----------
    frame : DataFrame of shape (n, k)
        Columns by canonical name, as `Cohort.baseline` has them; order does not matter, further ones are ignored.
    variables : mapping of str to Variable
        What is wanted.

    Returns
    -------
    dict of str to ndarray of shape (n,)

    Raises
    ------
    InputError
        If a column is missing or stands twice, holds text or infinite numbers, a category is not one of the
        variable's levels, or a derived feature lacks its sources.
    """
    columns = {}
    for name in _places(frame, [name for name in variables if name not in DERIVED]):
        series, variable = frame[name], variables[name]
        columns[name] = _codes(series, variable, name) if variable.kind == "categorical" else _numbers(series, name)
    return complete(columns, variables)


def complete(columns: Columns, variables: Mapping[str, Variable]) -> Columns:
    """Add the derived features among `variables` to columns that hold their sources.

    Raises
    ------
    InputError
        If the source of a derived feature is not there.
    """
    for name in variables:
        if name in DERIVED and not all(source in columns for source in DERIVED[name].sources):
            sources = " and ".join(DERIVED[name].sources)
            raise InputError(f"{name!r} is computed from {sources}, which are not both among the variables. Add them.")
    return {
        name: DERIVED[name].compute(*(columns[source] for source in DERIVED[name].sources))
        if name in DERIVED
        else columns[name]
        for name in variables
    }


def take(columns: Columns, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Columns:
    """Return the given rows of every column."""
    return {name: column[rows] for name, column in columns.items()}


def as_frame(X: Any) -> pd.DataFrame:
    """Return `X` as a frame; a bare array's columns are called x0, x1, ...

    Raises
    ------
    InputError
        If it is neither a frame nor an array of numbers of shape (n, k).
    """
    if isinstance(X, pd.DataFrame):
        return X
    try:
        array = np.asarray(X, dtype=float)
    except (TypeError, ValueError):
        raise InputError("X: expected a frame or an array of numbers; other values came. Use a DataFrame.") from None
    if array.ndim != 2:
        raise InputError(f"X: expected a frame or an array of shape (n, k), got {array.ndim} dimension(s). Reshape it.")
    return pd.DataFrame(array, columns=[f"x{k}" for k in range(array.shape[1])])


def infer_variables(frame: pd.DataFrame) -> dict[str, Variable]:
    """Describe a frame's columns by their dtypes, for use without a dictionary.

    Raises
    ------
    InputError
        If a column's name is not text or stands twice, or its dtype says nothing of its meaning.

    Examples
    --------
    >>> import pandas as pd
    >>> infer_variables(pd.DataFrame({"age": [50.0, 61.0], "treated": [True, False]}))["treated"].kind
    'binary'
    """
    if not all(isinstance(name, str) for name in frame.columns):
        raise InputError("X: expected column names that are text; others came. Name them, as in X.rename(columns=str).")
    return {name: _infer(frame.iloc[:, place], name) for name, place in _places(frame, list(frame.columns)).items()}


def _infer(series: pd.Series, name: str) -> Variable:
    if isinstance(series.dtype, pd.CategoricalDtype):
        levels = tuple(str(level) for level in series.cat.categories)
        return Variable(term=name, kind="categorical", levels=levels, known="before_randomisation", role="other")
    if pd.api.types.is_bool_dtype(series.dtype):
        return Variable(term=name, kind="binary", known="before_randomisation", role="other")
    if pd.api.types.is_numeric_dtype(series.dtype):
        return Variable(term=name, possible=(-np.inf, np.inf), known="before_randomisation", role="other")
    raise InputError(
        f"column {name!r}: expected numbers, booleans or a pandas categorical, got {series.dtype}. "
        "Convert it, for example with .astype('category')."
    )


def _places(frame: pd.DataFrame, names: Iterable[str]) -> dict[str, int]:
    """Return where each name stands among the frame's columns."""
    columns = frame.columns.tolist()
    counts, places = Counter(columns), {name: place for place, name in enumerate(columns)}
    for name in names:
        if not counts[name]:
            raise InputError(f"column {name!r} is missing.{nearest(name, map(str, columns))}")
        if counts[name] > 1:
            raise InputError(f"column {name!r} stands {counts[name]} times in the frame. Keep one.")
    return {name: places[name] for name in names}


def _numbers(series: pd.Series, name: str) -> Floats:
    try:
        values = series.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError):
        raise InputError(f"column {name!r}: expected numbers, got {series.dtype}. Convert it first.") from None
    if np.isinf(values).any():
        raise InputError(f"column {name!r}: expected finite or missing values; infinite ones came. Mend them.")
    return values


def _codes(series: pd.Series, variable: Variable, name: str) -> Floats:
    # Levels are text; a pandas categorical may hold numbers. Values are few, patients many.
    numbers, values = pd.factorize(series)
    place = {level: float(code) for code, level in enumerate(variable.levels)}
    codes = np.array([place.get(str(value), -1.0) for value in values] + [np.nan])[numbers]
    if (codes < 0).any():
        raise InputError(f"column {name!r}: expected one of {', '.join(variable.levels)}; other values came.")
    return np.asarray(codes)
