"""Restricted mean event-free time: days free of the event up to a horizon."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from il7ml.endpoints.aalen_johansen import expected, require_follow_up, risk_table
from il7ml.endpoints.arrays import as_status, as_treated, as_values, require_events
from il7ml.endpoints.contrasts import ArmMeans, compare
from il7ml.endpoints.result import EndpointResult
from il7ml.errors import InputError

Floats = NDArray[np.float64]


def restricted_mean(time: ArrayLike, status: ArrayLike, horizon: float) -> tuple[float, float]:
    """Return the mean time free of the event up to `horizon` in one group of patients, and its standard error.

    The horizon minus the area under the cumulative incidence of cause 1. Without competing events that is the area
    under the Kaplan-Meier curve. A patient counts as free of the event after a competing one: where that is a death,
    count it as an event or state it.

    Parameters
    ----------
    time : array-like of shape (n,)
        Time to the first event of any cause or to censoring, in days, not negative.
    status : array-like of shape (n,)
        0 censored, 1 event, 2 and above competing events.
    horizon : float
        Days, positive.

    Returns
    -------
    (float, float)
        Days.

    Raises
    ------
    InputError
        If there are no patients, times are negative, the horizon is not positive, or follow-up ends before it.

    References
    ----------
    Royston and Parmar, BMC Med Res Methodol 2013;13:152, doi 10.1186/1471-2288-13-152. Andersen, Stat Med 2013;32:5278,
    doi 10.1002/sim.5903 (competing events).

    Examples
    --------
    >>> restricted_mean([10, 30, 30, 20], [1, 0, 0, 1], 30)[0]
    22.5
    """
    n = np.size(time)
    if n == 0 or not horizon > 0:
        raise InputError(f"horizon: expected patients and a positive horizon; {n} patients and {horizon:g} days came.")
    table = risk_table(as_values("time", time, n, lowest=0), as_status(status, n))
    require_follow_up(table, horizon)
    lost, error = expected(table, np.maximum(horizon - table.times, 0.0))
    return horizon - lost, error


def restricted_mean_effect(
    time: ArrayLike,
    status: ArrayLike,
    treatment: ArrayLike,
    horizon: float,
    *,
    endpoint: str,
    level: float = 0.95,
) -> list[EndpointResult]:
    """Compare the arms' restricted mean event-free time.

    Parameters
    ----------
    time, status, horizon
        As for `restricted_mean`.
    treatment : array-like of shape (n,)
        1 treated, 0 control.
    endpoint : str
    level : float

    Returns
    -------
    list of EndpointResult
        Scales difference (days) and ratio; `events` are those by the horizon.

    Raises
    ------
    InputError
        If times are negative, an arm has no events by the horizon, or an arm's follow-up ends before it.

    References
    ----------
    As for `restricted_mean`.

    Examples
    --------
    >>> results = restricted_mean_effect([10, 30, 30, 20], [1, 0, 0, 1], [0, 0, 1, 1], 30, endpoint="infection")
    >>> round(results[0].estimate, 1), round(results[1].estimate, 2)
    (5.0, 1.25)
    """
    treated = as_treated(treatment)
    times, ends = as_values("time", time, treated.size, lowest=0), as_status(status, treated.size)
    happened = (ends == 1) & (times <= horizon)
    require_events(endpoint, happened, treated)
    means, errors = np.array([restricted_mean(times[arm], ends[arm], horizon) for arm in (~treated, treated)]).T
    arms = ArmMeans(means, np.diag(errors**2), treated.size, int(happened.sum()))
    return compare(arms, ("difference", "ratio"), endpoint, "restricted mean event-free time", level)
