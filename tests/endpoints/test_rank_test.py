from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from il7ml.endpoints.rank_test import rank_test
from il7ml.errors import InputError


def drawn(n=70, seed=1):
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(4, 3, n) + np.arange(n) % 2 * 1.5).clip(0), np.arange(n) % 2


def test_without_strata_it_is_wilcoxons_test():
    y, arm = drawn()
    result = rank_test(y, arm, endpoint="days")
    reference = stats.mannwhitneyu(y[arm == 1], y[arm == 0], use_continuity=False, method="asymptotic")
    assert result.p_value == pytest.approx(reference.pvalue)
    assert result.estimate == pytest.approx(reference.statistic / 35**2)


def test_the_error_is_brunner_and_munzels():
    y, arm = drawn()
    result = rank_test(y, arm, endpoint="days")
    reference = stats.brunnermunzel(y[arm == 0], y[arm == 1])
    assert (result.estimate - 0.5) / result.std_error == pytest.approx(reference.statistic)
    assert (result.low, result.high) == pytest.approx(stats.norm.interval(0.95, result.estimate, result.std_error))


def test_van_elterens_statistic_has_the_variance_of_its_permutations():
    y, strata = np.array([0, 0, 3, 5, 1, 1, 4, 7, 9.0]), ["a"] * 4 + ["b"] * 5
    treated = np.array([0, 1, 0, 1, 0, 1, 1, 0, 0])
    ranks = np.concatenate([stats.rankdata(y[:4]), stats.rankdata(y[4:])])
    statistics = [
        ranks[list(first)].sum() / 5 + ranks[list(second)].sum() / 6
        for first, second in product(combinations(range(4), 2), combinations(range(4, 9), 2))
    ]
    observed = (ranks * treated)[:4].sum() / 5 + (ranks * treated)[4:].sum() / 6
    z = (observed - np.mean(statistics)) / np.std(statistics)
    result = rank_test(y, treated, endpoint="days", strata=strata)
    assert result.p_value == pytest.approx(2 * stats.norm.sf(abs(z)))
    # Weights are pairs / (n + 1).
    a, b = (rank_test(y[part], treated[part], endpoint="days").estimate for part in (slice(4), slice(4, 9)))
    assert result.estimate == pytest.approx((a * 4 / 5 + b * 6 / 6) / (4 / 5 + 6 / 6))
    assert result.method == "van Elteren test"


def test_a_stratum_of_one_arm_does_not_count_and_unknown_values_neither():
    y, arm = drawn(20)
    whole = rank_test(y, arm, endpoint="days")
    extended = rank_test([*y, 3, 5, np.nan], [*arm, 1, 1, 0], endpoint="days", strata=["uk"] * 20 + ["fr"] * 2 + ["uk"])
    assert extended.estimate == pytest.approx(whole.estimate)
    assert extended.p_value == pytest.approx(whole.p_value)


def test_a_single_patient_in_an_arm_of_a_stratum_is_no_obstacle():
    result = rank_test([3, 1, 4, 1, 5, 9, 2], [1, 0, 0, 1, 1, 0, 0], endpoint="days", strata=["a"] * 3 + ["b"] * 4)
    assert np.isfinite([result.std_error, result.p_value]).all()
    assert 0 <= result.low <= result.high <= 1


@pytest.mark.parametrize(
    ("y", "strata", "message"),
    [
        ([2, 2, 2, 2], None, "all are the same"),
        ([1, 2, 3, 4], ["a", "a", "b", "b"], "no stratum has patients in both arms"),
        ([1, 2, 3, 4], ["a"] * 4, "at least two"),
    ],
)
def test_nothing_to_compare_is_refused(y, strata, message):
    with pytest.raises(InputError, match=message):
        rank_test(y, [1, 1, 0, 0], endpoint="days", strata=strata)
