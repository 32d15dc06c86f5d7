"""What a study file says of the time after randomisation: measurements, stays, adverse events, death and discharge.

Models are trained on none of this; the trial's own analysis needs it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from il7ml.data.sources import EventSource, Values, check_apart
from il7ml.schema import Closed

Day = Annotated[float, Field(gt=0)]


class MeasurementSpec(Closed):
    """One quantity measured again and again, in a long table: a row a measurement.

    Attributes
    ----------
    title : str
    table, day, value : str
        The table, and its columns with the day since randomisation and the value.
    where : dict
        Which rows of the table are this quantity.
    unit : str
        Unit of the values; where the quantity is a variable of the dictionary, one that the dictionary accepts, and
        values are turned into the canonical one.
    unit_column : str, optional
        Column that states each row's unit; rows in another one are an error.
    schedule : tuple of float
        Days of the planned visits; a measurement belongs to the nearest.
    recovery : bool
        Whether rising values are what the treatment is for: then the last value and the time to `threshold` are
        compared as well, beside the values at the visits.
    threshold : float, optional
        Value that counts as recovered, in `unit`.
    by_day : float
        Last day for the final value and for reaching the threshold.
    harmful : bool
        Whether higher values are worse.
    """

    title: str = Field(min_length=1)
    table: str = Field(min_length=1)
    day: str = Field(min_length=1)
    value: str = Field(min_length=1)
    where: dict[str, Values] = Field(default_factory=dict)
    unit: str = ""
    unit_column: str | None = None
    schedule: tuple[Day, ...] = Field(min_length=1)
    recovery: bool = False
    threshold: float | None = Field(default=None, gt=0)
    by_day: Day = 30.0
    harmful: bool = True

    @model_validator(mode="after")
    def _in_order(self) -> MeasurementSpec:
        if any(later <= earlier for earlier, later in zip(self.schedule, self.schedule[1:], strict=False)):
            raise ValueError("schedule: visits are out of order; give their days increasing")
        if self.threshold is not None and not self.recovery:
            raise ValueError("threshold goes with recovery: true")
        return self


class StaySpec(Closed):
    """Days spent somewhere, from a column of the patients table, and how death enters them.

    Attributes
    ----------
    column : str
    compare : {'stay', 'free_days', 'alive_out_of_hospital'}
        The days themselves, those who died during the stay counted as staying to the horizon; days free of support by
        the horizon, none for those who died; days alive and out of hospital by the horizon.
    horizon : float
    """

    title: str = Field(min_length=1)
    column: str = Field(min_length=1)
    compare: Literal["stay", "free_days", "alive_out_of_hospital"]
    horizon: Day = 30.0

    @property
    def harmful(self) -> bool:
        """Whether more days are worse."""
        return self.compare == "stay"


class AdverseEventSpec(Closed):
    """Rows of a table that are adverse events, with term, CTCAE grade and seriousness.

    Attributes
    ----------
    events : EventSource
    term, grade, serious : str
        Columns; with `split` names of its parts.
    present, absent : scalar or tuple
        Values of `serious` that mean yes and no.
    by_day : float
        Last day that counts; the time at risk ends then or with follow-up.
    split : dict of str to str, optional
        ``{column: detail, separator: "|"}`` where one column holds all three.
    """

    events: EventSource
    term: str = "term"
    grade: str = "grade"
    serious: str = "serious"
    present: Values = 1
    absent: Values = 0
    by_day: Day = 30.0
    split: SplitSpec | None = None

    @model_validator(mode="after")
    def _yes_or_no(self) -> AdverseEventSpec:
        check_apart("present", self.present, "absent", self.absent)
        return self


class SplitSpec(Closed):
    """A column that holds several things: its parts from left to right."""

    column: str = Field(min_length=1)
    separator: str = Field(default="|", min_length=1, max_length=1)
    into: tuple[str, ...] = ("term", "grade", "serious")


class RuleSpec(Closed):
    """A pre-stated rule on measurements, met by a patient on a day on which enough of them are beyond their limits.

    Attributes
    ----------
    above : dict of str to float
        Measurement and the value, in its unit, above which it counts.
    at_least : int
        How many must be beyond on one day.
    """

    title: str = Field(min_length=1)
    estimand: str = Field(min_length=1)
    above: dict[str, float] = Field(min_length=1)
    at_least: int = Field(default=1, ge=1)
    by_day: Day = 30.0

    @model_validator(mode="after")
    def _can_be_met(self) -> RuleSpec:
        if self.at_least > len(self.above):
            raise ValueError("at_least: more than there are measurements under 'above'")
        return self


class CourseSpec(Closed):
    """The time after randomisation.

    Attributes
    ----------
    death, discharge : EventSource
        From hospital.
    follow_up : str
        Column of the patients table with each patient's last day of follow-up.
    mortality_days : tuple of float
        Days by which deaths are compared.
    doses : str, optional
        Column of the patients table with the number of doses given.
    """

    death: EventSource
    discharge: EventSource
    follow_up: str = Field(min_length=1)
    mortality_days: tuple[Day, ...] = Field(default=(30.0, 60.0, 90.0), min_length=1)
    doses: str | None = None
    measurements: dict[str, MeasurementSpec] = Field(default_factory=dict)
    stays: dict[str, StaySpec] = Field(default_factory=dict)
    adverse_events: AdverseEventSpec | None = None
    rules: dict[str, RuleSpec] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _rules_have_measurements(self) -> CourseSpec:
        for name, rule in self.rules.items():
            for measurement in rule.above:
                if measurement not in self.measurements:
                    raise ValueError(f"rule {name!r} uses {measurement!r}, which is not under 'measurements'")
        return self

    @model_validator(mode="after")
    def _results_told_apart(self) -> CourseSpec:
        names = self.results
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is the name of two results; give stays and rules other names")
        return self

    @property
    def results(self) -> list[str]:
        """Names under which the analysis gives its results."""
        names = ["death"]
        for name, measurement in self.measurements.items():
            names += [f"{name}_average", *([f"{name}_final", f"{name}_recovery"] if measurement.recovery else [])]
        safety = [] if self.adverse_events is None else ["adverse_event", "serious_adverse_event"]
        return [*names, *self.stays, *safety, *self.rules]

    @property
    def tables(self) -> set[str]:
        """Names of the tables used."""
        used = {self.death.table, self.discharge.table, *(each.table for each in self.measurements.values())}
        return used if self.adverse_events is None else {*used, self.adverse_events.events.table}


AdverseEventSpec.model_rebuild()
