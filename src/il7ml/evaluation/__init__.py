"""Judging predictions and effects: arrays in, named tuples or tidy frames out."""

from il7ml.evaluation.benefit_calibration import BenefitCalibration, benefit_calibration
from il7ml.evaluation.calibration import Calibration, calibration_curve
from il7ml.evaluation.clan import classification_analysis
from il7ml.evaluation.comparison import compare_models
from il7ml.evaluation.corrected import corrected_metrics
from il7ml.evaluation.crps import negative_binomial_crps, normal_crps, poisson_crps
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
from il7ml.evaluation.iceman import ModifierTest, iceman
from il7ml.evaluation.instability import Instability, calibration_instability, prediction_instability
from il7ml.evaluation.internal_external import InternalExternal, internal_external
from il7ml.evaluation.leakage import leakage_audit
from il7ml.evaluation.learning_curve import LearningCurve, learning_curve
from il7ml.evaluation.missingness import Missingness, missingness_audit
from il7ml.evaluation.performance_groups import age_groups, performance_by_group
from il7ml.evaluation.policy_value import policy_value
from il7ml.evaluation.random_effects import RandomEffects, random_effects
from il7ml.evaluation.rank_weighted import RankWeightedEffect, rank_weighted_effect
from il7ml.evaluation.recalibration import Recalibration, recalibrate
from il7ml.evaluation.repeated_splits import median_over_splits, split_level
from il7ml.evaluation.risk import risk_metrics
from il7ml.evaluation.roc import roc_curve
from il7ml.evaluation.sample_size import SampleSize, sample_size
from il7ml.evaluation.selection import Selection, select_model
from il7ml.evaluation.toc import targeting_curve
from il7ml.evaluation.verdict import Level, Verdict, judge

__all__ = [
    "BenefitCalibration",
    "Calibration",
    "DoublyRobustScores",
    "HeterogeneityTest",
    "Instability",
    "InternalExternal",
    "LearningCurve",
    "Level",
    "Missingness",
    "ModifierTest",
    "NullResidual",
    "NumberNeeded",
    "RandomEffects",
    "RankWeightedEffect",
    "Recalibration",
    "SampleSize",
    "Selection",
    "Verdict",
    "age_groups",
    "average_effect",
    "benefit_calibration",
    "best_linear_predictor",
    "calibration_curve",
    "calibration_instability",
    "classification_analysis",
    "compare_models",
    "corrected_metrics",
    "decision_curve",
    "difference_residual",
    "doubly_robust_scores",
    "group_effects",
    "heterogeneity_test",
    "iceman",
    "internal_external",
    "judge",
    "leakage_audit",
    "learning_curve",
    "median_over_splits",
    "missingness_audit",
    "negative_binomial_crps",
    "normal_crps",
    "number_needed_to_treat",
    "performance_by_group",
    "poisson_crps",
    "policy_value",
    "prediction_instability",
    "random_effects",
    "rank_weighted_effect",
    "recalibrate",
    "relative_effect_residual",
    "risk_metrics",
    "roc_curve",
    "sample_size",
    "select_model",
    "split_level",
    "targeting_curve",
    "unadjusted_effect",
]
