import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit

from il7ml.family import BINARY
from il7ml.models.glm import fit_glm
from il7ml.models.t_learner import TLearner


def trial(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n)})
    return X, rng.integers(0, 2, n), rng


NEW = pd.DataFrame({"a": [-1.0, 0.0, 1.0, 0.0], "b": [0.0, 0.0, 0.0, 1.0]})


def test_a_linear_effect_is_recovered():
    X, arm, rng = trial()
    effect = 0.5 + 1.0 * X["a"].to_numpy()
    y = 2 * X["b"].to_numpy() + arm * effect + rng.normal(size=len(X))
    learner = TLearner("continuous", bootstrap=20).fit(X, y, arm, propensity=0.5)
    np.testing.assert_allclose(learner.predict(NEW), [-0.5, 0.5, 1.5, 0.5], atol=0.15)
    low, high = learner.predict_interval(NEW)
    assert ((low < [-0.5, 0.5, 1.5, 0.5]) & (high > [-0.5, 0.5, 1.5, 0.5])).all()
    assert learner.ate_ == pytest.approx(effect.mean(), abs=0.12)


def test_the_effect_on_a_risk_is_the_difference_of_the_arms_risks():
    X, arm, rng = trial(6000)
    eta = -0.5 + X["b"].to_numpy()
    shift = -0.8 * (X["a"].to_numpy() > 0)
    y = rng.binomial(1, expit(eta + arm * shift))
    learner = TLearner(bootstrap=0, spline=("a",)).fit(X, y, arm, propensity=0.5)
    truth = expit(eta + shift) - expit(eta)
    assert learner.ate_ == pytest.approx(truth.mean(), abs=0.03)
    assert np.corrcoef(learner.predict(X), truth)[0, 1] > 0.85


def test_the_effect_on_a_rate_is_per_unit_of_exposure():
    X, arm, rng = trial(4000)
    time = rng.uniform(1, 10, len(X))
    rate = np.exp(-1 + 0.3 * X["b"].to_numpy())
    y = rng.poisson(rate * np.where(arm == 1, 0.5, 1.0) * time)
    learner = TLearner("count", bootstrap=0).fit(X, y, arm, propensity=0.5, exposure=time)
    truth = -0.5 * np.exp(-1 + 0.3 * NEW["b"].to_numpy())
    np.testing.assert_allclose(learner.predict(NEW), truth, atol=0.04)
    assert learner.ate_ == pytest.approx(-0.5 * rate.mean(), abs=0.03)


def test_each_arm_has_its_own_model():
    """The definition, by hand: fit in each arm, subtract."""
    X, arm, rng = trial(300)
    y = rng.binomial(1, expit(X["a"].to_numpy() * (1 - 2 * arm)))
    learner = TLearner(bootstrap=0).fit(X, y, arm)
    matrix = ((X - X.mean()) / X.std(ddof=0)).to_numpy()
    risks = []
    for side in (0, 1):
        fit = fit_glm(BINARY, matrix[arm == side], y[arm == side].astype(float))
        risks.append(expit(fit.intercept + matrix @ fit.coefficients))
    np.testing.assert_allclose(learner.predict(X), risks[1] - risks[0], atol=1e-6)


def test_interval_is_that_of_two_independent_regressions():
    """With a strong signal the penalty vanishes, and the effect's error is known: that of least squares in each arm."""
    X, arm, rng = trial(400)
    y = 3 * X["b"].to_numpy() + 2 * arm * X["a"].to_numpy() + rng.normal(size=400)
    learner = TLearner("continuous", bootstrap=60).fit(X, y, arm)
    low, high = learner.predict_interval(NEW)
    fits = [sm.OLS(y[arm == side], sm.add_constant(X[arm == side])).fit() for side in (0, 1)]
    variance = sum(fit.get_prediction(sm.add_constant(NEW, has_constant="add")).se_mean ** 2 for fit in fits)
    np.testing.assert_allclose((high - low) / (2 * 1.959964), np.sqrt(variance), rtol=0.3)
