import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from il7ml.evaluation.influence import (
    Estimate,
    auroc,
    average,
    mean,
    net_benefit,
    observed_expected,
    root_mean_squared_error,
)
from il7ml.evaluation.outcome import as_outcome


def delong_variance(y, risk):
    """DeLong's variance from the matrix of all pairs."""
    wins = (risk[y == 1][:, None] > risk[y == 0]) + 0.5 * (risk[y == 1][:, None] == risk[y == 0])
    return wins.mean(axis=1).var(ddof=1) / len(wins) + wins.mean(axis=0).var(ddof=1) / wins.shape[1]


@pytest.fixture
def sample():
    rng = np.random.default_rng(1)
    risk = rng.uniform(0.05, 0.9, 150).round(1)
    return (rng.random(150) < risk).astype(float), risk, rng.uniform(0.5, 2, 150)


def test_the_area_has_delongs_standard_error(sample):
    y, risk, _ = sample
    estimate = auroc(as_outcome(y, "binary"), risk)
    assert estimate.value == pytest.approx(roc_auc_score(y, risk))
    assert estimate.std_error**2 == pytest.approx(delong_variance(y, risk))
    assert estimate.influence.sum() == pytest.approx(0, abs=1e-12)


def test_the_weighted_area_is_scikit_learns(sample):
    y, risk, weight = sample
    weight = np.where(np.arange(150) % 5 == 0, 0, weight)
    estimate = auroc(as_outcome(y, "binary", weight), risk)
    assert estimate.value == pytest.approx(roc_auc_score(y, risk, sample_weight=weight))
    assert (estimate.influence[weight == 0] == 0).all()


@pytest.mark.parametrize(
    "measure",
    [
        lambda outcome, risk: mean((outcome.y - risk) ** 2, outcome.weight),
        auroc,
        observed_expected,
        lambda outcome, risk: net_benefit(outcome, risk, 0.3),
        root_mean_squared_error,
    ],
    ids=["brier", "auroc", "observed_expected", "net_benefit", "rmse"],
)
def test_an_influence_is_the_change_when_a_patient_gets_a_little_more_weight(measure, sample):
    y, risk, weight = sample
    outcome = as_outcome(y, "binary", weight)
    whole = measure(outcome, risk)
    for patient in (0, 17, 80):
        step = 1e-6
        more = weight.copy()
        more[patient] *= 1 + step
        slope = (measure(as_outcome(y, "binary", more), risk).value - whole.value) / step
        # The influences also carry the factor that turns n into n - 1.
        assert whole.influence[patient] == pytest.approx(slope, rel=0.02, abs=1e-9)


def test_a_mean_has_the_textbook_standard_error():
    values = np.random.default_rng(2).normal(size=30)
    estimate = mean(values, np.ones(30))
    assert estimate.std_error == pytest.approx(stats.sem(values))


def test_equal_predictions_give_the_binomial_error_of_log_observed_expected():
    estimate = observed_expected(as_outcome(np.arange(80) < 20, "binary"), np.full(80, 0.2))
    assert estimate.value == pytest.approx(20 / 16)
    assert estimate.on("log") == pytest.approx((np.log(20 / 16), np.sqrt((1 - 20 / 80) / 20)))


def test_exposure_and_weight_enter_the_expected_events():
    outcome = as_outcome([2, 0, 1], "count", [1, 2, 0.5], [10, 20, 30])
    assert observed_expected(outcome, np.array([0.1, 0.05, 0.1])).value == pytest.approx(2.5 / (1 + 2 + 1.5))


@pytest.mark.parametrize(
    ("scale", "limits"),
    [
        ("identity", lambda z: 0.8 + z * 0.05),
        ("log", lambda z: 0.8 * np.exp(z * 0.05 / 0.8)),
        ("logit", lambda z: 1 / (1 + 0.25 * np.exp(-z * 0.05 / 0.16))),
    ],
)
def test_intervals_are_set_on_their_scale(scale, limits):
    estimate = Estimate(0.8, np.array([0.03, -0.04]))
    assert estimate.interval(0.95, scale) == pytest.approx(tuple(limits(stats.norm.ppf([0.025, 0.975]))))


def test_repeats_average_values_and_influences(sample):
    y, risk, weight = sample
    outcome = as_outcome(y, "binary", weight)
    one, other = (mean((y - values) ** 2, weight) for values in (risk, risk[::-1]))
    both = average([one, other])
    assert both.value == pytest.approx((one.value + other.value) / 2)
    joint = mean(((y - risk) ** 2 + (y - risk[::-1]) ** 2) / 2, outcome.weight)
    np.testing.assert_allclose(both.influence, joint.influence)


def test_no_area_without_both_kinds_of_patients_and_no_error_with_one_of_a_kind():
    nothing = auroc(as_outcome([0, 0, 0], "binary"), np.array([0.1, 0.2, 0.3]))
    assert np.isnan([nothing.value, *nothing.interval(0.95, "logit")]).all()
    single = auroc(as_outcome([0, 1, 0], "binary"), np.array([0.1, 0.2, 0.3]))
    assert single.value == 0.5
    assert np.isnan(single.std_error)


def test_delongs_interval_covers_the_truth():
    # For risks uniform on (0, 1) the area under the curve is 5/6.
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(1000):
        risk = rng.random(109)
        low, high = auroc(as_outcome(rng.random(109) < risk, "binary"), risk).interval(0.95, "logit")
        covered += low <= 5 / 6 <= high
    assert stats.binomtest(covered, 1000, 0.95).pvalue > 0.001
