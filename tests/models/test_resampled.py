import numpy as np
import pandas as pd
import pytest

from il7ml.features.columns import infer_variables
from il7ml.models import crossfit, resampled
from il7ml.models.catalog import Setting
from il7ml.models.resampled import resample
from il7ml.models.risk import LinearRiskModel
from il7ml.models.sample import Sample


def trial(n=60, seed=0):
    """Return a trial with one useful variable, and its setting."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"severity": rng.normal(size=n), "noise": rng.normal(size=n)}, index=np.arange(n) + 1000)
    treatment = (np.arange(n) % 3 == 0).astype(np.int8)
    y = (X["severity"].to_numpy() + rng.normal(size=n) > 0.3).astype(float)
    sample = Sample(X, y, treatment, np.full(n, 1 / 3), rng.uniform(0.5, 2, n))
    return sample, Setting("binary", infer_variables(X), None, harmful=True)


class MeanOfDrawn:
    """Predicts the weighted mean outcome of the patients it was fitted to, plus the arm."""

    def fit(self, X, y, treatment, *, sample_weight, exposure):
        assert exposure is None
        self.mean = np.average(y, weights=sample_weight)
        return self

    def predict_arms(self, X):
        return np.full(len(X), self.mean), np.full(len(X), self.mean + 1)


def test_counts_say_who_each_refit_has_seen(monkeypatch):
    sample, setting = trial()
    monkeypatch.setattr(resampled, "make_risk_model", lambda name, setting: MeanOfDrawn())
    result = resample(sample, setting, models=("logistic",), bootstrap=30, seed=1)
    assert result.counts.shape == (30, 60)
    # Drawn within arms, with replacement: a patient is out of the bag with probability about 1/e.
    assert (result.counts[:, sample.treatment == 1].sum(axis=1) == sample.treatment.sum()).all()
    assert (result.counts == 0).mean() == pytest.approx(np.exp(-1), abs=0.03)
    means = [np.average(sample.y, weights=sample.weight * drawn) for drawn in result.counts]
    np.testing.assert_allclose(result.untreated["logistic"][1:, 0], means)
    assert result.untreated["logistic"][0, 0] == pytest.approx(np.average(sample.y, weights=sample.weight))
    np.testing.assert_allclose(result.treated["logistic"], result.untreated["logistic"] + 1)


def test_each_patient_is_predicted_in_the_arm_he_was_in():
    sample, setting = trial()
    result = resample(sample, setting, models=("prevalence", "logistic"), bootstrap=3, seed=2)
    treated = sample.treatment == 1
    for name in ("prevalence", "logistic"):
        refits, apparent = result.refits(name, sample.treatment), result.apparent(name, sample.treatment)
        np.testing.assert_array_equal(refits[:, treated], result.treated[name][1:, treated])
        np.testing.assert_array_equal(refits[:, ~treated], result.untreated[name][1:, ~treated])
        np.testing.assert_array_equal(apparent[treated], result.treated[name][0, treated])
        assert (refits.shape, apparent.shape) == ((3, 60), (60,))


def test_the_first_model_is_the_one_of_all_patients_and_refits_learn_their_own_design():
    sample, setting = trial()
    result = resample(sample, setting, models=("logistic",), bootstrap=2, seed=3)
    rows = [np.arange(60), *(np.repeat(np.arange(60), counts) for counts in result.counts)]
    for number, drawn in enumerate(map(sample.rows, rows)):
        model = LinearRiskModel(variables=dict(setting.variables))
        model.fit(drawn.X, drawn.y, drawn.treatment, sample_weight=drawn.weight)
        np.testing.assert_allclose(result.untreated["logistic"][number], model.predict(sample.X, 0), atol=1e-5)


def test_results_depend_on_the_seed_and_not_on_the_number_of_workers():
    sample, setting = trial()
    one, two = (
        resample(sample, setting, models=("logistic", "xgboost"), bootstrap=4, choose=True, seed=5, workers=workers)
        for workers in (1, 2)
    )
    np.testing.assert_array_equal(one.counts, two.counts)
    np.testing.assert_array_equal(one.choice, two.choice)
    for name in ("logistic", "xgboost"):
        np.testing.assert_array_equal(one.untreated[name], two.untreated[name])
        np.testing.assert_array_equal(one.treated[name], two.treated[name])
    assert (resample(sample, setting, models=(), bootstrap=4, seed=6).counts != one.counts).any()


def test_each_bootstrap_sample_chooses_for_itself(monkeypatch):
    sample, setting = trial()
    asked = []

    def choose(models, drawn, setting, rng):
        asked.append(sorted(drawn.X["severity"]))
        return models[len(asked) % 2]

    monkeypatch.setattr(crossfit, "choose_among", choose)
    result = resample(sample, setting, models=("prevalence", "logistic"), bootstrap=3, choose=True, seed=2)
    values = sample.X["severity"].to_numpy()
    assert asked == [sorted(np.repeat(values, counts)) for counts in result.counts]
    assert result.choice.tolist() == [1, 0, 1]
    assert result.choices() == pytest.approx({"prevalence": 1 / 3, "logistic": 2 / 3})
    chosen = result.chosen(sample.treatment)
    for place, name in enumerate(("logistic", "prevalence", "logistic")):
        np.testing.assert_array_equal(chosen[place], result.refits(name, sample.treatment)[place])


def test_more_bootstrap_samples_begin_with_the_same_ones():
    sample, setting = trial()
    few, many = (resample(sample, setting, models=(), bootstrap=b, seed=7) for b in (2, 5))
    np.testing.assert_array_equal(few.counts, many.counts[:2])


def test_progress_counts_fits():
    sample, setting = trial()
    seen = []
    resample(
        sample,
        setting,
        models=("prevalence",),
        bootstrap=3,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 4) for done in range(1, 5)]
