"""What every risk model shares with scikit-learn's estimators, and bad or strange input: an error or a stated rule."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from il7ml.errors import InputError
from il7ml.models import BoostedRiskModel, LinearRiskModel, StackedRiskModel, TunedRiskModel

N = 120
ESTIMATORS = [
    LinearRiskModel(),
    LinearRiskModel(firth=True),
    BoostedRiskModel(rounds=20),
    StackedRiskModel(folds=2),
    TunedRiskModel(method="grid", folds=2),
]
by_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: repr(each).partition("(")[0])


def trial(n=N, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 2)), columns=["x0", "x1"])
    X["group"] = pd.Categorical(np.array(["a", "b", "c"])[np.arange(n) % 3])
    arm = rng.permutation(np.arange(n) % 2)
    return X, rng.binomial(1, 0.6 - 0.3 * arm), arm


def numbers(n=N, seed=0):
    X, y, arm = trial(n, seed)
    return X[["x0", "x1"]], y, arm


@by_estimator
def test_estimator_contract(estimator):
    X, y, arm = trial()
    model = clone(estimator)
    assert model.get_params() == estimator.get_params()
    for ask in (model.predict, model.linear_predictor, model.contributions):
        with pytest.raises(NotFittedError):
            ask(X)
    assert model.fit(X, y, arm) is model
    assert model.n_features_in_ == 3
    assert model.feature_names_in_.tolist() == ["x0", "x1", "group"]
    assert model.get_params() == estimator.get_params()
    risk = model.predict(X, arm)
    assert risk.shape == (N,)
    assert ((risk > 0) & (risk < 1)).all()
    np.testing.assert_array_equal(clone(model).fit(X, list(y), pd.Series(arm)).predict(X, arm), risk)


@by_estimator
def test_an_array_is_a_frame_without_names(estimator):
    X, y, arm = numbers()
    of_frame, of_array = clone(estimator).fit(X, y, arm), clone(estimator).fit(X.to_numpy(), y, arm)
    assert of_array.feature_names_in_.tolist() == ["x0", "x1"]
    np.testing.assert_array_equal(of_array.predict(X.to_numpy()), of_frame.predict(X))
    assert of_array.refit(X.to_numpy(), y, arm).arm_effect == of_frame.refit(X, y, arm).arm_effect
    assert list(of_array.contributions(X.to_numpy())[1]) == ["x0", "x1"]
    for wrong in (X.to_numpy()[:, :1], np.column_stack([X, X])):
        with pytest.raises(InputError, match="X: expected the 2 columns that the model was fitted to, got an array of"):
            of_array.predict(wrong)
    named = clone(estimator).fit(X.rename(columns={"x0": "age"}), y, arm)
    with pytest.raises(InputError, match="got an array of 2 without names"):
        named.predict(X.to_numpy())
    with pytest.raises(InputError, match="X: expected a frame or an array of shape"):
        clone(estimator).fit(np.arange(N), y, arm)


@by_estimator
def test_columns_are_found_by_name_and_missed_by_name(estimator):
    X, y, arm = trial()
    model = clone(estimator).fit(X, y, arm)
    np.testing.assert_array_equal(model.predict(X[["group", "x1", "x0"]].assign(other=1.0)), model.predict(X))
    for wrong in (X.drop(columns="x1"), X.rename(columns={"x1": "X1"})):
        with pytest.raises(InputError, match="column 'x1' is missing"):
            model.predict(wrong)
    with pytest.raises(InputError, match="column 'group': expected one of a, b, c; other values came"):
        model.predict(X.assign(group="d"))
    with pytest.raises(InputError, match="column 'x0': expected finite or missing values"):
        model.predict(X.assign(x0=np.inf))


@by_estimator
def test_gaps_are_taken_in_training_and_afterwards(estimator):
    X, y, arm = trial()
    unknown = pd.DataFrame({"x0": [np.nan], "x1": [np.nan], "group": [None]})
    gaps = X.copy()
    gaps.loc[:9, ["x0", "group"]] = np.nan
    for training in (X, gaps):
        risk = clone(estimator).fit(training, y, arm).predict(unknown)
        assert 0 < risk.item() < 1


@by_estimator
@pytest.mark.parametrize("treatment", [2, -1, 0.5, np.nan, "il7", [0, 1]])
def test_an_arm_that_does_not_exist_is_not_predicted(estimator, treatment):
    X, y, arm = trial()
    with pytest.raises(InputError, match="treatment: expected"):
        clone(estimator).fit(X, y, arm).predict(X, treatment)


@by_estimator
@pytest.mark.parametrize("side", [0, 1])
def test_one_arm_alone_has_no_effect_and_its_own_event_rate(estimator, side):
    X, y, _ = trial()
    model = clone(estimator).fit(X, y, np.full(N, side))
    assert model.fitted_.arm_effect == 0
    np.testing.assert_array_equal(model.predict(X, 1), model.predict(X, 0))
    assert model.predict(X, side).mean() == pytest.approx(y.mean(), abs=0.03)
    # The other arm's outcomes are not known: that is one arm alone, too.
    arm = np.arange(N) % 2
    known = clone(estimator).fit(X, y, arm, sample_weight=(arm == side).astype(float))
    np.testing.assert_array_equal(known.predict(X, 1), known.predict(X, 0))


@by_estimator
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"treatment": np.full(N, 2)}, "treatment: expected 0 .control. and 1 .treated. only"),
        ({"y": np.full(N, 0.5)}, "y: expected 0 .no. and 1 .yes."),
        ({"y": np.zeros(7)}, "y: expected 120 values"),
        ({"sample_weight": np.zeros(N)}, "sample_weight: expected weights of 0 or more, not all 0"),
        ({"exposure": np.ones(N)}, "exposure: expected none for a binary outcome"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(estimator, change, message):
    X, y, arm = trial()
    with pytest.raises(InputError, match=message):
        clone(estimator).fit(X, **{"y": y, "treatment": arm, **change})


@by_estimator
def test_nobody_to_learn_from_is_said(estimator):
    X, _, _ = trial()
    with pytest.raises(InputError, match="X: expected patients, none came"):
        clone(estimator).fit(X.head(0), [], [])


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LinearRiskModel(spline=("x9",)), "spline: 'x9' is not among the variables"),
        (StackedRiskModel(folds=1), "folds: expected 2 or more, got 1"),
        (BoostedRiskModel(rounds=0), "rounds: expected 1 or more, got 0"),
        (BoostedRiskModel(depth=0), "depth: expected 1 or more, got 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(estimator, message):
    with pytest.raises(InputError, match=message):
        estimator.fit(*trial())
