"""Cross-fitting: every in-sample number comes from models that have not seen the patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.config import EffectLearnerName, RiskModelName
from il7ml.models.catalog import Setting, make_effect_learner, make_risk_model
from il7ml.models.choice import choose_among
from il7ml.models.folds import outcome_strata, stratified_folds
from il7ml.models.sample import Sample
from il7ml.parallel import Progress, run_resumable, run_tasks, spawn
from il7ml.state import State

Floats = NDArray[np.float64]


class OutOfFold(NamedTuple):
    """Predictions for patients by models trained without them.

    Attributes
    ----------
    untreated, treated : dict of str to ndarray of shape (repeats, n)
        Each risk model's mean outcome without and with treatment.
    effects : dict of str to ndarray of shape (effect repeats, n)
        Each learner's individual effect (treated minus untreated) as a deviation from that model's average effect.
    choice : ndarray of shape (repeats, n)
        The model chosen by the patients outside the patient's fold: its place in `untreated`. Where no choice was
        asked for, their number.
    """

    untreated: dict[str, Floats]
    treated: dict[str, Floats]
    effects: dict[str, Floats]
    choice: NDArray[np.intp]

    def factual(self, model: str, treatment: NDArray[np.int8]) -> Floats:
        """Return predictions under the arm each patient was in, shape (repeats, n)."""
        return np.where(treatment == 1, self.treated[model], self.untreated[model])

    def chosen(self, treatment: NDArray[np.int8] | int) -> Floats:
        """Return predictions under the given arm by the model chosen without the patient, shape (repeats, n)."""
        models = np.where(np.asarray(treatment) == 1, list(self.treated.values()), list(self.untreated.values()))
        return np.asarray(np.take_along_axis(models, self.choice[None], axis=0)[0])

    def choices(self) -> dict[str, float]:
        """Return for which share of the predictions each model was chosen."""
        return {name: float((self.choice == place).mean()) for place, name in enumerate(self.untreated)}


def cross_validate(
    sample: Sample,
    setting: Setting,
    *,
    models: Sequence[RiskModelName],
    learners: Sequence[EffectLearnerName] = (),
    folds: int = 5,
    repeats: int = 10,
    effect_repeats: int = 0,
    choose: bool = False,
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
    choose : bool, default False
        Whether each fold's training patients also choose among the models, see `choose_among`.
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
    inner = [spawn(s, folds) if choose else [None] * folds for s in seeds]
    tasks = [
        (
            sample,
            setting,
            tuple(models),
            tuple(learners) if repeat < effect_repeats else (),
            fold,
            held,
            seed + repeat,
            inner[repeat][held],
        )
        for repeat, fold in enumerate(assignment)
        for held in range(folds)
    ]
    parts = run_resumable(_fit_fold, tasks, state, workers=workers, progress=progress)
    result = OutOfFold(
        {name: np.empty((repeats, n)) for name in models},
        {name: np.empty((repeats, n)) for name in models},
        {name: np.empty((effect_repeats, n)) for name in learners},
        np.empty((repeats, n), dtype=np.intp),
    )
    for number, part in enumerate(parts):
        repeat, held = divmod(number, folds)
        rows = assignment[repeat] == held
        result.choice[repeat, rows] = int(part.pop("choice"))
        for key, values in part.items():
            kind, _, name = key.partition(".")
            getattr(result, kind)[name][repeat, rows] = values
    return result


class LeftOut(NamedTuple):
    """Predictions for the patients of sites by models of all other sites.

    Attributes
    ----------
    predicted : ndarray of shape (n,)
        Under the arm that each patient was in.
    choices : dict of str to float
        For which share of the sites each model was chosen.
    """

    predicted: Floats
    choices: dict[str, float]


def leave_one_site_out(
    sample: Sample,
    setting: Setting,
    site: NDArray[np.object_],
    *,
    models: Sequence[RiskModelName],
    seed: int | np.random.SeedSequence = 0,
    workers: int = 1,
    progress: Progress | None = None,
) -> LeftOut:
    """Predict each site by the model that all other sites choose, fitted to these.

    Parameters
    ----------
    sample : Sample
    setting : Setting
    site : ndarray of shape (n,)
    models : sequence of str
        Candidates, names of the catalog; see `choose_among`.
    seed, workers, progress
        See `parallel.run_tasks`.

    References
    ----------
    Steyerberg and Harrell, J Clin Epidemiol 2016;69:245, doi 10.1016/j.jclinepi.2015.04.005 (internal-external).
    """
    codes, names = pd.factorize(site)
    seeds = spawn(seed, len(names))
    tasks = [(sample, setting, tuple(models), codes, held, each) for held, each in enumerate(seeds)]
    predicted, chosen = np.empty(sample.y.size), []
    for held, (name, values) in enumerate(run_tasks(_fit_others, tasks, workers=workers, progress=progress)):
        predicted[codes == held] = values
        chosen.append(name)
    return LeftOut(predicted, {name: chosen.count(name) / len(chosen) for name in models})


def _fit_others(
    sample: Sample,
    setting: Setting,
    models: Sequence[RiskModelName],
    site: NDArray[np.intp],
    held: int,
    seed: np.random.SeedSequence,
) -> tuple[RiskModelName, Floats]:
    """Return the model that the other sites choose and its predictions for the site left out."""
    train, test = sample.rows(np.flatnonzero(site != held)), sample.rows(np.flatnonzero(site == held))
    name = choose_among(models, train, setting, np.random.default_rng(seed))
    model = make_risk_model(name, setting).fit(
        train.X, train.y, train.treatment, sample_weight=train.weight, exposure=train.exposure
    )
    return name, model.predict(test.X, test.treatment)


def _fit_fold(
    sample: Sample,
    setting: Setting,
    models: Sequence[RiskModelName],
    learners: Sequence[EffectLearnerName],
    folds: NDArray[np.intp],
    held: int,
    seed: int,
    inner: np.random.SeedSequence | None,
) -> dict[str, Floats]:
    """Train everything on the other folds and predict the held-out one: arrays by field of `OutOfFold` and name."""
    train, test = sample.rows(np.flatnonzero(folds != held)), sample.X[folds == held]
    found = {"choice": choice_of(models, train, setting, inner)}
    for name in models:
        model = make_risk_model(name, setting).fit(
            train.X, train.y, train.treatment, sample_weight=train.weight, exposure=train.exposure
        )
        found[f"untreated.{name}"], found[f"treated.{name}"] = model.predict_arms(test)
    for learner_name in learners:
        learner = make_effect_learner(learner_name, setting, seed=seed)
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


def choice_of(
    models: Sequence[RiskModelName], train: Sample, setting: Setting, seed: np.random.SeedSequence | None
) -> Floats:
    """Return the place of the model that these patients choose, as tasks keep it; their number without a seed."""
    if seed is None:
        return np.array(float(len(models)))
    return np.array(float(models.index(choose_among(models, train, setting, np.random.default_rng(seed)))))


def bootstrap_rows(treatment: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw patients with replacement within each arm."""
    return np.concatenate([rng.choice(rows, rows.size) for rows in _arms(treatment)])


def _arms(treatment: NDArray[np.int8]) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(treatment == arm) for arm in (0, 1)]
