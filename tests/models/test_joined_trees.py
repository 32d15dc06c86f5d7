"""Walking down the trees says what the library says."""

from dataclasses import replace

import numpy as np
import pytest
from tests.small_bundles import make, patients

from il7ml.features.columns import to_columns
from il7ml.models.joined_trees import FEW, join_trees
from il7ml.models.stored_trees import trees_of

VARIABLES = {name: entry.variable for name, entry in make().bundle.card.variables.items()}


def columns(n):
    return to_columns(patients(n, np.random.default_rng(8)), VARIABLES)


@pytest.mark.parametrize("kind", ["binary", "count", "continuous"])
def test_margins_are_the_librarys_to_the_last_digit(kind):
    models = [make(kind, "xgboost").bundle.risk, *make(kind, "xgboost").bundle.refits.models]
    matrix = models[0].design.matrix(columns(60), 60)
    expected = [each.booster.inplace_predict(matrix, predict_type="margin") for each in models]
    np.testing.assert_array_equal(join_trees([trees_of(each.booster) for each in models]).margins(matrix), expected)


def test_models_of_fewer_trees_than_others_stand_beside_them():
    model = make("binary", "xgboost").bundle.risk
    short = model.booster[:3]
    matrix = model.design.matrix(columns(5), 5)
    expected = [each.inplace_predict(matrix, predict_type="margin") for each in (short, model.booster, short)]
    found = join_trees([trees_of(short), trees_of(model.booster), trees_of(short)]).margins(matrix)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n", [1, FEW, FEW + 1])
def test_a_model_with_its_nodes_beside_it_says_the_same_as_without(n):
    model = make("binary", "xgboost").bundle.risk
    with_nodes = replace(model, nodes=trees_of(model.booster))
    np.testing.assert_array_equal(
        with_nodes.linear_predictor(columns(n), n), replace(model, nodes=None).linear_predictor(columns(n), n)
    )
    for mine, its in zip(
        with_nodes.contributions(columns(n), n), replace(model, nodes=None).contributions(columns(n), n), strict=True
    ):
        assert mine == its if isinstance(mine, float) else mine.keys() == its.keys()
