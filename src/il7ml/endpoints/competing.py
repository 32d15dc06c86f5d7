"""Time to an event with competing ones: cumulative incidence curves and by a day, cause-specific hazard ratio."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from il7ml.endpoints.aalen_johansen import RiskTable, incidence, risk_table
from il7ml.endpoints.arrays import ARMS, as_status, as_treated, as_values, require_events
from il7ml.endpoints.contrasts import ArmMeans, compare
from il7ml.endpoints.cox import hazard_ratio
from il7ml.endpoints.result import EndpointResult

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def cumulative_incidence(
    time: ArrayLike, status: ArrayLike, treatment: ArrayLike, *, level: float = 0.95
) -> pd.DataFrame:
    """Return each arm's Aalen-Johansen curve of each cause; with one cause it is one minus Kaplan-Meier.

    Parameters
    ----------
    time : array-like of shape (n,)
        Time to the first event of any cause or to censoring, in days, not negative.
    status : array-like of shape (n,)
        0 censored, 1 event, 2 and above competing events.
    treatment : array-like of shape (n,)
        1 treated, 0 control.
    level : float

    Returns
    -------
    DataFrame
        Columns arm (control, treated), cause, day, incidence, std_error, low, high, at_risk; a row an arm, cause and
        day on which something happened in the arm, beginning with day 0. Intervals by the log-log transformation.

    Raises
    ------
    InputError
        If times are negative or an arm is empty.

    References
    ----------
    Aalen and Johansen, Scand J Stat 1978;5:141. Dinse and Larson, Biometrika 1986;73:379, doi 10.1093/biomet/73.2.379.

    Examples
    --------
    >>> curve = cumulative_incidence([2, 4, 4, 6, 3, 5], [1, 2, 1, 0, 1, 2], [1, 1, 1, 1, 0, 0])
    >>> curve.query("arm == 'treated' and cause == 1")["incidence"].tolist()
    [0.0, 0.25, 0.5]
    """
    treated = as_treated(treatment)
    times, ends = as_values("time", time, treated.size, lowest=0), as_status(status, treated.size)
    curves = [
        _curve(risk_table(times[arm], ends[arm], cause), int(arm.sum()), level).assign(arm=name, cause=cause)
        for name, arm in zip(ARMS, (~treated, treated), strict=True)
        for cause in np.unique(ends[ends > 0]).astype(int).tolist()
    ]
    columns = ["arm", "cause", "day", "incidence", "std_error", "low", "high", "at_risk"]
    return pd.concat(curves, ignore_index=True)[columns] if curves else pd.DataFrame(columns=columns)


def numbers_at_risk(time: ArrayLike, treatment: ArrayLike, days: Sequence[float]) -> pd.DataFrame:
    """Return how many patients of each arm are at risk on the given days.

    Returns
    -------
    DataFrame
        Columns arm, day, at_risk.

    Examples
    --------
    >>> numbers_at_risk([2, 4, 4, 6, 3, 5], [1, 1, 1, 1, 0, 0], [0, 4])["at_risk"].tolist()
    [2, 1, 4, 3]
    """
    treated = as_treated(treatment)
    times = as_values("time", time, treated.size, lowest=0)
    rows = [
        (name, day, int((times[arm] >= day).sum()))
        for name, arm in zip(ARMS, (~treated, treated), strict=True)
        for day in days
    ]
    return pd.DataFrame(rows, columns=["arm", "day", "at_risk"])


def incidence_by_day(
    time: ArrayLike,
    status: ArrayLike,
    treatment: ArrayLike,
    day: float,
    *,
    endpoint: str,
    level: float = 0.95,
) -> list[EndpointResult]:
    """Compare the arms' cumulative incidence by a day; without competing events, their Kaplan-Meier risks.

    Parameters
    ----------
    time, status, treatment
        As for `cumulative_incidence`.
    day : float
    endpoint : str
    level : float

    Returns
    -------
    list of EndpointResult
        Scales difference and ratio; `events` are those by the day.

    Raises
    ------
    InputError
        If times are negative, an arm has no events by the day, or an arm's follow-up ends before it.

    Examples
    --------
    >>> results = incidence_by_day([2, 4, 4, 6, 3, 5], [1, 2, 1, 0, 1, 2], [1, 1, 1, 1, 0, 0], 5, endpoint="infection")
    >>> [(result.scale, result.estimate) for result in results]
    [('difference', 0.0), ('ratio', 1.0)]
    """
    treated = as_treated(treatment)
    times, ends = as_values("time", time, treated.size, lowest=0), as_status(status, treated.size)
    happened = (ends == 1) & (times <= day)
    require_events(endpoint, happened, treated)
    estimates = [incidence(risk_table(times[arm], ends[arm]), day) for arm in (~treated, treated)]
    risks, errors = np.array(estimates).T
    arms = ArmMeans(risks, np.diag(errors**2), treated.size, int(happened.sum()))
    return compare(arms, ("difference", "ratio"), endpoint, _estimator(ends), level)


def cause_specific_hazard_ratio(
    time: ArrayLike,
    status: ArrayLike,
    treatment: ArrayLike,
    *,
    endpoint: str,
    covariates: pd.DataFrame | None = None,
    strata: ArrayLike | None = None,
    level: float = 0.95,
) -> EndpointResult:
    """Compare the arms' hazards of the event among those still free of all events (Cox model, Efron's ties).

    Parameters
    ----------
    time, status, treatment
        As for `cumulative_incidence`.
    endpoint, covariates, strata, level
        As for `cox.hazard_ratio`.

    Returns
    -------
    EndpointResult
        Scale hazard_ratio. A cause-specific hazard ratio says nothing of the risk on its own: look at the cumulative
        incidence of all causes beside it.

    Raises
    ------
    InputError
        As `cox.hazard_ratio`.

    References
    ----------
    Prentice et al., Biometrics 1978;34:541, doi 10.2307/2530374.

    Examples
    --------
    >>> time, status, arm = [2, 4, 4, 6, 3, 5, 7, 1], [1, 2, 1, 0, 1, 2, 1, 0], [1, 1, 1, 1, 0, 0, 0, 0]
    >>> cause_specific_hazard_ratio(time, status, arm, endpoint="infection").method
    'Cox, cause-specific'
    """
    treated = as_treated(treatment)
    ends = as_status(status, treated.size)
    result = hazard_ratio(
        time, ends == 1, treated, endpoint=endpoint, covariates=covariates, strata=strata, level=level
    )
    return result._replace(method=f"{result.method}, cause-specific")


def _curve(table: RiskTable, n: int, level: float) -> pd.DataFrame:
    points = [incidence(table, day) for day in table.times]
    value, error = np.array([(0.0, 0.0), *points]).T
    low, high = _log_log_limits(value, error, level)
    return pd.DataFrame(
        {
            "day": np.concatenate([[0.0], table.times]),
            "incidence": value,
            "std_error": error,
            "low": low,
            "high": high,
            "at_risk": np.concatenate([[n], table.at_risk]).astype(int),
        }
    )


def _log_log_limits(value: Floats, error: Floats, level: float) -> tuple[Floats, Floats]:
    inside = (value > 0) & (value < 1)
    log = np.log(value, out=np.full_like(value, -1.0), where=inside)
    half = ndtri(0.5 + level / 2) * error / np.where(inside, value * -log, 1.0)
    low, high = (np.where(inside, np.exp(log * np.exp(sign * half)), value) for sign in (1, -1))
    return low, high


def _estimator(status: Floats) -> str:
    return "Aalen-Johansen" if status.max() > 1 else "Kaplan-Meier"
