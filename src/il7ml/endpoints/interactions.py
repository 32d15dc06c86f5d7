"""Effect modification by a number: how odds, rate and hazard ratios change with each unit of a baseline variable."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.endpoints.arrays import as_counts, as_exposure, as_indicator, as_treated, as_values, require_events
from il7ml.endpoints.covariates import adjustment_matrix
from il7ml.endpoints.g_computation import fit_glm
from il7ml.endpoints.partial_likelihood import fit_partial_likelihood
from il7ml.endpoints.result import EndpointResult, wald
from il7ml.endpoints.separation import estimable_part
from il7ml.errors import InputError
from il7ml.family import BINARY, COUNT, Family

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_PRODUCT = 3  # the column of arm times modifier, after intercept, arm and modifier


def binary_interaction(
    y: ArrayLike,
    treatment: ArrayLike,
    modifier: ArrayLike,
    *,
    endpoint: str,
    covariates: pd.DataFrame | None = None,
    level: float = 0.95,
) -> EndpointResult:
    """Return the factor by which the odds ratio changes with each unit of a modifier (logistic model, product term).

    Parameters
    ----------
    y : array-like of shape (n,)
        1 event, 0 none.
    treatment : array-like of shape (n,)
    modifier : array-like of shape (n,)
        A number: a baseline value, or 0 and 1.
    endpoint : str
    covariates : DataFrame of shape (n, k), optional
    level : float

    Returns
    -------
    EndpointResult
        Scale odds_ratio: a ratio of odds ratios; its P value is that of the interaction.

    Raises
    ------
    InputError
        If an arm has no events, the modifier does not vary, or a coefficient is not estimable.

    Examples
    --------
    >>> y, arm = [0, 1, 1, 0, 1, 0, 1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    >>> binary_interaction(y, arm, [50, 61, 70, 44, 55, 66, 48, 59, 71, 40, 52, 63], endpoint="death").scale
    'odds_ratio'
    """
    treated = as_treated(treatment)
    outcome = as_indicator(endpoint, y, treated.size)
    require_events(endpoint, outcome, treated)
    design = np.column_stack([np.ones(treated.size), _product_design(treated, modifier, covariates)])
    estimate, error = _product_term(BINARY, outcome, design, np.zeros(outcome.size), robust=False)
    method = "logistic, treatment x modifier"
    return wald(endpoint, method, "odds_ratio", estimate, error, outcome.size, int(outcome.sum()), level=level)


def count_interaction(
    events: ArrayLike,
    treatment: ArrayLike,
    modifier: ArrayLike,
    *,
    endpoint: str,
    exposure: ArrayLike = 1.0,
    covariates: pd.DataFrame | None = None,
    level: float = 0.95,
) -> EndpointResult:
    """Return the factor by which the rate ratio changes with each unit of a modifier (Poisson, robust error).

    Parameters
    ----------
    events : array-like of shape (n,)
    treatment, modifier, endpoint, covariates, level
        As for `binary_interaction`.
    exposure : float or array-like of shape (n,)
        Time at risk.

    Returns
    -------
    EndpointResult
        Scale rate_ratio: a ratio of rate ratios; its P value is that of the interaction.

    Raises
    ------
    InputError
        As `binary_interaction`, or if a time at risk is not positive.

    Examples
    --------
    >>> events, arm, antiviral = [1, 2, 1, 3, 1, 0, 0, 1, 2, 1], [1, 0] * 5, [0, 0, 1, 1, 1, 1, 0, 0, 1, 0]
    >>> count_interaction(events, arm, antiviral, endpoint="infections").events
    12
    """
    treated = as_treated(treatment)
    counts, time = as_counts(endpoint, events, treated.size), as_exposure(exposure, treated.size)
    require_events(endpoint, counts, treated)
    design = np.column_stack([np.ones(treated.size), _product_design(treated, modifier, covariates)])
    estimate, error = _product_term(COUNT, counts, design, np.log(time), robust=True)
    method = "Poisson, robust, treatment x modifier"
    return wald(endpoint, method, "rate_ratio", estimate, error, counts.size, int(counts.sum()), level=level)


def hazard_interaction(
    time: ArrayLike,
    event: ArrayLike,
    treatment: ArrayLike,
    modifier: ArrayLike,
    *,
    endpoint: str,
    covariates: pd.DataFrame | None = None,
    level: float = 0.95,
) -> EndpointResult:
    """Return the factor by which the hazard ratio changes with each unit of a modifier (Cox model, product term).

    Parameters
    ----------
    time, event : array-like of shape (n,)
        As for `cox.hazard_ratio`.
    treatment, modifier, endpoint, covariates, level
        As for `binary_interaction`.

    Returns
    -------
    EndpointResult
        Scale hazard_ratio: a ratio of hazard ratios; its P value is that of the interaction.

    Raises
    ------
    InputError
        As `binary_interaction`, or if times are negative.

    Examples
    --------
    >>> time, event, arm = [3, 8, 9, 12, 5, 4, 7, 2], [1, 1, 1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 0, 0, 0, 0]
    >>> hazard_interaction(time, event, arm, [60, 50, 71, 45, 66, 52, 49, 70], endpoint="death").scale
    'hazard_ratio'
    """
    treated = as_treated(treatment)
    stop, happened = as_values("time", time, treated.size, lowest=0), as_indicator("event", event, treated.size)
    require_events(endpoint, happened, treated)
    fit = fit_partial_likelihood(_product_design(treated, modifier, covariates), stop, happened)
    estimate, error = float(fit.coefficients[2]), float(np.sqrt(fit.covariance[2, 2]))
    method = "Cox, treatment x modifier"
    return wald(endpoint, method, "hazard_ratio", estimate, error, treated.size, int(happened.sum()), level=level)


def _product_design(treated: Bools, modifier: ArrayLike, covariates: pd.DataFrame | None) -> Floats:
    """Return arm, modifier, their product and covariates."""
    values = as_values("modifier", modifier, treated.size)
    if np.ptp(values) == 0:
        raise InputError("modifier: expected values that differ; all patients have the same. Leave it out.")
    # Centring changes neither the product's coefficient nor its error, and keeps the equations well-conditioned.
    values = values - values.mean()
    return np.column_stack([treated, values, treated * values, adjustment_matrix(covariates, treated.size)])


def _product_term(family: Family, y: Floats, design: Floats, offset: Floats, *, robust: bool) -> tuple[float, float]:
    """Return the product's coefficient and its standard error."""
    patients, columns = estimable_part(family, y, design, _PRODUCT)
    y, offset, design = y[patients], offset[patients], design[patients][:, columns]
    coefficients = fit_glm(family, y, design, offset)
    mean = family.mean(design @ coefficients + offset)
    information = (design * family.variance(mean)[:, None]).T @ design
    covariance: Floats = np.asarray(np.linalg.inv(information), dtype=float)
    if robust:
        scores = design * (y - mean)[:, None]
        covariance = covariance @ (scores.T @ scores) @ covariance
    product = int(columns[:_PRODUCT].sum())
    return float(coefficients[product]), float(np.sqrt(covariance[product, product]))
