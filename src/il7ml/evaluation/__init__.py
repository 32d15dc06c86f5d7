"""Judging predictions and effects: arrays in, named tuples or tidy frames out."""

from il7ml.evaluation.calibration import Calibration, calibration_curve
from il7ml.evaluation.decision import decision_curve
from il7ml.evaluation.effect_calibration import best_linear_predictor, group_effects
from il7ml.evaluation.effects import (
    DoublyRobustScores,
    NumberNeeded,
    average_effect,
    doubly_robust_scores,
    number_needed_to_treat,
    unadjusted_effect,
)
from il7ml.evaluation.heterogeneity import (
    HeterogeneityTest,
    NullResidual,
    difference_residual,
    heterogeneity_test,
    relative_effect_residual,
)
from il7ml.evaluation.rank_weighted import RankWeightedEffect, rank_weighted_effect
from il7ml.evaluation.risk import risk_metrics
from il7ml.evaluation.roc import roc_curve
from il7ml.evaluation.sample_size import SampleSize, sample_size
from il7ml.evaluation.selection import Selection, select_simplest
from il7ml.evaluation.verdict import Level, Verdict, judge

__all__ = [
    "Calibration",
    "DoublyRobustScores",
    "HeterogeneityTest",
    "Level",
    "NullResidual",
    "NumberNeeded",
    "RankWeightedEffect",
    "SampleSize",
    "Selection",
    "Verdict",
    "average_effect",
    "best_linear_predictor",
    "calibration_curve",
    "decision_curve",
    "difference_residual",
    "doubly_robust_scores",
    "group_effects",
    "heterogeneity_test",
    "judge",
    "number_needed_to_treat",
    "rank_weighted_effect",
    "relative_effect_residual",
    "risk_metrics",
    "roc_curve",
    "sample_size",
    "select_simplest",
    "unadjusted_effect",
]
