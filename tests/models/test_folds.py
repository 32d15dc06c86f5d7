import numpy as np
import pytest

from il7ml.models.folds import outcome_strata, stratified_folds


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("folds", [2, 5, 10])
def test_every_stratum_and_the_whole_are_dealt_evenly(folds, seed):
    rng = np.random.default_rng(seed)
    strata = rng.choice(4, size=109, p=[0.6, 0.3, 0.08, 0.02])
    fold = stratified_folds(strata, folds, rng)
    for members in [fold, *(fold[strata == stratum] for stratum in np.unique(strata))]:
        sizes = np.bincount(members, minlength=folds)
        assert sizes.size == folds
        assert sizes.max() - sizes.min() <= 1


def test_strata_smaller_than_the_number_of_folds_are_spread():
    fold = stratified_folds(np.array([0] * 17 + [1] * 3), 5, np.random.default_rng(0))
    assert len(set(fold[-3:])) == 3


def test_folds_are_reproducible_and_random():
    strata = np.repeat([0, 1], 50)
    once, again, other = (stratified_folds(strata, 5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()


def test_patients_fall_into_every_fold_equally_often():
    strata = np.array([0] * 7 + [1] * 6)
    fold = np.array([stratified_folds(strata, 4, np.random.default_rng(seed)) for seed in range(800)])
    # The first patient of the first stratum: 2, 2, 2 or 1 of 7 places, from fold 0 on.
    shares = np.bincount(fold[:, 0], minlength=4) / 800
    np.testing.assert_allclose(shares, np.array([2, 2, 2, 1]) / 7, atol=0.06)


@pytest.mark.parametrize("kind", ["binary", "count"])
def test_strata_are_arm_and_event(kind):
    y, arm = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0, 0, 1, 1], dtype=np.int8)
    assert outcome_strata(y, arm, kind).tolist() == [0, 2, 1, 3]


def test_more_events_are_one_stratum():
    assert outcome_strata(np.array([1.0, 5.0]), np.zeros(2, dtype=np.int8), "count").tolist() == [2, 2]


def test_a_number_is_stratified_by_its_quarters():
    y, arm = np.arange(80.0), np.tile([0, 1], 40).astype(np.int8)
    counts = np.bincount(outcome_strata(y, arm, "continuous"))
    assert counts.tolist() == [10] * 8


def test_ties_are_no_obstacle():
    y = np.zeros(20)
    assert set(outcome_strata(y, np.tile([0, 1], 10).astype(np.int8), "continuous")) == {0, 1}
