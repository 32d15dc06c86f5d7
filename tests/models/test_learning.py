from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from il7ml.features.columns import infer_variables
from il7ml.models.catalog import Setting
from il7ml.models.learning import FRACTIONS, losses_by_size
from il7ml.models.sample import Sample
from il7ml.state import State


def trial(n=300, strength=1.5, seed=1):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 8)), columns=[f"x{k}" for k in range(8)])
    arm = (np.arange(n) % 2).astype(np.int8)
    eta = strength * X.to_numpy()[:, :4].sum(axis=1) / 2 - 0.4 * arm
    y = (rng.random(n) < expit(eta)).astype(float)
    sample = Sample(X, y, arm, np.full(n, 0.5), np.ones(n))
    return sample, Setting("binary", infer_variables(X), None, True)


def test_the_loss_falls_as_patients_are_added_and_the_sizes_are_the_fractions():
    sample, setting = trial()
    table = losses_by_size(sample, setting, model="logistic", repeats=3)
    by_size = table.groupby("size")["value"].mean()
    np.testing.assert_allclose(by_size.index, 240 * np.array(FRACTIONS), atol=2)
    assert by_size.iloc[0] > by_size.iloc[-1]
    assert table.groupby("repeat").size().tolist() == [4, 4, 4]


def test_the_event_rate_does_not_learn_from_more_patients():
    sample, setting = trial(n=2000, strength=0.0)
    by_size = losses_by_size(sample, setting, model="prevalence", repeats=2).groupby("size")["value"].mean()
    # At n training patients the expected excess of an estimated rate is 1 / (2 n) an arm.
    assert by_size.max() - by_size.min() < 0.003
    rates = [sample.y[sample.treatment == arm].mean() for arm in (0, 1)]
    entropy = np.mean([-(p * np.log(p) + (1 - p) * np.log(1 - p)) for p in rates])
    assert by_size.iloc[-1] == pytest.approx(entropy, abs=0.003)


def test_a_smaller_part_keeps_the_shares_of_arms_and_outcomes():
    sample, setting = trial(n=400)
    seen = []

    import il7ml.models.learning as learning

    def spy(name, setting):
        class Model:
            def fit(self, X, y, treatment, **_):
                seen.append((len(y), y.mean(), treatment.mean()))
                return self

            def predict(self, X, treatment):
                return np.full(len(X), 0.5)

        return Model()

    original = learning.make_risk_model
    learning.make_risk_model = spy
    try:
        losses_by_size(sample, setting, model="logistic", repeats=1)
    finally:
        learning.make_risk_model = original
    for size, events, treated in seen:
        assert events == pytest.approx(sample.y.mean(), abs=4 / size)
        assert treated == pytest.approx(0.5, abs=4 / size)


def test_results_do_not_depend_on_workers_or_on_a_state(tmp_path):
    sample, setting = trial(n=120)
    kwargs = {"model": "logistic", "repeats": 2, "folds": 3}
    alone = losses_by_size(sample, setting, **kwargs)
    pd.testing.assert_frame_equal(losses_by_size(sample, setting, **kwargs, workers=2), alone)
    for _ in range(2):
        pd.testing.assert_frame_equal(losses_by_size(sample, setting, **kwargs, state=State(tmp_path)), alone)


def test_unknown_outcomes_do_not_count():
    sample, setting = trial(n=120)
    weight = np.where(np.arange(120) < 20, 0.0, 1.0)
    y = np.where(weight > 0, sample.y, 0.0)
    table = losses_by_size(sample._replace(y=y, weight=weight), setting, model="prevalence", repeats=1)
    assert table["value"].between(0.3, 1.0).all()
