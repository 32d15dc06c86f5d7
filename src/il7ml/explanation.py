"""SHAP explanations of risk and effect, under the variables' own names: values a patient, and tables of importance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from il7ml.features.columns import Columns
from il7ml.models.fitted import Fitted, FittedLinear, sum_by_owner
from il7ml.schema import Variable

Floats = NDArray[np.float64]

_TOLERANCE = 1e-4  # trees answer in single precision


class Explanation(NamedTuple):
    """SHAP values on the model's own scale.

    Attributes
    ----------
    base : float
        Prediction for the average training patient; base and a patient's values add up to its prediction.
    values : DataFrame of shape (n, k)
        A column a variable.
    data : DataFrame of shape (n, k)
        The variables' values (index of the level for categorical ones), for the colours of a beeswarm.
    scale : str
        What the values are: log odds, log rate, or the outcome's unit.
    note : str
        A caveat that goes with every table and figure.
    """

    base: float
    values: pd.DataFrame
    data: pd.DataFrame
    scale: str
    note: str = ""


def explain(
    model: Fitted, columns: Columns, n: int, scale: str, *, note: str = "", rows: int | None = None
) -> Explanation:
    """Explain a fitted model's predictions.

    Linear models are explained by `shap.LinearExplainer` (interventional: what a variable adds with the others left as
    they are); trees by XGBoost's own exact TreeSHAP, which gives the values of `shap.TreeExplainer` in a fraction of
    the time.

    Parameters
    ----------
    model : Fitted
    columns : dict of str to ndarray of shape (n,)
        The training patients, derived features included.
    n : int
    scale : str
    note : str
        A caveat that goes with every table and figure, such as that an effect is exploratory.
    rows : int, optional
        Explain only the first `rows` patients, to cap the cost.

    Raises
    ------
    ArithmeticError
        If values and base do not add up to the predictions.

    References
    ----------
    Lundberg and Lee, NeurIPS 2017, arXiv 1705.07874; Lundberg et al., Nat Mach Intell 2020;2:56,
    doi 10.1038/s42256-019-0138-9.
    """
    n = n if rows is None else min(n, rows)
    columns = {name: column[:n] for name, column in columns.items()}
    base, parts = _linear(model, columns, n) if isinstance(model, FittedLinear) else model.contributions(columns, n)
    values = pd.DataFrame({name: parts.get(name, np.zeros(n)) for name in columns})
    gap = np.abs(base + values.sum(axis=1).to_numpy() - model.linear_predictor(columns, n))
    if n and gap.max() > _TOLERANCE:
        raise ArithmeticError(f"SHAP values do not add up to the predictions (largest gap {gap.max():.2g})")
    return Explanation(base, values, pd.DataFrame(columns), scale, note)


def importance(explanation: Explanation, variables: Mapping[str, Variable]) -> pd.DataFrame:
    """Rank variables by mean absolute SHAP value.

    Returns
    -------
    DataFrame
        ``rank, variable, label, unit, group, mean_abs_shap, direction, scale, note``; direction is the rank correlation
        of a variable's value with its SHAP value (1: higher values raise the prediction; NaN for categories).
    """
    strength = explanation.values.abs().mean().sort_values(ascending=False, kind="stable")
    rows = []
    for rank, (name, mean) in enumerate(strength.items(), start=1):
        variable = variables[str(name)]
        direction = np.nan
        if variable.kind != "categorical":
            direction = _rank_correlation(explanation.data[name].to_numpy(), explanation.values[name].to_numpy())
        rows.append((rank, name, variable.term, variable.unit, variable.role, float(mean), direction))
    table = pd.DataFrame(rows, columns=["rank", "variable", "label", "unit", "group", "mean_abs_shap", "direction"])
    return table.assign(scale=explanation.scale, note=explanation.note)


def _linear(model: FittedLinear, columns: Columns, n: int) -> tuple[float, dict[str, Floats]]:
    matrix = model.design.matrix(columns, n)
    if not matrix.shape[1]:
        return model.intercept, {}
    import shap

    # The design is centred, so one row of zeros is the average training patient.
    explainer = shap.LinearExplainer((model.coefficients, model.intercept), np.zeros((1, matrix.shape[1])))
    values = np.asarray(explainer.shap_values(matrix), dtype=float)
    return float(explainer.expected_value), sum_by_owner(values, model.design.owners)


def _rank_correlation(x: Floats, y: Floats) -> float:
    known = ~np.isnan(x)
    if known.sum() < 3:
        return float("nan")
    first, second = rankdata(x[known]), rankdata(y[known])
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
