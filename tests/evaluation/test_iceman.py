import numpy as np
import pytest

from il7ml.errors import InputError
from il7ml.evaluation.iceman import ModifierTest, iceman

NO, UNCLEAR, PROBABLY, YES = "definitely no", "probably no or unclear", "probably yes", "definitely yes"


def a_test(name="antiviral", observed=-2.0, p_value=0.004, prespecified=True, hypothesised=-1, **more):
    return ModifierTest(name, observed, p_value, prespecified, hypothesised, **more)


def others(count):
    return [a_test(f"other{k}", p_value=0.5) for k in range(count)]


@pytest.mark.parametrize(
    ("p_value", "answer", "most"),
    [(0.09, NO, "low"), (0.051, NO, "low"), (0.05, UNCLEAR, "moderate"), (0.011, UNCLEAR, "moderate"),
     (0.01, PROBABLY, "high"), (0.006, PROBABLY, "high"), (0.005, YES, "high"), (0.0001, YES, "high")],
)  # fmt: skip
def test_chance(p_value, answer, most):
    row = iceman([a_test(p_value=p_value)]).iloc[0]
    assert (row["chance_unlikely"], row["credibility_at_most"]) == (answer, most)


@pytest.mark.parametrize(
    ("prespecified", "hypothesised", "observed", "answer"),
    [(False, 0, -1.0, NO), (False, -1, -1.0, NO), (True, 0, -1.0, UNCLEAR), (True, -1, -1.0, PROBABLY),
     (True, 1, 0.2, PROBABLY), (True, 1, -0.2, NO), (True, -1, 0.2, NO)],
)  # fmt: skip
def test_direction(prespecified, hypothesised, observed, answer):
    test = a_test(observed=observed, prespecified=prespecified, hypothesised=hypothesised)
    row = iceman([test]).iloc[0]
    assert row["direction_hypothesised"] == answer
    assert row["observed"] == np.sign(observed)


@pytest.mark.parametrize(("tried", "answer"), [(1, PROBABLY), (3, PROBABLY), (4, UNCLEAR), (10, UNCLEAR), (11, NO)])
def test_every_modifier_tried_is_counted(tried, answer):
    table = iceman([a_test(), *others(tried - 1)])
    assert table["modifier"].tolist() == ["antiviral"]
    assert (table["tried"].item(), table["few_modifiers"].item()) == (tried, answer)


def test_a_modifier_that_could_not_be_tested_was_tried():
    table = iceman([a_test(), a_test("constant", p_value=np.nan)])
    assert table[["modifier", "tried"]].to_numpy().tolist() == [["antiviral", 2]]


def test_categories_of_one_variable_count_once():
    table = iceman([a_test("ward", category=name) for name in "abcd"])
    assert table["tried"].tolist() == [1] * 4
    assert table["category"].tolist() == list("abcd")


@pytest.mark.parametrize(
    ("form", "answer", "most"),
    [("categories", "not applicable", "high"), ("continuum", YES, "high"), ("pre-specified cut", PROBABLY, "high"),
     ("cut of unclear origin", UNCLEAR, "moderate"), ("exploratory cut", NO, "low")],
)  # fmt: skip
def test_cut_points(form, answer, most):
    row = iceman([a_test(form=form)]).iloc[0]
    assert (row["no_arbitrary_cut"], row["credibility_at_most"]) == (answer, most)


def test_prior_evidence_is_for_people():
    assert iceman([a_test()])["prior_evidence"].tolist() == ["to be judged"]


def test_the_block_is_for_suggested_modification_only():
    assert iceman([a_test(p_value=0.1)]).empty
    assert len(iceman([a_test(p_value=0.0999)])) == 1
    assert iceman([]).columns.tolist() == iceman([a_test()]).columns.tolist()


def test_an_impossible_p_is_refused():
    with pytest.raises(InputError, match="p_value"):
        iceman([a_test(p_value=1.2)])


def test_a_modifier_given_twice_is_refused():
    with pytest.raises(InputError, match="once"):
        iceman([a_test(), a_test()])
