"""Newton's method for ridge-penalised generalised linear models, several at a time, from sums however they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from il7ml.errors import InputError
from il7ml.family import Family

Floats = NDArray[np.float64]

_MOST_STEPS = 60
# Newton's error is squared at each step, so that after a last step of this size it is at the limit of precision.
_SMALLEST_STEP = 1e-7


class Sums(NamedTuple):
    """Of g models with k coefficients: loss, shape (g,), its gradient, (g, k), and its curvature, (g, k, k)."""

    loss: Floats
    gradient: Floats
    hessian: Floats


def sums_of(
    family: Family, design: Floats, y: Floats, weight: Floats, exposure: Floats | None, coefficients: Floats
) -> tuple[float, Floats, Floats]:
    """Return loss, gradient and curvature of one model in these patients.

    Parameters
    ----------
    family : Family
    design : ndarray of shape (n, k)
        An intercept among its columns.
    y, weight : ndarray of shape (n,)
    exposure : ndarray of shape (n,) or None
    coefficients : ndarray of shape (k,)
    """
    mean = family.mean(design @ coefficients)
    expected, spread = mean, weight * family.variance(mean)
    if exposure is not None:
        expected, spread = mean * exposure, spread * exposure
    loss = float(weight @ family.loss(y, mean, exposure))
    return loss, (weight * (expected - y)) @ design, (design.T * spread) @ design


def descend(family: Family, sums_at: Callable[[Floats], Sums], start: Floats, ridge: Floats) -> tuple[Floats, Sums]:
    """Return the coefficients of the smallest penalised loss, shape (g, k), and the sums there.

    A step that overshoots is halved. Gradient and curvature are those of the canonical link, so that for yes or no
    outcomes and counts the loss is the negative log-likelihood; for means half the squared error is what falls.

    Parameters
    ----------
    family : Family
    sums_at : callable
        Returns the sums at coefficients of shape (g, k).
    start : ndarray of shape (g, k)
    ridge : ndarray of shape (g, k)
        Penalty of each coefficient: half of it times the square is added to the loss.

    Raises
    ------
    InputError
        If it does not come to an end.

    References
    ----------
    McCullagh and Nelder, Generalized Linear Models, 1989, doi 10.1201/9780203753736.
    """
    half = 0.5 if family.kind == "continuous" else 1.0
    k = start.shape[1]
    reached, step = start, np.zeros_like(start)
    lowest = np.full(len(start), np.inf)
    for _ in range(_MOST_STEPS):
        current = reached + step
        sums = sums_at(current)
        objective = half * sums.loss + (ridge * current**2).sum(axis=1) / 2
        too_far = objective > lowest + 1e-9 * np.abs(lowest)
        curvature = sums.hessian.copy()
        curvature[:, range(k), range(k)] += ridge
        newton = -np.linalg.solve(curvature, (sums.gradient + ridge * current)[:, :, None])[:, :, 0]
        reached = np.where(too_far[:, None], reached, current)
        step = np.where(too_far[:, None], step / 2, newton)
        lowest = np.where(too_far, lowest, objective)
        if np.abs(step).max() < _SMALLEST_STEP:
            return reached + step, sums
    raise InputError("the regression did not converge. Leave out features that are sums of others, or rare categories.")


def effective_df(hessian: Floats, ridge: Floats) -> float:
    """Return the trace of the hat matrix; the intercept comes first and counts whole.

    Parameters
    ----------
    hessian : ndarray of shape (k, k)
        Curvature of the loss.
    ridge : ndarray of shape (k - 1,)
        Of the coefficients but the intercept.

    References
    ----------
    Gray, JASA 1992;87:942, doi 10.1080/01621459.1992.10476248.
    """
    inner = hessian[1:, 1:] - np.outer(hessian[1:, 0], hessian[0, 1:]) / hessian[0, 0]
    return 1.0 + float(np.trace(np.linalg.solve(inner + np.diag(ridge), inner)))
