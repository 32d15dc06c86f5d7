"""Binary endpoints: risk difference, risk ratio, odds ratio and number needed to treat."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.endpoints.arrays import as_indicator, as_treated, require_events
from il7ml.endpoints.contrasts import compare, welch_difference
from il7ml.endpoints.covariates import adjustment_matrix
from il7ml.endpoints.g_computation import raw_means, standardised_means
from il7ml.endpoints.result import EndpointResult, Scale
from il7ml.errors import InputError
from il7ml.family import BINARY

Floats = NDArray[np.float64]

_SCALES: tuple[Scale, ...] = ("difference", "ratio", "odds_ratio")


def unadjusted_risks(y: ArrayLike, treatment: ArrayLike, *, endpoint: str, level: float = 0.95) -> list[EndpointResult]:
    """Compare the arms' risks: difference (two-sample t test), ratio and odds ratio (logarithmic intervals).

    Parameters
    ----------
    y : array-like of shape (n,)
        1 event, 0 none, NaN unknown (not counted).
    treatment : array-like of shape (n,)
        1 treated, 0 control.
    endpoint : str
    level : float
        Confidence level.

    Returns
    -------
    list of EndpointResult
        Scales difference, ratio, odds_ratio.

    Raises
    ------
    InputError
        If an arm has no events, or nothing but events.

    References
    ----------
    Agresti, Categorical Data Analysis, 3rd ed., 2013, section 3.1. D'Agostino et al., Am Stat 1988;42:198,
    doi 10.1080/00031305.1988.10475563 (t test of yes or no outcomes).

    Examples
    --------
    >>> infected, treated = [1] * 14 + [0] * 49 + [1] * 30 + [0] * 35, [1] * 63 + [0] * 65
    >>> [round(r.estimate, 3) for r in unadjusted_risks(infected, treated, endpoint="infection")]
    [-0.239, 0.481, 0.333]
    """
    treated = as_treated(treatment)
    outcome = _as_outcome(y, treated, endpoint)
    arms, known = raw_means(BINARY, outcome, treated), ~np.isnan(outcome)
    # Arms with and without events have two patients at least.
    sizes = [int((known & arm).sum()) for arm in (~treated, treated)]
    difference = welch_difference(arms, sizes, endpoint, "unadjusted", level)
    return [difference, *compare(arms, _SCALES[1:], endpoint, "unadjusted", level)]


def exact_difference(y: ArrayLike, treatment: ArrayLike, *, endpoint: str, level: float = 0.95) -> EndpointResult:
    """Compare the arms' risks where an arm has no events: difference with Newcombe's interval and Fisher's P.

    Parameters
    ----------
    y, treatment, endpoint, level
        As for `unadjusted_risks`.

    Returns
    -------
    EndpointResult
        Scale difference; it has no standard error.

    Raises
    ------
    InputError
        If an arm has no known outcome.

    References
    ----------
    Newcombe, Stat Med 1998;17:873, doi 10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I (method 10).

    Examples
    --------
    >>> result = exact_difference([0] * 10 + [1] * 3 + [0] * 7, [1] * 10 + [0] * 10, endpoint="death")
    >>> round(result.estimate, 2), round(result.p_value, 3)
    (-0.3, 0.211)
    """
    from scipy.stats import fisher_exact
    from statsmodels.stats.proportion import confint_proportions_2indep

    treated = as_treated(treatment)
    outcome = as_indicator(endpoint, y, treated.size, missing=True)
    known = ~np.isnan(outcome)
    counts = [(int(outcome[known & arm].sum()), int((known & arm).sum())) for arm in (treated, ~treated)]
    if min(n for _, n in counts) == 0:
        raise InputError(f"endpoint {endpoint!r}: an arm has no known outcome. Complete it.")
    low, high = confint_proportions_2indep(*counts[0], *counts[1], method="newcomb", compare="diff", alpha=1 - level)
    p_value = float(fisher_exact(np.array([[count, n - count] for count, n in counts])).pvalue)
    estimate = counts[0][0] / counts[0][1] - counts[1][0] / counts[1][1]
    n, events = sum(n for _, n in counts), sum(count for count, _ in counts)
    return EndpointResult(
        endpoint, "Newcombe, Fisher", "difference", estimate, float("nan"), float(low), float(high), p_value, n, events
    )


def adjusted_risks(
    y: ArrayLike, treatment: ArrayLike, covariates: pd.DataFrame, *, endpoint: str, level: float = 0.95
) -> list[EndpointResult]:
    """Compare the risks if all patients were treated and if none were, adjusted for baseline covariates.

    G-computation with a logistic model; the effects are unconditional, as those of `unadjusted_risks`, and the
    intervals robust to a wrong model. See `g_computation.standardised_means`.

    Parameters
    ----------
    y, treatment : array-like of shape (n,)
        As for `unadjusted_risks`; patients with unknown outcome are predicted.
    covariates : DataFrame of shape (n, k)
        Pre-specified baseline covariates and stratification variables.
    endpoint : str
    level : float

    Returns
    -------
    list of EndpointResult
        Scales difference, ratio, odds_ratio.

    Raises
    ------
    InputError
        If an arm has no events or nothing but events, or the model cannot be fitted.

    References
    ----------
    FDA, Adjusting for Covariates in Randomized Clinical Trials for Drugs and Biological Products, 2023. Ge et al., Drug
    Inf J 2011;45:481, doi 10.1177/009286151104500409. Ye et al., Stat Theory Relat Fields 2023;7:159,
    doi 10.1080/24754269.2023.2205802.

    Examples
    --------
    >>> y, treatment = [1, 0, 0, 0, 1, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    >>> age = pd.DataFrame({"age": [70, 50, 61, 40, 55, 66, 48, 71, 50, 59]})
    >>> adjusted_risks(y, treatment, age, endpoint="infection")[0].method
    'g-computation, logistic'
    """
    treated = as_treated(treatment)
    outcome = _as_outcome(y, treated, endpoint)
    matrix = adjustment_matrix(covariates, treated.size)
    arms = standardised_means(BINARY, outcome, treated, matrix)
    return compare(arms, _SCALES, endpoint, "g-computation, logistic", level)


def number_needed_to_treat(difference: EndpointResult) -> EndpointResult:
    """Turn a risk difference of a bad outcome into a number needed to treat for one event less.

    Parameters
    ----------
    difference : EndpointResult
        Scale difference.

    Returns
    -------
    EndpointResult
        Scale number_needed, without a standard error. Negative numbers count patients per event more. `low` belongs to
        the lower limit of the difference, its most favourable value; with `low` positive and `high` negative the
        interval runs from `low` through infinity to `high`.

    References
    ----------
    Altman, BMJ 1998;317:1309, doi 10.1136/bmj.317.7168.1309.

    Examples
    --------
    >>> from il7ml.endpoints.result import wald
    >>> number = number_needed_to_treat(wald("infection", "unadjusted", "difference", -0.1, 0.03, n=109))
    >>> round(number.estimate), round(number.low, 1), round(number.high, 1)
    (10, 6.3, 24.3)
    """
    estimate, low, high = (
        -1 / value if value else np.inf for value in (difference.estimate, difference.low, difference.high)
    )
    return difference._replace(scale="number_needed", estimate=estimate, std_error=np.nan, low=low, high=high)


def _as_outcome(y: ArrayLike, treated: NDArray[np.bool_], endpoint: str) -> Floats:
    outcome = as_indicator(endpoint, y, treated.size, missing=True)
    require_events(endpoint, outcome, treated)
    if any(np.nanmin(outcome[arm]) == 1 for arm in (~treated, treated)):
        raise InputError(
            f"endpoint {endpoint!r}: all patients of an arm have the event, so no effect can be estimated. "
            "Check the endpoint's definition, or report the arms' numbers alone."
        )
    return outcome
