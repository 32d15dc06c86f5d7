"""Numbers of events: rate ratio and rate difference by Poisson regression with robust error and negative binomial."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.endpoints.arrays import as_counts, as_exposure, as_treated, require_events
from il7ml.endpoints.contrasts import compare, welch_difference
from il7ml.endpoints.covariates import adjustment_matrix
from il7ml.endpoints.g_computation import fit_glm, raw_means, standardised_means
from il7ml.endpoints.result import EndpointResult, Scale, wald
from il7ml.endpoints.separation import estimable_part
from il7ml.errors import InputError
from il7ml.family import COUNT

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_SCALES: tuple[Scale, ...] = ("rate_ratio", "difference")


def poisson_rates(
    events: ArrayLike,
    treatment: ArrayLike,
    *,
    endpoint: str,
    exposure: ArrayLike = 1.0,
    covariates: pd.DataFrame | None = None,
    level: float = 0.95,
) -> list[EndpointResult]:
    """Compare the arms' event rates by Poisson regression with the sandwich covariance: overdispersion is allowed for.

    Parameters
    ----------
    events : array-like of shape (n,)
        Number of events of each patient.
    treatment : array-like of shape (n,)
        1 treated, 0 control.
    endpoint : str
    exposure : float or array-like of shape (n,)
        Time at risk in the unit that rates are per: 1 for a rate per patient, days / 1000 for one per 1,000 days.
    covariates : DataFrame of shape (n, k), optional
        Adjusted for by g-computation: the rates if all were treated, and if none were.
    level : float

    Returns
    -------
    list of EndpointResult
        Scales rate_ratio and difference. The unadjusted difference has errors and degrees of freedom for small arms,
        see `contrasts.welch_difference`.

    Raises
    ------
    InputError
        If events are not counts, a time at risk is not positive, or an arm has no events.

    References
    ----------
    Zou, Am J Epidemiol 2004;159:702, doi 10.1093/aje/kwh090 (robust error). Ye et al., Stat Theory Relat Fields
    2023;7:159, doi 10.1080/24754269.2023.2205802 (adjustment).

    Examples
    --------
    >>> results = poisson_rates([0, 1, 0, 1, 2, 0, 1, 1], [1, 1, 1, 1, 0, 0, 0, 0], endpoint="infections")
    >>> [(result.scale, round(result.estimate, 3)) for result in results]
    [('rate_ratio', 0.5), ('difference', -0.5)]
    """
    treated = as_treated(treatment)
    counts, time = as_counts(endpoint, events, treated.size), as_exposure(exposure, treated.size)
    require_events(endpoint, counts, treated)
    matrix = adjustment_matrix(covariates, treated.size)
    if matrix.shape[1]:
        arms = standardised_means(COUNT, counts, treated, matrix, time)
        return compare(arms, _SCALES, endpoint, "g-computation, Poisson, robust", level)
    arms, sizes = raw_means(COUNT, counts, treated, time), (int((~treated).sum()), int(treated.sum()))
    difference = welch_difference(arms, sizes, endpoint, "Poisson, robust", level)
    return [*compare(arms, _SCALES[:1], endpoint, "Poisson, robust", level), difference]


def negative_binomial_rates(
    events: ArrayLike,
    treatment: ArrayLike,
    *,
    endpoint: str,
    exposure: ArrayLike = 1.0,
    covariates: pd.DataFrame | None = None,
    level: float = 0.95,
) -> EndpointResult:
    """Compare the arms' event rates by negative binomial regression (variance m + alpha m^2).

    Where the counts vary no more than Poisson's the maximum likelihood estimate of alpha is 0: the Poisson model with
    its own standard error is then the result, and the method says so.

    Parameters
    ----------
    events, treatment, endpoint, exposure, covariates, level
        As for `poisson_rates`; covariates enter the model, so the ratio is conditional on them, and interval and
        P value are then Student's with n - p degrees of freedom.

    Returns
    -------
    EndpointResult
        Scale rate_ratio.

    Raises
    ------
    InputError
        If events are not counts, a time at risk is not positive, an arm has no events, the ratio is not estimable, or
        the model does not converge.

    References
    ----------
    Lawless, Can J Stat 1987;15:209, doi 10.2307/3314912.

    Examples
    --------
    >>> events, treatment = [0, 3, 0, 1, 0, 0, 7, 0, 1, 4], [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    >>> round(negative_binomial_rates(events, treatment, endpoint="infections").estimate, 3)
    0.333
    """
    treated = as_treated(treatment)
    counts, time = as_counts(endpoint, events, treated.size), as_exposure(exposure, treated.size)
    require_events(endpoint, counts, treated)
    matrix = adjustment_matrix(covariates, treated.size)
    design = np.column_stack([np.ones(counts.size), treated, matrix])
    patients, columns = estimable_part(COUNT, counts, design, column=1)
    n, counts, time, design = counts.size, counts[patients], time[patients], design[patients][:, columns]
    coefficients = fit_glm(COUNT, counts, design, np.log(time))
    mean = time * np.exp(design @ coefficients)
    method = "negative binomial, adjusted" if matrix.shape[1] else "negative binomial"
    # The likelihood falls with alpha at 0 exactly where this score is negative.
    if ((counts - mean) ** 2 - counts).sum() <= 0:
        covariance = np.linalg.inv((design * mean[:, None]).T @ design)
        method += " (no overdispersion: Poisson)"
    else:
        coefficients, covariance = _fit_negative_binomial(counts, design, time, coefficients, mean)
    estimate, error = float(coefficients[1]), float(np.sqrt(covariance[1, 1]))
    # The estimate of alpha does not allow for the coefficients that were fitted.
    degrees = counts.size - design.shape[1] if matrix.shape[1] else np.inf
    return wald(endpoint, method, "rate_ratio", estimate, error, n, int(counts.sum()), degrees=degrees, level=level)


def _fit_negative_binomial(
    counts: Floats, design: Floats, time: Floats, start: Floats, mean: Floats
) -> tuple[Floats, Floats]:
    """Return coefficients and covariance, alpha last, from the Poisson fit and the moment estimate of alpha."""
    from statsmodels.discrete.discrete_model import NegativeBinomial

    scale = np.append(np.abs(design).max(axis=0), 1.0)
    alpha = ((counts - mean) ** 2 - counts).sum() / (mean**2).sum()
    model = NegativeBinomial(counts, design / scale[:-1], exposure=time)
    found = np.append(start, max(alpha, 1e-3)) * scale
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # convergence is judged below
        # Newton's method alone may leave for an alpha so large that the likelihood is low, but flat.
        for method in ("bfgs", "newton"):
            found = np.asarray(model.fit(start_params=found, method=method, maxiter=500, disp=False).params)
        information, score = -np.asarray(model.hessian(found)), np.asarray(model.score(found))
    finite = found[-1] > 0 and np.isfinite(information).all()
    if finite and np.abs(score).max() < 1e-3 and np.linalg.eigvalsh(information).min() > 0:
        return found / scale, np.linalg.inv(information) / np.outer(scale, scale)
    raise InputError(
        "the negative binomial model did not converge: there are too few events for its covariates. Adjust for fewer."
    )
