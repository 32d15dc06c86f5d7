"""Kaplan-Meier probability of being free of the event on a day, arm by arm, and death by several days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from il7ml.endpoints.aalen_johansen import incidence, risk_table
from il7ml.endpoints.arrays import ARMS, as_indicator, as_treated, as_values
from il7ml.endpoints.competing import incidence_by_day
from il7ml.endpoints.result import EndpointResult


class Survival(NamedTuple):
    """Probability of being free of the event on a day in one arm.

    Attributes
    ----------
    arm : {'control', 'treated'}
    day, estimate, std_error, low, high : float
    at_risk : int
        Patients still at risk on that day.
    """

    arm: str
    day: float
    estimate: float
    std_error: float
    low: float
    high: float
    at_risk: int


def survival_on_day(
    time: ArrayLike, event: ArrayLike, treatment: ArrayLike, day: float, *, level: float = 0.95
) -> list[Survival]:
    """Return each arm's Kaplan-Meier estimate on a day with Greenwood's error and log-transformed interval.

    Parameters
    ----------
    time : array-like of shape (n,)
        Time to event or censoring, in days, not negative.
    event : array-like of shape (n,)
        1 event, 0 censored.
    treatment : array-like of shape (n,)
        1 treated, 0 control.
    day : float
    level : float

    Returns
    -------
    list of Survival
        Control, treated. The upper limit is cut at 1; without an event, or without a survivor, there is no interval.

    Raises
    ------
    InputError
        If times are negative, or an arm's follow-up ends before the day.

    References
    ----------
    Kaplan and Meier, J Am Stat Assoc 1958;53:457, doi 10.1080/01621459.1958.10501452. Kalbfleisch and Prentice, The
    Statistical Analysis of Failure Time Data, 2nd ed., 2002, section 1.4 (interval).

    Examples
    --------
    >>> control, treated = survival_on_day([2, 4, 4, 6, 3, 5], [1, 0, 1, 0, 1, 0], [1, 1, 1, 1, 0, 0], 4)
    >>> control.estimate, treated.estimate
    (0.5, 0.5)
    """
    treated = as_treated(treatment)
    times, ends = as_values("time", time, treated.size, lowest=0), as_indicator("event", event, treated.size)
    found = []
    for name, arm in zip(ARMS, (~treated, treated), strict=True):
        risk, error = incidence(risk_table(times[arm], ends[arm]), day)
        alive = 1 - risk
        low = high = np.nan
        if 0 < risk < 1:
            factor = float(np.exp(ndtri(0.5 + level / 2) * error / alive))
            low, high = alive / factor, min(alive * factor, 1.0)
        found.append(Survival(name, day, alive, error, low, high, int((times[arm] >= day).sum())))
    return found


def mortality(
    time: ArrayLike,
    died: ArrayLike,
    treatment: ArrayLike,
    *,
    days: Sequence[float] = (30, 60, 90),
    endpoint: str = "death",
    level: float = 0.95,
) -> list[EndpointResult]:
    """Compare the arms' Kaplan-Meier risks of death by each of several days.

    Parameters
    ----------
    time, died, treatment
        As for `survival_on_day`.
    days : sequence of float
    endpoint : str
        Results are named after it and the day: ``death_day30``.
    level : float

    Returns
    -------
    list of EndpointResult
        Scales difference and ratio for each day.

    Raises
    ------
    InputError
        If times are negative, an arm has no deaths by a day, or an arm's follow-up ends before it.

    Examples
    --------
    >>> time, died, arm = [12, 90, 90, 45, 20, 8, 90, 90], [1, 0, 0, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]
    >>> [(r.endpoint, r.estimate) for r in mortality(time, died, arm, days=(30,)) if r.scale == "difference"]
    [('death_day30', -0.25)]
    """
    treated = as_treated(treatment)
    dead = as_indicator("died", died, treated.size)
    return [
        result
        for day in days
        for result in incidence_by_day(time, dead, treated, day, endpoint=f"{endpoint}_day{day:g}", level=level)
    ]
