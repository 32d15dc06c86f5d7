import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from il7ml.errors import InputError
from il7ml.features.columns import infer_variables
from il7ml.models.risk import BoostedRiskModel, LinearRiskModel
from il7ml.schema import Variable, load_dictionary

MODELS = [LinearRiskModel(), BoostedRiskModel(rounds=30)]
by_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)


def trial(n=400, seed=0, effect=-0.8):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "age": rng.normal(60, 12, n),
            "ferritin": rng.lognormal(6, 1, n),
            "support": pd.Categorical(rng.choice(["oxygen", "mask", "tube"], n)),
        }
    )
    X.loc[rng.random(n) < 0.1, "ferritin"] = np.nan
    arm = rng.integers(0, 2, n)
    eta = -0.5 + 0.08 * (X["age"].to_numpy() - 60) + (X["support"] == "tube").to_numpy() + effect * arm
    return X, rng.binomial(1, expit(eta)), arm, eta


def steady(name, direction):
    return {
        name: Variable(term=name, possible=(-9, 9), known="before_randomisation", role="other", direction=direction)
    }


@by_model
def test_estimator_contract(model):
    X, y, arm, _ = trial()
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(X)
    assert copy.fit(X, y, arm) is copy
    assert copy.n_features_in_ == 3
    risk = copy.predict(X)
    assert risk.shape == (len(X),)
    assert ((risk > 0) & (risk < 1)).all()
    again = clone(model).fit(X.copy(), y.tolist(), pd.Series(arm))
    np.testing.assert_array_equal(again.predict(X), risk)


@by_model
def test_columns_are_found_by_name(model):
    X, y, arm, _ = trial()
    fitted = clone(model).fit(X, y, arm)
    shuffled = X[["support", "age", "ferritin"]].assign(bystander=1.0)
    np.testing.assert_array_equal(fitted.predict(shuffled), fitted.predict(X))
    with pytest.raises(InputError, match="column 'ferritin' is missing"):
        fitted.predict(X.drop(columns="ferritin"))
    with pytest.raises(InputError, match="column 'support': expected one of mask, oxygen, tube; other values came"):
        fitted.predict(X.assign(support="none"))


@by_model
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.full(400, 0.5)}, "y: expected 0"),
        ({"y": np.zeros(7)}, "y: expected 400 values"),
        ({"treatment": np.full(400, 2)}, "treatment: expected 0"),
        ({"sample_weight": -np.ones(400)}, "sample_weight: expected"),
        ({"exposure": np.ones(400)}, "exposure: expected none for a binary outcome"),
    ],
)
def test_unusable_input_is_refused(model, changes, message):
    X, y, arm, _ = trial()
    with pytest.raises(InputError, match=message):
        clone(model).fit(**{"X": X, "y": y, "treatment": arm, **changes})


@pytest.mark.parametrize("model", [LinearRiskModel, BoostedRiskModel])
def test_unknown_kind_of_outcome_is_refused(model):
    X, y, arm, _ = trial()
    with pytest.raises(InputError, match=r"outcome: 'binay' is not known. Did you mean 'binary'"):
        model("binay").fit(X, y, arm)


@by_model
def test_risk_is_that_without_treatment_and_the_arm_shifts_it_on_the_link_scale(model):
    X, y, arm, _ = trial()
    fitted = clone(model).fit(X, y, arm)
    untreated, treated = fitted.predict(X), fitted.predict(X, 1)
    np.testing.assert_allclose(logit(untreated), fitted.linear_predictor(X), atol=1e-9)
    np.testing.assert_allclose(logit(treated) - logit(untreated), fitted.fitted_.arm_effect, atol=1e-9)
    np.testing.assert_allclose(fitted.predict(X, arm), np.where(arm == 1, treated, untreated))
    assert fitted.fitted_.arm_effect < -0.3


@by_model
def test_both_arms_at_once_are_those_one_after_the_other(model):
    X, y, arm, _ = trial()
    fitted = clone(model).fit(X, y, arm)
    untreated, treated = fitted.predict_arms(X)
    np.testing.assert_array_equal(untreated, fitted.predict(X, 0))
    np.testing.assert_array_equal(treated, fitted.predict(X, 1))


def test_without_variables_each_arm_has_its_event_rate():
    X, y, arm, _ = trial()
    model = LinearRiskModel(variables={}).fit(X, y, arm)
    np.testing.assert_allclose(model.predict(X.head(2), 0), y[arm == 0].mean(), rtol=1e-4)
    np.testing.assert_allclose(model.predict(X.head(2), 1), y[arm == 1].mean(), rtol=1e-4)


def test_rates_of_the_arms_are_events_over_time():
    X, y, arm, _ = trial()
    time = np.random.default_rng(1).uniform(1, 30, len(y))
    model = LinearRiskModel("count", variables={}).fit(X, y, arm, exposure=time)
    assert model.predict(X.head(1), 1)[0] == pytest.approx(y[arm == 1].sum() / time[arm == 1].sum(), rel=1e-4)


def test_weights_count_as_patients():
    X, y, arm, _ = trial()
    weight = np.random.default_rng(1).uniform(0, 2, len(y))
    weight[:50] = 0
    model = LinearRiskModel(variables={}).fit(X, y, arm, sample_weight=weight)
    control = arm == 0
    assert model.predict(X.head(1))[0] == pytest.approx(np.average(y[control], weights=weight[control]), rel=1e-4)


def test_linear_model_recovers_the_simulated_risk():
    X, y, arm, _ = trial(n=4000)
    model = LinearRiskModel().fit(X, y, arm)
    assert model.fitted_.arm_effect == pytest.approx(-0.8, abs=0.25)
    new, _, _, eta = trial(n=2000, seed=9, effect=0.0)
    assert np.corrcoef(model.linear_predictor(new), eta)[0, 1] > 0.98
    np.testing.assert_allclose(model.predict(new).mean(), expit(eta).mean(), atol=0.03)


def test_boosted_model_recovers_a_risk_that_no_line_follows():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(3000, 3)), columns=["a", "b", "c"])
    arm = rng.integers(0, 2, 3000)
    y = rng.binomial(1, expit(2.0 * (np.abs(X["a"].to_numpy()) > 1) - 1 - 0.5 * arm))
    train, test = slice(0, 2000), slice(2000, None)
    scores = {
        type(model).__name__: roc_auc_score(
            y[test], model.fit(X[train], y[train], arm[train]).linear_predictor(X[test])
        )
        for model in (LinearRiskModel(), BoostedRiskModel())
    }
    assert scores["BoostedRiskModel"] > 0.65
    assert scores["LinearRiskModel"] < 0.56


def test_trees_get_no_column_for_the_arm():
    """With an outcome that the arm decides, the trees still find nothing to split on."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=600), "b": rng.normal(size=600)})
    arm = rng.integers(0, 2, 600)
    y = rng.binomial(1, np.where(arm == 1, 0.1, 0.6))
    model = BoostedRiskModel().fit(X, y, arm)
    assert model.fitted_.booster.num_features() == len(X.columns)
    odds = [y[arm == side].mean() / (1 - y[arm == side].mean()) for side in (0, 1)]
    assert model.fitted_.arm_effect == pytest.approx(np.log(odds[1] / odds[0]), rel=1e-3)
    # What is left is noise; a tree that saw the arm would move the predictions by far more.
    assert np.std(model.linear_predictor(X)) < 0.6


@pytest.mark.parametrize(("direction", "harmful", "sign"), [(1, True, 1), (-1, True, -1), (1, False, -1), (0, True, 0)])
def test_known_directions_bind_the_trees(direction, harmful, sign):
    """The data go up and down; a constrained model must go one way."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, 1500)
    y = rng.binomial(1, expit(2 * np.sin(2 * x)))
    X = pd.DataFrame({"x": x, "other": rng.normal(size=1500)})
    variables = {**infer_variables(X), **steady("x", direction)}
    model = BoostedRiskModel(variables=variables, harmful=harmful).fit(X, y, rng.integers(0, 2, 1500))
    steps = np.diff(model.linear_predictor(pd.DataFrame({"x": np.linspace(-3, 3, 200), "other": 0.0})))
    if sign:
        assert (sign * steps >= -1e-6).all()
        assert np.abs(steps).max() > 0
    else:
        assert steps.min() < -0.05
        assert steps.max() > 0.05


def test_a_category_has_no_direction():
    X, y, arm, _ = trial()
    variables = {**infer_variables(X), "age": load_dictionary()["age"]}
    assert BoostedRiskModel(variables=variables).fit(X, y, arm).fitted_.booster.num_features() == 5


def test_trees_without_variables_are_refused():
    X, y, arm, _ = trial()
    with pytest.raises(InputError, match="BoostedRiskModel: expected at least one variable"):
        BoostedRiskModel(variables={}).fit(X, y, arm)


@pytest.mark.parametrize("model", [LinearRiskModel, BoostedRiskModel])
def test_gaps_are_no_obstacle_and_do_not_matter_at_random(model):
    X, y, arm, _ = trial(n=1000)
    holes = X.copy()
    holes.loc[np.random.default_rng(3).random(1000) < 0.3, ["age"]] = np.nan
    full = roc_auc_score(y, model().fit(X, y, arm).predict(X, arm))
    partial = roc_auc_score(y, model().fit(holes, y, arm).predict(holes, arm))
    assert 0.6 < partial < full


@by_model
def test_an_arm_without_events_is_predicted_not_refused(model):
    X, y, arm, _ = trial()
    fitted = clone(model).fit(X, np.where(arm == 1, 0, y), arm)
    assert fitted.predict(X, 1).max() < 0.02
    assert fitted.predict(X, 0).mean() == pytest.approx(y[arm == 0].mean(), abs=0.05)
    assert clone(model).fit(X, np.zeros(400), arm).predict(X).max() < 1e-6


@pytest.mark.parametrize("kind", ["count", "continuous"])
@pytest.mark.parametrize("model", [LinearRiskModel, BoostedRiskModel])
def test_other_kinds_recover_their_means(model, kind):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=3000)})
    arm, time = rng.integers(0, 2, 3000), rng.uniform(1, 3, 3000)
    eta = 0.2 + 0.5 * X["x"].to_numpy() - 0.3 * arm
    y, exposure = (rng.poisson(np.exp(eta) * time), time) if kind == "count" else (rng.normal(eta, 0.5), None)
    fitted = model(kind).fit(X, y, arm, exposure=exposure)
    new = pd.DataFrame({"x": [-1.0, 0.0, 1.0]})
    truth = 0.2 + 0.5 * new["x"].to_numpy()
    np.testing.assert_allclose(fitted.linear_predictor(new), truth, atol=0.12)
    assert fitted.fitted_.arm_effect == pytest.approx(-0.3, abs=0.06)


def test_contributions_come_as_a_frame_with_the_patients_index():
    X, y, arm, _ = trial()
    X.index = [f"p{row}" for row in range(len(X))]
    model = LinearRiskModel().fit(X, y, arm)
    base, parts = model.contributions(X)
    assert list(parts.columns) == list(X.columns)
    assert list(parts.index) == list(X.index)
    np.testing.assert_allclose(base + parts.sum(axis=1), model.linear_predictor(X))


def test_a_rare_combination_gets_no_rate_that_nobody_had():
    rng = np.random.default_rng(3)
    X = pd.DataFrame({"x": rng.normal(size=120)})
    arm = rng.integers(0, 2, 120)
    y = rng.poisson(np.exp(0.8 * X["x"] - 1))
    model = LinearRiskModel("count").fit(X, y, arm)
    seen = model.predict(X)
    far = model.predict(pd.DataFrame({"x": [50.0, -50.0]}))
    np.testing.assert_allclose(far, [seen.max(), seen.min()])
