import decimal
import math

import numpy as np
import pandas as pd
import pytest

from il7ml.bundle import CardVariable
from il7ml.errors import InputError
from il7ml.patient import is_missing, parse_patient, parse_table, parse_value
from il7ml.schema import load_dictionary

DICTIONARY = load_dictionary()


def entry(name, low=None, high=None, required=False):
    variable = DICTIONARY[name]
    continuous = variable.kind == "continuous"
    return CardVariable(
        variable=variable,
        required=required,
        low=low,
        high=high,
        quantiles=(1.0, 2.0) if continuous else (),
        shares=() if continuous else (0.5, 0.5),
    )


INPUTS = {
    "age": entry("age", 25, 80, required=True),
    "absolute_lymphocyte_count": entry("absolute_lymphocyte_count", 0.1, 1.0),
    "respiratory_support": entry("respiratory_support"),
    "diabetes": entry("diabetes"),
}


def message(values, inputs=INPUTS):
    with pytest.raises(InputError) as caught:
        parse_patient(values, inputs)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_good_record_becomes_columns():
    columns, unused = parse_patient(
        {"age": 62, "absolute_lymphocyte_count": "0.5", "respiratory_support": "invasive", "diabetes": True}, INPUTS
    )
    assert {name: column.tolist() for name, column in columns.items()} == {
        "age": [62.0],
        "absolute_lymphocyte_count": [0.5],
        "respiratory_support": [float(DICTIONARY["respiratory_support"].levels.index("invasive"))],
        "diabetes": [1.0],
    }
    assert unused == ()


@pytest.mark.parametrize("missing", [None, math.nan, np.nan, np.float32("nan"), pd.NA, pd.NaT, "", "  "])
def test_a_missing_optional_value_is_nan(missing):
    assert is_missing(missing)
    columns, _ = parse_patient({"age": 62, "diabetes": missing, "absolute_lymphocyte_count": missing}, INPUTS)
    assert [np.isnan(columns[name][0]) for name in INPUTS] == [False, True, True, True]


@pytest.mark.parametrize("given", [0, 0.0, False, "0", [], np.array([1.0, 2.0])])
def test_what_is_given_is_not_missing(given):
    assert not is_missing(given)


@pytest.mark.parametrize("values", [{}, {"age": None}, {"age": ""}, {"diabetes": 1}])
def test_a_required_value_cannot_be_missing(values):
    assert message(values) == "required field missing: age. Give a value."


def test_an_unknown_field_names_the_nearest_and_no_value():
    text = message({"age": 62, "absolute_lymphocite_count": 0.4711})
    assert "unknown field 'absolute_lymphocite_count'" in text
    assert "Did you mean 'absolute_lymphocyte_count'?" in text
    assert "0.4711" not in text


def test_an_unknown_field_is_refused_even_when_it_is_empty():
    assert "unknown field 'agee'" in message({"age": 62, "agee": None})


def test_a_derived_feature_is_not_entered():
    text = message({"age": 62, "neutrophil_lymphocyte_ratio": 12})
    assert text == (
        "'neutrophil_lymphocyte_ratio' is computed, not entered. Give neutrophil_count and absolute_lymphocyte_count."
    )


def test_a_variable_of_the_dictionary_that_the_model_does_not_use_is_noted():
    assert parse_patient({"age": 62, "ferritin": 1000, "sex": "male"}, INPUTS)[1] == ("ferritin", "sex")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("respiratory_support", "4711", "respiratory_support: expected one of oxygen, non_invasive, invasive"),
        ("diabetes", 4711, "diabetes: expected 0 (no) or 1 (yes)"),
        ("diabetes", 0.5, "diabetes: expected 0 (no) or 1 (yes)"),
        ("diabetes", "4711 yes", "diabetes: expected 0 or 1, got str"),
        ("age", 4711, "age: impossible value. Expected 0 to 120 (years)"),
        ("age", -4711, "age: impossible value"),
        ("age", "4711 years", "age: expected a number, got str"),
        ("age", [4711], "age: expected a number, got list"),
        ("age", {"value": 4711}, "age: expected a number, got dict"),
        ("age", True, "age: expected a number, got true or false"),
        ("age", math.inf, "age: expected a number, got one that is not finite"),
        ("age", "inf", "age: expected a number, got one that is not finite"),
        ("age", 10**400, "age: expected a number, got int"),
        ("age", 4711j, "age: expected a number, got complex"),
    ],
)
def test_a_wrong_value_is_refused_and_not_repeated(name, value, expected):
    text = message({"age": 62, name: value})
    assert expected in text
    assert "4711" not in text


@pytest.mark.parametrize("value", [62, 62.0, "62", " 62 ", np.int64(62), np.float32(62), decimal.Decimal(62)])
def test_numbers_of_any_type_are_taken(value):
    assert parse_value("age", value, INPUTS["age"]) == 62.0


@pytest.mark.parametrize("level", [1, 1.0, "1", np.int64(1), np.float64(1)])
def test_levels_that_are_numbers_may_come_as_numbers(level):
    variable = DICTIONARY["respiratory_support"].model_copy(update={"levels": ("0", "1")})
    assert parse_value("stage", level, CardVariable(variable=variable, required=False, shares=(0.5, 0.5))) == 1.0


# Units: a value that makes sense in another accepted unit only is an error that says which.


@pytest.mark.parametrize(
    ("name", "value", "unit", "other"),
    [
        ("absolute_lymphocyte_count", 700, "10^9/L", "cells/uL"),
        ("absolute_lymphocyte_count", 30, "10^9/L", "cells/uL"),
        ("cd4_count", 190, "10^9/L", "cells/uL"),
        ("cd4_count", 15, "10^9/L", "cells/uL"),
        ("creatinine", 1.1, "umol/L", "mg/dL"),
        ("height", 1.75, "cm", "m"),
        ("d_dimer", 1.8, "ug/L", "mg/L"),
        ("neutrophil_count", 9200, "10^9/L", "cells/uL"),
    ],
)
def test_a_value_in_another_unit_is_recognised(name, value, unit, other):
    with pytest.raises(InputError) as caught:
        parse_value(name, value, entry(name))
    text = str(caught.value)
    assert text == f"{name}: expected {unit}, the value looks like {other}. Did you mean {other}? Convert it."


def test_a_rare_value_that_training_patients_had_is_no_mistake_of_units():
    # 60,000 ng/mL of ferritin would also make sense in pmol/L.
    with pytest.raises(InputError, match="pmol/L"):
        parse_value("ferritin", 60_000, entry("ferritin", 5, 20_000))
    assert parse_value("ferritin", 60_000, entry("ferritin", 5, 90_000)) == 60_000


def test_a_rare_value_that_makes_sense_in_no_other_unit_is_taken():
    assert parse_value("age", 110, INPUTS["age"]) == 110
    assert parse_value("absolute_lymphocyte_count", 0, INPUTS["absolute_lymphocyte_count"]) == 0


# Tables: a status for each row.

GOOD = {"age": 62, "absolute_lymphocyte_count": 0.5, "respiratory_support": "invasive", "diabetes": 1}
BAD = [
    ({"age": None}, "required field missing: age"),
    ({"age": 300}, "age: impossible value. Expected 0 to 120 (years)."),
    ({"age": "sixty"}, "age: expected a number, got str."),
    ({"absolute_lymphocyte_count": 700}, "Did you mean cells/uL? Convert it."),
    ({"absolute_lymphocyte_count": -1}, "absolute_lymphocyte_count: impossible value"),
    ({"absolute_lymphocyte_count": math.inf}, "not finite"),
    ({"respiratory_support": "ecmo"}, "expected one of oxygen, non_invasive, invasive"),
    ({"diabetes": 2}, "diabetes: expected 0 (no) or 1 (yes)"),
    ({"age": 300, "diabetes": 2}, "impossible value. Expected 0 to 120 (years).; diabetes: expected"),
]


@pytest.mark.parametrize(("fault", "problem"), BAD)
def test_a_bad_row_spoils_no_other(fault, problem):
    table = pd.DataFrame([GOOD, {**GOOD, **fault}, {**GOOD, "age": 40}])
    parsed = parse_table(table, INPUTS)
    assert [bool(text) for text in parsed.problems] == [False, True, False]
    assert problem in parsed.problems[1]
    for row, age in ((0, 62.0), (2, 40.0)):
        assert {name: column[row] for name, column in parsed.columns.items()} == {
            "age": age,
            "absolute_lymphocyte_count": 0.5,
            "respiratory_support": 2.0,
            "diabetes": 1.0,
        }


@pytest.mark.parametrize("dtype", ["object", "string", "category"])
def test_a_column_of_any_dtype_gives_the_same_numbers(dtype):
    plain = pd.DataFrame([GOOD, {**GOOD, "age": 40, "diabetes": None, "respiratory_support": None}])
    expected = parse_table(plain, INPUTS)
    found = parse_table(plain.astype(object).astype(dtype), INPUTS)
    assert found.problems == expected.problems == ["", ""]
    for name in INPUTS:
        np.testing.assert_array_equal(found.columns[name], expected.columns[name])


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "int8", "float32", "boolean"])
def test_nullable_and_short_dtypes_are_taken(dtype):
    table = pd.DataFrame({"age": [62, 40], "diabetes": pd.array([1, 0], dtype="int64").astype(dtype)})
    assert parse_table(table, INPUTS).columns["diabetes"].tolist() == [1.0, 0.0]


def test_a_table_agrees_with_single_records():
    rng = np.random.default_rng(0)
    values = {
        "age": rng.choice([20, 62, 119, 121, -1, np.nan], 60),
        "absolute_lymphocyte_count": rng.choice([0, 0.01, 0.5, 13, 30, 49, 51, 700, np.nan], 60),
        "diabetes": rng.choice([0, 1, 2, np.nan], 60),
        "respiratory_support": rng.choice(["oxygen", "none", ""], 60),
    }
    table = pd.DataFrame(values)
    parsed = parse_table(table, INPUTS)
    assert 0 < sum(map(bool, parsed.problems)) < 60
    for row, record in enumerate(table.to_dict("records")):
        try:
            columns, _ = parse_patient(record, INPUTS)
        except InputError as error:
            first = str(error).removesuffix(". Give a value.")
            assert first in parsed.problems[row]
            continue
        assert parsed.problems[row] == ""
        for name in INPUTS:
            np.testing.assert_array_equal(columns[name], parsed.columns[name][[row]])


def test_an_absent_optional_column_is_missing_for_all():
    parsed = parse_table(pd.DataFrame({"age": [62, 40]}), INPUTS)
    assert np.isnan(parsed.columns["diabetes"]).all()
    assert parsed.problems == ["", ""]


def test_further_columns_are_left_aside():
    table = pd.DataFrame([{**GOOD, "arm": "il7", "site": "uk", "ferritin": 1000, 5: 1}])
    assert parse_table(table, INPUTS).problems == [""]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (["absolute_lymphocite_count"], "did you mean 'absolute_lymphocyte_count'? Rename it, or drop it"),
        (["age", "age"], "column 'age' stands twice"),
        (["diabetes"], "required field missing: age"),
    ],
)
def test_a_table_that_is_wrong_as_a_whole_is_refused(columns, text):
    with pytest.raises(InputError) as caught:
        parse_table(pd.DataFrame([[4711] * len(columns)], columns=columns), INPUTS)
    assert text in str(caught.value)
    assert "4711" not in str(caught.value)


def test_an_empty_table_has_no_rows():
    parsed = parse_table(pd.DataFrame(columns=list(INPUTS)), INPUTS)
    assert parsed.problems == []
    assert all(column.shape == (0,) for column in parsed.columns.values())
