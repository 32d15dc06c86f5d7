"""The cohort: a trial's patients, checked once and never changed. Behind it nothing checks columns again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml import notebook, texts
from il7ml.data.course import Course
from il7ml.data.study import Endpoint, Study
from il7ml.schema import Variable

Floats = NDArray[np.float64]

_MEANING = {"kind", "unit", "scale", "direction", "levels", "known"}


class Timeline(NamedTuple):
    """When the events of an event table happened.

    Attributes
    ----------
    patient : ndarray of int of shape (events,)
        Position of each counted event's patient.
    day : ndarray of shape (events,)
    last : ndarray of shape (n,)
        Last day on which an event of each patient counts; infinite where the endpoint sets no limit.
    ended : ndarray of bool of shape (n,)
        Whether another event (discharge, death) set that day.
    """

    patient: NDArray[np.intp]
    day: Floats
    last: Floats
    ended: NDArray[np.bool_]


class Observed(NamedTuple):
    """One endpoint as observed, a value a patient.

    Attributes
    ----------
    spec : Endpoint
        Its definition in the study file.
    value : ndarray of shape (n,)
        Binary: 0, 1 or NaN (unknown). Count: number of events. Continuous: the number or NaN.
        Time to event: 0 censored, 1 event, 2 competing event.
    time : ndarray of shape (n,) or None
        Time to event or censoring.
    exposure : ndarray of shape (n,) or None
        Time at risk, for counts, in units of the endpoint's `per`.
    timeline : Timeline or None
        For endpoints that come from an event table.
    """

    spec: Endpoint
    value: Floats
    time: Floats | None = None
    exposure: Floats | None = None
    timeline: Timeline | None = None


class Flow(NamedTuple):
    """How many patients the tables hold and how many are analysed."""

    rows: int
    other_arms: int
    analysed: int
    control: int
    treated: int


@dataclass(frozen=True, repr=False, eq=False)
class Cohort:
    """Patients of a two-arm trial: baseline values, arm, outcomes.

    Made by `load_cohort` or `simulate_trial`; arrays are read-only and frames are copies on write.

    Attributes
    ----------
    study : Study
        The definition it was read with.
    treatment : ndarray of shape (n,)
        1 for the treated arm, 0 for control.
    propensity : ndarray of shape (n,)
        Known probability of being allocated to the treated arm.
    site : ndarray of shape (n,) or None
        Site of each patient, as text.
    outcomes : mapping of str to Observed
    flow : Flow
    course : Course or None
        What happened after randomisation, where the study file describes it and it was read.
    """

    study: Study
    treatment: NDArray[np.int8]
    propensity: Floats
    site: NDArray[np.object_] | None
    outcomes: Mapping[str, Observed]
    flow: Flow
    _values: pd.DataFrame = field(repr=False)
    course: Course | None = None

    def __post_init__(self) -> None:
        arrays: list[NDArray[Any] | None] = [self.treatment, self.propensity, self.site]
        for observed in self.outcomes.values():
            arrays += [observed.value, observed.time, observed.exposure, *(observed.timeline or ())]
        for array in arrays:
            if array is not None:
                array.flags.writeable = False
        object.__setattr__(self, "outcomes", MappingProxyType(dict(self.outcomes)))

    def __len__(self) -> int:
        return self.treatment.size

    def __repr__(self) -> str:
        """Describe the cohort without showing a patient."""
        kind = "simulated" if self.study.simulated else "real"
        return (
            f"Cohort({self.study.name!r}, {kind}, {len(self)} patients: {self.flow.control} {self.control_label}, "
            f"{self.flow.treated} {self.treated_label}; endpoints: {', '.join(self.outcomes)})"
        )

    def _repr_html_(self) -> str:
        """Describe the cohort in a notebook, without showing a patient."""
        arms = [[self.control_label, f"{self.flow.control}"], [self.treated_label, f"{self.flow.treated}"]]
        endpoints = [[name, self.study.endpoint(name).title] for name in self.outcomes]
        return "".join(
            (
                notebook.paragraph(texts.SIMULATED_DATA if self.study.simulated else "", strong=True),
                notebook.heading(self.study.title),
                notebook.table(["Arm", "Patients"], arms),
                notebook.table(["Endpoint", "What it is"], endpoints),
                notebook.paragraph(f"{len(self.baseline_variables)} variables known at randomisation."),
            )
        )

    @property
    def control_label(self) -> str:
        """What the control arm is called."""
        return self.study.arms.control.label

    @property
    def treated_label(self) -> str:
        """What the treated arm is called."""
        return self.study.arms.treated.label

    @property
    def variables(self) -> dict[str, Variable]:
        """All variables, also those known only after randomisation."""
        return self.study.mapped

    @property
    def baseline_variables(self) -> dict[str, Variable]:
        """Variables known at or before randomisation: what features may be made of."""
        return {name: variable for name, variable in self.variables.items() if variable.is_baseline}

    @property
    def baseline(self) -> pd.DataFrame:
        """Baseline values by canonical name and in canonical units, shape (n, k)."""
        return self._values[list(self.baseline_variables)]

    @property
    def values(self) -> pd.DataFrame:
        """All variables' values, also later ones: for reports, never for features."""
        return self._values.copy()

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything a model can depend on; two cohorts with the same digest give the same results."""
        whole = hashlib.sha256()
        variables = self.variables
        for name in sorted(self._values.columns):
            # Models also see how a variable is to be read, which a study may define.
            whole.update(f"{name} {variables[name].model_dump_json(include=_MEANING)}".encode())
            whole.update(
                pd.util.hash_pandas_object(self._values[name].astype(object), index=False).to_numpy().tobytes()
            )
        whole.update("\n".join(self.study.modifiers).encode())
        for array in (self.treatment, self.propensity):
            whole.update(np.ascontiguousarray(array, dtype=float).tobytes())
        if self.site is not None:
            whole.update("\n".join(map(str, self.site)).encode())
        for name in sorted(self.outcomes):
            observed = self.outcomes[name]
            whole.update(f"{name} {observed.spec.model_dump_json()}".encode())
            for part in (observed.value, observed.time, observed.exposure):
                if part is not None:
                    whole.update(np.ascontiguousarray(part).tobytes())
        return whole.hexdigest()
