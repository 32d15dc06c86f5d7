"""The report of a training: verdicts first, then what they rest on, the model itself, and what remains open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from il7ml import texts
from il7ml.bundle import Estimate
from il7ml.family import family_of
from il7ml.report.checklists import Item, path_items, probast_items, tripod_items, variable_label
from il7ml.report.full_model import full_model
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
from il7ml.report.rounding import estimate_text
from il7ml.report.tables import as_table, with_levels
from il7ml.report.training_words import training_limits, training_words
from il7ml.result import TrainingResult
from il7ml.versions import versions

LEARNERS = {
    "effect_model": "Effect model",
    "dr_learner": "DR-learner",
    "t_learner": "T-learner",
    "s_learner": "S-learner",
    "x_learner": "X-learner",
    "r_learner": "R-learner",
    "risk_based": "Constant relative effect",
}
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
    "net_benefit": "Net benefit",
    "observed_expected": "Observed to expected",
    "poisson_deviance": "Poisson deviance",
    "r2": "Share of variance explained (R²)",
    "rmse": "Root mean squared error",
    "scaled_brier": "Scaled Brier score",
    "scaled_deviance": "Share of deviance explained",
}
_CORRECTED = "_corrected"
#: Figures of effects; all others judge the risk model.
_EFFECT_METRICS = ("ate", "heterogeneity_p", "autoc")
#: Where a table or figure stands, and its caption. What is not listed stands under the last heading.
_PLACES = {
    "risk_selection": ("Risk model", "Out-of-fold loss of the candidates, against the reference"),
    "risk_choices": ("Risk model", "How often each candidate is chosen"),
    "risk_metrics": ("Risk model", "Every figure of every candidate"),
    "risk_corrected": ("Risk model", "Corrected, apparent and other figures side by side"),
    "risk_across_sites": ("Risk model", "Each site left out in turn: summary over sites"),
    "risk_by_left_out_site": ("Risk model", "Each site left out in turn"),
    "risk_by_group": ("Risk model", "Figures by group of patients"),
    "risk_comparison": ("Risk model", "Candidates compared on the same patients"),
    "learning_curve": ("Risk model", "Out-of-fold loss by number of patients"),
    "learning_curve_gain": ("Risk model", "What more patients would gain"),
    "risk_instability": ("Instability", "How far predictions move when patients are drawn anew"),
    "risk_flips": ("Instability", "How often a refit lies on the other side of a threshold"),
    "roc": ("Risk model", "ROC curves in the control arm"),
    "roc_curve": ("Risk model", "ROC curves in the control arm"),
    "calibration": ("Calibration", "Predicted against observed, out of fold"),
    "calibration_summary": ("Calibration", "Distance between predicted and observed"),
    "calibration_groups": ("Calibration", "Predicted and observed by group of predicted outcome"),
    "calibration_curve": ("Calibration", "Flexible calibration curve"),
    "decision_curve": ("Decision curve", "Net benefit over thresholds, control arm"),
    "average_effect": ("Effect of the treatment", "Average effect, unadjusted and adjusted"),
    "effects_by_predicted_effect": ("Evidence of individual differences", "Effect by quarter of predicted effect"),
    "who_is_in_the_groups": ("Evidence of individual differences", "Who is in the quarters of predicted effect"),
    "benefit_calibration": ("Evidence of individual differences", "Calibration for benefit"),
    "benefit_calibration_curve": ("Evidence of individual differences", "Calibration for benefit: curve"),
    "benefit_calibration_groups": ("Evidence of individual differences", "Calibration for benefit: groups"),
    "benefit_calibration_summary": ("Evidence of individual differences", "Calibration for benefit: summary"),
    "targeting_curve": ("Evidence of individual differences", "Benefit among those ranked first, less that of all"),
    "policy_value": ("Evidence of individual differences", "Value of treating by predicted benefit"),
    "modifier_credibility": ("Evidence of individual differences", "ICEMAN's questions on each modifier"),
    "number_needed_to_treat": ("Effect of the treatment", "Number needed to treat"),
    "effects_by_risk": ("Effect of the treatment", "Effect by group of predicted outcome without treatment"),
    "heterogeneity_tests": ("Evidence of individual differences", "Tests of one effect for all"),
    "heterogeneity_modifiers": ("Evidence of individual differences", "Pre-specified modifiers"),
    "best_linear_predictor": ("Evidence of individual differences", "Calibration of estimated individual effects"),
    "shap_risk_groups": ("Explanations", "What moves the predicted outcome, by group of variables"),
    "shap_risk_bar": ("Explanations", "What moves the predicted outcome"),
    "shap_risk": ("Explanations", "Importance for the predicted outcome"),
    "shap_risk_outcome": ("Explanations", "What moves the predicted outcome, on the outcome's scale"),
    "shap_risk_beeswarm": ("Explanations", "How low and high values move the predicted outcome"),
    "shap_risk_dependence": ("Explanations", "Predicted outcome by lymphocyte count"),
    "shap_risk_interactions": ("Explanations", "Pairs of variables that act together"),
    "shap_effect_groups": ("Explanations", "What moves the estimated individual effect, by group of variables"),
    "shap_effect_bar": ("Explanations", "What moves the estimated individual effect"),
    "shap_effect": ("Explanations", "Importance for the estimated individual effect"),
    "shap_effect_beeswarm": ("Explanations", "How low and high values move the estimated individual effect"),
    "shap_effect_dependence": ("Explanations", "Estimated individual effect by lymphocyte count"),
    "correlated_features": ("Explanations", "Variables that go together"),
    "explanation_checks": ("Explanations", "How the explanations were computed, and that they add up"),
    "sample_size": ("Sample size", "Patients needed for a model of all candidate predictors"),
    "flow": ("Patients", "Flow of patients"),
    "endpoints": ("Patients", "Endpoints by arm"),
    "table_one": ("Patients", "Baseline by arm: median [quartiles] or n (%)"),
    "missing_data": ("Missing data", "Patients without a value, by variable"),
    "missing_shares": ("Missing data", "Shares without a value"),
    "missing_tests": ("Missing data", "Whether a gap goes with arm or outcome"),
    "complete_cases": ("Missing data", "Complete records"),
    "leakage_audit": ("Missing data", "Whether a variable knows too much of the outcome"),
}
_FURTHER = "Further tables and figures"
_FOLDED = (
    "risk_by_left_out_site",
    "risk_comparison",
    "risk_flips",
    "benefit_calibration_curve",
    "targeting_curve",
    "policy_value",
    "missing_shares",
    "missing_tests",
    "leakage_audit",
    "risk_metrics",
    "roc_curve",
    "calibration_curve",
    "decision_curve",
    "shap_risk_beeswarm",
    "shap_risk_dependence",
    "shap_effect_beeswarm",
    "shap_effect_dependence",
    "explanation_checks",
)
_NOTES = {
    "risk_corrected": "The first is the figure to report: repeated cross-validation, its interval stretched by the "
    "spread of refits. Apparent, Harrell's, out-of-bag and .632+ stand beside it for comparison.",
    "risk_choices": "Share of held-out predictions, bootstrap samples and sites left out for which the candidate was "
    "chosen, by the same rule among the training patients alone. Where candidates take turns, the choice adds error.",
    "risk_across_sites": "Random effects over sites; the prediction interval is for a site like these.",
    "risk_instability": "By group of predicted outcome; absolute distance between the prediction and those of refits "
    "to bootstrap samples, and quartiles of the width of a patient's 95 % range.",
    "risk_flips": "Mean share of refits that put a patient on the other side of the threshold.",
    "policy_value": "Benefit per patient of treating those whose predicted benefit is above the threshold.",
    "targeting_curve": "Above 0: those ranked first benefit more than the average.",
    "roc_curve": "In the control arm nobody profits from knowing who was treated. Ten patients or more lie between two "
    "points, so that the curve tells of no single one; the area of the table of figures is of all patients.",
    "effects_by_risk": "Groups are made of out-of-fold predictions without treatment; effects are absolute.",
    "shap_risk": "Intervals: bootstrap refits, explained on the same patients; a lower limit of 0 means that they "
    "disagree about the direction.",
    "shap_risk_outcome": "Intervals come from bootstrap refits, explained on 30 patients against 20 reference "
    "patients; of models other than regressions they would take too long, and the order may be another.",
    "shap_risk_groups": "Values are added up within a group before absolute values are taken.",
    "shap_effect_groups": "Values are added up within a group before absolute values are taken.",
    "shap_risk_interactions": "Mean absolute SHAP interaction value, on the model's scale.",
    "correlated_features": "A single one's SHAP value means little: read these variables as a group.",
    "sample_size": "Criteria of Riley et al., BMJ 2020;368:m441, doi 10.1136/bmj.m441.",
    "table_one": "Standardised difference: treated minus control, in pooled standard deviations.",
}
_HEADINGS = {
    "apparent": "Apparent",
    "harrell": "Harrell's",
    "harrell_low": "Harrell's, low",
    "harrell_high": "Harrell's, high",
    "point_632_plus": ".632+",
    "width_q25": "Width, 1st quartile",
    "width_q50": "Width, median",
    "width_q75": "Width, 3rd quartile",
    "prediction_low": "Next site, low",
    "prediction_high": "Next site, high",
    "tau2": "Variance between sites",
    "i2": "Share of variance between sites (I²)",
    "all_net_benefit": "Treating all",
    "n_first": "Patients, lowest",
    "n_last": "Patients, highest",
    "first": "Lowest quarter",
    "last": "Highest quarter",
    "standardised": "In standard deviations",
    "correlated_with": "Goes with",
    "first_label": "Variable",
    "second_label": "Other variable",
    "gap": "Largest gap",
    "place": "Place, lowest 0 to highest 1",
    "same_direction": "Refits of the same direction",
    "spearman": "Rank correlation",
    "direction": "Rank correlation of value and SHAP value",
    "other_arms": "In other arms",
    "ranking": "Mean prediction, untreated",
    "rows": "In the tables",
    "t": "t statistic",
    "text": "Estimate",
}
# Names that the tables in the tracking store have beside their labels, and what stands in heading and caption.
_UNSEEN = ("variable", "first", "second", "scale", "note")


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
            Section("In plain words", (Bullets(training_words(result)),)),
            *(Section(name, (*first.get(name, ()), *placed.get(name, ()))) for name in headings),
            Section("The model", tuple(_model(result))),
            Section("Reporting items (TRIPOD+AI)", tuple(_items("Reporting items", tripod_items(result), _TRIPOD))),
            Section(
                "Effects in individual patients (PATH)",
                tuple(_items("Items on individual effects", path_items(result), _PATH)),
            ),
            Section("Risk of bias (PROBAST+AI)", tuple(_items("Items on bias", probast_items(result), _PROBAST))),
            Section("Limits", (Bullets(training_limits(result)),)),
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
_PROBAST = (
    "What bears on bias and on whom the model suits, after PROBAST+AI (Moons et al., BMJ 2025;388:e082505, "
    "doi 10.1136/bmj-2024-082505), in our own words and filled in from this run. A concern lowers trust in the figures."
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
        f"{result.selection_reason} Figures are from predictions for patients who were used neither to fit the model "
        "nor to choose it: in each fold the candidates are compared anew among the other patients. They are for the "
        "arm that each patient was in; the event rate is one an arm, so it knows the arm, too. Intervals show the "
        "uncertainty of the assessment with the predictions as they are."
    )
    chosen = {name: value for name, value in result.metrics.items() if name not in _EFFECT_METRICS}
    label = texts.MODEL_LABELS.get(result.selected, result.selected)
    yield _metrics(result, f"Figures of the delivered model ({label}), its choice included", chosen)
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
        if name == "missing_data" and result.tables[name].empty:
            parts.append(Paragraph("No value is missing."))
        elif name in result.tables:
            parts.append(_table(result, name, caption))
    return found


def _picture(result: TrainingResult, name: str, caption: str) -> Picture:
    note = _caveat(result, name)
    caption = f"{caption} ({note})" if note else caption
    behind = "" if name not in _PLACES else " Its numbers stand in a table of this report."
    return Picture(caption, f"Figure: {caption}.{behind}", result.figures[name])


def _caveat(result: TrainingResult, name: str) -> str:
    """Return the caveat of an explanation or of individual effects, which its table holds."""
    names = (name.removesuffix("_bar"), f"{name}_curve")
    table = next((result.tables[each] for each in names if each in result.tables), None)
    return str(table["note"].iloc[0] or "") if table is not None and len(table) and "note" in table else ""


def _table(result: TrainingResult, name: str, caption: str) -> Table:
    frame, card = result.tables[name], result.bundle.card
    headings = {**_HEADINGS, "control": card.control_label, "treated": card.treated_label}
    group_by, note = None, _NOTES.get(name, "")
    caveat = _caveat(result, name)
    if name.startswith("shap_") or name == "correlated_features":
        if "scale" in frame:
            headings |= {"mean_abs_shap": f"Mean absolute SHAP value, {frame['scale'].iloc[0]}"}
            headings |= {"mean_shap": f"Mean SHAP value, {frame['scale'].iloc[0]}"}
        frame = _ranked(frame.drop(columns=[column for column in _UNSEEN if column in frame]))
    elif name == "risk_corrected":
        frame = frame[["model", *(column for column in frame if column != "model")]]
    elif name == "table_one":
        frame, group_by = with_levels(frame)
    elif name == "effects_by_predicted_effect":
        headings |= {"ranking": "Mean predicted effect, less the average"}
    elif name == "effects_by_risk":
        headings |= {"treated": "Treated", "untreated": "Untreated"}
    elif name == "endpoints":
        frame = frame[["title", "control", "treated"]]
    elif name == "number_needed_to_treat":
        frame = frame[["text"]]
    elif name == "heterogeneity_modifiers":
        frame = frame.assign(modifier=frame["modifier"].map(lambda code: variable_label(card, str(code))))
    elif name == "risk_by_group":
        frame, note = _shown_groups(frame)
    elif name == "who_is_in_the_groups":
        frame = frame.drop(columns=["standardised_low", "standardised_high"])
    elif name == "learning_curve_gain":
        frame = frame.rename(columns={"gain_low": "low", "gain_high": "high"})
    if caveat:
        frame, caption = frame.drop(columns="note", errors="ignore"), f"{caption} ({caveat})"
    words = {
        "model": texts.MODEL_LABELS,
        "learner": LEARNERS,
        "metric": {str(code): metric_label(str(code)) for code in frame.get("metric", ())},
        "variable": {str(code): variable_label(card, str(code)) for code in frame.get("variable", ())},
        "characteristic": {str(code): _sentence(str(code)) for code in frame.get("characteristic", ())},
        "arm": {"0": card.control_label, "1": card.treated_label, "all": "All"},
    }
    return as_table(
        frame,
        caption,
        headings=headings,
        words=words,
        group_by=group_by,
        level=result.config.validation.level,
        note=note,
        is_folded=name in _FOLDED,
    )


def _ranked(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of importance with what is ranked in front, and a rank's limits behind it in brackets."""
    if "rank" not in frame:
        return frame
    if "rank_low" in frame and frame["rank_low"].notna().all():
        limits = zip(frame["rank"], frame["rank_low"], frame["rank_high"], strict=True)
        frame = frame.assign(
            rank=[f"{rank:.0f} ({low:.0f} to {high:.0f})".replace(" ", "\u00a0") for rank, low, high in limits]
        )
    frame = frame.drop(columns=[column for column in ("rank_low", "rank_high") if column in frame])
    first = "label" if "label" in frame else "group"
    if "unit" in frame:
        units = [f" ({unit})" if unit else "" for unit in frame["unit"]]
        frame = frame.assign(label=frame["label"] + units).drop(columns="unit")
    return frame[[first, *(column for column in frame if column != first)]]


def _shown_groups(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the groups that are large enough to be shown, and how many are not."""
    hidden = frame["hidden"].astype(bool)
    left_out = frame.loc[hidden, ["characteristic", "group"]].drop_duplicates()
    parts = [f"{count} by {name}" for name, count in left_out["characteristic"].value_counts(sort=False).items()]
    note = f"Groups of fewer than ten patients are not shown: {', '.join(parts)}." if parts else ""
    return frame.loc[~hidden].drop(columns="hidden"), note


def _model(result: TrainingResult) -> Iterator[Part]:
    """Yield what the stored model is made of and on which range it was trained."""
    card = result.bundle.card
    yield Facts(
        (
            ("Name", card.model_name),
            ("Kind", texts.MODEL_LABELS.get(card.risk_model, card.risk_model)),
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
    variables = {name: entry.variable for name, entry in card.variables.items()}
    yield from full_model(result.bundle.risk, variables, family_of(result.kind), card.theta)
    if result.evidence == "credible":
        yield Paragraph("A patient's own estimate of the effect takes the place of the treatment's number.")


def _items(caption: str, items: Iterable[Item], source: str) -> Iterator[Part]:
    yield Paragraph(source)
    rows = tuple((item.name, item.status, item.answer) for item in items)
    yield Table(caption, (Column("Item"), Column("Status"), Column("In this run")), (Group("", rows),))


def _origin(result: TrainingResult) -> Facts:
    return Facts(
        (
            ("Study", result.study),
            ("Patients", "simulated" if result.simulated else "real"),
            ("Data digest (SHA-256)", result.data_digest),
            ("Seed", str(result.config.seed)),
            ("Computed with", ", ".join(f"{name} {version}" for name, version in versions().items())),
        )
    )
