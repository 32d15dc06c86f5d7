import numpy as np
import pandas as pd
import pytest
from tests.explanation.test_additive import setup

from il7ml.explanation import Explanation, explain, group_importance, importance, refit_values
from il7ml.schema import Variable


def test_importance_ranks_by_mean_absolute_value():
    _, variables, _, _ = setup()
    names = ["age", "diabetes", "respiratory_support"]
    values = pd.DataFrame({"age": [0.1, -0.1, 0.2], "diabetes": [-1.0, 1.0, -1.0], "respiratory_support": [0.5, 0, 0]})
    data = pd.DataFrame({"age": [50.0, 40.0, 60.0], "diabetes": [1.0, 0.0, 1.0], "respiratory_support": [2.0, 0, 1]})
    table = importance(Explanation(0.0, values, data, "log odds", "a note"), {name: variables[name] for name in names})
    assert table["rank"].tolist() == [1, 2, 3]
    assert table["variable"].tolist() == ["diabetes", "respiratory_support", "age"]
    np.testing.assert_allclose(table["mean_abs_shap"], [1.0, 0.5 / 3, 0.4 / 3])
    np.testing.assert_allclose(table["direction"], [-1.0, np.nan, 1.0])
    assert table["label"].tolist() == ["Diabetes", "Respiratory support", "Age"]
    assert table["unit"].tolist() == ["", "", "years"]
    assert table["group"].tolist() == ["comorbidity", "severity", "demographic"]
    assert set(table["scale"]) == {"log odds"}
    assert set(table["note"]) == {"a note"}


@pytest.mark.parametrize("data", [[np.nan, np.nan, np.nan], [50.0, 60.0, np.nan], [50.0, 50.0, 50.0]])
def test_a_direction_that_cannot_be_known_is_nan(data):
    _, variables, _, _ = setup()
    explanation = Explanation(0.0, pd.DataFrame({"age": [0.1, 0.2, 0.3]}), pd.DataFrame({"age": data}), "log odds")
    assert importance(explanation, {"age": variables["age"]})["direction"].isna().all()


def test_the_strongest_predictors_of_the_invented_outcome_come_first():
    made, variables, columns, n = setup("continuous")
    table = importance(explain(made.bundle.risk, columns, n, "points"), variables)
    assert set(table["variable"].head(3)) == {"age", "absolute_lymphocyte_count", "respiratory_support"}
    directions = table.set_index("variable")["direction"]
    assert directions["age"] == pytest.approx(1.0)
    assert directions["absolute_lymphocyte_count"] < -0.9


def named(names, role="laboratory"):
    return {name: Variable(term=name.upper(), kind="binary", known="at_randomisation", role=role) for name in names}


def explanation(values):
    frame = pd.DataFrame(values)
    return Explanation(0.0, frame, frame, "log odds")


def test_limits_are_percentiles_of_refits_and_those_that_turn_round_count_as_negative():
    own = explanation({"sure": [-1.0, 1.0], "unsure": [-0.5, 0.5]})
    # 100 refits: the first always points the same way, with values 0.01 to 1; the second turns round in 10 of them.
    sizes = np.arange(1, 101) / 100
    refitted = [
        np.column_stack([size * np.array([-1.0, 1.0]), (-1 if k < 10 else 1) * np.array([-0.3, 0.3])])
        for k, size in enumerate(sizes)
    ]
    table = importance(own, named(["sure", "unsure"]), refitted, level=0.9).set_index("variable")
    low, high = np.quantile(sizes, [0.05, 0.95])
    assert table.loc["sure", "low"] == pytest.approx(low)
    assert table.loc["sure", "high"] == pytest.approx(1.0)  # widened to the model's own
    assert high < 1
    assert table.loc["sure", "same_direction"] == 1
    assert table.loc["unsure", "low"] == 0
    assert table.loc["unsure", "high"] == pytest.approx(0.5)
    assert table.loc["unsure", "same_direction"] == pytest.approx(0.9)


def test_rank_limits_are_those_of_the_refits_with_ties_on_their_worst():
    own = explanation({"a": [-3.0, 3.0], "b": [-2.0, 2.0], "c": [0.0, 0.0]})
    one = np.array([[-3.0, -2.0, 0.0], [3.0, 2.0, 0.0]])
    other = np.array([[-1.0, -2.0, -1.0], [1.0, 2.0, 1.0]])
    table = importance(own, named("abc"), [one] * 50 + [other] * 50).set_index("variable")
    assert table[["rank", "rank_low", "rank_high"]].to_numpy().tolist() == [[1, 1, 3], [2, 1, 2], [3, 2, 3]]


def test_without_refits_there_are_no_limits():
    table = importance(explanation({"a": [1.0, -1.0]}), named("a"))
    assert table[["low", "high", "rank_low", "rank_high", "same_direction"]].isna().all(axis=None)


def test_what_cancels_within_a_group_does_not_count():
    values = {"a": [1.0, -1.0], "b": [-1.0, 1.0], "c": [0.5, -0.5]}
    variables = {**named("ab"), **named("c", "severity")}
    table = group_importance(explanation(values), variables, [np.array([[1.0, 1.0, 0.2], [-1.0, -1.0, -0.2]])] * 3)
    assert table["group"].tolist() == ["severity", "laboratory"]
    assert table["mean_abs_shap"].tolist() == [0.5, 0.0]
    assert table["variables"].tolist() == ["C", "A, B"]
    assert table[["low", "high"]].to_numpy().tolist() == [[0.2, 0.5], [0.0, 2.0]]


def test_refits_are_explained_by_their_own_exact_values():
    made, variables, columns, n = setup()
    own = explain(made.bundle.risk, columns, n, "log odds")
    refitted = refit_values(made.bundle.refits.models, own)
    assert len(refitted) == len(made.bundle.refits.models)
    for values, model in zip(refitted, made.bundle.refits.models, strict=True):
        whole = explain(model, columns, n, "log odds")
        np.testing.assert_allclose(values, whole.values, atol=1e-12)
    table = importance(own, variables, refitted)
    assert (table["low"] <= table["mean_abs_shap"]).all()
    assert (table["mean_abs_shap"] <= table["high"]).all()


def test_partners_are_named():
    pairs = pd.DataFrame({"first": ["a"], "second": ["b"]})
    table = importance(explanation({"a": [1.0], "b": [0.5], "c": [0.1]}), named("abc"), correlated=pairs)
    assert table["correlated_with"].tolist() == ["B", "A", ""]


def test_intervals_hold_nothing_where_there_is_nothing_and_the_truth_where_there_is_something():
    # Least squares on two independent normal variables, of which the second has no influence: the mean absolute SHAP
    # value of the first is 0.5 E|x| = 0.5 sqrt(2 / pi).
    truth = 0.5 * np.sqrt(2 / np.pi)
    rng = np.random.default_rng(1)
    hits, nothing = 0, 0
    trials = 200
    for _ in range(trials):
        x = rng.normal(size=(100, 2))
        y = 0.5 * x[:, 0] + rng.normal(size=100)
        refitted = []
        for _ in range(50):
            rows = rng.integers(0, 100, 100)
            refitted.append(x * np.linalg.lstsq(x[rows], y[rows], rcond=None)[0])
        own = explanation(dict(zip("ab", (x * np.linalg.lstsq(x, y, rcond=None)[0]).T, strict=True)))
        table = importance(own, named("ab"), refitted).set_index("variable")
        hits += table.loc["a", "low"] <= truth <= table.loc["a", "high"]
        nothing += table.loc["b", "low"] == 0
    # A binomial of 200 with 0.95 is below 175 with a probability under 0.0001; fifty refits cost some coverage.
    assert hits >= 175
    assert nothing >= 175
