import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

with warnings.catch_warnings():
    # shap sets up colour maps on import with a call that matplotlib is about to retire.
    warnings.simplefilter("ignore")
    import shap

from il7ml.features.columns import infer_variables, to_columns
from il7ml.features.design import LinearDesign
from il7ml.models.fitted import FittedLinear, sum_by_owner
from il7ml.models.risk import BoostedRiskModel, LinearRiskModel


def patients(n=150, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(60, 10, n),
            "ferritin": rng.lognormal(6, 1, n),
            "support": pd.Categorical(rng.choice(["oxygen", "mask", "tube"], n)),
        }
    )
    frame.loc[rng.random(n) < 0.1, "ferritin"] = np.nan
    return frame


def outcome(frame, kind, seed=1):
    rng = np.random.default_rng(seed)
    eta = 0.08 * (frame["age"].to_numpy() - 60) + (frame["support"] == "tube").to_numpy()
    arm = rng.integers(0, 2, len(frame))
    y = {
        "binary": lambda: rng.binomial(1, 1 / (1 + np.exp(-eta))),
        "count": lambda: rng.poisson(np.exp(eta / 2)),
        "continuous": lambda: rng.normal(eta),
    }[kind]()
    return y, arm


@pytest.mark.parametrize("kind", ["binary", "count", "continuous"])
@pytest.mark.parametrize("model", [LinearRiskModel, BoostedRiskModel])
def test_contributions_add_up_to_the_linear_predictor(model, kind):
    frame = patients()
    fitted = model(kind).fit(frame, *outcome(frame, kind)).fitted_
    columns = to_columns(frame, infer_variables(frame))
    base, parts = fitted.contributions(columns, len(frame))
    assert set(parts) == set(frame.columns)
    np.testing.assert_allclose(base + sum(parts.values()), fitted.linear_predictor(columns, len(frame)), atol=2e-5)
    assert np.ptp(parts["age"]) > 0.1


def test_linear_contributions_are_those_of_shap():
    frame = patients()
    model = LinearRiskModel(spline=("age",)).fit(frame, *outcome(frame, "binary"))
    columns = to_columns(frame, model.variables_)
    matrix = model.fitted_.design.matrix(columns, len(frame))
    background = shap.maskers.Independent(matrix, max_samples=len(matrix))
    explainer = shap.LinearExplainer((model.fitted_.coefficients, model.fitted_.intercept), background)
    base, parts = model.fitted_.contributions(columns, len(frame))
    expected = sum_by_owner(explainer.shap_values(matrix), model.fitted_.design.owners)
    assert base == pytest.approx(explainer.expected_value)
    for name, part in parts.items():
        np.testing.assert_allclose(part, expected[name], atol=1e-10)


def test_tree_contributions_are_those_of_shap():
    frame = patients()
    model = BoostedRiskModel(rounds=40).fit(frame, *outcome(frame, "binary"))
    columns = to_columns(frame, model.variables_)
    _, parts = model.fitted_.contributions(columns, len(frame))
    values = shap.TreeExplainer(model.fitted_.booster).shap_values(model.fitted_.design.matrix(columns, len(frame)))
    expected = sum_by_owner(np.asarray(values, dtype=float), model.fitted_.design.owners)
    for name, part in parts.items():
        np.testing.assert_allclose(part, expected[name], atol=1e-5)


def test_base_of_a_linear_model_is_the_average_training_patient():
    frame = patients()
    model = LinearRiskModel("continuous").fit(frame, *outcome(frame, "continuous"))
    base, _ = model.contributions(frame)
    assert base == pytest.approx(model.linear_predictor(frame).mean())


def test_without_columns_the_linear_predictor_is_the_intercept():
    fitted = FittedLinear(LinearDesign.learn({}, {}), np.empty(0), -1.5)
    assert fitted.linear_predictor({}, 3).tolist() == [-1.5] * 3
    assert fitted.contributions({}, 3) == (-1.5, {})


@pytest.mark.parametrize("model", [LinearRiskModel, BoostedRiskModel])
def test_no_patients_give_no_predictions(model):
    frame = patients()
    fitted = model().fit(frame, *outcome(frame, "binary"))
    assert fitted.predict(frame.head(0)).shape == (0,)
    _, parts = fitted.contributions(frame.head(0))
    assert parts.shape == (0, 3)


def test_sum_by_owner_adds_a_variables_columns():
    parts = np.array([[1.0, 2.0, 4.0], [0.0, 1.0, 1.0]])
    totals = sum_by_owner(parts, ("a", "b", "a"))
    assert {name: column.tolist() for name, column in totals.items()} == {"a": [5.0, 1.0], "b": [2.0, 1.0]}
    np.testing.assert_array_equal(parts, [[1.0, 2.0, 4.0], [0.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match="zip"):
        sum_by_owner(parts, ("a", "b"))


def test_a_stored_model_needs_neither_scikit_learn_nor_xgboost_to_be_imported():
    code = "import sys, il7ml.models.fitted; print({'sklearn', 'xgboost'} & set(sys.modules) or 'none')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "none"
