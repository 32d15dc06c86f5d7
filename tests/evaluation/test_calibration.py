import numpy as np
import pytest
from scipy import stats
from scipy.interpolate import CubicSpline
from scipy.special import expit, logit
from statsmodels.stats.proportion import proportion_confint

from il7ml.evaluation.calibration import calibration_curve


def test_two_distinct_predictions_give_the_observed_shares_and_their_binomial_error():
    predicted = np.repeat([0.2, 0.6], [50, 80])
    y = np.concatenate([np.arange(50) < 15, np.arange(80) < 40]).astype(float)
    result = calibration_curve(y, predicted, "binary")
    ends = result.curve.iloc[[0, -1]]
    np.testing.assert_allclose(ends["observed"], [0.3, 0.5], atol=1e-7)
    half = stats.norm.ppf(0.975) / np.sqrt([50 * 0.3 * 0.7, 80 * 0.25])
    np.testing.assert_allclose(ends["low"], expit(logit([0.3, 0.5]) - half), atol=1e-7)
    np.testing.assert_allclose(ends["high"], expit(logit([0.3, 0.5]) + half), atol=1e-7)
    assert result.ici == pytest.approx((50 * 0.1 + 80 * 0.1) / 130)
    wilson = [proportion_confint(k, n, method="wilson") for k, n in ((15, 50), (40, 80))]
    np.testing.assert_allclose(result.groups[["low", "high"]], wilson)
    assert result.groups["n"].tolist() == [50, 80]


def test_a_natural_spline_is_reproduced():
    predicted = np.linspace(-2, 3, 200)
    knots = np.quantile(predicted, [0.05, 0.35, 0.65, 0.95])
    spline = CubicSpline(knots, [0.0, 2.0, -1.0, 1.0], bc_type="natural")
    inside = np.clip(predicted, knots[0], knots[-1])
    truth = spline(inside) + spline(inside, 1) * (predicted - inside)
    result = calibration_curve(truth, predicted, "continuous")
    grid = result.curve["predicted"].to_numpy()
    inside = np.clip(grid, knots[0], knots[-1])
    np.testing.assert_allclose(
        result.curve["observed"], spline(inside) + spline(inside, 1) * (grid - inside), atol=1e-8
    )
    distance = np.abs(truth - predicted)
    assert result.ici == pytest.approx(distance.mean())
    assert result.e50 == pytest.approx(np.median(distance), abs=0.02)
    assert result.e90 == pytest.approx(np.quantile(distance, 0.9), abs=0.02)


def test_the_band_covers_a_curved_truth():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(200):
        risk = rng.uniform(0.1, 0.9, 600)
        truth = 0.5 + 1.2 * (risk - 0.5) ** 3 + 0.3 * (risk - 0.5)
        curve = calibration_curve((rng.random(600) < truth).astype(float), risk, "binary").curve
        centre = curve.iloc[(curve["predicted"] - 0.6).abs().argmin()]
        expected = 0.5 + 1.2 * (centre["predicted"] - 0.5) ** 3 + 0.3 * (centre["predicted"] - 0.5)
        covered.append(centre["low"] <= expected <= centre["high"])
    assert stats.binomtest(int(np.sum(covered)), 200, 0.95).pvalue > 0.001


def test_rates_have_exact_poisson_limits():
    rate = np.repeat([0.1, 0.3], 30)
    days = np.full(60, 10.0)
    events = np.concatenate([np.zeros(30), np.tile([2.0, 4.0, 3.0], 10)])
    groups = calibration_curve(events, rate, "count", exposure=days).groups
    assert groups.loc[0, ["observed", "low"]].tolist() == [0, 0]
    assert groups.loc[0, "high"] == pytest.approx(stats.chi2.ppf(0.975, 2) / 2 / 300)
    assert groups.loc[1, "observed"] == pytest.approx(0.3)
    assert groups.loc[1, "low"] == pytest.approx(stats.chi2.ppf(0.025, 180) / 2 / 300)
    assert groups.loc[1, "high"] == pytest.approx(stats.chi2.ppf(0.975, 182) / 2 / 300)


def test_means_have_t_limits_and_a_shift_is_the_ici():
    rng = np.random.default_rng(2)
    predicted = rng.normal(size=90)
    result = calibration_curve(predicted + 0.7, predicted, "continuous", groups=3)
    assert (result.ici, result.e50, result.e90) == pytest.approx((0.7, 0.7, 0.7))
    y = predicted + rng.normal(size=90)
    top = calibration_curve(y, predicted, "continuous", groups=3).groups.iloc[-1]
    members = y[predicted >= np.sort(predicted)[60]]
    reference = stats.ttest_1samp(members, 0).confidence_interval(0.95)
    assert (top["low"], top["high"]) == pytest.approx(tuple(reference))


def test_only_relative_weights_matter_and_unknown_outcomes_are_left_out():
    rng = np.random.default_rng(3)
    risk = rng.uniform(0.1, 0.9, 80)
    y, weight = (rng.random(80) < risk).astype(float), np.full(80, 2.0)
    weighted = calibration_curve(y, risk, "binary", weight=weight)
    plain = calibration_curve(y, risk, "binary")
    np.testing.assert_allclose(weighted.curve, plain.curve)
    np.testing.assert_allclose(weighted.groups, plain.groups)
    missing = np.arange(80) < 20
    some = calibration_curve(np.where(missing, np.nan, y), risk, "binary", weight=np.where(missing, 0.0, 1.0))
    rest = calibration_curve(y[~missing], risk[~missing], "binary")
    np.testing.assert_allclose(some.curve, rest.curve)
    assert some.ici == pytest.approx(rest.ici)


def test_a_constant_prediction_gives_one_point():
    result = calibration_curve([0, 1, 1, 0, 1], np.full(5, 0.5), "binary")
    assert len(result.curve) == len(result.groups) == 1
    assert result.curve.loc[0, "observed"] == pytest.approx(0.6)
    assert result.ici == pytest.approx(0.1)


def test_a_group_of_one_mean_has_no_limits():
    groups = calibration_curve([1.0, 2.0, 3.0], [1.0, 2.0, 3.5], "continuous", groups=3).groups
    assert groups["observed"].tolist() == [1, 2, 3]
    assert groups[["low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize("event", [0, 1])
def test_limits_hold_the_observed_share_where_all_or_none_have_the_event(event):
    y = np.tile([event] * 19 + [1 - event], 6)
    predicted = np.where(y == event, 0.05, 0.4) + np.linspace(0, 0.01, y.size)
    groups = calibration_curve(y, predicted, "binary").groups
    assert (groups["observed"] == event).any()
    assert (groups["low"] <= groups["observed"]).all()
    assert (groups["observed"] <= groups["high"]).all()
