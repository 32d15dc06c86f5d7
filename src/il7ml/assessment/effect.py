"""What the treatment does, and how credible individual differences are: scores to tables, figures and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml import plots, texts
from il7ml.assessment.individual import assess_individual, modifier_credibility
from il7ml.bundle import Estimate
from il7ml.config import EffectLearnerName, RiskModelName, RunConfig
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
from il7ml.evaluation.verdict import Verdict, judge
from il7ml.family import FAMILIES
from il7ml.features.columns import Columns
from il7ml.features.design import LinearDesign
from il7ml.models.catalog import Setting
from il7ml.models.crossfit import OutOfFold
from il7ml.models.sample import Sample
from il7ml.parallel import spawn, stream
from il7ml.schema import Variable

Floats = NDArray[np.float64]

#: The learner whose out-of-fold effects are judged: the one that a bundle holds.
_JUDGED: EffectLearnerName = "effect_model"


class EffectAssessment(NamedTuple):
    """Average effect, its heterogeneity, and the scores that they come from."""

    scores: DoublyRobustScores
    average: Estimate
    verdict: Verdict
    metrics: dict[str, Estimate]
    tables: dict[str, pd.DataFrame]
    figures: dict[str, bytes]


def assess_effect(
    sample: Sample,
    columns: Columns,
    out_of_fold: OutOfFold,
    setting: Setting,
    selected: RiskModelName,
    config: RunConfig,
    title: str,
    larger_benefit: Mapping[str, str],
    averages: tuple[pd.DataFrame, pd.DataFrame] | None = None,
) -> EffectAssessment:
    """Estimate the average effect and judge how credible individual differences are.

    Modifiers that were pre-specified stand in the setting; where their benefit was hypothesised to be larger, in
    `larger_benefit`. Scores are adjusted with the penalised regression, whichever risk model was chosen, so that the
    adjustment does not depend on the result of a comparison. Where more patients than these gave the average effect, it
    comes as `averages`: adjusted and unadjusted.
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
    if averages is None:
        raw = unadjusted_effect(sample.y, sample.treatment, kind, sample.weight, sample.exposure, level)
        averages = average_effect(scores, kind, level), raw
    adjusted, raw = averages
    difference = adjusted.set_index("scale").loc["difference"]
    average = Estimate(value=difference["estimate"], low=difference["low"], high=difference["high"])
    tests = _tests(sample, columns, setting, config, scores, untreated)
    slopes = {
        learner: best_linear_predictor(scores.effect, effect, level) for learner, effect in out_of_fold.effects.items()
    }
    verdict = _verdict(tests["relative"], _slope_low(slopes[_JUDGED]), config)
    groups = group_effects(scores, untreated, level=level)
    tables = {
        "average_effect": pd.concat(
            [raw.assign(method="unadjusted"), adjusted.assign(method="adjusted (AIPW)")], ignore_index=True
        ),
        "effects_by_risk": groups,
        "heterogeneity_tests": _test_table(tests),
        "heterogeneity_modifiers": tests["relative"].modifiers,
        "best_linear_predictor": pd.concat(
            [table.assign(learner=learner) for learner, table in slopes.items()], ignore_index=True
        ),
    }
    if kind == "binary":
        # A number needed to treat counts bad outcomes; of a good one it is the absence.
        limits = (average.low, average.high) if setting.harmful else (-average.high, -average.low)
        need = number_needed_to_treat(average.value if setting.harmful else -average.value, *limits)
        tables["number_needed_to_treat"] = pd.DataFrame([{**need._asdict(), "text": str(need)}])
    effects = out_of_fold.effects[_JUDGED]
    metrics = {
        "ate": average,
        "heterogeneity_p": _p_estimate(tests["relative"].p_value, config.effect.permutations),
        "autoc": _rank_weighted(scores, effects, setting.harmful, config),
    }
    note = texts.EXPLORATORY_EFFECT if verdict.level == "none" else ""
    further, pictures = assess_individual(
        sample, scores, effects, average, metrics["autoc"], setting, config, f"{title} ({note})" if note else title
    )
    tables |= {name: table.assign(note=note) for name, table in further.items()}
    figure = plots.group_effects_figure(
        groups,
        average.value,
        f"Effect by predicted risk: {title}",
        family.measure,
        "Quarter of predicted outcome, untreated",
        level,
    )
    pictures["effects_by_risk"] = plots.to_png(figure)
    credibility = modifier_credibility(tests["relative"], setting, larger_benefit)
    if len(credibility):
        tables["modifier_credibility"] = credibility
    return EffectAssessment(scores, average, verdict, metrics, tables, pictures)


def _tests(
    sample: Sample,
    columns: Columns,
    setting: Setting,
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
    named = {name: setting.variables[name] for name in setting.modifiers}
    specified = LinearDesign.learn({name: columns[name] for name in named}, named)
    matrix = specified.matrix(columns, n)
    directed = {
        _readable(name, named): matrix[:, place]
        for place, name in enumerate(specified.names)
        if not name.endswith("[missing]")
    }
    # Without curves: the test makes its own steps of each variable.
    covariates = LinearDesign.learn(columns, setting.variables).matrix(columns, n)
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


def _slope_low(table: pd.DataFrame) -> float:
    return float(table.loc[table["term"] == "slope", "low"].to_numpy()[0])


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
