import numpy as np
import pytest

from il7ml.endpoints.visits import last_value, time_to_threshold, visit_matrix
from il7ml.errors import InputError

NONE = np.nan


def test_measurements_go_to_the_nearest_visit_and_half_way_to_the_later():
    # Visits on days 3, 7, 14: edges at 5 and 10.5, the last one takes measurements up to day 17.5.
    days = [1, 4.9, 5, 10, 10.5, 17, 18]
    matrix = visit_matrix(range(7), days, np.arange(1, 8) / 10, [3, 7, 14], patients=7)
    assert np.nanargmax(matrix[:6], axis=1).tolist() == [0, 0, 1, 1, 2, 2]
    assert np.nanmax(matrix[:6], axis=1).tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert np.isnan(matrix[6]).all()


def test_of_several_the_nearest_to_the_visit_counts_then_the_later_in_any_order_of_rows():
    days, values = np.array([9, 6, 8, 6.5, 12, 16]), np.array([0.9, 0.6, 0.8, 0.65, 1.2, 1.6])
    for order in (slice(None), slice(None, None, -1), [3, 5, 0, 4, 1, 2]):
        matrix = visit_matrix(np.zeros(6, int), days[order], values[order], [7, 14], patients=1)
        assert matrix.tolist() == [[0.65, 1.6]]


def test_the_baseline_and_missing_values_belong_to_no_visit():
    assert np.isnan(visit_matrix([0, 0], [0, 3], [0.5, NONE], [3, 7], patients=1)).all()


@pytest.mark.parametrize("schedule", [[7, 3], [3, 3], [0, 3], []])
def test_visits_out_of_order_are_refused(schedule):
    with pytest.raises(InputError, match="visits are out of order"):
        visit_matrix([0], [3], [0.5], schedule, patients=1)


@pytest.mark.parametrize(
    ("patient", "day", "message"),
    [(0, -1, "1 lower"), (0, 11, "1 measurements lie after the patient's death"), (2, 3, "positions from 0 to 1")],
)
def test_impossible_measurements_are_refused(patient, day, message):
    death = [10, NONE]
    with pytest.raises(InputError, match=message):
        visit_matrix([patient], [day], [0.5], [3, 7], patients=2, death=death)
    with pytest.raises(InputError, match=message):
        last_value([patient], [day], [0.5], patients=2, death=death)
    with pytest.raises(InputError, match=message):
        time_to_threshold([patient], [day], [0.5], [10, 30], [2, 0], death=death)


def test_the_last_value_is_that_by_day_30_and_by_discharge():
    patient = [0, 0, 0, 1, 1, 2, 3, 3]
    day = [29, 31, 7, 10, 12, 0, 14, 14]
    value = [1.2, 1.4, 0.7, 0.9, 1.0, 0.5, 0.8, 0.9]
    found = last_value(patient, day, value, patients=5, discharge=[NONE, 11, NONE, 14, NONE])
    np.testing.assert_array_equal(found, [1.2, 0.9, NONE, 0.9, NONE])


def test_recovery_competes_with_discharge_and_death():
    patient, day = [0, 0, 1, 2, 3, 3], [7, 12, 5, 0, 9, 25]
    value = [1.3, 1.1, 0.9, 1.5, 0.7, 1.0]
    time, status = time_to_threshold(patient, day, value, end=[30, 14, 30, 20], end_status=[0, 2, 0, 3])
    # Reached; discharged below; only above before treatment; above only after the end.
    assert time.tolist() == [7, 14, 30, 20]
    assert status.tolist() == [1, 2, 0, 3]


def test_a_status_at_the_end_of_1_is_refused():
    with pytest.raises(InputError, match="end_status: expected 0"):
        time_to_threshold([0], [3], [0.5], [30], [1])
