from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from il7ml.features.columns import infer_variables
from il7ml.models import crossfit
from il7ml.models.catalog import Setting
from il7ml.models.crossfit import bootstrap_rows, cross_validate, leave_one_site_out
from il7ml.models.sample import Sample


def noise(n=60, p=20, seed=0):
    """Return a trial whose outcome has nothing to do with anything, and its setting."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, p)), columns=[f"x{k}" for k in range(p)])
    X["id"] = np.arange(n, dtype=float)
    X.index = X.index + 1000  # positions and labels must not be confused
    treatment = rng.permutation(np.arange(n) % 2).astype(np.int8)
    y = rng.permutation(np.arange(n) % 3 == 0).astype(float)
    sample = Sample(X, y, treatment, np.full(n, 0.5), np.ones(n))
    variables = infer_variables(X.drop(columns="id"))
    return sample, Setting("binary", variables, None, harmful=True)


class Spy:
    """Predicts each patient's number and notes which patients it was trained on."""

    seen: ClassVar[list[tuple[set[float], set[float]]]] = []
    expected: ClassVar[Sample]

    def fit(self, X, y, treatment, *, sample_weight, exposure):
        self.trained = set(X["id"])
        # Outcome and arm of a patient stay beside his baseline values.
        assert (y == self.expected.y[X["id"].astype(int)]).all()
        assert (treatment == self.expected.treatment[X["id"].astype(int)]).all()
        return self

    def predict_arms(self, X):
        Spy.seen.append((self.trained, set(X["id"])))
        return X["id"].to_numpy(), X["id"].to_numpy() + 0.5


def test_nobody_is_predicted_by_a_model_that_has_seen_him(monkeypatch):
    sample, setting = noise()
    Spy.seen, Spy.expected = [], sample
    monkeypatch.setattr(crossfit, "make_risk_model", lambda name, setting: Spy())
    result = cross_validate(sample, setting, models=("logistic",), folds=5, repeats=3, seed=1)
    assert len(Spy.seen) == 5 * 3
    for trained, predicted in Spy.seen:
        assert not trained & predicted
        assert len(trained | predicted) == len(sample.y)
    # Every patient gets his own prediction, once a repeat.
    np.testing.assert_array_equal(result.untreated["logistic"], np.tile(np.arange(60.0), (3, 1)))
    np.testing.assert_array_equal(result.treated["logistic"], np.tile(np.arange(60.0) + 0.5, (3, 1)))


def test_repeats_use_different_folds(monkeypatch):
    sample, setting = noise()
    Spy.seen, Spy.expected = [], sample
    monkeypatch.setattr(crossfit, "make_risk_model", lambda name, setting: Spy())
    cross_validate(sample, setting, models=("logistic",), folds=5, repeats=2, seed=1)
    first, second = ({frozenset(predicted) for _, predicted in part} for part in (Spy.seen[:5], Spy.seen[5:]))
    assert len(first) == len(second) == 5
    assert first != second


@pytest.mark.parametrize("model", ["logistic", "xgboost"])
def test_noise_is_not_predictable_out_of_fold(model):
    """A model that had seen its patients would tell events from the others nearly without fault."""
    out_of_fold, in_sample = [], []
    for seed in range(8):
        sample, setting = noise(seed=seed)
        result = cross_validate(sample, setting, models=(model,), folds=5, repeats=1, seed=seed)
        out_of_fold.append(roc_auc_score(sample.y, result.factual(model, sample.treatment)[0]))
        seen = crossfit.make_risk_model(model, setting).fit(sample.X, sample.y, sample.treatment)
        in_sample.append(roc_auc_score(sample.y, seen.predict(sample.X)))
    assert np.mean(out_of_fold) == pytest.approx(0.5, abs=0.08)
    assert np.mean(in_sample) > 0.8


def test_effects_of_noise_are_not_correlated_with_the_outcome_out_of_fold():
    correlations = []
    for seed in range(4):
        sample, setting = noise(seed=seed, p=8)
        result = cross_validate(
            sample, setting, models=(), learners=("dr_learner",), folds=5, repeats=1, effect_repeats=1, seed=seed
        )
        score = sample.y * np.where(sample.treatment == 1, 2, -2)  # its mean is the effect
        correlations.append(np.corrcoef(result.effects["dr_learner"][0], score)[0, 1])
    assert abs(np.nanmean(correlations)) < 0.15


def test_results_do_not_depend_on_the_number_of_workers():
    sample, setting = noise(n=60, p=2)
    arguments = {"models": ("prevalence", "logistic", "xgboost"), "folds": 2, "repeats": 1, "choose": True}
    learners = {"learners": ("t_learner", "dr_learner"), "effect_repeats": 1}
    one, two = (cross_validate(sample, setting, workers=workers, seed=4, **arguments, **learners) for workers in (1, 2))
    np.testing.assert_array_equal(one.choice, two.choice)
    for left, right in zip(one[:3], two[:3], strict=True):
        assert left.keys() == right.keys()
        for name, values in left.items():
            assert np.isfinite(values).all()
            np.testing.assert_allclose(values, right[name], rtol=0, atol=1e-12)
    assert one.effects["t_learner"].shape == (1, 60)
    other = cross_validate(sample, setting, seed=5, **arguments)
    assert (other.untreated["logistic"] != one.untreated["logistic"]).any()


def test_more_effect_repeats_than_repeats_are_not_filled_with_nothing():
    sample, setting = noise(n=60, p=2)
    result = cross_validate(
        sample, setting, models=(), learners=("dr_learner",), folds=3, repeats=1, effect_repeats=4, seed=0
    )
    assert result.effects["dr_learner"].shape == (1, 60)


def test_weights_exposure_and_arm_reach_the_models():
    rng = np.random.default_rng(0)
    n = 400
    treatment = rng.integers(0, 2, n).astype(np.int8)
    time = rng.uniform(1, 5, n)
    y = rng.poisson(np.where(treatment == 1, 0.2, 0.6) * time).astype(float)
    weight = np.ones(n)
    weight[::4], y[::4] = 0.0, 100.0  # unknown: must not count
    sample = Sample(pd.DataFrame({"x": rng.normal(size=n)}), y, treatment, np.full(n, 0.5), weight, time)
    setting = Setting("count", infer_variables(sample.X), None, harmful=True)
    result = cross_validate(sample, setting, models=("prevalence",), folds=5, repeats=1)
    assert result.untreated["prevalence"].mean() == pytest.approx(0.6, abs=0.1)
    assert result.treated["prevalence"].mean() == pytest.approx(0.2, abs=0.06)


def test_factual_takes_each_patients_own_arm():
    sample, setting = noise(n=60, p=2)
    result = cross_validate(sample, setting, models=("prevalence",), folds=3, repeats=2)
    factual = result.factual("prevalence", sample.treatment)
    treated = sample.treatment == 1
    np.testing.assert_array_equal(factual[:, treated], result.treated["prevalence"][:, treated])
    np.testing.assert_array_equal(factual[:, ~treated], result.untreated["prevalence"][:, ~treated])


def test_the_choice_is_made_without_the_patients_held_out(monkeypatch):
    sample, setting = noise(n=60, p=2)
    asked = []

    def choose(models, train, setting, rng):
        asked.append(set(train.X["id"]))
        return models[len(asked) % 2]

    monkeypatch.setattr(crossfit, "choose_among", choose)
    result = cross_validate(sample, setting, models=("prevalence", "logistic"), folds=5, repeats=2, seed=1, choose=True)
    assert len(asked) == 10
    seen = np.array([[patient in others for patient in sample.X["id"]] for others in asked]).reshape(2, 5, 60)
    # Each patient is left out of one choice a repeat, and predicted by the model of that one.
    assert (seen.sum(axis=1) == 4).all()
    np.testing.assert_array_equal(
        result.choice, (1 + np.arange(10).reshape(2, 5))[np.arange(2)[:, None], seen.argmin(axis=1)] % 2
    )
    chosen = result.chosen(sample.treatment)
    for place, name in enumerate(("prevalence", "logistic")):
        rows = result.choice == place
        np.testing.assert_array_equal(chosen[rows], result.factual(name, sample.treatment)[rows])
        np.testing.assert_array_equal(result.chosen(0)[rows], result.untreated[name][rows])
    assert result.choices() == {"prevalence": 0.5, "logistic": 0.5}


def test_without_a_choice_there_is_no_chosen_model():
    sample, setting = noise(n=60, p=2)
    result = cross_validate(sample, setting, models=("prevalence", "logistic"), folds=3, repeats=1)
    assert result.choices() == {"prevalence": 0.0, "logistic": 0.0}
    with pytest.raises(IndexError):
        result.chosen(0)


def test_choosing_does_not_change_what_the_candidates_predict():
    sample, setting = noise(n=60, p=2)
    arguments = {"models": ("prevalence", "logistic"), "folds": 3, "repeats": 2, "seed": 2}
    plain, chosen = (cross_validate(sample, setting, choose=choose, **arguments) for choose in (False, True))
    np.testing.assert_array_equal(plain.untreated["logistic"], chosen.untreated["logistic"])


def test_each_site_is_predicted_by_the_model_that_the_others_choose_and_fit():
    sample, setting = noise(n=90, p=2)
    site = np.repeat(np.array(["a", "b", "c"], dtype=object), 30)
    left_out = leave_one_site_out(sample, setting, site, models=("prevalence",))
    for name in "abc":
        for arm in (0, 1):
            others = (site != name) & (sample.treatment == arm)
            here = (site == name) & (sample.treatment == arm)
            np.testing.assert_allclose(left_out.predicted[here], sample.y[others].mean(), atol=1e-4)
    models = ("prevalence", "logistic", "xgboost")
    one, two = (leave_one_site_out(sample, setting, site, models=models, seed=3, workers=w) for w in (1, 2))
    np.testing.assert_array_equal(one.predicted, two.predicted)
    assert sum(one.choices.values()) == pytest.approx(1.0)


def test_progress_counts_folds():
    sample, setting = noise(n=60, p=2)
    seen = []
    cross_validate(
        sample,
        setting,
        models=("prevalence",),
        folds=3,
        repeats=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 6) for done in range(1, 7)]


def test_rows_of_a_sample_stay_together():
    sample, _ = noise(n=10, p=1)
    chosen = sample._replace(exposure=np.arange(10.0)).rows(np.array([3, 3, 7]))
    assert chosen.X["id"].tolist() == [3.0, 3.0, 7.0]
    assert chosen.X.index.tolist() == [0, 1, 2]
    assert chosen.y.tolist() == sample.y[[3, 3, 7]].tolist()
    assert chosen.treatment.tolist() == sample.treatment[[3, 3, 7]].tolist()
    assert chosen.exposure.tolist() == [3.0, 3.0, 7.0]
    assert sample.rows(np.array([1])).exposure is None


def test_bootstrap_keeps_the_size_of_each_arm():
    treatment = np.repeat([0, 1], [40, 69]).astype(np.int8)
    rows = bootstrap_rows(treatment, np.random.default_rng(0))
    assert np.bincount(treatment[rows]).tolist() == [40, 69]
    # Drawn with replacement: about 1 - 1/e of the patients come at least once.
    assert len(set(rows)) / 109 == pytest.approx(1 - np.exp(-1), abs=0.1)
