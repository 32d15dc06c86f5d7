"""How good the risk models are, and which one is chosen: out-of-fold arrays to tables, figures and a decision."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml import plots, texts
from il7ml.bundle import Estimate
from il7ml.config import RiskModelName, RunConfig
from il7ml.evaluation.calibration import calibration_curve
from il7ml.evaluation.decision import decision_curve
from il7ml.evaluation.risk import risk_metrics
from il7ml.evaluation.roc import roc_curve
from il7ml.evaluation.selection import MORE_COMPLEX, Selection
from il7ml.family import FAMILIES
from il7ml.models.catalog import Setting
from il7ml.models.choice import choose_by_losses, reference_among
from il7ml.models.crossfit import OutOfFold
from il7ml.models.sample import Sample
from il7ml.parallel import spawn, stream
from il7ml.result import Candidate

Floats = NDArray[np.float64]


#: The name in tables of what is delivered: the model that is chosen, whichever it is.
PROCEDURE = "procedure"
# Patients between two points of a logged curve: fewer would tell of single ones.
_SMALLEST = 10


class RiskAssessment(NamedTuple):
    """The comparison of risk models and the figures of the procedure that ends in the chosen one."""

    selected: RiskModelName
    reason: str
    metrics: dict[str, Estimate]
    candidates: tuple[Candidate, ...]
    tables: dict[str, pd.DataFrame]
    figures: dict[str, bytes]


def assess_risk(
    sample: Sample,
    out_of_fold: OutOfFold,
    setting: Setting,
    config: RunConfig,
    title: str,
    selection: Selection | None = None,
) -> RiskAssessment:
    """Judge and choose among the risk models, from predictions for the arm that each patient was in.

    The headline figures are those of the whole procedure: in each fold the model is the one that its training patients
    chose. The model that all patients choose looks better than it is where it was picked for being good in these folds.

    Parameters
    ----------
    sample : Sample
    out_of_fold : OutOfFold
    setting : Setting
    config : RunConfig
    title : str
        What the figures are about.
    selection : Selection, optional
        A choice that was made already, on more patients than these.
    """
    kind, family = setting.outcome, FAMILIES[setting.outcome]
    factual = {name: out_of_fold.factual(name, sample.treatment) for name in out_of_fold.untreated}
    losses = {name: family.loss(sample.y, predicted, sample.exposure) for name, predicted in factual.items()}
    selection = choose_by_losses(losses, sample.weight) if selection is None else selection
    bootstrap, level = config.validation.bootstrap, config.validation.level
    metrics = {
        name: risk_metrics(
            sample.y,
            predicted,
            kind,
            weight=sample.weight,
            exposure=sample.exposure,
            bootstrap=bootstrap,
            level=level,
            rng=np.random.default_rng(seed),
        )
        for (name, predicted), seed in zip(
            {**factual, PROCEDURE: out_of_fold.chosen(sample.treatment)}.items(),
            spawn(stream(config.seed, "risk metrics"), len(factual) + 1),
            strict=True,
        )
    }
    name = next(model for model in config.models if model == selection.name)
    mean = out_of_fold.chosen(sample.treatment).mean(axis=0)
    if out_of_fold.choices().get("prevalence") == 1:
        # The event rate differs a little between folds; what is assessed is one rate an arm.
        mean = np.where(sample.treatment == 1, *(mean[sample.treatment == arm].mean() for arm in (1, 0)))
    calibration = calibration_curve(sample.y, mean, kind, weight=sample.weight, exposure=sample.exposure, level=level)
    tables = {
        "risk_metrics": pd.concat([table.assign(model=model) for model, table in metrics.items()], ignore_index=True),
        "risk_selection": selection.table,
        "risk_choices": pd.DataFrame(
            [{"model": model, "cross_validation": share} for model, share in out_of_fold.choices().items()]
        ),
        "calibration_curve": calibration.curve,
        "calibration_groups": calibration.groups,
        "calibration_summary": pd.DataFrame(
            {"metric": ["ici", "e50", "e90"], "estimate": [calibration.ici, calibration.e50, calibration.e90]}
        ),
    }
    figures = {
        "calibration": plots.calibration_figure(
            calibration.curve, calibration.groups, f"Calibration: {title}", family.measure, level
        )
    }
    if kind == "binary":
        untreated = {model: predicted.mean(axis=0) for model, predicted in out_of_fold.untreated.items()}
        risk = out_of_fold.chosen(0).mean(axis=0)
        tables |= _binary_tables(sample, untreated, risk, out_of_fold.choices(), config)
        where = f"control arm, {title}"
        figures["roc"] = plots.roc_figure(tables["roc_curve"], texts.MODEL_LABELS, f"ROC curves: {where}")
        figures["decision_curve"] = plots.decision_curve_figure(tables["decision_curve"], f"Decision curve: {where}")
    candidates = tuple(Candidate(model, estimates(metrics[model]), model == name) for model in factual)
    return RiskAssessment(
        selected=name,
        reason=_selection_reason(selection, reference_among(config.models)),
        metrics=estimates(metrics[PROCEDURE]),
        candidates=candidates,
        tables=tables,
        figures={key: plots.to_png(figure) for key, figure in figures.items()},
    )


def _binary_tables(
    sample: Sample,
    untreated: dict[str, Floats],
    risk: Floats,
    choices: dict[str, float],
    config: RunConfig,
) -> dict[str, pd.DataFrame]:
    """Return ROC and decision curves in the control arm, where nobody profits from knowing who was treated."""
    known = (sample.weight > 0) & (sample.treatment == 0)
    y, weight = sample.y[known], sample.weight[known]
    curves = [
        roc_curve(y, predicted[known], weight=weight, smallest=_SMALLEST).assign(model=name)
        for name, predicted in untreated.items()
        if name != "prevalence"
    ]
    prevalence = float(np.average(y, weights=weight))
    thresholds = np.array(config.validation.thresholds)
    if thresholds.size < 1:
        thresholds = np.round(np.linspace(0.02, min(0.98, max(2 * prevalence, 0.1)), 40), 4)
    risk = risk[known]
    models = {"risk model": np.full(y.size, risk.mean()) if choices.get("prevalence") == 1 else risk}
    if choices.get("lymphocyte", 1) < 1:
        models["lymphocyte count alone"] = untreated["lymphocyte"][known]
    decisions = decision_curve(
        y,
        models,
        thresholds,
        weight=weight,
        bootstrap=config.validation.bootstrap,
        level=config.validation.level,
        rng=np.random.default_rng(stream(config.seed, "decision curve")),
    )
    empty = pd.DataFrame(columns=["false_positive_rate", "true_positive_rate", "model"])
    return {"roc_curve": pd.concat(curves, ignore_index=True) if curves else empty, "decision_curve": decisions}


def _selection_reason(selection: Selection, reference: str) -> str:
    chosen, smallest = texts.MODEL_LABELS[selection.name], texts.MODEL_LABELS[selection.best]
    if selection.name == selection.best:
        return f"{chosen} has the smallest out-of-fold loss."
    if selection.name == reference:
        table = selection.table.set_index("model")
        needed = table["needed"].to_dict()[selection.best]
        why = f"{chosen} is simpler" if needed == MORE_COMPLEX else f"{chosen} stays"
        return (
            f"{smallest} has the smallest out-of-fold loss, but by less than {needed:g} standard errors of the "
            f"difference; {why}."
        )
    return (
        f"{smallest} has the smallest out-of-fold loss, but is not clearly better than {chosen}, which beats "
        f"{texts.MODEL_LABELS[reference]}."
    )


def estimates(table: pd.DataFrame) -> dict[str, Estimate]:
    """Return the figures that are defined, by metric."""
    found = {}
    for name, *numbers in table[["metric", "estimate", "low", "high"]].itertuples(index=False):
        value, low, high = (float(number) for number in numbers)
        if np.isfinite([value, low, high]).all():
            found[str(name)] = Estimate(value=value, low=low, high=high)
    return found
