import numpy as np
import pandas as pd
import pytest

from il7ml.errors import InputError
from il7ml.models.arrays import arm_vector, exposure_vector, outcome_vector, vector, weight_vector


@pytest.mark.parametrize("values", [[0, 1, 1], np.array([False, True, True]), pd.Series([0, 1, 1], index=[5, 6, 7])])
def test_arms_of_any_form_become_floats(values):
    arm = arm_vector(values, 3)
    assert arm.dtype == np.float64
    assert arm.tolist() == [0.0, 1.0, 1.0]


def test_defaults_are_equal_weights_and_no_exposure():
    assert weight_vector(None, 3).tolist() == [1.0, 1.0, 1.0]
    assert exposure_vector(None, 3, "binary") is None


@pytest.mark.parametrize(
    ("check", "values", "message"),
    [
        (lambda v: vector(v, 2, "y"), [1, 2, 3], r"y: expected 2 values, one a row of X, got shape \(3,\)"),
        (lambda v: vector(v, 2, "y"), [[1], [2]], r"got shape \(2, 1\)"),
        (lambda v: vector(v, 2, "y"), [1, np.nan], "y: expected finite numbers"),
        (lambda v: vector(v, 2, "y"), ["yes", "no"], "y: expected numbers; other values came"),
        (lambda v: vector(v, 2, "y"), pd.Series([1, None], dtype="Int64"), "y: expected"),
        (lambda v: arm_vector(v, 2), [1, 2], r"treatment: expected 0 \(control\) and 1 \(treated\) only"),
        (lambda v: outcome_vector(v, 2, "binary"), [0, 0.5], "for a binary outcome"),
        (lambda v: outcome_vector(v, 2, "count"), [0, -1], "y: expected numbers of events"),
        (lambda v: weight_vector(v, 2), [1, -1], "sample_weight: expected weights of 0 or more"),
        (lambda v: weight_vector(v, 2), [0, 0], "sample_weight: expected weights of 0 or more, not all 0"),
        (lambda v: exposure_vector(v, 2, "count"), [1, 0], "exposure: expected times at risk above 0"),
    ],
)
def test_unusable_arrays_are_refused_without_their_values(check, values, message):
    with pytest.raises(InputError, match=message):
        check(values)


def test_counts_and_numbers_may_be_what_they_are():
    assert outcome_vector([0, 7], 2, "count").tolist() == [0.0, 7.0]
    assert outcome_vector([-3.5, 7], 2, "continuous").tolist() == [-3.5, 7.0]
