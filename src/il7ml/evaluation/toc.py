"""The targeting operator characteristic: how much larger the benefit is among those whom a ranking treats first."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from il7ml.errors import InputError
from il7ml.evaluation.checks import as_vector, check_count
from il7ml.evaluation.outcome import as_repeats
from il7ml.evaluation.rank_weighted import mean_in_ties, rank
from il7ml.evaluation.repeated_splits import median_over_splits, split_level

Floats = NDArray[np.float64]

_BLOCK = 2**18


def targeting_curve(
    benefit_scores: ArrayLike,
    priority: ArrayLike,
    *,
    points: int = 20,
    bootstrap: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the curve whose area is AUTOC: ``TOC(q) = mean score among the first share q - mean score of all``.

    Signs are those of `rank_weighted_effect`: for a bad outcome pass ``-scores.effect`` and the predicted risk
    reduction. A curve above 0 finds patients who benefit more than the average; at q = 1 it is 0.

    Parameters
    ----------
    benefit_scores : array-like of shape (n,)
        Doubly-robust scores of the benefit.
    priority : array-like of shape (n,) or (repeats, n)
        Out-of-fold; the highest are treated first. Tied patients count as their average. Repeats are joined as by
        `median_over_splits`: averaged rankings would have seen the patients whom they rank.
    points : int
        Points of the curve, at the shares 1 / points, 2 / points, ..., 1.
    bootstrap : int
        Half-samples behind the standard error.
    level : float
        Confidence level at each point, not simultaneous.
    rng : Generator

    Returns
    -------
    DataFrame
        Columns fraction, estimate, std_error, low, high; normal limits. The standard error treats the ranking as given.

    Raises
    ------
    InputError
        If there are fewer than 4 patients or more points than patients.

    References
    ----------
    Yadlowsky et al., JASA 2025;120:38, doi 10.1080/01621459.2024.2393466.

    Examples
    --------
    >>> curve = targeting_curve([0.0, 1.0, 0.0, 3.0], [1, 3, 2, 4], points=4, rng=np.random.default_rng(0))
    >>> curve["estimate"].round(3).tolist()
    [2.0, 1.0, 0.333, 0.0]
    """
    scores = as_vector(benefit_scores, None, "benefit_scores")
    check_count(bootstrap, 2, "bootstrap")
    repeats = as_repeats(priority, scores.size, "priority")
    if scores.size < 4 or not 1 <= points <= scores.size:
        raise InputError(
            f"points: expected 1 to {scores.size}, as many as there are patients, who must be 4 at least; got {points}."
        )
    quantile = float(ndtri(0.5 + split_level(level, len(repeats)) / 2))
    fractions = np.arange(1, points + 1) / points
    orders, ties = map(np.array, zip(*map(rank, repeats), strict=True))
    estimates = _curve(mean_in_ties(scores[orders], ties), fractions)
    errors = _errors(scores[orders], ties, fractions, bootstrap, rng)
    tables = [
        pd.DataFrame(
            {
                "fraction": fractions,
                "estimate": estimate,
                "std_error": error,
                "low": estimate - quantile * error,
                "high": estimate + quantile * error,
            }
        )
        for estimate, error in zip(estimates, errors, strict=True)
    ]
    return median_over_splits(tables, ["fraction"])


def _curve(ranked: Floats, fractions: Floats) -> Floats:
    """Return the curve of each row of ranked scores; the patient at the border counts in part."""
    b, n = ranked.shape
    total = np.hstack([np.zeros((b, 1)), np.cumsum(ranked, axis=1)])
    whole = np.minimum((fractions * n).astype(int), n - 1)
    treated = total[:, whole] + (fractions * n - whole) * ranked[:, whole]
    return np.asarray(treated / (fractions * n) - total[:, -1:] / n)


def _errors(
    scores: Floats, ties: NDArray[np.intp], fractions: Floats, bootstrap: int, rng: np.random.Generator
) -> Floats:
    """Return the standard errors of each row of scores in their order; all rows share the half-samples of ranks."""
    n = scores.shape[1]
    half = n // 2
    member = np.arange(n) < half
    samples = np.empty((len(scores), bootstrap, fractions.size))
    rows = max(1, _BLOCK // n)
    for start in range(0, bootstrap, rows):
        size = min(rows, bootstrap - start)
        drawn = rng.permuted(np.tile(member, (size, 1)), axis=1)
        places = np.nonzero(drawn)[1].reshape(size, half)
        for row, tie, curves in zip(scores, ties, samples, strict=True):
            curves[start : start + size] = _curve(mean_in_ties(row[places], tie[places]), fractions)
    # A half drawn without replacement varies about the sample as the sample does about the truth, if n is even.
    return np.asarray(samples.std(axis=1, ddof=1) * np.sqrt(half / (n - half)))
