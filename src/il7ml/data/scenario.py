"""Scenarios of the simulated IL-7 trial: the parameter file, read and checked. Every entry carries its status."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, ValidationError, model_validator

from il7ml.config import read_yaml
from il7ml.errors import InputError, nearest
from il7ml.schema import Closed, explain

Floats = NDArray[np.float64]

#: Baseline variables with a marginal distribution, in the order of the correlation matrix.
MEASURED = (
    "age",
    "absolute_lymphocyte_count",
    "cd4_count",
    "cd8_count",
    "c_reactive_protein",
    "ferritin",
    "interleukin_6",
    "procalcitonin",
    "neutrophil_count",
    "lactate_dehydrogenase",
    "d_dimer",
    "platelet_count",
    "creatinine",
    "lactate",
    "sofa_score",
    "apache_ii_score",
    "pao2_fio2_ratio",
    "body_mass_index",
    "days_from_admission",
)
#: Terms of linear predictors; `il7ml.data.simulated_hazards` says how each is computed.
TERMS = (
    "age_per_10_years",
    "male",
    "obesity",
    "diabetes",
    "chronic_kidney_disease",
    "immunosuppression",
    "active_cancer",
    "sofa_per_point",
    "invasive_ventilation",
    "corticosteroid",
    "antiviral",
    "anti_il6_or_jak",
    "c_reactive_protein_per_sd",
    "procalcitonin_per_sd",
    "ferritin_per_sd",
    "log2_lymphocyte_count",
    "log2_lactate",
    "log2_pao2_fio2_ratio",
)

#: End of the window for infections, and of follow-up, in days after randomisation.
WINDOW = 30
LAST_DAY = 90
#: Day on which persistent lymphopenia is judged.
PERSISTENCE_DAY = 7


def _one_of(*names: str) -> AfterValidator:
    """Return a check that a key is one of the names."""

    def check(key: str) -> str:
        if key not in names:
            raise ValueError(f"not a known name.{nearest(key, names)}")
        return key

    return AfterValidator(check)


Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Measured = Annotated[str, _one_of(*MEASURED)]
Term = Annotated[str, _one_of(*TERMS)]
National = Annotated[str, _one_of("uk", "france_belgium", "us", "us_oncology", "brazil")]
Support = Annotated[str, _one_of("oxygen", "non_invasive", "invasive")]


class Stated(Closed):
    """An entry of the parameter file, with where its numbers come from."""

    status: Literal["published", "derived", "assumed"]
    source: str = Field(min_length=1)


class Number(Stated):
    """One number."""

    value: float


class Ratio(Stated):
    """A number above 0: a rate, a hazard, a ratio."""

    value: Positive


class Probability(Stated):
    """A number from 0 to 1."""

    value: Share


class Range(Stated):
    """Lowest and highest value."""

    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low >= self.high:
            raise ValueError("low must lie below high")
        return self


class Days(Stated):
    """Days after randomisation."""

    values: tuple[Annotated[int, Field(ge=0, le=WINDOW)], ...]


class Curve(Stated):
    """Values by day, interpolated in between and constant beyond the ends."""

    day: tuple[float, ...]
    values: tuple[Annotated[float, Field(ge=0)], ...]

    @model_validator(mode="after")
    def _matched(self) -> Curve:
        if len(self.day) != len(self.values) or list(self.day) != sorted(set(self.day)):
            raise ValueError("day must ascend and have as many entries as values")
        return self

    def at(self, days: NDArray[Any]) -> Floats:
        """Return the values on `days`, interpolated linearly."""
        return np.asarray(np.interp(days, self.day, self.values))

    def log_growth(self, days: NDArray[Any]) -> Floats:
        """Return the log of the value relative to the first, interpolated linearly."""
        return np.asarray(np.interp(days, self.day, np.log(self.values) - np.log(self.values[0])))


class GrowthCurve(Curve):
    """A curve of values above 0."""

    values: tuple[Positive, ...]


class MarkerCurve(GrowthCurve):
    """A marker's course relative to day 0, its factors around infection and death, and the log-SD of a measurement."""

    infection: Positive
    dying: Positive
    noise: Positive


class Marginal(Stated):
    """Marginal distribution of a baseline variable."""

    scale: Literal["log", "linear"] = "log"
    median: Positive
    sigma: Positive
    shift: float = Field(default=0.0, ge=0)
    digits: int = Field(ge=0, le=6)
    low: float = Field(default=0.0, ge=0)
    high: float | None = None


class Characteristic(Stated):
    """Prevalence of a yes/no variable, and the correlation of its latent score with that of age."""

    probability: Share
    age: Annotated[float, Field(gt=-1, lt=1)]


class LogNormal(Stated):
    """A log-normal time in days."""

    median: Positive
    sigma: Positive


class Terms(Stated):
    """Coefficients of a linear predictor."""

    values: dict[Term, float]


class Shares(Stated):
    """Parts of a whole; they are scaled to sum 1."""

    values: dict[str, Annotated[float, Field(ge=0)]]


class NationalNumbers(Stated):
    """A number a national cohort."""

    values: dict[National, Annotated[float, Field(ge=0)]]


class NationalSupport(Stated):
    """Shares of respiratory support by national cohort; they are scaled to sum 1."""

    values: dict[National, dict[Support, Share]]


class MeasuredNumbers(Stated):
    """A number a baseline variable."""

    values: dict[Measured, float]


class MeasuredShares(Stated):
    """A probability a baseline variable."""

    values: dict[Measured, Share]


class GradeShares(Stated):
    """A probability a CTCAE grade."""

    values: dict[Literal[1, 2, 3, 4], Share]


class Correlations(Stated):
    """Correlations of normal scores by pair."""

    values: dict[Measured, dict[Measured, Annotated[float, Field(gt=-1, lt=1)]]]

    def matrix(self) -> Floats:
        """Return the correlation matrix of `MEASURED`."""
        matrix = np.eye(len(MEASURED))
        for first, row in self.values.items():
            for second, value in row.items():
                i, j = MEASURED.index(first), MEASURED.index(second)
                matrix[i, j] = matrix[j, i] = value
        return matrix

    @model_validator(mode="after")
    def _positive_definite(self) -> Correlations:
        if np.linalg.eigvalsh(self.matrix())[0] < 1e-6:
            raise ValueError("the correlations contradict each other: the matrix is not positive definite")
        return self


class Eligibility(Closed):
    """Inclusion limits."""

    age: Range
    absolute_lymphocyte_count: Range


class Allocation(Closed):
    """Cohorts, randomisation and dosing."""

    cohorts: NationalNumbers
    block_size: Ratio
    planned_doses: NationalNumbers
    dose_days: Days

    @model_validator(mode="after")
    def _balanced(self) -> Allocation:
        if self.block_size.value % 2:
            raise ValueError("block_size must be even")
        return self


class Infection(Closed):
    """Hospital-acquired infections."""

    rate: Ratio
    log_rate: Terms
    persistent_lymphopenia: Number
    frailty_variance: Ratio
    time_course: Curve
    types: Shares


class Death(Closed):
    """Death in hospital and after discharge."""

    hazard: Ratio
    log_hazard: Terms
    time_course: Curve
    after_infection: Ratio
    after_discharge: Ratio


class Stay(Closed):
    """Stay in hospital and intensive care, and ventilation."""

    hospital: LogNormal
    icu: LogNormal
    log_stay: Terms
    correlation: Number
    ventilated_share: Range
    late_intubation: Probability


class Lymphocytes(Closed):
    """Underlying counts by day."""

    placebo_without_antiviral: GrowthCurve
    placebo_with_antiviral: GrowthCurve
    il7_without_antiviral: GrowthCurve
    il7_with_antiviral: GrowthCurve
    effect_scale: Number
    between_patients: Curve
    within_patient: Ratio
    before_death: GrowthCurve
    t_cells: MeasuredNumbers
    t_cell_noise: Ratio
    largest_t_cell_share: Probability

    @model_validator(mode="after")
    def _tractable(self) -> Lymphocytes:
        # The true expectations need persistence on day 7 to vary between patients and not to depend on a later death.
        if self.before_death.day[0] < PERSISTENCE_DAY:
            raise ValueError(f"before_death must not begin before day {PERSISTENCE_DAY}")
        if self.between_patients.at(np.array([PERSISTENCE_DAY]))[0] <= 0:
            raise ValueError(f"between_patients must be above 0 on day {PERSISTENCE_DAY}")
        return self


class LateAntiviral(Closed):
    """Antivirals that start after randomisation."""

    probability: Probability
    log_odds_sofa_per_point: Number


class Markers(Closed):
    """Inflammatory markers and lung function during follow-up."""

    c_reactive_protein: MarkerCurve
    interleukin_6: MarkerCurve
    ferritin: MarkerCurve
    pao2_fio2_ratio: MarkerCurve
    lasting_days: Ratio


class Visits(Closed):
    """When laboratory values are taken, and which are missing."""

    days: Days
    t_cell_days: Days
    missing: MeasuredShares
    missing_log_odds: Number


class AdverseEvents(Closed):
    """Treatment-emergent adverse events."""

    rate: Ratio
    frailty_variance: Ratio
    time_course: Curve
    grades: GradeShares
    serious: GradeShares
    terms: Shares


class Effect(Closed):
    """What IL-7 does; 1 is nothing."""

    infection: Ratio
    infection_modifiers: Terms
    death: Ratio
    hospital_stay: Ratio
    icu_stay: Ratio
    adverse_events: Ratio
    late_antiviral: Ratio


class Trial(Closed):
    """All parameters of a simulated trial; ``simulation.yaml`` explains each."""

    eligibility: Eligibility
    allocation: Allocation
    baseline: dict[Measured, Marginal]
    correlations: Correlations
    characteristics: dict[str, Characteristic]
    immunosuppression: NationalNumbers
    respiratory_support: NationalSupport
    respiratory_severity: MeasuredNumbers
    baseline_missing: MeasuredShares
    infection: Infection
    death: Death
    stay: Stay
    lost_to_follow_up: Probability
    lymphocytes: Lymphocytes
    late_antiviral: LateAntiviral
    markers: Markers
    visits: Visits
    adverse_events: AdverseEvents
    effect: Effect


class Scenario(Closed):
    """A named set of parameters.

    Attributes
    ----------
    name : str
    description : str
    effect_modification : str
        The true effect modification, in words.
    trial : Trial
    """

    name: str
    description: str
    effect_modification: str
    trial: Trial


class _Written(Closed):
    """A scenario as it is written down: `changes` is what differs from the parameters under ``trial``."""

    description: str = Field(min_length=1)
    effect_modification: str = Field(min_length=1)
    changes: dict[str, Any]


def load_scenario(scenario: str | Path | Mapping[str, Any]) -> Scenario:
    """Return a scenario by name, from a YAML file, or from a mapping of the file's form.

    Parameters
    ----------
    scenario : str, Path or mapping
        ``published``, ``patients``, ``null`` or ``strong_modifier``; or the path of a file, or a mapping, with the keys
        ``description``, ``effect_modification`` and ``changes``, as the scenarios in ``simulation.yaml`` have them.

    Returns
    -------
    Scenario

    Raises
    ------
    InputError
        If there is no such scenario or file, or a changed entry is unknown, lacks status or source, or is out of range.

    Examples
    --------
    >>> load_scenario("null").trial.effect.infection.value
    1.0
    >>> change = {"effect": {"infection": {"value": 0.8, "status": "assumed", "source": "a sceptic"}}}
    >>> mine = {"description": "Half as good", "effect_modification": "As published", "changes": change}
    >>> load_scenario(mine).trial.effect.infection.value
    0.8
    """
    if isinstance(scenario, Mapping):
        return _build("given", scenario)
    if str(scenario) in scenario_names():
        return _builtin(str(scenario))
    if Path(scenario).suffix.lower() in (".yaml", ".yml"):
        return _build(Path(scenario).stem, read_yaml(Path(scenario), "scenario"))
    hint = nearest(str(scenario), scenario_names())
    raise InputError(f"scenario {str(scenario)!r} is not known.{hint} A file of your own ends in .yaml.")


def scenario_names() -> tuple[str, ...]:
    """Return the names of the built-in scenarios.

    Examples
    --------
    >>> scenario_names()
    ('published', 'patients', 'null', 'strong_modifier')
    """
    return tuple(_parameter_file()["scenarios"])


@cache
def _parameter_file() -> dict[str, Any]:
    text = resources.files("il7ml.data").joinpath("simulation.yaml").read_text(encoding="utf-8")
    raw: dict[str, Any] = yaml.safe_load(text)
    return raw


@cache
def _builtin(name: str) -> Scenario:
    return _build(name, _parameter_file()["scenarios"][name])


def _build(name: str, raw: Mapping[str, Any]) -> Scenario:
    source = f"scenario {name}"
    try:
        written = _Written.model_validate(dict(raw))
    except ValidationError as error:
        raise InputError(explain(error, source, _Written)) from None
    merged = _merge(_parameter_file()["trial"], written.changes, source, "changes")
    try:
        trial = Trial.model_validate(merged)
    except ValidationError as error:
        raise InputError(explain(error, source, Trial)) from None
    return Scenario(
        name=name, description=written.description, effect_modification=written.effect_modification, trial=trial
    )


def _merge(base: dict[str, Any], changes: Any, source: str, place: str) -> dict[str, Any]:
    """Return `base` with `changes`; an entry that changes must state status and source anew, since its numbers do."""
    if not isinstance(changes, Mapping):
        raise InputError(f"{source}: {place}: expected keys with values, got {type(changes).__name__}.")
    if "status" in base:
        for key in ("status", "source"):
            if key not in changes:
                raise InputError(f"{source}: {place}: {key!r} is missing. State where the changed numbers come from.")
        inner, new = base.get("values"), changes.get("values")
        values = {"values": {**inner, **new}} if isinstance(inner, dict) and isinstance(new, Mapping) else {}
        return {**base, **changes, **values}
    for key in changes:
        if key not in base:
            raise InputError(f"{source}: {place}: unknown key {str(key)!r}.{nearest(str(key), base)}")
    return base | {key: _merge(base[key], value, source, f"{place}.{key}") for key, value in changes.items()}
