"""What treating by predicted benefit is worth, against treating all and treating nobody."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from il7ml.errors import InputError
from il7ml.evaluation.checks import as_numbers
from il7ml.evaluation.effects import DoublyRobustScores
from il7ml.evaluation.outcome import as_repeats
from il7ml.evaluation.repeated_splits import median_over_splits, split_level

Floats = NDArray[np.float64]

# Limits from fewer patients whom two policies treat differently would be too narrow.
_FEWEST = 10


def policy_value(
    scores: DoublyRobustScores,
    benefit: ArrayLike,
    thresholds: ArrayLike,
    *,
    harmful: bool = True,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the value of "treat if the predicted benefit is above the threshold".

    The threshold is the benefit that just outweighs the treatment's burden, and is charged for each patient treated:
    ``net benefit = mean over patients of treated * (benefit - threshold)``. Treating nobody has net benefit 0; at
    threshold 0 net benefits are differences in the mean outcome. It is an estimate for one policy, fixed beforehand:
    the best of many thresholds looks better than it is.

    Parameters
    ----------
    scores : DoublyRobustScores
        Treated minus untreated, on the outcome's own scale.
    benefit : array-like of shape (n,) or (repeats, n)
        Out-of-fold predicted benefit, average included; positive means helped. Repeats are joined as by
        `median_over_splits`. An average of these same patients, added to out-of-fold deviations, makes policies near it
        look better than they are, by up to a third of its standard error.
    thresholds : array-like of shape (t,)
        On the scale of the benefit.
    harmful : bool
        Whether a larger outcome is worse, so that a benefit is a reduction.
    level : float
        Confidence level at each threshold, not simultaneous.

    Returns
    -------
    DataFrame
        A row a threshold: threshold, treated (share of patients), outcome (mean under the policy), net_benefit (against
        treating nobody) with low, high; all_net_benefit with all_low, all_high (treating all against nobody);
        difference (policy against treating all) with difference_low, difference_high. Student's t. Limits are NaN where
        the policy and what it is compared with differ for fewer than 10 patients.

    Raises
    ------
    InputError
        If there is no finite threshold, or the arrays do not fit together.

    References
    ----------
    Vickers, Kattan and Sargent, Trials 2007;8:14, doi 10.1186/1745-6215-8-14 (net benefit of treating by predicted
    benefit). Athey and Wager, Econometrica 2021;89:133, doi 10.3982/ECTA15732 (from doubly-robust scores).

    Examples
    --------
    >>> untreated = np.full(4, 0.5)
    >>> effect = np.array([-0.3, -0.2, 0.0, 0.1])
    >>> scores = DoublyRobustScores(effect, untreated, untreated + effect)
    >>> table = policy_value(scores, -effect, [0.05])
    >>> table[["treated", "outcome", "net_benefit", "all_net_benefit", "difference"]].round(3).to_numpy().tolist()
    [[0.5, 0.375, 0.1, 0.05, 0.05]]
    """
    repeats = as_repeats(benefit, scores.effect.size, "benefit")
    cuts = np.unique(as_numbers(thresholds, "thresholds"))
    if cuts.size == 0 or not np.isfinite(cuts).all():
        raise InputError("thresholds: expected finite numbers, at least one. Give such as 0, 0.05, 0.1.")
    within = split_level(level, len(repeats))
    tables = [_one_split(scores, predicted, cuts, harmful, within) for predicted in repeats]
    return median_over_splits(tables, ["threshold"])


def _one_split(
    scores: DoublyRobustScores, predicted: Floats, cuts: Floats, harmful: bool, level: float
) -> pd.DataFrame:
    gain = -scores.effect if harmful else scores.effect
    quantile = float(stdtrit(gain.size - 1.0, 0.5 + level / 2))
    rows = []
    for cut in cuts:
        treated = predicted > cut
        outcome = float(np.where(treated, scores.treated, scores.untreated).mean())
        net = gain - cut
        compared = [
            _mean(net, treated, quantile),
            _mean(net, np.ones_like(treated), quantile),
            _mean(-net, ~treated, quantile),
        ]
        rows.append((cut, treated.mean(), outcome, *(number for triple in compared for number in triple)))
    names = [f"{prefix}{name}" for prefix in ("", "all_", "difference_") for name in ("net_benefit", "low", "high")]
    frame = pd.DataFrame(rows, columns=["threshold", "treated", "outcome", *names])
    return frame.rename(columns={"difference_net_benefit": "difference"})


def _mean(net: Floats, differs: NDArray[np.bool_], quantile: float) -> tuple[float, float, float]:
    """Return the mean, over all patients, of what is gained where two policies differ, with limits."""
    gained = np.where(differs, net, 0.0)
    mean = float(gained.mean())
    if differs.sum() < _FEWEST:
        return mean, np.nan, np.nan
    half = quantile * float(gained.std(ddof=1)) / np.sqrt(gained.size)
    return mean, mean - half, mean + half
