"""What every effect learner must keep to, whatever its method."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from il7ml.errors import InputError
from il7ml.evaluation.effects import doubly_robust_scores
from il7ml.features.columns import as_frame
from il7ml.models import effect_learner
from il7ml.models.dr_learner import DRLearner
from il7ml.models.t_learner import TLearner

LEARNERS = [TLearner(bootstrap=4), DRLearner(bootstrap=4)]
by_learner = pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: type(learner).__name__)


def trial(n=200, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "age": rng.normal(60, 10, n),
            "count": rng.lognormal(0, 0.5, n),
            "sex": pd.Categorical(rng.choice(["female", "male"], n)),
            "diabetes": rng.random(n) < 0.3,
        }
    )
    X.loc[rng.random(n) < 0.1, "count"] = np.nan
    arm = rng.permutation(np.arange(n) % 2)
    y = rng.binomial(1, 0.45 - 0.2 * arm * (X["sex"] == "male").to_numpy())
    return X, y, arm


def fitted(learner, **changes):
    X, y, arm = trial()
    return clone(learner).fit(**{"X": X, "y": y, "treatment": arm, "propensity": 0.5, **changes})


@by_learner
def test_estimator_contract(learner):
    X, y, arm = trial()
    copy = clone(learner)
    assert copy is not learner
    assert copy.get_params() == learner.get_params()
    assert copy.set_params(folds=4).folds == 4
    with pytest.raises(NotFittedError):
        copy.predict(X)
    with pytest.raises(NotFittedError):
        copy.predict_interval(X)
    before = X.copy()
    assert copy.fit(X, y, arm, propensity=0.5) is copy
    pd.testing.assert_frame_equal(X, before)
    assert copy.get_params() == {**learner.get_params(), "folds": 4}
    assert copy.n_features_in_ == 4
    assert list(copy.feature_names_in_) == list(X.columns)


@by_learner
def test_predictions_are_numbers_on_the_outcomes_scale(learner):
    X, _, _ = trial()
    fit = fitted(learner)
    effect = fit.predict(X)
    low, high = fit.predict_interval(X)
    assert effect.shape == low.shape == high.shape == (len(X),)
    assert (np.abs(effect) <= 1).all()
    assert (low <= effect).all()
    assert (effect <= high).all()
    assert fit.ate_interval_[0] < fit.ate_ < fit.ate_interval_[1]
    assert isinstance(fit.ate_, float)


@by_learner
def test_columns_are_found_by_name_not_by_position(learner):
    X, _, _ = trial()
    fit = fitted(learner)
    np.testing.assert_array_equal(fit.predict(X[["diabetes", "sex", "count", "age"]]), fit.predict(X))
    swapped = X.rename(columns={"age": "count", "count": "age"})
    assert (fit.predict(swapped) != fit.predict(X)).any()
    np.testing.assert_array_equal(fit.predict(X.assign(bystander="text")), fit.predict(X))


@by_learner
def test_a_patients_effect_does_not_depend_on_those_beside_him(learner):
    X, _, _ = trial()
    fit = fitted(learner)
    np.testing.assert_allclose(fit.predict(X.iloc[[5]]), fit.predict(X)[[5]], rtol=1e-12)


@by_learner
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X.drop(columns="age"), "column 'age' is missing"),
        (lambda X: X.assign(sex="other"), "column 'sex': expected one of female, male; other values came"),
        (lambda X: X.assign(age="old"), "column 'age': expected numbers"),
        (lambda X: X.assign(age=np.inf), "column 'age': expected finite or missing values"),
        (lambda X: X.to_numpy()[:, :2].astype(float), "column 'age' is missing"),
    ],
)
def test_frames_that_do_not_fit_are_refused_at_prediction(learner, change, message):
    X, _, _ = trial()
    with pytest.raises(InputError, match=message):
        fitted(learner).predict(change(X))


@by_learner
def test_missing_values_and_categories_are_taken(learner):
    X, _, _ = trial()
    effect = fitted(learner).predict(X.assign(age=np.nan, sex=pd.Categorical([None] * len(X), ["female", "male"])))
    assert np.isfinite(effect).all()


@by_learner
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.zeros(3)}, r"y: expected 200 values, one a row of X, got shape \(3,\)"),
        ({"y": np.full(200, np.nan)}, "y: expected finite numbers"),
        ({"y": np.arange(200)}, "y: expected 0 .* for a binary outcome"),
        ({"y": np.zeros(200)}, "y: the control arm shows no variation"),
        ({"y": ["yes"] * 200}, "y: expected numbers; other values came"),
        ({"treatment": np.full(200, 2)}, "treatment: expected 0"),
        ({"treatment": np.r_[np.ones(3), np.zeros(197)]}, "at least 5 patients in each arm, one has 3"),
        ({"propensity": 1.0}, "propensity: expected probabilities above 0 and below 1"),
        ({"propensity": np.full(3, 0.5)}, r"propensity: expected 200 values, one a row of X, got shape \(3,\)"),
        ({"propensity": np.nan}, "propensity: expected finite numbers"),
        ({"sample_weight": np.full(200, -1.0)}, "sample_weight: expected weights of 0 or more"),
        ({"exposure": np.ones(200)}, "exposure: expected none for a binary outcome"),
        ({"X": np.zeros(200)}, r"X: expected a frame or an array of shape \(n, k\)"),
        ({"X": np.full((200, 2), "a")}, "X: expected a frame or an array of numbers"),
        ({"X": pd.DataFrame(np.zeros((200, 2)))}, "column names that are text"),
        ({"X": pd.DataFrame({"ward": ["a"] * 200})}, "column 'ward': expected numbers, booleans or a pandas categ"),
    ],
)
def test_unusable_input_is_refused(learner, changes, message):
    with pytest.raises(InputError, match=message):
        fitted(learner, **changes)


@by_learner
def test_an_arm_whose_outcomes_are_all_unknown_is_refused(learner):
    _, _, arm = trial()
    with pytest.raises(InputError, match="the treated arm shows no variation"):
        fitted(learner, sample_weight=(arm == 0).astype(float))


@by_learner
def test_unknown_kind_of_outcome_is_refused(learner):
    with pytest.raises(InputError, match=r"outcome: 'counts' is not known. Did you mean 'count'"):
        fitted(clone(learner).set_params(outcome="counts"))


@by_learner
def test_intervals_need_refits_and_a_level(learner):
    X, _, _ = trial()
    for bootstrap in (0, 1):
        with pytest.raises(InputError, match="needs bootstrap refits"):
            fitted(clone(learner).set_params(bootstrap=bootstrap)).predict_interval(X)
    with pytest.raises(InputError, match="alpha: expected a number above 0 and below 1, got 95"):
        fitted(learner).predict_interval(X, alpha=95)


@by_learner
def test_a_smaller_alpha_gives_a_wider_interval(learner):
    X, _, _ = trial()
    fit = fitted(learner)
    # Of patients whose limits are those of no risk difference at the widest, none being cut off.
    inside = np.abs(fit.predict_interval(X, 0.01)).max(axis=0) < 1
    assert inside.sum() > 100
    widths = [np.subtract(*fit.predict_interval(X, alpha)[::-1])[inside].mean() for alpha in (0.01, 0.05, 0.5)]
    # Normal quantiles 2.5758, 1.9600 and 0.6745.
    np.testing.assert_allclose([widths[0] / widths[1], widths[2] / widths[1]], [1.3142, 0.3441], atol=1e-4)


@by_learner
def test_the_same_seed_gives_the_same_answer_and_another_seed_other_folds(learner):
    X, _, _ = trial()
    one, two = fitted(learner), fitted(learner)
    other = fitted(clone(learner).set_params(random_state=1))
    np.testing.assert_array_equal(one.predict(X), two.predict(X))
    np.testing.assert_array_equal(one.predict_interval(X), two.predict_interval(X))
    assert one.ate_ == two.ate_ != other.ate_


@by_learner
def test_arrays_are_taken_with_columns_x0_x1(learner):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    _, y, arm = trial()
    fit = clone(learner).fit(X, y, arm)
    assert list(fit.feature_names_in_) == ["x0", "x1"]
    np.testing.assert_array_equal(fit.predict(pd.DataFrame(X[:, ::-1], columns=["x1", "x0"])), fit.predict(X))
    with pytest.raises(InputError, match="column 'x1' is missing"):
        fit.predict(X[:, :1])


@by_learner
def test_allocation_probability_defaults_to_the_share_of_treated(learner):
    _, _, arm = trial()
    assert fitted(learner, propensity=None).ate_ == fitted(learner, propensity=np.full(200, arm.mean())).ate_


@by_learner
def test_a_known_allocation_probability_is_used(learner):
    """With allocation that depends on a strong prognostic factor, only the true probability gives the true effect."""
    rng = np.random.default_rng(0)
    n = 3000
    severe = rng.random(n) < 0.5
    probability = np.where(severe, 0.8, 0.2)
    arm = rng.binomial(1, probability)
    y = rng.binomial(1, 0.2 + 0.5 * severe - 0.1 * arm)
    X = pd.DataFrame({"noise": rng.normal(size=n)})  # the factor itself is not among the columns
    right = clone(learner).set_params(bootstrap=0).fit(X, y, arm, propensity=probability)
    wrong = clone(learner).set_params(bootstrap=0).fit(X, y, arm)
    assert right.ate_ == pytest.approx(-0.1, abs=0.05)
    assert wrong.ate_ > 0.1


@by_learner
def test_patients_of_unknown_outcome_have_no_influence(learner):
    X, y, _ = trial()
    weight = np.ones(200)
    weight[:40] = 0.0
    counts = clone(learner).set_params(outcome="count")
    # Any number of events is dealt over the folds alike, so that only their use as outcomes could make a difference.
    effects = [
        fitted(counts, y=np.r_[np.full(40, events), y[40:]], sample_weight=weight).predict(X) for events in (1, 90)
    ]
    np.testing.assert_array_equal(effects[0], effects[1])


@by_learner
def test_the_means_behind_the_scores_are_the_arms_rates(learner, monkeypatch):
    """The scores forgive wrong means at the price of precision, so the means are looked at themselves."""
    rng = np.random.default_rng(0)
    n = 1500
    X = pd.DataFrame({"x": rng.normal(size=n)})
    arm, time = rng.integers(0, 2, n), rng.uniform(1, 10, n)
    y = rng.poisson(np.where(arm == 1, 0.2, 0.7) * time)
    weight = np.ones(n)
    weight[::3], y[::3] = 0.0, 50
    seen = {}

    def spy(y, treatment, propensity, untreated, treated, **further):
        seen.update(untreated=untreated, treated=treated)
        return doubly_robust_scores(y, treatment, propensity, untreated, treated, **further)

    monkeypatch.setattr(effect_learner, "doubly_robust_scores", spy)
    fit = clone(learner).set_params(outcome="count", bootstrap=0)
    fit.fit(X, y, arm, propensity=0.5, sample_weight=weight, exposure=time)
    assert seen["untreated"].mean() == pytest.approx(0.7, abs=0.05)
    assert seen["treated"].mean() == pytest.approx(0.2, abs=0.03)
    # Models trained without a patient's fold: their means differ from fold to fold.
    assert len(np.unique(seen["untreated"].round(12))) >= 5


@by_learner
def test_few_events_do_not_break_the_resampling(learner):
    """Three events an arm: a fold or a bootstrap sample can hold none."""
    X, _, arm = trial()
    y = np.zeros(200)
    for side in (0, 1):
        y[np.flatnonzero(arm == side)[:3]] = 1
    fit = clone(learner).set_params(bootstrap=25).fit(X, y, arm, propensity=0.5)
    low, high = fit.predict_interval(X)
    assert np.isfinite([low, high]).all()
    assert abs(fit.ate_) < 0.05


def test_as_frame_leaves_frames_alone():
    X, _, _ = trial()
    assert as_frame(X) is X
