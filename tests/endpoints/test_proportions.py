import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, ttest_ind
from statsmodels.stats.contingency_tables import Table2x2
from statsmodels.stats.proportion import confint_proportions_2indep

from il7ml.endpoints.proportions import adjusted_risks, exact_difference, number_needed_to_treat, unadjusted_risks
from il7ml.endpoints.result import wald
from il7ml.errors import InputError


def by_scale(results):
    return {result.scale: result for result in results}


def test_published_numbers_of_the_interferon_trial(cgd):
    results = by_scale(unadjusted_risks(cgd["event"], cgd["treat"], endpoint="infection"))
    # 14 of 63 against 30 of 65
    assert results["difference"].estimate == pytest.approx(14 / 63 - 30 / 65)
    infected, treated = cgd["event"].to_numpy(), cgd["treat"].to_numpy() == 1
    welch = ttest_ind(infected[treated], infected[~treated], equal_var=False)
    limits = welch.confidence_interval()
    assert (results["difference"].low, results["difference"].high) == pytest.approx((limits.low, limits.high))
    assert results["difference"].p_value == pytest.approx(welch.pvalue)
    for scale, compare, method in (("ratio", "ratio", "log"), ("odds_ratio", "odds-ratio", "logit")):
        expected = confint_proportions_2indep(14, 63, 30, 65, method=method, compare=compare)
        assert (results[scale].low, results[scale].high) == pytest.approx(expected, rel=1e-6)
    table = Table2x2([[14, 49], [30, 35]])
    assert results["odds_ratio"].std_error == pytest.approx(table.log_oddsratio_se)
    assert results["ratio"].p_value == pytest.approx(table.riskratio_pvalue())
    assert (results["ratio"].n, results["ratio"].events) == (128, 44)


def test_unknown_outcomes_are_left_out_without_covariates():
    results = unadjusted_risks([1, 0, np.nan, 1, 0, 0], [1, 1, 1, 0, 0, 0], endpoint="infection")
    assert results[0].estimate == pytest.approx(1 / 2 - 1 / 3)
    assert results[0].n == 5


@pytest.mark.parametrize("risk", [0.2, 0.27, 0.35])
def test_the_difference_holds_its_level_at_the_size_of_the_trial(risk):
    # All tables of 55 and 54 patients with their probabilities: no simulation. The binomial error gives 5.5 to 5.6 %.
    sizes = np.array([54, 55])
    arm = np.repeat([0, 1], sizes)
    rejected = 0.0
    plausible = [np.arange(*binom.interval(1 - 1e-4, n, risk)).astype(int) for n in sizes]
    for control in plausible[0]:
        for treated in plausible[1]:
            if abs(treated / 55 - control / 54) < 0.12:
                continue  # not rejected, but in tables too rare to matter
            y = np.concatenate([np.arange(54) < control, np.arange(55) < treated])
            p_value = unadjusted_risks(y, arm, endpoint="death")[0].p_value
            rejected += (p_value < 0.05) * binom.pmf(control, 54, risk) * binom.pmf(treated, 55, risk)
    assert 0.045 < rejected < 0.053


def test_adjustment_keeps_the_estimand_and_gains_precision(cgd):
    rng = np.random.default_rng(3)
    n = 4000
    treatment, severity = np.arange(n) % 2, rng.normal(size=n)
    y = rng.random(n) < 1 / (1 + np.exp(0.2 + 0.6 * treatment - 2 * severity))
    raw = unadjusted_risks(y, treatment, endpoint="infection")
    adjusted = adjusted_risks(y, treatment, pd.DataFrame({"severity": severity}), endpoint="infection")
    for before, after in zip(raw, adjusted, strict=True):
        assert after.std_error < 0.85 * before.std_error
        assert abs(after.estimate - before.estimate) < 3 * before.std_error
    # The conditional odds ratio, exp(-0.6) = 0.55, is further from 1 than the one all patients show.
    assert adjusted[2].estimate > 0.6


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 0, 0, 1, 0, 1], "no events in the treated arm"),
        ([0, 1, 0, 0, 0, 0], "no events in the control arm"),
        ([1, 1, 1, 0, 0, 1], "all patients of an arm have the event"),
        ([2, 0, 0, 1, 0, 1], "expected 1 .*or 0"),
    ],
)
def test_arms_without_contrast_are_refused(y, message):
    for estimate in (
        lambda: unadjusted_risks(y, [1, 1, 1, 0, 0, 0], endpoint="infection"),
        lambda: adjusted_risks(y, [1, 1, 1, 0, 0, 0], pd.DataFrame({"age": range(6)}), endpoint="infection"),
    ):
        with pytest.raises(InputError, match=message):
            estimate()


def test_a_single_site_is_no_covariate():
    with pytest.raises(InputError, match="'site': expected values that differ"):
        adjusted_risks([1, 0, 1, 0], [1, 1, 0, 0], pd.DataFrame({"site": ["uk"] * 4}), endpoint="infection")


def test_number_needed_to_treat_inverts_the_difference_and_its_limits():
    # Altman, BMJ 1998: a risk reduction of 10 % (95 % interval -5 % to 25 %) is NNTB 10 (NNTB 4 to infinity to
    # NNTH 20).
    half = 0.15 / 1.959964
    number = number_needed_to_treat(wald("infection", "raw", "difference", -0.10, half, n=100, events=20))
    assert (number.estimate, number.low, number.high) == pytest.approx((10, 4, -20), rel=1e-6)
    assert number.scale == "number_needed"
    assert number.p_value == pytest.approx(0.1913, abs=1e-4)
    nobody = number_needed_to_treat(wald("infection", "raw", "difference", 0.0, half, n=100))
    assert np.isinf(nobody.estimate)


def test_the_exact_difference_is_newcombes_and_fishers():
    # Newcombe 1998, table II, method 10: 0/10 against 0/20 has -0.1611 to 0.2775, 10/10 against 0/20 0.6791 to 1.0.
    for (a, n, b, m), low, high in (((0, 10, 0, 20), -0.1611, 0.2775), ((10, 10, 0, 20), 0.6791, 1.0)):
        y = np.repeat([1, 0, 1, 0], [a, n - a, b, m - b])
        arm = np.repeat([1, 0], [n, m])
        result = exact_difference(y, arm, endpoint="death")
        assert (result.low, result.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))
        assert result.estimate == a / n - b / m
        assert (result.n, result.events) == (n + m, a + b)
    assert result.p_value == pytest.approx(1 / 30045015)  # all ten of the ten, of thirty choose ten


def test_the_exact_difference_needs_an_outcome_in_each_arm():
    with pytest.raises(InputError, match="no known outcome"):
        exact_difference([1, 0, np.nan, np.nan], [1, 1, 0, 0], endpoint="death")
