import math

import pytest

from il7ml.evaluation.verdict import judge

NAN = math.nan


@pytest.mark.parametrize(
    ("omnibus", "holm", "modifier", "slope", "level"),
    [
        (0.009, 0.5, 0.2, 0.1, "credible"),
        (0.5, 0.04, 0.01, 0.1, "credible"),
        (0.009, NAN, NAN, 0.1, "credible"),
        (0.009, 0.5, 0.2, 0.0, "suggestive"),
        (0.009, 0.5, 0.2, -0.1, "suggestive"),
        (0.009, 0.5, 0.2, NAN, "suggestive"),
        (0.01, 0.5, 0.2, 0.1, "suggestive"),
        (0.2, 0.04, 0.02, NAN, "suggestive"),
        (0.2, 0.09, 0.03, 0.5, "suggestive"),
        (0.099, 0.5, 0.2, -0.5, "suggestive"),
        (0.10, 0.2, 0.05, 0.5, "none"),
        (0.6, NAN, NAN, NAN, "none"),
        (NAN, NAN, NAN, NAN, "none"),
    ],
)
def test_level(omnibus, holm, modifier, slope, level):
    assert judge(omnibus, holm, modifier, slope).level == level


def test_thresholds_can_be_set():
    assert judge(0.04, 0.5, 0.2, 0.1, credible_omnibus=0.05).level == "credible"
    assert judge(0.15, 0.5, 0.2, 0.1, suggestive_omnibus=0.2).level == "suggestive"


def test_the_reason_gives_the_numbers():
    reason = judge(0.0321, 0.412, 0.204, -0.33).reason
    assert all(number in reason for number in ("0.0321", "0.412", "0.204", "-0.33", "0.01 needed", "0.05 needed"))
    assert "no pre-specified modifier" in judge(0.5, NAN, NAN, 0.1).reason
    assert "predicted effect is constant" in judge(0.05, NAN, NAN, NAN).reason
    assert "0.1 needed" in judge(0.5, 0.9, 0.4, 0.1).reason
