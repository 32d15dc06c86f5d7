"""The door of the evaluation: outcomes and predictions are checked here once, then trusted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from il7ml.errors import InputError
from il7ml.evaluation.checks import as_numbers, check_range
from il7ml.family import Kind, family_of

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
        If lengths differ, weights are negative, not finite or all 0, a known outcome is missing or not of its kind, or
        the kind is not known.

    Examples
    --------
    >>> as_outcome([1, 0, float("nan")], "binary", weight=[1, 1, 0]).y.tolist()
    [1.0, 0.0, 0.0]
    """
    family_of(kind)
    y = as_numbers(y, "outcome")
    weight = np.ones_like(y) if weight is None else as_numbers(weight, "weight")
    exposure = np.ones_like(y) if exposure is None else as_numbers(exposure, "exposure")
    if y.ndim != 1 or weight.shape != y.shape or exposure.shape != y.shape:
        raise InputError(
            f"outcome: expected y, weight and exposure of one length, got shapes {y.shape}, {weight.shape} and "
            f"{exposure.shape}. Pass one value a patient."
        )
    known = weight > 0
    if not known.any() or not ((weight >= 0) & np.isfinite(weight)).all():
        raise InputError("weight: expected finite numbers of 0 or more, some above 0. Use 0 where nothing is known.")
    values = y[known]
    if not np.isfinite(values).all():
        raise InputError("outcome: missing where its weight is above 0. Set the weight to 0 or drop the patients.")
    if kind == "binary" and not np.isin(values, (0, 1)).all():
        raise InputError("outcome: expected 0 or 1 for a binary outcome, got other values. Check its kind.")
    if kind == "count" and ((values < 0).any() or not ((exposure[known] > 0) & np.isfinite(exposure[known])).all()):
        raise InputError("outcome: expected counts of 0 or more over a positive exposure. Check both.")
    return Outcome(np.where(known, y, 0.0), weight, np.where(known, exposure, 1.0))


def as_repeats(predicted: ArrayLike, n: int, name: str = "predicted", kind: Kind | None = None) -> Floats:
    """Return out-of-fold predictions as an array of shape (repeats, n); one repeat may come as (n,).

    Where `kind` is given, they must be what such an outcome's mean can be.

    Raises
    ------
    InputError
        If the number of patients differs from `n`, there is no repeat, a prediction is missing, or not of its kind.

    Examples
    --------
    >>> as_repeats([0.1, 0.2], 2).shape
    (1, 2)
    """
    values = np.atleast_2d(as_numbers(predicted, name))
    if values.ndim != 2 or values.shape[1] != n or not values.size:
        raise InputError(
            f"{name}: expected shape (repeats, {n}) or ({n},), got {np.shape(predicted)}. Pass one value a patient."
        )
    if not np.isfinite(values).all():
        raise InputError(f"{name}: expected finite numbers, got missing or infinite ones. Predict for every patient.")
    if kind is not None:
        check_range(values, kind, name)
    return values
