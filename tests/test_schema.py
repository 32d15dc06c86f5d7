from typing import Annotated, Literal

import numpy as np
import pytest
from pydantic import Field, ValidationError

from il7ml.errors import InputError
from il7ml.schema import Closed, Variable, ctcae_grade, explain, load_dictionary, parse_variables

DICTIONARY = load_dictionary()


def loinc_check_digit(number: str) -> int:
    """LOINC Users' Guide, appendix C: the modulus-10 algorithm."""
    odd, even = number[::-1][0::2][::-1], number[::-1][1::2][::-1]
    doubled = even + str(int(odd) * 2)
    return -sum(map(int, doubled)) % 10


def variable(**changes):
    return Variable(**{"term": "x", "possible": (0, 10), "known": "before_randomisation", "role": "other", **changes})


@pytest.mark.parametrize("name", [name for name, entry in DICTIONARY.items() if entry.loinc])
def test_loinc_codes_have_a_right_check_digit(name):
    number, digit = DICTIONARY[name].loinc.code.split("-")
    assert loinc_check_digit(number) == int(digit)


@pytest.mark.parametrize("name", DICTIONARY)
def test_plausible_values_are_possible(name):
    entry = DICTIONARY[name]
    if entry.plausible is not None:
        assert entry.possible[0] <= entry.plausible[0] < entry.plausible[1] <= entry.possible[1]
    assert bool(entry.unit) or entry.kind != "continuous"


@pytest.mark.parametrize(
    ("name", "unit", "factor"),
    [
        ("absolute_lymphocyte_count", "cells/uL", 1e6 / 1e9),
        ("absolute_lymphocyte_count", "10^3/uL", 1.0),
        ("lactate", "mg/dL", 10 / 90.08),  # molar mass in g/mol
        ("creatinine", "mg/dL", 10 / 113.12 * 1000),
        ("pao2_fio2_ratio", "kPa", 760 / 101.325),  # mmHg and kPa of one atmosphere
        ("c_reactive_protein", "mg/dL", 10.0),
        ("ferritin", "pmol/L", 1 / 2.247),  # AMA Manual of Style, conversion factor ng/mL to pmol/L
        ("d_dimer", "mg/L", 1000.0),
        ("weight", "lb", 0.45359237),
        ("height", "in", 2.54),
    ],
)
def test_unit_factors_agree_with_physics(name, unit, factor):
    assert DICTIONARY[name].factor(unit, name) == pytest.approx(factor, rel=1e-3)


def test_dictionary_knows_what_is_known_at_randomisation():
    assert not DICTIONARY["antiviral_during_treatment"].is_baseline
    assert DICTIONARY["antiviral_at_randomisation"].is_baseline
    assert DICTIONARY["age"].is_baseline


def test_dictionary_cannot_be_changed():
    with pytest.raises(TypeError):
        DICTIONARY["age"] = DICTIONARY["sex"]
    with pytest.raises(ValidationError):
        DICTIONARY["age"].term = "Years"


def test_factor_refuses_a_missing_or_unknown_unit_and_lists_the_known_ones():
    count = DICTIONARY["absolute_lymphocyte_count"]
    assert count.factor("10^9/L", "alc") == 1.0
    with pytest.raises(InputError, match=r"alc: expected a unit, none was given. State one of: 10\^9/L, cells/uL"):
        count.factor(None, "alc")
    with pytest.raises(InputError, match=r"alc: unit 'mg' is not known. Use one of: 10\^9/L"):
        count.factor("mg", "alc")
    assert DICTIONARY["diabetes"].factor(None, "diabetes") == 1.0
    with pytest.raises(InputError, match="Use one of: no unit"):
        DICTIONARY["diabetes"].factor("mg", "diabetes")


@pytest.mark.parametrize(
    ("name", "values", "unit"),
    [
        ("absolute_lymphocyte_count", [700.0, 450.0, 900.0], "cells/uL"),
        ("absolute_lymphocyte_count", [0.7, 0.45, 0.9], None),
        ("absolute_lymphocyte_count", [0.7, 0.45, 900.0], None),  # one slip is no other unit
        ("absolute_lymphocyte_count", [-5.0, -6.0], None),  # makes sense in no unit
        ("absolute_lymphocyte_count", [np.nan, 700.0], "cells/uL"),
        ("absolute_lymphocyte_count", [np.nan], None),
        ("height", [1.75, 1.6], "m"),
        ("diabetes", [7.0], None),
    ],
)
def test_other_unit_is_seen_when_most_values_make_sense_only_there(name, values, unit):
    assert DICTIONARY[name].other_unit(np.array(values)) == unit


@pytest.mark.parametrize(
    ("count", "grade"),
    # CTCAE v5: grade 1 below 1.0 to 0.8, grade 2 below 0.8 to 0.5, grade 3 below 0.5 to 0.2, grade 4 below 0.2.
    [(3.0, 0), (1.0, 0), (0.99, 1), (0.8, 1), (0.79, 2), (0.5, 2), (0.49, 3), (0.2, 3), (0.19, 4), (0.0, 4)],
)
def test_ctcae_grades_at_their_bounds(count, grade):
    assert ctcae_grade(count) == grade


def test_missing_count_has_no_grade():
    with pytest.raises(InputError, match="missing count has no grade"):
        ctcae_grade(float("nan"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "categorical"}, "levels are needed"),
        ({"levels": ("a", "b")}, "levels are needed"),
        ({"kind": "categorical", "levels": ("a", "a"), "possible": None}, "levels must differ"),
        ({"possible": None}, "needs its possible range"),
        ({"possible": (-1, 5), "scale": "log"}, "log scale cannot be negative"),
        ({"possible": (5, 0)}, "lower end first"),
        ({"plausible": (5, 0)}, "lower end first"),
        ({"accepted_units": {"m": 0}}, "greater than 0"),
        ({"loinc": {"code": "731", "source": "x"}}, "pattern"),
    ],
)
def test_inconsistent_variables_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        variable(**changes)


def test_label_shows_the_unit():
    assert variable(term="Age", unit="years").label == "Age (years)"
    assert variable(term="SOFA").label == "SOFA"


def test_parse_variables_names_the_entry_and_the_nearest_key():
    entry = {"term": "x", "posible": [0, 1], "known": "before_randomisation", "role": "other", "kind": "binary"}
    with pytest.raises(InputError, match=r"study: variable 'x': unknown key 'posible'. Did you mean 'possible'\?"):
        parse_variables({"x": entry}, "study")


class Square(Closed):
    kind: Literal["square"]
    side: float


class Circle(Closed):
    kind: Literal["circle"]
    radius: float
    colour: Literal["red", "blue"] = "red"


class Drawing(Closed):
    shapes: dict[str, Annotated[Square | Circle, Field(discriminator="kind")]]
    corners: tuple[Square, ...] = ()
    title: str | None = None


def explained(raw):
    with pytest.raises(ValidationError) as caught:
        Drawing.model_validate(raw)
    return explain(caught.value, "file.yaml", Drawing)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"shapes": {}, "titel": "x"}, "file.yaml: unknown key 'titel'. Did you mean 'title'?"),
        ({}, "file.yaml: key 'shapes' is missing. Add it."),
        # The union's tag is no key of the file, and the keys are those of the member that the tag names.
        (
            {"shapes": {"a": {"kind": "circle", "radius": 1, "radios": 2}}},
            "file.yaml: unknown key 'shapes.a.radios'. Did you mean 'radius'?",
        ),
        ({"shapes": {"a": {"kind": "circle"}}}, "file.yaml: key 'shapes.a.radius' is missing. Add it."),
        (
            {"shapes": {}, "corners": [{"kind": "square", "side": 1, "sid": 2}]},
            "file.yaml: unknown key 'corners.0.sid'. Did you mean 'side'?",
        ),
    ],
)
def test_explain_names_the_key_as_the_file_has_it(raw, message):
    assert explained(raw) == message


def test_explain_lists_several_problems_and_never_shows_a_value():
    text = explained({"shapes": {"a": {"kind": "circle", "radius": "secret", "colour": "hidden"}}, "title": 5})
    assert text.startswith("file.yaml: 3 problems:\n  - key 'shapes.a.radius': input should be a valid number")
    assert "secret" not in text
    assert "hidden" not in text


def test_a_wrong_unit_is_recognised_in_either_direction():
    count = load_dictionary()["absolute_lymphocyte_count"]
    assert count.other_unit(np.array([0.4, 0.7, 0.9]), "cells/uL") == "10^9/L"
    assert count.other_unit(np.array([400.0, 700.0]), "10^9/L") == "cells/uL"
    assert count.other_unit(np.array([400.0, 700.0]), "cells/uL") is None
    assert load_dictionary()["d_dimer"].other_unit(np.array([900.0, 1500.0]), "mg/L") == "ug/L"
