"""Random-effects summary of one figure from several sites, with the interval for a new site."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import stdtrit

from il7ml.errors import InputError
from il7ml.evaluation.checks import as_numbers, check_level

Floats = NDArray[np.float64]


class RandomEffects(NamedTuple):
    """Summary over sites.

    Attributes
    ----------
    estimate, std_error, low, high : float
        Mean over sites, with its Hartung-Knapp standard error and interval.
    prediction_low, prediction_high : float
        Interval for the true figure of a new site; NaN with two sites.
    tau2 : float
        Variance of the true figures between sites (restricted maximum likelihood).
    i2 : float
        Share of the variance of the estimates that lies between sites.
    q : float
        Cochran's statistic, chi-square with one degree of freedom less than sites if all have the same figure.
    sites : int
    """

    estimate: float
    std_error: float
    low: float
    high: float
    prediction_low: float
    prediction_high: float
    tau2: float
    i2: float
    q: float
    sites: int


def random_effects(estimate: ArrayLike, std_error: ArrayLike, *, level: float = 0.95) -> RandomEffects:
    """Summarise estimates of several sites.

    The Hartung-Knapp standard error is used where it is the larger one: with few sites that agree by chance it alone
    would give an interval far too short. The confidence interval uses Student's t with one degree of freedom less than
    sites, the prediction interval with two less. The latter holds the figure of a new site somewhat less often than it
    says where sites differ about as much as their errors (88 % instead of 95 % with eight such sites), because the
    variance between sites then is often estimated as 0.

    Parameters
    ----------
    estimate, std_error : array-like of shape (k,)
        A value a site, on a scale on which estimates are about normal (logit AUROC, log O:E).
    level : float
        Level of the confidence and the prediction interval.

    Returns
    -------
    RandomEffects

    Raises
    ------
    InputError
        If there are fewer than two sites, or values are missing or standard errors not positive.

    References
    ----------
    Viechtbauer, J Educ Behav Stat 2005;30:261, doi 10.3102/10769986030003261 (restricted maximum likelihood). Hartung
    and Knapp, Stat Med 2001;20:3875, doi 10.1002/sim.1009. Röver et al., BMC Med Res Methodol 2015;15:99,
    doi 10.1186/s12874-015-0091-1 (the larger standard error). Higgins et al., J R Stat Soc A 2009;172:137,
    doi 10.1111/j.1467-985X.2008.00552.x (prediction interval). Debray et al., Stat Methods Med Res 2019;28:2768,
    doi 10.1177/0962280218785504 (prediction models).

    Examples
    --------
    >>> result = random_effects([0.6, 1.0, 1.4], [0.2, 0.2, 0.2])
    >>> round(result.estimate, 6), round(result.tau2, 6)
    (1.0, 0.12)
    """
    check_level(level)
    y, error = as_numbers(estimate, "estimate"), as_numbers(std_error, "std_error")
    if y.ndim != 1 or y.shape != error.shape:
        raise InputError(
            f"sites: expected an estimate and a standard error a site, got shapes {y.shape} and {error.shape}. "
            "Pass arrays of one length."
        )
    if y.size < 2:
        raise InputError(f"sites: a summary over sites needs at least 2, got {y.size}. Report the figures themselves.")
    if not np.isfinite(y).all() or not np.isfinite(error).all() or not (error > 0).all():
        raise InputError(
            "sites: expected finite estimates and standard errors above 0. Leave out sites without a figure."
        )
    variance = error**2
    tau2 = _between_sites(y, variance)
    weight = 1 / (variance + tau2)
    centre = float(np.average(y, weights=weight))
    freedom = y.size - 1
    spread = float(weight @ (y - centre) ** 2 / freedom)
    scale = float(np.sqrt(max(spread, 1.0) / weight.sum()))
    quantile = float(stdtrit(freedom, 0.5 + level / 2))
    new_site = float(stdtrit(freedom - 1, 0.5 + level / 2) * np.hypot(scale, np.sqrt(tau2))) if freedom > 1 else np.nan
    precision = 1 / variance
    typical = freedom * precision.sum() / (precision.sum() ** 2 - precision @ precision)
    q = float(precision @ (y - np.average(y, weights=precision)) ** 2)
    return RandomEffects(
        centre,
        scale,
        centre - quantile * scale,
        centre + quantile * scale,
        centre - new_site,
        centre + new_site,
        tau2,
        float(tau2 / (tau2 + typical)),
        q,
        int(y.size),
    )


def _between_sites(y: Floats, variance: Floats) -> float:
    """Return the variance between sites at which the restricted likelihood has slope 0, or 0 if it only falls."""

    def slope(tau2: float) -> float:
        weight = 1 / (variance + tau2)
        residual = y - np.average(y, weights=weight)
        return float(weight**2 @ residual**2 - weight.sum() + weight @ weight / weight.sum())

    if slope(0.0) <= 0:
        return 0.0
    highest = float(np.var(y)) + float(variance.max())
    while slope(highest) > 0:
        highest *= 2
    return float(brentq(slope, 0.0, highest, xtol=1e-14))
