import numpy as np
import pytest

from il7ml.endpoints.arrays import (
    as_counts,
    as_exposure,
    as_indicator,
    as_logarithms,
    as_positions,
    as_status,
    as_strata,
    as_treated,
    as_values,
    require_events,
)
from il7ml.errors import InputError


@pytest.mark.parametrize(
    ("treatment", "message"),
    [
        ([0, 1, 2], "expected 1 .* or 0"),
        ([0, np.nan, 1], "expected 1 .* or 0"),
        ([1, 1, 1], "3 treated and 0 control"),
        (["il7", "placebo"], "expected numbers"),
    ],
)
def test_arms_are_0_and_1_and_both_there(treatment, message):
    with pytest.raises(InputError, match=message):
        as_treated(treatment)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0], "expected 3 values"),
        ([1.0, np.inf, 2.0], "infinite"),
        ([1.0, np.nan, 2.0], "1 are missing"),
        ([1.0, -7.25, 2.0], "at least 0; 1 lower"),
        ([[1.0], [2.0], [3.0]], "expected 3 values"),
    ],
)
def test_a_column_of_numbers_is_checked_without_showing_values(values, message):
    with pytest.raises(InputError, match=message) as caught:
        as_values("time", values, 3, lowest=0)
    assert "7.25" not in str(caught.value)


def test_missing_values_pass_where_they_may():
    assert np.isnan(as_values("count", [1.0, np.nan], 2, missing=True, lowest=0)[1])


@pytest.mark.parametrize(
    ("check", "values"),
    [(as_indicator, [0, 2]), (as_counts, [0.5, 1]), (as_counts, [-1, 1])],
)
def test_indicators_and_counts(check, values):
    with pytest.raises(InputError, match="infection: expected"):
        check("infection", values, 2)


def test_a_status_is_a_whole_number_from_0():
    assert as_status([0, 1, 3], 3).tolist() == [0, 1, 3]
    for wrong in ([0, -1], [0, 1.5]):
        with pytest.raises(InputError, match=r"status: expected 0"):
            as_status(wrong, 2)


def test_time_at_risk_is_positive_and_may_be_one_number():
    assert as_exposure(2.0, 3).tolist() == [2, 2, 2]
    with pytest.raises(InputError, match="positive time at risk for every patient; 1 have none"):
        as_exposure([0.0, 1.0], 2)


def test_logarithms_need_positive_measurements():
    with pytest.raises(InputError, match="limit of detection"):
        as_logarithms("count", np.array([0.0, 1.0]))


@pytest.mark.parametrize(
    ("strata", "message"),
    [
        (["uk", "uk", "uk"], "at least two"),
        (["uk", None, "fr"], "1 are missing"),
        (["uk", "fr"], "expected 3 values"),
    ],
)
def test_strata_are_known_and_more_than_one(strata, message):
    with pytest.raises(InputError, match=message):
        as_strata(strata, 3)


def test_each_arm_needs_an_event():
    treated = np.array([False, False, True, True])
    require_events("death", [0, 1, 1, 0], treated)
    with pytest.raises(InputError, match="no events in the control arm"):
        require_events("death", [0, 0, 1, 0], treated)
    with pytest.raises(InputError, match="no events in the treated arm"):
        require_events("death", [0, 1, np.nan, 0], treated)


@pytest.mark.parametrize("patient", [[0, 3], [0, -1], [0, np.nan], [0, 0.5]])
def test_positions_of_patients_are_whole_and_known(patient):
    assert as_positions([2, 0, 2], 3).tolist() == [2, 0, 2]
    with pytest.raises(InputError, match="positions from 0 to 2 in every row; 1 rows"):
        as_positions(patient, 3)
