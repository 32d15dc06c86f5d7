"""Figures of a risk model against other implementations and tables worked by hand, on one data set."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.interpolate import CubicSpline
from scipy.special import expit, logit
from sklearn.metrics import confusion_matrix, roc_auc_score

from il7ml.evaluation.calibration import calibration_curve
from il7ml.evaluation.decision import decision_curve
from il7ml.evaluation.influence import auroc
from il7ml.evaluation.outcome import as_outcome
from il7ml.evaluation.resampling import resampling_counts
from il7ml.evaluation.risk import risk_metrics


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(7)
    risk = expit(rng.normal(-0.7, 1.1, 400))
    return (rng.random(400) < expit(0.2 + 0.7 * logit(risk))).astype(float), risk, rng.uniform(0.5, 2, 400)


def natural_splines(x, knots):
    """Return a basis of natural cubic splines: one through 1 at each knot and 0 at the others, straight outside."""
    columns = []
    for position in range(knots.size):
        spline = CubicSpline(knots, np.eye(knots.size)[position], bc_type="natural")
        inside = np.clip(x, knots[0], knots[-1])
        columns.append(spline(inside) + spline(inside, 1) * (x - inside))
    return np.column_stack(columns)


def smooth(y, risk, weight=None):
    """Fit the calibration curve by statsmodels in another basis of the same splines."""
    knots = np.quantile(logit(risk), [0.05, 0.35, 0.65, 0.95])
    model = sm.GLM(y, natural_splines(logit(risk), knots), family=sm.families.Binomial(), freq_weights=weight)
    return model, knots


@pytest.mark.parametrize("weighted", [False, True])
def test_ici_e50_and_e90(cohort, weighted):
    y, risk, weight = cohort
    weight = weight if weighted else np.ones(400)
    model, _ = smooth(y, risk, weight)
    distance = np.abs(model.fit(tol=1e-12).fittedvalues - risk)
    found = calibration_curve(y, risk, "binary", weight=weight)
    assert found.ici == pytest.approx(np.average(distance, weights=weight), abs=1e-7)
    for value, share in ((found.e50, 0.5), (found.e90, 0.9)):
        assert value == pytest.approx(np.quantile(distance, share, weights=weight, method="inverted_cdf"), abs=1e-7)


def test_the_calibration_band_is_the_robust_one(cohort):
    y, risk, _ = cohort
    model, knots = smooth(y, risk)
    fit = model.fit(tol=1e-12, cov_type="HC0")
    curve = calibration_curve(y, risk, "binary").curve
    reference = fit.get_prediction(natural_splines(logit(curve["predicted"].to_numpy()), knots))
    # statsmodels' limits are on the scale of the linear predictor too.
    np.testing.assert_allclose(curve[["low", "high"]], reference.conf_int(), atol=1e-6)
    np.testing.assert_allclose(curve["observed"], reference.predicted, atol=1e-7)


def test_ici_of_two_risks_by_hand():
    # 40 patients at 0.1, of whom 6 have the outcome (0.15); 10 at 0.6, of whom 5 do (0.5).
    risk = np.repeat([0.1, 0.6], [40, 10])
    y = np.concatenate([np.arange(40) < 6, np.arange(10) < 5]).astype(float)
    found = calibration_curve(y, risk, "binary")
    assert (found.ici, found.e50, found.e90) == pytest.approx((0.8 * 0.05 + 0.2 * 0.1, 0.05, 0.1), abs=1e-7)


def test_net_benefit_from_confusion_matrices(cohort):
    y, risk, weight = cohort
    cuts = np.arange(0.05, 0.95, 0.05)
    table = decision_curve(y, {"model": risk}, cuts, weight=weight, bootstrap=2, rng=np.random.default_rng(0))
    found = table.pivot_table(index="threshold", columns="strategy", values="net_benefit")
    for cut in cuts:
        (_, false_positive), (_, true_positive) = confusion_matrix(y, risk >= cut, sample_weight=weight)
        expected = (true_positive - false_positive * cut / (1 - cut)) / weight.sum()
        assert found.loc[cut, "model"] == pytest.approx(expected)
        prevalence = np.average(y, weights=weight)
        assert found.loc[cut, "treat all"] == pytest.approx(prevalence - (1 - prevalence) * cut / (1 - cut))


def test_net_benefit_intervals_are_those_of_a_plain_bootstrap(cohort):
    y, risk, _ = cohort
    table = decision_curve(y, {"model": risk}, [0.3], bootstrap=500, rng=np.random.default_rng(1))
    draws = []
    for counts in np.vstack(list(resampling_counts(400, 500, np.random.default_rng(1)))):
        rows = np.repeat(np.arange(400), counts.astype(int))
        treated = risk[rows] >= 0.3
        draws.append((treated & (y[rows] == 1)).mean() - (treated & (y[rows] == 0)).mean() * 3 / 7)
    row = table[table["strategy"] == "model"].iloc[0]
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))


def test_auroc_and_its_interval_by_hand():
    # Events at 0.4 and 0.8, others at 0.1, 0.4 and 0.6: of 6 pairs 4 are right and 1 is tied.
    y, risk = np.array([1, 1, 0, 0, 0]), np.array([0.4, 0.8, 0.1, 0.4, 0.6])
    estimate = auroc(as_outcome(y, "binary"), risk)
    assert estimate.value == pytest.approx(4.5 / 6)
    # Events beat 1.5/3 and 3/3 of the others; the others lose to 2/2, 1.5/2 and 1/2 of the events.
    variance = np.var([0.5, 1.0], ddof=1) / 2 + np.var([1.0, 0.75, 0.5], ddof=1) / 3
    assert estimate.std_error == pytest.approx(np.sqrt(variance))
    half = stats.norm.ppf(0.975) * np.sqrt(variance) / (0.75 * 0.25)
    assert estimate.interval(0.95, "logit") == pytest.approx(tuple(expit(logit(0.75) + np.array([-half, half]))))


def test_the_bootstrap_interval_of_the_auroc_agrees_with_delongs(cohort):
    y, risk, _ = cohort
    table = risk_metrics(y, risk, "binary", bootstrap=2000, rng=np.random.default_rng(2)).set_index("metric")
    limits = auroc(as_outcome(y, "binary"), risk).interval(0.95, "logit")
    assert table.loc["auroc", "estimate"] == pytest.approx(roc_auc_score(y, risk))
    assert (table.loc["auroc", "low"], table.loc["auroc", "high"]) == pytest.approx(limits, abs=0.006)
