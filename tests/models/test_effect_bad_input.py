"""Input that is bad, or only strange: a clear error or a stated rule, the same for every effect estimator."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from il7ml.errors import InputError
from il7ml.models import nuisance, outcome_estimator
from il7ml.models.dr_learner import DRLearner
from il7ml.models.effect_model import EffectModel
from il7ml.models.r_learner import RLearner
from il7ml.models.risk_based_effect import RiskBasedEffect
from il7ml.models.s_learner import SLearner
from il7ml.models.t_learner import TLearner
from il7ml.models.x_learner import XLearner

N = 120
ESTIMATORS = [
    *(learner(bootstrap=2, folds=2) for learner in (SLearner, TLearner, XLearner, RLearner, DRLearner)),
    RiskBasedEffect(bootstrap=2, folds=2),
    EffectModel(folds=2),
]
by_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(nuisance, "repeats_for", lambda n: 1)
    monkeypatch.setattr(outcome_estimator, "_ROUNDS", 20)


def trial(n=N, columns=3, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, columns)), columns=[f"x{k}" for k in range(columns)])
    arm = rng.permutation(np.arange(n) % 2)
    return X, rng.binomial(1, 0.5 - 0.2 * arm), arm


def fitted(estimator, X, y, arm, **further):
    return clone(estimator).fit(X, y, arm, **{"propensity": 0.5, **further})


def assert_effects_are_possible(model, X):
    effect, (low, high) = model.predict(X), model.predict_interval(X)
    assert np.isfinite([effect, low, high]).all()
    assert (np.abs(effect) <= 1).all()
    assert (low <= effect).all()
    assert (effect <= high).all()
    assert np.isfinite([model.ate_, *model.ate_interval_]).all()


def no_events(arm, side):
    y = np.tile([0, 0, 1, 1], N // 4)
    return np.where(arm == side, 0, y)


@by_estimator
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y, arm: {"arm": arm + 1}, "treatment: expected 0 .control. and 1 .treated. only; other values came"),
        (lambda X, y, arm: {"arm": np.where(arm == 1, "il7", "placebo")}, "treatment: expected numbers"),
        (lambda X, y, arm: {"arm": np.where(np.arange(N) == 3, np.nan, arm)}, "treatment: expected finite numbers"),
        (lambda X, y, arm: {"propensity": np.where(arm == 1, 1.0, 0.5)}, "propensity: expected probabilities above 0"),
        (lambda X, y, arm: {"propensity": np.where(arm == 1, 0.5, 0.0)}, "propensity: expected probabilities above 0"),
        (lambda X, y, arm: {"propensity": "guess"}, "propensity: expected probabilities or 'estimate', got 'guess'"),
        (lambda X, y, arm: {"arm": np.arange(N) < 4}, "at least 5 patients in each arm, one has 4"),
        (lambda X, y, arm: {"arm": np.arange(N) >= 4}, "at least 5 patients in each arm, one has 4"),
        (lambda X, y, arm: {"arm": np.zeros(N)}, "at least 5 patients in each arm, one has 0"),
        (lambda X, y, arm: {"y": no_events(arm, 0)}, "y: the control arm shows no variation"),
        (lambda X, y, arm: {"y": no_events(arm, 1)}, "y: the treated arm shows no variation"),
        (lambda X, y, arm: {"y": y + 0.5}, "y: expected 0 .no. and 1 .yes. for a binary outcome"),
        (lambda X, y, arm: {"X": X.assign(x1=np.inf)}, "column 'x1': expected finite or missing values"),
        (lambda X, y, arm: {"X": pd.concat([X, X[["x1"]]], axis=1)}, "column 'x1' stands 2 times"),
        (lambda X, y, arm: {"X": X.head(3)}, "y: expected 3 values, one a row of X, got shape .120,."),
    ],
)
def test_what_cannot_be_used_is_refused(estimator, change, message):
    X, y, arm = trial()
    with pytest.raises(InputError, match=message):
        fitted(estimator, **{"X": X, "y": y, "arm": arm, **change(X, y, arm)})


@by_estimator
def test_columns_are_found_by_name_and_missed_by_name(estimator):
    X, y, arm = trial()
    model = fitted(estimator, X, y, arm)
    np.testing.assert_array_equal(model.predict(X[["x2", "x0", "x1"]]), model.predict(X))
    np.testing.assert_array_equal(model.predict_interval(X[["x1", "x2", "x0"]]), model.predict_interval(X))
    for wrong in (X.drop(columns="x1"), X.rename(columns={"x1": "X1"}), X.to_numpy()[:, :1]):
        with pytest.raises(InputError, match="column 'x1' is missing"):
            model.predict(wrong)


@by_estimator
def test_more_columns_than_patients_are_taken(estimator):
    X, y, arm = trial(n=40, columns=60)
    y[:4], arm[:4] = [0, 1, 0, 1], [0, 0, 1, 1]
    assert_effects_are_possible(fitted(estimator, X, y, arm), trial(n=20, columns=60, seed=1)[0])


@by_estimator
def test_a_covariate_that_tells_the_outcome_leaves_effects_possible(estimator):
    X, y, arm = trial()
    model = fitted(estimator, X.assign(x2=10.0 * y), y, arm)
    assert_effects_are_possible(model, X.assign(x2=np.linspace(-5, 15, N)))


@by_estimator
def test_patients_of_whom_nothing_is_known_are_taken(estimator):
    X, y, arm = trial()
    X.iloc[[0, 50]] = np.nan
    model = fitted(estimator, X, y, arm)
    unknown = pd.DataFrame(np.full((2, 3), np.nan), columns=X.columns)
    assert_effects_are_possible(model, unknown)
    first, second = model.predict(unknown)
    assert first == second
    # Never trained on a gap, a model takes it as well.
    assert_effects_are_possible(fitted(estimator, *trial()), unknown)


@by_estimator
def test_a_column_without_any_value_changes_nothing_but_rounding(estimator):
    X, y, arm = trial()
    with_empty = fitted(estimator, X.assign(empty=np.nan), y, arm)
    assert_effects_are_possible(with_empty, X.assign(empty=1.0))
    if not isinstance(estimator, EffectModel):  # its waves are drawn for as many columns as there are
        np.testing.assert_allclose(
            with_empty.predict(X.assign(empty=np.nan)), fitted(estimator, X, y, arm).predict(X), atol=1e-6
        )


@by_estimator
def test_exposure_belongs_to_counts(estimator):
    X, y, arm = trial()
    with pytest.raises(InputError, match="exposure: expected none for a binary outcome"):
        clone(estimator).fit(X, y, arm, propensity=0.5, exposure=np.full(N, 30.0))


@by_estimator
def test_settings_that_cannot_be_are_refused(estimator):
    X, y, arm = trial()
    with pytest.raises(InputError, match="folds: expected 2 or more, got 1"):
        clone(estimator).set_params(folds=1).fit(X, y, arm, propensity=0.5)
    for name, value in (("bootstrap", -1), ("repeats", 0)):
        if name in estimator.get_params():
            with pytest.raises(InputError, match=f"{name}: expected"):
                clone(estimator).set_params(**{name: value}).fit(X, y, arm, propensity=0.5)
    if "spline" in estimator.get_params():
        with pytest.raises(InputError, match=r"spline: 'x9' is not among the variables"):
            clone(estimator).set_params(spline=("x9",)).fit(X, y, arm, propensity=0.5)


def test_missing_sites_are_refused():
    X, y, arm = trial()
    sites = np.where(np.arange(N) < 3, None, np.arange(N) % 4)
    with pytest.raises(InputError, match="groups: expected a site for each patient"):
        EffectModel(folds=2).fit(X, y, arm, propensity=0.5, groups=sites)
