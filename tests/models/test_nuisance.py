import numpy as np
import pandas as pd
import pytest

from il7ml.features.columns import infer_variables, to_columns
from il7ml.features.design import LinearDesign
from il7ml.models import nuisance
from il7ml.models.effect_learner import Trial
from il7ml.models.nuisance import cross_fitted_means, repeats_for


def means_of(X, y, arm, outcome="continuous", sites=None, exposure=None, folds=5):
    n = len(X)
    trial = Trial(np.asarray(y, dtype=float), arm.astype(np.int8), np.full(n, 0.5), np.ones(n), exposure)
    variables = infer_variables(X)
    columns = to_columns(X, variables)
    matrix = LinearDesign.learn(columns, variables).matrix(columns, n)
    rng = np.random.default_rng(0)
    return list(cross_fitted_means(X, matrix, trial, outcome, variables, sites, folds, rng))


def linear_trial(n, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 2)), columns=["a", "b"])
    arm = rng.integers(0, 2, n)
    return X, X["a"].to_numpy() + 0.5 * arm + 0.3 * rng.normal(size=n), arm


def test_small_trials_are_cross_fitted_more_often():
    assert [repeats_for(n) for n in (109, 500, 20_000)] == [8, 3, 1]
    X, y, arm = linear_trial(100)
    assert len(means_of(X, y, arm)) == 8


def test_means_of_both_arms_are_recovered():
    X, y, arm = linear_trial(400)
    untreated, treated = np.mean(means_of(X, y, arm), axis=0)
    np.testing.assert_allclose(treated - untreated, 0.5, atol=0.1)
    assert np.sqrt(np.mean((untreated - X["a"]) ** 2)) < 0.1


def test_means_are_out_of_fold():
    """A patient's own outcome, however extreme, does not enter his prediction."""
    X, y, arm = linear_trial(100)
    extreme = y.copy()
    extreme[7] += 50.0
    means, changed = (np.mean(means_of(X, each, arm), axis=0) for each in (y, extreme))
    others = np.abs(changed - means).mean(axis=0)
    assert others[7] < others.mean() / 2


def test_trees_are_mixed_in_where_they_fit_better(monkeypatch):
    rng = np.random.default_rng(0)
    n = 800
    X = pd.DataFrame(rng.normal(size=(n, 2)), columns=["a", "b"])
    arm = rng.integers(0, 2, n)
    truth = 2.0 * (np.abs(X["a"].to_numpy()) > 1)
    y = truth + 0.5 * rng.normal(size=n)
    mixed = np.mean(means_of(X, y, arm), axis=0)[0]
    monkeypatch.setattr(nuisance, "_TREES_FROM", 10_000)
    linear = np.mean(means_of(X, y, arm), axis=0)[0]
    assert np.mean((mixed - truth) ** 2) < np.mean((linear - truth) ** 2) / 3


def test_sites_are_not_split_between_folds():
    rng = np.random.default_rng(0)
    sites = np.repeat(np.arange(4), [50, 30, 10, 10])
    trial = Trial(rng.normal(size=100), np.tile([0, 1], 50).astype(np.int8), np.full(100, 0.5), np.ones(100), None)
    fold = nuisance._assign(trial, "continuous", sites, 5, rng)
    assert all(np.unique(fold[sites == site]).size == 1 for site in range(4))
    # As many folds as sites, where there are fewer sites than folds asked for.
    assert np.unique(fold).size == 4
    halves = nuisance._assign(trial, "continuous", sites, 2, rng)
    assert sorted(np.bincount(halves)) == [50, 50]


def test_rates_per_unit_of_exposure():
    rng = np.random.default_rng(0)
    n = 400
    X = pd.DataFrame({"a": rng.normal(size=n)})
    arm, exposure = rng.integers(0, 2, n), rng.uniform(0.5, 2, n)
    y = rng.poisson(exposure * np.exp(0.5 - 0.7 * arm))
    untreated, treated = np.mean(means_of(X, y, arm, "count", exposure=exposure), axis=0)
    assert untreated.mean() == pytest.approx(np.exp(0.5), rel=0.15)
    assert treated.mean() / untreated.mean() == pytest.approx(np.exp(-0.7), rel=0.15)
