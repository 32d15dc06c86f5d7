"""The study file: which tables a trial has, and what their columns mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from il7ml.config import read_yaml
from il7ml.errors import InputError, nearest
from il7ml.schema import Closed, Variable, explain, load_dictionary, parse_variables

Scalar = bool | int | float | str
PATIENTS = "patients"


class TableSpec(Closed):
    """A file with patients' rows; the path is relative to the study file.

    Attributes
    ----------
    path : str
        CSV (``.csv``) or Parquet (``.parquet``).
    key : str
        Column that identifies the patient.
    missing : tuple
        Values that stand for "missing", beside empty fields.
    """

    path: str = Field(min_length=1)
    key: str = Field(min_length=1)
    missing: tuple[Scalar, ...] = ()


class ArmSpec(Closed):
    """One arm of the contrast: how the tables name it, and what people call it."""

    value: Scalar | tuple[Scalar, ...]
    label: str = Field(min_length=1)

    @property
    def values(self) -> tuple[str, ...]:
        """The arm's values as text."""
        return as_texts(self.value)


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


class AllocationSpec(Closed):
    """Known probability of being allocated to the treated arm: one number, or one a stratum."""

    probability: float | None = Field(default=None, gt=0, lt=1)
    stratum: str | None = None
    by_stratum: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)

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
    present: Scalar | tuple[Scalar, ...] = 1
    absent: Scalar | tuple[Scalar, ...] = 0


class EventSource(Closed):
    """Rows of a table that are events: those where all conditions of `where` hold, on the day in column `day`."""

    table: str = Field(min_length=1)
    day: str = Field(min_length=1)
    where: dict[str, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)


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
    missing : {'refuse', 'weight'}
        Patients without outcome are an error, or the others are weighted by the inverse share observed in their arm.
    """

    kind: Literal["binary"]
    column: str | None = None
    event: Scalar | tuple[Scalar, ...] = 1
    events: EventSource | None = None
    by_day: float | None = Field(default=None, gt=0)
    until: tuple[EventSource, ...] = ()
    missing: Literal["refuse", "weight"] = "refuse"

    @model_validator(mode="after")
    def _one_source(self) -> BinaryEndpoint:
        _check_source(self.column, self.events, self.by_day, self.until)
        return self


class CountEndpoint(_Endpoint):
    """Number of events, from a column or an event table, over a time at risk.

    Attributes
    ----------
    exposure : str or float
        Column of the patients table with the time at risk, or one number for all patients.
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
    exposure: str | Annotated[float, Field(gt=0)] = 1.0
    per: float = Field(default=1.0, gt=0)
    unit: str = "patient"

    @model_validator(mode="after")
    def _one_source(self) -> CountEndpoint:
        _check_source(self.column, self.events, self.by_day, self.until)
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
        Columns of the patients table; `event_value` means that the event happened at that time.
    competing_value : scalar or tuple, optional
        Values of the event column that mean a competing event, after which the event cannot happen.
    """

    kind: Literal["time_to_event"]
    time: str = Field(min_length=1)
    event: str = Field(min_length=1)
    event_value: Scalar | tuple[Scalar, ...] = 1
    competing_value: Scalar | tuple[Scalar, ...] | None = None
    by_day: float | None = Field(default=None, gt=0)


Endpoint = Annotated[
    BinaryEndpoint | CountEndpoint | ContinuousEndpoint | TimeToEventEndpoint, Field(discriminator="kind")
]


class Study(Closed):
    """A two-arm trial: tables, arms, variables, endpoints.

    Attributes
    ----------
    allocation : AllocationSpec or None
        None for a cohort without randomisation, where the probability would have to be estimated.
    define : dict
        The study's own variables, in the dictionary's form.
    variables : dict
        Variables of the dictionary (or of `define`) and where they stand.
    modifiers : tuple of str
        Pre-specified effect modifiers.
    eligibility : dict
        Lowest and highest value of a variable that the trial admitted; None where there is no limit.
    folder : Path
        Where the study file lies; table paths start here.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    title: str = Field(min_length=1)
    source: str = ""
    simulated: bool = False
    population: str = ""
    tables: dict[str, TableSpec]
    arms: ArmsSpec
    allocation: AllocationSpec
    site: str | None = None
    define: dict[str, Any] = Field(default_factory=dict)
    variables: dict[str, VariableMap | None]
    modifiers: tuple[str, ...] = ()
    eligibility: dict[str, tuple[float | None, float | None]] = Field(default_factory=dict)
    endpoints: dict[str, Endpoint]
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
        for source in self._event_sources():
            if source.table not in self.tables:
                raise ValueError(f"event table {source.table!r} is not listed under 'tables'")
        if not self.endpoints:
            raise ValueError("endpoints must name at least one endpoint")
        return self

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
    if path.is_dir():
        path = path / "study.yaml"
    return parse_study(read_yaml(path, "study file"), path.parent, path.name)


def parse_study(raw: Mapping[str, Any], folder: Path, source: str = "study") -> Study:
    """Turn parsed YAML into a study whose table paths start at `folder`."""
    if "folder" in raw:
        raise InputError(f"{source}: unknown key 'folder'. Table paths are relative to the study file.")
    try:
        return Study.model_validate({**raw, "folder": folder})
    except ValidationError as error:
        raise InputError(explain(error, source, Study)) from None


def as_texts(value: Scalar | tuple[Scalar, ...]) -> tuple[str, ...]:
    """Return one or several values as text, the way `as_text` writes table cells."""
    return tuple(as_text(item) for item in (value if isinstance(value, tuple) else (value,)))


def as_text(value: object) -> str:
    """Return a cell's value as text: 1, 1.0 and "1" are the same, so that a study file need not know column types.

    Examples
    --------
    >>> as_text(1.0), as_text("1"), as_text(True), as_text("IL-7")
    ('1', '1', '1', 'IL-7')
    """
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _check_source(
    column: str | None, events: EventSource | None, by_day: float | None, until: tuple[EventSource, ...]
) -> None:
    if (column is None) == (events is None):
        raise ValueError("give either column or events")
    if column is not None and (by_day is not None or until):
        raise ValueError("by_day and until go with events, not with column")
