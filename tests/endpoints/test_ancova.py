import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from il7ml.endpoints.ancova import ancova
from il7ml.errors import InputError


def test_cd4_count_at_week_20_as_in_the_reference(actg175):
    crude = ancova(actg175["cd420"], actg175["treat"], endpoint="cd4")
    assert (round(crude.estimate, 2), round(crude.std_error, 2)) == (46.81, 6.76)
    assert crude.method == "difference in means, Welch"
    adjusted = ancova(actg175["cd420"], actg175["treat"], endpoint="cd4", covariates=actg175[["cd40"]])
    assert (round(adjusted.estimate, 2), round(adjusted.std_error, 2)) == (49.38, 5.29)
    assert adjusted.method == "ANCOVA, HC3"
    assert (adjusted.n, adjusted.events) == (2139, None)


def test_a_ratio_is_the_difference_of_logarithms_with_students_t(actg175):
    rows = actg175.iloc[:60]
    y = rows["cd420"].to_numpy(dtype=float).copy()
    y[:3] = np.nan
    result = ancova(y, rows["treat"], endpoint="cd4", covariates=rows[["cd40"]], scale="ratio")
    reference = sm.OLS(np.log(y[3:]), sm.add_constant(rows[["treat", "cd40"]].to_numpy(dtype=float)[3:])).fit()
    robust = reference.get_robustcov_results("HC3", use_t=True)
    assert np.log(result.estimate) == pytest.approx(robust.params[1])
    assert result.p_value == pytest.approx(robust.pvalues[1])
    assert np.log([result.low, result.high]) == pytest.approx(robust.conf_int()[1])
    assert result.n == 57


@pytest.mark.parametrize("scale", ["difference", "ratio"])
def test_without_covariates_it_is_welchs_test(actg175, scale):
    rows = actg175.iloc[:60]
    y, treated = rows["cd420"].to_numpy(dtype=float).copy(), rows["treat"].to_numpy() == 1
    y[:3] = np.nan
    analysed = np.log(y) if scale == "ratio" else y
    reference = stats.ttest_ind(analysed[treated], analysed[~treated], equal_var=False, nan_policy="omit")
    result = ancova(y, treated, endpoint="cd4", scale=scale, level=0.9)
    limits = [result.low, result.high] if scale == "difference" else np.log([result.low, result.high])
    assert limits == pytest.approx(tuple(reference.confidence_interval(0.9)))
    assert result.p_value == pytest.approx(reference.pvalue)
    assert result.n == 57


@pytest.mark.parametrize(
    ("y", "covariates", "scale", "message"),
    [
        ([1.0, np.nan, 2, 3], None, "difference", "at least two known outcomes in each arm"),
        ([2.0, 2, 2, 2], None, "difference", "same outcome"),
        ([2.0, 2, 3, 3], None, "difference", "within each arm all patients have the same outcome"),
        ([1.0, 0, 2, 3], None, "ratio", "positive"),
        ([1.0, 2, 4, 3], {"a": [1.0, 2, 4, 4], "b": [1.0, 5, 2, 2]}, "difference", "4 coefficients"),
    ],
)
def test_bad_input_is_refused(y, covariates, scale, message):
    frame = None if covariates is None else pd.DataFrame(covariates)
    with pytest.raises(InputError, match=message):
        ancova(y, [1, 1, 0, 0], endpoint="count", covariates=frame, scale=scale)
