"""How predictions follow one variable, the others left as they are in the patients: curves with bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from il7ml.features.columns import Columns
from il7ml.models.fitted import Additive
from il7ml.models.fitted_effect import FittedEffect
from il7ml.schema import Variable

Floats = NDArray[np.float64]

_POINTS = 41
_LOWEST, _HIGHEST = 0.05, 0.95
_DIGITS = 2


def risk_dependence(
    model: Additive,
    columns: Columns,
    n: int,
    variable: str,
    variables: Mapping[str, Variable],
    by: str | None = None,
    refits: Sequence[Additive] = (),
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the model's term of a variable on its own scale, between the variable's 5 % and 95 % quantiles.

    All patients are given the same value in turn; the curve is the mean of their predictions less the mean prediction
    as they are (partial dependence). In a regression this is the variable's own term, a restricted cubic spline for the
    lymphocyte count. Ratios made of the variable stay as they are.

    Parameters
    ----------
    model : Additive
    columns : dict of str to ndarray of shape (n,)
    n : int
    variable : str
        A number.
    variables : mapping of str to Variable
    by : str, optional
        A yes-or-no variable that all patients are given, too: one curve for each answer.
    refits : sequence of Additive
        Models of bootstrap samples, for a pointwise percentile band; without any, limits are NaN.
    level : float

    Returns
    -------
    DataFrame
        ``value, group, estimate, low, high``; `group` is empty, or the answer in words.

    References
    ----------
    Friedman, Ann Stat 2001;29:1189, doi 10.1214/aos/1013203451.
    """
    grid = value_grid(columns[variable], variables[variable])
    answers = (0.0, 1.0) if by else (None,)

    def curves(fitted: Additive) -> Floats:
        mean = fitted.linear_predictor(columns, n).mean()
        tiled = {name: np.tile(column, grid.size) for name, column in columns.items()}
        tiled[variable] = np.repeat(grid, n)
        found = []
        for answer in answers:
            given = tiled if by is None or answer is None else {**tiled, by: np.full(n * grid.size, answer)}
            found.append(fitted.linear_predictor(given, n * grid.size).reshape(grid.size, n).mean(axis=1) - mean)
        return np.concatenate(found)

    drawn = np.array([curves(refit) for refit in refits]).reshape(len(refits), len(answers) * grid.size)
    limits = np.full((2, drawn.shape[1]), np.nan)
    if refits:
        limits = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return _table(grid, by, variables, curves(model), limits)


def effect_dependence(
    model: FittedEffect,
    columns: Columns,
    n: int,
    variable: str,
    variables: Mapping[str, Variable],
    by: str | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the average effect of the patients when all had the same value of a variable, with its posterior band.

    Parameters
    ----------
    model : FittedEffect
    columns, n, variable, variables, by, level
        As in `risk_dependence`.

    Returns
    -------
    DataFrame
        ``value, group, estimate, low, high`` on the effect's scale.
    """
    grid = value_grid(columns[variable], variables[variable])
    half = float(ndtri((1 + level) / 2))
    rows = []
    for answer in (0.0, 1.0) if by else (None,):
        for value in grid:
            given = {**columns, variable: np.full(n, value)}
            if by is not None and answer is not None:
                given[by] = np.full(n, answer)
            mean, variance = model.average_effect(given, n)
            spread = half * np.sqrt(variance)
            rows.append((mean, mean - spread, mean + spread))
    estimate, low, high = model.to_scale(np.array(rows)).T
    return _table(grid, by, variables, estimate, np.array([low, high]))


def value_grid(values: Floats, variable: Variable) -> Floats:
    """Return values between the 5 % and the 95 % quantile, even on the scale on which models see the variable.

    The ends are rounded, as single patients' values to the last digit are not to be shown.
    """
    known = values[~np.isnan(values)]
    low, high = (float(f"{end:.{_DIGITS}g}") for end in np.quantile(known, [_LOWEST, _HIGHEST]))
    return np.geomspace(low, high, _POINTS) if variable.scale == "log" and low > 0 else np.linspace(low, high, _POINTS)


def _table(
    grid: Floats, by: str | None, variables: Mapping[str, Variable], estimate: Floats, limits: Floats
) -> pd.DataFrame:
    groups = [f"{variables[by].term}: {answer}" for answer in ("no", "yes")] if by else [""]
    return pd.DataFrame(
        {
            "value": np.tile(grid, len(groups)),
            "group": np.repeat(groups, grid.size),
            "estimate": estimate,
            "low": limits[0],
            "high": limits[1],
        }
    )
