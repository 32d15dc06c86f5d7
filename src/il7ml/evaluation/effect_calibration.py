"""Whether predicted effects agree with the doubly-robust scores: on the whole (best linear predictor) and by group."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

from il7ml.evaluation.checks import as_numbers, check_count, check_level
from il7ml.evaluation.effects import DoublyRobustScores
from il7ml.evaluation.outcome import as_repeats
from il7ml.evaluation.quantile_groups import quantile_groups

Floats = NDArray[np.float64]

_COLUMNS = ["term", "estimate", "std_error", "low", "high", "p_value"]


def best_linear_predictor(effect_scores: ArrayLike, effect: ArrayLike, level: float = 0.95) -> pd.DataFrame:
    """Regress doubly-robust scores on the centred out-of-fold predicted effect.

    The intercept is the average effect. The slope is 1 where predicted effects have the right spread, 0 where they say
    nothing about the true ones; a slope above 0 is evidence of heterogeneity. Standard errors are HC3.

    With several repeats of cross-fitting, estimates and limits are medians over repeats. A median of valid P values is
    not itself one, twice the median is; so P is doubled (at most 1), and limits are taken at half the error rate.

    Parameters
    ----------
    effect_scores : array-like of shape (n,) or (repeats, n)
        `DoublyRobustScores.effect`.
    effect : array-like of shape (n,) or (repeats, n)
        Out-of-fold predicted effects.
    level : float
        Confidence level.

    Returns
    -------
    DataFrame
        Rows mean and slope; columns term, estimate, std_error, low, high, p_value. P is two-sided for the mean,
        one-sided for a slope above 0. The slope's row is NaN where the prediction is constant in at least half of the
        repeats.

    References
    ----------
    Chernozhukov, Demirer, Duflo and Fernández-Val, NBER Working Paper 24678, 2018, doi 10.3386/w24678 (regression and
    median rule). MacKinnon and White, J Econom 1985;29:305, doi 10.1016/0304-4076(85)90158-7 (HC3).

    Examples
    --------
    >>> table = best_linear_predictor([0.1, 0.4, 0.2, 0.7, 0.5], [0.1, 0.3, 0.2, 0.5, 0.4])
    >>> table["estimate"].round(2).tolist()
    [0.38, 1.5]
    """
    check_level(level)
    effect = as_repeats(effect, np.atleast_1d(as_numbers(effect, "effect")).shape[-1], "effect")
    scores = np.broadcast_to(as_repeats(effect_scores, effect.shape[1], "effect_scores"), effect.shape)
    repeats = len(effect)
    rate = (1 - level) / (2 if repeats > 1 else 1)
    fits = np.array([_regress(*pair, float(ndtri(1 - rate / 2))) for pair in zip(scores, effect, strict=True)])
    table = np.median(fits, axis=0)
    table[:, 4] = np.minimum(table[:, 4] * (2 if repeats > 1 else 1), 1.0)
    if not np.isfinite(table[1]).all():
        table[1] = np.nan
    return pd.DataFrame([(term, *row) for term, row in zip(("mean", "slope"), table, strict=True)], columns=_COLUMNS)


def group_effects(scores: DoublyRobustScores, ranking: ArrayLike, groups: int = 4, level: float = 0.95) -> pd.DataFrame:
    """Return average effects and outcomes in groups along a ranking, such as predicted effect or predicted risk.

    Parameters
    ----------
    scores : DoublyRobustScores
    ranking : array-like of shape (n,) or (repeats, n)
        Out-of-fold values; repeats are averaged.
    groups : int
        Groups at most; tied values share a group.
    level : float
        Confidence level of each group's interval (Student's t), not simultaneous.

    Returns
    -------
    DataFrame
        A row a group from the lowest ranking (1): group, n, ranking (mean), effect, low, high, untreated, treated (mean
        outcomes). Limits are NaN in a group of one patient.

    References
    ----------
    Chernozhukov, Demirer, Duflo and Fernández-Val, NBER Working Paper 24678, 2018, doi 10.3386/w24678 (sorted group
    average treatment effects).

    Examples
    --------
    >>> import numpy as np
    >>> untreated, treated = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.1, 0.2, 0.2, 0.2])
    >>> scores = DoublyRobustScores(treated - untreated, untreated, treated)
    >>> group_effects(scores, untreated, groups=2)[["group", "n", "effect"]].round(2).to_numpy().tolist()
    [[1.0, 2.0, 0.0], [2.0, 2.0, -0.15]]
    """
    check_level(level)
    check_count(groups, 1, "groups")
    n = scores.effect.size
    values = as_repeats(ranking, n, "ranking").mean(axis=0)
    group = quantile_groups(values, groups)
    size = np.bincount(group)

    def mean(column: Floats) -> Floats:
        return np.asarray(np.bincount(group, weights=column) / size)

    effect = mean(scores.effect)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = mean((scores.effect - effect[group]) ** 2) / (size - 1)
        half = stdtrit(size - 1.0, 0.5 + level / 2) * np.sqrt(variance)
    return pd.DataFrame(
        {
            "group": np.arange(1, size.size + 1),
            "n": size,
            "ranking": mean(values),
            "effect": effect,
            "low": effect - half,
            "high": effect + half,
            "untreated": mean(scores.untreated),
            "treated": mean(scores.treated),
        }
    )


def _regress(scores: Floats, effect: Floats, quantile: float) -> Floats:
    """Return rows (mean, slope) of estimate, std_error, low, high, p_value of one repeat."""
    n, mean = scores.size, scores.mean()
    centred = effect - effect.mean()
    spread = centred @ centred
    constant = np.ptp(effect) < 1e-12
    slope = 0.0 if constant else centred @ scores / spread
    leverage = np.full(n, 1 / n) if constant else 1 / n + centred**2 / spread
    residual = (scores - mean - slope * centred) / (1 - leverage)
    mean_error = np.sqrt(residual @ residual) / n
    rows = [(mean, mean_error, mean - quantile * mean_error, mean + quantile * mean_error, 0.0)]
    if constant:
        # No evidence either way: this repeat pulls the medians to the uninformative end.
        rows.append((0.0, np.inf, -np.inf, np.inf, 1.0))
    else:
        error = np.sqrt((centred * residual) @ (centred * residual)) / spread
        rows.append((slope, error, slope - quantile * error, slope + quantile * error, ndtr(-slope / error)))
    table = np.array(rows)
    table[0, 4] = 2 * ndtr(-abs(mean) / mean_error)
    return table
