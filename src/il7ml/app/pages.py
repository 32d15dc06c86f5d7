"""The page as HTML: the form, and the answer for one patient. Without script; everything comes from the service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from il7ml import texts
from il7ml.answer import Interval, Prediction, validation_sentence
from il7ml.app.comparison import PREFIX, Comparison, compared_inputs
from il7ml.app.drawing import Bar, Chart, chart_around_zero, chart_from_zero
from il7ml.app.fields import field_of, groups_of
from il7ml.app.form import Entry
from il7ml.predictor import Predictor


class Amount(NamedTuple):
    """An estimate in words."""

    label: str
    value: str
    interval: str


class Compared(NamedTuple):
    """A row of the comparison: untreated, treated and benefit, None where it is not given."""

    label: str
    cells: tuple[Amount | None, ...]
    note: str


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
        "form.html.j2", predictor, title=card.endpoint_title, groups=groups_of(predictor, given, problems), given=given,
        problems=problems, compares=bool(compared_inputs(predictor)),
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
        outcome_chart=_outcome_chart([("", prediction)]),
        benefits=_benefits(prediction),
        benefit_chart=_benefit_chart(prediction),
        need=None if need is None else f"{need:.1f}",
        need_note=texts.PAGE["need_note"] if benefit is not None and benefit.low <= 0 else "",
        beside=_others(prediction),
        beside_note=texts.BESIDE,
        reason_chart=_reason_chart(prediction),
        reasons=[reason.sentence(prediction.measure) for reason in prediction.reasons],
        entries=entry.values,
        groups=groups_of(predictor, given, {}),
        given=given,
        compares=bool(compared_inputs(predictor)),
        comparison=_comparison_label(predictor),
    )


def comparison_page(
    predictor: Predictor, prediction: Prediction, given: Mapping[str, str], entry: Entry, comparison: Comparison
) -> str:
    """Return the page that sets similar patients beside this one.

    Parameters
    ----------
    predictor : Predictor
    prediction : Prediction
        This patient's answer.
    given : mapping of str to str
        This patient's entries as they came.
    entry : Entry
        The same as they were read.
    comparison : Comparison
    """
    card = predictor.bundle.card
    rows = [(texts.PAGE["this_patient"], prediction, "")]
    rows += [(one.label, one.prediction, texts.PAGE["same"] if one.is_same else "") for one in comparison.alternatives]
    fields = [
        field_of(
            name, card.variables[name], card.eligibility.get(name), comparison.given, comparison.problems.get(name, "")
        )._replace(name=f"{PREFIX}{name}", is_required=False)
        for name in compared_inputs(predictor)
    ]
    return _render(
        "comparison.html.j2",
        predictor,
        title=prediction.outcome,
        comparison=_comparison_label(predictor),
        patient_id=prediction.patient_id,
        problems=comparison.problems,
        warnings=dict.fromkeys(warning for _, answer, _ in rows for warning in answer.warnings),
        heads=_compared_heads(prediction),
        rows=[Compared(label, _compared_cells(answer), note) for label, answer, note in rows],
        drawing=_outcome_chart([(texts.PAGE["labelled"].format(label=label), answer) for label, answer, _ in rows]),
        entries=entry.values,
        fields=fields,
        given=given,
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
        .render(
            notice=predictor.notice,
            intended_use=texts.INTENDED_USE,
            origin=_origin(model),
            validation=validation_sentence(model["validation"]),
            level=level,
            **parts,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("il7ml.app"), autoescape=True, undefined=StrictUndefined, auto_reload=False,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals["t"] = texts.PAGE  # imported macros see globals only
    return environment


def _origin(model: Mapping[str, Any]) -> str:
    name = model["name"]
    if model["version"]:
        name = texts.PAGE["version"].format(name=name, version=model["version"])
    events = texts.PAGE["events"].format(events=model["training_events"]) if model["training_events"] else ""
    return texts.PAGE["origin"].format(
        name=name,
        digest=model["digest"][:12],
        risk_model=model["risk_model"],
        patients=model["training_patients"],
        data=model["data"],
        study=model["study"],
        events=events,
    )


def _with(arm: str) -> str:
    return texts.PAGE["with_arm"].format(arm=arm)


def _scale(prediction: Prediction) -> tuple[float, str, str]:
    """Return the factor for showing, the unit of an outcome and that of a difference."""
    if prediction.measure == "risk":
        return 100.0, "%", texts.PAGE["points"]
    unit = (
        texts.PAGE["per"].format(unit=prediction.unit)
        if prediction.measure == "rate" and prediction.unit
        else prediction.unit
    )
    return 1.0, unit, unit


def _number(value: float, factor: float) -> str:
    # A true minus sign, which is read as one and does not break from its number.
    text = f"{factor * value:.1f}" if factor != 1 else f"{value:.3g}"
    return text.replace("-", "−")


def _amount(label: str, interval: Interval, factor: float) -> Amount:
    value, low, high = (_number(part, factor) for part in (interval.value, interval.low, interval.high))
    return Amount(label, value, texts.PAGE["limits"].format(low=low, high=high))


def _amounts(shown: Iterable[tuple[str, Interval | None]], factor: float, unit: str) -> Amounts:
    rows = (_amount(label, interval, factor) for label, interval in shown if interval is not None)
    return Amounts(tuple(rows), f" ({unit})" if unit else "")


def _comparison_label(predictor: Predictor) -> str:
    # A label such as 'IL-7 (CYT107)' names the drug first.
    return texts.COMPARISON.format(treated=predictor.bundle.card.treated_label.partition(" (")[0])


def _compared_heads(prediction: Prediction) -> tuple[str, ...]:
    _, unit, points = _scale(prediction)
    untreated, treated = prediction.arms
    heads = ((_with(untreated), unit), (_with(treated), unit), (texts.PAGE["benefit_label"], points))
    return tuple(f"{head}, {unit}" if unit else head for head, unit in heads)


def _compared_cells(prediction: Prediction) -> tuple[Amount | None, ...]:
    factor, _, _ = _scale(prediction)
    intervals = (prediction.untreated, prediction.treated, prediction.benefit)
    return tuple(None if interval is None else _amount("", interval, factor) for interval in intervals)


def _outcomes(prediction: Prediction) -> Amounts:
    factor, unit, _ = _scale(prediction)
    untreated, treated = prediction.arms
    shown = ((_with(untreated), prediction.untreated), (_with(treated), prediction.treated))
    return _amounts(shown, factor, unit)


def _outcome_chart(rows: Sequence[tuple[str, Prediction]]) -> Chart:
    """Return bars of the outcomes without and with treatment; a row's text goes before the arm's name."""
    first = rows[0][1]
    factor, unit, _ = _scale(first)
    bars: list[Bar] = []
    for text, prediction in rows:
        shown = (("untreated", prediction.untreated), ("treated", prediction.treated))
        bars += [
            Bar(kind, f"{text}{arm}", factor * interval.value, factor * interval.low, factor * interval.high)
            for (kind, interval), arm in zip(shown, prediction.arms, strict=True)
            if interval is not None
        ]
    if first.measure == "mean":
        return chart_around_zero(bars, unit)
    return chart_from_zero(bars, unit, 100.0 if first.measure == "risk" else None)


def _benefits(prediction: Prediction) -> Amounts:
    factor, _, unit = _scale(prediction)
    shown = (
        (texts.PAGE["benefit_label"], prediction.benefit),
        (texts.PAGE["exploratory_label"], prediction.individual_benefit),
    )
    return _amounts(shown, factor, unit)


def _others(prediction: Prediction) -> list[tuple[str, Amounts]]:
    """Return each other outcome's title and its numbers, which are risks whatever the model predicts."""
    untreated, treated = prediction.arms
    return [
        (
            other.outcome,
            _amounts(
                (
                    (f"{_with(untreated)} (%)", other.untreated),
                    (f"{_with(treated)} (%)", other.treated),
                    (f"{texts.PAGE['benefit']} ({texts.PAGE['points']})", other.benefit),
                ),
                100.0,
                "",
            ),
        )
        for other in prediction.beside
    ]


def _benefit_chart(prediction: Prediction) -> Chart | None:
    factor, _, unit = _scale(prediction)
    shown = ((texts.PAGE["benefit"], prediction.benefit), (texts.PAGE["exploratory"], prediction.individual_benefit))
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
