"""What the evaluation's functions take, checked once: each problem is one error that says what to do."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from il7ml.errors import InputError

Floats = NDArray[np.float64]


def as_numbers(values: ArrayLike | None, name: str) -> Floats:
    """Return `values` as an array of floats of whatever shape.

    Raises
    ------
    InputError
        If they are not numbers, or rows have different lengths.
    """
    try:
        if values is None:
            raise TypeError
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected numbers, got something else. Recode it.") from None


def as_vector(values: ArrayLike, n: int | None, name: str) -> Floats:
    """Return finite numbers, one a patient; `n` is their number where it is known.

    Raises
    ------
    InputError
        If they are not of one dimension, not `n`, none, or not finite.

    Examples
    --------
    >>> as_vector([1, 0], 2, "benefit").tolist()
    [1.0, 0.0]
    """
    array = as_numbers(values, name)
    if array.ndim != 1 or array.size != (array.size if n is None else n) or not array.size:
        expected = "one number a patient" if n is None else f"{n} numbers, one a patient"
        raise InputError(f"{name}: expected {expected}, got shape {array.shape}. Align it with the others.")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: expected finite numbers, some are missing or infinite. Leave such patients out.")
    return array


def as_arms(treatment: ArrayLike, n: int) -> NDArray[np.int8]:
    """Return the arm of n patients.

    Raises
    ------
    InputError
        If they are not n times 0 or 1.
    """
    arms = np.asarray(treatment)
    if arms.shape != (n,) or not np.isin(arms, (0, 1)).all():
        raise InputError(f"treatment: expected {n} times 0 (untreated) or 1 (treated), got others. Recode the arms.")
    return arms.astype(np.int8)


def check_level(level: float) -> None:
    """Refuse a confidence level that is none.

    Raises
    ------
    InputError
        If it is not strictly between 0 and 1.
    """
    check_inside(level, 0.0, 1.0, "level", "For 95 % limits give 0.95.")


def check_inside(value: float, low: float, high: float, name: str, remedy: str) -> None:
    """Refuse a number that is not strictly between two others.

    Raises
    ------
    InputError
        If it is not.
    """
    if not isinstance(value, numbers.Real) or not low < value < high:
        bounds = f"above {low:g}" if np.isinf(high) else f"strictly between {low:g} and {high:g}"
        raise InputError(f"{name}: expected a number {bounds}, got {value!r}. {remedy}")


def check_count(value: int, least: int, name: str) -> None:
    """Refuse what is no whole number, or too small a one.

    Raises
    ------
    InputError
        If it is not a whole number of at least `least`.
    """
    if not isinstance(value, numbers.Integral) or value < least:
        raise InputError(f"{name}: expected a whole number of {least} or more, got {value!r}. Set another.")


def check_range(values: Floats, kind: str, name: str) -> None:
    """Refuse predictions that the kind of outcome cannot have: risks outside 0 to 1, negative rates.

    Raises
    ------
    InputError
        If there is one; rounding errors are let pass.
    """
    slack = 1e-9
    if kind == "binary" and ((values < -slack) | (values > 1 + slack)).any():
        raise InputError(f"{name}: expected risks from 0 to 1, got others. Pass probabilities, not linear predictors.")
    if kind == "count" and (values < -slack).any():
        raise InputError(f"{name}: expected rates of 0 or more, got negative ones. Pass rates, not linear predictors.")


def check_together(columns: Sequence[Floats], name: str) -> None:
    """Refuse arrays that cannot be brought to one shape, or hold what is not finite.

    Raises
    ------
    InputError
        If their shapes do not fit together, or a number is missing or infinite.
    """
    if not all(np.isfinite(column).all() for column in columns):
        raise InputError(f"{name}: expected finite numbers, some are missing or infinite. Leave such patients out.")
    try:
        np.broadcast_shapes(*(column.shape for column in columns))
    except ValueError:
        shapes = " and ".join(str(column.shape) for column in columns)
        raise InputError(f"{name}: expected arrays of one length, got shapes {shapes}. Align them.") from None
