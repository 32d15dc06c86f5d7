"""What happened to the patients after randomisation, as arrays: for the trial's own analysis, never for features."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.data.course_spec import CourseSpec, MeasurementSpec

Floats = NDArray[np.float64]


class Measured(NamedTuple):
    """The measurements of one quantity.

    Attributes
    ----------
    spec : MeasurementSpec
    unit : str
        Unit of `value`.
    patient : ndarray of int of shape (m,)
        Position of each measurement's patient.
    day, value : ndarray of shape (m,)
    factor : float
        From the study file's unit to `unit`.
    baseline : ndarray of shape (n,)
        Value on day 0, NaN where none.
    """

    spec: MeasurementSpec
    unit: str
    patient: NDArray[np.intp]
    day: Floats
    value: Floats
    factor: float
    baseline: Floats

    @property
    def threshold(self) -> float | None:
        """The spec's threshold, in `unit`."""
        return None if self.spec.threshold is None else self.spec.threshold * self.factor


class Course(NamedTuple):
    """The time after randomisation of n patients.

    Attributes
    ----------
    spec : CourseSpec
    death, discharge : ndarray of shape (n,)
        Day, NaN where none.
    follow_up : ndarray of shape (n,)
        Last day of follow-up.
    doses : ndarray of shape (n,) or None
        Doses given.
    measurements : mapping of str to Measured
    stays : mapping of str to ndarray of shape (n,)
        Days, NaN where unknown.
    adverse_events : DataFrame or None
        Columns patient (position), day, term, grade, serious; a row an event.
    """

    spec: CourseSpec
    death: Floats
    discharge: Floats
    follow_up: Floats
    doses: Floats | None
    measurements: Mapping[str, Measured]
    stays: Mapping[str, Floats]
    adverse_events: pd.DataFrame | None

    def digest(self) -> str:
        """Return a SHA-256 over all values."""
        whole = hashlib.sha256(self.spec.model_dump_json().encode())
        arrays = [self.death, self.discharge, self.follow_up, *([] if self.doses is None else [self.doses])]
        for name in sorted(self.measurements):
            measured = self.measurements[name]
            arrays += [measured.patient.astype(float), measured.day, measured.value]
        arrays += [self.stays[name] for name in sorted(self.stays)]
        for array in arrays:
            whole.update(np.ascontiguousarray(array, dtype=float).tobytes())
        if self.adverse_events is not None:
            whole.update(
                pd.util.hash_pandas_object(self.adverse_events.astype(object), index=False).to_numpy().tobytes()
            )
        return whole.hexdigest()
