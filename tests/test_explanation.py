import numpy as np
import pandas as pd
import pytest
import shap
from tests.small_bundles import make

from il7ml.explanation import Explanation, explain, importance
from il7ml.features.columns import to_columns
from il7ml.models.fitted import sum_by_owner

KINDS = ["binary", "count", "continuous"]


def setup(kind="binary", model="logistic"):
    made = make(kind, model)
    variables = {name: entry.variable for name, entry in made.bundle.card.variables.items()}
    return made, variables, to_columns(made.sample.X, variables), len(made.sample.X)


@pytest.mark.parametrize("kind", KINDS)
def test_linear_models_agree_with_shap_on_the_training_patients(kind):
    made, variables, columns, n = setup(kind)
    fitted = made.bundle.risk
    matrix = fitted.design.matrix(columns, n)
    background = shap.maskers.Independent(matrix, max_samples=n)
    explainer = shap.LinearExplainer((fitted.coefficients, fitted.intercept), background)
    expected = sum_by_owner(np.asarray(explainer.shap_values(matrix)), fitted.design.owners)
    found = explain(fitted, columns, n, "log odds")
    assert found.base == pytest.approx(float(explainer.expected_value))
    assert list(found.values) == list(variables)
    for name in variables:
        np.testing.assert_allclose(found.values[name], expected[name], atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_trees_agree_with_shap(kind):
    made, variables, columns, n = setup(kind, "xgboost")
    fitted = made.bundle.risk
    matrix = fitted.design.matrix(columns, n)
    explainer = shap.TreeExplainer(fitted.booster)
    expected = sum_by_owner(np.asarray(explainer.shap_values(matrix), dtype=float), fitted.design.owners)
    found = explain(fitted, columns, n, "log odds")
    for name in variables:
        np.testing.assert_allclose(found.values[name], expected[name], atol=1e-5)
    assert np.abs(found.values.to_numpy()).max() > 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["prevalence", "lymphocyte", "logistic", "xgboost"])
def test_values_and_base_add_up_to_the_prediction(kind, model):
    made, _, columns, n = setup(kind, model)
    found = explain(made.bundle.risk, columns, n, "log odds")
    total = found.base + found.values.sum(axis=1)
    np.testing.assert_allclose(total, made.bundle.risk.linear_predictor(columns, n), atol=1e-4)
    assert found.values.shape == (n, len(columns))


def test_the_effect_model_is_explained_too():
    made, _, columns, n = setup()
    found = explain(made.bundle.effect, columns, n, "difference in risk", note="exploratory")
    assert found.base == pytest.approx(made.scores.effect.mean())
    np.testing.assert_allclose(found.base + found.values.sum(axis=1), made.bundle.effect.linear_predictor(columns, n))
    assert (found.scale, found.note) == ("difference in risk", "exploratory")


def test_rows_cap_the_cost_and_change_no_value():
    made, _, columns, n = setup(model="xgboost")
    whole, part = (explain(made.bundle.risk, columns, n, "log odds", rows=rows) for rows in (None, 25))
    assert len(part.values) == len(part.data) == 25
    np.testing.assert_array_equal(part.values, whole.values.head(25))
    assert len(explain(made.bundle.risk, columns, n, "log odds", rows=10**6).values) == n


def test_the_data_beside_the_values_are_the_patients():
    made, _, columns, n = setup()
    found = explain(made.bundle.risk, columns, n, "log odds")
    np.testing.assert_array_equal(found.data["age"], made.sample.X["age"])
    assert found.data["c_reactive_protein"].isna().sum() == made.sample.X["c_reactive_protein"].isna().sum()


def test_values_that_do_not_add_up_are_an_error():
    made, _, columns, n = setup()

    class Wrong:
        def contributions(self, columns, n):
            base, parts = made.bundle.risk.contributions(columns, n)
            return base + 0.01, parts

        def linear_predictor(self, columns, n):
            return made.bundle.risk.linear_predictor(columns, n)

    with pytest.raises(ArithmeticError, match=r"largest gap 0\.01"):
        explain(Wrong(), columns, n, "log odds")


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
