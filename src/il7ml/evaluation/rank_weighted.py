"""Whether treating patients in a given order finds those who benefit most: the rank-weighted average effect."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from il7ml.evaluation.outcome import as_repeats

Floats = NDArray[np.float64]

_BLOCK = 2**18


class RankWeightedEffect(NamedTuple):
    """Area under the targeting operator characteristic; `p_value` is two-sided against 0."""

    estimate: float
    std_error: float
    low: float
    high: float
    p_value: float


def rank_weighted_effect(
    effect_scores: ArrayLike,
    priority: ArrayLike,
    *,
    bootstrap: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> RankWeightedEffect:
    """Return AUTOC: how much larger the effect is at high priority than among all, averaged over cut-offs.

    ``AUTOC = mean over j of (mean score of the j patients of highest priority - mean score of all)``.

    Signs: the result is on the scale of the scores. For a ranking that finds benefit it is positive when larger scores
    mean more benefit. Where the outcome is bad (an infection), pass ``-scores.effect``, the risk reduction, and for
    priority the predicted risk reduction.

    Parameters
    ----------
    effect_scores : array-like of shape (n,)
        Doubly-robust scores of the benefit.
    priority : array-like of shape (n,) or (repeats, n)
        Out-of-fold; the highest are treated first. Tied patients count as their average. Repeats are averaged.
    bootstrap : int
        Half-samples behind the standard error.
    level : float
        Confidence level.
    rng : Generator

    Returns
    -------
    RankWeightedEffect
        With normal limits. The standard error treats the ranking as given.

    References
    ----------
    Yadlowsky et al., JASA 2025;120:38, doi 10.1080/01621459.2024.2393466.

    Examples
    --------
    >>> import numpy as np
    >>> result = rank_weighted_effect([0.0, 1.0, 0.0, 3.0], [1, 3, 2, 4], rng=np.random.default_rng(0))
    >>> round(result.estimate, 3)
    0.833
    """
    scores = np.asarray(effect_scores, dtype=float)
    n = scores.size
    rankings = [_ranked(scores, values) for values in as_repeats(priority, n, "priority")]

    def average(weights: Floats) -> Floats:
        return np.asarray(np.mean([_area(weights[:, order], ranked) for order, ranked in rankings], axis=0))

    estimate = float(average(np.ones((1, n)))[0])
    half = n // 2
    member = np.zeros(n)
    member[:half] = 1
    samples = np.empty(bootstrap)
    rows = max(1, _BLOCK // n)
    for start in range(0, bootstrap, rows):
        block = samples[start : start + rows]
        block[:] = average(rng.permuted(np.tile(member, (block.size, 1)), axis=1))
    # A half drawn without replacement varies about the sample as the sample does about the truth, if n is even.
    error = float(samples.std(ddof=1)) * np.sqrt(half / (n - half))
    quantile = float(ndtri(0.5 + level / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        p_value = float(2 * ndtr(-abs(np.divide(estimate, error))))
    return RankWeightedEffect(estimate, error, estimate - quantile * error, estimate + quantile * error, p_value)


def _ranked(scores: Floats, priority: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Return the order from highest priority and the scores in it, averaged within ties."""
    order = np.argsort(-priority, kind="stable")
    _, tie, counts = np.unique(-priority[order], return_inverse=True, return_counts=True)
    return order, (np.bincount(tie, weights=scores[order]) / counts)[tie]


def _area(weights: Floats, ranked: Floats) -> Floats:
    """Return AUTOC for each row of weights, whose columns are in the order of priority."""
    count = np.cumsum(weights, axis=1)
    top = np.cumsum(weights * ranked, axis=1)
    mean_of_top = top / np.maximum(count, 1)
    return np.asarray((weights * mean_of_top).sum(axis=1) / count[:, -1] - top[:, -1] / count[:, -1])
