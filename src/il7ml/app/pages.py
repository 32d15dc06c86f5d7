"""The page as HTML: the form, and the answer for one patient. Without script; everything comes from the service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from il7ml import texts
from il7ml.answer import Interval, Prediction
from il7ml.app.drawing import Bar, Chart, chart_around_zero, chart_from_zero
from il7ml.app.form import UNIT_SUFFIX, Entry
from il7ml.bundle import CardVariable
from il7ml.predictor import Predictor

_ROLES = {
    "demographic": "Patient",
    "comorbidity": "Other diseases",
    "severity": "Severity of illness",
    "lymphopenia": "Lymphocytes",
    "inflammation": "Inflammation",
    "treatment": "Treatment already given",
    "laboratory": "Other laboratory values",
    "timing": "Timing",
    "other": "Other",
}
_UNCERTAIN_NEED = "The interval of the benefit includes none, so this number has no upper limit."


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


class Amount(NamedTuple):
    """An estimate in words."""

    label: str
    value: str
    interval: str


class Amounts(NamedTuple):
    """Estimates on one scale; `unit` stands in brackets and may be empty."""

    rows: tuple[Amount, ...]
    unit: str


def form_page(predictor: Predictor, given: Mapping[str, str], problems: Mapping[str, str]) -> str:
    """Return the page with the form.

    Parameters
    ----------
    predictor : Predictor
    given : mapping of str to str
        Entries to show again.
    problems : mapping of str to str
        What is wrong with them, by field.
    """
    card = predictor.bundle.card
    return _render(
        "form.html.j2", predictor, title=card.endpoint_title, groups=_groups(predictor, given, problems), given=given,
        problems=problems,
    )  # fmt: skip


def result_page(predictor: Predictor, prediction: Prediction, given: Mapping[str, str], entry: Entry) -> str:
    """Return the page with the answer, and the form below it to be changed and sent again.

    Parameters
    ----------
    predictor : Predictor
    prediction : Prediction
    given : mapping of str to str
        Entries as they came.
    entry : Entry
        The same as they were read.
    """
    benefit, need = prediction.benefit, prediction.number_needed_to_treat
    return _render(
        "result.html.j2",
        predictor,
        title=prediction.outcome,
        prediction=prediction,
        outcomes=_outcomes(prediction),
        outcome_chart=_outcome_chart(prediction),
        benefits=_benefits(prediction),
        benefit_chart=_benefit_chart(prediction),
        need=None if need is None else f"{need:.1f}",
        need_note=_UNCERTAIN_NEED if benefit is not None and benefit.low <= 0 else "",
        reason_chart=_reason_chart(prediction),
        reasons=[reason.sentence(prediction.measure) for reason in prediction.reasons],
        entries=entry.values,
        groups=_groups(predictor, given, {}),
        given=given,
        problems={},
    )


@cache
def style_sheet() -> str:
    """Return the page's CSS."""
    return resources.files("il7ml.app").joinpath("static", "style.css").read_text(encoding="utf-8")


def _render(template: str, predictor: Predictor, **parts: object) -> str:
    model = predictor.describe()
    level = f"{100 * predictor.bundle.card.level:g}"
    return (
        _environment()
        .get_template(template)
        .render(notice=predictor.notice, intended_use=texts.INTENDED_USE, model=model, level=level, **parts)
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("il7ml.app"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def _groups(predictor: Predictor, given: Mapping[str, str], problems: Mapping[str, str]) -> list[Group]:
    eligibility = predictor.bundle.card.eligibility
    fields: dict[str, list[Field]] = {}
    for name, card in predictor.inputs.items():
        field = _field(name, card, eligibility.get(name), given, problems.get(name, ""))
        fields.setdefault(card.variable.role, []).append(field)
    return [Group(heading, tuple(fields[role])) for role, heading in _ROLES.items() if role in fields]


def _field(
    name: str,
    card: CardVariable,
    eligible: tuple[float | None, float | None] | None,
    given: Mapping[str, str],
    problem: str,
) -> Field:
    variable, value = card.variable, given.get(name, "")
    choices: list[tuple[str, str]] = []
    if variable.kind == "categorical":
        choices = [(level, level.replace("_", "-")) for level in variable.levels]
    elif variable.kind == "binary":
        choices = [("0", "no"), ("1", "yes")]
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
        hints=() if choices else _hints(card, eligible),
        problem=problem,
    )


def _hints(card: CardVariable, eligible: tuple[float | None, float | None] | None) -> tuple[str, ...]:
    """Return the ranges in words, in every unit that gives other numbers."""
    variable = card.variable
    factors = {1.0: variable.unit}
    for unit, factor in variable.accepted_units.items():
        factors.setdefault(factor, unit)
    ranges = []
    if eligible is not None:
        ranges.append(("Trial's eligibility", *eligible))
    if card.low is not None and card.high is not None:
        ranges.append(("Trial's patients", card.low, card.high))
    return tuple(
        f"{label}: " + ", or ".join(f"{_range(low, high, factor)} {unit}".strip() for factor, unit in factors.items())
        for label, low, high in ranges
    )


def _range(low: float | None, high: float | None, factor: float) -> str:
    shown = [None if end is None else f"{end / factor:.6g}" for end in (low, high)]
    if shown[0] is None:
        return f"up to {shown[1]}"
    return f"{shown[0]} or more" if shown[1] is None else f"{shown[0]} to {shown[1]}"


def _scale(prediction: Prediction) -> tuple[float, str, str]:
    """Return the factor for showing, the unit of an outcome and that of a difference."""
    if prediction.measure == "risk":
        return 100.0, "%", "percentage points"
    unit = f"per {prediction.unit}" if prediction.measure == "rate" and prediction.unit else prediction.unit
    return 1.0, unit, unit


def _number(value: float, factor: float) -> str:
    # A true minus sign, which is read as one and does not break from its number.
    text = f"{factor * value:.1f}" if factor != 1 else f"{value:.3g}"
    return text.replace("-", "−")


def _amounts(shown: Iterable[tuple[str, Interval | None]], factor: float, unit: str) -> Amounts:
    rows = []
    for label, interval in shown:
        if interval is not None:
            value, low, high = (_number(part, factor) for part in (interval.value, interval.low, interval.high))
            rows.append(Amount(label, value, f"{low} to {high}"))
    return Amounts(tuple(rows), f" ({unit})" if unit else "")


def _outcomes(prediction: Prediction) -> Amounts:
    factor, unit, _ = _scale(prediction)
    untreated, treated = prediction.arms
    shown = ((f"With {untreated}", prediction.untreated), (f"With {treated}", prediction.treated))
    return _amounts(shown, factor, unit)


def _outcome_chart(prediction: Prediction) -> Chart:
    factor, unit, _ = _scale(prediction)
    shown = (("untreated", prediction.untreated), ("treated", prediction.treated))
    bars = [
        Bar(kind, arm, factor * interval.value, factor * interval.low, factor * interval.high)
        for (kind, interval), arm in zip(shown, prediction.arms, strict=True)
        if interval is not None
    ]
    if prediction.measure == "mean":
        return chart_around_zero(bars, unit)
    return chart_from_zero(bars, unit, 100.0 if prediction.measure == "risk" else None)


def _benefits(prediction: Prediction) -> Amounts:
    factor, _, unit = _scale(prediction)
    shown = (
        ("Benefit (positive: helped)", prediction.benefit),
        ("Individual estimate, exploratory", prediction.individual_benefit),
    )
    return _amounts(shown, factor, unit)


def _benefit_chart(prediction: Prediction) -> Chart | None:
    factor, _, unit = _scale(prediction)
    shown = (("Benefit", prediction.benefit), ("Exploratory", prediction.individual_benefit))
    bars = [
        Bar("benefit", label, factor * interval.value, factor * interval.low, factor * interval.high)
        for label, interval in shown
        if interval is not None
    ]
    return chart_around_zero(bars, unit) if bars else None


def _reason_chart(prediction: Prediction) -> Chart | None:
    factor, _, unit = _scale(prediction)
    bars = [
        Bar("raises" if reason.points > 0 else "lowers", reason.label, factor * reason.points)
        for reason in prediction.reasons
    ]
    return chart_around_zero(bars, unit) if bars else None
