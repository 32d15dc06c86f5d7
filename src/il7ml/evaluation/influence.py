"""Performance measures with each patient's influence on them, so that any difference has a standard error.

The sum of squared influences is the variance of the measure over new samples of patients, with the predictions fixed.
Influences of two measures on the same patients may be subtracted: their differences then are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri

from il7ml.evaluation.outcome import Outcome

Floats = NDArray[np.float64]
#: On which scale a measure is about normal.
Scale = Literal["identity", "log", "logit"]


class Estimate(NamedTuple):
    """A measure with its influences.

    Attributes
    ----------
    value : float
        NaN where it cannot be computed, such as an area under the curve without events.
    influence : ndarray of shape (n,)
    """

    value: float
    influence: Floats

    @property
    def std_error(self) -> float:
        """Standard error of the value."""
        return float(np.sqrt(self.influence @ self.influence))

    def on(self, scale: Scale) -> tuple[float, float]:
        """Return value and standard error on a scale; NaN where the value is not inside its range."""
        value, error = self.value, self.std_error
        if scale == "log":
            return (float(np.log(value)), error / value) if value > 0 else (np.nan, np.nan)
        if scale == "logit":
            inside = 0 < value < 1
            return (float(logit(value)), error / (value * (1 - value))) if inside else (np.nan, np.nan)
        return value, error

    def interval(self, level: float, scale: Scale = "identity") -> tuple[float, float]:
        """Return normal limits, set on `scale` and given on the measure's own."""
        value, error = self.on(scale)
        half = float(ndtri(0.5 + level / 2)) * error
        back = BACK[scale]
        return back(value - half), back(value + half)


#: From each scale to the measure's own.
BACK: dict[Scale, Callable[[float], float]] = {
    "identity": float,
    "log": lambda value: float(np.exp(value)),
    "logit": lambda value: float(expit(value)),
}


def average(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean over repeats.

    Examples
    --------
    >>> import numpy as np
    >>> average([Estimate(0.2, np.array([0.1, -0.1])), Estimate(0.4, np.array([-0.1, 0.1]))]).std_error
    0.0
    """
    values, influences = zip(*estimates, strict=True)
    return Estimate(float(np.mean(values)), np.asarray(np.mean(influences, axis=0)))


def mean(values: Floats, weight: Floats) -> Estimate:
    """Return a weighted mean; without weights its standard error is the textbook one, with n - 1.

    Parameters
    ----------
    values, weight : ndarray of shape (n,)

    Examples
    --------
    >>> import numpy as np
    >>> estimate = mean(np.array([1.0, 2.0, 3.0]), np.ones(3))
    >>> estimate.value, round(estimate.std_error, 6) == round(3**-0.5, 6)
    (2.0, True)
    """
    total = weight.sum()
    value = float(weight @ values / total)
    return Estimate(value, weight * (values - value) / total * _correction(weight))


def auroc(outcome: Outcome, risk: Floats) -> Estimate:
    """Return the area under the ROC curve; without weights its standard error is DeLong's.

    A patient's influence follows from the share of patients of the other kind that rank on the right side. It is NaN
    where only one patient has, or lacks, the outcome, and so is the area where none has or lacks it.

    Parameters
    ----------
    outcome : Outcome
        Binary.
    risk : ndarray of shape (n,)

    References
    ----------
    DeLong et al., Biometrics 1988;44:837, doi 10.2307/2531595.

    Examples
    --------
    >>> import numpy as np
    >>> from il7ml.evaluation.outcome import as_outcome
    >>> estimate = auroc(as_outcome([0, 0, 1, 1], "binary"), np.array([0.1, 0.4, 0.35, 0.8]))
    >>> estimate.value, round(estimate.std_error, 4)
    (0.75, 0.3536)
    """
    sick, healthy = outcome.weight * outcome.y, outcome.weight * (1 - outcome.y)
    if not sick.any() or not healthy.any():
        return Estimate(np.nan, np.full(risk.size, np.nan))
    _, rank = np.unique(risk, return_inverse=True)
    above = 1 - _share_below(rank, sick)
    below = _share_below(rank, healthy)
    value = float(sick @ below / sick.sum())
    parts = (
        weight * (placement - value) / weight.sum() * _correction(weight)
        for weight, placement in ((sick, below), (healthy, above))
    )
    return Estimate(value, np.asarray(sum(parts)))


def _share_below(rank: NDArray[np.intp], weight: Floats) -> Floats:
    """Return, for each patient, the share of the weight that ranks lower, with half of what ranks equal."""
    at = np.bincount(rank, weights=weight)
    return np.asarray(((np.cumsum(at) - at / 2) / weight.sum())[rank])


def observed_expected(outcome: Outcome, mean_outcome: Floats) -> Estimate:
    """Return the ratio of observed to expected events (O:E).

    Parameters
    ----------
    outcome : Outcome
        Binary or count.
    mean_outcome : ndarray of shape (n,)
        Predicted risk, or rate per unit of exposure.

    References
    ----------
    Debray et al., Stat Methods Med Res 2019;28:2768, doi 10.1177/0962280218785504: for equal predictions the variance
    of log(O:E) is that of their equation for binary outcomes, (1 - O / n) / O.

    Examples
    --------
    >>> import numpy as np
    >>> from il7ml.evaluation.outcome import as_outcome
    >>> round(observed_expected(as_outcome([1, 0, 1, 0], "binary"), np.full(4, 0.4)).value, 6)
    1.25
    """
    observed = outcome.weight * outcome.y
    expected = outcome.weight * mean_outcome * outcome.exposure
    ratio = float(observed.sum() / expected.sum())
    return Estimate(ratio, (observed - ratio * expected) / expected.sum())


def net_benefit(outcome: Outcome, risk: Floats, threshold: float) -> Estimate:
    """Return the net benefit of treating patients whose risk is at least the threshold.

    Parameters
    ----------
    outcome : Outcome
        Binary.
    risk : ndarray of shape (n,)
    threshold : float
        Strictly between 0 and 1.

    References
    ----------
    Vickers and Elkin, Med Decis Making 2006;26:565, doi 10.1177/0272989X06295361.

    Examples
    --------
    >>> import numpy as np
    >>> from il7ml.evaluation.outcome import as_outcome
    >>> net_benefit(as_outcome([1, 1, 0, 0], "binary"), np.array([0.9, 0.4, 0.6, 0.1]), 0.2).value
    0.4375
    """
    gain = outcome.y - (1 - outcome.y) * threshold / (1 - threshold)
    return mean((risk >= threshold) * gain, outcome.weight)


def root_mean_squared_error(outcome: Outcome, predicted: Floats) -> Estimate:
    """Return the root mean squared error.

    Parameters
    ----------
    outcome : Outcome
        Continuous.
    predicted : ndarray of shape (n,)

    Examples
    --------
    >>> import numpy as np
    >>> from il7ml.evaluation.outcome import as_outcome
    >>> root_mean_squared_error(as_outcome([1, 2], "continuous"), np.array([4.0, -1.0])).value
    3.0
    """
    squared = mean((outcome.y - predicted) ** 2, outcome.weight)
    root = float(np.sqrt(squared.value))
    return Estimate(root, squared.influence / (2 * root) if root > 0 else squared.influence)


def _correction(weight: Floats) -> float:
    """Return the factor that makes n - 1 of n, the number of patients that count."""
    n = int(np.count_nonzero(weight))
    return float(np.sqrt(n / (n - 1))) if n > 1 else np.nan
