import numpy as np
import pytest
from scipy import stats

from il7ml.endpoints.durations import compare_days, days_alive_out_of_hospital, free_days, stay_with_death_longest
from il7ml.errors import InputError

NONE = np.nan


def test_ventilator_free_days_are_0_for_the_dead_and_those_still_ventilated():
    days = [0, 10, 28, 40, 3, 12, 20]
    death = [NONE, NONE, NONE, NONE, 28, 29, 25]
    # Death on day 28 counts, on day 29 it is after the horizon.
    assert free_days(days, death).tolist() == [28, 18, 0, 0, 0, 16, 0]
    assert free_days([5], [NONE], horizon=14).tolist() == [9]


def test_days_alive_and_out_of_hospital_stop_at_death():
    days, death = [10, 30, 45, 8, 12], [NONE, NONE, NONE, 20, 12]
    assert days_alive_out_of_hospital(days, death).tolist() == [20, 0, 0, 12, 0]


def test_a_death_is_the_longest_stay():
    assert stay_with_death_longest([5, 40, 90, 3], [0, 0, 0, 1], horizon=60).tolist() == [5, 40, 60, 60]


def test_unknown_days_stay_unknown_but_for_deaths():
    days, death = [NONE, NONE, 4], [NONE, 20, NONE]
    np.testing.assert_array_equal(free_days(days, death), [NONE, 0, 24])
    np.testing.assert_array_equal(days_alive_out_of_hospital(days, death), [NONE, NONE, 26])
    np.testing.assert_array_equal(stay_with_death_longest(days, [0, 1, 0], horizon=60), [NONE, 60, 4])


def test_days_are_compared_by_welch_and_by_ranks():
    rng = np.random.default_rng(2)
    arm = np.arange(60) % 2
    days = np.round(rng.exponential(10 + 4 * arm)).clip(0, 28)
    days[:2] = NONE
    mean, ranks = compare_days(days, arm, endpoint="ventilator_free_days")
    reference = stats.ttest_ind(days[arm == 1], days[arm == 0], equal_var=False, nan_policy="omit")
    assert mean.p_value == pytest.approx(reference.pvalue)
    assert (mean.low, mean.high) == pytest.approx(tuple(reference.confidence_interval()))
    assert mean.n == ranks.n == 58
    treated, control = (days[(arm == code) & ~np.isnan(days)] for code in (1, 0))
    test = stats.mannwhitneyu(treated, control, use_continuity=False, method="asymptotic")
    assert ranks.p_value == pytest.approx(test.pvalue)
    stratified = compare_days(days, arm, endpoint="ventilator_free_days", strata=np.arange(60) // 30)
    assert stratified[0] == mean
    assert stratified[1].method == "van Elteren test"


@pytest.mark.parametrize("rule", [free_days, days_alive_out_of_hospital])
def test_negative_days_and_days_after_death_are_refused(rule):
    with pytest.raises(InputError, match="1 lower"):
        rule([-1, 3], [NONE, NONE])
    with pytest.raises(InputError, match="1 patients have more days than they lived"):
        rule([9, 3], [8, NONE])


@pytest.mark.parametrize(
    ("days", "message"),
    [
        ([3, NONE, 4, 5], "at least two known outcomes in each arm"),
        ([3, 3, 3, 3], "all are the same"),
        ([3, -1, 4, 5], "1 lower"),
    ],
)
def test_days_that_cannot_be_compared_are_refused(days, message):
    with pytest.raises(InputError, match=message):
        compare_days(days, [1, 1, 0, 0], endpoint="stay")
