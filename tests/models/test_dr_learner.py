import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit
from sklearn.base import clone

from il7ml.evaluation.effects import DoublyRobustScores
from il7ml.models.dr_learner import DRLearner
from il7ml.models.fitted import FittedLinear


def trial(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n)})
    return X, rng.integers(0, 2, n), rng


NEW = pd.DataFrame({"a": [-1.0, 0.0, 1.0, 0.0], "b": [0.0, 0.0, 0.0, 1.0]})


def test_a_linear_effect_is_recovered():
    X, arm, rng = trial()
    effect = 0.5 + 1.0 * X["a"].to_numpy()
    y = 2 * X["b"].to_numpy() + arm * effect + rng.normal(size=len(X))
    learner = DRLearner("continuous", bootstrap=30).fit(X, y, arm, propensity=0.5)
    np.testing.assert_allclose(learner.predict(NEW), [-0.5, 0.5, 1.5, 0.5], atol=0.25)
    low, high = learner.predict_interval(NEW)
    assert ((low < [-0.5, 0.5, 1.5, 0.5]) & (high > [-0.5, 0.5, 1.5, 0.5])).all()
    assert learner.ate_interval_[0] < effect.mean() < learner.ate_interval_[1]


def test_average_effect_is_as_precise_as_analysis_of_covariance():
    X, arm, rng = trial(1000)
    y = 3 * X["b"].to_numpy() - 5 * arm + rng.normal(size=1000)
    learner = DRLearner("continuous", bootstrap=0).fit(X, y, arm, propensity=0.5)
    ancova = sm.OLS(y, sm.add_constant(np.column_stack([arm, X]))).fit(cov_type="HC1")
    error = np.subtract(*learner.ate_interval_[::-1]) / (2 * 1.959964)
    assert learner.ate_ == pytest.approx(ancova.params[1], abs=ancova.bse[1] / 3)
    assert error == pytest.approx(ancova.bse[1], rel=0.1)


def test_the_effect_on_a_risk_is_recovered():
    X, arm, rng = trial(6000)
    risk = expit(-0.5 + 0.8 * X["b"].to_numpy())
    effect = -0.1 + 0.08 * np.tanh(X["a"].to_numpy())
    y = rng.binomial(1, np.clip(risk + arm * effect, 0, 1))
    learner = DRLearner(bootstrap=0).fit(X, y, arm, propensity=0.5)
    truth = (np.clip(risk + effect, 0, 1) - risk).mean()
    assert learner.ate_ == pytest.approx(truth, abs=0.03)
    assert np.corrcoef(learner.predict(X), effect)[0, 1] > 0.8


def test_a_constant_effect_is_left_nearly_constant():
    """Shrinkage: with no heterogeneity the spread of individual effects is far below that of an unpenalised fit."""
    ratios = []
    for seed in range(8):
        X, arm, rng = trial(200, seed)
        wide = X.assign(**{f"x{k}": rng.normal(size=200) for k in range(8)})
        y = rng.binomial(1, 0.4 - 0.1 * arm)
        learner = DRLearner(bootstrap=0).fit(wide, y, arm, propensity=0.5)
        score = (y - 0.35) * np.where(arm == 1, 2, -2)
        free = sm.OLS(score, sm.add_constant(wide.to_numpy())).fit().fittedvalues
        ratios.append(learner.predict(wide).std() / free.std())
    assert np.mean(ratios) < 0.35


def scores_of(effect):
    return DoublyRobustScores(effect, np.zeros_like(effect), effect)


def test_fit_scores_is_a_regression_of_the_scores():
    X, _, _ = trial(400)
    effect = 1 + 2 * X["a"].to_numpy() - X["b"].to_numpy()
    learner = DRLearner("continuous", bootstrap=5).fit_scores(X, scores_of(effect))
    np.testing.assert_allclose(learner.predict(NEW), 1 + 2 * NEW["a"] - NEW["b"], atol=0.03)
    assert isinstance(learner.fitted_, FittedLinear)
    assert list(learner.feature_names_in_) == ["a", "b"]
    assert learner.ate_ == pytest.approx(effect.mean())
    assert learner.refit_coefficients_.shape == (5, 2)
    assert learner.refit_intercepts_.shape == (5,)


def test_fit_scores_keeps_to_the_given_variables():
    X, _, _ = trial(400)
    learner = DRLearner(variables={}, bootstrap=0).fit_scores(X, scores_of(X["a"].to_numpy()))
    assert np.ptp(learner.predict(NEW)) == 0


def test_fit_scores_draws_from_the_generator_it_is_given():
    X, _, _ = trial(100)
    scores = scores_of(X["a"].to_numpy() ** 2)
    one, two, other = (
        clone(DRLearner(bootstrap=5)).fit_scores(X, scores, np.random.default_rng(seed)).refit_intercepts_
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
