"""Repeated measurements: the mixed model for repeated measures (MMRM) on the log scale."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from il7ml.endpoints.arrays import ARMS, as_logarithms, as_treated, as_values
from il7ml.endpoints.covariates import adjustment_matrix
from il7ml.endpoints.result import EndpointResult, wald
from il7ml.endpoints.unstructured import fit_unstructured
from il7ml.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_UNSTRUCTURED = "MMRM, unstructured covariance, REML, Kenward-Roger"
_RANDOM_SLOPE = "random intercept and slope, REML (MMRM did not converge)"


class RepeatedMeasures(NamedTuple):
    """What a model for repeated measures says.

    Attributes
    ----------
    effects : list of EndpointResult
        Ratio of geometric means at each visit (``endpoint_day7``), then averaged over visits (``endpoint_average``).
    means : DataFrame
        Columns arm, day, mean, low, high, n: adjusted geometric means at average covariates with their pointwise
        interval, and the patients measured.
    """

    effects: list[EndpointResult]
    means: pd.DataFrame


class _Fit(NamedTuple):
    """Coefficients with covariance, and degrees of freedom by contrast."""

    method: str
    coefficients: Floats
    covariance: Floats
    degrees: Any


def repeated_measures(
    values: ArrayLike,
    schedule: Sequence[float],
    baseline: ArrayLike,
    treatment: ArrayLike,
    *,
    endpoint: str,
    covariates: pd.DataFrame | None = None,
    level: float = 0.95,
) -> RepeatedMeasures:
    """Compare the arms' geometric means at each visit by a mixed model for repeated measures.

    Logarithms are modelled by visit (as categories), treatment by visit, log baseline by visit and further covariates,
    with an unstructured covariance of a patient's values, by REML. Missing visits may depend on what was observed
    (missing at random); after a death that means the values the patient would have had. Standard errors and degrees of
    freedom are Kenward and Roger's. Where this fit does not converge, or a pair of visits has too few patients, random
    intercepts and slopes by day (statsmodels) take the place of the unstructured covariance, with normal intervals, and
    the method says so.

    Parameters
    ----------
    values : array-like of shape (n, v)
        Positive measurements at v visits; NaN where missing. See `visits.visit_matrix`.
    schedule : sequence of float of length v
        Days of the visits, increasing.
    baseline : array-like of shape (n,)
        Positive measurement before treatment; a missing one is replaced by the geometric mean.
    treatment : array-like of shape (n,)
        1 treated, 0 control.
    endpoint : str
    covariates : DataFrame of shape (n, k), optional
    level : float

    Returns
    -------
    RepeatedMeasures
        Patients without any value after baseline do not count in `n`.

    Raises
    ------
    InputError
        If visits are out of order, values are not positive or do not vary, a visit has no patients in an arm, or
        neither model converges.

    References
    ----------
    Mallinckrodt et al., Drug Inf J 2008;42:303, doi 10.1177/009286150804200402. Kenward and Roger, Biometrics
    1997;53:983, doi 10.2307/2533558.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> baseline, treatment = rng.lognormal(-0.5, 0.4, 60), np.arange(60) % 2
    >>> growth = 0.3 + 0.4 * treatment[:, None] * [0.25, 1.0] + rng.normal(0, 0.1, (60, 2))
    >>> fit = repeated_measures(baseline[:, None] * np.exp(growth), [7, 14], baseline, treatment, endpoint="count")
    >>> [(effect.endpoint, round(effect.estimate, 1)) for effect in fit.effects]
    [('count_day7', 1.1), ('count_day14', 1.5), ('count_average', 1.3)]
    """
    treated = as_treated(treatment)
    days, logs = _as_logs(values, schedule, treated.size)
    start = _as_log_baseline(baseline, treated.size)
    matrix = adjustment_matrix(covariates, treated.size)
    used = ~np.isnan(logs).all(axis=1)
    logs, treated = logs[used], treated[used]
    adjusted = np.column_stack([start, matrix])[used]
    design = _design(treated, adjusted - adjusted.mean(axis=0), days.size)
    fit = _fit(logs, design, days)
    effects = _effects(fit, days, endpoint, logs.shape[0], level)
    return RepeatedMeasures(effects, _means(fit, days, logs, treated, level))


def _as_logs(values: ArrayLike, schedule: Sequence[float], n: int) -> tuple[Floats, Floats]:
    days = np.asarray(schedule, dtype=float)
    if days.size == 0 or (np.diff(days) <= 0).any():
        raise InputError("schedule: visits are out of order. Give their days increasing.")
    matrix = np.asarray(values, dtype=float)
    if matrix.shape != (n, days.size):
        raise InputError(
            f"values: expected {n} patients x {days.size} visits; an array of shape {matrix.shape} came. "
            "visit_matrix makes one from measurements in long form."
        )
    return days, as_logarithms("values", matrix)


def _as_log_baseline(baseline: ArrayLike, n: int) -> Floats:
    logs = as_logarithms("baseline", as_values("baseline", baseline, n, missing=True))
    missing = np.isnan(logs)
    if missing.all():
        raise InputError("baseline: expected measurements before treatment; none came. Complete them.")
    return np.where(missing, logs[~missing].mean(), logs)


def _design(treated: Bools, adjusted: Floats, visits: int) -> Floats:
    """Return visits, treatment by visit, log baseline by visit, further covariates: shape (n, v, 3 v + k)."""
    n = treated.size
    by_visit = np.broadcast_to(np.eye(visits), (n, visits, visits))
    arm, baseline = treated[:, None, None], adjusted[:, 0][:, None, None]
    further = np.broadcast_to(adjusted[:, None, 1:], (n, visits, adjusted.shape[1] - 1))
    return np.concatenate([by_visit, by_visit * arm, by_visit * baseline, further], axis=2)


def _fit(logs: Floats, design: Floats, days: Floats) -> _Fit:
    fit = fit_unstructured(logs, design)
    if fit is None:
        return _fit_random_slope(logs, design, days)
    return _Fit(_UNSTRUCTURED, fit.coefficients, fit.covariance, fit.degrees_of_freedom)


def _fit_random_slope(logs: Floats, design: Floats, days: Floats) -> _Fit:
    from statsmodels.regression.mixed_linear_model import MixedLM

    patient, visit = np.nonzero(~np.isnan(logs))
    time = days[visit] / days[-1]
    random = np.column_stack([np.ones(time.size), time])
    model = MixedLM(logs[patient, visit], design[patient, visit], groups=patient, exog_re=random)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether it converged is asked below
        try:
            fit = model.fit(reml=True)
        except np.linalg.LinAlgError:
            fit = None
    if fit is None or not fit.converged:
        raise InputError("the model for repeated measures did not converge. Give it fewer visits or covariates.")
    p = design.shape[2]
    covariance = np.asarray(fit.cov_params(), dtype=float)[:p, :p]
    return _Fit(_RANDOM_SLOPE, np.asarray(fit.fe_params, dtype=float), covariance, lambda contrast: np.inf)


def _effects(fit: _Fit, days: Floats, endpoint: str, n: int, level: float) -> list[EndpointResult]:
    visits = days.size
    names = [*(f"{endpoint}_day{day:g}" for day in days), f"{endpoint}_average"]
    contrasts = np.zeros((visits + 1, fit.coefficients.size))
    contrasts[:visits, visits : 2 * visits] = np.eye(visits)
    contrasts[visits, visits : 2 * visits] = 1 / visits
    return [
        wald(
            name,
            fit.method,
            "ratio",
            float(contrast @ fit.coefficients),
            float(np.sqrt(contrast @ fit.covariance @ contrast)),
            n,
            degrees=fit.degrees(contrast),
            level=level,
        )
        for name, contrast in zip(names, contrasts, strict=True)
    ]


def _means(fit: _Fit, days: Floats, logs: Floats, treated: Bools, level: float) -> pd.DataFrame:
    rows = []
    for name, arm in zip(ARMS, (0, 1), strict=True):
        for visit, day in enumerate(days):
            contrast = np.zeros(fit.coefficients.size)
            contrast[[visit, days.size + visit]] = 1, arm
            mean = contrast @ fit.coefficients
            quantile = stdtrit(fit.degrees(contrast), 0.5 + level / 2)
            half = quantile * np.sqrt(contrast @ fit.covariance @ contrast)
            measured = int((~np.isnan(logs[treated == arm, visit])).sum())
            rows.append((name, day, *np.exp([mean, mean - half, mean + half]), measured))
    return pd.DataFrame(rows, columns=["arm", "day", "mean", "low", "high", "n"])
