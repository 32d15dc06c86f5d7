"""Days in hospital and on the ventilator: how death enters them, and their comparison."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from il7ml.endpoints.ancova import ancova
from il7ml.endpoints.arrays import as_indicator, as_values
from il7ml.endpoints.rank_test import rank_test
from il7ml.endpoints.result import EndpointResult
from il7ml.errors import InputError

Floats = NDArray[np.float64]


def free_days(days: ArrayLike, death: ArrayLike, *, horizon: float = 28.0) -> Floats:
    """Return days free of organ support up to a horizon, such as ventilator-free days at 28.

    The horizon minus the days on support by then; 0 for patients who died by the horizon, on support or not.

    Parameters
    ----------
    days : array-like of shape (n,)
        Days on support; NaN where unknown, which the result is then too, but for deaths by the horizon.
    death : array-like of shape (n,)
        Day of death, NaN where none.
    horizon : float

    Returns
    -------
    ndarray of shape (n,)

    Raises
    ------
    InputError
        If days are negative, or support lasts longer than life.

    References
    ----------
    Schoenfeld and Bernard, Crit Care Med 2002;30:1772, doi 10.1097/00003246-200208000-00016. Yehya et al., Am J Respir
    Crit Care Med 2019;200:828, doi 10.1164/rccm.201810-2050CP.

    Examples
    --------
    >>> free_days([9, 40, 5], [float("nan"), float("nan"), 20]).tolist()
    [19.0, 0.0, 0.0]
    """
    spent, died = _checked(days, death)
    return np.where(died <= horizon, 0.0, np.maximum(horizon - spent, 0.0))


def days_alive_out_of_hospital(days: ArrayLike, death: ArrayLike, *, horizon: float = 30.0) -> Floats:
    """Return the days by a horizon on which a patient was alive and out of hospital.

    Days up to death or the horizon, whichever is first, minus the days in hospital; days dead count as none, those
    between discharge and death do count.

    Parameters
    ----------
    days : array-like of shape (n,)
        Days in hospital, readmissions included; NaN where unknown, which the result is then too.
    death : array-like of shape (n,)
        Day of death, NaN where none.
    horizon : float

    Returns
    -------
    ndarray of shape (n,)

    Raises
    ------
    InputError
        If days are negative, or the stay lasts longer than life.

    References
    ----------
    Ariti et al., Am Heart J 2011;162:900, doi 10.1016/j.ahj.2011.08.003.

    Examples
    --------
    >>> days_alive_out_of_hospital([10, 50, 8], [float("nan"), float("nan"), 20]).tolist()
    [20.0, 0.0, 12.0]
    """
    spent, died = _checked(days, death)
    return np.maximum(np.fmin(died, horizon) - spent, 0.0)


def stay_with_death_longest(days: ArrayLike, died: ArrayLike, *, horizon: float) -> Floats:
    """Return lengths of stay cut at a horizon, those who died during the stay counted as staying to the horizon.

    A stay that ends with death is short for the worst of reasons; this gives it the worst value. Compared as they were
    observed, stays say how many days in hospital are used.

    Parameters
    ----------
    days : array-like of shape (n,)
        Length of stay; NaN where unknown, which the result is then too, but for deaths.
    died : array-like of shape (n,)
        1 if the stay ended with death, else 0.
    horizon : float

    Returns
    -------
    ndarray of shape (n,)

    Raises
    ------
    InputError
        If days are negative.

    References
    ----------
    Lachin, Control Clin Trials 1999;20:408, doi 10.1016/S0197-2456(99)00022-7 (worst rank).

    Examples
    --------
    >>> stay_with_death_longest([12, 3, 70], [0, 1, 0], horizon=60).tolist()
    [12.0, 60.0, 60.0]
    """
    n = np.size(days)
    stay = as_values("days", days, n, missing=True, lowest=0)
    return np.where(as_indicator("died", died, n) == 1, horizon, np.minimum(stay, horizon))


def compare_days(
    days: ArrayLike,
    treatment: ArrayLike,
    *,
    endpoint: str,
    strata: ArrayLike | None = None,
    level: float = 0.95,
) -> list[EndpointResult]:
    """Compare the arms' days: difference in means with Welch's interval, and by ranks.

    Days of this kind are skewed, with many zeros: the mean says how many days are gained, the ranks give the test.

    Parameters
    ----------
    days : array-like of shape (n,)
        NaN where unknown (not counted).
    treatment : array-like of shape (n,)
        1 treated, 0 control.
    endpoint : str
    strata : array-like of shape (n,), optional
        For the test by ranks, such as sites (van Elteren's test).
    level : float

    Returns
    -------
    list of EndpointResult
        Scales difference (days) and probability (see `rank_test`).

    Raises
    ------
    InputError
        If an arm has fewer than two known values, all are the same, or there is only one stratum.

    References
    ----------
    Welch, Biometrika 1947;34:28, doi 10.1093/biomet/34.1-2.28; else as for `rank_test`.

    Examples
    --------
    >>> results = compare_days([0, 9, 14, 20, 0, 0, 4, 11], [1, 1, 1, 1, 0, 0, 0, 0], endpoint="ventilator_free_days")
    >>> [(result.scale, result.estimate) for result in results]
    [('difference', 7.0), ('probability', 0.75)]
    """
    values = as_values(endpoint, days, np.size(treatment), missing=True, lowest=0)
    ranks = rank_test(values, treatment, endpoint=endpoint, strata=strata, level=level)
    return [ancova(values, treatment, endpoint=endpoint, level=level), ranks]


def _checked(days: ArrayLike, death: ArrayLike) -> tuple[Floats, Floats]:
    """Return days and day of death, infinite where none."""
    n = np.size(days)
    spent = as_values("days", days, n, missing=True, lowest=0)
    died = as_values("death", death, n, missing=True, lowest=0)
    if longer := int((spent > died).sum()):
        raise InputError(
            f"days: {longer} patients have more days than they lived. Mend the days or the dates of death."
        )
    return spent, np.where(np.isnan(died), np.inf, died)
