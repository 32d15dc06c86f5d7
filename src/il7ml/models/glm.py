"""Ridge-penalised generalised linear models whose penalty is chosen by the corrected Akaike criterion.

With a hundred patients an inner cross-validation chooses the penalty from folds of twenty, mostly noise; the criterion
uses all patients and costs one fit a candidate.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from il7ml.family import Family
from il7ml.models.newton import Sums, descend, effective_df, sums_of

Floats = NDArray[np.float64]

#: Candidate penalties, as a share of the information that one standardised column carries per patient.
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
# The precision of a prior for a coefficient whose standard deviation is half a log odds.
_WEAKEST = 4.0
# A column without penalty has one that is smaller by this factor squared. A thousand shrinks an arm effect by less than
# 1e-4 at the largest penalty and still keeps a separated arm's coefficient finite.
FREE = 1e3


class GlmFit(NamedTuple):
    """A fitted generalised linear model.

    Attributes
    ----------
    intercept : float
    coefficients : ndarray of shape (p,)
    penalty : float
        The candidate chosen.
    criterion : float
        Its corrected Akaike criterion.
    effective_df : float
        Intercept and columns, the penalised ones at their shrunken worth: the trace of the hat matrix.
    """

    intercept: float
    coefficients: Floats
    penalty: float
    criterion: float
    effective_df: float


def fit_glm(
    family: Family,
    matrix: Floats,
    y: Floats,
    *,
    free: Floats | None = None,
    weight: Floats | None = None,
    exposure: Floats | None = None,
    penalties: tuple[float, ...] | None = None,
) -> GlmFit:
    """Fit with each penalty and keep the one with the smallest corrected Akaike criterion.

    A sample without events, or with nothing but events, as resampling can draw it, says nothing about coefficients:
    they are 0.

    Parameters
    ----------
    family : Family
    matrix : ndarray of shape (n, p)
        Standardised design, penalised.
    y : ndarray of shape (n,)
        Outcome; event counts when `exposure` is given.
    free : ndarray of shape (n, q), optional
        Columns that are not penalised, such as the arm. Their coefficients come first.
    weight, exposure : ndarray of shape (n,), optional
    penalties : tuple of float, optional
        Candidates, relative to the information of a standardised column. By default `PENALTIES`; for yes or no outcomes
        and counts those among them of at least 4 in absolute terms, a prior standard deviation of half a log odds (log
        rate) per standard deviation of a column. Below, with a dozen events, fitted risks reach 0 and 1, the effective
        degrees of freedom vanish, and the criterion rewards it.

    Returns
    -------
    GlmFit
        Coefficients of `free`, then of `matrix`.

    References
    ----------
    Hurvich and Tsai, Biometrika 1989;76:297, doi 10.1093/biomet/76.2.297; with the effective degrees of freedom of
    Gray, JASA 1992;87:942, doi 10.1080/01621459.1992.10476248, as Harrell's `pentrace` uses it.

    Examples
    --------
    >>> import numpy as np
    >>> from il7ml.family import CONTINUOUS
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> fit = fit_glm(CONTINUOUS, x, 1 + 2 * x[:, 0], penalties=(1e-9,))
    >>> round(fit.intercept, 6), fit.coefficients.round(6).tolist()
    (1.0, [2.0])
    """
    n = y.size
    free = np.empty((n, 0)) if free is None else free
    weight = np.ones(n) if weight is None else weight
    used = weight > 0
    y, weight = y[used], weight[used]
    exposure = None if exposure is None else exposure[used]
    if penalties is not None and not penalties:
        raise ValueError("penalties must not be empty")
    if _is_degenerate(family, y):
        intercept = float(family.link(np.average(y, weights=weight)))
        return GlmFit(intercept, np.zeros(free.shape[1] + matrix.shape[1]), max(penalties or PENALTIES), 0.0, 1.0)
    information = column_information(family, y, weight, exposure)
    if penalties is None:
        penalties = bearable_penalties(family, information)
    # The strongest penalty comes first: each fit starts from the last, and the strongest wins where all criteria are
    # infinite, too few patients for any.
    candidates = sorted(penalties, reverse=True) if matrix.shape[1] else [1.0]
    total = weight.sum() if exposure is None else (weight * exposure).sum()
    design = np.hstack([np.ones((y.size, 1)), free[used], matrix[used]])
    shares = np.repeat([0.0, 1 / FREE**2, 1.0], [1, free.shape[1], matrix.shape[1]])
    coefficients = np.zeros((1, shares.size))
    coefficients[0, 0] = family.link((weight * y).sum() / total)

    def sums_at(coefficients: Floats) -> Sums:
        loss, gradient, hessian = sums_of(family, design, y, weight, exposure, coefficients[0])
        return Sums(np.array([loss]), gradient[None], hessian[None])

    fits = []
    for each in candidates:
        ridge = each * information * shares
        coefficients, sums = descend(family, sums_at, coefficients, ridge[None])
        df = effective_df(sums.hessian[0], ridge[1:])
        criterion = corrected_aic(family, 2 * float(sums.loss[0]), df, float(weight.sum()))
        fits.append(GlmFit(float(coefficients[0, 0]), coefficients[0, 1:].copy(), each, criterion, df))
    return min(fits, key=lambda fit: fit.criterion)


def bearable_penalties(family: Family, information: float) -> tuple[float, ...]:
    """Return the default penalties that keep coefficients believable, at least the strongest.

    Parameters
    ----------
    family : Family
    information : float
        Of one standardised column in the model without covariates.
    """
    if family.kind == "continuous":
        return PENALTIES
    return tuple(each for each in PENALTIES if each * information >= _WEAKEST) or (max(PENALTIES),)


def _is_degenerate(family: Family, y: Floats) -> bool:
    if family.kind == "binary":
        return bool(y.min() == y.max())
    return family.kind == "count" and bool(y.max() == 0)


def column_information(family: Family, y: Floats, weight: Floats, exposure: Floats | None) -> float:
    """Return the Fisher information of one standardised column in the model without covariates."""
    if family.kind == "continuous":
        return float(weight.sum())
    total = weight.sum() if exposure is None else (weight * exposure).sum()
    mean = float((weight * y).sum() / total)
    return float(family.variance(np.array(mean)) * total)


def corrected_aic(family: Family, deviance: float, df: float, n: float) -> float:
    """Return the corrected Akaike criterion of a fit: twice the loss of `n` patients, penalised for `df` parameters."""
    parameters = df
    if family.kind == "continuous":
        deviance, parameters = n * float(np.log(max(deviance / 2 / n, 1e-300))), df + 1  # the variance counts too
    correction = 2 * parameters * n / (n - parameters - 1) if n > parameters + 2 else np.inf
    return deviance + correction
