"""Continuous endpoints: difference in means or analysis of covariance, of the values or of their logarithms."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.endpoints.arrays import as_logarithms, as_treated, as_values
from il7ml.endpoints.covariates import adjustment_matrix
from il7ml.endpoints.result import EndpointResult, wald
from il7ml.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def ancova(
    y: ArrayLike,
    treatment: ArrayLike,
    *,
    endpoint: str,
    covariates: pd.DataFrame | None = None,
    scale: Literal["difference", "ratio"] = "difference",
    level: float = 0.95,
) -> EndpointResult:
    """Compare the arms' means: by least squares on arm and covariates with robust errors (HC3), else by Welch's t.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome; NaN where unknown (not counted).
    treatment : array-like of shape (n,)
        1 treated, 0 control.
    endpoint : str
    covariates : DataFrame of shape (n, k), optional
        Baseline value of the outcome first of all.
    scale : {'difference', 'ratio'}
        Ratio: logarithms are analysed, and the result is a ratio of geometric means.
    level : float

    Returns
    -------
    EndpointResult
        Student's t with n - p degrees of freedom; without covariates with Welch's.

    Raises
    ------
    InputError
        If the outcome does not vary, is not positive (ratio), an arm has fewer than two outcomes, or there are too many
        covariates.

    References
    ----------
    Long and Ervin, Am Stat 2000;54:217, doi 10.1080/00031305.2000.10474549 (HC3). Welch, Biometrika 1947;34:28,
    doi 10.1093/biomet/34.1-2.28.

    Examples
    --------
    >>> before = pd.DataFrame({"count": [0.4, 0.5, 0.6, 0.8, 0.3, 0.5, 0.7, 0.9]})
    >>> after = [0.6, 0.8, 0.9, 1.3, 0.3, 0.6, 0.7, 1.0]
    >>> effect = ancova(after, [1, 1, 1, 1, 0, 0, 0, 0], covariates=before, endpoint="count", scale="ratio")
    >>> round(effect.estimate, 2)
    1.52
    """
    treated = as_treated(treatment)
    values = as_values(endpoint, y, treated.size, missing=True)
    if scale == "ratio":
        values = as_logarithms(endpoint, values)
    known = int((~np.isnan(values)).sum())
    matrix = adjustment_matrix(covariates, treated.size)
    of = " of logarithms" if scale == "ratio" else ""
    if matrix.shape[1] == 0:
        estimate, error, degrees = _welch(endpoint, values, treated)
        name = f"difference in means{of}, Welch"
    else:
        design = np.column_stack([np.ones(treated.size), treated, matrix])
        coefficients, covariance, degrees = least_squares(endpoint, values, design)
        estimate, error = float(coefficients[1]), float(np.sqrt(covariance[1, 1]))
        name = f"ANCOVA{of}, HC3"
    return wald(endpoint, name, scale, estimate, error, known, degrees=degrees, level=level)


def least_squares(endpoint: str, y: Floats, design: Floats) -> tuple[Floats, Floats, float]:
    """Return coefficients, their HC3 covariance and the residual degrees of freedom; unknown outcomes do not count.

    Parameters
    ----------
    endpoint : str
    y : ndarray of shape (n,)
    design : ndarray of shape (n, p)
        The second column is the arm.

    Raises
    ------
    InputError
        If the outcome does not vary, an arm has fewer than two outcomes, or p is too large.
    """
    import statsmodels.api as sm

    _require_comparable(endpoint, y, design[:, 1] == 1)
    known = ~np.isnan(y)
    degrees = int(known.sum()) - design.shape[1]
    if degrees < 1 or np.linalg.matrix_rank(design[known]) < design.shape[1]:
        raise InputError(
            f"covariates: {design.shape[1]} coefficients cannot be estimated from {int(known.sum())} patients with a "
            "known outcome. Adjust for fewer."
        )
    fit = sm.OLS(y[known], design[known]).fit(cov_type="HC3")
    return np.asarray(fit.params, dtype=float), np.asarray(fit.cov_params(), dtype=float), float(degrees)


def _welch(endpoint: str, y: Floats, treated: Bools) -> tuple[float, float, float]:
    """Return the difference in means, its standard error and Welch's degrees of freedom."""
    _require_comparable(endpoint, y, treated)
    known = ~np.isnan(y)
    arms = y[known & treated], y[known & ~treated]
    parts = np.array([arm.var(ddof=1) / arm.size for arm in arms])
    if all(np.ptp(arm) == 0 for arm in arms):
        raise InputError(
            f"endpoint {endpoint!r}: within each arm all patients have the same outcome, so the difference has no "
            "standard error. Report the arms' values alone."
        )
    degrees = parts.sum() ** 2 / sum(part**2 / (arm.size - 1) for part, arm in zip(parts, arms, strict=True))
    return float(arms[0].mean() - arms[1].mean()), float(np.sqrt(parts.sum())), float(degrees)


def _require_comparable(endpoint: str, y: Floats, treated: Bools) -> None:
    known = ~np.isnan(y)
    if any((known & arm).sum() < 2 for arm in (treated, ~treated)):
        raise InputError(
            f"endpoint {endpoint!r}: expected at least two known outcomes in each arm; fewer came. "
            "Report the arms' values alone."
        )
    if np.ptp(y[known]) == 0:
        raise InputError(
            f"endpoint {endpoint!r}: all patients have the same outcome, so there is nothing to compare. "
            "Check the endpoint's definition."
        )
