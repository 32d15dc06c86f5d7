"""Whether treating patients in a given order finds those who benefit most: the rank-weighted average effect."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from il7ml.evaluation.checks import as_vector, check_count, check_level
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
    scores = as_vector(effect_scores, None, "effect_scores")
    check_count(bootstrap, 2, "bootstrap")
    check_level(level)
    n = scores.size
    rankings = [rank(values) for values in as_repeats(priority, n, "priority")]

    def average(member: NDArray[np.bool_]) -> Floats:
        """Return AUTOC in each row's patients, averaged over the rankings."""
        areas = []
        for order, tie in rankings:
            places = np.nonzero(member[:, order])[1].reshape(len(member), -1)
            areas.append(_area(mean_in_ties(scores[order][places], tie[places])))
        return np.asarray(np.mean(areas, axis=0))

    estimate = float(average(np.ones((1, n), dtype=bool))[0])
    half = n // 2
    member = np.arange(n) < half
    samples = np.empty(bootstrap)
    rows = max(1, _BLOCK // n)
    for start in range(0, bootstrap, rows):
        block = samples[start : start + rows]
        block[:] = average(rng.permuted(np.tile(member, (block.size, 1)), axis=1))
    # A half drawn without replacement varies about the sample as the sample does about the truth, if n is even.
    error = float(samples.std(ddof=1)) * np.sqrt(half / (n - half))
    quantile = float(ndtri(0.5 + level / 2))
    # Where nobody comes before anybody else there is nothing to test.
    same = error <= 1e-12 * float(scores.std())
    p_value = 1.0 if same else float(2 * ndtr(-abs(estimate / error)))
    return RankWeightedEffect(estimate, error, estimate - quantile * error, estimate + quantile * error, p_value)


def rank(priority: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the order from highest priority, and the number of the group of tied patients that each place is in."""
    order = np.argsort(-priority, kind="stable")
    return order, np.unique(-priority[order], return_inverse=True)[1]


def mean_in_ties(scores: Floats, tie: NDArray[np.intp]) -> Floats:
    """Return each row's scores averaged within ties; both of shape (rows, n).

    Half-samples are averaged by themselves: means of the whole sample would hide how much those of a half vary.
    """
    groups = tie + (int(tie.max(initial=0)) + 1) * np.arange(len(tie))[:, None]
    counts, sums = np.bincount(groups.ravel()), np.bincount(groups.ravel(), weights=scores.ravel())
    return np.asarray((sums / np.maximum(counts, 1))[groups])


def _area(ranked: Floats) -> Floats:
    """Return AUTOC for each row of scores in the order of priority."""
    mean_of_top = np.cumsum(ranked, axis=1) / np.arange(1, ranked.shape[1] + 1)
    return np.asarray(mean_of_top.mean(axis=1) - ranked.mean(axis=1))
