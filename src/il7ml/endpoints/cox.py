"""Time to event: hazard ratio of the Cox model, with strata and covariates, and the log-rank test."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from il7ml.endpoints.arrays import as_indicator, as_strata, as_treated, as_values, require_events
from il7ml.endpoints.covariates import adjustment_matrix
from il7ml.endpoints.partial_likelihood import fit_partial_likelihood
from il7ml.endpoints.result import EndpointResult, wald
from il7ml.endpoints.separation import hazard_part
from il7ml.errors import InputError


def hazard_ratio(
    time: ArrayLike,
    event: ArrayLike,
    treatment: ArrayLike,
    *,
    endpoint: str,
    covariates: pd.DataFrame | None = None,
    strata: ArrayLike | None = None,
    level: float = 0.95,
) -> EndpointResult:
    """Compare the arms' hazards by a Cox model (ties by Efron's method).

    With competing events, count these as censored: the result is the cause-specific hazard ratio.

    Parameters
    ----------
    time : array-like of shape (n,)
        Time to event or censoring, not negative.
    event : array-like of shape (n,)
        1 event, 0 censored.
    treatment : array-like of shape (n,)
        1 treated, 0 control.
    endpoint : str
    covariates : DataFrame of shape (n, k), optional
    strata : array-like of shape (n,), optional
        Each with its own baseline hazard, such as sites.
    level : float

    Returns
    -------
    EndpointResult
        Scale hazard_ratio.

    Raises
    ------
    InputError
        If times are negative, an arm has no events (all censored), there is only one stratum, or a coefficient is not
        estimable.

    References
    ----------
    Cox, J R Stat Soc B 1972;34:187, doi 10.1111/j.2517-6161.1972.tb00899.x.

    Examples
    --------
    >>> result = hazard_ratio([3, 8, 9, 12, 5, 4, 7, 2], [1, 0, 1, 0, 1, 1, 0, 1], [1] * 4 + [0] * 4, endpoint="death")
    >>> result.scale, result.n, result.events
    ('hazard_ratio', 8, 5)
    """
    treated = as_treated(treatment)
    n = treated.size
    stop, happened = as_values("time", time, n, lowest=0), as_indicator("event", event, n)
    require_events(endpoint, happened, treated)
    x = np.column_stack([treated.astype(float), adjustment_matrix(covariates, n)])
    groups = np.zeros(n, dtype=np.intp) if strata is None else as_strata(strata, n)
    rows, columns = hazard_part(x, happened)
    fit = fit_partial_likelihood(x[rows][:, columns], stop[rows], happened[rows], strata=groups[rows])
    method = ", ".join(
        ["Cox", *(["adjusted"] if x.shape[1] > 1 else []), *(["stratified"] if strata is not None else [])]
    )
    estimate, error = float(fit.coefficients[0]), float(np.sqrt(fit.covariance[0, 0]))
    return wald(endpoint, method, "hazard_ratio", estimate, error, n, int(happened.sum()), level=level)


def log_rank_test(
    time: ArrayLike,
    event: ArrayLike,
    treatment: ArrayLike,
    *,
    endpoint: str,
    strata: ArrayLike | None = None,
) -> EndpointResult:
    """Test whether the arms' hazards are the same by the log-rank test.

    Parameters
    ----------
    time, event, treatment, endpoint, strata
        As for `hazard_ratio`.

    Returns
    -------
    EndpointResult
        Scale chi_square with 1 degree of freedom; no standard error or interval.

    Raises
    ------
    InputError
        If times are negative, an arm has no events (all censored), there is only one stratum, or no event happened
        while patients of both arms were at risk in its stratum.

    References
    ----------
    Mantel, Cancer Chemother Rep 1966;50:163.

    Examples
    --------
    >>> test = log_rank_test([3, 8, 9, 12, 5, 4, 7, 2], [1, 0, 1, 0, 1, 1, 0, 1], [1] * 4 + [0] * 4, endpoint="death")
    >>> test.method, test.scale
    ('log-rank test', 'chi_square')
    """
    from statsmodels.duration.survfunc import survdiff

    treated = as_treated(treatment)
    n = treated.size
    stop, happened = as_values("time", time, n, lowest=0), as_indicator("event", event, n)
    require_events(endpoint, happened, treated)
    groups = None if strata is None else as_strata(strata, n)
    try:
        statistic, p_value = survdiff(stop, happened, treated.astype(int), strata=groups)
    except np.linalg.LinAlgError:  # the variance of observed minus expected is 0
        raise InputError(
            f"endpoint {endpoint!r}: no event happened while patients of both arms were at risk in its stratum, so the "
            "arms cannot be compared. Merge strata or leave them out."
        ) from None
    method = "log-rank test" if strata is None else "log-rank test, stratified"
    chi_square = float(statistic)
    return EndpointResult(
        endpoint, method, "chi_square", chi_square, np.nan, np.nan, np.nan, float(p_value), n, int(happened.sum())
    )
