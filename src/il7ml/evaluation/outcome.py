"""The door of the evaluation: outcomes and predictions are checked here once, then trusted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from il7ml.errors import InputError
from il7ml.family import Kind

Floats = NDArray[np.float64]


class Outcome(NamedTuple):
    """Checked outcome, each array of shape (n,).

    Attributes
    ----------
    y : ndarray
        Outcome; events for counts; 0 where it is unknown.
    weight : ndarray
        Inverse probability that the outcome is observed; 0 where it is unknown.
    exposure : ndarray
        Time at risk; ones except for counts.
    """

    y: Floats
    weight: Floats
    exposure: Floats


def as_outcome(y: ArrayLike, kind: Kind, weight: ArrayLike | None = None, exposure: ArrayLike | None = None) -> Outcome:
    """Check an outcome with its weights.

    Parameters
    ----------
    y : array-like of shape (n,)
        May be NaN where `weight` is 0.
    kind : {'binary', 'count', 'continuous'}
    weight, exposure : array-like of shape (n,), optional

    Raises
    ------
    InputError
        If lengths differ, weights are negative or all 0, a known outcome is missing or not of its kind.

    Examples
    --------
    >>> as_outcome([1, 0, float("nan")], "binary", weight=[1, 1, 0]).y.tolist()
    [1.0, 0.0, 0.0]
    """
    y = np.asarray(y, dtype=float)
    weight = np.ones_like(y) if weight is None else np.asarray(weight, dtype=float)
    exposure = np.ones_like(y) if exposure is None else np.asarray(exposure, dtype=float)
    if y.ndim != 1 or weight.shape != y.shape or exposure.shape != y.shape:
        raise InputError(
            f"outcome: expected y, weight and exposure of one length, got shapes {y.shape}, {weight.shape} and "
            f"{exposure.shape}. Pass one value a patient."
        )
    known = weight > 0
    if not known.any() or not (weight >= 0).all():
        raise InputError("weight: expected non-negative numbers, some above 0. Use 0 where the outcome is unknown.")
    values = y[known]
    if not np.isfinite(values).all():
        raise InputError("outcome: missing where its weight is above 0. Set the weight to 0 or drop the patients.")
    if kind == "binary" and not np.isin(values, (0, 1)).all():
        raise InputError("outcome: expected 0 or 1 for a binary outcome, got other values. Check its kind.")
    if kind == "count" and ((values < 0).any() or not (exposure[known] > 0).all()):
        raise InputError("outcome: expected counts of 0 or more over a positive exposure. Check both.")
    return Outcome(np.where(known, y, 0.0), weight, np.where(known, exposure, 1.0))


def as_repeats(predicted: ArrayLike, n: int, name: str = "predicted") -> Floats:
    """Return out-of-fold predictions as an array of shape (repeats, n); one repeat may come as (n,).

    Raises
    ------
    InputError
        If the number of patients differs from `n` or a prediction is missing.

    Examples
    --------
    >>> as_repeats([0.1, 0.2], 2).shape
    (1, 2)
    """
    values = np.atleast_2d(np.asarray(predicted, dtype=float))
    if values.ndim != 2 or values.shape[1] != n:
        raise InputError(
            f"{name}: expected shape (repeats, {n}) or ({n},), got {np.shape(predicted)}. Pass one value a patient."
        )
    if not np.isfinite(values).all():
        raise InputError(f"{name}: expected finite numbers, got missing or infinite ones. Predict for every patient.")
    return values
