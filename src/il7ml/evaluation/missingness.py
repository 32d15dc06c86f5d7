"""Missing-data audit: how much is missing, in which arm, and whether that goes with arm or outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from il7ml.errors import InputError
from il7ml.evaluation.outcome import as_outcome
from il7ml.family import Kind

Bools = NDArray[np.bool_]


class Missingness(NamedTuple):
    """What is missing. Holds counts and shares, never a patient's row.

    Attributes
    ----------
    shares : DataFrame
        A row a variable and arm ('all' first): variable, arm, n, missing, share.
    tests : DataFrame
        A row a variable with missing values and what it is held against ('arm', 'outcome'): variable, against, p_value,
        p_holm (adjusted among the variables for the same question). P is NaN where there is nothing to test.
    complete : DataFrame
        A row an arm ('all' first): arm, n, complete (patients with all variables), share.
    """

    shares: pd.DataFrame
    tests: pd.DataFrame
    complete: pd.DataFrame


def missingness_audit(
    values: pd.DataFrame,
    arm: ArrayLike,
    y: ArrayLike | None = None,
    kind: Kind = "binary",
    *,
    weight: ArrayLike | None = None,
) -> Missingness:
    """Describe missing values by variable and arm, and test whether missingness goes with arm or outcome.

    Tests are Fisher's for arm and binary outcome, and Mann and Whitney's for other outcomes. Missingness that goes with
    the outcome says that analyses of complete patients may be biased and that a model may read the outcome from it.
    A test that is not significant does not show that values are missing at random.

    Parameters
    ----------
    values : DataFrame of shape (n, k)
        Baseline values.
    arm : array-like of shape (n,)
        Arm labels, two of them.
    y : array-like of shape (n,), optional
        Outcome; may be NaN where `weight` is 0.
    kind : {'binary', 'count', 'continuous'}
    weight : array-like of shape (n,), optional
        0 where the outcome is unknown; such patients are left out of the tests against the outcome. Otherwise not used.

    Returns
    -------
    Missingness

    Raises
    ------
    InputError
        If lengths differ, an arm is missing or there are not two arms.

    References
    ----------
    Holm, Scand J Stat 1979;6:65. Sterne et al., BMJ 2009;338:b2393, doi 10.1136/bmj.b2393 (reporting missing data).

    Examples
    --------
    >>> values = pd.DataFrame({"age": [50, 60, 70, 80], "lactate": [1.0, None, 2.0, None]})
    >>> audit = missingness_audit(values, ["il7", "il7", "placebo", "placebo"])
    >>> audit.shares.query("variable == 'lactate'")[["arm", "missing", "share"]].values.tolist()
    [['all', 2, 0.5], ['il7', 1, 0.5], ['placebo', 1, 0.5]]
    """
    missing = values.isna()
    arms = _arms(arm, len(values))
    present = (~missing.any(axis=1)).to_numpy()
    shares = [
        (variable, name, int(members.sum()), int(missing.loc[members, variable].sum()))
        for variable in values.columns
        for name, members in arms.items()
    ]
    complete = [(name, int(members.sum()), int(present[members].sum())) for name, members in arms.items()]
    incomplete = [variable for variable in values.columns if missing[variable].any()]
    _, second = list(arms.items())[-1]
    tests = [_tests(missing[incomplete], "arm", second, _fisher)]
    if y is not None:
        outcome = as_outcome(y, kind, weight)
        if outcome.y.size != len(values):
            raise InputError(
                f"outcome: expected one value for each of {len(values)} patients, got {outcome.y.size}. "
                "Pass one a patient."
            )
        known = outcome.weight > 0
        test = _fisher if kind == "binary" else _mann_whitney
        tests.append(_tests(missing.loc[known, incomplete], "outcome", outcome.y[known], test))
    return Missingness(
        _with_share(pd.DataFrame(shares, columns=["variable", "arm", "n", "missing"]), "missing"),
        pd.concat(tests, ignore_index=True),
        _with_share(pd.DataFrame(complete, columns=["arm", "n", "complete"]), "complete"),
    )


def _arms(arm: ArrayLike, n: int) -> dict[str, Bools]:
    """Return who belongs to each arm, all patients first."""
    labels = np.asarray(arm, dtype=object)
    if labels.shape != (n,) or pd.isna(labels).any() or pd.unique(labels).size != 2:
        raise InputError(
            f"arm: expected two labels, one for each of {n} patients, none missing. Pass the randomised arm."
        )
    names = sorted(pd.unique(labels), key=str)
    return {"all": np.ones(n, dtype=bool), **{str(name): labels == name for name in names}}


def _with_share(table: pd.DataFrame, counted: str) -> pd.DataFrame:
    return table.assign(share=table[counted] / table["n"])


def _tests(
    missing: pd.DataFrame, against: str, held: NDArray[Any], test: Callable[[Bools, NDArray[Any]], float]
) -> pd.DataFrame:
    p_values = np.array([test(missing[variable].to_numpy(), held) for variable in missing.columns], dtype=float)
    table = pd.DataFrame({"variable": list(missing.columns), "against": against, "p_value": p_values})
    return table.assign(p_holm=_holm(p_values))


def _fisher(lacks: Bools, group: NDArray[Any]) -> float:
    inside = group.astype(bool)
    if lacks.all() or not lacks.any() or inside.all() or not inside.any():
        return np.nan
    table = np.array([[(one & other).sum() for other in (inside, ~inside)] for one in (lacks, ~lacks)])
    return float(stats.fisher_exact(table).pvalue)


def _mann_whitney(lacks: Bools, outcome: NDArray[Any]) -> float:
    if lacks.all() or not lacks.any() or np.ptp(outcome) == 0:
        return np.nan
    return float(stats.mannwhitneyu(outcome[lacks], outcome[~lacks]).pvalue)


def _holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Holm's adjusted P values; NaN stays NaN and does not count."""
    adjusted = np.full(p_values.size, np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested])]
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1.0)
    return adjusted
