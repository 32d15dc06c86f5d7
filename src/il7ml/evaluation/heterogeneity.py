"""One test of whether the treatment effect differs between patients, with its size controlled at a hundred patients.

A null hypothesis is turned into a residual that has mean 0 given the covariates if the hypothesis holds. The test asks
whether it is associated with pre-specified modifiers, with the predicted risk, or with any covariate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.evaluation.outcome import as_outcome, as_repeats
from il7ml.evaluation.weighted_glm import fit_weighted
from il7ml.family import FAMILIES, Kind

Floats = NDArray[np.float64]

# Beyond this many patients permuted statistics are as good as normal, and are drawn from that limit.
_LARGE = 5000
_BLOCK = 2**18


class NullResidual(NamedTuple):
    """What a null hypothesis leaves unexplained, each of shape (n,).

    Attributes
    ----------
    residual : ndarray
        Mean 0 given the covariates under the hypothesis.
    gradient : ndarray
        Shift of each residual's mean per unit of error in the hypothesis's one parameter, up to a common factor. The
        test is made insensitive to such an error.
    """

    residual: Floats
    gradient: Floats


class HeterogeneityTest(NamedTuple):
    """Result of `heterogeneity_test`.

    Attributes
    ----------
    p_value : float
        Omnibus P, of the smaller of the next two.
    p_directed, p_flexible : float
        P over the modifiers and the risk, and over all covariates; NaN where there are none.
    modifiers : DataFrame
        Columns modifier, t, p_value (two-sided), p_holm. A modifier without variation has NaN.
    """

    p_value: float
    p_directed: float
    p_flexible: float
    modifiers: pd.DataFrame


def relative_effect_residual(
    y: ArrayLike,
    treatment: ArrayLike,
    propensity: ArrayLike,
    untreated: ArrayLike,
    kind: Kind,
    *,
    weight: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
) -> NullResidual:
    """Return the residual under one relative effect for all: one odds ratio, rate ratio or (continuous) difference.

    The means under the hypothesis come from a model with an intercept, the link of the predicted mean and the arm. The
    residual ``(T - e*) (y - mean)`` weighs the arms by ``e* = e v1 / (e v1 + (1 - e) v0)``, with e the propensity and v
    the variance function at the two means; that makes its mean insensitive to errors in the predicted risk.

    Parameters
    ----------
    y, treatment : array-like of shape (n,)
        Outcome (may be NaN where `weight` is 0) and arm (1 treated, 0 untreated).
    propensity : float or array-like of shape (n,)
        Probability of treatment.
    untreated : array-like of shape (n,) or (repeats, n)
        Out-of-fold predicted risk, rate or mean without treatment; repeats are averaged.
    kind : {'binary', 'count', 'continuous'}
    weight, exposure : array-like of shape (n,), optional
        Censoring weight, and time at risk for counts.

    Returns
    -------
    NullResidual
        Zeros where an arm has no events, or only events: one relative effect then fits perfectly.

    References
    ----------
    Vansteelandt et al., JASA 2008;103:1693, doi 10.1198/016214508000001084 (interactions, robust to the main effects'
    model).

    Examples
    --------
    >>> null = relative_effect_residual([1, 0, 1, 0], [1, 1, 0, 0], 0.5, [0.4, 0.4, 0.6, 0.6], "binary")
    >>> null.residual.round(2).tolist()
    [0.25, -0.25, -0.25, 0.25]
    """
    outcome = as_outcome(y, kind, weight, exposure)
    arm = np.asarray(treatment, dtype=float)
    family = FAMILIES[kind]
    linear = family.link(as_repeats(untreated, outcome.y.size, "untreated").mean(axis=0))
    linear -= linear.mean()
    if kind != "continuous":
        events = [float((outcome.weight * outcome.y)[arm == t].sum()) for t in (0, 1)]
        others = [float((outcome.weight * (1 - outcome.y))[arm == t].sum()) for t in (0, 1)]
        if min(events) == 0 or (kind == "binary" and min(others) == 0):
            return NullResidual(np.zeros_like(arm), np.ones_like(arm))
    design = np.column_stack([np.ones_like(arm), linear, arm])
    intercept, slope, shift = fit_weighted(family, design, outcome, outcome.weight[None, :])[0]
    means = [family.mean(intercept + slope * linear + shift * t) for t in (0, 1)]
    untreated_variance, treated_variance = map(family.variance, means)
    propensity = np.asarray(propensity, dtype=float)
    information = propensity * treated_variance
    balance = information / (information + (1 - propensity) * untreated_variance)
    deviation = outcome.y - outcome.exposure * np.where(arm == 1, means[1], means[0])
    return NullResidual(
        outcome.weight * (arm - balance) * deviation,
        (1 - balance) * information * outcome.exposure,
    )


def difference_residual(effect_scores: ArrayLike) -> NullResidual:
    """Return the residual under one absolute difference for all, from `DoublyRobustScores.effect` of shape (n,).

    Examples
    --------
    >>> difference_residual([0.0, 0.5, 1.0]).residual.tolist()
    [-0.5, 0.0, 0.5]
    """
    scores = np.asarray(effect_scores, dtype=float)
    return NullResidual(scores - scores.mean(), np.ones_like(scores))


def heterogeneity_test(
    null: NullResidual,
    modifiers: Mapping[str, ArrayLike],
    risk: ArrayLike,
    covariates: ArrayLike,
    *,
    permutations: int = 2000,
    rng: np.random.Generator,
) -> HeterogeneityTest:
    """Test a null hypothesis on the treatment effect against pre-specified and open-ended alternatives.

    Each direction z gives ``t = sum z r / sqrt(sum z^2 r^2)``, with z centred such that an error in the hypothesis's
    parameter cancels. The directed statistic is the largest ``|t|`` over modifiers and risk, the flexible one the sum
    of ``t^2`` over covariates, the omnibus the smaller of their P values. All are calibrated by the same permutations
    of the residuals; studentised, these hold their size under unequal variances too. Above 5,000 patients the
    statistics are drawn from their joint normal limit instead.

    Parameters
    ----------
    null : NullResidual
    modifiers : mapping of str to array-like of shape (n,)
        Pre-specified modifiers as numbers; NaN is replaced by the mean. May be empty.
    risk : array-like of shape (n,)
        Out-of-fold predicted risk without treatment, best on the link scale.
    covariates : array-like of shape (n, p)
        Open-ended directions, on any scale; NaN is replaced by the mean. p may be 0.
    permutations : int
        Permutations; the smallest possible P is 1 / (permutations + 1).
    rng : Generator

    Returns
    -------
    HeterogeneityTest

    References
    ----------
    Janssen, Stat Probab Lett 1997;36:9, doi 10.1016/S0167-7152(97)00043-6. Chung and Romano, Ann Stat 2013;41:484,
    doi 10.1214/13-AOS1090. Westfall and Young, Resampling-Based Multiple Testing, 1993 (smallest P). Holm, Scand J Stat
    1979;6:65.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2))
    >>> null = difference_residual(x[:, 0] + rng.normal(size=200))
    >>> heterogeneity_test(null, {"x0": x[:, 0]}, x[:, 1], x, rng=rng).p_value < 0.01
    True
    """
    residual = np.asarray(null.residual, dtype=float)
    directed = np.column_stack([*(np.asarray(column, dtype=float) for column in modifiers.values()), np.asarray(risk)])
    count = directed.shape[1]
    directions = np.column_stack([directed, np.asarray(covariates, dtype=float).reshape(residual.size, -1)])
    varies = np.nanmax(directions, axis=0, initial=-np.inf) - np.nanmin(directions, axis=0, initial=np.inf) > 1e-12
    directions = directions[:, varies]
    centred = _centred(directions, null.gradient)
    observed = _studentised(residual[None, :], centred)
    resampled = (
        _permuted(residual, directions, permutations, rng)
        if residual.size <= _LARGE
        else _normal(residual, centred, permutations, rng)
    )
    statistics = np.vstack([observed, resampled])
    split = int(varies[:count].sum())
    parts = [
        _p_values(np.abs(statistics[:, :split]).max(axis=1, initial=0)) if split else None,
        _p_values((statistics[:, split:] ** 2).sum(axis=1)) if split < statistics.shape[1] else None,
    ]
    present = [part for part in parts if part is not None]
    omnibus = float(_p_values(-np.min(present, axis=0))[0]) if present else np.nan
    t, p_value = np.full(count, np.nan), np.full(count, np.nan)
    t[varies[:count]] = observed[0, :split]
    p_value[varies[:count]] = [_p_values(np.abs(column))[0] for column in statistics[:, :split].T]
    table = pd.DataFrame(
        {"modifier": list(modifiers), "t": t[:-1], "p_value": p_value[:-1], "p_holm": _holm(p_value[:-1])}
    )
    directed_p, flexible_p = (np.nan if part is None else float(part[0]) for part in parts)
    return HeterogeneityTest(omnibus, directed_p, flexible_p, table)


def _centred(directions: Floats, share: Floats) -> Floats:
    """Subtract each column's mean, weighted by `share`; missing values become 0."""
    missing = np.isnan(directions)
    centred = np.where(missing, 0.0, directions)
    centred -= (share @ centred) / (share.sum() - share @ missing)
    centred[missing] = 0.0
    return centred


def _studentised(residuals: Floats, centred: Floats) -> Floats:
    """Return t of each row of residuals and each direction; 0 where the residuals are."""
    spread = np.sqrt(residuals**2 @ centred**2)
    return np.divide(residuals @ centred, spread, out=np.zeros_like(spread), where=spread > 0)


def _permuted(residual: Floats, directions: Floats, permutations: int, rng: np.random.Generator) -> Floats:
    # A permuted residual depends on no estimated parameter beyond its mean, hence plain centring here.
    centred = _centred(directions, np.ones_like(residual))
    residual = residual - residual.mean()
    return np.vstack([_studentised(block, centred) for block in _permutations(residual, permutations, rng)])


def _permutations(residual: Floats, permutations: int, rng: np.random.Generator) -> Iterator[Floats]:
    rows = max(1, _BLOCK // residual.size)
    for start in range(0, permutations, rows):
        yield rng.permuted(np.tile(residual, (min(rows, permutations - start), 1)), axis=1)


def _normal(residual: Floats, centred: Floats, draws: int, rng: np.random.Generator) -> Floats:
    products = residual[:, None] * centred
    covariance = products.T @ products
    scale = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    correlation = covariance / scale / scale[:, None]
    return rng.multivariate_normal(np.zeros(len(scale)), correlation, size=draws, method="eigh")


def _p_values(statistic: Floats) -> Floats:
    """Return, for each value, the share of values at least as large."""
    ranked = np.sort(statistic)
    # Equal statistics that differ in the last digits only must count as equal.
    below = np.searchsorted(ranked, statistic * (1 - 1e-12 * np.sign(statistic)), side="left")
    return np.asarray(1 - below / statistic.size)


def _holm(p_value: Floats) -> Floats:
    adjusted = np.full_like(p_value, np.nan)
    known = np.flatnonzero(np.isfinite(p_value))
    order = known[np.argsort(p_value[known])]
    steps = p_value[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
