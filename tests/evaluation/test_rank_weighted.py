import numpy as np
import pytest
from scipy import integrate, stats

from il7ml.evaluation.rank_weighted import rank_weighted_effect


def test_worked_by_hand():
    result = rank_weighted_effect([4.0, 0.0, 2.0], [3, 1, 2], rng=np.random.default_rng(0))
    # Means of the top 1, 2, 3: 4, 3, 2; the mean of all: 2.
    assert result.estimate == pytest.approx((4 + 3 + 2) / 3 - 2)


def test_tied_patients_count_as_their_average():
    result = rank_weighted_effect([4.0, 0.0, 2.0], [1, 1, 0], rng=np.random.default_rng(0))
    assert result.estimate == pytest.approx(0.0)
    constant = rank_weighted_effect([4.0, 0.0, 2.0], [1, 1, 1], rng=np.random.default_rng(0))
    assert constant.estimate == pytest.approx(0.0)


def test_reversed_priority_finds_harm():
    rng = np.random.default_rng(1)
    benefit = rng.normal(size=300)
    good = rank_weighted_effect(benefit, benefit, rng=rng)
    bad = rank_weighted_effect(benefit, -benefit, rng=rng)
    assert good.low > 0 > bad.high


def test_truth_is_recovered_for_a_normal_effect():
    # Mean effect above a cut-off z is phi(z) / (1 - Phi(z)); AUTOC averages it over normal cut-offs.
    truth, _ = integrate.quad(lambda z: stats.norm.pdf(z) ** 2 / stats.norm.sf(z), -8, 8)
    rng = np.random.default_rng(2)
    effect = rng.normal(size=40000)
    result = rank_weighted_effect(effect + rng.normal(size=40000), effect, bootstrap=200, rng=rng)
    assert result.low < truth < result.high
    assert result.high - result.low < 0.1


def test_the_standard_error_is_the_spread_over_trials():
    rng = np.random.default_rng(3)
    results = []
    for _ in range(300):
        priority = rng.normal(size=101)
        results.append(rank_weighted_effect(priority + rng.normal(size=101), priority, bootstrap=100, rng=rng))
    spread = np.std([result.estimate for result in results], ddof=1)
    assert np.mean([result.std_error for result in results]) == pytest.approx(spread, rel=0.15)


def test_p_is_uniform_when_the_priority_says_nothing():
    rng = np.random.default_rng(4)
    p = [rank_weighted_effect(*rng.normal(size=(2, 200)), bootstrap=100, rng=rng).p_value for _ in range(300)]
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_repeats_are_averaged():
    rng = np.random.default_rng(5)
    scores, priority = rng.normal(size=50), rng.normal(size=(2, 50))
    single = [rank_weighted_effect(scores, one, bootstrap=5, rng=rng).estimate for one in priority]
    assert rank_weighted_effect(scores, priority, bootstrap=5, rng=rng).estimate == pytest.approx(np.mean(single))


@pytest.mark.parametrize("levels", [2, 3, 20])
def test_size_is_held_with_tied_priorities(levels):
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        scores, priority = rng.normal(size=100), rng.integers(0, levels, 100)
        hits += rank_weighted_effect(scores, priority, bootstrap=100, rng=rng).p_value <= 0.05
    assert stats.binomtest(hits, 200, 0.05, alternative="greater").pvalue > 0.001


def test_one_rank_for_all_is_no_evidence():
    result = rank_weighted_effect(np.arange(30.0), np.ones(30), rng=np.random.default_rng(0))
    assert (result.estimate, result.p_value) == (pytest.approx(0, abs=1e-12), 1.0)
