"""Risk models and effect learners. Names are resolved on first use, so that prediction needs no scikit-learn."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "BoostedRiskModel": "il7ml.models.risk",
    "DRLearner": "il7ml.models.dr_learner",
    "EffectModel": "il7ml.models.effect_model",
    "LinearRiskModel": "il7ml.models.risk",
    "RLearner": "il7ml.models.r_learner",
    "RiskBasedEffect": "il7ml.models.risk_based_effect",
    "SLearner": "il7ml.models.s_learner",
    "StackedRiskModel": "il7ml.models.stack",
    "TLearner": "il7ml.models.t_learner",
    "TunedRiskModel": "il7ml.models.tuning",
    "XLearner": "il7ml.models.x_learner",
}

__all__ = [
    "BoostedRiskModel",
    "DRLearner",
    "EffectModel",
    "LinearRiskModel",
    "RLearner",
    "RiskBasedEffect",
    "SLearner",
    "StackedRiskModel",
    "TLearner",
    "TunedRiskModel",
    "XLearner",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
