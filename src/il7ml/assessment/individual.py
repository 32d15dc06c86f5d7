"""Whether predicted individual effects are worth acting on: from out-of-fold effects to tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml import plots
from il7ml.bundle import Estimate
from il7ml.config import RunConfig
from il7ml.evaluation.benefit_calibration import benefit_calibration
from il7ml.evaluation.clan import classification_analysis
from il7ml.evaluation.effect_calibration import group_effects
from il7ml.evaluation.effects import DoublyRobustScores
from il7ml.evaluation.heterogeneity import HeterogeneityTest
from il7ml.evaluation.iceman import ModifierTest, iceman
from il7ml.evaluation.policy_value import policy_value
from il7ml.evaluation.repeated_splits import median_over_splits, split_level
from il7ml.evaluation.toc import targeting_curve
from il7ml.family import FAMILIES
from il7ml.models.catalog import Setting
from il7ml.models.sample import Sample
from il7ml.parallel import stream

Floats = NDArray[np.float64]

_THRESHOLDS = 21


def assess_individual(
    sample: Sample,
    scores: DoublyRobustScores,
    effects: Floats,
    average: Estimate,
    autoc: Estimate,
    setting: Setting,
    config: RunConfig,
    title: str,
) -> tuple[dict[str, pd.DataFrame], dict[str, bytes]]:
    """Return groups by predicted effect, who is in them, calibration for benefit, targeting curve, policy value.

    Parameters
    ----------
    sample : Sample
    scores : DoublyRobustScores
    effects : ndarray of shape (repeats, n)
        Out-of-fold deviations of each patient's effect from the average.
    average, autoc : Estimate
    setting : Setting
    config : RunConfig
    title : str
        What the figures are about.
    """
    level, sign = config.validation.level, -1.0 if setting.harmful else 1.0
    benefit, benefit_scores = sign * (average.value + effects), sign * scores.effect
    within = split_level(level, len(effects))
    names = [name for name in setting.variables if name in sample.X]
    features = sample.X[names]
    calibration = benefit_calibration(benefit_scores, benefit, level=level)
    curve = targeting_curve(
        benefit_scores,
        sign * effects,
        level=level,
        rng=np.random.default_rng(stream(config.seed, "targeting curve")),
    )
    low, high = np.quantile(benefit, [0.02, 0.98])
    policy = policy_value(scores, benefit, np.linspace(low, high, _THRESHOLDS), harmful=setting.harmful, level=level)
    tables = {
        "effects_by_predicted_effect": median_over_splits(
            [group_effects(scores, each, level=within) for each in effects], ["group"]
        ),
        "who_is_in_the_groups": classification_analysis(features, effects, level=level),
        "benefit_calibration_curve": calibration.curve,
        "benefit_calibration_groups": calibration.groups,
        "benefit_calibration_summary": calibration.summary,
        "targeting_curve": curve,
        "policy_value": policy,
    }
    measure = FAMILIES[setting.outcome].measure
    gain = f"benefit ({measure})"
    labels = {name: setting.variables[name].label for name in names}
    figures = {
        "effects_by_predicted_effect": plots.effect_groups_figure(
            tables["effects_by_predicted_effect"],
            plots.Average(average.value, average.low, average.high),
            f"Effect by quarter of predicted effect: {title}",
            measure,
            "Predicted effect",
            level,
        ),
        "who_is_in_the_groups": plots.classification_figure(
            tables["who_is_in_the_groups"], labels, f"Who is in the quarters of predicted effect: {title}", level=level
        ),
        "benefit_calibration": plots.benefit_calibration_figure(
            calibration.curve, calibration.groups, f"Calibration for benefit: {title}", gain, level
        ),
        "targeting_curve": plots.targeting_figure(
            curve,
            f"Benefit among those ranked first: {title}",
            gain,
            plots.Average(autoc.value, autoc.low, autoc.high),
            level,
        ),
        "policy_value": plots.policy_value_figure(policy, f"Treating by predicted benefit: {title}", gain, level),
    }
    return tables, {name: plots.to_png(figure) for name, figure in figures.items()}


def modifier_credibility(test: HeterogeneityTest, setting: Setting, larger_benefit: Mapping[str, str]) -> pd.DataFrame:
    """Return what ICEMAN's questions on each pre-specified modifier can be answered from numbers.

    Parameters
    ----------
    test : HeterogeneityTest
        Of one relative effect for all.
    setting : Setting
    larger_benefit : mapping of str to {'low', 'high'}
        Where a modifier's benefit was hypothesised to be larger.
    """
    # Where less of the outcome is the benefit, a larger one at low values is an effect that rises with the variable.
    signs: dict[str, Literal[-1, 1]] = {"low": 1, "high": -1} if setting.harmful else {"low": -1, "high": 1}
    tried = []
    for label, statistic, p_value in test.modifiers[["modifier", "t", "p_value"]].itertuples(index=False):
        name, _, category = str(label).removesuffix("]").partition("[")
        number = setting.variables[name].kind == "continuous"
        tried.append(
            ModifierTest(
                modifier=name,
                observed=float(statistic),
                p_value=float(p_value),
                prespecified=name in setting.modifiers,
                hypothesised=signs[larger_benefit[name]] if name in larger_benefit else 0,
                form="continuum" if number else "categories",
                category=category,
            )
        )
    return iceman(tried)
