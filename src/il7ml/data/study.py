"""The study file: which tables a trial has, and what their columns mean."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from il7ml.config import read_yaml
from il7ml.data.course_spec import CourseSpec
from il7ml.data.sources import EventSource, JoinedColumn, Scalar, TableSpec, Values, as_codes, check_apart
from il7ml.errors import InputError, nearest
from il7ml.schema import Closed, Variable, explain, load_dictionary, parse_variables

PATIENTS = "patients"


class ArmSpec(Closed):
    """One arm of the contrast: how the tables name it, and what people call it."""

    value: Values
    label: str = Field(min_length=1)

    @property
    def values(self) -> tuple[str, ...]:
        """The arm's values as codes."""
        return as_codes(self.value)


class ArmsSpec(Closed):
    """The contrast: a control and a treated arm in one column of the patients table.

    Attributes
    ----------
    other_arms : {'refuse', 'exclude'}
        What to do with patients of further arms.
    """

    column: str = Field(min_length=1)
    control: ArmSpec
    treated: ArmSpec
    other_arms: Literal["refuse", "exclude"] = "refuse"

    @model_validator(mode="after")
    def _two_arms(self) -> ArmsSpec:
        check_apart("control", self.control.value, "treated", self.treated.value)
        return self


class AllocationSpec(Closed):
    """Known probability of being allocated to the treated arm: one number, or one a stratum."""

    probability: float | None = Field(default=None, gt=0, lt=1)
    stratum: str | None = None
    by_stratum: dict[Scalar, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_form(self) -> AllocationSpec:
        stratified = self.stratum is not None and bool(self.by_stratum)
        if (self.probability is not None) == stratified or (self.stratum is None) == bool(self.by_stratum):
            raise ValueError("give either probability, or stratum (a column) with by_stratum")
        return self


class VariableMap(Closed):
    """Where a variable stands in the patients table and how its values are written.

    Attributes
    ----------
    column : str, optional
        By default the variable's own name.
    unit : str, optional
        Unit of the column; needed where the variable has units.
    levels : dict
        For categorical variables: value in the table to level of the dictionary.
    present, absent : scalar or tuple
        For binary variables: values that mean yes and no (default 1 and 0).
    """

    column: str | None = None
    unit: str | None = None
    levels: dict[Scalar, str] = Field(default_factory=dict)
    present: Values = 1
    absent: Values = 0

    @model_validator(mode="after")
    def _yes_or_no(self) -> VariableMap:
        check_apart("present", self.present, "absent", self.absent)
        return self


class _Endpoint(Closed):
    title: str = Field(min_length=1)
    estimand: str = Field(min_length=1)
    harmful: bool = True


class BinaryEndpoint(_Endpoint):
    """Yes or no: a column of the patients table, or whether an event happened (by a day, before other events).

    Attributes
    ----------
    column, event : str, scalar or tuple
        Column and the values that mean "yes".
    events : EventSource
        An event table instead of a column.
    by_day : float, optional
        Last day that counts.
    until : tuple of EventSource
        Only events up to and including the first of these count (discharge, death).
    follow_up : str, optional
        Column of the patients table with each patient's last day of follow-up, where it differs between patients and
        the endpoint is any event in it. The analysis then also looks at the time to the first event.
    missing : {'refuse', 'weight'}
        Patients without outcome are an error, or the others are weighted by the inverse share observed in their arm.
    """

    kind: Literal["binary"]
    column: str | None = None
    event: Values = 1
    events: EventSource | None = None
    by_day: float | None = Field(default=None, gt=0)
    until: tuple[EventSource, ...] = ()
    follow_up: str | None = None
    missing: Literal["refuse", "weight"] = "refuse"

    @model_validator(mode="after")
    def _one_source(self) -> BinaryEndpoint:
        _check_source(self.column, self.events, self.by_day, self.until, self.follow_up)
        return self


class CountEndpoint(_Endpoint):
    """Number of events, from a column or an event table, over a time at risk.

    Attributes
    ----------
    exposure : str or float
        Column of the patients table with the time at risk, or one number for all patients.
    at_risk : bool
        Instead of `exposure`: the time at risk is the days until events stop counting (by day, discharge, follow-up).
    follow_up : str, optional
        Column with each patient's last day of follow-up, for the analysis of recurrent events.
    per : float
        Rates are given per this much exposure (1: per unit, 1000: per 1,000 units).
    unit : str
        What the rate is per, in words.
    """

    kind: Literal["count"]
    column: str | None = None
    events: EventSource | None = None
    by_day: float | None = Field(default=None, gt=0)
    until: tuple[EventSource, ...] = ()
    follow_up: str | None = None
    exposure: str | Annotated[float, Field(gt=0)] = 1.0
    at_risk: bool = False
    per: float = Field(default=1.0, gt=0)
    unit: str = "patient"

    @model_validator(mode="after")
    def _one_source(self) -> CountEndpoint:
        _check_source(self.column, self.events, self.by_day, self.until, self.follow_up)
        if self.at_risk and self.by_day is None and self.follow_up is None:
            raise ValueError("at_risk needs by_day or follow_up, where the days end")
        if self.at_risk and self.exposure != 1:
            raise ValueError("give either exposure or at_risk")
        return self


class ContinuousEndpoint(_Endpoint):
    """A number measured once a patient."""

    kind: Literal["continuous"]
    column: str = Field(min_length=1)
    unit: str = ""
    missing: Literal["refuse", "weight"] = "refuse"


class TimeToEventEndpoint(_Endpoint):
    """A time with an event indicator, possibly censored.

    Models are trained on "event by day `by_day`"; patients censored before are weighted (inverse probability of
    censoring).

    Attributes
    ----------
    time, event : str
        Columns of the patients table.
    event_value, censored_value : scalar or tuple
        Values of the event column that mean: the event happened at that time, or nothing had happened until then.
    competing_value : scalar or tuple, optional
        Values that mean a competing event, after which the event cannot happen.
    """

    kind: Literal["time_to_event"]
    time: str = Field(min_length=1)
    event: str = Field(min_length=1)
    event_value: Values = 1
    censored_value: Values = 0
    competing_value: Values | None = None
    by_day: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _told_apart(self) -> TimeToEventEndpoint:
        check_apart("event_value", self.event_value, "censored_value", self.censored_value)
        if self.competing_value is not None:
            check_apart("event_value", self.event_value, "competing_value", self.competing_value)
            check_apart("censored_value", self.censored_value, "competing_value", self.competing_value)
        return self


Endpoint = Annotated[
    BinaryEndpoint | CountEndpoint | ContinuousEndpoint | TimeToEventEndpoint, Field(discriminator="kind")
]


class Study(Closed):
    """A two-arm trial: tables, arms, variables, endpoints.

    Attributes
    ----------
    joined : dict
        Columns of the patients table that stand in other tables, by the name under which they are used here.
    allocation : AllocationSpec or None
        None for a cohort without randomisation, where the probability would have to be estimated.
    define : dict
        The study's own variables, in the dictionary's form.
    variables : dict
        Variables of the dictionary (or of `define`) and where they stand.
    left_out : dict
        Variables that the tables have but that cannot be used, with the reason; a config that asks for one as a feature
        goes on without it and says so.
    modifiers : tuple of str
        Pre-specified effect modifiers.
    larger_benefit : dict of str to {'low', 'high'}
        Of modifiers: where the benefit was hypothesised to be larger, before the outcomes were seen; *low* is "no" of a
        binary variable.
    eligibility : dict
        Lowest and highest value of a variable that the trial admitted; None where there is no limit.
    course : CourseSpec, optional
        What the trial's own analysis needs beside the endpoints: measurements, stays, adverse events, deaths.
    folder : Path
        Where the study file lies; table paths start here.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    title: str = Field(min_length=1)
    source: str = ""
    simulated: bool = False
    population: str = ""
    tables: dict[str, TableSpec]
    joined: dict[str, JoinedColumn] = Field(default_factory=dict)
    arms: ArmsSpec
    allocation: AllocationSpec
    site: str | None = None
    define: dict[str, Any] = Field(default_factory=dict)
    variables: dict[str, VariableMap | None]
    left_out: dict[str, str] = Field(default_factory=dict)
    modifiers: tuple[str, ...] = ()
    larger_benefit: dict[str, Literal["low", "high"]] = Field(default_factory=dict)
    eligibility: dict[str, tuple[float | None, float | None]] = Field(default_factory=dict)
    endpoints: dict[str, Endpoint]
    course: CourseSpec | None = None
    folder: Path = Field(default=Path(), exclude=True)

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        if PATIENTS not in self.tables:
            raise ValueError(f"tables must contain {PATIENTS!r}, with one row a patient")
        known = self.dictionary
        for name in self.variables:
            if name not in known:
                raise ValueError(
                    f"variable {name!r} is not in the dictionary.{nearest(name, known)} "
                    "A study's own variables stand under 'define'"
                )
        for name in (*self.modifiers, *self.eligibility):
            if name not in self.variables:
                raise ValueError(f"{name!r} is used but not listed under 'variables'")
        for name in self.modifiers:
            if not known[name].is_baseline:
                raise ValueError(f"modifier {name!r} is known only after randomisation")
        for name in self.larger_benefit:
            if name not in self.modifiers:
                raise ValueError(f"larger_benefit {name!r} is not one of the modifiers.{nearest(name, self.modifiers)}")
            if known[name].kind == "categorical":
                raise ValueError(f"larger_benefit {name!r} needs a number or a yes-no variable, which have an order")
        for name, (low, high) in self.eligibility.items():
            if known[name].kind != "continuous" or not known[name].is_baseline:
                raise ValueError(f"eligibility {name!r} needs a number that is known at or before randomisation")
            if low is not None and high is not None and low > high:
                raise ValueError(f"eligibility {name!r} needs its lower end first")
        reserved = self._reserved_columns()
        for name in self.variables:
            if known[name].is_baseline and self.column_of(name) in reserved:
                raise ValueError(
                    f"variable {name!r} stands in column {self.column_of(name)!r}, which is "
                    f"{reserved[self.column_of(name)]}, so it cannot be known before randomisation"
                )
        self._check_joined(reserved)
        for source in self._event_sources():
            if source.table not in self.tables:
                raise ValueError(f"event table {source.table!r} is not listed under 'tables'")
        for name in () if self.course is None else sorted(self.course.tables):
            if name not in self.tables:
                raise ValueError(f"course uses table {name!r}, which is not listed under 'tables'")
        for name in () if self.course is None else self.course.results:
            if name in self.endpoints:
                raise ValueError(f"{name!r} is the name of an endpoint and of a result of the course; rename one")
        if not self.endpoints:
            raise ValueError("endpoints must name at least one endpoint")
        return self

    def _check_joined(self, reserved: Mapping[str, str]) -> None:
        for name, joined in self.joined.items():
            if joined.table == PATIENTS or joined.table not in self.tables:
                raise ValueError(f"joined column {name!r} needs another table than {PATIENTS!r} that is under 'tables'")
            if name == self.tables[PATIENTS].key:
                raise ValueError(f"joined column {name!r} is the patient's identifier, by which tables are joined")
        baseline = {self.column_of(name): name for name, variable in self.mapped.items() if variable.is_baseline}
        for column, name in baseline.items():
            for other in reserved.keys() & self.joined.keys() if column in self.joined else ():
                if self.joined[other] == self.joined[column]:
                    raise ValueError(
                        f"variable {name!r} is joined from the same cells as {other!r}, which is {reserved[other]}, "
                        "so it cannot be known before randomisation"
                    )

    def _reserved_columns(self) -> dict[str, str]:
        """Return the columns of the patients table that no feature may be made of, and what they are."""
        reserved = {self.tables[PATIENTS].key: "the patient's identifier", self.arms.column: "the arm"}
        for name, endpoint in self.endpoints.items():
            columns: list[object]
            if isinstance(endpoint, TimeToEventEndpoint):
                columns = [endpoint.time, endpoint.event]
            else:
                columns = [endpoint.column, endpoint.exposure if isinstance(endpoint, CountEndpoint) else None]
            reserved |= {column: f"the outcome of endpoint {name!r}" for column in columns if isinstance(column, str)}
        if self.course is not None:
            later = [self.course.follow_up, self.course.doses, *(stay.column for stay in self.course.stays.values())]
            reserved |= {column: "known only after randomisation" for column in later if column is not None}
        return reserved

    def _event_sources(self) -> list[EventSource]:
        found = []
        for endpoint in self.endpoints.values():
            if isinstance(endpoint, BinaryEndpoint | CountEndpoint):
                found += [*([endpoint.events] if endpoint.events else []), *endpoint.until]
        return found

    @property
    def dictionary(self) -> dict[str, Variable]:
        """The built-in dictionary with this study's own variables."""
        return {**load_dictionary(), **parse_variables(self.define, f"study {self.name}, define")}

    @property
    def mapped(self) -> dict[str, Variable]:
        """The variables that the study's tables have."""
        known = self.dictionary
        return {name: known[name] for name in self.variables}

    def map_of(self, name: str) -> VariableMap:
        """Return how a variable is written, defaults filled in."""
        return self.variables[name] or VariableMap()

    def column_of(self, name: str) -> str:
        """Return the column that holds a variable."""
        return self.map_of(name).column or name

    def endpoint(self, name: str) -> Endpoint:
        """Return an endpoint by name.

        Raises
        ------
        InputError
            If the study has no such endpoint; names the nearest.
        """
        if name not in self.endpoints:
            raise InputError(f"study {self.name} has no endpoint {name!r}.{nearest(name, self.endpoints)}")
        return self.endpoints[name]


def load_study(path: str | Path) -> Study:
    """Read a study file.

    Raises
    ------
    InputError
        If the file cannot be read, or a key or value is not allowed.
    """
    path = Path(path)
    # A name that is too long cannot be asked about; reading it says so.
    with suppress(OSError):
        path = path / "study.yaml" if path.is_dir() else path
    return parse_study(read_yaml(path, "study file"), path.parent, path.name)


def parse_study(raw: Mapping[str, Any], folder: Path, source: str = "study") -> Study:
    """Turn parsed YAML into a study whose table paths start at `folder`."""
    if "folder" in raw:
        raise InputError(f"{source}: unknown key 'folder'. Table paths are relative to the study file.")
    try:
        return Study.model_validate({**raw, "folder": folder})
    except ValidationError as error:
        raise InputError(explain(error, source, Study)) from None


def _check_source(
    column: str | None,
    events: EventSource | None,
    by_day: float | None,
    until: tuple[EventSource, ...],
    follow_up: str | None,
) -> None:
    if (column is None) == (events is None):
        raise ValueError("give either column or events")
    if column is not None and (by_day is not None or until):
        raise ValueError("by_day and until go with events, not with column")
    if follow_up is not None and (column is not None or by_day is not None):
        raise ValueError("follow_up goes with events, and without by_day")
