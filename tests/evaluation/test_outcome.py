import numpy as np
import pytest

from il7ml.errors import InputError
from il7ml.evaluation.outcome import as_outcome, as_repeats


def test_unknown_outcomes_are_zero_with_weight_zero():
    outcome = as_outcome([2, np.nan], "count", weight=[1, 0], exposure=[3, np.nan])
    assert outcome.y.tolist() == [2, 0]
    assert outcome.exposure.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], "binary", [1]), "one length"),
        (([0, 1], "binary", [0, 0]), "some above 0"),
        (([0, 1], "binary", [1, -1]), "0 or more"),
        (([0, 1], "binary", [1, np.nan]), "0 or more"),
        (([0, np.nan], "binary"), "missing where its weight"),
        (([0, 2], "binary"), "0 or 1"),
        (([0, -1], "count"), "counts of 0 or more"),
        (([0, 1], "count", None, [1, 0]), "positive exposure"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        as_outcome(*arguments)


def test_predictions_must_fit_and_be_complete():
    with pytest.raises(InputError, match=r"risks: expected shape \(repeats, 3\)"):
        as_repeats([0.1, 0.2], 3, "risks")
    with pytest.raises(InputError, match="finite"):
        as_repeats([0.1, np.nan], 2)
