"""SHAP values on the model's own scale, under the variables' own names. They are exact and checked to add up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.features.columns import Columns
from il7ml.models.fitted import Additive, FittedLinear, sum_by_owner

Floats = NDArray[np.float64]

#: Largest distance of base and values from the prediction; trees answer in single precision.
TOLERANCE = 1e-4


class Explanation(NamedTuple):
    """SHAP values of patients.

    Attributes
    ----------
    base : float
        Prediction for the average training patient; base and a patient's values add up to its prediction.
    values : DataFrame of shape (n, k)
        A column a variable.
    data : DataFrame of shape (n, k)
        The variables' values (index of the level for categorical ones).
    scale : str
        What the values are: log odds, log rate, risk, or the outcome's unit.
    note : str
        A caveat that goes with every table and figure.
    method : str
        How they were computed.
    gap : float
        Largest distance of base and values from a patient's prediction.
    std_error : float
        Largest Monte-Carlo error of a value; 0 where values are exact.
    """

    base: float
    values: pd.DataFrame
    data: pd.DataFrame
    scale: str
    note: str = ""
    method: str = ""
    gap: float = 0.0
    std_error: float = 0.0


def explain(model: Additive, columns: Columns, n: int, scale: str, *, note: str = "") -> Explanation:
    """Explain a fitted model's predictions on its own scale.

    Linear models are explained by `shap.LinearExplainer` (interventional: what a variable adds with the others left as
    they are); trees by XGBoost's own exact TreeSHAP, which gives the values of `shap.TreeExplainer` in a fraction of
    the time; weighted sums of models by the weighted sums of their values.

    Parameters
    ----------
    model : Additive
    columns : dict of str to ndarray of shape (n,)
        Patients, derived features included.
    n : int
    scale : str
    note : str
        A caveat that goes with every table and figure, such as that an effect is exploratory.

    Raises
    ------
    ArithmeticError
        If values and base do not add up to the predictions.

    References
    ----------
    Lundberg and Lee, NeurIPS 2017, arXiv 1705.07874; Lundberg et al., Nat Mach Intell 2020;2:56,
    doi 10.1038/s42256-019-0138-9.
    """
    base, parts = _linear(model, columns, n) if isinstance(model, FittedLinear) else model.contributions(columns, n)
    return checked(base, parts, columns, model.linear_predictor(columns, n), TOLERANCE)._replace(
        scale=scale, note=note, method="exact"
    )


def checked(
    base: float, parts: dict[str, Floats], columns: Columns, predicted: Floats, tolerance: float
) -> Explanation:
    """Return base and parts as an explanation of the predictions that they add up to.

    Raises
    ------
    ArithmeticError
        If they do not, up to the tolerance.
    """
    n = predicted.size
    values = pd.DataFrame({name: parts.get(name, np.zeros(n)) for name in columns}, index=range(n))
    gap = float(np.abs(base + values.sum(axis=1).to_numpy() - predicted).max(initial=0.0))
    if not gap <= tolerance:
        raise ArithmeticError(f"SHAP values do not add up to the predictions (largest gap {gap:.2g})")
    return Explanation(base, values, pd.DataFrame(columns), scale="", gap=gap)


def _linear(model: FittedLinear, columns: Columns, n: int) -> tuple[float, dict[str, Floats]]:
    matrix = model.design.matrix(columns, n)
    if not matrix.shape[1]:
        return model.intercept, {}
    import shap

    # The design is centred, so one row of zeros is the average training patient.
    explainer = shap.LinearExplainer((model.coefficients, model.intercept), np.zeros((1, matrix.shape[1])))
    values = np.asarray(explainer.shap_values(matrix), dtype=float)
    return float(explainer.expected_value), sum_by_owner(values, model.design.owners)
