import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import expit, logit

from il7ml.errors import InputError
from il7ml.evaluation.recalibration import recalibrate
from il7ml.evaluation.risk import risk_metrics


def setting(n=300, intercept=0.0, slope=1.0, seed=1):
    rng = np.random.default_rng(seed)
    linear = rng.normal(-1, 1.2, n)
    return (rng.random(n) < expit(intercept + slope * linear)).astype(float), expit(linear)


def rows(result):
    return result.table.set_index("method")


def test_binary_fits_and_tests_against_statsmodels():
    y, risk = setting(intercept=0.5, slope=0.7)
    table = rows(recalibrate(y, risk, "binary"))
    binomial = {"family": sm.families.Binomial()}
    shift = sm.GLM(y, np.ones(300), offset=logit(risk), **binomial).fit(tol=1e-12)
    full = sm.GLM(y, sm.add_constant(logit(risk)), **binomial).fit(tol=1e-12)
    assert table.loc["intercept", "intercept"] == pytest.approx(shift.params[0], abs=1e-7)
    assert table.loc["intercept_slope", ["intercept", "slope"]].tolist() == pytest.approx(full.params, abs=1e-6)
    as_it_is = -2 * (y * np.log(risk) + (1 - y) * np.log(1 - risk)).sum()
    assert table["deviance"].tolist() == pytest.approx([as_it_is, shift.deviance, full.deviance])
    assert table.loc["none", "p_value"] == pytest.approx(stats.chi2.sf(as_it_is - full.deviance, 2))
    assert table.loc["intercept", "p_value"] == pytest.approx(stats.chi2.sf(shift.deviance - full.deviance, 1))


@pytest.mark.parametrize(
    ("intercept", "slope", "method", "share"),
    [(0, 1, "none", 0.95), (0.8, 1, "intercept", 0.95), (0.8, 0.4, "intercept_slope", 1)],
)
def test_the_closed_test_errs_as_often_as_it_says(intercept, slope, method, share):
    results = [recalibrate(*setting(500, intercept, slope, seed), "binary") for seed in range(200)]
    chosen = sum(result.method == method for result in results)
    assert stats.binomtest(chosen, 200, share).pvalue > 0.001
    both = np.array([rows(result).loc["intercept_slope", ["intercept", "slope"]].tolist() for result in results])
    # The mean of 200 estimates; maximum likelihood is off by little at this size.
    np.testing.assert_allclose(both.mean(axis=0), [intercept, slope], atol=0.04)


def test_recalibrated_predictions_are_calibrated_in_their_patients():
    y, risk = setting(intercept=0.5, slope=0.5)
    rng = np.random.default_rng(0)
    both = recalibrate(y, risk, "binary", method="intercept_slope").apply(risk)
    measured = risk_metrics(y, both, "binary", bootstrap=2, rng=rng).set_index("metric")["estimate"]
    assert (measured["calibration_slope"], measured["calibration_intercept"]) == pytest.approx((1, 0), abs=1e-6)
    shifted = recalibrate(y, risk, "binary", method="intercept").apply(risk)
    assert shifted.mean() == pytest.approx(y.mean())
    np.testing.assert_allclose(np.diff(logit(shifted)), np.diff(logit(risk)), atol=1e-9)
    np.testing.assert_array_equal(recalibrate(y, risk, "binary", method="none").apply(risk), risk)


def test_weights_act_like_an_effective_number_of_patients():
    y, risk = setting(intercept=0.4)
    doubled = recalibrate(y, risk, "binary", weight=np.full(300, 2.0))
    np.testing.assert_allclose(rows(doubled)["p_value"], rows(recalibrate(y, risk, "binary"))["p_value"])
    known = np.arange(300) < 200
    part = recalibrate(np.where(known, y, np.nan), risk, "binary", weight=known)
    np.testing.assert_allclose(rows(part), rows(recalibrate(y[:200], risk[:200], "binary")))


def test_counts_divide_by_their_dispersion():
    rng = np.random.default_rng(2)
    days, rate = rng.uniform(5, 30, 200), rng.gamma(2, 0.05, 200)
    events = rng.poisson(1.3 * rate * days * rng.gamma(0.5, 2, 200))
    result = recalibrate(events, rate, "count", exposure=days, method="intercept_slope")
    poisson = {"family": sm.families.Poisson(), "offset": np.log(days)}
    full = sm.GLM(events, sm.add_constant(np.log(rate)), **poisson).fit(tol=1e-12)
    assert (result.intercept, result.slope) == pytest.approx(tuple(full.params), abs=1e-6)
    shift = sm.GLM(events, np.ones(200), family=sm.families.Poisson(), offset=np.log(days * rate)).fit(tol=1e-12)
    statistic = (shift.deviance - full.deviance) / (full.pearson_chi2 / 198)
    assert full.pearson_chi2 / 198 > 1.5
    assert rows(result).loc["intercept", "p_value"] == pytest.approx(stats.chi2.sf(statistic, 1))
    expected = np.exp(full.params[0] + full.params[1] * np.log([0.05, 0.2]))
    np.testing.assert_allclose(result.apply([0.05, 0.2]), expected, rtol=1e-5)


def test_means_against_least_squares():
    rng = np.random.default_rng(3)
    predicted = rng.normal(10, 2, 80)
    y = 3 + 0.8 * predicted + rng.normal(size=80)
    result = recalibrate(y, predicted, "continuous")
    full = sm.OLS(y, sm.add_constant(predicted)).fit()
    assert result.method == "intercept_slope"
    assert (result.intercept, result.slope) == pytest.approx(tuple(full.params))
    shift = sm.OLS(y - predicted, np.ones(80)).fit()
    p_value = stats.chi2.sf(2 * (full.llf - shift.llf), 1)
    assert rows(result).loc["intercept", "p_value"] == pytest.approx(p_value)
    np.testing.assert_allclose(result.apply([8.0, 12.0]), full.predict([[1, 8.0], [1, 12.0]]))


def test_equal_predictions_can_only_be_shifted():
    y = np.arange(60) < 30
    result = recalibrate(y, np.full(60, 0.2), "binary")
    assert result.method == "intercept"
    np.testing.assert_allclose(result.apply([0.2]), 0.5)
    with pytest.raises(InputError, match="all predictions are equal"):
        recalibrate(y, np.full(60, 0.2), "binary", method="intercept_slope")


def test_separated_outcomes_can_only_be_shifted():
    y, risk = np.repeat([0, 1], 10), np.linspace(0.1, 0.4, 20)
    with pytest.raises(InputError, match="separate"):
        recalibrate(y, risk, "binary")
    assert recalibrate(y, risk, "binary", method="intercept").apply(risk).mean() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("y", "risk", "options", "said"),
    [
        ([0, 0, 0], [0.1, 0.2, 0.3], {}, "some patients with and some without"),
        ([1, 1, 1], [0.1, 0.2, 0.3], {}, "some patients with and some without"),
        ([0, 1], [0.1, 0.2], {}, "3 or more patients"),
        ([0, 1, 0], [[0.1, 0.2, 0.3]] * 2, {}, "got 2 for 3"),
        ([0, 1, 0], [0.1, 0.2, 0.3], {"method": "intercep"}, "Did you mean 'intercept'"),
    ],
)
def test_what_cannot_be_recalibrated_is_said(y, risk, options, said):
    with pytest.raises(InputError, match=said):
        recalibrate(y, risk, "binary", **options)
