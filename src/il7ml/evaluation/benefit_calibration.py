"""Calibration for benefit: the benefit observed among patients against what was predicted for them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.special import stdtrit

from il7ml.evaluation.checks import as_numbers, check_count
from il7ml.evaluation.effect_calibration import best_linear_predictor
from il7ml.evaluation.outcome import as_repeats
from il7ml.evaluation.quantile_groups import quantile_groups
from il7ml.evaluation.repeated_splits import median_over_splits, split_level

Floats = NDArray[np.float64]

_GRID = 100
#: Harrell's positions of three knots, as quantiles of the prediction; single effects are too noisy for a fourth.
_KNOTS = (0.10, 0.50, 0.90)
# Below this share of its own residual left to a patient, the fit goes through the patient and its error is unknown.
_SMALLEST = 1e-9


class BenefitCalibration(NamedTuple):
    """Calibration of predicted benefit.

    Attributes
    ----------
    curve : DataFrame
        Columns predicted, observed (flexible fit), low, high (pointwise).
    groups : DataFrame
        A row a group of similar predictions, from the smallest: group, n, predicted, observed (means), low, high.
    summary : DataFrame
        Columns metric, estimate, low, high. Rows: mean_difference (observed minus predicted, 0 is ideal), slope (1 is
        ideal, 0 where predictions say nothing; NaN where they are constant), and ici, e50, e90: mean, median and 90th
        percentile over patients of the distance between curve and prediction, without limits.
    """

    curve: pd.DataFrame
    groups: pd.DataFrame
    summary: pd.DataFrame


def benefit_calibration(
    benefit_scores: ArrayLike, benefit: ArrayLike, *, groups: int = 4, level: float = 0.95
) -> BenefitCalibration:
    """Estimate the mean benefit as a smooth function of its prediction.

    Nobody's benefit is observed; its doubly-robust score has the right mean given the baseline, and is regressed on the
    prediction with a restricted cubic spline of three knots. The curve is not forced to rise. The band is pointwise,
    with HC3 errors and Student's t. Scores and predictions need one sign: larger is better. Where the outcome is bad,
    pass ``-scores.effect`` and the predicted risk reduction.

    The distances (ICI, E50, E90) hold the curve's own noise and are above 0 also for perfect predictions; in a small
    trial they compare models and do not measure miscalibration.

    Parameters
    ----------
    benefit_scores : array-like of shape (n,)
        Doubly-robust scores of the benefit, on the scale of the prediction.
    benefit : array-like of shape (n,) or (repeats, n)
        Out-of-fold predicted benefit, average included. Repeats are joined as by `median_over_splits`.
    groups : int
        Groups at most; tied predictions share a group.
    level : float
        Confidence level.

    Returns
    -------
    BenefitCalibration
        The curve spans the 1st to 99th percentile of the prediction (averages over repeats); it is one point where the
        prediction is constant.

    References
    ----------
    van Klaveren et al., J Clin Epidemiol 2018;94:59, doi 10.1016/j.jclinepi.2017.10.021 (calibration for benefit). Maas
    et al., BMC Med Res Methodol 2023;23:165, doi 10.1186/s12874-023-01974-w (its distances). Xu and Yadlowsky, AISTATS
    2022, PMLR 151:9280 (from doubly-robust scores). Chernozhukov et al., NBER Working Paper 24678, 2018,
    doi 10.3386/w24678 (slope). Harrell, Regression Modeling Strategies, 2015, doi 10.1007/978-3-319-19425-7 (spline).

    Examples
    --------
    >>> predicted = [0.0, 0.1, 0.2, 0.3]
    >>> result = benefit_calibration([0.1, 0.0, 0.4, 0.3], predicted, groups=2)
    >>> result.groups[["predicted", "observed"]].round(2).to_numpy().tolist()
    [[0.05, 0.05], [0.25, 0.35]]
    """
    check_count(groups, 1, "groups")
    repeats = as_repeats(benefit, np.atleast_1d(as_numbers(benefit, "benefit")).shape[-1], "benefit")
    scores = as_repeats(benefit_scores, repeats.shape[1], "benefit_scores").mean(axis=0)
    within = split_level(level, len(repeats))
    first, last = np.quantile(repeats, [0.01, 0.99], axis=1).mean(axis=1)
    grid = np.unique(np.linspace(first, last, _GRID))
    parts = [_one_split(scores, predicted, grid, groups, within) for predicted in repeats]
    curve, grouped, distances = (
        median_over_splits([part[place] for part in parts], [key])
        for place, key in enumerate(("predicted", "group", "metric"))
    )
    slope = best_linear_predictor(scores, repeats, level).set_index("term").loc[["slope"]].reset_index()
    in_the_large = [_mean_difference(scores - predicted, within) for predicted in repeats]
    summary = pd.concat(
        [
            median_over_splits(in_the_large, ["metric"]),
            slope.rename(columns={"term": "metric"})[["metric", "estimate", "low", "high"]],
            distances,
        ],
        ignore_index=True,
    )
    return BenefitCalibration(curve, grouped, summary)


def _one_split(
    scores: Floats, predicted: Floats, grid: Floats, groups: int, level: float
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return curve, groups and distances of one split."""
    curve, at_patients = _smooth(scores, predicted, grid, level)
    distance = np.abs(at_patients - predicted)
    distances = pd.DataFrame(
        {
            "metric": ["ici", "e50", "e90"],
            "estimate": [distance.mean(), *np.quantile(distance, [0.5, 0.9])],
        }
    )
    return curve, _grouped(scores, predicted, groups, level), distances


def _smooth(scores: Floats, predicted: Floats, grid: Floats, level: float) -> tuple[pd.DataFrame, Floats]:
    """Return the curve on the grid, and its value at each patient's prediction."""
    knots = np.unique(np.quantile(predicted, _KNOTS))
    if knots.size < 2:
        knots = np.unique([predicted.min(), predicted.max()])
    matrix, points = _natural_spline(predicted, knots), _natural_spline(grid, knots)
    bread = np.linalg.pinv(matrix.T @ matrix, hermitian=True)
    beta = bread @ matrix.T @ scores
    at_patients = matrix @ beta
    left = 1 - ((matrix @ bread) * matrix).sum(axis=1)
    contributions = matrix * ((scores - at_patients) / np.maximum(left, _SMALLEST))[:, None]
    covariance = bread @ contributions.T @ contributions @ bread
    quantile = stdtrit(scores.size - knots.size, 0.5 + level / 2)
    half = quantile * np.sqrt(((points @ covariance) * points).sum(axis=1))
    observed = points @ beta
    curve = pd.DataFrame({"predicted": grid, "observed": observed, "low": observed - half, "high": observed + half})
    return curve, at_patients


def _natural_spline(x: Floats, knots: Floats) -> Floats:
    """Return the basis of natural cubic splines: a column a knot, 1 there and 0 at the others; linear outside."""
    if knots.size == 1:
        return np.ones((x.size, 1))
    basis = CubicSpline(knots, np.eye(knots.size), bc_type="natural")
    inside = np.clip(x, knots[0], knots[-1])
    return np.asarray(basis(inside) + basis(inside, 1) * (x - inside)[:, None])


def _grouped(scores: Floats, predicted: Floats, groups: int, level: float) -> pd.DataFrame:
    group = quantile_groups(predicted, groups)
    size = np.bincount(group)
    observed = np.bincount(group, weights=scores) / size
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.bincount(group, weights=(scores - observed[group]) ** 2) / size / (size - 1)
        half = stdtrit(size - 1.0, 0.5 + level / 2) * np.sqrt(variance)
    return pd.DataFrame(
        {
            "group": np.arange(1, size.size + 1),
            "n": size,
            "predicted": np.bincount(group, weights=predicted) / size,
            "observed": observed,
            "low": observed - half,
            "high": observed + half,
        }
    )


def _mean_difference(difference: Floats, level: float) -> pd.DataFrame:
    n = difference.size
    mean, half = difference.mean(), stdtrit(n - 1.0, 0.5 + level / 2) * difference.std(ddof=1) / np.sqrt(n)
    row = ("mean_difference", mean, mean - half, mean + half)
    return pd.DataFrame([row], columns=["metric", "estimate", "low", "high"])
