"""Which variables, and which groups of them, move a model's predictions: values and ranks with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from il7ml.explanation.additive import Explanation
from il7ml.features.columns import Columns
from il7ml.models.fitted import Additive
from il7ml.schema import Variable

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

#: Patients on whom refits are explained at most, the first ones of the explanation.
REFIT_PATIENTS = 200


class _Intervals(NamedTuple):
    low: Floats
    high: Floats
    rank_low: Indices
    rank_high: Indices
    same_direction: Floats


def refit_values(refits: Sequence[Additive], explanation: Explanation) -> list[Floats]:
    """Return each refit's SHAP values of the explanation's first 200 patients, shape (patients, k)."""
    n = min(len(explanation.data), REFIT_PATIENTS)
    columns: Columns = {str(name): column.to_numpy()[:n] for name, column in explanation.data.items()}
    found = []
    for refit in refits:
        parts = refit.contributions(columns, n)[1]
        found.append(np.column_stack([parts.get(name, np.zeros(n)) for name in columns]))
    return found


def importance(
    explanation: Explanation,
    variables: Mapping[str, Variable],
    refitted: Sequence[Floats] = (),
    correlated: pd.DataFrame | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Rank variables by mean absolute SHAP value.

    Refits are explained on the same patients, so the intervals show what another sample would have made of the model,
    not other patients to explain. A mean absolute value never reaches 0, however little there is to find. For the lower
    limit a refit therefore counts in proportion to the correlation of its values with the model's own, as negative
    where it points the other way; the limit is 0 where that reaches 0. Intervals are widened to hold the model's own
    value and rank, which refits of a strongly shrunken model, having drawn patients twice, exceed.

    Parameters
    ----------
    explanation : Explanation
    variables : mapping of str to Variable
    refitted : sequence of ndarray of shape (m, k)
        As `refit_values` returns them for models of bootstrap samples; without any, limits are NaN.
    correlated : DataFrame, optional
        As `correlated_pairs` returns it.
    level : float

    Returns
    -------
    DataFrame
        ``rank, rank_low, rank_high, variable, label, unit, group, mean_abs_shap, low, high, same_direction, direction,
        correlated_with, scale, note``; `same_direction` is the share of refits whose values point the same way;
        `direction` is the rank correlation of a variable's value with its SHAP value (1: higher values raise the
        prediction; NaN for categories).

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, doi 10.1201/9780429246593 (percentiles). Hall and
    Miller, Ann Stat 2009;37:3929, doi 10.1214/09-AOS699 (bootstrapped ranks).
    """
    names = [str(name) for name in explanation.values]
    values = explanation.values.to_numpy()
    found = _intervals(values, refitted, level)
    partners = _partners(correlated, variables)
    rows = []
    strength = np.abs(values).mean(axis=0) if len(values) else np.zeros(len(names))
    for rank, k in enumerate(np.argsort(-strength, kind="stable"), start=1):
        name, variable = names[k], variables[names[k]]
        direction = np.nan
        if variable.kind != "categorical":
            direction = _rank_correlation(explanation.data[name].to_numpy(), values[:, k])
        rows.append(
            {
                "rank": rank,
                **_rank_limits(found, k, rank),
                "variable": name,
                "label": variable.term,
                "unit": variable.unit,
                "group": variable.role,
                "mean_abs_shap": float(strength[k]),
                **_limits(found, k),
                "direction": direction,
                "correlated_with": ", ".join(partners.get(name, ())),
            }
        )
    return pd.DataFrame(rows).assign(scale=explanation.scale, note=explanation.note)


def group_importance(
    explanation: Explanation,
    variables: Mapping[str, Variable],
    refitted: Sequence[Floats] = (),
    level: float = 0.95,
) -> pd.DataFrame:
    """Rank the dictionary's groups of variables (`Variable.role`) by mean absolute SHAP value.

    A patient's values are added up within a group before absolute values are taken. What correlated variables push to
    and fro between each other thereby cancels, and their common share shows. The values of a group are Shapley values
    where models add up their variables; otherwise they are sums of them.

    Parameters
    ----------
    explanation, variables, refitted, level
        As in `importance`.

    Returns
    -------
    DataFrame
        ``rank, rank_low, rank_high, group, variables, mean_abs_shap, low, high, same_direction, scale, note``.

    References
    ----------
    Au et al., Data Min Knowl Disc 2022;36:1401, doi 10.1007/s10618-022-00840-5 (grouped importance).
    """
    names = [str(name) for name in explanation.values]
    groups = list(dict.fromkeys(variables[name].role for name in names))
    members = np.array([[variables[name].role == group for group in groups] for name in names], dtype=float)
    values = explanation.values.to_numpy() @ members
    found = _intervals(values, [refit @ members for refit in refitted], level)
    strength = np.abs(values).mean(axis=0) if len(values) else np.zeros(len(groups))
    rows = [
        {
            "rank": rank,
            **_rank_limits(found, k, rank),
            "group": groups[k],
            "variables": ", ".join(variables[name].term for name in names if variables[name].role == groups[k]),
            "mean_abs_shap": float(strength[k]),
            **_limits(found, k),
        }
        for rank, k in enumerate(np.argsort(-strength, kind="stable"), start=1)
    ]
    return pd.DataFrame(rows).assign(scale=explanation.scale, note=explanation.note)


def _intervals(values: Floats, refitted: Sequence[Floats], level: float) -> _Intervals | None:
    """Return intervals of each column's mean absolute value and its rank; None without refits."""
    if not len(refitted):
        return None
    some = values[: len(refitted[0])]
    strengths, agreements, ranks_best, ranks_worst = [], [], [], []
    for refit in refitted:
        strength = np.abs(refit).mean(axis=0)
        strengths.append(strength)
        agreements.append(_correlations(some, refit))
        ranks_best.append(rankdata(-strength, method="min"))
        ranks_worst.append(rankdata(-strength, method="max"))
    alpha, own = 1 - level, np.abs(values).mean(axis=0)
    shared = np.quantile(np.multiply(strengths, agreements), alpha / 2, axis=0)
    return _Intervals(
        low=np.clip(shared, 0.0, own),
        high=np.maximum(np.quantile(strengths, 1 - alpha / 2, axis=0), own),
        rank_low=np.quantile(ranks_best, alpha / 2, axis=0, method="lower").astype(int),
        rank_high=np.quantile(ranks_worst, 1 - alpha / 2, axis=0, method="higher").astype(int),
        same_direction=(np.array(agreements) > 0).mean(axis=0),
    )


def _correlations(first: Floats, second: Floats) -> Floats:
    """Return the correlation of each column with its fellow, 0 where one is constant."""
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    size = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    # Rounding gives a constant column a spread of its own last digits.
    return np.asarray(np.divide((first * second).sum(axis=0), size, out=np.zeros(size.size), where=size > 1e-20))


def _limits(found: _Intervals | None, k: int) -> dict[str, float]:
    if found is None:
        return dict.fromkeys(("low", "high", "same_direction"), float("nan"))
    return {
        "low": float(found.low[k]),
        "high": float(found.high[k]),
        "same_direction": float(found.same_direction[k]),
    }


def _rank_limits(found: _Intervals | None, k: int, rank: int) -> dict[str, float]:
    if found is None:
        return {"rank_low": float("nan"), "rank_high": float("nan")}
    return {"rank_low": min(rank, int(found.rank_low[k])), "rank_high": max(rank, int(found.rank_high[k]))}


def _partners(correlated: pd.DataFrame | None, variables: Mapping[str, Variable]) -> dict[str, list[str]]:
    partners: dict[str, list[str]] = {}
    if correlated is not None:
        for first, second in correlated[["first", "second"]].itertuples(index=False):
            partners.setdefault(first, []).append(variables[second].term)
            partners.setdefault(second, []).append(variables[first].term)
    return partners


def _rank_correlation(x: Floats, y: Floats) -> float:
    known = ~np.isnan(x)
    if known.sum() < 3:
        return float("nan")
    first, second = rankdata(x[known]), rankdata(y[known])
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
