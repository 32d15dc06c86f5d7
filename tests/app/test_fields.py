import pytest

from il7ml.app.fields import ranges_of
from il7ml.bundle import CardVariable
from il7ml.schema import load_dictionary


@pytest.mark.parametrize(
    ("name", "low", "high", "shown"),
    [
        ("pao2_fio2_ratio", 40.0, 460.0, "Trial's patients: 40 to 460 mmHg, or 5.33 to 61.3 kPa"),
        ("absolute_lymphocyte_count", 0.08, 1.4, "Trial's patients: 0.08 to 1.4 10^9/L, or 80 to 1400 cells/uL"),
        ("age", 25.5, 80.25, "Trial's patients: 25.5 to 80.25 years"),
    ],
)
def test_converted_ranges_have_no_more_digits_than_they_bear(name, low, high, shown):
    card = CardVariable(variable=load_dictionary()[name], required=False, low=low, high=high)
    assert ranges_of(card, None) == (shown,)


@pytest.mark.parametrize(
    ("eligible", "shown"),
    [((25, 80), "25 to 80 years"), ((None, 80), "up to 80 years"), ((25, None), "25 or more years")],
)
def test_eligibility_may_be_open_to_one_side(eligible, shown):
    card = CardVariable(variable=load_dictionary()["age"], required=True)
    assert ranges_of(card, eligible) == (f"Trial's eligibility: {shown}",)
