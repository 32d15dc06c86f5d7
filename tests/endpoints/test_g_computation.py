import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit

from il7ml.endpoints.contrasts import compare
from il7ml.endpoints.g_computation import raw_means, standardised_means
from il7ml.endpoints.proportions import adjusted_risks
from il7ml.errors import InputError
from il7ml.family import BINARY, CONTINUOUS, COUNT


def drawn(n, seed=1):
    rng = np.random.default_rng(seed)
    return rng, rng.permutation(np.arange(n) % 2 == 1), rng.normal(size=(n, 2))


def difference(arms):
    variance = np.array([-1, 1]) @ arms.covariance @ [-1, 1]
    return arms.means[1] - arms.means[0], np.sqrt(variance)


def test_raw_risks_have_binomial_variances_and_leave_out_the_unknown():
    y = np.array([1, 0, 0, np.nan, 1, 1, 0, 1, 0])
    arms = raw_means(BINARY, y, np.array([True] * 4 + [False] * 5))
    assert arms.means == pytest.approx([3 / 5, 1 / 3])
    assert np.diag(arms.covariance) == pytest.approx([0.6 * 0.4 / 5, 1 / 3 * 2 / 3 / 3])
    assert (arms.n, arms.events) == (8, 4)


def test_raw_rates_are_those_of_poisson_regression_with_the_sandwich():
    rng, treated, _ = drawn(80)
    time = rng.uniform(0.2, 2, 80)
    events = rng.poisson(time * rng.gamma(1, 1, 80))
    arms = raw_means(COUNT, events.astype(float), treated, time)
    design = np.column_stack([np.ones(80), treated])
    reference = sm.GLM(events, design, family=sm.families.Poisson(), exposure=time).fit(cov_type="HC0")
    (ratio,) = compare(arms, ("rate_ratio",), "infections", "raw")
    assert np.log(ratio.estimate) == pytest.approx(reference.params[1], rel=1e-6)
    assert ratio.std_error == pytest.approx(reference.bse[1], rel=1e-6)


def test_raw_means_are_welchs():
    _, treated, x = drawn(30)
    arms = raw_means(CONTINUOUS, x[:, 0], treated)
    expected = x[treated, 0].var(ddof=1) / treated.sum() + x[~treated, 0].var(ddof=1) / (~treated).sum()
    assert difference(arms)[1] == pytest.approx(np.sqrt(expected))


def test_standardised_means_of_a_linear_model_differ_by_its_coefficient_with_hc1_errors():
    rng, treated, x = drawn(70)
    y = 1 + 0.5 * treated + x @ [1, -2] + rng.normal(size=70)
    arms = standardised_means(CONTINUOUS, y, treated, x)
    reference = sm.OLS(y, np.column_stack([np.ones(70), treated, x])).fit(cov_type="HC1")
    assert difference(arms) == pytest.approx((reference.params[1], reference.bse[1]))


def test_standardised_rates_have_the_ratio_of_poisson_regression_with_hc1_errors():
    rng, treated, x = drawn(90)
    time = rng.uniform(0.2, 2, 90)
    events = rng.poisson(time * np.exp(-0.5 * treated + 0.4 * x[:, 0]))
    design = np.column_stack([np.ones(90), treated, x])
    reference = sm.GLM(events, design, family=sm.families.Poisson(), exposure=time).fit(cov_type="HC0")
    (ratio,) = compare(
        standardised_means(COUNT, events.astype(float), treated, x, time), ("rate_ratio",), "infections", "adjusted"
    )
    assert np.log(ratio.estimate) == pytest.approx(reference.params[1], abs=1e-6)
    assert ratio.std_error == pytest.approx(reference.bse[1] * np.sqrt(90 / 86), rel=1e-5)


def test_standardised_risks_average_predictions_and_agree_with_the_jackknife():
    rng, treated, x = drawn(150)
    y = (rng.random(150) < expit(-0.3 - 0.8 * treated + x @ [0.9, 0.4])).astype(float)
    arms = standardised_means(BINARY, y, treated, x)
    model = sm.Logit(y, np.column_stack([np.ones(150), treated, x])).fit(disp=False)
    for arm in (0, 1):
        assert arms.means[arm] == pytest.approx(
            model.predict(np.column_stack([np.ones(150), np.full(150, arm), x])).mean()
        )
    left_out = np.array(
        [
            difference(standardised_means(BINARY, *(part[np.arange(150) != k] for part in (y, treated, x))))[0]
            for k in range(150)
        ]
    )
    jackknife = np.sqrt(149 / 150 * ((left_out - left_out.mean()) ** 2).sum())
    assert difference(arms)[1] == pytest.approx(jackknife, rel=0.03)


def test_outcomes_unknown_at_random_given_arm_and_covariates_do_no_harm():
    rng, treated, x = drawn(60_000)
    risk = expit(-0.5 - 0.7 * treated + 1.5 * x[:, 0])
    y = (rng.random(60_000) < risk).astype(float)
    truth = expit(-0.5 + 1.5 * x[:, 0] - 0.7).mean() - expit(-0.5 + 1.5 * x[:, 0]).mean()
    y[treated & (rng.random(60_000) < expit(2 * x[:, 0]))] = np.nan
    estimate, error = difference(standardised_means(BINARY, y, treated, x))
    assert abs(estimate - truth) < 3 * error
    raw, raw_error = difference(raw_means(BINARY, y, treated))
    assert abs(raw - truth) > 10 * raw_error


def test_a_model_with_too_many_covariates_is_refused():
    _, treated, _ = drawn(10)
    y = np.arange(10) % 3 == 0
    with pytest.raises(InputError, match="12 coefficients cannot be estimated from 10 patients"):
        standardised_means(BINARY, y.astype(float), treated, np.eye(10))


def test_covariates_that_separate_the_outcomes_are_refused():
    _, treated, x = drawn(40)
    with pytest.raises(InputError, match="without error"):
        standardised_means(BINARY, (x[:, 0] > 0).astype(float), treated, x[:, :1])


def test_intervals_cover_and_the_level_holds_at_the_size_of_the_trial():
    rng, treated, _ = drawn(109, seed=7)
    rejected = 0
    for _ in range(300):
        x = rng.normal(size=(109, 3))
        y = (rng.random(109) < expit(-0.1 + x @ [0.8, 0.5, 0.0])).astype(float)
        covariates = pd.DataFrame(x, columns=["a", "b", "c"])
        rejected += adjusted_risks(y, treated, covariates, endpoint="infection")[0].p_value < 0.05
    # 15 expected; beyond these limits with probability 0.002.
    assert 5 <= rejected <= 28
