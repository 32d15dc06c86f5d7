"""Risk models and effect learners. Names are resolved on first use, so that prediction needs no scikit-learn."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "DRLearner": "il7ml.models.dr_learner",
    "TLearner": "il7ml.models.t_learner",
    "LinearRiskModel": "il7ml.models.risk",
    "BoostedRiskModel": "il7ml.models.risk",
}

__all__ = ["BoostedRiskModel", "DRLearner", "LinearRiskModel", "TLearner"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
