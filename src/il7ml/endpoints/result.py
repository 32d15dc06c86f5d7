"""The one shape of an endpoint's result: an estimate on one scale by one method, with its interval and P value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

Scale = Literal[
    "difference",
    "ratio",
    "odds_ratio",
    "hazard_ratio",
    "rate_ratio",
    "number_needed",
    "probability",
    "chi_square",
]

#: Scales on which the null is 1 and standard errors are those of the logarithm.
RATIOS: frozenset[Scale] = frozenset({"ratio", "odds_ratio", "hazard_ratio", "rate_ratio"})


class EndpointResult(NamedTuple):
    """One endpoint's effect, treated against control, on one scale by one method.

    Attributes
    ----------
    endpoint, method : str
    scale : str
        ``difference``; ``ratio`` (of risks, means or geometric means), ``odds_ratio``, ``hazard_ratio``,
        ``rate_ratio``; ``number_needed`` (to treat for one event less); ``probability`` (that a treated patient has
        the higher value, ties counted half); ``chi_square`` (a test without an estimate of effect).
    estimate, std_error, low, high, p_value : float
        The standard error of a ratio is that of its logarithm. NaN where there is none.
    n : int
        Patients analysed.
    events : int or None
        Their events; None where the endpoint has none.
    """

    endpoint: str
    method: str
    scale: Scale
    estimate: float
    std_error: float
    low: float
    high: float
    p_value: float
    n: int
    events: int | None


def wald(
    endpoint: str,
    method: str,
    scale: Scale,
    estimate: float,
    std_error: float,
    n: int,
    events: int | None = None,
    *,
    degrees: float = np.inf,
    level: float = 0.95,
) -> EndpointResult:
    """Turn an estimate and its standard error into a result with Wald interval and P value.

    Parameters
    ----------
    endpoint, method : str
    scale : str
    estimate, std_error : float
        For ratios both on the logarithmic scale.
    n : int
    events : int, optional
    degrees : float
        Degrees of freedom of Student's t; infinite for the normal distribution.
    level : float
        Confidence level.

    Returns
    -------
    EndpointResult

    Examples
    --------
    >>> result = wald("infection", "unadjusted", "ratio", np.log(0.5), 0.2, n=109)
    >>> round(result.estimate, 2), round(result.low, 3), round(result.high, 3), round(result.p_value, 5)
    (0.5, 0.338, 0.74, 0.00053)
    """
    half = float(stdtrit(degrees, 0.5 + level / 2)) * std_error
    limits = np.array([estimate, estimate - half, estimate + half])
    with np.errstate(over="ignore"):
        shown = np.exp(limits) if scale in RATIOS else limits
    p_value = float(2 * stdtr(degrees, -abs(estimate / std_error))) if std_error > 0 else np.nan
    value, low, high = map(float, shown)
    return EndpointResult(endpoint, method, scale, value, float(std_error), low, high, p_value, n, events)


def on_test_scale(result: EndpointResult) -> float:
    """Return the estimate on the scale of its standard error: the logarithm of a ratio, else itself."""
    return float(np.log(result.estimate)) if result.scale in RATIOS else result.estimate


def to_frame(results: Iterable[EndpointResult]) -> pd.DataFrame:
    """Return results as the table that `il7ml analyze` writes.

    Returns
    -------
    DataFrame
        Columns endpoint, method, scale, estimate, std_error, low, high, p_value, n, events; a row a result.

    Examples
    --------
    >>> to_frame([wald("infection", "unadjusted", "difference", -0.1, 0.05, n=109, events=40)]).shape
    (1, 10)
    """
    frame = pd.DataFrame(list(results), columns=list(EndpointResult._fields))
    # Whole numbers stay whole beside endpoints that have no events.
    return frame.astype({"n": "Int64", "events": "Int64"})
