"""The variable dictionary: names, codes, units, ranges, and when a variable is known.

The entries stand in ``dictionary.yaml``; a study file may declare further ones in the same form.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from il7ml.errors import InputError, nearest

Role = Literal[
    "lymphopenia",
    "inflammation",
    "severity",
    "treatment",
    "demographic",
    "comorbidity",
    "laboratory",
    "timing",
    "other",
]
Known = Literal["before_randomisation", "at_randomisation", "after_randomisation"]
Range = tuple[float, float]


class Closed(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=())


class Loinc(Closed):
    """A LOINC code with the source that confirms it."""

    code: str = Field(pattern=r"^\d{1,7}-\d$")
    source: str = Field(min_length=1)


class Variable(Closed):
    """One variable of the dictionary.

    Attributes
    ----------
    term : str
        Standard term, as shown to people.
    loinc : Loinc or None
        Code with its source; None where no source confirmed one.
    kind : {'continuous', 'binary', 'categorical'}
        Ordered scores count as continuous.
    unit : str
        Canonical unit (UCUM style); empty for pure numbers, binary and categorical variables.
    accepted_units : dict of str to float
        Other units with the factor that turns them into the canonical one.
    possible, plausible : (low, high) or None
        Outside `possible` a value is an error; `plausible` is where nearly all patients of this kind lie
        and serves to recognise a wrong unit.
    known : {'before_randomisation', 'at_randomisation', 'after_randomisation'}
        When the value is known. Only the first two can be features.
    role : str
        Group for explanations and reports.
    scale : {'linear', 'log'}
        Scale on which models see it.
    direction : {-1, 0, 1}
        Sign of its relation with the risk of a bad outcome where the literature is clear, else 0.
    levels : tuple of str
        For categorical variables, the first being the reference.
    """

    term: str = Field(min_length=1)
    loinc: Loinc | None = None
    kind: Literal["continuous", "binary", "categorical"] = "continuous"
    unit: str = ""
    accepted_units: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    possible: Range | None = None
    plausible: Range | None = None
    known: Known
    role: Role
    scale: Literal["linear", "log"] = "linear"
    direction: Literal[-1, 0, 1] = 0
    levels: tuple[str, ...] = ()
    note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Variable:
        if (self.kind == "categorical") != bool(self.levels):
            raise ValueError("levels are needed for a categorical variable, and only there")
        if len(set(self.levels)) < len(self.levels):
            raise ValueError("levels must differ from each other")
        if any(limits is not None and limits[0] >= limits[1] for limits in (self.possible, self.plausible)):
            raise ValueError("a range needs its lower end first")
        if self.kind == "continuous" and self.possible is None:
            raise ValueError("a continuous variable needs its possible range")
        if self.scale == "log" and (self.possible is None or self.possible[0] < 0):
            raise ValueError("a variable on the log scale cannot be negative")
        return self

    @property
    def label(self) -> str:
        """Term with the unit in brackets, for axes and tables."""
        return f"{self.term} ({self.unit})" if self.unit else self.term

    @property
    def is_baseline(self) -> bool:
        """Whether the value is known at or before randomisation."""
        return self.known != "after_randomisation"

    def factor(self, unit: str | None, name: str) -> float:
        """Return the factor from `unit` to the canonical unit.

        Raises
        ------
        InputError
            If `unit` is not accepted, or missing where the variable has units.
        """
        if unit is None:
            if self.unit:
                raise InputError(f"{name}: expected a unit, none was given. State one of: {', '.join(self.units)}.")
            return 1.0
        if unit == self.unit:
            return 1.0
        if unit in self.accepted_units:
            return self.accepted_units[unit]
        raise InputError(f"{name}: unit {unit!r} is not known. Use one of: {', '.join(self.units) or 'no unit'}.")

    @property
    def units(self) -> tuple[str, ...]:
        """All accepted units, the canonical one first."""
        return (self.unit, *self.accepted_units) if self.unit else tuple(self.accepted_units)

    def other_unit(self, values: np.ndarray[Any, np.dtype[np.float64]], declared: str | None = None) -> str | None:
        """Return the unit in which `values` would make sense, if they make none in the declared one.

        A value is taken to make no sense when most of the values lie outside the plausible range; the other unit
        must put most of them inside it.

        Parameters
        ----------
        values : ndarray
            In the declared unit.
        declared : str, optional
            By default the canonical unit.

        Examples
        --------
        >>> import numpy as np
        >>> load_dictionary()["absolute_lymphocyte_count"].other_unit(np.array([700.0, 450.0]))
        'cells/uL'
        """
        if self.plausible is None:
            return None
        low, high = self.plausible
        factors = {self.unit: 1.0, **self.accepted_units}
        own = factors[declared or self.unit]
        values = values[np.isfinite(values)]
        canonical = _times(values, own)
        if values.size == 0 or np.mean((canonical >= low) & (canonical <= high)) > 0.5:
            return None
        for unit, factor in factors.items():
            converted = _times(values, factor)
            if factor != own and np.mean((converted >= low) & (converted <= high)) > 0.5:
                return unit
        return None


def _times(values: np.ndarray[Any, np.dtype[np.float64]], factor: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    with np.errstate(over="ignore"):  # infinity is implausible, too
        return values * factor


def parse_variables(raw: dict[str, Any], source: str) -> dict[str, Variable]:
    """Turn parsed YAML into variables.

    Raises
    ------
    InputError
        Naming the entry and the key, if an entry is not of the dictionary's form.
    """
    variables = {}
    for name, entry in raw.items():
        try:
            variables[name] = Variable.model_validate(entry)
        except ValidationError as error:
            raise InputError(explain(error, f"{source}: variable {name!r}", Variable)) from None
    return variables


@cache
def load_dictionary() -> MappingProxyType[str, Variable]:
    """Return the built-in variable dictionary by canonical name."""
    text = resources.files("il7ml").joinpath("dictionary.yaml").read_text(encoding="utf-8")
    return MappingProxyType(parse_variables(yaml.safe_load(text), "dictionary.yaml"))


def ctcae_grade(absolute_lymphocyte_count: float) -> int:
    """Return the CTCAE v5 grade of "lymphocyte count decreased", 0 to 4.

    The lower limit of normal is taken as 1.0 10^9/L, and a grade's upper bound belongs to the milder grade. A report
    variable: models see the count itself.

    Raises
    ------
    InputError
        If the count is missing.

    Examples
    --------
    >>> [ctcae_grade(count) for count in (1.0, 0.8, 0.5, 0.2, 0.1)]
    [0, 1, 2, 3, 4]
    """
    if np.isnan(absolute_lymphocyte_count):
        raise InputError("absolute_lymphocyte_count: a missing count has no grade. Leave the patient out.")
    return int(np.searchsorted([-1.0, -0.8, -0.5, -0.2], -absolute_lymphocyte_count, side="left"))


def explain(error: ValidationError, source: str, model: type[BaseModel]) -> str:
    """Turn a pydantic error into lines that name the key and what was expected.

    An unknown key comes with the nearest known one. Values never appear, so that the message can be logged.
    """
    lines = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        parts, known = _keys_along(model, item["loc"])
        path = ".".join(parts)
        if item["type"] == "extra_forbidden":
            lines.append(f"unknown key {path!r}.{nearest(parts[-1], known)}")
        elif item["type"] == "missing":
            lines.append(f"key {path!r} is missing. Add it.")
        else:
            message = item["msg"].removeprefix("Value error, ")
            lines.append(f"key {path!r}: {message[:1].lower()}{message[1:]}." if path else f"{message}.")
    if len(lines) == 1:
        return f"{source}: {lines[0]}"
    return "\n".join([f"{source}: {len(lines)} problems:", *(f"  - {line}" for line in lines)])


def _keys_along(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """Return a location as the keys that the file has, and the keys known beside the last one.

    pydantic puts the tag of a union's member into the location; the file has no such key.
    """
    path: list[str] = []
    known: list[str] = []
    models = [model]
    for part in location:
        if len(models) > 1 and (tagged := [one for one in models if part in _tags(one)]):
            models = tagged
            continue
        path.append(str(part))
        known = [key for one in models for key in one.model_fields]
        inner = [one.model_fields[part].annotation for one in models if part in one.model_fields]
        # Without an inner model `part` is a dictionary's own key: the models stay.
        models = [found for annotation in inner for found in _models_in(annotation)] or models
    return path, known


def _tags(model: type[BaseModel]) -> set[Any]:
    """Return the words by which a union can tell `model` from its other members."""
    single = [get_args(field.annotation) for field in model.model_fields.values() if _is_word(field.annotation)]
    return {word for (word,) in single}


def _is_word(annotation: Any) -> bool:
    return get_origin(annotation) is Literal and len(get_args(annotation)) == 1


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the pydantic models that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
