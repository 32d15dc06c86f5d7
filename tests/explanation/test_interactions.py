import numpy as np
import pytest
import shap
from tests.explanation.test_additive import setup
from tests.small_bundles import make

from il7ml import texts
from il7ml.explanation import explain, interactions
from il7ml.explanation.interactions import interaction_values
from il7ml.models.fitted import FittedStack

PAIR = ("diabetes", "absolute_lymphocyte_count")


def test_trees_have_the_interactions_of_shap():
    made, variables, columns, n = setup("continuous", "xgboost")
    fitted = made.bundle.risk
    names = list(variables)
    whole = shap.TreeExplainer(fitted.booster).shap_interaction_values(fitted.design.matrix(columns, n))
    expected = np.zeros((n, len(names), len(names)))
    for i, first in enumerate(fitted.design.owners):
        for j, second in enumerate(fitted.design.owners):
            expected[:, names.index(first), names.index(second)] += whole[:, i, j]
    found = interaction_values(fitted, columns, n, names)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    table = interactions(fitted, columns, n, variables, [PAIR])
    strongest = table.iloc[0]
    i, j = names.index(strongest["first"]), names.index(strongest["second"])
    assert strongest["mean_abs_interaction"] == pytest.approx(np.abs(2 * expected[:, i, j]).mean(), abs=1e-3)
    assert strongest["mean_abs_interaction"] > 0.1
    assert {frozenset(pair) for pair in table[["first", "second"]].itertuples(index=False)} >= {frozenset(PAIR)}
    assert table["mean_abs_interaction"].is_monotonic_decreasing or len(table) > 10


@pytest.mark.parametrize("model", ["xgboost", "stack"])
def test_rows_add_up_to_the_shap_values(model):
    _, variables, columns, n = setup("binary", "xgboost")
    trees, line = make("binary", "xgboost").bundle.risk, make("binary", "logistic").bundle.risk
    fitted = trees if model == "xgboost" else FittedStack((line, trees), np.array([0.6, 0.3]), 0.2)
    values = interaction_values(fitted, columns, n, list(variables))
    np.testing.assert_allclose(values.sum(axis=2), explain(fitted, columns, n, "log odds").values, atol=1e-5)
    np.testing.assert_allclose(values, values.transpose(0, 2, 1), atol=1e-5)


def test_a_regression_has_none_and_says_so():
    made, variables, columns, n = setup()
    average = FittedStack((made.bundle.risk, made.bundle.risk), np.array([0.5, 0.5]), 0.0)
    for fitted in (made.bundle.risk, average):
        [row] = interactions(fitted, columns, n, variables, [PAIR], made.bundle.refits.models).to_dict("records")
        assert (row["first"], row["second"]) == ("absolute_lymphocyte_count", "diabetes")
        assert row["mean_abs_interaction"] == 0
        assert row["note"] == texts.NO_INTERACTION


def test_limits_hold_the_models_own_value():
    made, variables, columns, n = setup("continuous", "xgboost")
    table = interactions(made.bundle.risk, columns, n, variables, refits=made.bundle.refits.models)
    assert (table["low"] <= table["mean_abs_interaction"]).all()
    assert (table["mean_abs_interaction"] <= table["high"]).all()
    assert (table["low"] < table["high"]).all()
