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


def _in_range(means: Floats, scale: Scale) -> bool:
    return scale == "difference" or bool((means > 0).all() and (scale != "odds_ratio" or (means < 1).all()))


def _transformed(means: Floats, scale: Scale) -> tuple[Floats, Floats]:
    """Return means on the scale on which they are subtracted, and the derivative of that transformation."""
    if scale == "difference":
        return means, np.ones(2)
    if scale == "odds_ratio":
        return np.log(means / (1 - means)), 1 / (means * (1 - means))
    return np.log(means), 1 / means
