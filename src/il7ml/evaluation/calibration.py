"""Calibration: the outcome observed among patients against what was predicted for them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv, ndtri, stdtrit

from il7ml.evaluation.checks import check_count, check_level
from il7ml.evaluation.outcome import Outcome, as_outcome, as_repeats
from il7ml.evaluation.quantile_groups import quantile_groups
from il7ml.evaluation.weighted_glm import fit_weighted
from il7ml.family import FAMILIES, Family, Kind

Floats = NDArray[np.float64]

_GRID = 100
#: Harrell's knot positions, as quantiles of the prediction.
_KNOTS = {3: (0.10, 0.50, 0.90), 4: (0.05, 0.35, 0.65, 0.95)}
# Patients with, and without, the outcome from which a fourth knot is worth its parameter.
_MANY = 100


class Calibration(NamedTuple):
    """Calibration curve, grouped points and summaries.

    Attributes
    ----------
    curve : DataFrame
        Columns predicted, observed (flexible fit), low, high (pointwise).
    groups : DataFrame
        A row a group of similar predictions: group, n, predicted (mean), observed, low, high.
    ici, e50, e90 : float
        Mean, median and 90th percentile over patients of the distance between curve and prediction.
    """

    curve: pd.DataFrame
    groups: pd.DataFrame
    ici: float
    e50: float
    e90: float


def calibration_curve(
    y: ArrayLike,
    predicted: ArrayLike,
    kind: Kind,
    *,
    weight: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
    groups: int = 10,
    level: float = 0.95,
) -> Calibration:
    """Estimate the mean outcome as a smooth function of its prediction.

    The curve is a generalised linear model (logistic, Poisson, linear) in a restricted cubic spline of the prediction
    on the link scale: 3 knots, or 4 from 100 patients with and 100 without the outcome on. It is not forced to rise.
    The band is pointwise with a robust variance.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome; may be NaN where `weight` is 0.
    predicted : array-like of shape (n,) or (repeats, n)
        Out-of-fold risk, rate or mean; repeats are averaged.
    kind : {'binary', 'count', 'continuous'}
    weight : array-like of shape (n,), optional
        Inverse probability that the outcome is observed.
    exposure : array-like of shape (n,), optional
        Time at risk, for counts.
    groups : int
        Groups at most; tied predictions share a group.
    level : float
        Confidence level. Group intervals: Wilson for risks, exact Poisson for rates, Student's t for means; weighted
        data enter with Kish's effective size.

    Returns
    -------
    Calibration
        The curve spans the 1st to 99th percentile of the prediction; it is one point where the prediction is constant.

    References
    ----------
    Harrell, Regression Modeling Strategies, 2015, doi 10.1007/978-3-319-19425-7. Austin and Steyerberg, Stat Med
    2019;38:4051, doi 10.1002/sim.8281 (ICI, E50, E90). Wilson, JASA 1927;22:209, doi 10.1080/01621459.1927.10502953.

    Examples
    --------
    >>> import numpy as np
    >>> predicted = np.repeat([0.25, 0.75], 40)
    >>> y = np.tile([0, 0, 0, 1], 10).tolist() + np.tile([1, 1, 1, 0], 10).tolist()
    >>> calibration = calibration_curve(y, predicted, "binary")
    >>> calibration.groups["observed"].tolist(), round(calibration.ici, 6)
    ([0.25, 0.75], 0.0)
    """
    outcome = as_outcome(y, kind, weight, exposure)
    values = as_repeats(predicted, outcome.y.size, kind=kind).mean(axis=0)
    check_level(level)
    check_count(groups, 1, "groups")
    known = outcome.weight > 0
    outcome, values = Outcome(*(column[known] for column in outcome)), values[known]
    family = FAMILIES[kind]
    first, last = np.quantile(values, [0.01, 0.99])
    grid = np.unique(np.linspace(first, last, _GRID))
    curve, at_patients = _smooth(family, outcome, values, grid, level)
    distance = np.abs(at_patients - values)
    order = np.argsort(distance)
    share = np.cumsum(outcome.weight[order]) / outcome.weight.sum()
    e50, e90 = distance[order][np.searchsorted(share, [0.5, 0.9])]
    ici = float(np.average(distance, weights=outcome.weight))
    return Calibration(curve, _grouped(kind, outcome, values, groups, level), ici, float(e50), float(e90))


def _smooth(
    family: Family, outcome: Outcome, values: Floats, grid: Floats, level: float
) -> tuple[pd.DataFrame, Floats]:
    """Return the curve on the grid, and its value at each patient's prediction."""
    knots, centre, scale = _knots(family, outcome, family.link(values))

    def design(points: Floats) -> Floats:
        return _spline((family.link(points) - centre) / scale, knots)

    matrix = design(values)
    beta = fit_weighted(family, matrix, outcome, outcome.weight[None, :])[0]
    mean = family.mean(matrix @ beta)
    expected = mean * outcome.exposure
    information = (matrix * (outcome.weight * family.variance(mean) * outcome.exposure)[:, None]).T @ matrix
    scores = matrix * (outcome.weight * (outcome.y - expected))[:, None]
    bread = np.linalg.pinv(information, hermitian=True)
    points = design(grid)
    half = float(ndtri(0.5 + level / 2)) * np.sqrt(
        ((points @ (bread @ scores.T @ scores @ bread)) * points).sum(axis=1)
    )
    linear = points @ beta
    curve = pd.DataFrame(
        {
            "predicted": grid,
            "observed": family.mean(linear),
            "low": family.mean(linear - half),
            "high": family.mean(linear + half),
        }
    )
    return curve, mean


def _knots(family: Family, outcome: Outcome, linear: Floats) -> tuple[Floats, float, float]:
    """Return knots of the standardised linear predictor with its centre and scale."""
    if np.ptp(linear) < 1e-9:
        return np.empty(0), float(linear[0]), 1.0
    rarer = min(outcome.y.sum(), (1 - outcome.y).sum()) if family.kind == "binary" else outcome.y.size
    centre, scale = float(linear.mean()), float(linear.std())
    knots = np.unique(np.quantile(linear, _KNOTS[4 if rarer >= _MANY else 3]))
    return (knots - centre) / scale, centre, scale


def _spline(x: Floats, knots: Floats) -> Floats:
    """Return intercept, x and Harrell's restricted cubic terms; without three distinct knots no curvature."""
    if knots.size == 0:
        return np.ones((x.size, 1))
    columns = [np.ones_like(x), x]
    if knots.size >= 3:
        last, before = knots[-1], knots[-2]
        cubes = np.maximum(x[:, None] - knots, 0) ** 3
        for j in range(knots.size - 2):
            tail = cubes[:, -2] * (last - knots[j]) - cubes[:, -1] * (before - knots[j])
            columns.append((cubes[:, j] - tail / (last - before)) / (last - knots[0]) ** 2)
    return np.column_stack(columns)


def _grouped(kind: Kind, outcome: Outcome, values: Floats, groups: int, level: float) -> pd.DataFrame:
    group = quantile_groups(values, groups)
    rows = []
    for number in range(int(group.max()) + 1):
        members = group == number
        y, w, time = outcome.y[members], outcome.weight[members], outcome.exposure[members]
        observed = float(w @ y / (w @ time))
        low, high = _interval(kind, y, w, time, observed, level)
        predicted = float(np.average(values[members], weights=w * time))
        rows.append((number + 1, int(members.sum()), predicted, observed, low, high))
    return pd.DataFrame(rows, columns=["group", "n", "predicted", "observed", "low", "high"])


def _interval(kind: Kind, y: Floats, w: Floats, time: Floats, mean: float, level: float) -> tuple[float, float]:
    size = float(w.sum() ** 2 / (w @ w))
    if kind == "binary":
        z = float(ndtri(0.5 + level / 2))
        centre = (mean + z**2 / (2 * size)) / (1 + z**2 / size)
        half = z / (1 + z**2 / size) * np.sqrt(mean * (1 - mean) / size + z**2 / (4 * size**2))
        # Without events the lower limit is 0 but for rounding, and likewise the upper one is 1.
        return min(centre - half, mean), max(centre + half, mean)
    if kind == "count":
        exposure = size * float(np.average(time, weights=w))
        events = mean * exposure
        low = float(gammaincinv(events, 0.5 - level / 2)) if events > 0 else 0.0
        return low / exposure, float(gammaincinv(events + 1, 0.5 + level / 2)) / exposure
    if y.size == 1:
        return np.nan, np.nan
    variance = float(np.average((y - mean) ** 2, weights=w)) / (size - 1)
    half = float(stdtrit(size - 1, 0.5 + level / 2)) * np.sqrt(variance)
    return mean - half, mean + half
