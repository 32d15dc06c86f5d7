import numpy as np
import pytest
from scipy import stats

from il7ml.endpoints.result import EndpointResult, on_test_scale, to_frame, wald

COLUMNS = ["endpoint", "method", "scale", "estimate", "std_error", "low", "high", "p_value", "n", "events"]


def test_a_difference_has_the_normal_interval_and_p_value():
    result = wald("death", "raw", "difference", -0.12, 0.05, n=100, events=31, level=0.9)
    assert (result.low, result.high) == pytest.approx(stats.norm.interval(0.9, -0.12, 0.05))
    assert result.p_value == pytest.approx(2 * stats.norm.cdf(-0.12 / 0.05))
    assert (result.n, result.events) == (100, 31)


def test_a_ratio_is_given_on_the_log_scale_and_shown_on_its_own_with_students_t():
    result = wald("count", "ANCOVA", "ratio", np.log(1.43), 0.195, n=45, degrees=41)
    assert result.estimate == pytest.approx(1.43)
    assert np.log([result.low, result.high]) == pytest.approx(stats.t.interval(0.95, 41, np.log(1.43), 0.195))
    assert result.p_value == pytest.approx(2 * stats.t.sf(np.log(1.43) / 0.195, 41))
    assert result.std_error == 0.195
    assert on_test_scale(result) == pytest.approx(np.log(1.43))


def test_without_a_standard_error_there_is_no_p_value():
    assert np.isnan(wald("death", "raw", "difference", 0.0, 0.0, n=10).p_value)


def test_the_table_has_the_fixed_columns_and_whole_numbers_beside_missing_ones():
    results = [
        wald("death", "raw", "difference", -0.1, 0.05, n=100, events=31),
        wald("count", "ANCOVA", "ratio", 0.3, 0.2, n=90),
    ]
    frame = to_frame(results)
    assert list(frame.columns) == COLUMNS == list(EndpointResult._fields)
    assert frame["n"].tolist() == [100, 90]
    assert frame["events"].isna().tolist() == [False, True]
    assert frame["events"][0] == 31
    assert str(frame["events"].dtype) == str(frame["n"].dtype) == "Int64"
    assert to_frame([]).columns.tolist() == COLUMNS
