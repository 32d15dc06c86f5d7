"""il7ml: prognostic machine learning and treatment effects for critically ill patients with lymphopenia.

Names are resolved on first use, so that ``import il7ml`` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Cohort": "il7ml.data.cohort",
    "RunConfig": "il7ml.config",
    "analyze": "il7ml.analysis",
    "power": "il7ml.power",
    "sample_size": "il7ml.power",
    "Truth": "il7ml.data.simulator",
    "simulate_trial": "il7ml.data.simulator",
    "sweep": "il7ml.sweeping",
    "train": "il7ml.training",
    "check": "il7ml.checking",
    "Prediction": "il7ml.predictor",
    "Predictor": "il7ml.predictor",
    "load_predictor": "il7ml.predictor",
    "predict": "il7ml.predictor",
}

__all__ = [
    "Cohort",
    "Prediction",
    "Predictor",
    "RunConfig",
    "Truth",
    "__version__",
    "analyze",
    "check",
    "load_predictor",
    "power",
    "predict",
    "sample_size",
    "simulate_trial",
    "sweep",
    "train",
]

if TYPE_CHECKING:
    from il7ml.analysis import analyze
    from il7ml.checking import check
    from il7ml.config import RunConfig
    from il7ml.data.cohort import Cohort
    from il7ml.data.simulator import Truth, simulate_trial
    from il7ml.power import power, sample_size
    from il7ml.predictor import Prediction, Predictor, load_predictor, predict
    from il7ml.sweeping import sweep
    from il7ml.training import train


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
