"""The Aalen-Johansen estimator as sums over a table of patients at risk; without competing events it is Kaplan-Meier.

statsmodels' `CumIncidenceRight` gives the same curve and standard error, but no standard error once nobody is left at
risk, as in an arm followed up until all have been discharged or died, and no restricted mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from il7ml.errors import InputError

Floats = NDArray[np.float64]


class RiskTable(NamedTuple):
    """Numbers at each time at which something other than censoring happened.

    Attributes
    ----------
    times : ndarray of shape (m,)
    at_risk : ndarray of shape (m,)
        Patients whose time is not before it.
    events : ndarray of shape (m,)
        Events of the cause in question.
    competing : ndarray of shape (m,)
        Events of other causes.
    last : float
        Largest time of any patient.
    """

    times: Floats
    at_risk: Floats
    events: Floats
    competing: Floats
    last: float

    @property
    def event_free(self) -> Floats:
        """Probability of being free of events of all causes just before each time, shape (m,)."""
        after = np.cumprod(1 - (self.events + self.competing) / self.at_risk)
        return np.concatenate([[1.0], after[:-1]])


def risk_table(time: Floats, status: Floats, cause: int = 1) -> RiskTable:
    """Count patients at risk and events.

    Parameters
    ----------
    time : ndarray of shape (n,)
    status : ndarray of shape (n,)
        0 censored, else the cause.
    cause : int
        The cause in question.

    Returns
    -------
    RiskTable

    Examples
    --------
    >>> table = risk_table(np.array([1.0, 2.0, 2.0, 4.0]), np.array([1, 0, 2, 1]))
    >>> table.at_risk.tolist(), table.events.tolist(), table.competing.tolist()
    ([4.0, 3.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0])
    """
    times = np.unique(time[status > 0])
    ended, ordered = np.searchsorted(times, time[status > 0]), np.sort(time)
    of_cause = (status[status > 0] == cause).astype(float)
    events = np.bincount(ended, weights=of_cause, minlength=times.size).astype(float)
    competing = np.bincount(ended, weights=1 - of_cause, minlength=times.size).astype(float)
    at_risk = (time.size - np.searchsorted(ordered, times, side="left")).astype(float)
    return RiskTable(times, at_risk, events, competing, float(ordered[-1]))


def incidence(table: RiskTable, day: float) -> tuple[float, float]:
    """Return the cumulative incidence of the cause by `day` and its standard error.

    Raises
    ------
    InputError
        If nobody is followed up that long.

    References
    ----------
    Aalen and Johansen, Scand J Stat 1978;5:141. Dinse and Larson, Biometrika 1986;73:379, doi 10.1093/biomet/73.2.379
    (variance).

    Examples
    --------
    >>> table = risk_table(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1, 2, 1, 0]))
    >>> value, error = incidence(table, 3)
    >>> value, error
    (0.5, 0.25)
    """
    require_follow_up(table, day)
    return expected(table, (table.times <= day).astype(float))


def expected(table: RiskTable, weight: Floats) -> tuple[float, float]:
    """Return the expectation of `weight` at the time of the cause's event (0 without one), and its standard error.

    With weight 1 up to a day this is the cumulative incidence on that day; with the days left up to a horizon the time
    lost to the event by then. The variance is the delta method's with multinomial increments of the hazards; for one
    cause it is Greenwood's.

    Parameters
    ----------
    table : RiskTable
    weight : ndarray of shape (m,)
        One value for each of `table.times`.

    Returns
    -------
    (float, float)
    """
    free, at_risk = table.event_free, table.at_risk
    hazard, all_hazard = table.events / at_risk, (table.events + table.competing) / at_risk
    terms = free * weight * hazard
    still_to_come = np.cumsum(terms[::-1])[::-1] - terms
    # Once nobody is left nothing can come, so 0/0 there stands for 0.
    left = 1 - all_hazard
    odds = np.divide(all_hazard, left, out=np.zeros_like(left), where=left > 0)
    variance = (free * weight) ** 2 * hazard * (1 - hazard) - 2 * terms * still_to_come + still_to_come**2 * odds
    return float(terms.sum()), float(np.sqrt(max((variance / at_risk).sum(), 0.0)))


def require_follow_up(table: RiskTable, day: float) -> None:
    """Refuse a day up to which nobody is followed, unless all patients have had an event by then.

    Raises
    ------
    InputError
    """
    complete = table.times.size > 0 and table.at_risk[-1] == table.events[-1] + table.competing[-1]
    if day > table.last and not complete:
        raise InputError(
            f"day: {day:g} is beyond the follow-up of an arm, which ends on day {table.last:g}. Choose an earlier day."
        )
