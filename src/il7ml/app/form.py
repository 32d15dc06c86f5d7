"""The page's form: fields from what a model asks for, and entries read in the unit that was chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import numpy as np

from il7ml import texts
from il7ml.bundle import CardVariable
from il7ml.errors import InputError
from il7ml.patient import Inputs, parse_value

UNIT_SUFFIX = "__unit"
MOST_FIELDS = 500
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)", re.ASCII)


class ReadValue(NamedTuple):
    """An entry as it was typed and as the model reads it."""

    name: str
    entered: str
    read: str


class Entry(NamedTuple):
    """A form that was sent.

    Attributes
    ----------
    patient : dict
        Record for `Predictor.predict`, in canonical units.
    values : tuple of ReadValue
    problems : dict of str to str
        What is wrong, by field; values are not repeated.
    """

    patient: dict[str, Any]
    values: tuple[ReadValue, ...]
    problems: dict[str, str]


def parse_form(body: bytes) -> dict[str, str]:
    """Return the fields of a URL-encoded form.

    Raises
    ------
    InputError
        If there are too many fields, or one stands twice.

    Examples
    --------
    >>> parse_form(b"age=62&sex=")
    {'age': '62', 'sex': ''}
    """
    try:
        pairs = parse_qsl(
            body.decode("ascii", "replace"), keep_blank_values=True, errors="replace", max_num_fields=MOST_FIELDS
        )
    except ValueError:
        raise InputError(f"the form has more than {MOST_FIELDS} fields. Load the page again.") from None
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise InputError("a field of the form stands twice. Load the page again.")
    return fields


def read_fields(given: Mapping[str, str], inputs: Inputs) -> Entry:
    """Read a form's entries; every wrong one is told, not only the first.

    Parameters
    ----------
    given : mapping
        Entries by variable, and under ``NAME__unit`` the unit chosen.
    inputs : mapping
        What the model asks for.
    """
    patient: dict[str, Any] = {}
    values: list[ReadValue] = []
    problems: dict[str, str] = {}
    if identifier := given.get("patient_id", "").strip():
        patient["patient_id"] = identifier
    known = {"patient_id", *inputs, *(f"{name}{UNIT_SUFFIX}" for name in inputs)}
    if not known.issuperset(given):
        problems["patient_id"] = texts.PAGE["model_changed"]
    for name, card in inputs.items():
        text = given.get(name, "").strip()
        if not text:
            if card.required:
                problems[name] = texts.PAGE["needed"]
            continue
        unit = given.get(f"{name}{UNIT_SUFFIX}", card.variable.unit)
        try:
            value = read_value(name, text, unit, card)
        except InputError as error:
            message = str(error).removeprefix(f"{name}: ")
            problems[name] = message[:1].upper() + message[1:]
            continue
        patient[name] = value
        values.append(_as_read(name, text, unit, value, card))
    return Entry(patient, tuple(values), problems)


def read_value(name: str, text: str, unit: str, card: CardVariable) -> float | str:
    """Return a typed entry in the canonical unit, or a category.

    Raises
    ------
    InputError
        If it is no number, impossible, no category, or makes sense in another unit only; the value is not repeated.
    """
    variable = card.variable
    if variable.kind == "categorical":
        parse_value(name, text, card)
        return text
    if not _NUMBER.fullmatch(text):
        raise InputError(f"{name}: {texts.PAGE['number']}")
    number = float(text)
    if variable.kind == "binary" or not variable.unit:
        return parse_value(name, number, card)
    factor = variable.factor(unit, name)
    other = variable.other_unit(np.array([number]), unit)
    if other is not None and not _had_by_trained(number * factor, card):
        raise InputError(f"{name}: {texts.PAGE['looks_like'].format(other=other, unit=unit)}")
    try:
        return parse_value(name, number * factor, card)
    except InputError:
        if unit == variable.unit:
            raise
        # The message speaks of the canonical unit, which is not what was chosen.
        raise InputError(f"{name}: {texts.PAGE['no_sense'].format(unit=unit)}") from None


def _had_by_trained(value: float, card: CardVariable) -> bool:
    """Return whether training patients had such a value, which then is no mistake of units."""
    return card.low is not None and card.high is not None and card.low <= value <= card.high


def _as_read(name: str, text: str, unit: str, value: float | str, card: CardVariable) -> ReadValue:
    variable = card.variable
    if isinstance(value, str):
        words = value.replace("_", "-")
        return ReadValue(variable.term, words, words)
    if variable.kind == "binary":
        word = texts.PAGE["yes"] if value else texts.PAGE["no"]
        return ReadValue(variable.term, word, word)
    return ReadValue(variable.term, f"{text} {unit}".strip(), f"{value:.6g} {variable.unit}".strip())
