import pytest
from tests.small_bundles import make

from il7ml.app.form import MOST_FIELDS, parse_form, read_fields
from il7ml.errors import InputError
from il7ml.predictor import Predictor

INPUTS = Predictor(make().bundle).inputs
GIVEN = {"age": "62", "absolute_lymphocyte_count": "0.5"}
COUNT = "absolute_lymphocyte_count"


@pytest.mark.parametrize(
    ("text", "unit", "canonical"),
    [("0.46", "10^9/L", 0.46), ("460", "cells/uL", 0.46), ("460", "/mm3", 0.46), ("0.46", "K/uL", 0.46)],
)
def test_the_chosen_unit_is_converted_and_both_are_shown(text, unit, canonical):
    entry = read_fields({**GIVEN, COUNT: text, f"{COUNT}__unit": unit}, INPUTS)
    assert not entry.problems
    assert entry.patient[COUNT] == pytest.approx(canonical, rel=1e-12)
    shown = next(value for value in entry.values if value.name == "Absolute lymphocyte count")
    assert (shown.entered, shown.read) == (f"{text} {unit}", "0.46 10^9/L")


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("460", "10^9/L", "The value looks like cells/uL, but 10^9/L was chosen. Choose the unit or change the value."),
        (
            "0.46",
            "cells/uL",
            "The value looks like 10^9/L, but cells/uL was chosen. Choose the unit or change the value.",
        ),
        ("90000", "cells/uL", "Makes no sense in cells/uL. Check the value and the unit."),
        ("9" * 308, "10^9/L", "Impossible value. Expected 0 to 50 (10^9/L)."),
        ("-1", "10^9/L", "Impossible value. Expected 0 to 50 (10^9/L)."),
        ("1", "furlong", "Unit 'furlong' is not known."),
        ("0,46", "10^9/L", "Expected a number with a decimal point, such as 1.5."),
        ("nan", "10^9/L", "Expected a number with a decimal point"),
        ("1e-1", "10^9/L", "Expected a number with a decimal point"),
        ("1_0", "10^9/L", "Expected a number with a decimal point"),
        ("٣", "10^9/L", "Expected a number with a decimal point"),
        (" ", "10^9/L", "A value is needed."),
    ],
)
def test_a_wrong_value_or_unit_is_said_and_never_guessed(text, unit, message):
    entry = read_fields({**GIVEN, COUNT: text, f"{COUNT}__unit": unit}, INPUTS)
    assert list(entry.problems) == [COUNT]
    assert entry.problems[COUNT].startswith(message)
    assert COUNT not in entry.patient


def test_all_problems_are_told_at_once():
    entry = read_fields({"age": "x", "respiratory_support": "iron lung", "diabetes": "2"}, INPUTS)
    assert set(entry.problems) == {"age", COUNT, "respiratory_support", "diabetes"}


def test_what_is_left_empty_is_not_given():
    entry = read_fields({**GIVEN, "diabetes": "", "patient_id": " "}, INPUTS)
    assert entry.patient == {"age": 62.0, COUNT: 0.5}


def test_a_form_of_another_model_is_not_answered():
    assert "model was changed" in read_fields({**GIVEN, "lactate": "3"}, INPUTS).problems["patient_id"]


def test_a_form_is_decoded_and_refused_where_it_is_ambiguous():
    assert parse_form(b"a=1+%2B+2&b=%C3%A9&c") == {"a": "1 + 2", "b": "é", "c": ""}
    with pytest.raises(InputError, match="stands twice"):
        parse_form(b"age=1&age=2")
    with pytest.raises(InputError, match="fields"):
        parse_form(b"&".join(b"f%d=1" % k for k in range(MOST_FIELDS + 1)))
