"""Linear model for repeated measures with an unstructured covariance, fitted by restricted maximum likelihood (REML).

statsmodels' mixed models have random effects only, hence this fit: all patients at once, missing visits allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from il7ml.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_Indices = tuple[NDArray[np.intp], NDArray[np.intp]]

_ITERATIONS = 500
_GRADIENT = 1e-3  # of the log-likelihood, by a covariance parameter; at the maximum it is 0
_STEP = 1e-4


class RepeatedFit(NamedTuple):
    """A fitted model for repeated measures.

    Attributes
    ----------
    coefficients : ndarray of shape (p,)
    covariance : ndarray of shape (p, p)
        Of the coefficients, with Kenward and Roger's correction for the estimated covariance of the values.
    plain_covariance : ndarray of shape (p, p)
        Without it: the inverse of the coefficients' information.
    residual_covariance : ndarray of shape (v, v)
        Of the values of one patient.
    log_likelihood : float
        Restricted, without its constant.
    uncertainty : ndarray of shape (v, v, v, v)
        Covariance of each two elements of `residual_covariance`, from its observed information.
    loading : ndarray of shape (v, v, p, p)
        How the coefficients' information falls with each element of `residual_covariance`.
    """

    coefficients: Floats
    covariance: Floats
    plain_covariance: Floats
    residual_covariance: Floats
    log_likelihood: float
    uncertainty: Floats
    loading: Floats

    def degrees_of_freedom(self, contrast: Floats) -> float:
        """Return the degrees of freedom for a contrast of the coefficients, shape (p,).

        For a single contrast those of Kenward and Roger are Satterthwaite's.

        References
        ----------
        Fai and Cornelius, J Stat Comput Simul 1996;54:363, doi 10.1080/00949659608811740.
        """
        spread = self.plain_covariance @ contrast
        gradient = self.loading @ spread @ spread
        variance = contrast @ spread
        return float(2 * variance**2 / np.einsum("ab,abcd,cd->", gradient, self.uncertainty, gradient))


class _State(NamedTuple):
    """Everything that follows from one covariance matrix of the values."""

    log_likelihood: float
    gradient: Floats  # by the covariance matrix, (v, v)
    coefficients: Floats
    covariance: Floats
    inverse: Floats  # of each patient's covariance of the visits seen, 0 elsewhere, (n, v, v)
    weighted: Floats  # that times the design, (n, v, p)


class _Data(NamedTuple):
    y: Floats
    design: Floats
    pairs: Bools  # which pairs of visits each pattern of missing values has, (patterns, v, v)
    pattern: NDArray[np.intp]


def fit_unstructured(y: Floats, design: Floats) -> RepeatedFit | None:
    """Fit by REML with the covariance's log-Cholesky factor as parameters.

    Parameters
    ----------
    y : ndarray of shape (n, v)
        Values at v visits; NaN where missing (at random), each patient having at least one.
    design : ndarray of shape (n, v, p)
        Covariates of each patient at each visit.

    Returns
    -------
    RepeatedFit or None
        None where the fit does not converge, or a pair of visits has too few patients for its covariance.

    Raises
    ------
    InputError
        If the coefficients cannot be estimated from the visits seen.

    References
    ----------
    Mallinckrodt et al., Drug Inf J 2008;42:303, doi 10.1177/009286150804200402. Pinheiro and Bates, Stat Comput
    1996;6:289, doi 10.1007/BF00140873 (log-Cholesky parameters). Kenward and Roger, Biometrics 1997;53:983, doi
    10.2307/2533558 (covariance of the coefficients).

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> y = rng.normal(size=(30, 1)) + rng.normal(size=(30, 2))
    >>> fit = fit_unstructured(y, np.broadcast_to(np.eye(2), (30, 2, 2)))
    >>> bool(np.allclose(fit.coefficients, y.mean(axis=0))), bool(np.allclose(fit.residual_covariance, np.cov(y.T)))
    (True, True)
    """
    seen = ~np.isnan(y)
    _require_full_rank(design[seen])
    # Patients seen at two visits must outnumber the visits, or their covariance can become singular.
    if (seen.astype(int).T @ seen).min() < y.shape[1] + 2:
        return None
    patterns, pattern = np.unique(seen, axis=0, return_inverse=True)
    data = _Data(
        y=np.where(seen, y, 0.0),
        design=np.where(seen[:, :, None], design, 0.0),
        pairs=patterns[:, :, None] & patterns[:, None, :],
        pattern=pattern.ravel(),
    )
    base: Floats = np.asarray(np.linalg.cholesky(_starting_covariance(y, design)), dtype=float)
    lower = np.tril_indices(y.shape[1])

    def objective(parameters: Floats) -> tuple[float, Floats]:
        factor = _factor(parameters, lower)
        try:
            state = _evaluate(data, base @ factor @ factor.T @ base.T)
        except np.linalg.LinAlgError:  # a step of the line search too far: the covariance is singular there
            return np.inf, np.zeros_like(parameters)
        return -state.log_likelihood, -_chain(state.gradient, base, factor, lower)

    with np.errstate(over="ignore", invalid="ignore"):
        found = minimize(
            objective,
            np.zeros(lower[0].size),
            jac=True,
            method="BFGS",
            options={"maxiter": _ITERATIONS, "gtol": _GRADIENT / 100},
        )
    # The line search may give up at the limit of precision; the gradient tells whether the maximum was reached.
    value, gradient = objective(found.x)
    if not (np.isfinite(value) and np.abs(gradient).max() < _GRADIENT):
        return None
    information = _derivative(lambda parameters: objective(parameters)[1], found.x)
    if np.linalg.eigvalsh(information).min() <= 0:
        return None
    return _finish(data, base, np.asarray(found.x), information, lower)


def _finish(data: _Data, base: Floats, parameters: Floats, information: Floats, lower: _Indices) -> RepeatedFit:
    """Return the fit with what its inference needs, from the parameters and their observed information."""
    factor = _factor(parameters, lower)
    covariance = base @ factor @ factor.T @ base.T
    by_parameter = _covariance_derivatives(base, factor, lower)
    uncertainty = np.einsum("kab,kl,lcd->abcd", by_parameter, np.linalg.inv(information), by_parameter, optimize=True)
    state = _evaluate(data, covariance)
    loading = np.einsum("nap,nbq->abpq", state.weighted, state.weighted, optimize=True)
    return RepeatedFit(
        coefficients=state.coefficients,
        covariance=_corrected(state, uncertainty, loading),
        plain_covariance=state.covariance,
        residual_covariance=covariance,
        log_likelihood=state.log_likelihood,
        uncertainty=uncertainty,
        loading=loading,
    )


def _corrected(state: _State, uncertainty: Floats, loading: Floats) -> Floats:
    """Return Kenward and Roger's covariance of the coefficients.

    With D the random error of the estimated covariance V, it adds twice the plain covariance around
    E[X' V^-1 D V^-1 D V^-1 X] - E[X' V^-1 D V^-1 X (X' V^-1 X)^-1 X' V^-1 D V^-1 X]; the term of second derivatives
    is 0, for the covariance is linear in its elements.
    """
    between = np.einsum("abcd,nbc->nad", uncertainty, state.inverse, optimize=True)
    quadratic = np.einsum("nap,nad,ndq->pq", state.weighted, between, state.weighted, optimize=True)
    crossed = np.einsum("abcd,cdsq->absq", uncertainty, loading, optimize=True)
    linear = np.einsum("abpr,rs,absq->pq", loading, state.covariance, crossed, optimize=True)
    return np.asarray(state.covariance + 2 * state.covariance @ (quadratic - linear) @ state.covariance)


def _covariance_derivatives(base: Floats, factor: Floats, lower: _Indices) -> Floats:
    """Return the derivatives of the covariance matrix by the log-Cholesky parameters, shape (q, v, v)."""
    derivatives = []
    for row, column in zip(*lower, strict=True):
        step = np.zeros_like(factor)
        step[row, column] = factor[row, row] if row == column else 1.0
        half = base @ step @ factor.T @ base.T
        derivatives.append(half + half.T)
    return np.array(derivatives)


def _factor(parameters: Floats, lower: _Indices) -> Floats:
    """Return the lower triangular matrix whose diagonal's logarithms stand among the parameters."""
    size = int(lower[0].max()) + 1
    factor = np.zeros((size, size))
    factor[lower] = parameters
    np.fill_diagonal(factor, np.exp(np.diag(factor)))
    return factor


def _chain(gradient: Floats, base: Floats, factor: Floats, lower: _Indices) -> Floats:
    """Turn a symmetric derivative by the covariance matrix into one by the log-Cholesky parameters."""
    by_factor = 2 * base.T @ gradient @ base @ factor
    np.fill_diagonal(by_factor, np.diag(by_factor) * np.diag(factor))
    return np.asarray(by_factor[lower])


def _evaluate(data: _Data, covariance: Floats) -> _State:
    """Return the restricted log-likelihood and its derivative by the covariance matrix of the values."""
    identity = np.eye(len(covariance))
    # Missing visits get variance 1 and no covariance: they add nothing to determinant and inverse.
    filled = np.where(data.pairs, covariance, identity * ~data.pairs)
    determinants = np.linalg.slogdet(filled)[1]
    inverse = np.where(data.pairs, np.linalg.inv(filled), 0.0)[data.pattern]
    weighted = inverse @ data.design
    information = np.einsum("nvp,nvq->pq", data.design, weighted)
    coefficient_covariance = np.linalg.inv(information)
    coefficients = coefficient_covariance @ np.einsum("nvp,nv->p", weighted, data.y)
    # Residuals of missing visits are 0, for value and design are 0 there.
    residual = data.y - data.design @ coefficients
    solved = np.einsum("nvw,nw->nv", inverse, residual)
    log_likelihood = -0.5 * (
        determinants[data.pattern].sum() + np.linalg.slogdet(information)[1] + (residual * solved).sum()
    )
    explained = np.einsum("nvp,nwp->vw", weighted @ coefficient_covariance, weighted)
    gradient = -0.5 * (inverse.sum(axis=0) - explained - solved.T @ solved)
    return _State(float(log_likelihood), gradient, coefficients, coefficient_covariance, inverse, weighted)


def _starting_covariance(y: Floats, design: Floats) -> Floats:
    """Return variances by visit around ordinary least squares, with one correlation for all pairs of visits."""
    seen = ~np.isnan(y)
    coefficients = np.linalg.lstsq(design[seen], y[seen], rcond=None)[0]
    residual = np.where(seen, y - design @ coefficients, 0.0)
    deviation = np.sqrt((residual**2).sum(axis=0) / seen.sum(axis=0))
    if not (deviation > 1e-8 * np.abs(y[seen]).max(initial=1e-300)).all():
        raise InputError("value: expected values that vary between patients at every visit. Leave out constant visits.")
    scaled = residual / deviation
    pairs = ~np.eye(y.shape[1], dtype=bool)
    products, counts = scaled.T @ scaled, seen.astype(float).T @ seen
    correlation = float(np.clip(products[pairs].sum() / counts[pairs].sum(), 0.0, 0.95)) if pairs.any() else 0.0
    return np.outer(deviation, deviation) * np.where(pairs, correlation, 1.0)


def _derivative(function: Callable[[Floats], Floats], at: Floats) -> Floats:
    """Return the symmetric matrix of derivatives of a gradient, by central differences."""
    steps = _STEP * np.eye(at.size)
    matrix = np.array([(function(at + step) - function(at - step)) / (2 * _STEP) for step in steps])
    return np.asarray((matrix + matrix.T) / 2)


def _require_full_rank(design: Floats) -> None:
    norms = np.sqrt((design**2).sum(axis=0))
    if (norms == 0).any() or np.linalg.matrix_rank(design / norms) < design.shape[1]:
        raise InputError(
            "visits: a visit has no patients in one of the arms, or covariates say the same. Leave out such visits or "
            "covariates."
        )
