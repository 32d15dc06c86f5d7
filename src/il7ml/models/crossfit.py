"""Cross-fitting: every in-sample number comes from models that have not seen the patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.config import EffectLearnerName, RiskModelName
from il7ml.models.catalog import Setting, make_effect_learner, make_risk_model
from il7ml.models.folds import outcome_strata, stratified_folds
from il7ml.parallel import Progress, run_resumable, run_tasks, spawn
from il7ml.state import State

Floats = NDArray[np.float64]


class Sample(NamedTuple):
    """A trial as arrays, ready for learning.

    Attributes
    ----------
    X : DataFrame of shape (n, k)
        Baseline variables.
    y, weight, propensity : ndarray of shape (n,)
        Outcome, censoring weight (0: unknown), probability of treatment.
    treatment : ndarray of shape (n,)
        1 for treated.
    exposure : ndarray of shape (n,) or None
        Time at risk, for counts.
    """

    X: pd.DataFrame
    y: Floats
    treatment: NDArray[np.int8]
    propensity: Floats
    weight: Floats
    exposure: Floats | None = None

    def rows(self, rows: NDArray[np.intp]) -> Sample:
        """Return the given patients, in that order; one may come more than once."""
        return Sample(
            self.X.iloc[rows].reset_index(drop=True),
            self.y[rows],
            self.treatment[rows],
            self.propensity[rows],
            self.weight[rows],
            None if self.exposure is None else self.exposure[rows],
        )


class OutOfFold(NamedTuple):
    """Predictions for patients by models trained without them.

    Attributes
    ----------
    untreated, treated : dict of str to ndarray of shape (repeats, n)
        Each risk model's mean outcome without and with treatment.
    effects : dict of str to ndarray of shape (effect repeats, n)
        Each learner's individual effect (treated minus untreated) as a deviation from that model's average effect.
    """

    untreated: dict[str, Floats]
    treated: dict[str, Floats]
    effects: dict[str, Floats]

    def factual(self, model: str, treatment: NDArray[np.int8]) -> Floats:
        """Return predictions under the arm each patient was in, shape (repeats, n)."""
        return np.where(treatment == 1, self.treated[model], self.untreated[model])


def cross_validate(
    sample: Sample,
    setting: Setting,
    *,
    models: Sequence[RiskModelName],
    learners: Sequence[EffectLearnerName] = (),
    folds: int = 5,
    repeats: int = 10,
    effect_repeats: int = 0,
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
    state: State | None = None,
) -> OutOfFold:
    """Cross-validate whole pipelines, features included, in repeated folds stratified by arm and outcome.

    Parameters
    ----------
    sample : Sample
    setting : Setting
    models, learners : sequence of str
        Names of the catalog.
    folds, repeats, effect_repeats : int
        Effect learners take part in the first `effect_repeats` repetitions, in all if there are fewer.
    seed, workers, progress, state
        See `parallel.run_resumable`; results do not depend on `workers`.

    Returns
    -------
    OutOfFold
    """
    n = sample.y.size
    effect_repeats = min(effect_repeats, repeats)
    strata = outcome_strata(sample.y, sample.treatment, setting.outcome)
    seeds = spawn(seed, repeats)
    assignment = [stratified_folds(strata, folds, np.random.default_rng(s)) for s in seeds]
    tasks = [
        (
            sample,
            setting,
            tuple(models),
            tuple(learners) if repeat < effect_repeats else (),
            fold,
            held,
            seed + repeat,
        )
        for repeat, fold in enumerate(assignment)
        for held in range(folds)
    ]
    parts = run_resumable(_fit_fold, tasks, state, workers=workers, progress=progress)
    result = OutOfFold(
        {name: np.empty((repeats, n)) for name in models},
        {name: np.empty((repeats, n)) for name in models},
        {name: np.empty((effect_repeats, n)) for name in learners},
    )
    for number, part in enumerate(parts):
        repeat, held = divmod(number, folds)
        rows = assignment[repeat] == held
        for key, values in part.items():
            kind, _, name = key.partition(".")
            getattr(result, kind)[name][repeat, rows] = values
    return result


def leave_one_site_out(
    sample: Sample,
    setting: Setting,
    site: NDArray[np.object_],
    *,
    model: RiskModelName,
    workers: int = 1,
    progress: Progress | None = None,
) -> Floats:
    """Return each patient's prediction, under the arm the patient was in, by a model of all other sites, shape (n,).

    Parameters
    ----------
    sample : Sample
    setting : Setting
    site : ndarray of shape (n,)
    model : str
        Name of the catalog.
    workers, progress
        See `parallel.run_tasks`.

    References
    ----------
    Steyerberg and Harrell, J Clin Epidemiol 2016;69:245, doi 10.1016/j.jclinepi.2015.04.005 (internal-external).
    """
    codes, names = pd.factorize(site)
    tasks = [(sample, setting, (model,), (), codes, held, 0) for held in range(len(names))]
    predicted = np.empty(sample.y.size)
    for held, part in enumerate(run_tasks(_fit_fold, tasks, workers=workers, progress=progress)):
        rows = codes == held
        predicted[rows] = np.where(sample.treatment[rows] == 1, part[f"treated.{model}"], part[f"untreated.{model}"])
    return predicted


def _fit_fold(
    sample: Sample,
    setting: Setting,
    models: Sequence[RiskModelName],
    learners: Sequence[EffectLearnerName],
    folds: NDArray[np.intp],
    held: int,
    seed: int,
) -> dict[str, Floats]:
    """Train everything on the other folds and predict the held-out one: arrays by field of `OutOfFold` and name."""
    train, test = sample.rows(np.flatnonzero(folds != held)), sample.X[folds == held]
    found = {}
    for name in models:
        model = make_risk_model(name, setting).fit(
            train.X, train.y, train.treatment, sample_weight=train.weight, exposure=train.exposure
        )
        found[f"untreated.{name}"], found[f"treated.{name}"] = model.predict(test, 0), model.predict(test, 1)
    for learner_name in learners:
        learner = make_effect_learner(learner_name, setting, bootstrap=0, seed=seed)
        learner.fit(
            train.X,
            train.y,
            train.treatment,
            propensity=train.propensity,
            sample_weight=train.weight,
            exposure=train.exposure,
        )
        # Only deviations from the model's own average can be pooled over folds: the average of the other folds is
        # negatively correlated with the scores of the one held out.
        found[f"effects.{learner_name}"] = learner.predict(test) - learner.predict(train.X).mean()
    return found


def bootstrap_rows(treatment: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw patients with replacement within each arm."""
    return np.concatenate([rng.choice(rows, rows.size) for rows in _arms(treatment)])


def _arms(treatment: NDArray[np.int8]) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(treatment == arm) for arm in (0, 1)]
