"""Two arms' means with their covariance, compared on the scales that suit the endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from il7ml.endpoints.result import EndpointResult, Scale, wald

Floats = NDArray[np.float64]


class ArmMeans(NamedTuple):
    """Mean outcome of each arm: risk, rate or mean.

    Attributes
    ----------
    means : ndarray of shape (2,)
        Control, treated.
    covariance : ndarray of shape (2, 2)
    n : int
        Patients with a known outcome.
    events : int or None
    """

    means: Floats
    covariance: Floats
    n: int
    events: int | None = None


def compare(
    arms: ArmMeans, scales: Sequence[Scale], endpoint: str, method: str, level: float = 0.95
) -> list[EndpointResult]:
    """Compare two arms' means on each scale by the delta method.

    Parameters
    ----------
    arms : ArmMeans
    scales : sequence of str
        Of 'difference', 'ratio', 'rate_ratio', 'odds_ratio'.
    endpoint, method : str
    level : float

    Returns
    -------
    list of EndpointResult
        One a scale. A ratio is NaN where a mean is 0 or, by adjustment, below; an odds ratio also where it is 1.

    Examples
    --------
    >>> arms = ArmMeans(np.array([0.4, 0.2]), np.diag([0.0024, 0.0016]), n=200, events=60)
    >>> [round(result.estimate, 3) for result in compare(arms, ("difference", "ratio", "odds_ratio"), "death", "raw")]
    [-0.2, 0.5, 0.375]
    """
    results = []
    for scale in scales:
        if not _in_range(arms.means, scale):
            nothing = float("nan")
            results.append(wald(endpoint, method, scale, nothing, nothing, arms.n, arms.events))
            continue
        values, derivative = _transformed(arms.means, scale)
        gradient = derivative * [-1.0, 1.0]
        error = float(np.sqrt(gradient @ arms.covariance @ gradient))
        difference = float(values[1] - values[0])
        results.append(wald(endpoint, method, scale, difference, error, arms.n, arms.events, level=level))
    return results


def welch_difference(
    arms: ArmMeans, sizes: Sequence[int], endpoint: str, method: str, level: float = 0.95
) -> EndpointResult:
    """Compare two independent arms' means by their difference, with an error and Student's t that suit small arms.

    Variances are those of `arms` times n / (n - 1), by arm, and degrees of freedom are Welch's. For yes or no outcomes
    this is the two-sample t test, whose type I error is closer to the nominal one than that of the difference divided
    by its binomial error.

    Parameters
    ----------
    arms : ArmMeans
        Variances without correction, no covariance.
    sizes : sequence of int of length 2
        Patients of each arm, control first.
    endpoint, method : str
    level : float

    Returns
    -------
    EndpointResult
        Scale difference; without error, interval and P value where an arm has a single patient.

    References
    ----------
    Welch, Biometrika 1947;34:28, doi 10.1093/biomet/34.1-2.28. D'Agostino et al., Am Stat 1988;42:198,
    doi 10.1080/00031305.1988.10475563 (yes or no outcomes).

    Examples
    --------
    >>> arms = ArmMeans(np.array([0.4, 0.2]), np.diag([0.024, 0.016]), n=20, events=6)
    >>> result = welch_difference(arms, (10, 10), "death", "raw")
    >>> round(result.std_error**2, 4), round(result.low, 2), round(result.high, 2)
    (0.0444, -0.64, 0.24)
    """
    difference, spare = float(arms.means[1] - arms.means[0]), np.asarray(sizes) - 1
    if spare.min() == 0:
        return wald(endpoint, method, "difference", difference, np.nan, arms.n, arms.events)
    variances = np.diag(arms.covariance) * (spare + 1) / spare
    total = variances.sum()
    degrees = float(total**2 / (variances**2 / spare).sum()) if total > 0 else np.inf
    error = float(np.sqrt(total))
    return wald(endpoint, method, "difference", difference, error, arms.n, arms.events, degrees=degrees, level=level)


def _in_range(means: Floats, scale: Scale) -> bool:
    return scale == "difference" or bool((means > 0).all() and (scale != "odds_ratio" or (means < 1).all()))


def _transformed(means: Floats, scale: Scale) -> tuple[Floats, Floats]:
    """Return means on the scale on which they are subtracted, and the derivative of that transformation."""
    if scale == "difference":
        return means, np.ones(2)
    if scale == "odds_ratio":
        return np.log(means / (1 - means)), 1 / (means * (1 - means))
    return np.log(means), 1 / means
