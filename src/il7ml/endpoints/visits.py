"""Measurements in long form turned into one row a patient: a value at each visit, or the last one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.endpoints.arrays import as_positions, as_values
from il7ml.errors import InputError

Floats = NDArray[np.float64]


def visit_matrix(
    patient: ArrayLike,
    day: ArrayLike,
    value: ArrayLike,
    schedule: Sequence[float],
    *,
    patients: int,
    death: ArrayLike | None = None,
) -> Floats:
    """Assign measurements to scheduled visits.

    A measurement belongs to the nearest visit, half way between two to the later; one after the last visit belongs to
    it up to half the gap before it. Of several at one visit the nearest to the scheduled day counts, of two as near
    the later. The order of rows does not matter.

    Parameters
    ----------
    patient : array-like of int of shape (m,)
        Position of each measurement's patient, from 0.
    day : array-like of shape (m,)
        Day since randomisation, not negative. Measurements on day 0 are the baseline and belong to no visit.
    value : array-like of shape (m,)
        NaN is left out.
    schedule : sequence of float of length v
        Days of the visits, increasing and above 0.
    patients : int
        Number n of patients.
    death : array-like of shape (n,), optional
        Day of death, NaN where none.

    Returns
    -------
    ndarray of shape (n, v)
        NaN where a patient has no value.

    Raises
    ------
    InputError
        If visits are out of order, days negative, or measurements lie after the patient's death.

    Examples
    --------
    >>> visit_matrix([0, 0, 1], [3, 8, 13], [0.5, 0.7, 0.9], [3, 7, 14], patients=2).tolist()
    [[0.5, 0.7, nan], [nan, nan, 0.9]]
    """
    planned = np.asarray(schedule, dtype=float)
    if planned.size == 0 or planned[0] <= 0 or (np.diff(planned) <= 0).any():
        raise InputError("schedule: visits are out of order. Give their days increasing, the first after day 0.")
    rows = _rows(patient, day, value, patients, death)
    edges = np.concatenate([[0.0], (planned[1:] + planned[:-1]) / 2])
    end = planned[-1] + (planned[-1] - edges[-1])
    rows["visit"] = np.searchsorted(edges, rows["day"], side="right") - 1
    rows = rows[(rows["day"] > 0) & (rows["day"] <= end)]
    rows = rows.assign(distance=np.abs(rows["day"] - planned[rows["visit"]]), later=-rows["day"])
    chosen = rows.sort_values(["distance", "later"]).drop_duplicates(["patient", "visit"])
    matrix = np.full((patients, planned.size), np.nan)
    matrix[chosen["patient"], chosen["visit"]] = chosen["value"]
    return matrix


def last_value(
    patient: ArrayLike,
    day: ArrayLike,
    value: ArrayLike,
    *,
    patients: int,
    by_day: float = 30.0,
    discharge: ArrayLike | None = None,
    death: ArrayLike | None = None,
) -> Floats:
    """Return each patient's last measurement after randomisation, by a day and by discharge.

    Parameters
    ----------
    patient, day, value, patients, death
        As for `visit_matrix`. Of several measurements on one day the last row counts.
    by_day : float
    discharge : array-like of shape (n,), optional
        Day of discharge, NaN where none; measurements after it do not count.

    Returns
    -------
    ndarray of shape (n,)
        NaN for a patient without one.

    Raises
    ------
    InputError
        If days are negative or measurements lie after the patient's death.

    Examples
    --------
    >>> last_value([0, 0, 0, 1], [0, 7, 20, 0], [0.4, 0.6, 1.2, 0.5], patients=2, discharge=[14, 9]).tolist()
    [0.6, nan]
    """
    rows = _rows(patient, day, value, patients, death)
    end = np.full(patients, by_day)
    if discharge is not None:
        end = np.fmin(end, as_values("discharge", discharge, patients, missing=True, lowest=0))
    rows = rows[(rows["day"] > 0) & (rows["day"] <= end[rows["patient"]])]
    final = rows.sort_values("day", kind="stable").drop_duplicates("patient", keep="last")
    found = np.full(patients, np.nan)
    found[final["patient"]] = final["value"]
    return found


def time_to_threshold(
    patient: ArrayLike,
    day: ArrayLike,
    value: ArrayLike,
    end: ArrayLike,
    end_status: ArrayLike,
    *,
    threshold: float = 1.0,
    death: ArrayLike | None = None,
) -> tuple[Floats, Floats]:
    """Return time to the first measurement at or above a threshold, with death and discharge below it competing.

    Parameters
    ----------
    patient, day, value, death
        As for `visit_matrix`. Measurements on day 0 do not count, nor do those after `end`.
    end : array-like of shape (n,)
        Day on which observation ends: discharge, death or the last day of the window.
    end_status : array-like of shape (n,)
        0 still in hospital below the threshold, 2 and above discharged or dead.
    threshold : float
        In the unit of `value`: 1.0 for a lymphocyte count in 10^9/L.

    Returns
    -------
    time, status : ndarray of shape (n,)
        Status 1 where the threshold was reached, else `end_status`, as `competing` takes them.

    Raises
    ------
    InputError
        If days are negative, measurements lie after the patient's death, or `end_status` is 1.

    Examples
    --------
    >>> time, status = time_to_threshold([0, 0, 1], [3, 7, 5], [0.8, 1.1, 0.6], [20, 9], [0, 2])
    >>> time.tolist(), status.tolist()
    ([7.0, 9.0], [1.0, 2.0])
    """
    n = np.size(end)
    time = as_values("end", end, n, lowest=0).copy()
    status = as_values("end_status", end_status, n, lowest=0).copy()
    if (status == 1).any():
        raise InputError("end_status: expected 0 (observed to the end) or 2 and above (discharge, death); 1 came.")
    rows = _rows(patient, day, value, n, death)
    reached = rows[(rows["day"] > 0) & (rows["value"] >= threshold) & (rows["day"] <= time[rows["patient"]])]
    first = reached.groupby("patient")["day"].min()
    time[first.index] = first
    status[first.index] = 1.0
    return time, status


def _rows(patient: ArrayLike, day: ArrayLike, value: ArrayLike, patients: int, death: ArrayLike | None) -> pd.DataFrame:
    """Return the checked measurements, without missing ones."""
    who = as_positions(patient, patients)
    days = as_values("day", day, who.size, lowest=0)
    values = as_values("value", value, who.size, missing=True)
    if death is not None:
        died = as_values("death", death, patients, missing=True, lowest=0)
        if late := int((days > died[who]).sum()):
            raise InputError(
                f"day: {late} measurements lie after the patient's death. Mend the dates or leave them out."
            )
    frame = pd.DataFrame({"patient": who, "day": days, "value": values})
    return frame[~np.isnan(values)]
