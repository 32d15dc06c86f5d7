"""Pseudo-observations of the cumulative incidence: what makes a censored time to event a value a patient."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.endpoints.aalen_johansen import require_follow_up, risk_table
from il7ml.endpoints.arrays import as_status, as_treated, as_values, require_events
from il7ml.endpoints.contrasts import compare
from il7ml.endpoints.covariates import adjustment_matrix
from il7ml.endpoints.g_computation import raw_means, standardised_means
from il7ml.endpoints.result import EndpointResult
from il7ml.errors import InputError
from il7ml.family import CONTINUOUS

Floats = NDArray[np.float64]

_SAME = 1e-9  # pseudo-observations that differ by less do so by rounding


def pseudo_observations(time: ArrayLike, status: ArrayLike, day: float) -> Floats:
    """Return each patient's jackknife pseudo-observation of the cumulative incidence of cause 1 by a day.

    n times the Aalen-Johansen estimate of all patients minus (n - 1) times that without the patient. Without censoring
    before the day it is 1 for a patient with the event by then, else 0.

    Parameters
    ----------
    time : array-like of shape (n,)
        Time to the first event of any cause or to censoring, in days, not negative.
    status : array-like of shape (n,)
        0 censored, 1 event, 2 and above competing events.
    day : float

    Returns
    -------
    ndarray of shape (n,)
        May lie outside 0 to 1.

    Raises
    ------
    InputError
        If times are negative, there are fewer than two patients, or follow-up ends before the day.

    References
    ----------
    Klein and Andersen, Biometrics 2005;61:223, doi 10.1111/j.0006-341X.2005.031209.x.

    Examples
    --------
    >>> pseudo_observations([1, 2, 3, 4], [1, 2, 1, 0], day=3).round(6).tolist()
    [1.0, 0.0, 1.0, 0.0]
    """
    n = np.size(time)
    times, ends = as_values("time", time, n, lowest=0), as_status(status, n)
    if n < 2:
        raise InputError("time: expected at least two patients in an arm; fewer came.")
    table = risk_table(times, ends)
    require_follow_up(table, day)
    # Patients with the same time and status have the same pseudo-observation.
    kinds, kind = np.unique(np.column_stack([times, ends]), axis=0, return_inverse=True)
    early = table.times <= day
    left_out_time, left_out_status = kinds[:, :1], kinds[:, 1:]
    at_risk = table.at_risk[early] - (left_out_time >= table.times[early])
    here = left_out_time == table.times[early]
    events = table.events[early] - (here & (left_out_status == 1))
    all_events = events + table.competing[early] - (here & (left_out_status > 1))
    without = _incidence(np.maximum(at_risk, 1.0), events, all_events)
    whole = _incidence(table.at_risk[early], table.events[early], (table.events + table.competing)[early])
    return np.asarray(n * whole - (n - 1) * without)[kind.ravel()]


def pseudo_observation_effect(
    time: ArrayLike,
    status: ArrayLike,
    treatment: ArrayLike,
    day: float,
    *,
    endpoint: str,
    covariates: pd.DataFrame | None = None,
    level: float = 0.95,
) -> list[EndpointResult]:
    """Compare the arms' cumulative incidence by a day, adjusted or not, and test it, by pseudo-observations.

    The jackknife is done within each arm, so that censoring may differ between arms; a linear model of arm and
    covariates is fitted to the pseudo-observations and standardised, with a robust covariance. The P value of the
    difference is the test by pseudo-observations.

    Parameters
    ----------
    time, status, day
        As for `pseudo_observations`.
    treatment : array-like of shape (n,)
        1 treated, 0 control.
    endpoint : str
    covariates : DataFrame of shape (n, k), optional
    level : float

    Returns
    -------
    list of EndpointResult
        Scales difference and ratio; `events` are those seen by the day.

    Raises
    ------
    InputError
        If times are negative, an arm has no events by the day, all patients have the event by then, or an arm's
        follow-up ends before it.

    References
    ----------
    Klein and Andersen, Biometrics 2005;61:223, doi 10.1111/j.0006-341X.2005.031209.x. Andersen and Pohar Perme, Stat
    Methods Med Res 2010;19:71, doi 10.1177/0962280209105020.

    Examples
    --------
    >>> time, status, arm = [2, 4, 4, 6, 3, 5, 7, 1], [1, 2, 1, 0, 1, 2, 1, 0], [1, 1, 1, 1, 0, 0, 0, 0]
    >>> [result.scale for result in pseudo_observation_effect(time, status, arm, 5, endpoint="infection")]
    ['difference', 'ratio']
    """
    treated = as_treated(treatment)
    times, ends = as_values("time", time, treated.size, lowest=0), as_status(status, treated.size)
    happened = (ends == 1) & (times <= day)
    require_events(endpoint, happened, treated)
    y = np.empty(treated.size)
    for arm in (~treated, treated):
        y[arm] = pseudo_observations(times[arm], ends[arm], day)
    if np.ptp(y) < _SAME:
        raise InputError(
            f"endpoint {endpoint!r}: all patients have the event by day {day:g}, so the arms cannot be compared then. "
            "Choose an earlier day."
        )
    matrix = adjustment_matrix(covariates, treated.size)
    method = "pseudo-observations"
    if matrix.shape[1]:
        arms, method = standardised_means(CONTINUOUS, y, treated, matrix), f"{method}, adjusted"
    else:
        arms = raw_means(CONTINUOUS, y, treated)
    return compare(arms._replace(events=int(happened.sum())), ("difference", "ratio"), endpoint, method, level)


def _incidence(at_risk: Floats, events: Floats, all_events: Floats) -> Floats:
    """Return the Aalen-Johansen estimate at the last of the times, which are the last axis."""
    survival = np.cumprod(1 - all_events / at_risk, axis=-1)
    before = np.concatenate([np.ones((*survival.shape[:-1], 1)), survival[..., :-1]], axis=-1)
    return np.asarray((before * events / at_risk).sum(axis=-1))
