import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from il7ml.evaluation.effect_calibration import best_linear_predictor, group_effects
from il7ml.evaluation.effects import DoublyRobustScores


def by_term(table):
    return table.set_index("term")


@pytest.fixture
def simulated():
    rng = np.random.default_rng(1)
    effect = rng.normal(size=(3, 400)) * 0.3 + rng.normal(size=400)
    scores = effect.mean(axis=0) + rng.normal(size=400) * (1 + np.abs(effect[0]))
    return scores, effect


def test_one_repeat_agrees_with_least_squares_and_hc3(simulated):
    scores, effect = simulated
    table = by_term(best_linear_predictor(scores, effect[0], level=0.9))
    fit = sm.OLS(scores, sm.add_constant(effect[0] - effect[0].mean())).fit(cov_type="HC3")
    np.testing.assert_allclose(table["estimate"], fit.params)
    np.testing.assert_allclose(table["std_error"], fit.bse)
    np.testing.assert_allclose(table[["low", "high"]], fit.conf_int(alpha=0.1))
    assert table.loc["mean", "p_value"] == pytest.approx(fit.pvalues[0])
    assert table.loc["slope", "p_value"] == pytest.approx(stats.norm.sf(fit.tvalues[1]))


def test_repeats_are_joined_by_medians_with_doubled_p(simulated):
    scores, effect = simulated
    noisy = effect * np.array([[0.2], [1.0], [3.0]]) + 8 * np.random.default_rng(2).normal(size=effect.shape)
    single = [by_term(best_linear_predictor(scores, repeat, level=0.975)).loc["slope"] for repeat in noisy]
    joint = by_term(best_linear_predictor(scores, noisy)).loc["slope"]
    for column in ("estimate", "std_error", "low", "high"):
        assert joint[column] == pytest.approx(np.median([row[column] for row in single]))
    assert joint["p_value"] == pytest.approx(min(1, 2 * np.median([row["p_value"] for row in single])))


def test_true_effects_have_slope_one(simulated):
    rng = np.random.default_rng(3)
    effect = rng.normal(size=20000)
    row = by_term(best_linear_predictor(effect + rng.normal(size=20000), effect)).loc["slope"]
    assert row["low"] < 1 < row["high"]
    assert row["high"] - row["low"] < 0.05


def test_under_no_heterogeneity_p_is_uniform():
    rng = np.random.default_rng(4)
    p = [by_term(best_linear_predictor(*rng.normal(size=(2, 100)))).loc["slope", "p_value"] for _ in range(400)]
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_a_constant_prediction_has_no_slope(simulated):
    scores, effect = simulated
    table = by_term(best_linear_predictor(scores, np.full(400, 0.2)))
    assert table.loc["slope"].isna().all()
    assert table.loc["mean", "estimate"] == pytest.approx(scores.mean())
    mostly = np.vstack([np.zeros((2, 400)), effect[:1]])
    assert by_term(best_linear_predictor(scores, mostly)).loc["slope"].isna().all()
    seldom = np.vstack([np.zeros((1, 400)), effect[:2]])
    assert by_term(best_linear_predictor(scores, seldom)).loc["slope", "low"] > 0


def test_groups_worked_by_hand():
    untreated = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    effect = np.array([0.0, -0.1, -0.2, 0.0, -0.3, -0.6])
    table = group_effects(DoublyRobustScores(effect, untreated, untreated + effect), untreated, groups=2)
    assert table["n"].tolist() == [3, 3]
    assert table["group"].tolist() == [1, 2]
    np.testing.assert_allclose(table["ranking"], [0.2, 0.5])
    np.testing.assert_allclose(table["effect"], [-0.1, -0.3])
    np.testing.assert_allclose(table["untreated"], [0.2, 0.5])
    np.testing.assert_allclose(table["treated"], [0.1, 0.2])
    reference = stats.ttest_1samp(effect[3:], 0).confidence_interval(0.95)
    np.testing.assert_allclose(table.loc[1, ["low", "high"]].astype(float), reference)


def test_tied_patients_share_a_group():
    ranking = np.array([0, 0, 0, 0, 0, 0, 1, 2.0])
    scores = DoublyRobustScores(ranking, ranking, 2 * ranking)
    table = group_effects(scores, ranking, groups=4)
    assert table["n"].tolist() == [6, 2]
    assert group_effects(scores, np.ones(8))["n"].tolist() == [8]


def test_repeats_of_the_ranking_are_averaged():
    scores = DoublyRobustScores(np.arange(4.0), np.zeros(4), np.arange(4.0))
    table = group_effects(scores, [[0, 3, 0, 3], [0, 0, 4, 4]], groups=2)
    np.testing.assert_allclose(table["ranking"], [0.75, 2.75])
