import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import logit
from sklearn.metrics import (
    brier_score_loss,
    d2_tweedie_score,
    log_loss,
    mean_poisson_deviance,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from il7ml.evaluation.resampling import resampling_counts
from il7ml.evaluation.risk import risk_metrics


def estimates(table):
    return table.set_index("metric")["estimate"]


@pytest.fixture
def binary():
    rng = np.random.default_rng(1)
    risk = rng.uniform(0.05, 0.9, 200).round(2)
    return (rng.random(200) < risk**1.3).astype(float), risk, rng.uniform(0.5, 2, 200)


def test_binary_metrics_against_scikit_learn_and_statsmodels(binary):
    y, risk, weight = binary
    table = estimates(risk_metrics(y, risk, "binary", weight=weight, bootstrap=2, rng=np.random.default_rng(0)))
    prevalence = np.average(y, weights=weight)
    assert table["auroc"] == pytest.approx(roc_auc_score(y, risk, sample_weight=weight))
    brier = brier_score_loss(y, risk, sample_weight=weight)
    assert table["brier"] == pytest.approx(brier)
    assert table["scaled_brier"] == pytest.approx(1 - brier / (prevalence * (1 - prevalence)))
    assert table["log_loss"] == pytest.approx(log_loss(y, risk, sample_weight=weight))
    glm = {"family": sm.families.Binomial(), "freq_weights": weight}
    slope = sm.GLM(y, sm.add_constant(logit(risk)), **glm).fit(tol=1e-12).params[1]
    intercept = sm.GLM(y, np.ones(200), offset=logit(risk), **glm).fit(tol=1e-12).params[0]
    assert table["calibration_slope"] == pytest.approx(slope, abs=1e-6)
    assert table["calibration_intercept"] == pytest.approx(intercept, abs=1e-6)


def test_count_metrics_against_scikit_learn_and_statsmodels():
    rng = np.random.default_rng(2)
    days, rate, weight = rng.uniform(5, 30, 150), rng.gamma(2, 0.02, 150), rng.uniform(0.5, 2, 150)
    events = rng.poisson(rate * days * 1.4).astype(float)
    table = estimates(
        risk_metrics(events, rate, "count", weight=weight, exposure=days, bootstrap=2, rng=np.random.default_rng(0))
    )
    assert table["poisson_deviance"] == pytest.approx(mean_poisson_deviance(events, rate * days, sample_weight=weight))
    values = np.arange(200)
    distances = (stats.poisson.cdf(values, (rate * days)[:, None]) - (events[:, None] <= values)) ** 2
    assert table["crps"] == pytest.approx(np.average(distances.sum(axis=1), weights=weight))
    glm = {"family": sm.families.Poisson(), "freq_weights": weight}
    slope = sm.GLM(events, sm.add_constant(np.log(rate)), offset=np.log(days), **glm).fit(tol=1e-12)
    assert table["calibration_slope"] == pytest.approx(slope.params[1], abs=1e-6)
    large = np.log((weight @ events) / (weight @ (rate * days)))
    assert table["calibration_intercept"] == pytest.approx(large, abs=1e-6)
    null = np.full(150, (weight @ events) / (weight @ days)) * days
    null_deviance = mean_poisson_deviance(events, null, sample_weight=weight)
    assert table["scaled_deviance"] == pytest.approx(1 - table["poisson_deviance"] / null_deviance)
    equal = estimates(risk_metrics(events, rate, "count", bootstrap=2, rng=np.random.default_rng(0)))
    assert equal["scaled_deviance"] == pytest.approx(d2_tweedie_score(events, rate, power=1))


def test_continuous_metrics_against_scikit_learn_and_statsmodels():
    rng = np.random.default_rng(3)
    predicted, weight = 50 + rng.normal(size=120), rng.uniform(0.5, 2, 120)
    y = 3 + 0.9 * predicted + rng.normal(size=120)
    table = estimates(risk_metrics(y, predicted, "continuous", weight=weight, bootstrap=2, rng=rng))
    assert table["rmse"] == pytest.approx(root_mean_squared_error(y, predicted, sample_weight=weight))
    assert table["r2"] == pytest.approx(r2_score(y, predicted, sample_weight=weight))
    slope = sm.WLS(y, sm.add_constant(predicted), weights=weight).fit().params[1]
    assert table["calibration_slope"] == pytest.approx(slope)
    assert table["calibration_intercept"] == pytest.approx(np.average(y - predicted, weights=weight))


def test_repeats_are_averaged(binary):
    y, risk, _ = binary
    other = np.clip(risk + 0.2 * np.sin(np.arange(200)), 0.01, 0.99)
    rng = np.random.default_rng(0)
    single = [estimates(risk_metrics(y, p, "binary", bootstrap=2, rng=rng)) for p in (risk, other)]
    joint = estimates(risk_metrics(y, [risk, other], "binary", bootstrap=2, rng=rng))
    np.testing.assert_allclose(joint, (single[0] + single[1]) / 2)


def test_the_bootstrap_is_the_one_that_refits_on_drawn_patients():
    rng = np.random.default_rng(4)
    risks = rng.uniform(0.2, 0.8, (2, 40)).round(1)
    y = (rng.random(40) < risks[0]).astype(float)
    table = risk_metrics(y, risks, "binary", bootstrap=60, level=0.8, rng=np.random.default_rng(5))
    brute = []
    for counts in np.vstack(list(resampling_counts(40, 60, np.random.default_rng(5)))):
        rows = np.repeat(np.arange(40), counts.astype(int))
        values = []
        for risk in risks[:, rows]:
            fit = sm.GLM(y[rows], sm.add_constant(logit(risk)), family=sm.families.Binomial()).fit(tol=1e-12)
            values.append((roc_auc_score(y[rows], risk), brier_score_loss(y[rows], risk), fit.params[1]))
        brute.append(np.mean(values, axis=0))
    limits = table.set_index("metric").loc[["auroc", "brier", "calibration_slope"], ["low", "high"]]
    np.testing.assert_allclose(limits, np.quantile(brute, [0.1, 0.9], axis=0).T, atol=1e-6)


def test_unknown_outcomes_do_not_count(binary):
    y, risk, weight = binary
    unknown = np.arange(200) % 3 == 0
    weight = np.where(unknown, 0, weight)
    table = risk_metrics(
        np.where(unknown, np.nan, y), risk, "binary", weight=weight, bootstrap=50, rng=np.random.default_rng(0)
    )
    known = risk_metrics(
        y[~unknown], risk[~unknown], "binary", weight=weight[~unknown], bootstrap=2, rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(estimates(table), estimates(known))
    assert (table["low"] <= table["estimate"]).all()
    assert (table["estimate"] <= table["high"]).all()


@pytest.mark.parametrize(("kind", "metrics"), [("binary", 6), ("count", 5), ("continuous", 4)])
def test_a_constant_prediction_has_no_slope(kind, metrics):
    table = risk_metrics([0, 1, 1, 0, 0], np.full(5, 0.4), kind, bootstrap=50, rng=np.random.default_rng(0))
    table = table.set_index("metric")
    assert len(table) == metrics
    assert table.loc["calibration_slope"].isna().all()
    assert table.loc["calibration_intercept", "estimate"] == pytest.approx(0, abs=1e-9)
    if kind == "binary":
        assert table.loc["auroc"].tolist() == [0.5, 0.5, 0.5]


def test_the_interval_covers_the_truth():
    # For risks uniform on (0, 1) the area under the curve is 5/6.
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(200):
        risk = rng.random(100)
        table = risk_metrics((rng.random(100) < risk).astype(float), risk, "binary", bootstrap=200, rng=rng)
        low, high = table.set_index("metric").loc["auroc", ["low", "high"]]
        covered += low <= 5 / 6 <= high
    assert 0.88 <= covered / 200 <= 0.99
