import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.optimize import minimize_scalar
from statsmodels.stats.meta_analysis import combine_effects

from il7ml.errors import InputError
from il7ml.evaluation.random_effects import random_effects

# Trials of BCG vaccination (Colditz et al., JAMA 1994;271:698): cases and others, vaccinated and not.
BCG = np.array(
    [
        [4, 119, 11, 128],
        [6, 300, 29, 274],
        [3, 228, 11, 209],
        [62, 13536, 248, 12619],
        [33, 5036, 47, 5761],
        [180, 1361, 372, 1079],
        [8, 2537, 10, 619],
        [505, 87886, 499, 87892],
        [29, 7470, 45, 7232],
        [17, 1699, 65, 1600],
        [186, 50448, 141, 27197],
        [5, 2493, 3, 2338],
        [27, 16886, 29, 17825],
    ]
)


def log_risk_ratios():
    a, b, c, d = BCG.T
    return np.log((a / (a + b)) / (c / (c + d))), np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))


def test_the_bcg_trials_as_metafor_summarises_them():
    y, error = log_risk_ratios()
    result = random_effects(y, error)
    # metafor 4, rma(yi, vi): tau^2 0.3132, I^2 92.22 %, Q 152.2330, estimate -0.7145, standard error 0.1798.
    assert (result.tau2, result.i2, result.q) == pytest.approx((0.3132, 0.9222, 152.2330), abs=5e-5)
    assert result.estimate == pytest.approx(-0.7145, abs=5e-5)
    weight = 1 / (error**2 + result.tau2)
    assert 1 / np.sqrt(weight.sum()) == pytest.approx(0.1798, abs=5e-5)
    # Hartung and Knapp's standard error is that of a weighted regression on a constant.
    regression = sm.WLS(y, np.ones(13), weights=weight).fit()
    assert (result.estimate, result.std_error) == pytest.approx((regression.params[0], regression.bse[0]))
    assert (result.low, result.high) == pytest.approx(tuple(regression.conf_int()[0]))
    half = stats.t.ppf(0.975, 11) * np.sqrt(result.tau2 + regression.bse[0] ** 2)
    assert (result.prediction_low, result.prediction_high) == pytest.approx(
        (result.estimate - half, result.estimate + half)
    )


def test_tau_maximises_the_restricted_likelihood():
    y, error = log_risk_ratios()
    for part in (slice(0, 5), slice(4, 13), slice(None)):

        def minus_log_likelihood(tau2, y=y[part], variance=error[part] ** 2):
            weight = 1 / (variance + tau2)
            residual = y - weight @ y / weight.sum()
            return -np.log(weight).sum() + np.log(weight.sum()) + weight @ residual**2

        best = minimize_scalar(minus_log_likelihood, bounds=(0, 3), method="bounded", options={"xatol": 1e-10}).x
        assert random_effects(y[part], error[part]).tau2 == pytest.approx(best, abs=1e-6)


def test_equally_precise_sites_are_a_t_test():
    y = np.array([0.2, 0.9, 1.4, 0.3, 0.6])
    result = random_effects(y, np.full(5, 0.1), level=0.9)
    assert result.tau2 == pytest.approx(y.var(ddof=1) - 0.01)
    assert (result.low, result.high) == pytest.approx(tuple(stats.ttest_1samp(y, 0).confidence_interval(0.9)))
    half = stats.t.ppf(0.95, 3) * np.sqrt(y.var(ddof=1) / 5 + y.var(ddof=1) - 0.01)
    assert result.prediction_high - result.estimate == pytest.approx(half)
    # With equal variances Paule and Mandel's estimate is the same.
    other = combine_effects(y, np.full(5, 0.01), method_re="pm", use_t=True, atol=1e-12)
    assert other.tau2 == pytest.approx(result.tau2, abs=1e-8)
    assert other.sd_eff_w_re_hksj == pytest.approx(result.std_error, abs=1e-8)


def test_sites_that_agree_by_chance_keep_the_error_of_their_patients():
    result = random_effects([0.500, 0.501], [0.2, 0.2])
    assert result.tau2 == result.i2 == 0
    assert result.std_error == pytest.approx(0.2 / np.sqrt(2))
    assert np.isnan([result.prediction_low, result.prediction_high]).all()


def test_intervals_cover_the_mean_and_a_new_site():
    rng = np.random.default_rng(1)
    mean, new = [], []
    for _ in range(600):
        error = rng.uniform(0.15, 0.4, 8)
        result = random_effects(rng.normal(1, 0.3, 8) + rng.normal(0, error), error)
        mean.append(result.low <= 1 <= result.high)
        new.append(result.prediction_low <= rng.normal(1, 0.3) <= result.prediction_high)
    # Where the variance between sites is estimated as 0 the interval for a new site is too short.
    assert 0.94 <= np.mean(mean) <= 0.99
    assert 0.84 <= np.mean(new) <= 0.97


@pytest.mark.parametrize(
    ("estimate", "error", "said"),
    [
        ([1.0], [0.1], "at least 2, got 1"),
        ([], [], "at least 2, got 0"),
        ([1.0, 2.0], [0.1], "one length"),
        ([1.0, np.nan], [0.1, 0.1], "without a figure"),
        ([1.0, 2.0], [0.1, 0.0], "above 0"),
    ],
)
def test_what_cannot_be_summarised_is_said(estimate, error, said):
    with pytest.raises(InputError, match=said):
        random_effects(estimate, error)
