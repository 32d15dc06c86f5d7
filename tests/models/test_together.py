import numpy as np
import pytest
from tests.small_bundles import make, patients

from il7ml.features.columns import to_columns
from il7ml.models.fitted import FittedTrees
from il7ml.models.together import together

VARIABLES = {name: entry.variable for name, entry in make().bundle.card.variables.items()}


def columns(n):
    frame = patients(n, np.random.default_rng(3))
    frame.loc[0] = np.nan
    return to_columns(frame, VARIABLES)


# Few patients go down all trees at once, many to the library.
@pytest.mark.parametrize("n", [1, 3, 40])
@pytest.mark.parametrize("model", ["prevalence", "logistic", "xgboost", "stack"])
@pytest.mark.parametrize("kind", ["binary", "count"])
def test_together_they_say_what_each_says_alone(kind, model, n):
    models = make(kind, model).bundle.refits.models
    expected = [each.linear_predictor(columns(n), n) for each in models]
    np.testing.assert_allclose(together(models).linear_predictors(columns(n), n), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", ["logistic", "xgboost"])
def test_recalibrated_models_too(model):
    models = [each.recalibrated(-0.4, 0.7) for each in make("binary", model).bundle.refits.models]
    expected = [each.linear_predictor(columns(2), 2) for each in models]
    np.testing.assert_allclose(together(models).linear_predictors(columns(2), 2), expected, rtol=0, atol=1e-12)


def test_trees_without_a_split_are_their_leaf():
    import xgboost

    fitted = make("binary", "xgboost").bundle.risk
    matrix = fitted.design.matrix(columns(20), 20)
    flat = xgboost.train(
        {"gamma": 1e9, "base_score": 0.0, "nthread": 1}, xgboost.DMatrix(matrix, label=np.full(20, 2.0)), 3
    )
    models = [FittedTrees(fitted.design, flat, 0.25), fitted]
    found = together(models).linear_predictors(columns(1), 1)
    np.testing.assert_allclose(found, [each.linear_predictor(columns(1), 1) for each in models], rtol=0, atol=1e-12)
    assert found[0, 0] > 0.25


def test_a_value_on_a_threshold_goes_where_the_library_sends_it():
    models = [make("binary", "xgboost").bundle.risk]
    frame = patients(200, np.random.default_rng(3))
    for age in sorted(frame["age"].unique()):
        one = to_columns(frame.assign(age=age).head(1), VARIABLES)
        np.testing.assert_allclose(
            together(models).linear_predictors(one, 1)[0], models[0].linear_predictor(one, 1), rtol=0, atol=1e-12
        )
