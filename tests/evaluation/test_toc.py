import numpy as np
import pytest
from scipy import stats

from il7ml.errors import InputError
from il7ml.evaluation.rank_weighted import rank_weighted_effect
from il7ml.evaluation.toc import targeting_curve


def test_worked_by_hand():
    curve = targeting_curve([4.0, 0.0, 2.0, 6.0], [3, 1, 2, 0], points=4, rng=np.random.default_rng(0))
    # Means of the first 1, 2, 3, 4: 4, 3, 2, 3; the mean of all: 3.
    assert curve["estimate"].tolist() == pytest.approx([1, 0, -1, 0])
    assert curve["fraction"].tolist() == [0.25, 0.5, 0.75, 1]


def test_a_share_between_two_patients_counts_the_second_in_part():
    curve = targeting_curve([4.0, 0.0, 2.0, 6.0, 3.0], [5, 4, 3, 2, 1], points=2, rng=np.random.default_rng(0))
    assert curve["estimate"].iloc[0] == pytest.approx((4 + 0 + 0.5 * 2) / 2.5 - 3)


def test_the_mean_of_the_curve_is_autoc():
    rng = np.random.default_rng(1)
    scores, priority = rng.normal(size=60), np.round(rng.normal(size=60), 1)  # with ties
    curve = targeting_curve(scores, priority, points=60, bootstrap=2, rng=rng)
    assert curve["estimate"].mean() == pytest.approx(rank_weighted_effect(scores, priority, rng=rng).estimate)


def test_a_constant_priority_targets_nobody():
    curve = targeting_curve(np.arange(40.0), np.zeros(40), rng=np.random.default_rng(0))
    assert curve["estimate"].to_numpy() == pytest.approx(0)


def test_truth_is_recovered_for_a_normal_benefit():
    rng = np.random.default_rng(2)
    benefit = rng.normal(size=40000)
    curve = targeting_curve(benefit + rng.normal(size=40000), benefit, points=10, bootstrap=200, rng=rng)
    share = curve["fraction"].to_numpy()
    truth = stats.norm.pdf(stats.norm.ppf(1 - share)) / share
    # Bands are pointwise: 4 standard errors for ten points.
    assert (np.abs(curve["estimate"] - truth) <= 4 * curve["std_error"] + 1e-12).all()
    assert curve["std_error"].max() < 0.05


def test_bands_cover_the_truth_at_101_patients():
    # 4 Monte-Carlo standard errors allowed at each of the points.
    rng, trials = np.random.default_rng(3), 300
    share = np.array([0.1, 0.2, 0.5, 0.8])
    truth = stats.norm.pdf(stats.norm.ppf(1 - share)) / share
    covered = np.zeros(4)
    for _ in range(trials):
        benefit = rng.normal(size=101)
        curve = targeting_curve(benefit + 2 * rng.normal(size=101), benefit, points=10, bootstrap=200, rng=rng)
        rows = curve.iloc[[0, 1, 4, 7]]
        covered += (rows["low"].to_numpy() <= truth) & (truth <= rows["high"].to_numpy())
    assert (covered / trials).min() >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / trials)


def test_at_the_end_all_are_treated_and_nothing_is_uncertain():
    rng = np.random.default_rng(4)
    last = targeting_curve(*rng.normal(size=(2, 50)), bootstrap=20, rng=rng).iloc[-1]
    assert last[["estimate", "std_error", "low", "high"]].to_numpy() == pytest.approx(0, abs=1e-12)


def test_repeats_are_joined_by_medians():
    rng = np.random.default_rng(5)
    scores, priority = rng.normal(size=50), rng.normal(size=(3, 50))
    single = [targeting_curve(scores, one, bootstrap=5, rng=rng)["estimate"] for one in priority]
    joint = targeting_curve(scores, priority, bootstrap=5, rng=rng)["estimate"]
    np.testing.assert_allclose(joint, np.median(single, axis=0))
    once = targeting_curve(scores, priority[0], rng=np.random.default_rng(6))
    thrice = targeting_curve(scores, np.tile(priority[0], (3, 1)), rng=np.random.default_rng(6))
    np.testing.assert_allclose(thrice["std_error"], once["std_error"])
    np.testing.assert_allclose(once["high"], once["estimate"] + stats.norm.ppf(0.975) * once["std_error"])
    np.testing.assert_allclose(thrice["high"], once["estimate"] + stats.norm.ppf(0.9875) * once["std_error"])


@pytest.mark.parametrize(("n", "points"), [(3, 2), (10, 11), (10, 0)])
def test_too_few_patients_are_refused(n, points):
    with pytest.raises(InputError, match="points"):
        targeting_curve(np.arange(n), np.arange(n), points=points, rng=np.random.default_rng(0))


def test_limits_hold_their_level_with_tied_priorities():
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        curve = targeting_curve(rng.normal(size=100), rng.integers(0, 3, 100), points=2, bootstrap=100, rng=rng)
        hits += curve.loc[0, "low"] > 0 or curve.loc[0, "high"] < 0
    assert stats.binomtest(hits, 200, 0.05, alternative="greater").pvalue > 0.001
