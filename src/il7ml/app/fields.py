"""A form's fields: label, choices, units and ranges of each variable that a model asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from il7ml import texts
from il7ml.app.form import UNIT_SUFFIX
from il7ml.bundle import CardVariable
from il7ml.predictor import Predictor


class Option(NamedTuple):
    """A choice of a list."""

    value: str
    label: str
    is_chosen: bool


class Field(NamedTuple):
    """One entry of the form.

    Attributes
    ----------
    name, label : str
    is_required : bool
    value : str
        What was entered before.
    options : tuple of Option
        Empty for a number.
    unit : str
        The only unit; empty where there is a choice or none.
    units : tuple of Option
        Empty unless there is a choice.
    hints : tuple of str
        Ranges in every unit.
    problem : str
        What is wrong with the entry; may be empty.
    """

    name: str
    label: str
    is_required: bool
    value: str
    options: tuple[Option, ...]
    unit: str
    units: tuple[Option, ...]
    hints: tuple[str, ...]
    problem: str


class Group(NamedTuple):
    """Fields under a heading."""

    heading: str
    fields: tuple[Field, ...]


def groups_of(predictor: Predictor, given: Mapping[str, str], problems: Mapping[str, str]) -> list[Group]:
    """Return a form's fields for what a model asks for, with the entries made before and what is wrong with them."""
    eligibility = predictor.bundle.card.eligibility
    fields: dict[str, list[Field]] = {}
    for name, card in predictor.inputs.items():
        field = field_of(name, card, eligibility.get(name), given, problems.get(name, ""))
        fields.setdefault(card.variable.role, []).append(field)
    return [Group(heading, tuple(fields[role])) for role, heading in texts.ROLES.items() if role in fields]


def field_of(
    name: str,
    card: CardVariable,
    eligible: tuple[float | None, float | None] | None,
    given: Mapping[str, str],
    problem: str,
) -> Field:
    """Return one field; `eligible` are the trial's limits, where it had any."""
    variable, value = card.variable, given.get(name, "")
    choices: list[tuple[str, str]] = []
    if variable.kind == "categorical":
        choices = [(level, level.replace("_", "-")) for level in variable.levels]
    elif variable.kind == "binary":
        choices = [("0", texts.PAGE["no"]), ("1", texts.PAGE["yes"])]
    chosen = given.get(f"{name}{UNIT_SUFFIX}", variable.unit)
    several = len(variable.units) > 1 and not choices
    return Field(
        name=name,
        label=variable.term,
        is_required=card.required,
        value=value,
        options=tuple(Option(code, label, code == value) for code, label in choices),
        unit="" if several else variable.unit,
        units=tuple(Option(unit, unit, unit == chosen) for unit in variable.units) if several else (),
        hints=() if choices else ranges_of(card, eligible),
        problem=problem,
    )


def ranges_of(card: CardVariable, eligible: tuple[float | None, float | None] | None) -> tuple[str, ...]:
    """Return the trial's limits and its patients' range in words, in every unit that gives other numbers."""
    variable = card.variable
    factors = {1.0: variable.unit}
    for unit, factor in variable.accepted_units.items():
        factors.setdefault(factor, unit)
    ranges = []
    if eligible is not None:
        ranges.append((texts.PAGE["eligibility"], *eligible))
    if card.low is not None and card.high is not None:
        ranges.append((texts.PAGE["trained_range"], card.low, card.high))
    return tuple(
        f"{label}: "
        + texts.PAGE["or"].join(f"{_range(low, high, factor)} {unit}".strip() for factor, unit in factors.items())
        for label, low, high in ranges
    )


def _range(low: float | None, high: float | None, factor: float) -> str:
    shown = [None if end is None else _shown(end, factor) for end in (low, high)]
    if shown[0] is None:
        return texts.PAGE["up_to"].format(high=shown[1])
    if shown[1] is None:
        return texts.PAGE["or_more"].format(low=shown[0])
    return texts.PAGE["limits"].format(low=shown[0], high=shown[1])


def _shown(value: float, factor: float) -> str:
    """Return a limit in a unit: as it stands in the canonical one, converted with no more digits than it bears."""
    converted = value / factor
    return f"{converted:.6g}" if factor == 1 or abs(converted) >= 100 else f"{converted:.3g}"
