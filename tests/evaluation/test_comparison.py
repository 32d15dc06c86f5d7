import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from il7ml.errors import InputError
from il7ml.evaluation.comparison import compare_models
from il7ml.evaluation.decision import decision_curve
from il7ml.evaluation.resampling import resampling_counts

# DeLong et al. 1988: patients with ovarian cancer; albumin, K-G score (10 minus it), whether surgery helped.
ALBUMIN = (
    "3.0 3.2 3.9 2.8 3.2 0.9 2.5 1.6 3.8 3.7 3.2 3.8 4.1 3.6 4.3 3.6 2.3 4.2 4.0 3.5 3.8 3.0 4.5 3.7 3.1 4.1 4.3 4.3 "
    "3.2 2.6 3.3 1.7 3.7 3.3 4.2 3.5 2.9 2.1 2.8 4.0 3.3 3.7 3.6"
)
KG = "10 5 3 6 3 5 8 5 5 6 4 6 5 5 4 4 6 4 6 6 7 8 5 5 6 6 5 4 5 6 6 7 5 7 6 5 9 7 8 7 6 5 5"
HELPED = "0 1 1 0 1 0 0 1 1 1 1 1 1 1 1 0 1 0 0 1 1 0 1 1 1 1 1 1 1 1 0 0 1 1 1 1 0 1 0 1 1 1 1"


def rows(table):
    return table.set_index("metric")


def area_of_pairs(y, risk, weight):
    """Return the weighted share of pairs in which the patient with the outcome ranks higher."""
    higher = np.sign(risk[y == 1][:, None] - risk[y == 0]) / 2 + 0.5
    pairs = np.outer(weight[y == 1], weight[y == 0])
    return (pairs * higher).sum() / pairs.sum()


@pytest.fixture
def sample():
    rng = np.random.default_rng(1)
    risk = rng.uniform(0.05, 0.9, 120)
    y = (rng.random(120) < risk).astype(float)
    return y, risk.round(2), np.clip(risk + rng.normal(0, 0.2, 120), 0.02, 0.98).round(2), rng.uniform(0.5, 2, 120)


def test_delongs_own_example_as_sas_prints_it():
    albumin, kg, helped = (np.array(text.split(), dtype=float) for text in (ALBUMIN, KG, HELPED))
    # Only their order counts for the area; scores become "risks" by being divided.
    row = rows(compare_models(helped, albumin / 10, (10 - kg) / 10, "binary")).loc["auroc"]
    assert (row["first"], row["second"]) == pytest.approx((0.7366, 0.7258), abs=5e-5)
    assert (row["difference"], row["std_error"]) == pytest.approx((0.0108, 0.0953), abs=6e-5)
    assert (row["low"], row["high"], row["p_value"]) == pytest.approx((-0.1761, 0.1976, 0.9102), abs=6e-5)


def test_binary_measures_against_scikit_learn_and_paired_t(sample):
    y, first, second, weight = sample
    weighted = rows(compare_models(y, first, second, "binary", weight=weight))
    for metric, reference in (("auroc", roc_auc_score), ("brier", brier_score_loss), ("log_loss", log_loss)):
        one, other = (reference(y, risk, sample_weight=weight) for risk in (first, second))
        assert weighted.loc[metric, "first"] == pytest.approx(one)
        assert weighted.loc[metric, "difference"] == pytest.approx(one - other)
    plain = rows(compare_models(y, first, second, "binary"))
    differences = (y - first) ** 2 - (y - second) ** 2
    assert plain.loc["brier", "std_error"] == pytest.approx(stats.sem(differences))
    z = differences.mean() / stats.sem(differences)
    assert plain.loc["brier", "p_value"] == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert plain["higher_is_better"].to_dict() == {"auroc": True, "brier": False, "log_loss": False}


def test_net_benefits_are_those_of_the_decision_curve(sample):
    y, first, second, weight = sample
    table = compare_models(y, [first, first[::-1]], second, "binary", thresholds=[0.3, 0.1], weight=weight)
    table = table[table["metric"] == "net_benefit"].set_index("threshold")
    curve = decision_curve(
        y,
        {"first": [first, first[::-1]], "second": second},
        [0.1, 0.3],
        weight=weight,
        bootstrap=2,
        rng=np.random.default_rng(0),
    ).pivot_table(index="threshold", columns="strategy", values="net_benefit")
    np.testing.assert_allclose(table[["first", "second"]], curve[["first", "second"]])


def test_standard_errors_are_those_of_the_paired_bootstrap_of_repeats(sample):
    y, first, second, weight = sample
    repeats = np.stack([first, np.clip(first + 0.2 * np.sin(np.arange(120)), 0.02, 0.98)])
    models = [*repeats, second]
    table = rows(compare_models(y, repeats, second, "binary", weight=weight))
    differences = []
    for counts in np.vstack(list(resampling_counts(120, 2000, np.random.default_rng(2)))):
        drawn = counts * weight
        values = [(area_of_pairs(y, risk, drawn), np.average((y - risk) ** 2, weights=drawn)) for risk in models]
        differences.append((np.add(values[0], values[1]) / 2 - values[2]).tolist())
    np.testing.assert_allclose(table.loc[["auroc", "brier"], "std_error"], np.std(differences, axis=0), rtol=0.06)


def test_counts_and_continuous_outcomes():
    rng = np.random.default_rng(3)
    days, rate = rng.uniform(5, 30, 90), rng.gamma(2, 0.03, 90)
    events = rng.poisson(rate * days)
    count = compare_models(events, rate, np.full(90, 0.06), "count", exposure=days).iloc[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        saturated = np.where(events > 0, events * np.log(events), 0) - events
    deviances = [2 * (saturated - events * np.log(r * days) + r * days) for r in (rate, 0.06)]
    assert count["difference"] == pytest.approx((deviances[0] - deviances[1]).mean())
    assert count["std_error"] == pytest.approx(stats.sem(deviances[0] - deviances[1]))
    y = rng.normal(size=90)
    continuous = compare_models(y, np.zeros(90), np.ones(90), "continuous").iloc[0]
    roots = np.sqrt([(y**2).mean(), ((y - 1) ** 2).mean()])
    assert (continuous["first"], continuous["second"]) == pytest.approx(tuple(roots))
    # First-order error of a difference of roots.
    change = y**2 / (2 * roots[0]) - (y - 1) ** 2 / (2 * roots[1])
    assert continuous["std_error"] == pytest.approx(stats.sem(change))


def test_a_model_does_not_differ_from_itself(sample):
    y, risk, _, _ = sample
    table = compare_models(y, risk, risk, "binary", thresholds=[0.2])
    assert (table[["difference", "low", "high"]] == 0).all(axis=None)
    assert table["p_value"].isna().all()


def test_the_test_keeps_its_level_and_the_interval_covers():
    # Two equally noisy readings of the same risk have the same true area and Brier score.
    rng = np.random.default_rng(4)
    found = []
    for _ in range(300):
        truth = rng.normal(-1, 1, 109)
        readings = [1 / (1 + np.exp(-(truth + rng.normal(0, 1, 109)))) for _ in range(2)]
        y = rng.random(109) < 1 / (1 + np.exp(-truth))
        table = rows(compare_models(y, *readings, "binary"))
        found.append(table.loc[["auroc", "brier"], "p_value"] < 0.05)
    for rejected in np.sum(found, axis=0):
        assert stats.binomtest(int(rejected), 300, 0.05).pvalue > 0.001


@pytest.mark.parametrize(("kind", "thresholds"), [("binary", [0.0]), ("binary", [0.2, 1.0]), ("continuous", [0.5])])
def test_thresholds_must_be_risks_of_a_binary_outcome(kind, thresholds):
    with pytest.raises(InputError, match="thresholds"):
        compare_models([0, 1], [0.1, 0.2], [0.2, 0.1], kind, thresholds=thresholds)
