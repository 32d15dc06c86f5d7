import numpy as np
import pytest
import shap
from tests.small_bundles import make

from il7ml.explanation import explain
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
    np.testing.assert_allclose(found.base + found.values.sum(axis=1), made.bundle.effect.linear_predictor(columns, n))
    assert (found.scale, found.note, found.method) == ("difference in risk", "exploratory", "exact")


def test_the_largest_gap_is_kept():
    made, _, columns, n = setup(model="xgboost")
    found = explain(made.bundle.risk, columns, n, "log odds")
    gaps = found.base + found.values.sum(axis=1) - made.bundle.risk.linear_predictor(columns, n)
    assert found.gap == pytest.approx(np.abs(gaps).max(), abs=1e-15)
    assert found.gap < 1e-6


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
