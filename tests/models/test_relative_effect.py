import numpy as np
import pytest
from scipy.special import logit

from il7ml.family import BINARY, CONTINUOUS, COUNT
from il7ml.models.relative_effect import constant_shift


def patients(seed=0, n=109):
    rng = np.random.default_rng(seed)
    return rng.normal(-1, 1.2, n), rng.uniform(0, 2, n)


@pytest.mark.parametrize(("risk", "effect"), [(0.4, -0.2), (0.4, 0.3), (0.05, -0.04), (0.5, 0.0)])
def test_with_one_risk_it_is_the_log_odds_ratio(risk, effect):
    theta = constant_shift(BINARY, np.full(10, logit(risk)), effect)
    assert theta == pytest.approx(logit(risk + effect) - logit(risk), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("effect", [-0.15, -0.01, 0.2])
def test_it_moves_the_mean_risk_by_the_average_effect(effect, seed):
    eta, weight = patients(seed)
    for weights in (None, weight):
        theta = constant_shift(BINARY, eta, effect, weights)
        change = np.average(BINARY.mean(eta + theta) - BINARY.mean(eta), weights=weights)
        assert change == pytest.approx(effect, abs=1e-10)


@pytest.mark.parametrize("effect", [-0.1, 0.4])
def test_for_rates_it_is_the_log_rate_ratio(effect):
    eta, weight = patients()
    mean = np.average(np.exp(eta), weights=weight)
    assert constant_shift(COUNT, eta, effect, weight) == pytest.approx(np.log(1 + effect / mean), abs=1e-9)


def test_for_means_it_is_the_effect_itself():
    assert constant_shift(CONTINUOUS, patients()[0], -3.5) == -3.5


@pytest.mark.parametrize(
    ("family", "effect", "limit"), [(BINARY, -0.9, -15.0), (BINARY, 0.9, 15.0), (COUNT, -100.0, -15.0)]
)
def test_an_effect_beyond_reach_gives_the_limit(family, effect, limit):
    assert constant_shift(family, patients()[0], effect) == limit
