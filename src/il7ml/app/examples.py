"""An invented patient for documentation, made from what a model says about its variables."""

from __future__ import annotations

from typing import Any

from il7ml.bundle import CardVariable
from il7ml.predictor import Predictor


def example_patient(predictor: Predictor) -> dict[str, Any]:
    """Return a record that no patient had: the middle of every variable's training distribution.

    Parameters
    ----------
    predictor : Predictor

    Returns
    -------
    dict
        Every input by canonical name, with ``patient_id``.
    """
    return {"patient_id": "example", **{name: _middle(entry) for name, entry in predictor.inputs.items()}}


def _middle(entry: CardVariable) -> float | int | str:
    variable = entry.variable
    if variable.kind == "continuous":
        return float(f"{entry.quantiles[len(entry.quantiles) // 2]:.3g}")
    commonest = entry.shares.index(max(entry.shares)) if entry.shares else 0
    return variable.levels[commonest] if variable.kind == "categorical" else commonest
