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
from scipy.linalg import block_diag

from il7ml.evaluation.outcome import as_outcome, as_repeats
from il7ml.evaluation.weighted_glm import fit_weighted
from il7ml.family import FAMILIES, Kind

Floats = NDArray[np.float64]

# Beyond this many patients permuted statistics are as good as normal, and are drawn from that limit.
_LARGE = 5000
_BLOCK = 2**18
# Numbers that subgroups of all covariates may take; with more patients times subgroups they are left out.
_MOST = 5 * 10**7
# Prior variance of a direction's t under the alternative, which has variance 1 under the hypothesis: differences worth
# finding have a t of about 3.
_PRIOR_VARIANCE = 9.0
# Prior share of each kind of direction; modifiers with the risk and all covariates with the risk weigh the same.
_SHARES = {"linear": 0.2, "side": 0.05, "subgroup": 0.65, "risk": 0.1}
# Where continuous variables are cut: nobody knows where a threshold lies, and cuts near each other cost little.
_CUTS = tuple(k / 10 for k in range(2, 9))


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
        Omnibus P: of the next two's mean evidence, of the second alone where there are no modifiers.
    p_directed, p_flexible : float
        P over directions made of the modifiers, and over those made of all covariates, the risk being among both; NaN
        where nothing varies.
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
    parameter cancels. Directions are variables, sides of their quantiles, subgroups (such a side within a level of a
    binary variable, or a cell of two binary ones) and the predicted risk. Each gives a Bayes factor, the likelihood of
    its t if that varies about 0 by more than chance to its likelihood if not; the statistic is their weighted mean,
    which looks in all directions at once without asking any to stand out from all others. It is calibrated by
    permutations of the residuals, the same for all directions; studentised, these hold their size under unequal
    variances too. Above 5,000 patients the statistics are drawn from their joint normal limit instead.

    Parameters
    ----------
    null : NullResidual
    modifiers : mapping of str to array-like of shape (n,)
        Pre-specified modifiers as numbers; NaN is replaced by the mean. May be empty.
    risk : array-like of shape (n,)
        Out-of-fold predicted risk without treatment, best on the link scale.
    covariates : array-like of shape (n, p)
        What open-ended directions are made of, on any scale; NaN is replaced by the mean. p may be 0. Where patients
        times subgroups would be more than 5e7 numbers, subgroups are left out.
    permutations : int
        Permutations; the smallest possible P is 1 / (permutations + 1).
    rng : Generator

    Returns
    -------
    HeterogeneityTest

    References
    ----------
    Andrews and Ploberger, Econometrica 1994;62:1383, doi 10.2307/2951753 (average likelihood ratios). Janssen, Stat
    Probab Lett 1997;36:9, doi 10.1016/S0167-7152(97)00043-6. Chung and Romano, Ann Stat 2013;41:484,
    doi 10.1214/13-AOS1090. Holm, Scand J Stat 1979;6:65.

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
    n, count = residual.size, len(modifiers)
    named = np.array([np.asarray(column, dtype=float) for column in modifiers.values()]).reshape(count, n).T
    parts = [_directions(each, np.asarray(risk, dtype=float)) for each in (named, _matrix(covariates, n))]
    directions = np.column_stack([part.values for part in parts])
    varies = np.nanmax(directions, axis=0, initial=-np.inf) - np.nanmin(directions, axis=0, initial=np.inf) > 1e-12
    weights = block_diag(*(part.weight for part in parts))[:, varies]
    directions = directions[:, varies]
    centred = _centred(directions, null.gradient)
    observed = _studentised(residual[None, :], centred)
    resampled = (
        _permuted(residual, directions, permutations, rng)
        if residual.size <= _LARGE
        else _normal(residual, centred, permutations, rng)
    )
    statistics = np.vstack([observed, resampled])
    evidence = [_bayes_factors(statistics) @ (weight / weight.sum()) if weight.any() else None for weight in weights]
    directed, flexible = (np.nan if part is None else float(_p_values(part)[0]) for part in evidence)
    counted = [part for part in (evidence if count else evidence[1:]) if part is not None]
    omnibus = float(_p_values(np.mean(counted, axis=0))[0]) if counted else np.nan
    shown = varies[:count]
    t, p_value = np.full(count, np.nan), np.full(count, np.nan)
    t[shown] = observed[0, : shown.sum()]
    p_value[shown] = [_p_values(np.abs(column))[0] for column in statistics[:, : shown.sum()].T]
    table = pd.DataFrame({"modifier": list(modifiers), "t": t, "p_value": p_value, "p_holm": _holm(p_value)})
    return HeterogeneityTest(omnibus, directed, flexible, table)


class _Directions(NamedTuple):
    """Directions, shape (n, d), the columns themselves first, and the prior share of each, shape (d,)."""

    values: Floats
    weight: Floats


def _directions(columns: Floats, risk: Floats) -> _Directions:
    """Return what can be made of columns of shape (n, p), and the risk of shape (n,)."""
    binary = np.array([np.unique(column[~np.isnan(column)]).size <= 2 for column in columns.T], dtype=bool)
    sides = _sides(columns[:, ~binary])
    levels = _first_level(columns[:, binary])
    groups = levels.shape[1] * (2 * sides.shape[1] + 2 * (levels.shape[1] - 1)) * len(columns)
    kinds = {
        "linear": columns,
        "side": sides[:, : sides.shape[1] // 2],
        "subgroup": _subgroups(levels, sides) if groups <= _MOST else columns[:, :0],
        "risk": risk[:, None],
    }
    shares = [np.full(part.shape[1], _SHARES[kind] / max(part.shape[1], 1)) for kind, part in kinds.items()]
    return _Directions(np.column_stack(list(kinds.values())), np.concatenate(shares))


def _sides(columns: Floats) -> Floats:
    """Return, for each cut of each column, who lies below; then who does not."""
    cuts = np.nanquantile(columns, _CUTS, axis=0) if columns.size else np.empty((len(_CUTS), 0))
    below = np.column_stack([np.where(np.isnan(columns), np.nan, columns < cut) for cut in cuts])
    return np.column_stack([below, 1 - below])


def _first_level(columns: Floats) -> Floats:
    """Return who has the lower of each column's values."""
    return np.where(np.isnan(columns), np.nan, columns == np.nanmin(columns, axis=0, initial=np.inf))


def _subgroups(levels: Floats, sides: Floats) -> Floats:
    """Return each side within each level, and the cells of each two columns of levels."""
    found = [levels[:, :0]]
    for place in range(levels.shape[1]):
        further = levels[:, place + 1 :]
        for level in (levels[:, [place]], 1 - levels[:, [place]]):
            found += [level * sides, level * further, level * (1 - further)]
    return np.column_stack(found)


def _bayes_factors(t: Floats) -> Floats:
    """Return how much likelier each t is with the prior's variance added than with its own alone."""
    exponent = t**2 / 2 * _PRIOR_VARIANCE / (1 + _PRIOR_VARIANCE)
    return np.asarray(np.exp(np.minimum(exponent, 500.0)) / np.sqrt(1 + _PRIOR_VARIANCE))


def _matrix(columns: ArrayLike, n: int) -> Floats:
    return np.asarray(columns, dtype=float).reshape(n, -1)


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
    for rows in _blocks(residual, permutations):
        yield rng.permuted(np.tile(residual, (rows, 1)), axis=1)


def _blocks(patients: Floats, draws: int) -> Iterator[int]:
    """Yield numbers of draws that are made at once, so that memory stays small."""
    rows = max(1, _BLOCK // len(patients))
    for start in range(0, draws, rows):
        yield min(rows, draws - start)


def _normal(residual: Floats, centred: Floats, draws: int, rng: np.random.Generator) -> Floats:
    products = residual[:, None] * centred
    scale = np.sqrt(np.maximum((products**2).sum(axis=0), 1e-300))
    if len(scale) > draws:
        # Sums with random normal weights have the same covariance, without a decomposition of so large a one.
        return np.vstack(
            [rng.normal(size=(rows, len(products))) @ products / scale for rows in _blocks(products, draws)]
        )
    correlation = products.T @ products / scale / scale[:, None]
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
