"""What results were computed with."""

from __future__ import annotations

import platform
from importlib.metadata import version

from il7ml import __version__

PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "xgboost",
    "shap",
    "mlflow",
    "matplotlib",
    "pyarrow",
    "pydantic",
)


def versions() -> dict[str, str]:
    """Return the versions of Python, il7ml and what it computes with."""
    return {"python": platform.python_version(), "il7ml": __version__, **{name: version(name) for name in PACKAGES}}
