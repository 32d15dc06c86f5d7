"""Ordered endpoints: Wilcoxon's rank sum test and, with strata, van Elteren's, with the probability they test."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from il7ml.endpoints.arrays import as_strata, as_treated, as_values
from il7ml.endpoints.result import EndpointResult
from il7ml.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def rank_test(
    y: ArrayLike, treatment: ArrayLike, *, endpoint: str, strata: ArrayLike | None = None, level: float = 0.95
) -> EndpointResult:
    """Compare two arms' values by their ranks.

    Parameters
    ----------
    y : array-like of shape (n,)
        Numbers or ordered scores; NaN where unknown (not counted).
    treatment : array-like of shape (n,)
        1 treated, 0 control.
    endpoint : str
    strata : array-like of shape (n,), optional
        Patients are compared within strata, such as sites; one without patients in both arms does not count.
    level : float

    Returns
    -------
    EndpointResult
        Scale probability: that a treated patient has the higher value than a control (of the same stratum), ties
        counted half; 0.5 means no difference. The P value is Wilcoxon's or van Elteren's (normal approximation,
        corrected for ties); standard error and interval are Brunner and Munzel's, which do not suppose the null
        hypothesis.

    Raises
    ------
    InputError
        If all values are the same, there is only one stratum, or none has patients in both arms.

    References
    ----------
    Wilcoxon, Biometrics Bull 1945;1:80, doi 10.2307/3001968. van Elteren, Bull Int Stat Inst 1960;37:351. Brunner and
    Munzel, Biom J 2000;42:17, doi 10.1002/(SICI)1521-4036(200001)42:1<17::AID-BIMJ17>3.0.CO;2-U.

    Examples
    --------
    >>> result = rank_test([0, 9, 14, 20, 0, 0, 4, 11], [1, 1, 1, 1, 0, 0, 0, 0], endpoint="ventilator_free_days")
    >>> result.estimate, round(result.p_value, 3)
    (0.75, 0.237)
    """
    treated = as_treated(treatment)
    values = as_values(endpoint, y, treated.size, missing=True)
    groups = np.zeros(treated.size, dtype=np.intp) if strata is None else as_strata(strata, treated.size)
    known = ~np.isnan(values)
    parts = [known & (groups == group) for group in np.unique(groups)]
    found = [_compare(values[rows], treated[rows]) for rows in parts if treated[rows].any() and (~treated[rows]).any()]
    if not found or sum(part[2] for part in found) == 0:
        raise InputError(
            f"endpoint {endpoint!r}: no values to compare between arms: all are the same, or no stratum has patients "
            "in both arms. Check the endpoint, or leave strata out."
        )
    probability, weight, null_variance, variance = np.array(found).T
    share = weight / weight.sum()
    estimate, error = float(share @ probability), float(np.sqrt(share**2 @ variance))
    statistic = (estimate - 0.5) / np.sqrt(share**2 @ null_variance)
    half = float(ndtri(0.5 + level / 2)) * error
    low, high = max(estimate - half, 0.0), min(estimate + half, 1.0)
    method = "Wilcoxon rank sum test" if strata is None else "van Elteren test"
    p_value = float(2 * ndtr(-abs(statistic)))
    return EndpointResult(endpoint, method, "probability", estimate, error, low, high, p_value, int(known.sum()), None)


def _compare(values: Floats, treated: Bools) -> tuple[float, float, float, float]:
    """Return one stratum's probability, van Elteren's weight, and the variance under the null and in general."""
    n, n_treated = values.size, int(treated.sum())
    n_control = n - n_treated
    ranks = rankdata(values)
    pairs = n_treated * n_control
    probability = (ranks[treated].sum() - n_treated * (n_treated + 1) / 2) / pairs
    null_variance = ((ranks - (n + 1) / 2) ** 2).sum() / (n * (n - 1) * pairs)
    if min(n_treated, n_control) < 2:
        # A single patient shows no spread.
        return probability, pairs / (n + 1), null_variance, null_variance
    # Rank among all minus rank in the own arm counts the patients of the other arm below.
    variance = sum(
        float(np.var(ranks[arm] - rankdata(values[arm]), ddof=1)) / arm.sum() / (n - arm.sum()) ** 2
        for arm in (treated, ~treated)
    )
    return probability, pairs / (n + 1), null_variance, variance
