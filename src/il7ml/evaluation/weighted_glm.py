"""Small unpenalised generalised linear models, fitted at once for many weightings of the same patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from il7ml.evaluation.outcome import Outcome
from il7ml.family import Family

Floats = NDArray[np.float64]

_ITERATIONS = 30
# Newton's error is squared at each step, so a last step of this size leaves about its square.
_TOLERANCE = 1e-5
_LONGEST_STEP = 3.0


def fit_weighted(
    family: Family, design: Floats, outcome: Outcome, weights: Floats, offset: Floats | float = 0.0
) -> Floats:
    """Fit one model per row of weights by Newton's method.

    Parameters
    ----------
    family : Family
    design : ndarray of shape (n, k)
        Columns, an intercept among them.
    outcome : Outcome
        Its own weight is not used.
    weights : ndarray of shape (b, n)
    offset : ndarray of shape (n,) or float
        Added to the linear predictor; the logarithm of the exposure is added for counts.

    Returns
    -------
    ndarray of shape (b, k)
        Coefficients. Where outcomes are separated they are the large ones of the last iteration.

    Examples
    --------
    >>> import numpy as np
    >>> from il7ml.evaluation.outcome import as_outcome
    >>> from il7ml.family import BINARY
    >>> outcome = as_outcome([1, 0, 0, 0], "binary")
    >>> bool(np.isclose(fit_weighted(BINARY, np.ones((4, 1)), outcome, np.ones((1, 4))), np.log(1 / 3)).all())
    True
    """
    full_offset = (
        offset + np.log(outcome.exposure) if family.kind == "count" else np.broadcast_to(offset, outcome.y.shape)
    )
    start = np.zeros((1, design.shape[1]))
    if len(weights) > 1:
        # Resamples differ little from the sample, so all start from its fit and share the first step's means.
        start = _newton(family, design, outcome.y, weights.mean(axis=0, keepdims=True), full_offset, start)
    return _newton(family, design, outcome.y, weights, full_offset, start)


def _newton(family: Family, design: Floats, y: Floats, weights: Floats, offset: Floats, start: Floats) -> Floats:
    k = design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(-1, k * k)
    total = weights.sum(axis=1)[:, None]
    mean = family.mean(offset + start[0] @ design.T)
    gradient = weights @ ((y - mean)[:, None] * design)
    curvature = weights @ (family.variance(mean)[:, None] * products)
    # With the identity link the first step is exact, however long it is.
    longest = np.inf if family.kind == "continuous" else _LONGEST_STEP
    beta = start + _step(gradient, curvature, total, longest)
    for _ in range(_ITERATIONS):
        mean = family.mean(offset + beta @ design.T)
        step = _step((weights * (y - mean)) @ design, (weights * family.variance(mean)) @ products, total, longest)
        beta += step
        if np.abs(step).max() < _TOLERANCE:
            break
    return beta


def _step(gradient: Floats, curvature: Floats, total: Floats, longest: float) -> Floats:
    """Return Newton's step, at most `longest` in any coefficient so that it cannot overshoot."""
    k = gradient.shape[1]
    # The tiny ridge keeps the equations solvable where a resample separates the outcomes.
    matrix = curvature.reshape(-1, k, k) + (1e-12 * total)[:, :, None] * np.eye(k)
    step = np.linalg.solve(matrix, gradient[:, :, None])[:, :, 0]
    size = np.abs(step).max(axis=1, keepdims=True)
    return np.asarray(step / np.maximum(size / longest, 1.0))
