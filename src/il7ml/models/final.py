"""The models that a bundle holds: fitted to all patients, with bootstrap refits behind every interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from il7ml.config import RiskModelName
from il7ml.evaluation.effects import DoublyRobustScores
from il7ml.family import FAMILIES
from il7ml.features.columns import to_columns
from il7ml.models.catalog import RiskModel, Setting, make_effect_model, make_risk_model
from il7ml.models.crossfit import bootstrap_rows
from il7ml.models.effect_model import EffectModel
from il7ml.models.fitted import Fitted
from il7ml.models.relative_effect import constant_shift
from il7ml.models.sample import Sample
from il7ml.parallel import Progress, run_tasks, spawn

Floats = NDArray[np.float64]

# Patients of all refits of the effect model together: each goes through all shapes once more.
_REFIT_PATIENTS = 250_000
_FEWEST_REFITS = 10


class FinalRisk(NamedTuple):
    """The chosen risk model and the relative effect that gives the average effect on it.

    Attributes
    ----------
    fitted : Fitted
    theta : float
        Shift of the linear predictor under treatment (see `constant_shift`).
    refits : tuple of Fitted
        One a bootstrap sample.
    refit_theta : ndarray of shape (refits,)
        Each refit's own, with the average effect of the same bootstrap sample, so that both are drawn jointly.
    """

    fitted: Fitted
    theta: float
    refits: tuple[Fitted, ...]
    refit_theta: Floats


def fit_final_risk(
    name: RiskModelName,
    sample: Sample,
    setting: Setting,
    scores: DoublyRobustScores,
    *,
    refits: int,
    seed: int | np.random.SeedSequence,
    workers: int = 1,
    progress: Progress | None = None,
) -> FinalRisk:
    """Fit the chosen risk model to all patients and to bootstrap samples drawn within arms.

    Parameters
    ----------
    name : str
        The chosen model.
    sample : Sample
    setting : Setting
    scores : DoublyRobustScores
        Out-of-fold scores of the same patients; their mean over a bootstrap sample, stretched to the scores' standard
        error, is its average effect.
    refits : int
        Number of bootstrap samples.
    seed, workers, progress
        As in `run_tasks`; results do not depend on `workers`.
    """
    model = fit_whole(name, sample, setting)
    columns = to_columns(sample.X, setting.variables)
    half_event = smallest_average(sample.y, sample.exposure)
    linear = model.fitted_.linear_predictor(columns, sample.y.size)
    theta = relative_effect(setting, linear, float(scores.effect.mean()), half_event)
    draws = [bootstrap_rows(sample.treatment, np.random.default_rng(s)) for s in spawn(seed, refits)]
    averages = _bootstrap_averages(scores.effect, draws)
    tasks = [(model, sample, setting, average, rows, half_event) for rows, average in zip(draws, averages, strict=True)]
    results = run_tasks(_refit, tasks, workers=workers, progress=progress)
    return FinalRisk(model.fitted_, theta, tuple(fitted for fitted, _ in results), np.array([t for _, t in results]))


def fit_final_effect(sample: Sample, setting: Setting, seed: int, bootstrap: int = 0) -> EffectModel:
    """Fit the effect model to all patients, and to bootstrap samples of their scores for its explanations.

    There are fewer refits where patients are many, and none beyond 25,000.
    """
    affordable = min(bootstrap, _REFIT_PATIENTS // sample.y.size)
    return make_effect_model(
        setting, seed=seed, bootstrap=affordable if affordable >= min(bootstrap, _FEWEST_REFITS) else 0
    ).fit(
        sample.X,
        sample.y,
        sample.treatment,
        propensity=sample.propensity,
        sample_weight=sample.weight,
        exposure=sample.exposure,
    )


def fit_whole(name: RiskModelName, sample: Sample, setting: Setting) -> RiskModel:
    """Fit a risk model to all patients of a sample."""
    model: RiskModel = make_risk_model(name, setting).fit(
        sample.X, sample.y, sample.treatment, sample_weight=sample.weight, exposure=sample.exposure
    )
    return model


def _refit(
    model: RiskModel,
    sample: Sample,
    setting: Setting,
    average: float,
    rows: NDArray[np.intp],
    half_event: float,
) -> tuple[Fitted, float]:
    """Fit to one bootstrap sample, on the whole sample's design where the model has one."""
    drawn = sample.rows(rows)
    columns = to_columns(drawn.X, setting.variables)
    fitted = model.refit(drawn.X, drawn.y, drawn.treatment, sample_weight=drawn.weight, exposure=drawn.exposure)
    return fitted, relative_effect(setting, fitted.linear_predictor(columns, rows.size), average, half_event)


def _bootstrap_averages(effect: Floats, draws: Sequence[NDArray[np.intp]]) -> list[float]:
    """Return each draw's average effect, moved and stretched to the mean and standard error that are known.

    Fifty draws alone would give the standard error with a Monte-Carlo error of 10 %.
    """
    averages = np.array([effect[rows].mean() for rows in draws])
    centred = averages - averages.mean()
    spread = centred.std(ddof=1)
    standard_error = effect.std(ddof=1) / np.sqrt(effect.size)
    stretched = effect.mean() + centred * (standard_error / spread if spread > 0 else 1.0)
    return [float(average) for average in stretched]


def smallest_average(y: Floats, exposure: Floats | None) -> float:
    """Return half an event among all patients: the least mean under treatment that is believed."""
    return 0.5 / (y.size if exposure is None else float(exposure.sum()))


def relative_effect(setting: Setting, linear: Floats, average: float, half_event: float) -> float:
    """Return the relative effect that gives the average effect, as far as the outcome's range allows.

    An average can ask for less than no risk under treatment, in a bootstrap sample above all; half an event among all
    patients is then the least (the usual continuity correction), so that one draw cannot stretch an interval at will.
    """
    family = FAMILIES[setting.outcome]
    if setting.outcome != "continuous":
        untreated = float(family.mean(linear).mean())
        most = 1 - half_event if setting.outcome == "binary" else np.inf
        average = float(np.clip(untreated + average, half_event, most)) - untreated
    return constant_shift(family, linear, average)
