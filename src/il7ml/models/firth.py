"""Firth's penalised likelihood: finite, nearly unbiased coefficients despite few events or separation.

For few predictors named beforehand. The ridge penalty of `glm` keeps coefficients finite under separation too, but
shrinks each of them by an amount chosen from the data; Firth's has nothing to choose and takes no account of how many
columns there are, so with many it fits too closely.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from il7ml.errors import InputError
from il7ml.family import Family
from il7ml.models.relative_effect import constant_shift

Floats = NDArray[np.float64]

_ITERATIONS = 1000
_TOLERANCE = 1e-10
_LARGEST_STEP = 5.0  # in a coefficient, as `logistf` limits it
_HALVINGS = 40
_DEPENDENT = 1e-7  # share of a column that earlier ones leave unexplained; less is rounding


class FirthFit(NamedTuple):
    """A generalised linear model fitted by Firth's penalised likelihood.

    Attributes
    ----------
    intercept : float
        Of the penalised likelihood, which pulls predictions towards one half.
    coefficients : ndarray of shape (q + p,)
        Of the free columns, then of the matrix; 0 for a column that earlier ones determine.
    calibrated_intercept : float
        With it the mean prediction is the event rate, the coefficients being the same (FLIC).
    log_likelihood : float
        Penalised, up to a constant of the data.
    """

    intercept: float
    coefficients: Floats
    calibrated_intercept: float
    log_likelihood: float


def fit_firth(
    family: Family,
    matrix: Floats,
    y: Floats,
    *,
    free: Floats | None = None,
    weight: Floats | None = None,
    exposure: Floats | None = None,
) -> FirthFit:
    """Maximise the likelihood times the square root of the information's determinant (Jeffreys' prior).

    For continuous outcomes that determinant is constant, and the fit is that of least squares. A sample without
    events, or with nothing but events, says nothing about coefficients: they are 0.

    Parameters
    ----------
    family : Family
    matrix : ndarray of shape (n, p)
        Columns of about unit variance.
    y : ndarray of shape (n,)
        Outcome; event counts when `exposure` is given.
    free : ndarray of shape (n, q), optional
        Columns that come first, such as the arm.
    weight, exposure : ndarray of shape (n,), optional
        A weight counts as that many patients.

    Returns
    -------
    FirthFit

    Raises
    ------
    InputError
        If the iterations do not converge.

    References
    ----------
    Firth, Biometrika 1993;80:27, doi 10.1093/biomet/80.1.27. Heinze and Schemper, Stat Med 2002;21:2409,
    doi 10.1002/sim.1047 (separation). Puhr et al., Stat Med 2017;36:2302, doi 10.1002/sim.7273 (FLIC).

    Examples
    --------
    In a fourfold table it adds half a patient to each cell, here to 0 and 4 events among 4:

    >>> import numpy as np
    >>> from il7ml.family import BINARY
    >>> x = np.repeat([0.0, 1.0], 4)
    >>> fit = fit_firth(BINARY, x[:, None], x)
    >>> round(fit.intercept, 6), round(float(np.log(0.5 / 4.5)), 6)
    (-2.197225, -2.197225)
    """
    n = y.size
    weight = np.ones(n) if weight is None else weight
    used = weight > 0
    design = np.hstack([np.ones((n, 1)), np.empty((n, 0)) if free is None else free, matrix])[used]
    y, weight = y[used], weight[used]
    time = np.ones(y.size) if exposure is None else exposure[used]
    # A patient's mean is the exposure times a rate, so rates are averaged over the time at risk.
    total = weight * time
    observed = float((weight * y).sum() / total.sum())
    coefficients = np.zeros(design.shape[1])
    coefficients[0] = family.link(observed)
    if family.kind != "continuous" and (observed == 0 or (family.kind == "binary" and observed == 1)):
        return FirthFit(float(coefficients[0]), coefficients[1:], float(coefficients[0]), 0.0)
    kept = _independent(design)
    coefficients[kept], log_likelihood = _maximise(family, design[:, kept], y, weight, time, coefficients[kept])
    linear = design @ coefficients
    shift = constant_shift(family, linear, observed - float(np.average(family.mean(linear), weights=total)), total)
    intercept = float(coefficients[0])
    return FirthFit(intercept, coefficients[1:], intercept + shift, log_likelihood)


def _maximise(
    family: Family, design: Floats, y: Floats, weight: Floats, time: Floats, start: Floats
) -> tuple[Floats, float]:
    """Return the coefficients by scoring steps on the modified score, with the penalised log-likelihood there."""
    beta = start
    current, step = _state(family, design, y, weight, time, beta)
    for _ in range(_ITERATIONS):
        step = step * min(1.0, _LARGEST_STEP / max(float(np.abs(step).max()), 1e-300))
        for _ in range(_HALVINGS):
            candidate, following = _state(family, design, y, weight, time, beta + step)
            if candidate >= current - 1e-13 * max(1.0, abs(current)):
                break
            step = step / 2
        # A step that had to be halved to nothing ends it too: columns so close to each other allow no more digits.
        if np.abs(step).max() < _TOLERANCE:
            return beta, current
        beta, current, step = beta + step, candidate, following
    raise InputError(
        "Firth's regression: expected the iterations to converge; they did not. Leave out features that say nearly "
        "the same as others, or use the model 'logistic'."
    )


def _state(
    family: Family, design: Floats, y: Floats, weight: Floats, time: Floats, beta: Floats
) -> tuple[float, Floats]:
    """Return penalised log-likelihood and scoring step at `beta`; minus infinity where the information vanishes."""
    rate = family.mean(design @ beta)
    mean = rate * time
    curvature = weight * time * family.variance(rate)
    information = (design * curvature[:, None]).T @ design
    sign, log_determinant = np.linalg.slogdet(information)
    if sign <= 0 or not np.isfinite(log_determinant):
        return -np.inf, np.zeros_like(beta)
    loss = family.loss(y, rate, time) * (0.5 if family.kind == "continuous" else 1.0)
    leverage = curvature * np.einsum("ij,ji->i", design, np.linalg.solve(information, design.T))
    # Half the derivative of the variance function by the linear predictor, as a share of it: what the prior adds.
    slant = {"binary": 0.5 - rate, "count": np.full_like(rate, 0.5), "continuous": np.zeros_like(rate)}[family.kind]
    score = design.T @ (weight * (y - mean) + leverage * slant)
    # With a parameter for nearly every patient the prior bends as much as the likelihood; without its curvature the
    # steps would be twice too long and the iterations swing for ever.
    bend = leverage * family.variance(rate) if family.kind == "binary" else 0.0
    step = np.linalg.solve((design * (curvature + bend)[:, None]).T @ design, score)
    return float(log_determinant / 2 - (weight * loss).sum()), step


def _independent(design: Floats) -> NDArray[np.bool_]:
    """Return which columns are no combination of earlier ones, as two indicators of the same gap are."""
    kept = np.zeros(design.shape[1], dtype=bool)
    basis = np.empty((len(design), 0))
    for number, column in enumerate(design.T):
        rest = column - basis @ (basis.T @ column)
        rest -= basis @ (basis.T @ rest)
        size = np.linalg.norm(rest)
        if size > _DEPENDENT * np.linalg.norm(column) and basis.shape[1] < len(design):
            kept[number] = True
            basis = np.column_stack([basis, rest / size])
    return kept
