import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import optimize, stats

from il7ml.endpoints.rates import negative_binomial_rates, poisson_rates
from il7ml.errors import InputError

MONTH = 365.25 / 12


def limits(result):
    return round(result.estimate, 3), round(result.low, 3), round(result.high, 3)


def test_reference_numbers_of_the_interferon_trial(cgd):
    exposure = cgd["futime"] / (100 * MONTH)
    ratio, difference = poisson_rates(cgd["infections"], cgd["treat"], endpoint="infections", exposure=exposure)
    assert limits(ratio) == (0.349, 0.187, 0.650)
    # 3.2 against 9.2 infections per 100 patient-months, 20 against 56
    assert difference.estimate == pytest.approx(3.2 - 9.2, abs=0.1)
    assert ratio.events == 76
    negative_binomial = negative_binomial_rates(
        cgd["infections"], cgd["treat"], endpoint="infections", exposure=exposure
    )
    # At the maximum the upper limit is 0.65750; BFGS, which stops before, gives 0.65749.
    found = (negative_binomial.estimate, negative_binomial.low, negative_binomial.high)
    assert found == pytest.approx((0.357, 0.193, 0.6575), abs=5e-4)
    assert negative_binomial.method == "negative binomial"


def test_the_difference_has_the_error_of_two_independent_robust_rates(cgd):
    _, difference = poisson_rates(cgd["infections"], cgd["treat"], endpoint="infections", exposure=cgd["futime"])
    variance = 0
    for arm in (0, 1):
        events, days = cgd.loc[cgd["treat"] == arm, ["infections", "futime"]].to_numpy().T
        n = len(events)
        fit = sm.GLM(events, np.ones(n), family=sm.families.Poisson(), exposure=days).fit(cov_type="HC0")
        variance += (np.exp(fit.params[0]) * fit.bse[0]) ** 2 * n / (n - 1)
    assert difference.std_error == pytest.approx(np.sqrt(variance), rel=1e-4)


def test_the_difference_per_patient_is_that_of_welchs_test(cgd):
    _, difference = poisson_rates(cgd["infections"], cgd["treat"], endpoint="infections")
    treated, control = (cgd.loc[cgd["treat"] == arm, "infections"] for arm in (1, 0))
    reference = stats.ttest_ind(treated, control, equal_var=False)
    assert difference.p_value == pytest.approx(reference.pvalue)
    assert (difference.low, difference.high) == pytest.approx(tuple(reference.confidence_interval()))


def test_both_denominators_scale_the_difference_and_not_the_ratio():
    events, treatment, days = [2, 0, 1, 1, 3, 1], [1, 1, 1, 0, 0, 0], np.array([10, 5, 20, 12, 30, 8])
    a, b = (poisson_rates(events, treatment, endpoint="infections", exposure=days / per) for per in (1, 1000))
    assert b[0].estimate == pytest.approx(a[0].estimate)
    assert b[1].estimate == pytest.approx(1000 * a[1].estimate)
    assert b[1].estimate == pytest.approx(1000 * (3 / 35 - 5 / 50))


def test_adjusted_rates_find_the_truth_under_overdispersion():
    rng = np.random.default_rng(5)
    n = 8000
    x, treatment = rng.normal(size=n), np.arange(n) % 2
    time = rng.uniform(0.5, 2, n)
    events = rng.poisson(time * rng.gamma(1.9, 1 / 1.9, n) * np.exp(-0.2 + np.log(0.56) * treatment + 0.6 * x))
    covariates = pd.DataFrame({"x": x})
    ratio, difference = poisson_rates(events, treatment, endpoint="infections", exposure=time, covariates=covariates)
    untreated = np.exp(-0.2 + 0.6**2 / 2)
    assert abs(np.log(ratio.estimate / 0.56)) < 3 * ratio.std_error
    assert abs(difference.estimate - untreated * (0.56 - 1)) < 3 * difference.std_error
    binomial = negative_binomial_rates(events, treatment, endpoint="infections", exposure=time, covariates=covariates)
    assert abs(np.log(binomial.estimate / 0.56)) < 3 * binomial.std_error
    assert binomial.std_error < ratio.std_error
    assert binomial.method == "negative binomial, adjusted"


def test_the_adjusted_negative_binomial_has_students_interval_and_the_unadjusted_a_normal_one(cgd):
    adjusted, unadjusted = (
        negative_binomial_rates(cgd["infections"], cgd["treat"], endpoint="infections", covariates=covariates)
        for covariates in (cgd[["age"]], None)
    )
    for result, quantile in ((adjusted, stats.t.ppf(0.975, 128 - 3)), (unadjusted, stats.norm.ppf(0.975))):
        assert np.log(result.high / result.estimate) / result.std_error == pytest.approx(quantile)


def test_without_overdispersion_the_negative_binomial_is_poisson_and_says_so():
    events, treatment = np.array([1, 1, 0, 1, 1, 2, 1, 1, 1, 2]), np.arange(10) % 2
    result = negative_binomial_rates(events, treatment, endpoint="infections")
    reference = sm.GLM(events, sm.add_constant(treatment), family=sm.families.Poisson()).fit()
    assert "no overdispersion: Poisson" in result.method
    assert np.log(result.estimate) == pytest.approx(reference.params[1])
    assert result.std_error == pytest.approx(reference.bse[1])


@pytest.mark.parametrize("estimate", [poisson_rates, negative_binomial_rates])
@pytest.mark.parametrize(
    ("events", "exposure", "message"),
    [
        ([0, 0, 1, 2], 1, "no events in the treated arm"),
        ([1, 0.5, 1, 2], 1, "whole numbers"),
        ([1, -1, 1, 2], 1, "at least 0"),
        ([1, 0, 1, 2], [3, 0, 1, 1], "positive time at risk"),
    ],
)
def test_bad_counts_and_times_are_refused(estimate, events, exposure, message):
    with pytest.raises(InputError, match=message):
        estimate(events, [1, 1, 0, 0], endpoint="infections", exposure=exposure)


def profile_likelihood_ratio(events, design, exposure):
    """Return the negative binomial's log rate ratio by maximising over alpha on a fine scale, and the likelihood."""

    def fit(log_alpha):
        family = sm.families.NegativeBinomial(alpha=np.exp(log_alpha))
        return sm.GLM(events, design, family=family, offset=np.log(exposure)).fit()

    def loss(log_alpha):
        alpha = np.exp(log_alpha)
        return -stats.nbinom.logpmf(events, 1 / alpha, 1 / (1 + alpha * fit(log_alpha).mu)).sum()

    return fit(optimize.minimize_scalar(loss, bounds=(-5, 4), method="bounded", options={"xatol": 1e-6}).x).params[1]


def test_a_patient_with_very_many_events_does_not_lead_astray():
    # From the moment estimate, alpha = 11.5 here, Newton's method alone leaves for infinity.
    rng = np.random.default_rng(304)
    n = 109
    arm, exposure = np.arange(n) % 2, np.ceil(rng.uniform(1, 30, n))
    events = rng.poisson(exposure / 30 * rng.gamma(0.5, 2, n) * np.exp(0.5 * arm))
    events[1] = 81
    result = negative_binomial_rates(events, arm, endpoint="infections", exposure=exposure)
    expected = profile_likelihood_ratio(events, np.column_stack([np.ones(n), arm]), exposure)
    assert np.log(result.estimate) == pytest.approx(expected, abs=1e-4)
    assert result.std_error < 1


def test_a_site_without_events_does_not_stand_in_the_way():
    rng = np.random.default_rng(6)
    n = 200
    arm, site = np.arange(n) % 2, np.arange(n) % 5
    events = rng.poisson(rng.gamma(0.8, 1 / 0.8, n) * np.exp(-0.6 * arm)) * (site < 4)
    covariates = pd.DataFrame({"site": site.astype(str)})
    result = negative_binomial_rates(events, arm, endpoint="infections", covariates=covariates)
    design = np.column_stack([np.ones(n), arm, *(site == each for each in range(1, 4))]).astype(float)[site < 4]
    expected = profile_likelihood_ratio(events[site < 4], design, np.ones((site < 4).sum()))
    assert np.log(result.estimate) == pytest.approx(expected, abs=1e-4)
    assert (result.n, result.events) == (n, events.sum())
