import numpy as np
import pytest

from il7ml.endpoints.multiplicity import adjusted_p_values
from il7ml.errors import InputError

# The example of Benjamini and Hochberg (1995), section 4: 15 comparisons of myocardial infarction treatments.
BH1995 = [
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
    *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
]


def test_the_example_of_benjamini_and_hochberg():
    # They reject four at a false discovery rate of 0.05, and three by a Bonferroni-type procedure.
    assert (adjusted_p_values(BH1995, "benjamini_hochberg") <= 0.05).sum() == 4
    assert (adjusted_p_values(BH1995, "holm") <= 0.05).sum() == 3


def test_each_method_by_hand_in_the_order_given():
    p = [0.03, 0.01, np.nan, 0.04]
    np.testing.assert_allclose(adjusted_p_values(p, "holm"), [0.06, 0.03, np.nan, 0.06])
    np.testing.assert_allclose(adjusted_p_values(p, "benjamini_hochberg"), [0.04, 0.03, np.nan, 0.04])
    np.testing.assert_allclose(adjusted_p_values([0.02, 0.01, 0.3, 0.04], "fixed_sequence"), [0.02, 0.02, 0.3, 0.3])


def test_nothing_tested_nothing_adjusted():
    assert np.isnan(adjusted_p_values([np.nan, np.nan], "holm")).all()


@pytest.mark.parametrize(
    ("p", "method", "message"),
    [
        ([0.1, 0.2], "hochberg", "'hochberg' is not known"),
        ([0.1, 1.2], "holm", "from 0 to 1"),
        ([0.1, np.nan], "fixed_sequence", "needs every P value"),
    ],
)
def test_bad_input_is_refused(p, method, message):
    with pytest.raises(InputError, match=message):
        adjusted_p_values(p, method)
