"""Which pairs of variables act together in a model: exact SHAP interaction values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml import texts
from il7ml.features.columns import Columns
from il7ml.models.fitted import Fitted, FittedStack, FittedTrees
from il7ml.schema import Variable

Floats = NDArray[np.float64]

_SHOWN = 10


def interactions(
    model: Fitted,
    columns: Columns,
    n: int,
    variables: Mapping[str, Variable],
    asked: Sequence[tuple[str, str]] = (),
    refits: Sequence[Fitted] = (),
    level: float = 0.95,
) -> pd.DataFrame:
    """Rank pairs of variables by mean absolute SHAP interaction value.

    Trees have exact interaction values, a pair's being both halves together. A regression adds up its terms, so it has
    no interaction, whatever the truth is; the table says so. Weighted sums have the weighted sums of their parts'.

    Parameters
    ----------
    model : Fitted
    columns : dict of str to ndarray of shape (n,)
    n : int
    variables : mapping of str to Variable
    asked : sequence of (str, str)
        Pairs that stand in the table in any case.
    refits : sequence of Fitted
        Models of bootstrap samples, explained on the same patients; without any, limits are NaN.
    level : float

    Returns
    -------
    DataFrame
        ``first, second, first_label, second_label, mean_abs_interaction, low, high, note``: the ten strongest pairs,
        then those asked for. Limits are percentiles of the refits' values, widened to hold the model's own. An
        absolute value cannot fall below 0, so that a lower limit above it is no sign of an interaction.

    References
    ----------
    Lundberg et al., Nat Mach Intell 2020;2:56, doi 10.1038/s42256-019-0138-9.
    """
    names = list(variables)
    pairs = list(combinations(range(len(names)), 2))
    values = interaction_values(model, columns, n, names)
    strength = _strength(values, pairs)
    shown = [k for k in np.argsort(-strength, kind="stable")[:_SHOWN] if strength[k] > 0]
    for first, second in asked:
        low, high = sorted((names.index(first), names.index(second)))
        if (k := pairs.index((low, high))) not in shown:
            shown.append(k)
    limits = np.full((2, len(pairs)), np.nan)
    note = ""
    if values is None:
        note = texts.NO_INTERACTION
    elif refits:
        drawn = [_strength(interaction_values(refit, columns, n, names), pairs) for refit in refits]
        limits = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        limits = np.array([np.minimum(limits[0], strength), np.maximum(limits[1], strength)])
    rows = []
    for k in shown:
        first, second = names[pairs[k][0]], names[pairs[k][1]]
        rows.append(
            (first, second, variables[first].term, variables[second].term, float(strength[k]), *limits[:, k], note)
        )
    return pd.DataFrame(
        rows,
        columns=["first", "second", "first_label", "second_label", "mean_abs_interaction", "low", "high", "note"],
    )


def interaction_values(model: Fitted, columns: Columns, n: int, names: Sequence[str]) -> Floats | None:
    """Return each patient's SHAP interaction values, shape (n, k, k), or None of a model that has none.

    The matrix is symmetric; its rows add up to the variables' SHAP values.
    """
    if isinstance(model, FittedTrees):
        belongs = np.array([[owner == name for name in names] for owner in model.design.owners], dtype=float)
        return np.asarray(belongs.T @ model.interactions(columns, n) @ belongs)
    if not isinstance(model, FittedStack):
        return None
    parts = [interaction_values(part, columns, n, names) for part in model.parts]
    if all(part is None for part in parts):
        return None
    total = np.zeros((n, len(names), len(names)))
    for part, values, weight in zip(model.parts, parts, model.weights, strict=True):
        if values is None:
            shares = part.contributions(columns, n)[1]
            for place, name in enumerate(names):
                total[:, place, place] += weight * shares.get(name, np.zeros(n))
        else:
            total += weight * values
    return total


def _strength(values: Floats | None, pairs: Sequence[tuple[int, int]]) -> Floats:
    """Return each pair's mean absolute interaction, both halves together."""
    if values is None or not len(values):
        return np.zeros(len(pairs))
    return np.array([np.abs(values[:, first, second] + values[:, second, first]).mean() for first, second in pairs])
