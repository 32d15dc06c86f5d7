import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import expit

from il7ml.errors import InputError
from il7ml.models import nuisance
from il7ml.models.dr_learner import DRLearner
from il7ml.models.effect_model import EffectModel
from il7ml.models.propensity import estimate_propensity, overlapping


def cohort(n=1500, strength=1.0, seed=0):
    """Return a cohort in which severe patients are treated more often and fare worse; the effect is -0.5."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 3)), columns=["severity", "age", "noise"])
    probability = expit(strength * X["severity"].to_numpy() + 0.4 * X["age"].to_numpy())
    arm = rng.binomial(1, probability)
    y = X["severity"].to_numpy() - 0.5 * arm + rng.normal(size=n)
    return X, y, arm, probability


def estimated(X, arm):
    matrix = X.to_numpy()
    return estimate_propensity(matrix, tuple(X.columns), arm.astype(np.int8), 5, np.random.default_rng(1))


def test_probabilities_are_near_the_true_ones():
    X, _, arm, truth = cohort(n=4000)
    assert np.sqrt(np.mean((estimated(X, arm).probability - truth) ** 2)) < 0.02


def test_probabilities_are_out_of_fold():
    """Sixty columns without influence: probabilities fitted to the patients themselves would tell the arms apart."""
    rng = np.random.default_rng(0)
    X, arm = pd.DataFrame(rng.normal(size=(200, 60))).rename(columns=str), np.arange(200) % 2
    probability = estimated(X, arm).probability
    assert probability[arm == 1].mean() - probability[arm == 0].mean() < 0.02


def test_trimming_is_crumps_where_probabilities_are_uniform():
    """The bound solves 1 / (a (1 - a)) = 2 E[1 / (e (1 - e)) | a < e < 1 - a] = 4 log((1 - a) / a) / (1 - 2 a)."""
    bound = brentq(lambda a: 1 / (a * (1 - a)) - 4 * np.log((1 - a) / a) / (1 - 2 * a), 1e-4, 0.4)
    probability = (np.arange(100_000) + 0.5) / 100_000
    kept = probability[overlapping(probability)]
    assert kept.min() == pytest.approx(bound, abs=1e-4)
    assert kept.max() == pytest.approx(1 - bound, abs=1e-4)


def test_nobody_is_left_out_where_all_had_a_choice():
    assert overlapping(np.random.default_rng(0).uniform(0.3, 0.7, 500)).all()


def test_overlap_before_and_after():
    X, _, arm, _ = cohort(strength=2.0)
    X["constant"] = 1.0
    probability, kept, overlap = estimated(X, arm)
    table = overlap.set_index(["measure", "of"])
    assert table.loc[("share_kept", "all"), "after"] == kept.mean() < 1
    control = (arm == 0) & kept
    weight = 1 / (1 - probability[control])
    row = table.loc[("effective_sample_size", "control")]
    assert row["before"] == (arm == 0).sum()
    assert row["after"] == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
    # Austin and Stuart's formula, written out.
    severity = X["severity"]
    spread = np.sqrt((severity[arm == 1].var() + severity[arm == 0].var()) / 2)
    row = table.loc[("standardised_difference", "severity")]
    assert row["before"] == pytest.approx((severity[arm == 1].mean() - severity[arm == 0].mean()) / spread)
    assert abs(row["after"]) < 0.15 < 0.8 < row["before"]
    assert table.loc[("standardised_difference", "constant")].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("learner", [DRLearner("continuous", bootstrap=0), EffectModel("continuous")])
def test_the_effect_in_a_confounded_cohort_is_the_true_one(learner, monkeypatch):
    monkeypatch.setattr(nuisance, "_TREES_FROM", 10**9)
    errors, without = [], []
    for seed in range(3):
        X, y, arm, _ = cohort(seed=seed)
        learner.fit(X, y, arm, propensity="estimate")
        errors.append(learner.ate_ + 0.5)
        assert learner.overlap_ is not None
        assert learner.ate_interval_[0] < -0.5 < learner.ate_interval_[1]
        without.append(y[arm == 1].mean() - y[arm == 0].mean() + 0.5)
    # Three standard errors of the mean of three estimates, each 2 sqrt(1.3) / sqrt(1500) = 0.06; confounding is 0.8.
    assert abs(np.mean(errors)) < 0.1
    assert np.mean(without) > 0.6


def test_a_wrong_outcome_model_is_made_good_by_the_probability(monkeypatch):
    """Without the estimate the squared severity confounds: a linear outcome model cannot see it."""
    monkeypatch.setattr(nuisance, "_TREES_FROM", 10**9)
    rng = np.random.default_rng(0)
    n = 6000
    X = pd.DataFrame({"severity": rng.normal(size=n)})
    severity = X["severity"].to_numpy()
    arm = rng.binomial(1, expit(severity))
    y = np.exp(severity) - 0.5 * arm + rng.normal(size=n)
    learner = DRLearner("continuous", bootstrap=0)
    assert learner.fit(X, y, arm, propensity="estimate").ate_ == pytest.approx(-0.5, abs=0.15)


def test_patients_left_out_have_no_influence():
    X, y, arm, _ = cohort(strength=2.5)
    kept = estimate_kept(X, y, arm)
    other = np.where(kept, y, 1000.0)
    first, second = (
        DRLearner("continuous", bootstrap=0).fit(X, each, arm, propensity="estimate") for each in (y, other)
    )
    assert 0 < (~kept).sum() < 750
    np.testing.assert_array_equal(first.predict(X), second.predict(X))


def estimate_kept(X, y, arm):
    """Return who is kept, from the share and from sample sizes that leave no doubt."""
    learner = DRLearner("continuous", bootstrap=0)
    frame, trial = learner._checked(X, y, arm, "estimate", None, None)
    assert len(frame) == trial.y.size == trial.propensity.size
    return X.index.isin(frame.index)


def test_known_probabilities_have_no_overlap_table():
    X, y, arm, _ = cohort(200)
    learner = DRLearner("continuous", bootstrap=0).fit(X, y, arm, propensity="estimate")
    assert learner.fit(X, y, arm, propensity=0.5).overlap_ is None


def test_arms_that_cannot_be_compared_are_refused():
    X, y, arm, _ = cohort(300)
    separated = X.assign(severity=np.where(arm == 1, 10.0, -10.0) + X["noise"])
    with pytest.raises(InputError, match="propensity: expected at least 5 patients of each arm who could have been"):
        DRLearner("continuous", bootstrap=0).fit(separated, y, arm, propensity="estimate")
    with pytest.raises(InputError, match="propensity: expected probabilities or 'estimate', got 'estimated'"):
        DRLearner("continuous", bootstrap=0).fit(X, y, arm, propensity="estimated")


def test_sites_without_anybody_left_do_not_count():
    X, y, arm, _ = cohort(600)
    certain = np.arange(600) < 40  # one site whose patients were all treated
    X["severity"] = X["severity"].where(~certain, 12.0)
    arm[certain] = 1
    sites = np.where(certain, 0, 1 + np.arange(600) % 6)
    frame, trial = EffectModel("continuous")._checked(X, y, arm, "estimate", None, None, sites)
    assert not certain[frame.index].any()
    np.testing.assert_array_equal(np.unique(trial.sites), np.arange(6))
    assert np.isfinite(EffectModel("continuous").fit(X, y, arm, propensity="estimate", groups=sites).ate_)
