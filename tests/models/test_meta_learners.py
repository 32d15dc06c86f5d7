"""Contract and recovery of the learners that are built from any scikit-learn estimators."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression

from il7ml.errors import InputError
from il7ml.models.dr_learner import DRLearner
from il7ml.models.r_learner import RLearner
from il7ml.models.risk_based_effect import RiskBasedEffect
from il7ml.models.s_learner import SLearner
from il7ml.models.t_learner import TLearner
from il7ml.models.x_learner import XLearner

BOOSTING = HistGradientBoostingRegressor(max_iter=20)
LEARNERS = [
    SLearner(bootstrap=3),
    XLearner(bootstrap=2),
    RLearner(bootstrap=3),
    RiskBasedEffect(bootstrap=3),
    TLearner(estimator=BOOSTING, bootstrap=2),
    DRLearner(outcome_estimator=BOOSTING, effect_estimator=BOOSTING, bootstrap=2),
]
by_learner = pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: type(learner).__name__)


def trial(n=200, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "age": rng.normal(60, 10, n),
            "count": rng.lognormal(0, 0.5, n),
            "sex": pd.Categorical(rng.choice(["female", "male"], n)),
        }
    )
    X.loc[rng.random(n) < 0.1, "count"] = np.nan
    arm = rng.permutation(np.arange(n) % 2)
    y = rng.binomial(1, 0.45 - 0.2 * arm * (X["sex"] == "male").to_numpy())
    return X, y, arm


@by_learner
def test_estimator_contract(learner):
    X, y, arm = trial()
    copy = clone(learner)
    assert repr(copy.get_params()) == repr(learner.get_params())  # clones of estimators are equal in words only
    assert copy.set_params(folds=3).folds == 3
    with pytest.raises(NotFittedError):
        copy.predict(X)
    with pytest.raises(NotFittedError):
        copy.predict_interval(X)
    before = X.copy()
    assert copy.fit(X, y, arm, propensity=0.5) is copy
    pd.testing.assert_frame_equal(X, before)
    assert repr(copy.get_params()) == repr({**learner.get_params(), "folds": 3})
    effect, (low, high) = copy.predict(X), copy.predict_interval(X)
    assert effect.shape == (200,)
    assert ((low <= effect) & (effect <= high)).all()
    assert copy.ate_interval_[0] < copy.ate_ < copy.ate_interval_[1]
    np.testing.assert_array_equal(copy.predict(X[["sex", "count", "age"]]), effect)
    with pytest.raises(InputError, match="column 'age' is missing"):
        copy.predict(X.drop(columns="age"))
    with pytest.raises(InputError, match="treatment: expected 0"):
        copy.fit(X, y, np.full(200, 2))


@by_learner
def test_the_same_seed_gives_the_same_answer(learner):
    X, y, arm = trial()
    one, two = (clone(learner).fit(X, y, arm, propensity=0.5) for _ in range(2))
    np.testing.assert_array_equal(one.predict_interval(X), two.predict_interval(X))


@by_learner
def test_counts_with_exposure_are_rates(learner):
    rng = np.random.default_rng(0)
    n = 1500
    X = pd.DataFrame({"x": rng.normal(size=n)})
    arm, exposure = rng.integers(0, 2, n), rng.uniform(0.5, 2.0, n)
    y = rng.poisson(exposure * (1.0 - 0.4 * arm))
    fit = clone(learner).set_params(outcome="count", bootstrap=0)
    fit.fit(X, y, arm, propensity=0.5, exposure=exposure)
    assert fit.ate_ == pytest.approx(-0.4, abs=0.15)
    assert fit.predict(X).mean() == pytest.approx(-0.4, abs=0.15)


@by_learner
def test_few_events_do_not_break_the_resampling(learner):
    X, _, arm = trial()
    y = np.zeros(200)
    for side in (0, 1):
        y[np.flatnonzero(arm == side)[:2]] = 1
    fit = clone(learner).set_params(bootstrap=4).fit(X, y, arm, propensity=0.5)
    assert np.isfinite(fit.predict_interval(X)).all()


def linear_trial(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"a": rng.normal(size=n), "b": rng.normal(size=n)})
    arm = rng.binomial(1, 2 / 3, n)
    y = 2 * X["b"].to_numpy() + arm * (0.5 + X["a"].to_numpy()) + rng.normal(size=n)
    return X, y, arm


NEW = pd.DataFrame({"a": [-1.0, 0.0, 1.0, 0.0], "b": [0.0, 0.0, 0.0, 1.0]})


@pytest.mark.parametrize(
    "learner",
    [
        XLearner("continuous", LinearRegression(), LinearRegression(), bootstrap=20),
        RLearner("continuous", LinearRegression(), LinearRegression(), bootstrap=20),
        TLearner("continuous", LinearRegression(), bootstrap=20),
        DRLearner("continuous", LinearRegression(), LinearRegression(), bootstrap=20),
    ],
    ids=lambda learner: type(learner).__name__,
)
def test_a_linear_effect_is_recovered_with_unequal_allocation(learner):
    X, y, arm = linear_trial()
    learner.fit(X, y, arm, propensity=2 / 3)
    np.testing.assert_allclose(learner.predict(NEW), [-0.5, 0.5, 1.5, 0.5], atol=0.25)
    low, high = learner.predict_interval(NEW, alpha=0.001)
    assert ((low < [-0.5, 0.5, 1.5, 0.5]) & (high > [-0.5, 0.5, 1.5, 0.5])).all()


@pytest.mark.parametrize("learner", [SLearner, XLearner, RLearner], ids=lambda learner: learner.__name__)
def test_default_boosting_recovers_a_step(learner):
    X, _, arm = linear_trial()
    truth = np.where(X["a"] > 0, 2.0, 0.0)
    y = arm * truth + np.random.default_rng(1).normal(size=len(X))
    fit = learner("continuous", bootstrap=0).fit(X, y, arm, propensity=2 / 3)
    assert np.sqrt(np.mean((fit.predict(X) - truth) ** 2)) < 0.35


def test_a_forest_on_the_scores_finds_a_step():
    X, _, arm = linear_trial()
    truth = np.where(X["a"] > 0, 2.0, 0.0)
    y = arm * truth + np.random.default_rng(1).normal(size=len(X))
    forest = RandomForestRegressor(100, min_samples_leaf=50, random_state=0)
    fit = DRLearner("continuous", effect_estimator=forest, bootstrap=0).fit(X, y, arm, propensity=2 / 3)
    assert np.sqrt(np.mean((fit.predict(X) - truth) ** 2)) < 0.35


def test_pre_specified_modifiers_alone_can_make_the_effect():
    X, y, arm = linear_trial()
    fit = DRLearner("continuous", modifiers=("a",), bootstrap=5).fit(X, y, arm, propensity=2 / 3)
    np.testing.assert_allclose(fit.predict(NEW), [-0.5, 0.5, 1.5, 0.5], atol=0.2)
    effect, (low, _) = fit.predict(NEW), fit.predict_interval(NEW)
    assert (effect[1], low[1]) == (effect[3], low[3])
    with pytest.raises(InputError, match=r"modifiers: 'aa' is not among the variables\. Did you mean 'a'"):
        DRLearner("continuous", modifiers=("aa",)).fit(X, y, arm)


def test_t_learner_with_a_classifier_subtracts_the_arms_probabilities():
    X, y, arm = trial(400)
    X = X[["age"]]
    fit = TLearner("binary", LogisticRegression(), bootstrap=0).fit(X, y, arm, propensity=0.5)
    control, treated = (
        LogisticRegression().fit(X[arm == side].to_numpy(), y[arm == side]).predict_proba(X.to_numpy())[:, 1]
        for side in (0, 1)
    )
    np.testing.assert_allclose(fit.predict(X), treated - control, atol=1e-5)  # columns are in single precision


def test_the_average_effect_comes_from_the_given_estimator():
    X, y, arm = trial(400)
    boosting = HistGradientBoostingClassifier(max_iter=20)
    given, default = (
        DRLearner("binary", estimator, bootstrap=0).fit(X, y, arm, propensity=0.5) for estimator in (boosting, None)
    )
    assert given.ate_ != default.ate_
    assert given.ate_ == pytest.approx(default.ate_, abs=0.03)


def test_s_learner_with_a_linear_model_gives_its_coefficient():
    X, y, arm = linear_trial(500)
    design = np.column_stack([np.ones(500), X, arm])
    coefficient = np.linalg.lstsq(design, y, rcond=None)[0][3]
    fit = SLearner("continuous", LinearRegression(), bootstrap=0).fit(X, y, arm, propensity=2 / 3)
    np.testing.assert_allclose(fit.predict(NEW), coefficient)


def test_classifiers_predict_probabilities():
    X, y, arm = trial(400)
    X = X[["age"]]
    fit = SLearner("binary", LogisticRegression(), bootstrap=0).fit(X, y, arm, propensity=0.5)
    direct = LogisticRegression().fit(np.column_stack([X, arm]), y)
    both = [direct.predict_proba(np.column_stack([X, np.full(400, side)]))[:, 1] for side in (0, 1)]
    np.testing.assert_allclose(fit.predict(X), both[1] - both[0])


def test_risk_based_effect_recovers_a_constant_odds_ratio():
    rng = np.random.default_rng(0)
    n = 8000
    X = pd.DataFrame({"x": rng.normal(size=n), "z": rng.normal(size=n)})
    arm = rng.integers(0, 2, n)
    linear = -1 + 1.2 * X["x"].to_numpy()
    y = rng.binomial(1, expit(linear - 0.8 * arm))
    truth = expit(linear - 0.8) - expit(linear)
    fit = RiskBasedEffect(bootstrap=20).fit(X, y, arm, propensity=0.5)
    assert fit.relative_effect_ == pytest.approx(-0.8, abs=0.15)
    assert np.sqrt(np.mean((fit.predict(X) - truth) ** 2)) < 0.02
    assert fit.predict(X).mean() == pytest.approx(fit.ate_, abs=1e-9)
    low, high = fit.predict_interval(X, alpha=0.001)
    assert ((low <= truth) & (truth <= high)).mean() > 0.9


def test_risk_based_effect_on_a_mean_is_constant():
    X, y, arm = linear_trial(500)
    fit = RiskBasedEffect("continuous", bootstrap=0).fit(X, y, arm, propensity=2 / 3)
    np.testing.assert_allclose(fit.predict(NEW), fit.ate_)
