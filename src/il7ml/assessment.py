"""From out-of-fold arrays to tables, figures and verdicts: how good the risk model is, what the treatment does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml import plots
from il7ml.bundle import Estimate
from il7ml.config import RiskModelName, RunConfig
from il7ml.evaluation.calibration import calibration_curve
from il7ml.evaluation.decision import decision_curve
from il7ml.evaluation.effect_calibration import best_linear_predictor, group_effects
from il7ml.evaluation.effects import (
    DoublyRobustScores,
    average_effect,
    doubly_robust_scores,
    number_needed_to_treat,
    unadjusted_effect,
)
from il7ml.evaluation.heterogeneity import (
    HeterogeneityTest,
    difference_residual,
    heterogeneity_test,
    relative_effect_residual,
)
from il7ml.evaluation.rank_weighted import rank_weighted_effect
from il7ml.evaluation.risk import risk_metrics
from il7ml.evaluation.roc import roc_curve
from il7ml.evaluation.sample_size import sample_size
from il7ml.evaluation.selection import select_simplest
from il7ml.evaluation.verdict import Verdict, judge
from il7ml.family import FAMILIES
from il7ml.features.columns import Columns
from il7ml.features.design import LinearDesign
from il7ml.models.catalog import SIMPLICITY, Setting
from il7ml.models.crossfit import OutOfFold, Sample
from il7ml.parallel import spawn, stream
from il7ml.result import Candidate
from il7ml.schema import Variable

Floats = NDArray[np.float64]

MODEL_LABELS = {
    "prevalence": "Event rate alone",
    "lymphocyte": "Lymphocyte count alone",
    "logistic": "Penalised regression",
    "xgboost": "XGBoost",
}
_LEARNER_FOR_TESTS = "dr_learner"


class RiskAssessment(NamedTuple):
    """The comparison of risk models and the figures of the chosen one."""

    selected: RiskModelName
    reason: str
    metrics: dict[str, Estimate]
    candidates: tuple[Candidate, ...]
    tables: dict[str, pd.DataFrame]
    figures: dict[str, bytes]


class EffectAssessment(NamedTuple):
    """Average effect, its heterogeneity, and the scores that they come from."""

    scores: DoublyRobustScores
    average: Estimate
    verdict: Verdict
    metrics: dict[str, Estimate]
    tables: dict[str, pd.DataFrame]
    figures: dict[str, bytes]


def assess_risk(
    sample: Sample, out_of_fold: OutOfFold, setting: Setting, config: RunConfig, title: str
) -> RiskAssessment:
    """Judge and choose among the risk models, from predictions for the arm that each patient was in.

    Parameters
    ----------
    sample : Sample
    out_of_fold : OutOfFold
    setting : Setting
    config : RunConfig
    title : str
        What the figures are about.
    """
    kind, family = setting.outcome, FAMILIES[setting.outcome]
    factual = {name: out_of_fold.factual(name, sample.treatment) for name in out_of_fold.untreated}
    losses = {name: family.loss(sample.y, predicted, sample.exposure) for name, predicted in factual.items()}
    selection = select_simplest(losses, [name for name in SIMPLICITY if name in factual], sample.weight)
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
            factual.items(), spawn(stream(config.seed, "risk metrics"), len(factual)), strict=True
        )
    }
    name = next(model for model in config.models if model == selection.name)
    mean = factual[name].mean(axis=0)
    if name == "prevalence":
        # The event rate differs a little between folds; what is assessed is one rate an arm.
        mean = np.where(sample.treatment == 1, *(mean[sample.treatment == arm].mean() for arm in (1, 0)))
    calibration = calibration_curve(sample.y, mean, kind, weight=sample.weight, exposure=sample.exposure, level=level)
    tables = {
        "risk_metrics": pd.concat([table.assign(model=model) for model, table in metrics.items()], ignore_index=True),
        "risk_selection": selection.table,
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
        tables |= _binary_tables(sample, untreated, name, config)
        where = f"control arm, {title}"
        figures["roc"] = plots.roc_figure(tables["roc_curve"], MODEL_LABELS, f"ROC curves: {where}")
        figures["decision_curve"] = plots.decision_curve_figure(tables["decision_curve"], f"Decision curve: {where}")
    candidates = tuple(Candidate(model, _estimates(table), model == name) for model, table in metrics.items())
    return RiskAssessment(
        selected=name,
        reason=_selection_reason(selection.name, selection.best, selection.table),
        metrics=_estimates(metrics[name]),
        candidates=candidates,
        tables=tables,
        figures={key: plots.to_png(figure) for key, figure in figures.items()},
    )


def assess_effect(
    sample: Sample,
    columns: Columns,
    out_of_fold: OutOfFold,
    setting: Setting,
    selected: RiskModelName,
    modifiers: tuple[str, ...],
    config: RunConfig,
    title: str,
) -> EffectAssessment:
    """Estimate the average effect and judge how credible individual differences are.

    Scores are adjusted with the penalised regression, whichever risk model was chosen, so that the adjustment does not
    depend on the result of a comparison.
    """
    kind, family, level = setting.outcome, FAMILIES[setting.outcome], config.validation.level
    nuisance = "logistic" if "logistic" in out_of_fold.untreated else selected
    untreated, treated = out_of_fold.untreated[nuisance].mean(axis=0), out_of_fold.treated[nuisance].mean(axis=0)
    scores = doubly_robust_scores(
        sample.y,
        sample.treatment,
        sample.propensity,
        untreated,
        treated,
        weight=sample.weight,
        exposure=sample.exposure,
    )
    adjusted = average_effect(scores, kind, level)
    raw = unadjusted_effect(sample.y, sample.treatment, kind, sample.weight, sample.exposure, level)
    difference = adjusted.set_index("scale").loc["difference"]
    average = Estimate(value=difference["estimate"], low=difference["low"], high=difference["high"])
    tests = _tests(sample, columns, setting, modifiers, config, scores, untreated)
    slopes = {
        learner: best_linear_predictor(scores.effect, effect, level) for learner, effect in out_of_fold.effects.items()
    }
    verdict = _verdict(tests["relative"], _slope_low(slopes.get(_LEARNER_FOR_TESTS)), config)
    groups = group_effects(scores, untreated, level=level)
    tables = {
        "average_effect": pd.concat(
            [raw.assign(method="unadjusted"), adjusted.assign(method="adjusted (AIPW)")], ignore_index=True
        ),
        "effects_by_risk": groups,
        "heterogeneity_tests": _test_table(tests),
        "heterogeneity_modifiers": tests["relative"].modifiers,
        "best_linear_predictor": pd.concat(
            [table.assign(learner=learner) for learner, table in slopes.items()] or [pd.DataFrame()], ignore_index=True
        ),
    }
    if kind == "binary":
        # A number needed to treat counts bad outcomes; of a good one it is the absence.
        limits = (average.low, average.high) if setting.harmful else (-average.high, -average.low)
        need = number_needed_to_treat(average.value if setting.harmful else -average.value, *limits)
        tables["number_needed_to_treat"] = pd.DataFrame([{**need._asdict(), "text": str(need)}])
    metrics = {"ate": average, "heterogeneity_p": _p_estimate(tests["relative"].p_value, config.effect.permutations)}
    if _LEARNER_FOR_TESTS in out_of_fold.effects:
        metrics["autoc"] = _rank_weighted(scores, out_of_fold.effects[_LEARNER_FOR_TESTS], setting.harmful, config)
    figure = plots.group_effects_figure(
        groups,
        average.value,
        f"Effect by predicted risk: {title}",
        family.measure,
        "Quarter of predicted outcome, untreated",
        level,
    )
    return EffectAssessment(scores, average, verdict, metrics, tables, {"effects_by_risk": plots.to_png(figure)})


def sample_size_verdict(setting: Setting, sample: Sample, columns: Columns) -> tuple[str, pd.DataFrame]:
    """Return a sentence on whether the data suffice for the full regression model, and the criteria's table."""
    known = sample.weight > 0
    if setting.outcome != "binary":
        return "not assessed: the criteria used are for yes-or-no outcomes.", pd.DataFrame()
    design = LinearDesign.learn(columns, setting.variables, spline=setting.spline)
    size = sample_size(int(known.sum()), int(sample.y[known].sum()), len(design.owners))
    text = (
        f"{'sufficient' if size.sufficient else 'too small'}: {size.n} patients with {size.events} events for "
        f"{size.parameters} parameters, {size.required} needed (expected shrinkage {size.expected_shrinkage:.2f})."
    )
    return text, size.frame()


def _binary_tables(
    sample: Sample, untreated: dict[str, Floats], selected: RiskModelName, config: RunConfig
) -> dict[str, pd.DataFrame]:
    """Return ROC and decision curves in the control arm, where nobody profits from knowing who was treated."""
    known = (sample.weight > 0) & (sample.treatment == 0)
    y, weight = sample.y[known], sample.weight[known]
    curves = [
        roc_curve(y, predicted[known], weight=weight).assign(model=name)
        for name, predicted in untreated.items()
        if name != "prevalence"
    ]
    prevalence = float(np.average(y, weights=weight))
    thresholds = np.round(np.linspace(0.02, min(0.98, max(2 * prevalence, 0.1)), 40), 4)
    risk = untreated[selected][known]
    models = {"risk model": np.full(y.size, risk.mean()) if selected == "prevalence" else risk}
    if selected != "lymphocyte" and "lymphocyte" in untreated:
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


def _tests(
    sample: Sample,
    columns: Columns,
    setting: Setting,
    modifiers: tuple[str, ...],
    config: RunConfig,
    scores: DoublyRobustScores,
    untreated: Floats,
) -> dict[str, HeterogeneityTest]:
    """Test "one relative effect for all", what evidence level none assumes, and beside it "one difference for all"."""
    n = sample.y.size
    nulls = {
        "relative": relative_effect_residual(
            sample.y,
            sample.treatment,
            sample.propensity,
            untreated,
            setting.outcome,
            weight=sample.weight,
            exposure=sample.exposure,
        ),
        "difference": difference_residual(scores.effect),
    }
    named = {name: setting.variables[name] for name in modifiers if name in setting.variables}
    specified = LinearDesign.learn({name: columns[name] for name in named}, named)
    matrix = specified.matrix(columns, n)
    directed = {
        _readable(name, named): matrix[:, place]
        for place, name in enumerate(specified.names)
        if not name.endswith("[missing]")
    }
    covariates = LinearDesign.learn(columns, setting.variables, spline=setting.spline).matrix(columns, n)
    return {
        name: heterogeneity_test(
            null,
            directed,
            FAMILIES[setting.outcome].link(untreated),
            covariates,
            permutations=config.effect.permutations,
            rng=np.random.default_rng(seed),
        )
        for (name, null), seed in zip(nulls.items(), spawn(stream(config.seed, "heterogeneity"), 2), strict=True)
    }


def _readable(column: str, variables: Mapping[str, Variable]) -> str:
    """Return a design column's name with the level's name in place of its number."""
    name, _, level = column.partition("[")
    return f"{name}[{variables[name].levels[int(level[:-1])]}]" if level and variables[name].levels else column


def _verdict(test: HeterogeneityTest, slope_low: float, config: RunConfig) -> Verdict:
    thresholds = config.verdict
    smallest = test.modifiers["p_value"].min() if len(test.modifiers) else float("nan")
    holm = test.modifiers["p_holm"].min() if len(test.modifiers) else float("nan")
    return judge(
        test.p_value,
        float(holm),
        float(smallest),
        slope_low,
        credible_omnibus=thresholds.credible_omnibus,
        credible_modifier=thresholds.credible_modifier,
        suggestive_omnibus=thresholds.suggestive_omnibus,
        suggestive_modifier=thresholds.suggestive_modifier,
    )


def _slope_low(table: pd.DataFrame | None) -> float:
    return float("nan") if table is None else float(table.loc[table["term"] == "slope", "low"].to_numpy()[0])


def _rank_weighted(scores: DoublyRobustScores, effects: Floats, harmful: bool, config: RunConfig) -> Estimate:
    """Return AUTOC of the benefit, the median over repeats with limits at half the error rate.

    Averaging the rankings first would be wrong: the average model of a patient has seen all others, so that its ranking
    and the scores are no longer independent under "no heterogeneity".
    """
    sign = -1.0 if harmful else 1.0
    level = 1 - (1 - config.validation.level) / 2
    seeds = spawn(stream(config.seed, "rank-weighted effect"), len(effects))
    results = [
        rank_weighted_effect(sign * scores.effect, sign * effect, level=level, rng=np.random.default_rng(seed))
        for effect, seed in zip(effects, seeds, strict=True)
    ]
    value, low, high = np.median([(part.estimate, part.low, part.high) for part in results], axis=0)
    return Estimate(value=value, low=low, high=high)


def _test_table(tests: dict[str, HeterogeneityTest]) -> pd.DataFrame:
    nulls = {"relative": "one relative effect for all (omnibus)", "difference": "one difference for all"}
    rows = [(nulls[name], test.p_value, test.p_directed, test.p_flexible) for name, test in tests.items()]
    return pd.DataFrame(rows, columns=["null_hypothesis", "p_value", "p_directed", "p_flexible"])


def _p_estimate(p: float, permutations: int) -> Estimate:
    """Return a permutation P with its Monte-Carlo interval (Wilson)."""
    z, n = 1.96, permutations
    centre, half = (
        (p + z * z / (2 * n)) / (1 + z * z / n),
        z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n),
    )
    return Estimate(value=p, low=max(centre - half, 0.0), high=min(centre + half, 1.0))


def _selection_reason(name: str, best: str, table: pd.DataFrame) -> str:
    if name == best:
        return f"{MODEL_LABELS[name]} has the smallest out-of-fold loss."
    return (
        f"{MODEL_LABELS[best]} has the smallest out-of-fold loss; {MODEL_LABELS[name]} is simpler and within one "
        "standard error of it."
    )


def _estimates(table: pd.DataFrame) -> dict[str, Estimate]:
    """Return the figures that are defined, by metric."""
    found = {}
    for name, *numbers in table[["metric", "estimate", "low", "high"]].itertuples(index=False):
        value, low, high = (float(number) for number in numbers)
        if np.isfinite([value, low, high]).all():
            found[str(name)] = Estimate(value=value, low=low, high=high)
    return found
