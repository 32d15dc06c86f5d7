import numpy as np
import pytest
import shap
from tests.explanation.test_additive import setup
from tests.small_bundles import make

from il7ml.explanation import explain_outcome, outcome_scale, refit_outcome_values
from il7ml.family import FAMILIES
from il7ml.features.columns import take
from il7ml.models.fitted import FittedStack

PATIENTS, REFERENCE = np.arange(6), np.arange(20, 35)


def run(kind, model, seed=0):
    _, _, columns, _ = setup(kind, "logistic")
    few, typical = take(columns, PATIENTS), take(columns, REFERENCE)
    return explain_outcome(
        model, FAMILIES[kind], few, PATIENTS.size, typical, REFERENCE.size, np.random.default_rng(seed)
    )


def reference(kind, model):
    """Return the values of shap's exact explainer, which asks the model for all coalitions."""
    _, variables, columns, _ = setup(kind, "logistic")
    names = list(variables)

    def predicted(rows):
        mixed = {name: rows[:, k].astype(float) for k, name in enumerate(names)}
        return FAMILIES[kind].mean(model.linear_predictor(mixed, len(rows)))

    # Gaps are as good as any value to the models, but not to the explainer's comparisons.
    table = np.column_stack([columns[name] for name in names])
    masker = shap.maskers.Independent(table[REFERENCE], max_samples=REFERENCE.size)
    found = shap.explainers.Exact(predicted, masker)(table[PATIENTS])
    return np.asarray(found.base_values), np.asarray(found.values)


def stack(kind):
    parts = tuple(make(kind, model).bundle.risk for model in ("logistic", "xgboost"))
    return FittedStack(parts, np.array([0.7, 0.5]), 0.1)


MODELS = {
    "linear": lambda kind: make(kind, "logistic").bundle.risk,
    "average of linear": lambda kind: FittedStack(
        tuple(make(kind, model).bundle.risk for model in ("logistic", "lymphocyte")), np.array([0.7, 2.5]), 0.1
    ),
    "trees": lambda kind: make(kind, "xgboost").bundle.risk,
    "stack": stack,
}


@pytest.mark.parametrize("kind", ["binary", "count"])
@pytest.mark.parametrize("name", MODELS)
def test_values_are_those_of_shaps_exact_explainer(kind, name):
    model = MODELS[name](kind)
    found = run(kind, model)
    base, values = reference(kind, model)
    assert found.base == pytest.approx(base[0], abs=1e-6)
    np.testing.assert_allclose(found.values, values, atol=2e-6)
    assert np.abs(values).max() > 0.01
    assert (found.method, found.std_error) == ("exact", 0.0)


def test_large_linear_predictors_are_exact_too():
    model = make("binary", "logistic").bundle.risk.recalibrated(1.0, 8.0)
    np.testing.assert_allclose(run("binary", model).values, reference("binary", model)[1], atol=2e-6)


def test_random_orders_come_near_the_exact_values_and_add_up(monkeypatch):
    model = stack("binary")
    exact = run("binary", model)
    monkeypatch.setattr(outcome_scale, "_BUDGET", 9000)
    found = run("binary", model)
    assert found.method == "180 random orders"
    assert 0 < found.std_error < 0.02
    assert found.gap < 1e-6
    errors = found.values.to_numpy() - exact.values.to_numpy()
    assert 0 < np.abs(errors).max() < 4 * found.std_error


def test_the_base_is_the_mean_prediction_of_the_reference_patients():
    made, _, columns, n = setup()
    predicted = FAMILIES["binary"].mean(made.bundle.risk.linear_predictor(columns, n))
    found = run("binary", made.bundle.risk)
    assert found.base == pytest.approx(predicted[REFERENCE].mean())
    np.testing.assert_allclose(found.base + found.values.sum(axis=1), predicted[PATIENTS], atol=1e-6)
    assert found.scale == "risk"


def test_an_event_rate_moves_nobody():
    found = run("binary", make("binary", "prevalence").bundle.risk)
    assert not found.values.to_numpy().any()


def test_refits_are_explained_on_the_first_patients_and_only_where_exact():
    linear, trees = (make("binary", model).bundle.risk for model in ("logistic", "xgboost"))
    _, _, columns, _ = setup("binary", "logistic")
    typical = take(columns, REFERENCE)
    explanation = run("binary", linear)
    values = refit_outcome_values([linear, trees], FAMILIES["binary"], explanation, typical, REFERENCE.size)
    assert len(values) == 1
    np.testing.assert_allclose(values[0], explanation.values, atol=1e-12)
