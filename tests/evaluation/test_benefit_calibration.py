import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from il7ml.errors import InputError
from il7ml.evaluation.benefit_calibration import benefit_calibration
from il7ml.evaluation.effect_calibration import best_linear_predictor


def harrell(x, knots):
    """Return intercept, x and the restricted cubic term of three knots, as Harrell writes it."""
    a, b, c = knots
    cubes = [np.maximum(x - knot, 0) ** 3 for knot in knots]
    return np.column_stack([np.ones_like(x), x, cubes[0] - (cubes[1] * (c - a) - cubes[2] * (b - a)) / (c - b)])


@pytest.fixture
def simulated():
    rng = np.random.default_rng(1)
    predicted = rng.normal(0.1, 0.08, size=(3, 150))
    return 0.1 + np.sin(8 * predicted.mean(axis=0)) + rng.normal(size=150), predicted


def test_curve_and_band_agree_with_least_squares_on_harrells_spline(simulated):
    scores, predicted = simulated[0], simulated[1][0]
    curve = benefit_calibration(scores, predicted, level=0.9).curve
    knots = np.quantile(predicted, [0.1, 0.5, 0.9])
    fit = sm.OLS(scores, harrell(predicted, knots)).fit(cov_type="HC3", use_t=True)
    reference = fit.get_prediction(harrell(curve["predicted"].to_numpy(), knots))
    np.testing.assert_allclose(curve["observed"], reference.predicted_mean, atol=1e-8)
    np.testing.assert_allclose(curve[["low", "high"]], reference.conf_int(alpha=0.1), atol=1e-8)
    assert curve["predicted"].iloc[[0, -1]].tolist() == pytest.approx(np.quantile(predicted, [0.01, 0.99]).tolist())


def test_groups_have_students_intervals(simulated):
    scores, predicted = simulated[0], simulated[1][0]
    groups = benefit_calibration(scores, predicted, groups=3).groups
    order = np.argsort(predicted)
    for row, members in zip(groups.itertuples(), np.split(order, 3), strict=True):
        reference = stats.ttest_1samp(scores[members], 0).confidence_interval(0.95)
        assert row.predicted == pytest.approx(predicted[members].mean())
        assert (row.n, row.observed) == (50, pytest.approx(scores[members].mean()))
        assert (row.low, row.high) == (pytest.approx(reference.low), pytest.approx(reference.high))


def test_summary_holds_the_paired_mean_difference_and_the_slope(simulated):
    scores, predicted = simulated[0], simulated[1][0]
    summary = benefit_calibration(scores, predicted).summary.set_index("metric")
    reference = stats.ttest_rel(scores, predicted).confidence_interval(0.95)
    assert summary.loc["mean_difference", "estimate"] == pytest.approx((scores - predicted).mean())
    assert summary.loc["mean_difference", "low"] == pytest.approx(reference.low)
    assert summary.loc["mean_difference", "high"] == pytest.approx(reference.high)
    slope = best_linear_predictor(scores, predicted).set_index("term").loc["slope"]
    assert summary.loc["slope"].tolist() == slope[["estimate", "low", "high"]].tolist()


def test_distances_of_a_straight_line_are_exact():
    predicted = np.linspace(0, 1, 101)
    result = benefit_calibration(0.5 * predicted, predicted)
    np.testing.assert_allclose(result.curve["observed"], 0.5 * result.curve["predicted"], atol=1e-12)
    summary = result.summary.set_index("metric")["estimate"]
    # The distance is half the prediction, which is uniform on 0 to 1.
    assert [summary["ici"], summary["e50"], summary["e90"]] == pytest.approx([0.25, 0.25, 0.45])
    assert summary["mean_difference"] == pytest.approx(-0.25)
    assert summary["slope"] == pytest.approx(0.5)


def test_repeats_are_joined_by_medians(simulated):
    scores, predicted = simulated
    joint = benefit_calibration(scores, predicted)
    single = [benefit_calibration(scores, one, level=0.975) for one in predicted]
    highs = [one.groups["high"].iloc[0] for one in single]
    assert joint.groups["high"].iloc[0] == pytest.approx(np.median(highs))
    icis = [one.summary.set_index("metric").loc["ici", "estimate"] for one in single]
    assert joint.summary.set_index("metric").loc["ici", "estimate"] == pytest.approx(np.median(icis))
    same = benefit_calibration(scores, np.tile(predicted[0], (3, 1)))
    np.testing.assert_allclose(same.curve, single[0].curve)


def test_a_constant_prediction_is_compared_with_the_mean():
    scores = np.array([0.1, 0.3, 0.2, 0.6])
    result = benefit_calibration(scores, np.full(4, 0.2))
    reference = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert result.curve["predicted"].tolist() == [0.2]
    assert result.curve["observed"].tolist() == pytest.approx([0.3])
    # HC3 errors of a mean are larger by the square root of n / (n - 1).
    assert result.curve["high"].item() == pytest.approx(0.3 + np.sqrt(4 / 3) * (reference.high - 0.3))
    summary = result.summary.set_index("metric")
    assert np.isnan(summary.loc["slope", "estimate"])
    assert summary.loc["ici", "estimate"] == pytest.approx(0.1)


def test_two_distinct_predictions_have_two_means():
    predicted = np.repeat([0.1, 0.3], [6, 4])
    scores = np.arange(10.0)
    curve = benefit_calibration(scores, predicted).curve
    assert curve["observed"].iloc[0] == pytest.approx(scores[:6].mean())
    assert curve["observed"].iloc[-1] == pytest.approx(scores[6:].mean())


def test_the_band_covers_the_true_benefit_at_109_patients():
    # Doubly-robust scores of a trial with 35 % events and a true slope of 0.5; 4 Monte-Carlo standard errors allowed.
    rng, trials = np.random.default_rng(2), 150
    covered, slopes = [], 0
    for _ in range(trials):
        predicted = 0.1 + 0.08 * rng.normal(size=109)
        benefit = np.minimum(0.05 + 0.5 * predicted, 0.35)
        arm = rng.integers(0, 2, 109)
        y = rng.random(109) < 0.35 - arm * benefit
        scores = 0.1 - np.where(arm == 1, 2 * (y - 0.25), -2 * (y - 0.35))
        result = benefit_calibration(scores, predicted)
        truth = np.minimum(0.05 + 0.5 * result.curve["predicted"], 0.35)
        covered.append(result.curve["low"].le(truth) & result.curve["high"].ge(truth))
        slope = result.summary.set_index("metric").loc["slope"]
        slopes += slope["low"] <= 0.5 <= slope["high"]
    least = 0.95 - 4 * np.sqrt(0.95 * 0.05 / trials)
    assert np.mean(covered, axis=0)[[0, 25, 50, 75, 99]].min() >= least
    assert slopes / trials >= least


def test_lengths_must_agree():
    with pytest.raises(InputError, match="benefit_scores"):
        benefit_calibration([0.1, 0.2], [0.1, 0.2, 0.3])
