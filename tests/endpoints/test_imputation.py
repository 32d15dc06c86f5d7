import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

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


def test_the_same_generator_gives_the_same_imputations():
    table = pd.DataFrame({"a": np.arange(30.0), "b": np.where(np.arange(30) % 4 == 0, np.nan, np.arange(30.0) ** 1.1)})
    first, second = (impute(table, np.random.default_rng(5), imputations=2) for _ in range(2))
    pd.testing.assert_frame_equal(first[1], second[1])
    assert (first[0].loc[table["b"].isna(), "b"] != first[1].loc[table["b"].isna(), "b"]).all()


def test_draws_have_the_posterior_predictive_distribution_of_a_linear_regression():
    rng = np.random.default_rng(1)
    x = rng.normal(size=20)
    y = 1 + 2 * x + rng.normal(size=20)
    y[:3] = np.nan
    filled = impute(pd.DataFrame({"x": x, "y": y}), np.random.default_rng(2), imputations=800)
    drawn = np.array([each["y"][:3] for each in filled])
    fit = sm.OLS(y[3:], sm.add_constant(x[3:])).fit()
    prediction = fit.get_prediction(sm.add_constant(x[:3]))
    # Student's t with 15 degrees of freedom around the prediction, with the error of a new observation.
    for column in range(3):
        standardised = (drawn[:, column] - prediction.predicted_mean[column]) / prediction.se_obs[column]
        assert stats.kstest(standardised, stats.t(15).cdf).pvalue > 0.001


def test_a_column_that_is_constant_where_values_are_known_does_not_matter():
    rng = np.random.default_rng(3)
    x = rng.normal(size=30)
    y = np.where(np.arange(30) < 6, np.nan, x)
    table = pd.DataFrame({"x": x, "site": (np.arange(30) < 3) * 1.0, "y": y})
    filled = impute(table, np.random.default_rng(4), imputations=3)
    for each in filled:
        np.testing.assert_allclose(each["y"], x, atol=1e-10)


def test_two_incomplete_columns_that_hang_together_are_imputed_together():
    rng = np.random.default_rng(5)
    joint = rng.multivariate_normal([1.0, 2.0, 3.0], [[1, 0.8, 0.6], [0.8, 1, 0.7], [0.6, 0.7, 1]], 3000)
    table = pd.DataFrame(joint, columns=["a", "b", "c"])
    table.loc[:1200, "c"] = np.nan
    table.loc[rng.random(3000) < 1 / (1 + np.exp(-2 * joint[:, 0])), "b"] = np.nan  # high values of a lack b
    whole = pd.concat(impute(table, np.random.default_rng(6), imputations=4))
    assert whole.mean().tolist() == pytest.approx([1, 2, 3], abs=0.1)
    np.testing.assert_allclose(whole.cov(), [[1, 0.8, 0.6], [0.8, 1, 0.7], [0.6, 0.7, 1]], atol=0.1)


def drawn(n, seed, slope=8.0):
    """Return counts before and after, arm and a count on the way; treated with low counts on the way lack the last."""
    rng = np.random.default_rng(seed)
    arm, before = np.arange(n) % 2, rng.normal(-0.5, 0.4, n)
    way = before + 0.3 + 0.2 * arm + rng.normal(0, 0.3, n)
    after = way + 0.2 + 0.15 * arm + rng.normal(0, 0.2, n)
    after[rng.random(n) < 1 / (1 + np.exp(np.where(arm == 1, slope * way, 1.5)))] = np.nan
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


def test_at_the_size_of_the_trial_there_is_no_bias():
    errors = []
    for seed in range(60):
        after, before, arm, way = drawn(109, seed, slope=4.0)
        result = imputed_final_ratio(
            after, before, arm, np.random.default_rng(seed), endpoint="lymphocytes", auxiliary=way, imputations=5
        )
        errors.append(np.log(result.estimate) - 0.35)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(60)


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
