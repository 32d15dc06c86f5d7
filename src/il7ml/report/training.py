"""The report of a training: verdicts first, then what they rest on, the model itself, and what remains open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from il7ml import texts
from il7ml.bundle import Estimate
from il7ml.report.checklists import Item, path_items, tripod_items
from il7ml.report.page import (
    Bullets,
    Column,
    Facts,
    Group,
    Page,
    Paragraph,
    Part,
    Picture,
    Section,
    Source,
    Table,
    Verdict,
    render,
)
from il7ml.report.rounding import estimate_text, number
from il7ml.report.tables import as_table, with_levels
from il7ml.result import TrainingResult

LEARNERS = {"t_learner": "T-learner", "dr_learner": "Doubly-robust learner"}
METRICS = {
    "ate": "Average effect, treated minus untreated",
    "auroc": "AUROC",
    "autoc": "Rank-weighted effect (AUTOC)",
    "brier": "Brier score",
    "calibration_intercept": "Calibration intercept",
    "calibration_slope": "Calibration slope",
    "e50": "Median distance from ideal (E50)",
    "e90": "90th percentile of the distance from ideal (E90)",
    "heterogeneity_p": "P of the heterogeneity test",
    "ici": "Mean distance from ideal (ICI)",
    "log_loss": "Log loss",
    "scaled_brier": "Scaled Brier score",
}
_CORRECTED = "_corrected"
#: Figures of effects; all others judge the risk model.
_EFFECT_METRICS = ("ate", "heterogeneity_p", "autoc")
#: Where a table or figure stands, and its caption. What is not listed stands under the last heading.
_PLACES = {
    "risk_selection": ("Risk model", "Out-of-fold loss of the candidates, against the reference"),
    "risk_metrics": ("Risk model", "Every figure of every candidate"),
    "roc": ("Risk model", "ROC curves in the control arm"),
    "roc_curve": ("Risk model", "ROC curves in the control arm"),
    "calibration": ("Calibration", "Predicted against observed, out of fold"),
    "calibration_summary": ("Calibration", "Distance between predicted and observed"),
    "calibration_groups": ("Calibration", "Predicted and observed by group of predicted outcome"),
    "calibration_curve": ("Calibration", "Flexible calibration curve"),
    "decision_curve": ("Decision curve", "Net benefit over thresholds, control arm"),
    "average_effect": ("Effect of the treatment", "Average effect, unadjusted and adjusted"),
    "number_needed_to_treat": ("Effect of the treatment", "Number needed to treat"),
    "effects_by_risk": ("Effect of the treatment", "Effect by group of predicted outcome without treatment"),
    "heterogeneity_tests": ("Evidence of individual differences", "Tests of one effect for all"),
    "heterogeneity_modifiers": ("Evidence of individual differences", "Pre-specified modifiers"),
    "best_linear_predictor": ("Evidence of individual differences", "Calibration of estimated individual effects"),
    "shap_risk_bar": ("Explanations", "What moves the predicted outcome"),
    "shap_risk_beeswarm": ("Explanations", "What moves the predicted outcome, patient by patient"),
    "shap_risk": ("Explanations", "Importance for the predicted outcome"),
    "shap_effect_bar": ("Explanations", "What moves the estimated individual effect"),
    "shap_effect_beeswarm": ("Explanations", "What moves the estimated individual effect, patient by patient"),
    "shap_effect": ("Explanations", "Importance for the estimated individual effect"),
    "sample_size": ("Sample size", "Patients needed for a model of all candidate predictors"),
    "flow": ("Patients", "Flow of patients"),
    "endpoints": ("Patients", "Endpoints by arm"),
    "table_one": ("Patients", "Baseline by arm: median [quartiles] or n (%)"),
    "missing_data": ("Missing data", "Patients without a value, by variable"),
}
_FURTHER = "Further tables and figures"
_FOLDED = ("risk_metrics", "roc_curve", "calibration_curve", "decision_curve")
_NOTES = {
    "roc_curve": "In the control arm nobody profits from knowing who was treated.",
    "effects_by_risk": "Groups are made of out-of-fold predictions without treatment; effects are absolute.",
    "sample_size": "Criteria of Riley et al., BMJ 2020;368:m441, doi 10.1136/bmj.m441.",
    "table_one": "Standardised difference: treated minus control, in pooled standard deviations.",
}
_HEADINGS = {
    "direction": "Rank correlation of value and SHAP value",
    "other_arms": "In other arms",
    "ranking": "Mean prediction, untreated",
    "rows": "In the tables",
    "t": "t statistic",
    "text": "Estimate",
}
_SHAP_COLUMNS = ["label", "unit", "group", "mean_abs_shap", "direction", "scale", "note"]


def training_report(result: TrainingResult) -> str:
    """Return a training as a self-contained HTML page.

    Parameters
    ----------
    result : TrainingResult

    Returns
    -------
    str
        HTML; begins with the notice where patients are simulated.
    """
    placed = _placed(result)
    card = result.bundle.card
    first: dict[str, Iterable[Part]] = {
        "Risk model": _risk_model(result),
        "Effect of the treatment": _effect(result),
        "Evidence of individual differences": _evidence(result),
    }
    headings = list(dict.fromkeys([*(place for place, _ in _PLACES.values()), _FURTHER]))
    notes = tuple(note for note in result.notes if note != texts.SIMULATED)
    page = Page(
        title=result.title,
        subtitle=f"Training on {result.endpoint_title}: {card.treated_label} ({card.n_treated}) against "
        f"{card.control_label} ({card.n - card.n_treated}).",
        notice=texts.SIMULATED if result.simulated else "",
        sections=(
            Section("Verdicts", tuple(_verdicts(result))),
            *(Section(name, (*first.get(name, ()), *placed.get(name, ()))) for name in headings),
            Section("The model", tuple(_model(result))),
            Section("Reporting items (TRIPOD+AI)", tuple(_items("Reporting items", tripod_items(result), _TRIPOD))),
            Section(
                "Effects in individual patients (PATH)",
                tuple(_items("Items on individual effects", path_items(result), _PATH)),
            ),
            Section("Notes", (Bullets(notes),) if notes else ()),
            Section("Intended use", (Paragraph(texts.INTENDED_USE),)),
            Section("How to repeat this", (_origin(result), Source("Configuration", result.config.to_yaml()))),
        ),
    )
    return render(page)


_TRIPOD = (
    "What a reader of a prediction model looks for, after TRIPOD+AI (Collins et al., BMJ 2024;385:e078378, "
    "doi 10.1136/bmj-2023-078378), in our own words and filled in from this run. Open items are for the authors."
)
_PATH = (
    "After the PATH statement (Kent et al., Ann Intern Med 2020;172:35, doi 10.7326/M18-3667), in our own words and "
    "filled in from this run."
)


def _verdicts(result: TrainingResult) -> Iterator[Part]:
    yield Verdict("Individual differences of the effect", result.evidence, result.evidence_reason)
    value, _, reason = result.sample_size.partition(":")
    yield Verdict("Sample size", value.strip(), reason.strip())
    yield Verdict("Risk model", texts.MODEL_LABELS.get(result.selected, result.selected), result.selection_reason)
    counts = result.counts
    arms = {
        "n": "Patients",
        "n_control": result.bundle.card.control_label,
        "n_treated": result.bundle.card.treated_label,
    }
    names = {**arms, "events": "Events", "features": "Candidate predictors"}
    yield Facts(
        (
            ("Endpoint", result.endpoint_title),
            ("Estimand", result.estimand),
            *((names.get(name, _sentence(name)), f"{count:,}") for name, count in counts.items()),
        )
    )


def _risk_model(result: TrainingResult) -> Iterator[Part]:
    """Yield the chosen model's figures and those of the candidates."""
    yield Paragraph(
        f"{result.selection_reason} Figures are from predictions for patients who were not used to fit the model, in "
        "the arm that each was in; the event rate is one an arm, so it knows the arm, too. Intervals show the "
        "uncertainty of the assessment with the predictions as they are."
    )
    chosen = {name: value for name, value in result.metrics.items() if name not in _EFFECT_METRICS}
    yield _metrics(
        result, f"Figures of the chosen model: {texts.MODEL_LABELS.get(result.selected, result.selected)}", chosen
    )
    names = list(dict.fromkeys(name for candidate in result.candidates for name in candidate.metrics))
    columns = (Column("Model"), *(Column(metric_label(name), True) for name in names), Column("Chosen"))
    rows = tuple(
        (
            texts.MODEL_LABELS.get(candidate.name, candidate.name),
            *(_estimate(candidate.metrics.get(name)) for name in names),
            "yes" if candidate.selected else "no",
        )
        for candidate in result.candidates
    )
    if rows:
        yield Table(f"Candidates, with {_level(result)}", columns, (Group("", rows),))


def _effect(result: TrainingResult) -> Iterator[Part]:
    chosen = {name: value for name, value in result.metrics.items() if name == "ate"}
    if chosen:
        yield _metrics(result, "Effect, covariate-adjusted", chosen)


def _evidence(result: TrainingResult) -> Iterator[Part]:
    yield Paragraph(f"{result.evidence_reason} With every prediction stands: {result.bundle.card.evidence_sentence}")
    chosen = {name: value for name, value in result.metrics.items() if name in {"heterogeneity_p", "autoc"}}
    if chosen:
        yield _metrics(result, "Figures behind the verdict", chosen)


def _metrics(result: TrainingResult, caption: str, metrics: Mapping[str, Estimate]) -> Table:
    columns = (Column("Figure"), Column(f"Estimate ({_level(result)})", True))
    rows = tuple((metric_label(name), _estimate(value)) for name, value in metrics.items())
    return Table(caption, columns, (Group("", rows),))


def metric_label(name: str) -> str:
    """Return what a metric is called.

    Examples
    --------
    >>> metric_label("auroc"), metric_label("brier_corrected"), metric_label("new_metric")
    ('AUROC', 'Brier score, corrected for optimism', 'New metric')
    """
    plain = name.removesuffix(_CORRECTED)
    label = METRICS.get(plain, _sentence(plain))
    return f"{label}, corrected for optimism" if plain != name else label


def _sentence(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _estimate(value: Estimate | None) -> str:
    return "-" if value is None else estimate_text(value.value, value.low, value.high)


def _level(result: TrainingResult) -> str:
    return f"{100 * result.config.validation.level:g} % CI"


def _placed(result: TrainingResult) -> dict[str, list[Part]]:
    """Return the parts under each heading, in the order of the places; a figure comes before its table."""
    found: dict[str, list[Part]] = {}
    present = [*result.figures, *result.tables]
    for name in dict.fromkeys([*(name for name in _PLACES if name in present), *present]):
        place, caption = _PLACES.get(name, (_FURTHER, _sentence(name)))
        parts = found.setdefault(place, [])
        if name in result.figures:
            parts.append(_picture(result, name, caption))
        if name in result.tables:
            parts.append(_table(result, name, caption))
    return found


def _picture(result: TrainingResult, name: str, caption: str) -> Picture:
    note = _shap_note(result, name)
    caption = f"{caption} ({note})" if note else caption
    # A swarm shows single patients, who stand in no table.
    behind = "" if name.endswith("beeswarm") or name not in _PLACES else " Its numbers stand in a table of this report."
    return Picture(caption, f"Figure: {caption}.{behind}", result.figures[name])


def _shap_note(result: TrainingResult, name: str) -> str:
    """Return the caveat of an explanation, which its table holds."""
    table = result.tables.get("_".join(name.split("_")[:2])) if name.startswith("shap_") else None
    return str(table["note"].iloc[0]) if table is not None and len(table) else ""


def _table(result: TrainingResult, name: str, caption: str) -> Table:
    frame, card = result.tables[name], result.bundle.card
    headings = {**_HEADINGS, "control": card.control_label, "treated": card.treated_label}
    group_by = None
    if name in {"shap_risk", "shap_effect"}:
        note = _shap_note(result, name)
        headings["scale"] = "SHAP value in"
        frame = frame[[column for column in _SHAP_COLUMNS if column in frame]].drop(columns="note")
        caption = f"{caption} ({note})" if note else caption
    elif name == "table_one":
        frame, group_by = with_levels(frame)
    elif name == "effects_by_risk":
        headings |= {"treated": "Treated", "untreated": "Untreated"}
    elif name == "endpoints":
        frame = frame[["title", "control", "treated"]]
    elif name == "number_needed_to_treat":
        frame = frame[["text"]]
    elif name == "heterogeneity_modifiers":
        frame = frame.assign(modifier=frame["modifier"].map(lambda code: _variable(result, str(code))))
    words = {
        "model": texts.MODEL_LABELS,
        "learner": LEARNERS,
        "metric": {str(code): metric_label(str(code)) for code in frame.get("metric", ())},
    }
    return as_table(
        frame,
        caption,
        headings=headings,
        words=words,
        group_by=group_by,
        level=result.config.validation.level,
        note=_NOTES.get(name, ""),
        is_folded=name in _FOLDED,
    )


def _variable(result: TrainingResult, code: str) -> str:
    """Return a variable's name in words; a level stands behind it in brackets."""
    name, bracket, level = code.partition("[")
    entry = result.bundle.card.variables.get(name)
    return f"{entry.variable.term if entry else _sentence(name)}{bracket}{level}"


def _model(result: TrainingResult) -> Iterator[Part]:
    """Yield what the stored model is made of and on which range it was trained."""
    card = result.bundle.card
    yield Facts(
        (
            ("Name", card.model_name),
            ("Kind", texts.MODEL_LABELS.get(card.risk_model, card.risk_model)),
            ("Effect on the linear predictor", number(card.theta)),
            ("Refits for intervals", str(len(result.bundle.refits.models))),
        )
    )
    columns = (Column("Predictor"), Column("Unit"), Column("Training range or levels"), Column("Required"))
    rows = tuple(
        (
            entry.variable.term,
            entry.variable.unit or "-",
            f"{entry.low:g} to {entry.high:g}"
            if entry.low is not None and entry.high is not None
            else ", ".join(level.replace("_", " ") for level in entry.variable.levels) or "yes, no",
            "yes" if entry.required else "no",
        )
        for entry in card.variables.values()
    )
    yield Table("Predictors that the model may be given", columns, (Group("", rows),))


def _items(caption: str, items: Iterable[Item], source: str) -> Iterator[Part]:
    yield Paragraph(source)
    rows = tuple((item.name, "open" if item.is_open else "reported", item.answer) for item in items)
    yield Table(caption, (Column("Item"), Column("Status"), Column("In this run")), (Group("", rows),))


def _origin(result: TrainingResult) -> Facts:
    return Facts(
        (
            ("Study", result.study),
            ("Patients", "simulated" if result.simulated else "real"),
            ("Data digest (SHA-256)", result.data_digest),
            ("Seed", str(result.config.seed)),
            ("il7ml version", result.bundle.card.il7ml_version),
        )
    )
