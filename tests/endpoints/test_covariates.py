import numpy as np
import pandas as pd
import pytest

from il7ml.endpoints.covariates import adjustment_matrix
from il7ml.errors import InputError


def test_numbers_are_centred_and_missing_ones_take_the_mean():
    matrix = adjustment_matrix(pd.DataFrame({"age": [40.0, np.nan, 60.0], "steroid": [0, 1, 1]}), 3)
    np.testing.assert_allclose(matrix[:, 0], [-10, 0, 10])
    np.testing.assert_allclose(matrix[:, 1], np.array([0, 1, 1]) - 2 / 3)


def test_categories_become_indicators_of_all_levels_but_the_most_frequent_and_missing_is_a_level():
    matrix = adjustment_matrix(pd.DataFrame({"site": ["uk", "fr", "uk", None, "us", "uk"]}), 6)
    assert matrix.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert adjustment_matrix(pd.DataFrame({"male": [True, False, True]}), 3).tolist() == [[0], [1], [0]]


def test_without_covariates_there_are_no_columns():
    assert adjustment_matrix(None, 3).shape == (3, 0)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"site": ["uk", "uk", "uk"]}, "'site': expected values that differ"),
        ({"age": [50.0, 50.0, np.nan]}, "'age': expected values that differ"),
        ({"age": [np.nan] * 3}, "'age': expected values that differ"),
        ({"age": [1.0, np.inf, 2.0]}, "infinite"),
        ({"age": [1.0, 2.0, 4.0], "months": [12.0, 24.0, 48.0]}, "say the same"),
        ({"age": [1.0, 2.0]}, "expected 3 rows"),
    ],
)
def test_useless_covariates_are_refused(columns, message):
    with pytest.raises(InputError, match=message):
        adjustment_matrix(pd.DataFrame(columns), 3)


def test_columns_of_one_name_both_count():
    frame = pd.DataFrame(np.array([[1.0, 0.0], [3.0, 5.0], [2.0, 1.0]]), columns=["age", "age"])
    np.testing.assert_allclose(adjustment_matrix(frame, 3), [[-1, -2], [1, 3], [0, -1]])
