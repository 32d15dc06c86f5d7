"""The continuous ranked probability score of predicted distributions: counts and normal outcomes.

The score is the integral over all values v of (F(v) - 1{y <= v})^2, F being the predicted distribution function. It is
proper, has the outcome's unit, and equals the absolute error where the distribution is a point. For counts it is also
called the ranked probability score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import hyp2f1, ive

from il7ml.errors import InputError
from il7ml.evaluation.checks import as_numbers, check_range, check_together

Floats = NDArray[np.float64]

# Below it the closed form loses digits, and a count's variance is within 1 % of Poisson's up to a mean of 10.
_SMALLEST_DISPERSION = 1e-3


def poisson_crps(y: ArrayLike, mean: ArrayLike) -> Floats:
    """Score counts against Poisson distributions.

    Parameters
    ----------
    y : array-like of shape (n,)
        Observed counts, whole numbers.
    mean : array-like of shape (n,)
        Expected counts (rate times exposure).

    Returns
    -------
    ndarray of shape (n,)
        In counts; lower is better.

    References
    ----------
    Jordan et al., J Stat Softw 2019;90(12), doi 10.18637/jss.v090.i12 (closed forms). Czado et al., Biometrics
    2009;65:1254, doi 10.1111/j.1541-0420.2009.01191.x (scores for counts).

    Examples
    --------
    >>> poisson_crps([0, 3], [0.5, 0.5]).round(4).tolist()
    [0.1632, 2.167]
    """
    y, mean = as_numbers(y, "y"), as_numbers(mean, "mean")
    check_together((y, mean), "y, mean")
    check_range(mean, "count", "mean")
    distribution = stats.poisson(mean)
    # Half the expected distance between two independent counts.
    spread = mean * (ive(0, 2 * mean) + ive(1, 2 * mean))
    return np.asarray((y - mean) * (2 * distribution.cdf(y) - 1) + 2 * mean * distribution.pmf(y) - spread)


def negative_binomial_crps(y: ArrayLike, mean: ArrayLike, dispersion: ArrayLike) -> Floats:
    """Score counts against negative binomial distributions with variance ``mean + dispersion * mean^2``.

    Parameters
    ----------
    y : array-like of shape (n,)
        Observed counts, whole numbers.
    mean : array-like of shape (n,)
        Expected counts (rate times exposure), above 0.
    dispersion : array-like of shape (n,) or float
        Not negative; below 0.001 it is taken as 0 (Poisson).

    Returns
    -------
    ndarray of shape (n,)
        In counts; lower is better.

    Raises
    ------
    InputError
        If a dispersion is negative or missing.

    References
    ----------
    Jordan et al., J Stat Softw 2019;90(12), doi 10.18637/jss.v090.i12 (closed form).

    Examples
    --------
    >>> negative_binomial_crps([0, 3], [0.5, 0.5], 1.0).round(4).tolist()
    [0.125, 2.162]
    """
    columns = as_numbers(y, "y"), as_numbers(mean, "mean"), as_numbers(dispersion, "dispersion")
    check_together(columns, "y, mean, dispersion")
    check_range(columns[1], "count", "mean")
    y, mean, dispersion = np.broadcast_arrays(*columns)
    if not (dispersion >= 0).all():
        raise InputError("dispersion: expected numbers of 0 or more. Use 0 for Poisson distributions.")
    size = 1 / np.maximum(dispersion, _SMALLEST_DISPERSION)
    share = size / (size + mean)
    odds = (1 - share) / share**2
    here, larger = stats.nbinom.cdf(y, size, share), stats.nbinom.cdf(y - 1, size + 1, share)
    score = y * (2 * here - 1) - size * odds * (share * (2 * larger - 1) + hyp2f1(size + 1, 0.5, 2, -4 * odds))
    return np.where(dispersion < _SMALLEST_DISPERSION, poisson_crps(y, mean), score)


def normal_crps(y: ArrayLike, mean: ArrayLike, std_dev: ArrayLike) -> Floats:
    """Score values against normal distributions.

    Parameters
    ----------
    y, mean : array-like of shape (n,)
        Observed and expected values.
    std_dev : array-like of shape (n,) or float
        Standard deviation of the outcome around its expected value; above 0.

    Returns
    -------
    ndarray of shape (n,)
        In the outcome's unit; lower is better.

    Raises
    ------
    InputError
        If a standard deviation is not above 0.

    References
    ----------
    Gneiting and Raftery, J Am Stat Assoc 2007;102:359, doi 10.1198/016214506000001437.

    Examples
    --------
    >>> normal_crps([0.0, 2.0], [0.0, 0.0], 1.0).round(4).tolist()
    [0.2337, 1.4528]
    """
    y, mean, std_dev = as_numbers(y, "y"), as_numbers(mean, "mean"), as_numbers(std_dev, "std_dev")
    check_together((y, mean, std_dev), "y, mean, std_dev")
    if not (std_dev > 0).all():
        raise InputError("std_dev: expected numbers above 0. Estimate it from residuals of patients not fitted to.")
    z = (y - mean) / std_dev
    return np.asarray(std_dev * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)))
