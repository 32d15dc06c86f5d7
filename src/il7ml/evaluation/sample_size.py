"""Whether the number of patients suffices to develop a prediction model for a binary outcome."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd
from scipy.optimize import brentq
from scipy.special import ndtri

from il7ml.errors import InputError
from il7ml.evaluation.checks import check_count, check_inside


class SampleSize(NamedTuple):
    """Sample size against the criteria of Riley and colleagues.

    Attributes
    ----------
    n, events, parameters : int
        Patients, those with the outcome, and candidate predictor parameters.
    events_per_parameter : float
    required_shrinkage, required_optimism, required_prevalence : int
        Patients needed for the wanted shrinkage factor, for a small optimism in Nagelkerke's R2, and for the margin of
        error of the overall risk.
    expected_shrinkage : float
        Shrinkage factor to expect at n.
    """

    n: int
    events: int
    parameters: int
    events_per_parameter: float
    required_shrinkage: int
    required_optimism: int
    required_prevalence: int
    expected_shrinkage: float

    @property
    def required(self) -> int:
        """Patients needed to meet all three criteria."""
        return max(self.required_shrinkage, self.required_optimism, self.required_prevalence)

    @property
    def sufficient(self) -> bool:
        """Whether n meets all three criteria."""
        return self.n >= self.required

    def frame(self) -> pd.DataFrame:
        """Return a row a criterion: criterion, required, n, met."""
        criteria = {
            "shrinkage": self.required_shrinkage,
            "optimism": self.required_optimism,
            "prevalence": self.required_prevalence,
        }
        return pd.DataFrame(
            [(name, required, self.n, self.n >= required) for name, required in criteria.items()],
            columns=["criterion", "required", "n", "met"],
        )


def sample_size(
    n: int,
    events: int,
    parameters: int,
    *,
    nagelkerke_r2: float = 0.15,
    shrinkage: float = 0.9,
    margin: float = 0.05,
) -> SampleSize:
    """Hold a data set against the sample-size criteria for a logistic prediction model.

    Parameters
    ----------
    n, events : int
        Patients and patients with the outcome.
    parameters : int
        Candidate predictor parameters, without the intercept.
    nagelkerke_r2 : float
        Share of the largest possible Cox-Snell R2 that the model is expected to reach.
    shrinkage : float
        Wanted uniform shrinkage factor.
    margin : float
        Wanted half-width of the 95 % interval of the overall risk, and wanted optimism in Nagelkerke's R2.

    Returns
    -------
    SampleSize

    Raises
    ------
    InputError
        If there are no events or only events, no parameters, a number of them is no whole number, or one of the shares
        is not strictly between 0 and 1; or the wanted shrinkage is below what an R2 that large allows.

    References
    ----------
    Riley et al., Stat Med 2019;38:1276, doi 10.1002/sim.7992; Riley et al., BMJ 2020;368:m441, doi 10.1136/bmj.m441.

    Examples
    --------
    >>> result = sample_size(109, 33, 5)
    >>> result.required, round(result.expected_shrinkage, 2), result.sufficient
    (400, 0.71, False)
    """
    check_count(n, 2, "n")
    check_count(events, 0, "events")
    check_count(parameters, 1, "parameters")
    for name, value in (("nagelkerke_r2", nagelkerke_r2), ("shrinkage", shrinkage), ("margin", margin)):
        check_inside(value, 0.0, 1.0, name, "See the defaults.")
    if not 0 < events < n:
        raise InputError("sample size: expected some patients with and some without the outcome. Check the endpoint.")
    prevalence = events / n
    log_likelihood = prevalence * math.log(prevalence) + (1 - prevalence) * math.log(1 - prevalence)
    largest_r2 = -math.expm1(2 * log_likelihood)
    r2 = nagelkerke_r2 * largest_r2
    if shrinkage <= r2:
        raise InputError(
            f"shrinkage: expected more than {r2:.3g}, the expected Cox-Snell R2, got {shrinkage:g}. Ask for more."
        )
    return SampleSize(
        n,
        events,
        parameters,
        events / parameters,
        _patients(parameters, r2, shrinkage),
        _patients(parameters, r2, r2 / (r2 + margin * largest_r2)),
        math.ceil((float(ndtri(0.975)) / margin) ** 2 * prevalence * (1 - prevalence)),
        _expected_shrinkage(n, parameters, r2),
    )


def _patients(parameters: int, r2: float, shrinkage: float) -> int:
    return math.ceil(parameters / ((shrinkage - 1) * math.log1p(-r2 / shrinkage)))


def _expected_shrinkage(n: int, parameters: int, r2: float) -> float:
    """Invert the shrinkage criterion at n; no factor below r2 can meet it."""

    def excess(shrinkage: float) -> float:
        return n * (shrinkage - 1) * math.log1p(-r2 / shrinkage) - parameters

    smallest = r2 * (1 + 1e-9)
    return float(brentq(excess, smallest, 1.0)) if excess(smallest) > 0 else r2
