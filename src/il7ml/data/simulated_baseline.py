"""Baseline of simulated patients: eligible, correlated, rounded as laboratories report."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from il7ml.data.scenario import MEASURED, Marginal, Range, Trial
from il7ml.schema import load_dictionary

Floats = NDArray[np.float64]

#: Variables of the baseline that are counted or scored in whole numbers.
COUNTED = ("age", "sofa_score", "apache_ii_score", "planned_doses", "days_from_admission")


class Baseline(NamedTuple):
    """Complete baseline values of n simulated patients.

    Attributes
    ----------
    values : dict of str to ndarray of shape (n,)
        By canonical name and in canonical units; yes/no as 0 and 1.
    cohort, support : ndarray of shape (n,)
        Positions in the parameter file's cohorts and in the dictionary's levels of respiratory support.
    treated : ndarray of shape (n,)
        Whether allocated to IL-7.
    """

    values: dict[str, Floats]
    cohort: NDArray[np.intp]
    support: NDArray[np.intp]
    treated: NDArray[np.bool_]


def draw_baseline(n: int, trial: Trial, rng: np.random.Generator) -> Baseline:
    """Draw cohorts, arms and baseline values.

    Parameters
    ----------
    n : int
    trial : Trial
    rng : Generator

    Returns
    -------
    Baseline
    """
    cohort = _cohorts(n, trial, rng)
    treated = _randomise(cohort, round(trial.allocation.block_size.value), rng)
    scores = rng.standard_normal((n, len(MEASURED))) @ np.linalg.cholesky(trial.correlations.matrix()).T
    score = dict(zip(MEASURED, scores.T, strict=True))
    limits = {name: getattr(trial.eligibility, name) for name in ("age", "absolute_lymphocyte_count")}
    values = {name: _measured(score[name], trial.baseline[name], limits.get(name)) for name in MEASURED}
    _fit_t_cells(values, trial)
    values["days_from_admission"] = np.maximum(values["days_from_admission"], 1.0)
    for name, spec in trial.characteristics.items():
        latent = spec.age * score["age"] + np.sqrt(1 - spec.age**2) * rng.standard_normal(n)
        values[name] = (latent < ndtri(spec.probability)).astype(float)
    national = list(trial.allocation.cohorts.values)
    immunosuppressed = np.array([trial.immunosuppression.values[name] for name in national])[cohort]
    values["immunosuppression"] = (rng.random(n) < immunosuppressed).astype(float)
    values["active_cancer"] = (cohort == national.index("us_oncology")).astype(float)
    values["planned_doses"] = np.array([trial.allocation.planned_doses.values[name] for name in national])[cohort]
    return Baseline(values, cohort, _support(cohort, scores, trial, rng), treated)


def _cohorts(n: int, trial: Trial, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return each patient's cohort: the published sizes where n is the trial's own, else drawn in their proportion."""
    sizes = np.array(list(trial.allocation.cohorts.values.values()))
    if n == round(sizes.sum()):
        return rng.permutation(np.repeat(np.arange(sizes.size), sizes.astype(int)))
    return rng.choice(sizes.size, size=n, p=sizes / sizes.sum())


def _randomise(cohort: NDArray[np.intp], block: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Allocate 1:1 in permuted blocks within each cohort, in the order of the patients."""
    treated = np.zeros(cohort.size, dtype=bool)
    for number in range(cohort.max() + 1):
        members = np.flatnonzero(cohort == number)
        blocks = rng.permuted(np.tile(np.arange(block) < block // 2, (-(-members.size // block), 1)), axis=1)
        treated[members] = blocks.ravel()[: members.size]
    return treated


def _measured(score: Floats, marginal: Marginal, limits: Range | None) -> Floats:
    """Turn normal scores into values: the quantiles of the marginal distribution, cut at the limits, and rounded."""
    centre = np.log(marginal.median + marginal.shift) if marginal.scale == "log" else marginal.median
    if limits is not None:
        low, high = (
            ndtr(((np.log(bound) if marginal.scale == "log" else bound) - centre) / marginal.sigma)
            for bound in (limits.low, limits.high)
        )
        score = ndtri(low + ndtr(score) * (high - low))
    value = centre + marginal.sigma * score
    if marginal.scale == "log":
        value = np.exp(value) - marginal.shift
    # The smallest value that is reported is one unit of the last digit, since laboratory values are above 0.
    smallest = 0.0 if marginal.shift else 10.0 ** -float(marginal.digits)
    return np.asarray(np.round(np.clip(value, max(smallest, marginal.low), marginal.high), marginal.digits))


def _fit_t_cells(values: dict[str, Floats], trial: Trial) -> None:
    """Shrink CD4 and CD8 where together they would exceed the lymphocytes."""
    total = values["cd4_count"] + values["cd8_count"]
    factor = np.minimum(1.0, trial.lymphocytes.largest_t_cell_share.value * values["absolute_lymphocyte_count"] / total)
    for name in ("cd4_count", "cd8_count"):
        digits = trial.baseline[name].digits
        values[name] = np.round(np.maximum(values[name] * factor, 10.0 ** -float(digits)), digits)


def _support(cohort: NDArray[np.intp], scores: Floats, trial: Trial, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw respiratory support: the sicker, the more, with each cohort's shares."""
    weights = np.array([trial.respiratory_severity.values.get(name, 0.0) for name in MEASURED])
    explained = weights @ trial.correlations.matrix() @ weights
    severity = scores @ weights
    need = ndtr(severity + np.sqrt(max(1 - explained, 0.0)) * rng.standard_normal(cohort.size))
    levels = load_dictionary()["respiratory_support"].levels
    by_cohort = trial.respiratory_support.values
    shares = np.array([[by_cohort[name][level] for level in levels] for name in trial.allocation.cohorts.values])
    steps = np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1)[:, :-1]
    return np.asarray((need[:, None] > steps[cohort]).sum(axis=1))
