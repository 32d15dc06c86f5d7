"""Patients like this one but with another lymphocyte count, antiviral or corticosteroid: one change at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from il7ml.answer import Prediction
from il7ml.app.form import UNIT_SUFFIX, read_fields
from il7ml.bundle import CardVariable
from il7ml.predictor import Predictor

COMPARED = ("absolute_lymphocyte_count", "antiviral_at_randomisation", "corticosteroid_at_randomisation")
PREFIX = "but__"


class Alternative(NamedTuple):
    """Patients who differ from this one in one value.

    Attributes
    ----------
    label : str
        The variable and its other value, as entered.
    prediction : Prediction
    is_same : bool
        Whether the answer is this patient's, since the model does not look at the variable or the value is no other.
    """

    label: str
    prediction: Prediction
    is_same: bool


class Comparison(NamedTuple):
    """What is compared with this patient.

    Attributes
    ----------
    alternatives : tuple of Alternative
    given : dict of str to str
        The other values by variable, and their units, as entered or suggested.
    problems : dict of str to str
        What is wrong with them, by variable.
    """

    alternatives: tuple[Alternative, ...]
    given: dict[str, str]
    problems: dict[str, str]


def compared_inputs(predictor: Predictor) -> tuple[str, ...]:
    """Return which of `COMPARED` a model asks for."""
    return tuple(name for name in COMPARED if name in predictor.inputs)


def split_fields(fields: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the patient's fields and those of the other values, the latter without `PREFIX`.

    Examples
    --------
    >>> split_fields({"age": "62", "but__antiviral_at_randomisation": "1"})
    ({'age': '62'}, {'antiviral_at_randomisation': '1'})
    """
    patient = {name: text for name, text in fields.items() if not name.startswith(PREFIX)}
    others = {name.removeprefix(PREFIX): text for name, text in fields.items() if name.startswith(PREFIX)}
    return patient, others


def compare(predictor: Predictor, given: Mapping[str, str], others: Mapping[str, str], base: Prediction) -> Comparison:
    """Answer for patients like this one but with another value of one variable.

    Parameters
    ----------
    predictor : Predictor
    given : mapping of str to str
        The patient's fields, which have been read without a problem.
    others : mapping of str to str
        Other values, as by `split_fields`; one that is empty is left out. Where none came, some are suggested.
    base : Prediction
        The patient's own answer.
    """
    names = compared_inputs(predictor)
    others = {key: text for key, text in others.items() if key.removesuffix(UNIT_SUFFIX) in names} or {
        key: text for name in names for key, text in _suggested(name, predictor.inputs[name], given).items()
    }
    alternatives: list[Alternative] = []
    problems: dict[str, str] = {}
    for name in names:
        text = others.get(name, "").strip()
        if not text:
            continue
        changes = {key: others[key] for key in (name, f"{name}{UNIT_SUFFIX}") if key in others}
        entry = read_fields({**given, **changes}, predictor.inputs)
        if entry.problems:
            problems |= entry.problems
            continue
        prediction = predictor.predict(entry.patient)
        term = predictor.inputs[name].variable.term
        entered = next(value.entered for value in entry.values if value.name == term)
        is_same = (prediction.untreated, prediction.benefit) == (base.untreated, base.benefit)
        alternatives.append(Alternative(f"{term} {entered}", prediction, is_same))
    return Comparison(tuple(alternatives), dict(others), problems)


def _suggested(name: str, card: CardVariable, given: Mapping[str, str]) -> dict[str, str]:
    """Return the middle of the trial's patients in the unit that was chosen, or the other answer to yes or no."""
    variable = card.variable
    if variable.kind == "binary":
        return {name: "0" if given.get(name, "").strip() == "1" else "1"}
    unit = given.get(f"{name}{UNIT_SUFFIX}", variable.unit)
    middle = card.quantiles[len(card.quantiles) // 2] / variable.factor(unit, name)
    return {name: f"{middle:.3g}", f"{name}{UNIT_SUFFIX}": unit}
