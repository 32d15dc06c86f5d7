import numpy as np
import pandas as pd
import pytest

from il7ml.endpoints.final_ratio import final_ratio
from il7ml.endpoints.imputation import impute, imputed_final_ratio, pool
from il7ml.errors import InputError


def test_five_imputations_pooled_by_hand():
    # Estimates 0.30, 0.36, 0.33, 0.42, 0.24: mean 0.33, between 0.018 / 4 = 0.0045. Variances 0.040, 0.036, 0.044,
    # 0.042, 0.038: mean 0.040. Total 0.040 + 1.2 * 0.0045 = 0.0454; lambda 0.0054 / 0.0454 = 27 / 227.
    pooled = pool([0.30, 0.36, 0.33, 0.42, 0.24], np.sqrt([0.040, 0.036, 0.044, 0.042, 0.038]), complete_degrees=100)
    assert pooled.estimate == pytest.approx(0.33)
    assert pooled.std_error**2 == pytest.approx(0.0454)
    assert pooled.missing_information == pytest.approx(27 / 227)
    # Rubin: 4 (227 / 27)^2 = 282.738; observed: 101 / 103 * 100 * 200 / 227 = 86.395; joined 1 / (1/a + 1/b) = 66.174
    assert pooled.degrees == pytest.approx(66.174, abs=1e-3)
    large = pool([0.30, 0.36, 0.33, 0.42, 0.24], np.sqrt([0.040, 0.036, 0.044, 0.042, 0.038]))
    assert large.degrees == pytest.approx(282.738, abs=1e-3)


def test_without_missing_information_the_complete_analysis_remains():
    pooled = pool([0.2, 0.2, 0.2], [0.1, 0.1, 0.1], complete_degrees=50)
    assert (pooled.estimate, pooled.std_error) == pytest.approx((0.2, 0.1))
    assert pooled.degrees == pytest.approx(51 / 53 * 50)
    assert np.isinf(pool([0.2, 0.2], [0.1, 0.1]).degrees)


def test_imputations_keep_what_is_known_and_follow_the_relation():
    rng = np.random.default_rng(1)
    before = rng.normal(size=300)
    after = 1 + 2 * before + rng.normal(0, 0.5, 300)
    missing = rng.random(300) < 1 / (1 + np.exp(-2 * before))
    table = pd.DataFrame(
        {"count before": before, "count after": np.where(missing, np.nan, after)}, index=range(10, 310)
    )
    filled = impute(table, np.random.default_rng(2), imputations=10)
    values = np.array([each["count after"] for each in filled])
    np.testing.assert_array_equal(values[:, ~missing], np.broadcast_to(after[~missing], values[:, ~missing].shape))
    assert (values[:, missing].std(axis=0) > 0).mean() > 0.95
    # The known ones alone are too low by 0.7; the imputed data sets are right to within their error.
    assert after[~missing].mean() < after.mean() - 0.5
    assert values.mean() == pytest.approx(after.mean(), abs=0.15)
    assert filled[0].index.equals(table.index)
    assert list(filled[0].columns) == list(table.columns)


def test_the_same_generator_gives_the_same_imputations_and_leaves_the_global_one_alone():
    table = pd.DataFrame({"a": np.arange(30.0), "b": np.where(np.arange(30) % 4 == 0, np.nan, np.arange(30.0) ** 1.1)})
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (impute(table, np.random.default_rng(5), imputations=2)[1] for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def drawn(n, seed):
    """Return counts before and after, arm and a count on the way; low counts on the way go missing at the end."""
    rng = np.random.default_rng(seed)
    arm, before = np.arange(n) % 2, rng.normal(-0.5, 0.4, n)
    way = before + 0.3 + 0.2 * arm + rng.normal(0, 0.3, n)
    after = way + 0.2 + 0.15 * arm + rng.normal(0, 0.2, n)
    after[rng.random(n) < 1 / (1 + np.exp(np.where(arm == 1, 8 * way, 1.5)))] = np.nan
    return np.exp(after), np.exp(before), arm, pd.DataFrame({"way": way})


def test_imputation_from_a_count_on_the_way_finds_the_truth_that_complete_cases_miss():
    after, before, arm, way = drawn(1500, seed=3)
    result = imputed_final_ratio(
        after, before, arm, np.random.default_rng(4), endpoint="lymphocytes", auxiliary=way, imputations=8
    )
    assert 0.2 < np.isnan(after).mean() < 0.5
    assert abs(np.log(result.estimate) - 0.35) < 3 * result.std_error
    complete = final_ratio(after, before, arm, endpoint="lymphocytes")
    assert np.log(complete.estimate) - 0.35 > 2 * complete.std_error
    assert (result.n, complete.n) == (1500, int((~np.isnan(after)).sum()))


def test_with_nothing_missing_it_is_the_final_ratio():
    after, before, arm, _ = drawn(80, seed=5)
    after = np.where(np.isnan(after), 1.0, after)
    age = pd.DataFrame({"age": np.random.default_rng(6).normal(60, 10, 80)})
    result = imputed_final_ratio(
        after, before, arm, np.random.default_rng(4), endpoint="lymphocytes", covariates=age, imputations=2
    )
    complete = final_ratio(after, before, arm, endpoint="lymphocytes", covariates=age)
    assert (result.estimate, result.std_error) == pytest.approx((complete.estimate, complete.std_error))


def test_auxiliary_variables_may_have_any_name_but_must_be_numbers_of_all_patients():
    after, before, arm, way = drawn(80, seed=7)

    def result(auxiliary):
        generator = np.random.default_rng(4)
        return imputed_final_ratio(
            after, before, arm, generator, endpoint="lymphocytes", auxiliary=auxiliary, imputations=3
        )

    assert result(way.rename(columns={"way": "baseline"})) == result(way)
    with pytest.raises(InputError, match="way: expected 80 values"):
        result(way.iloc[:79])
    with pytest.raises(InputError, match="way: expected numbers"):
        result(way.assign(way="low"))


def test_too_little_to_impute_from_is_refused():
    with pytest.raises(InputError, match="'b' has fewer than 7 known values"):
        impute(pd.DataFrame({"a": range(10), "b": [1.0] * 6 + [np.nan] * 4}), np.random.default_rng(1))
    with pytest.raises(InputError, match="at least two"):
        pool([1.0], [0.1])
