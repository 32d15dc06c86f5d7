"""Figures from tidy tables, in one restrained, colour-blind safe style. No arithmetic happens here.

`canvas` holds what figures share, `rows` a table with an axis in it; `training`, `trial` and `forest` the figures.
"""

from il7ml.plots.canvas import to_png
from il7ml.plots.comparison import comparison_figure, sweep_figure
from il7ml.plots.effects import (
    Average,
    benefit_calibration_figure,
    classification_figure,
    effect_groups_figure,
    policy_value_figure,
    targeting_figure,
)
from il7ml.plots.explanations import beeswarm_figure, dependence_figure, importance_figure, patient_groups_figure
from il7ml.plots.flow import flow_figure
from il7ml.plots.forest import adverse_events_figure, endpoints_forest_figure, subgroup_forest_figure
from il7ml.plots.planning import power_curve_figure
from il7ml.plots.training import (
    calibration_figure,
    decision_curve_figure,
    group_effects_figure,
    roc_figure,
)
from il7ml.plots.trial import course_figure, incidence_figure, recovery_figure

__all__ = [
    "Average",
    "adverse_events_figure",
    "beeswarm_figure",
    "benefit_calibration_figure",
    "calibration_figure",
    "classification_figure",
    "comparison_figure",
    "course_figure",
    "decision_curve_figure",
    "dependence_figure",
    "effect_groups_figure",
    "endpoints_forest_figure",
    "flow_figure",
    "group_effects_figure",
    "importance_figure",
    "incidence_figure",
    "patient_groups_figure",
    "policy_value_figure",
    "power_curve_figure",
    "recovery_figure",
    "roc_figure",
    "subgroup_forest_figure",
    "sweep_figure",
    "targeting_figure",
    "to_png",
]
