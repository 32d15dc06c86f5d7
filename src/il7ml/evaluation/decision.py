"""Decision-curve analysis: whether deciding by predicted risk is better than deciding the same for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.errors import InputError
from il7ml.evaluation.checks import as_numbers
from il7ml.evaluation.outcome import as_outcome, as_repeats
from il7ml.evaluation.resampling import percentile_interval, resampling_counts

Floats = NDArray[np.float64]

TREAT_ALL, TREAT_NONE = "treat all", "treat none"


def decision_curve(
    y: ArrayLike,
    predicted: Mapping[str, ArrayLike],
    thresholds: ArrayLike,
    *,
    rules: Mapping[str, ArrayLike] | None = None,
    weight: ArrayLike | None = None,
    bootstrap: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the net benefit of each strategy at each threshold.

    ``net benefit = true positives / n - false positives / n * threshold / (1 - threshold)``; a patient is treated when
    the predicted risk is at least the threshold. Repeats are averaged. Intervals are percentile bootstraps over
    patients with the predictions fixed; memory grows with the number of patients, not of resamples.

    Parameters
    ----------
    y : array-like of shape (n,)
        Binary outcome; may be NaN where `weight` is 0.
    predicted : mapping of str to array-like of shape (n,) or (repeats, n)
        Out-of-fold risks, by model.
    thresholds : array-like of shape (t,)
        Risks at which one would treat, strictly between 0 and 1.
    rules : mapping of str to array-like of shape (n,), optional
        Other strategies: whether each patient is treated (boolean), whatever the threshold.
    weight : array-like of shape (n,), optional
        Inverse probability that the outcome is observed.
    bootstrap : int
        Resamples.
    level : float
        Confidence level.
    rng : Generator

    Returns
    -------
    DataFrame
        Columns strategy, threshold, net_benefit, low, high, with 'treat all' and 'treat none' among the strategies.

    Raises
    ------
    InputError
        If a threshold is not strictly between 0 and 1, the arrays do not fit together or hold no risks, or `bootstrap`
        or `level` cannot be.

    References
    ----------
    Vickers and Elkin, Med Decis Making 2006;26:565, doi 10.1177/0272989X06295361.

    Examples
    --------
    >>> import numpy as np
    >>> curve = decision_curve(
    ...     [1, 1, 0, 0], {"model": [0.9, 0.4, 0.6, 0.1]}, [0.5], bootstrap=10, rng=np.random.default_rng(0)
    ... )
    >>> curve.set_index("strategy")["net_benefit"].to_dict()
    {'model': 0.0, 'treat all': 0.0, 'treat none': 0.0}
    """
    outcome = as_outcome(y, "binary", weight)
    n = outcome.y.size
    cuts = np.unique(as_numbers(thresholds, "thresholds"))
    if cuts.size == 0 or not ((cuts > 0) & (cuts < 1)).all():
        raise InputError("thresholds: expected risks strictly between 0 and 1. Give such as 0.1, 0.2, 0.3.")
    strategies = {name: as_repeats(risks, n, name, "binary") for name, risks in predicted.items()}
    # Risks of 1 and 0 stand for treated and untreated at every threshold.
    strategies |= {name: as_repeats(rule, n, name).astype(bool) * 1.0 for name, rule in (rules or {}).items()}
    strategies |= {TREAT_ALL: np.ones((1, n)), TREAT_NONE: np.zeros((1, n))}
    benefits = [[_net_benefit(outcome.y, risk, cuts) for risk in repeats] for repeats in strategies.values()]

    def compute(weights: Floats) -> Floats:
        """Map weights of shape (b, n) to net benefits of shape (b, strategies * thresholds)."""
        return np.hstack([np.mean([benefit(weights) for benefit in repeats], axis=0) for repeats in benefits])

    estimate = compute(outcome.weight[None, :])[0]
    samples = np.vstack([compute(counts * outcome.weight) for counts in resampling_counts(n, bootstrap, rng)])
    low, high = percentile_interval(samples, level)
    return pd.DataFrame(
        {
            "strategy": np.repeat(list(strategies), cuts.size),
            "threshold": np.tile(cuts, len(strategies)),
            "net_benefit": estimate,
            "low": low,
            "high": high,
        }
    )


def _net_benefit(y: Floats, risk: Floats, cuts: Floats) -> Callable[[Floats], Floats]:
    """Return the net benefit at each threshold as a function of weights."""
    # A patient is treated at all thresholds up to the risk: sum weights by how many thresholds are reached, then add up
    # from the highest.
    reached = np.searchsorted(cuts, risk, side="right")
    order = np.argsort(reached, kind="stable")
    levels, starts = np.unique(reached[order], return_index=True)
    sick = y[order]
    odds = cuts / (1 - cuts)

    def treated(weights: Floats) -> Floats:
        sums = np.zeros((len(weights), cuts.size + 1))
        sums[:, levels] = np.add.reduceat(weights, starts, axis=1)
        return np.cumsum(sums[:, ::-1], axis=1)[:, -2::-1]

    def benefit(weights: Floats) -> Floats:
        weights = weights[:, order]
        events = treated(weights * sick)
        others = treated(weights) - events
        return np.asarray((events - others * odds) / weights.sum(axis=1, keepdims=True))

    return benefit
