"""Why models predict what they predict: SHAP values, importance with intervals, dependence, interactions.

`additive` and `outcome_scale` explain predictions, on the model's scale and on the outcome's. `importance`,
`dependence`, `interactions` and `correlation` make tables; `groups_of_patients` shows how values lie without showing
patients.
"""

from il7ml.explanation.additive import Explanation, explain
from il7ml.explanation.correlation import correlated_pairs
from il7ml.explanation.dependence import effect_dependence, risk_dependence
from il7ml.explanation.groups_of_patients import patient_groups
from il7ml.explanation.importance import group_importance, importance, refit_values
from il7ml.explanation.interactions import interactions
from il7ml.explanation.outcome_scale import explain_outcome, refit_outcome_values

__all__ = [
    "Explanation",
    "correlated_pairs",
    "effect_dependence",
    "explain",
    "explain_outcome",
    "group_importance",
    "importance",
    "interactions",
    "patient_groups",
    "refit_outcome_values",
    "refit_values",
    "risk_dependence",
]
