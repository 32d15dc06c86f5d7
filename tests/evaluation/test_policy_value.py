import numpy as np
import pytest
from scipy import stats

from il7ml.errors import InputError
from il7ml.evaluation.effects import DoublyRobustScores, average_effect
from il7ml.evaluation.policy_value import policy_value


def scores_of(effect, untreated=0.5):
    untreated = np.broadcast_to(untreated, effect.shape)
    return DoublyRobustScores(effect, untreated, untreated + effect)


def test_worked_by_hand():
    effect = np.array([-0.4, -0.2, 0.1, 0.3])
    table = policy_value(scores_of(effect), [0.3, 0.1, 0.2, 0.0], [0.05, 0.15]).set_index("threshold")
    # At 0.05 all but the last are treated, at 0.15 the first and the third.
    assert table["treated"].tolist() == [0.75, 0.5]
    assert table["outcome"].tolist() == pytest.approx([0.5 - 0.5 / 4, 0.5 - 0.3 / 4])
    assert table["net_benefit"].tolist() == pytest.approx([(0.5 - 3 * 0.05) / 4, (0.3 - 2 * 0.15) / 4])
    assert table["all_net_benefit"].tolist() == pytest.approx([0.05 - 0.05, 0.05 - 0.15])
    np.testing.assert_allclose(table["difference"], table["net_benefit"] - table["all_net_benefit"], atol=1e-12)


def test_limits_are_students_of_what_each_patient_gains():
    rng = np.random.default_rng(0)
    effect, benefit = rng.normal(size=80), rng.normal(size=80)
    row = policy_value(scores_of(effect), benefit, [0.2], level=0.9).iloc[0]
    gains = np.where(benefit > 0.2, -effect - 0.2, 0)
    lost = np.where(benefit > 0.2, 0, effect + 0.2)
    for values, names in ((gains, ["low", "high"]), (lost, ["difference_low", "difference_high"])):
        np.testing.assert_allclose(row[names], stats.ttest_1samp(values, 0).confidence_interval(0.9))


def test_treating_all_at_threshold_0_is_the_average_effect():
    rng = np.random.default_rng(1)
    scores = scores_of(rng.normal(size=300))
    row = policy_value(scores, np.ones(300), [0]).iloc[0]
    average = average_effect(scores, "continuous").iloc[0]
    assert row["net_benefit"] == row["all_net_benefit"] == pytest.approx(-average["estimate"])
    assert row["all_high"] == pytest.approx(-average["low"], abs=0.002)  # Student against normal limits
    assert row["difference"] == 0
    assert np.isnan(row["difference_low"])


def test_a_good_outcome_mirrors_a_bad_one():
    rng = np.random.default_rng(2)
    effect, benefit = rng.normal(size=60), rng.normal(size=60)
    bad = policy_value(scores_of(-effect), benefit, [0.1])
    good = policy_value(scores_of(effect), benefit, [0.1], harmful=False)
    same = [name for name in bad if name != "outcome"]
    np.testing.assert_allclose(bad[same], good[same])
    assert good["outcome"].item() == pytest.approx(1 - bad["outcome"].item())


def test_few_patients_treated_differently_have_no_limits():
    rng = np.random.default_rng(3)
    benefit = np.r_[np.ones(9), np.zeros(91)]
    row = policy_value(scores_of(rng.normal(size=100)), benefit, [0.5]).iloc[0]
    assert row[["low", "high"]].isna().all()
    assert np.isfinite(row[["net_benefit", "difference_low", "all_low"]].astype(float)).all()


def test_intervals_cover_the_true_value_at_109_patients():
    # Benefit N(0.1, 0.08^2), its prediction exact, 35 % events: E[(b - t) 1{b > t}] of a normal variable is known. The
    # bound is the nominal level less 4 Monte-Carlo standard errors.
    rng, trials, cut = np.random.default_rng(4), 400, 0.1
    truth = 0.08 * stats.norm.pdf(0)
    covered = np.zeros(2)
    for _ in range(trials):
        benefit = rng.normal(0.1, 0.08, 109)
        arm = rng.integers(0, 2, 109)
        y = rng.random(109) < 0.35 - arm * benefit
        score = np.where(arm == 1, 2 * (y - 0.25), -2 * (y - 0.35)) - 0.1
        row = policy_value(scores_of(score, 0.35), benefit, [cut]).iloc[0]
        covered += [row["low"] <= truth <= row["high"], row["difference_low"] <= truth <= row["difference_high"]]
    assert (covered / trials).min() >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / trials)


def test_repeats_are_joined_by_medians():
    rng = np.random.default_rng(5)
    scores, benefit = scores_of(rng.normal(size=90)), rng.normal(size=(5, 90))
    single = [policy_value(scores, one, [0, 0.3], level=0.975) for one in benefit]
    joint = policy_value(scores, benefit, [0.3, 0])
    for name in ("treated", "net_benefit", "low", "difference_high"):
        np.testing.assert_allclose(joint[name], np.median([table[name] for table in single], axis=0))


@pytest.mark.parametrize("thresholds", [[], [np.nan], [0.1, np.inf]])
def test_thresholds_must_be_finite(thresholds):
    with pytest.raises(InputError, match="thresholds"):
        policy_value(scores_of(np.zeros(3)), np.zeros(3), thresholds)
