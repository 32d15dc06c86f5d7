import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from il7ml.errors import InputError
from il7ml.evaluation.effects import (
    DoublyRobustScores,
    average_effect,
    doubly_robust_scores,
    number_needed_to_treat,
    unadjusted_effect,
)

TREATMENT = np.array([1, 1, 1, 1, 0, 0, 0, 0])


def by_scale(table):
    return table.set_index("scale")


def test_scores_worked_by_hand():
    scores = doubly_robust_scores(
        y=[1, 0, 1, np.nan],
        treatment=[1, 1, 0, 0],
        propensity=[0.5, 0.25, 0.5, 0.5],
        untreated=[0.4, 0.4, 0.3, 0.2],
        treated=[0.2, 0.1, 0.5, 0.3],
        weight=[1.25, 1, 2, 0],
    )
    # The treated arm's weights, brought to a sum of 2, are 10/9 and 8/9:
    # 0.2 + 10/9 / 0.5 * (1 - 0.2); 0.1 + 8/9 / 0.25 * (0 - 0.1)
    np.testing.assert_allclose(scores.treated, [0.2 + 16 / 9, 0.1 - 3.2 / 9, 0.5, 0.3])
    np.testing.assert_allclose(scores.untreated, [0.4, 0.4, 0.3 + 2 / 0.5 * 0.7, 0.2])
    np.testing.assert_allclose(scores.effect, scores.treated - scores.untreated)


def test_without_predictions_the_means_are_those_of_the_arms():
    y = np.array([1, 0, 0, 1, 1, 1, 0, 1.0])
    scores = doubly_robust_scores(y, TREATMENT, 0.5, np.zeros(8), np.zeros(8))
    assert scores.treated.mean() == pytest.approx(0.5)
    assert scores.untreated.mean() == pytest.approx(0.75)


def test_rates_are_events_over_time_in_each_arm_even_if_time_differs_between_arms():
    events = np.array([0, 1, 0, 2, 1, 1, 3, 0.0])
    days = np.array([10, 20, 30, 20, 5, 5, 5, 10.0])
    scores = doubly_robust_scores(events, TREATMENT, 0.5, np.full(8, 0.3), np.full(8, 0.3), exposure=days)
    assert scores.treated.mean() == pytest.approx(3 / 80)
    assert scores.untreated.mean() == pytest.approx(5 / 25)


@pytest.mark.parametrize(("propensity", "message"), [(0.0, "strictly between"), (1.0, "strictly"), (np.nan, "finite")])
def test_a_probability_outside_the_open_interval_is_refused(propensity, message):
    with pytest.raises(InputError, match=f"propensity: expected .*{message}"):
        doubly_robust_scores([1, 0], [1, 0], propensity, [0.5, 0.5], [0.5, 0.5])


def test_average_effect_is_a_paired_comparison_with_the_delta_method():
    rng = np.random.default_rng(1)
    untreated, treated = 0.4 + 0.3 * rng.normal(size=(2, 300))
    treated += 0.5 * (untreated - 0.4) - 0.1
    table = by_scale(average_effect(DoublyRobustScores(treated - untreated, untreated, treated), "binary"))
    reference = stats.ttest_rel(treated, untreated)
    assert table.loc["difference", "estimate"] == pytest.approx((treated - untreated).mean())
    assert table.loc["difference", "std_error"] == pytest.approx((treated - untreated).std(ddof=1) / np.sqrt(300))
    assert table.loc["difference", "p_value"] == pytest.approx(2 * stats.norm.sf(abs(reference.statistic)))
    # Delta method by numerical differentiation.
    covariance = np.cov(untreated, treated) / 300
    means = np.array([untreated.mean(), treated.mean()])
    for scale, function in (
        ("ratio", lambda m: np.log(m[1] / m[0])),
        ("odds_ratio", lambda m: np.log(m[1] / (1 - m[1]) / m[0] * (1 - m[0]))),
    ):
        gradient = [(function(means + step) - function(means - step)) / 2e-6 for step in 1e-6 * np.eye(2)]
        error = np.sqrt(gradient @ covariance @ np.array(gradient))
        assert table.loc[scale, "std_error"] == pytest.approx(error, rel=1e-6)
        assert np.log(table.loc[scale, "estimate"]) == pytest.approx(function(means))
        assert np.log(table.loc[scale, "high"]) == pytest.approx(function(means) + 1.959964 * error, rel=1e-6)


def test_sites_enter_the_variance_as_in_statsmodels():
    rng = np.random.default_rng(2)
    site = rng.integers(0, 12, 200)
    effect = rng.normal(size=200) + rng.normal(size=12)[site]
    scores = DoublyRobustScores(effect, np.zeros(200), effect)
    row = average_effect(scores, "continuous", clusters=site).iloc[0]
    fit = sm.OLS(effect, np.ones(200)).fit(cov_type="cluster", cov_kwds={"groups": site}, use_t=True)
    assert row["std_error"] == pytest.approx(fit.bse[0])
    assert row["p_value"] == pytest.approx(fit.pvalues[0])
    np.testing.assert_allclose(row[["low", "high"]].astype(float), fit.conf_int()[0])


def test_one_site_is_refused():
    scores = DoublyRobustScores(np.ones(3), np.zeros(3), np.ones(3))
    with pytest.raises(InputError, match="two sites"):
        average_effect(scores, "continuous", clusters=["a", "a", "a"])


def test_scales_follow_the_outcome():
    scores = DoublyRobustScores(np.array([0.1, 0.2]), np.array([0.3, 0.4]), np.array([0.4, 0.6]))
    assert average_effect(scores, "continuous")["scale"].tolist() == ["difference"]
    assert average_effect(scores, "count")["scale"].tolist() == ["difference", "ratio"]
    assert average_effect(scores, "binary")["scale"].tolist() == ["difference", "ratio", "odds_ratio"]


def test_a_ratio_without_meaning_is_missing():
    scores = DoublyRobustScores(np.array([-0.5, -0.7]), np.array([0.3, 0.4]), np.array([-0.2, -0.3]))
    table = by_scale(average_effect(scores, "binary"))
    assert np.isfinite(table.loc["difference", "estimate"])
    assert table.loc[["ratio", "odds_ratio"], ["estimate", "low", "high"]].isna().all(axis=None)


def test_unadjusted_risks_against_the_textbook():
    a, n1, c, n0 = 12, 55, 25, 54
    y = np.repeat([1, 0, 1, 0], [a, n1 - a, c, n0 - c])
    treatment = np.repeat([1, 0], [n1, n0])
    table = by_scale(unadjusted_effect(y, treatment, "binary"))
    p1, p0 = a / n1, c / n0
    assert table.loc["difference", "std_error"] == pytest.approx(np.sqrt(p1 * (1 - p1) / n1 + p0 * (1 - p0) / n0))
    assert table.loc["ratio", "estimate"] == pytest.approx(p1 / p0)
    assert table.loc["ratio", "std_error"] == pytest.approx(np.sqrt(1 / a - 1 / n1 + 1 / c - 1 / n0))
    woolf = np.sqrt(1 / a + 1 / (n1 - a) + 1 / c + 1 / (n0 - c))
    assert table.loc["odds_ratio", "std_error"] == pytest.approx(woolf)


def test_unadjusted_means_have_the_error_of_welch():
    rng = np.random.default_rng(3)
    treatment = rng.integers(0, 2, 80)
    y = rng.normal(size=80) * (1 + treatment)
    row = unadjusted_effect(y, treatment, "continuous").iloc[0]
    welch = stats.ttest_ind(y[treatment == 1], y[treatment == 0], equal_var=False)
    assert row["estimate"] / row["std_error"] == pytest.approx(welch.statistic)


def test_unadjusted_rates_have_the_robust_error_of_poisson_regression():
    rng = np.random.default_rng(4)
    treatment = rng.integers(0, 2, 150)
    days = rng.uniform(5, 30, 150)
    events = rng.poisson(rng.gamma(1, 0.05, 150) * days)
    table = by_scale(unadjusted_effect(events, treatment, "count", exposure=days))
    design = sm.add_constant(treatment.astype(float))
    fit = sm.GLM(events, design, family=sm.families.Poisson(), exposure=days).fit(cov_type="HC0")
    assert np.log(table.loc["ratio", "estimate"]) == pytest.approx(fit.params[1])
    assert table.loc["ratio", "std_error"] == pytest.approx(fit.bse[1])


def test_unadjusted_censoring_weights_act_like_numbers_of_patients_in_the_means():
    y, weight = np.array([1, 0, np.nan, 1, 0, 1.0]), np.array([2, 1, 0, 1, 3, 1.0])
    row = unadjusted_effect(y, [1, 1, 1, 0, 0, 0], "binary", weight).iloc[0]
    assert row["estimate"] == pytest.approx(2 / 3 - 2 / 5)


def test_the_interval_covers_the_true_risk_difference_with_wrong_predictions():
    rng = np.random.default_rng(5)
    trials, n = 600, 150
    x = rng.normal(size=(trials, n))
    p0, p1 = 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(0.8 - x))
    treatment = rng.integers(0, 2, (trials, n))
    y = (rng.random((trials, n)) < np.where(treatment == 1, p1, p0)).astype(float)
    wrong = 0.5 + 0.1 * np.tanh(x)
    grid = stats.norm.ppf((np.arange(20000) + 0.5) / 20000)
    truth = np.mean(1 / (1 + np.exp(0.8 - grid)) - 1 / (1 + np.exp(-grid)))
    covered = []
    for t in range(trials):
        scores = doubly_robust_scores(y[t], treatment[t], 0.5, wrong[t], wrong[t])
        row = average_effect(scores, "binary").iloc[0]
        covered.append(row["low"] <= truth <= row["high"])
    assert stats.binomtest(int(np.sum(covered)), trials, 0.95).pvalue > 0.001


@pytest.mark.parametrize(
    ("difference", "numbers", "text"),
    [
        ((-0.1, -0.2, -0.05), (10, 5, 20), "NNTB 10.0 (NNTB 5.0 to NNTB 20.0)"),
        ((0.1, 0.05, 0.2), (-10, -20, -5), "NNTH 10.0 (NNTH 20.0 to NNTH 5.0)"),
        ((-0.05, -0.25, 0.15), (20, 4, -1 / 0.15), "NNTB 20.0 (NNTB 4.0 to ∞ to NNTH 6.7)"),
        ((-0.1, -0.2, 0.0), (10, 5, np.inf), "NNTB 10.0 (NNTB 5.0 to ∞)"),
    ],
)
def test_number_needed_to_treat(difference, numbers, text):
    needed = number_needed_to_treat(*difference)
    assert tuple(needed) == pytest.approx(numbers)
    assert str(needed) == text


@pytest.mark.parametrize("factor", [0.1, 1.0, 10.0])
def test_only_the_proportions_of_weights_count(factor):
    rng = np.random.default_rng(5)
    arm = rng.integers(0, 2, 200)
    y, weight = rng.binomial(1, 0.4, 200), rng.integers(1, 3, 200).astype(float)
    means = np.full(200, 0.5), np.full(200, 0.3)
    one, other = (doubly_robust_scores(y, arm, 0.5, *means, weight=each) for each in (weight, factor * weight))
    np.testing.assert_allclose(one.effect, other.effect)


def test_half_of_the_outcomes_unknown_leave_the_interval_its_level():
    # Unknown at random, weights of 1: a mean of each arm over those who are known, with its own standard error.
    rng = np.random.default_rng(6)
    arm, weight = np.arange(400) % 2, (rng.random(400) < 0.5).astype(float)
    y = rng.binomial(1, 0.4, 400)
    scores = doubly_robust_scores(y, arm, 0.5, np.zeros(400), np.zeros(400), weight=weight)
    known = weight > 0
    # The arm's mean, up to the share of the treated that allocation's probability takes as given.
    for part, side in ((scores.untreated, 0), (scores.treated, 1)):
        assert part.mean() == pytest.approx(y[known & (arm == side)].mean())


def test_arms_and_clusters_of_another_form_are_refused():
    half = np.full(4, 0.5)
    with pytest.raises(InputError, match="treatment: expected 4 times 0"):
        doubly_robust_scores([0, 1, 0, 1], [1, 2, 1, 2], 0.5, half, half)
    scores = doubly_robust_scores([0, 1, 0, 1], [0, 1, 1, 0], 0.5, half, half)
    for clusters in ([1, 2, 3], [1.0, 2.0, np.nan, 1.0]):
        with pytest.raises(InputError, match="clusters: expected a site for each of 4"):
            average_effect(scores, "binary", clusters=clusters)
