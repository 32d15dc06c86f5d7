"""What the `fit` methods take beside the frame: one finite number a patient, refused with a remedy if it is not."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from il7ml.errors import InputError
from il7ml.family import Kind

Floats = NDArray[np.float64]


def vector(values: ArrayLike, n: int, name: str) -> Floats:
    """Return `values` as floats of shape (n,).

    Raises
    ------
    InputError
        If they are not numbers, not as many as patients, or not all finite.
    """
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected numbers; other values came. Recode it.") from None
    if array.shape != (n,):
        raise InputError(f"{name}: expected {n} values, one a row of X, got shape {array.shape}. Align it with X.")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: expected finite numbers; some are missing or infinite. Leave such patients out.")
    return array


def arm_vector(treatment: ArrayLike, n: int) -> Floats:
    """Return the arms of n patients.

    Raises
    ------
    InputError
        If there is anything but 0 and 1.
    """
    arm = vector(treatment, n, "treatment")
    if not np.isin(arm, (0.0, 1.0)).all():
        raise InputError("treatment: expected 0 (control) and 1 (treated) only; other values came. Recode the arms.")
    return arm


def outcome_vector(y: ArrayLike, n: int, kind: Kind) -> Floats:
    """Return the outcomes of n patients.

    Raises
    ------
    InputError
        If a binary outcome is not 0 or 1, or a count is negative.
    """
    outcome = vector(y, n, "y")
    if kind == "binary" and not np.isin(outcome, (0.0, 1.0)).all():
        raise InputError("y: expected 0 (no) and 1 (yes) for a binary outcome; other values came. Recode the outcome.")
    if kind == "count" and (outcome < 0).any():
        raise InputError("y: expected numbers of events; negative values came. Use a continuous outcome for these.")
    return outcome


def weight_vector(weight: ArrayLike | None, n: int) -> Floats:
    """Return the weights of n patients, 1 by default.

    Raises
    ------
    InputError
        If a weight is negative, or none is positive.
    """
    weights = np.ones(n) if weight is None else vector(weight, n, "sample_weight")
    if (weights < 0).any() or not (weights > 0).any():
        raise InputError("sample_weight: expected weights of 0 or more, not all 0. Use 0 where the outcome is unknown.")
    return weights


def exposure_vector(exposure: ArrayLike | None, n: int, kind: Kind) -> Floats | None:
    """Return the times at risk of n patients; None without them.

    Raises
    ------
    InputError
        If a time is not positive, or the outcome is no count.
    """
    if exposure is None:
        return None
    if kind != "count":
        raise InputError(
            f"exposure: expected none for a {kind} outcome; only counts have a time at risk. Leave it out."
        )
    time = vector(exposure, n, "exposure")
    if (time <= 0).any():
        raise InputError(
            "exposure: expected times at risk above 0; others came. Leave patients without time at risk out."
        )
    return time
