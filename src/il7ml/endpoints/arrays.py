"""The door of the endpoints: arms, outcomes, times and strata are checked here once, then trusted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: What tables call the arms, in their order.
ARMS = ("control", "treated")


def as_treated(treatment: ArrayLike) -> Bools:
    """Return who was allocated to the treated arm.

    Parameters
    ----------
    treatment : array-like of shape (n,)
        1 treated, 0 control.

    Raises
    ------
    InputError
        If other values occur or an arm is empty.

    Examples
    --------
    >>> as_treated([0, 1, 1]).tolist()
    [False, True, True]
    """
    values = _numbers("treatment", treatment)
    if not np.isin(values, (0, 1)).all():
        raise InputError("treatment: expected 1 (treated) or 0 (control) for every patient; other values came.")
    treated = np.asarray(values == 1)
    if treated.all() or not treated.any():
        raise InputError(
            f"treatment: expected patients in both arms; {int(treated.sum())} treated and {int((~treated).sum())} "
            "control patients came. Check which arms the analysis takes."
        )
    return treated


def as_values(name: str, values: ArrayLike, n: int, *, missing: bool = False, lowest: float | None = None) -> Floats:
    """Return a numeric column.

    Parameters
    ----------
    name : str
        What it is called in messages.
    values : array-like of shape (n,)
    n : int
        Length it must have.
    missing : bool
        Whether NaN is allowed.
    lowest : float, optional
        Smallest value allowed.

    Raises
    ------
    InputError
        If the length differs, or values are not numbers, infinite, missing or too low.

    Examples
    --------
    >>> as_values("time", [3, 5], 2, lowest=0).tolist()
    [3.0, 5.0]
    """
    array = _numbers(name, values)
    if array.shape != (n,):
        raise InputError(f"{name}: expected {n} values, one a patient; an array of shape {array.shape} came.")
    if np.isinf(array).any():
        raise InputError(f"{name}: expected finite numbers; infinite ones came. Mend them.")
    unknown = int(np.isnan(array).sum())
    if unknown and not missing:
        raise InputError(f"{name}: expected a value for every patient; {unknown} are missing. Complete them.")
    if lowest is not None and (low := int((array < lowest).sum())):
        raise InputError(f"{name}: expected values of at least {lowest:g}; {low} lower ones came. Mend them.")
    return array


def as_indicator(name: str, values: ArrayLike, n: int, *, missing: bool = False) -> Floats:
    """Return a column of 0 and 1 (and NaN where `missing` allows it).

    Raises
    ------
    InputError
        If other values occur.
    """
    array = as_values(name, values, n, missing=missing)
    if not np.isin(array[~np.isnan(array)], (0, 1)).all():
        raise InputError(f"{name}: expected 1 (happened) or 0 (did not); other values came. Recode them.")
    return array


def as_counts(name: str, values: ArrayLike, n: int) -> Floats:
    """Return a column of numbers of events.

    Raises
    ------
    InputError
        If values are negative or not whole.
    """
    array = as_values(name, values, n, lowest=0)
    if (array != np.round(array)).any():
        raise InputError(f"{name}: expected whole numbers of events; others came. Recode them.")
    return array


def as_status(status: ArrayLike, n: int) -> Floats:
    """Return how each patient's time ended: 0 censored, 1 event, 2 and above competing events.

    Raises
    ------
    InputError
        If values are negative or not whole.
    """
    array = as_values("status", status, n)
    if ((array < 0) | (array != np.round(array))).any():
        raise InputError("status: expected 0 (censored), 1 (event) or 2 and above (competing events); others came.")
    return array


def as_logarithms(name: str, values: Floats) -> Floats:
    """Return the logarithms of measurements of any shape, NaN where missing.

    Raises
    ------
    InputError
        If a measurement is 0 or negative.

    Examples
    --------
    >>> as_logarithms("count", np.array([1.0, np.nan])).tolist()
    [0.0, nan]
    """
    if wrong := int((values <= 0).sum() + np.isinf(values).sum()):
        raise InputError(
            f"{name}: expected positive, finite measurements, for a ratio is estimated; {wrong} others came. "
            "Replace those below the limit of detection by half of it."
        )
    return np.log(values)


def as_exposure(exposure: ArrayLike, n: int) -> Floats:
    """Return each patient's time at risk; a single number counts for all.

    Raises
    ------
    InputError
        If a time at risk is not positive.
    """
    array = as_values(
        "exposure", np.broadcast_to(np.asarray(exposure), (n,)) if np.ndim(exposure) == 0 else exposure, n
    )
    if none := int((array <= 0).sum()):
        raise InputError(
            f"exposure: expected a positive time at risk for every patient; {none} have none. "
            "Count the day of randomisation as half a day, or leave these patients out."
        )
    return array


def as_positions(patient: ArrayLike, n: int) -> NDArray[np.intp]:
    """Return the position of the patient that each row of a long table is about.

    Parameters
    ----------
    patient : array-like of int of shape (m,)
        Positions from 0.
    n : int
        Patients.

    Raises
    ------
    InputError
        If a position is missing, not whole, negative or too high.

    Examples
    --------
    >>> as_positions([0, 2, 2], 3).tolist()
    [0, 2, 2]
    """
    values = _numbers("patient", patient)
    if wrong := int((~np.isin(values, np.arange(n))).sum()):
        raise InputError(
            f"patient: expected positions from 0 to {n - 1} in every row; {wrong} rows have others or none. "
            "Map the identifiers, and leave out patients who were not randomised."
        )
    return values.astype(np.intp)


def as_strata(strata: ArrayLike, n: int) -> NDArray[np.intp]:
    """Return each patient's stratum as a number from 0.

    Raises
    ------
    InputError
        If a stratum is missing or all patients are in one.

    Examples
    --------
    >>> as_strata(["uk", "fr", "uk"], 3).tolist()
    [0, 1, 0]
    """
    codes, names = pd.factorize(np.asarray(strata, dtype=object))
    if codes.shape != (n,):
        raise InputError(f"strata: expected {n} values, one a patient; {codes.size} came.")
    if (codes < 0).any():
        raise InputError(f"strata: expected a value for every patient; {int((codes < 0).sum())} are missing.")
    if len(names) < 2:
        raise InputError("strata: expected at least two, such as sites; one came. Leave strata out.")
    return np.asarray(codes, dtype=np.intp)


def require_events(endpoint: str, happened: ArrayLike, treated: Bools) -> None:
    """Refuse an endpoint without events in an arm: no relative effect can be estimated from it.

    Raises
    ------
    InputError
        If an arm has no events.
    """
    counts = np.asarray(happened, dtype=float)
    for name, arm in zip(ARMS, (~treated, treated), strict=True):
        if np.nansum(counts[arm]) == 0:
            raise InputError(
                f"endpoint {endpoint!r}: no events in the {name} arm, so no effect can be estimated. "
                "Check the endpoint's definition, or report the arms' numbers alone."
            )


def _numbers(name: str, values: Any) -> Floats:
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected numbers; others came. Convert them first.") from None
