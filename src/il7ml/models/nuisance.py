"""Cross-fitted means of both arms: penalised regression, mixed with boosted trees as far as these help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.family import Kind, family_of
from il7ml.models.effect_learner import Trial
from il7ml.models.folds import outcome_strata, stratified_folds
from il7ml.models.glm import PENALTIES, fit_glm
from il7ml.models.risk import BoostedRiskModel
from il7ml.schema import Variable

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

# Below this many patients trees only add noise to the means.
_TREES_FROM = 300
# Beyond this many two halves and one penalty do what five folds and eight do.
_LARGE = 100_000
_TREE_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def repeats_for(n: int) -> int:
    """Return how often to repeat the cross-fitting: folds are one more source of noise, and few patients feel it."""
    return 8 if n < 300 else 3 if n < 5000 else 1


def cross_fitted_means(
    frame: pd.DataFrame,
    matrix: Floats,
    trial: Trial,
    outcome: Kind,
    variables: Mapping[str, Variable],
    sites: Indices | None,
    folds: int,
    rng: np.random.Generator,
    repeats: int | None = None,
    device: str = "cpu",
) -> Iterator[tuple[Floats, Floats]]:
    """Yield out-of-fold means without and with treatment, each of shape (n,), once a repeat.

    Parameters
    ----------
    frame : DataFrame of shape (n, k)
    matrix : ndarray of shape (n, p)
        The same variables as a standardised design.
    trial : Trial
    outcome : {'binary', 'count', 'continuous'}
    variables : mapping of str to Variable
    sites : ndarray of shape (n,) or None
        Patients of one site stay in one fold.
    folds : int
    rng : Generator
    repeats : int, optional
        By default `repeats_for` the number of patients.
    device : str, default 'cpu'
        XGBoost's device.

    References
    ----------
    Chernozhukov et al., Econometrics Journal 2018;21:C1, doi 10.1111/ectj.12097.
    """
    n = trial.y.size
    folds = 2 if n > _LARGE else folds
    trees = n >= _TREES_FROM and bool(variables)
    # Whether a higher outcome is worse is not known here, so the dictionary's directions cannot constrain the trees.
    free = {name: variable.model_copy(update={"direction": 0}) for name, variable in variables.items()}
    for _ in range(repeats_for(n) if repeats is None else repeats):
        fold = _assign(trial, outcome, sites, folds, rng)
        linear, boosted = np.empty((2, n)), np.empty((2, n))
        for held in np.unique(fold):
            train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
            linear[:, test] = _linear_means(matrix, trial, outcome, train, test)
            if trees:
                boosted[:, test] = _boosted_means(frame, trial, outcome, free, train, test, device)
        share = _tree_share(linear, boosted, trial, outcome) if trees else 0.0
        untreated, treated = (1 - share) * linear + share * boosted if trees else linear
        yield untreated, treated


def _assign(trial: Trial, outcome: Kind, sites: Indices | None, folds: int, rng: np.random.Generator) -> Indices:
    if sites is None:
        return stratified_folds(outcome_strata(trial.y, trial.treatment, outcome), folds, rng)
    sizes = np.bincount(sites)
    folds = min(folds, sizes.size)
    assigned, load = np.empty(sizes.size, dtype=np.intp), np.zeros(folds)
    # Large sites first, each to the fold that has the fewest patients so far; ties in random order.
    for site in sorted(rng.permutation(sizes.size), key=lambda s: -sizes[s]):
        assigned[site] = int(load.argmin())
        load[assigned[site]] += sizes[site]
    return np.asarray(assigned[sites])


def _linear_means(matrix: Floats, trial: Trial, outcome: Kind, train: Indices, test: Indices) -> tuple[Floats, Floats]:
    family = family_of(outcome)
    fit = fit_glm(
        family,
        matrix[train],
        trial.y[train],
        free=trial.treatment[train, None].astype(float),
        weight=trial.weight[train],
        exposure=trial.exposure_of(train),
        penalties=None if train.size < _LARGE else PENALTIES[:1],
    )
    linear = fit.intercept + matrix[test] @ fit.coefficients[1:]
    return family.mean(linear), family.mean(linear + fit.coefficients[0])


def _boosted_means(
    frame: pd.DataFrame,
    trial: Trial,
    outcome: Kind,
    variables: Mapping[str, Variable],
    train: Indices,
    test: Indices,
    device: str,
) -> tuple[Floats, Floats]:
    model = BoostedRiskModel(outcome, variables=variables, device=device).fit(
        frame.iloc[train],
        trial.y[train],
        trial.treatment[train],
        sample_weight=trial.weight[train],
        exposure=trial.exposure_of(train),
    )
    held = frame.iloc[test]
    untreated = model.linear_predictor(held)
    return model.family.mean(untreated), model.family.mean(untreated + model.fitted_.arm_effect)


def _tree_share(linear: Floats, boosted: Floats, trial: Trial, outcome: Kind) -> float:
    """Return the share of the trees in the mixture with the smallest out-of-fold loss."""
    family, arm, patients = family_of(outcome), trial.treatment.astype(np.intp), np.arange(trial.y.size)
    own = [means[arm, patients] for means in (linear, boosted)]
    losses = [
        float(trial.weight @ family.loss(trial.y, (1 - share) * own[0] + share * own[1], trial.exposure))
        for share in _TREE_SHARES
    ]
    return _TREE_SHARES[int(np.argmin(losses))]
