"""The streamed models against those of the same patients in memory, which are tested on their own."""

import numpy as np
import pandas as pd
import pytest
import xgboost

from il7ml.errors import InputError
from il7ml.features.columns import to_columns
from il7ml.features.stored_columns import StoredColumns
from il7ml.models import streamed_glm
from il7ml.models.catalog import Setting, make_risk_model
from il7ml.models.streamed import fit_streamed, halve, linear_predictors, out_of_fold_means
from il7ml.models.streamed_glm import StoredPatients
from il7ml.schema import Variable
from il7ml.state import State

N = 900
VARIABLES = {
    "age": Variable(term="Age", possible=(0, 120), known="before_randomisation", role="other", direction=1),
    "count": Variable(term="Count", possible=(0, 9), known="before_randomisation", role="lymphopenia", scale="log"),
    "support": Variable(
        term="Support", kind="categorical", levels=("none", "mask", "tube"), known="before_randomisation", role="other"
    ),
}


@pytest.fixture(params=["binary", "count", "continuous"])
def kind(request):
    return request.param


@pytest.fixture
def trial(kind, tmp_path):
    """Return a frame, the same patients on disk, and the setting; some values are missing, some weights 0."""
    rng = np.random.default_rng(3)
    X = pd.DataFrame(
        {
            "age": np.float32(rng.normal(60, 12, N)),
            "count": np.float32(rng.lognormal(0, 0.5, N)),
            "support": rng.choice(["none", "mask", "tube"], N),
        }
    )
    X.loc[::10, "age"] = np.nan
    arm = rng.integers(0, 2, N).astype(float)
    eta = -1 + np.nan_to_num(X["age"].to_numpy() - 60) / 12 - np.log(X["count"].to_numpy()) - 0.5 * arm
    exposure = rng.uniform(0.5, 2, N) if kind == "count" else None
    y = {
        "binary": lambda: rng.binomial(1, 1 / (1 + np.exp(-eta))),
        "count": lambda: rng.poisson(np.exp(eta / 2) * exposure),
        "continuous": lambda: eta + rng.normal(size=N),
    }[kind]().astype(float)
    weight = np.where(np.arange(N) % 20 == 7, 0.0, rng.uniform(1, 1.5, N))
    stored = StoredColumns(tmp_path / "columns", list(VARIABLES))
    columns = to_columns(X, VARIABLES)
    for part in np.array_split(np.arange(N), [100, 450]):
        stored.append({name: values[part] for name, values in columns.items()})
    groups = halve(rng.integers(0, 2**63, N, dtype=np.uint64), 2)
    patients = StoredPatients(stored, y, arm, weight, exposure, groups)
    return X, patients, Setting(kind, VARIABLES, "count", harmful=True)


def in_memory(name, X, patients, setting, rows=slice(None)):
    exposure = None if patients.exposure is None else patients.exposure[rows]
    arguments = {"sample_weight": patients.weight[rows], "exposure": exposure}
    return make_risk_model(name, setting), (X[rows], patients.y[rows], patients.treatment[rows]), arguments


@pytest.mark.parametrize("name", ["prevalence", "lymphocyte", "logistic"])
def test_regressions_are_those_of_the_patients_in_memory(name, trial, tmp_path, monkeypatch):
    monkeypatch.setattr(streamed_glm, "BLOCK", 128)
    X, patients, setting = trial
    streamed = fit_streamed(name, patients, setting, threads=1, scratch=tmp_path)
    model, data, arguments = in_memory(name, X, patients, setting)
    model.fit(*data, **arguments)
    same(streamed.fitted, model.fitted_)
    for half, group in zip(streamed.halves, patients.groups[1:], strict=True):
        _, data, arguments = in_memory(name, X, patients, setting, group)
        same(half, model.refit(*data, **arguments))


def same(one, other):
    # scikit-learn stops where the gradient is below 1e-6.
    np.testing.assert_allclose(one.coefficients, other.coefficients, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose([one.intercept, one.arm_effect], [other.intercept, other.arm_effect], atol=2e-5)


def test_trees_are_those_of_the_patients_in_memory(trial, tmp_path):
    X, patients, setting = trial
    streamed = fit_streamed("xgboost", patients, setting, threads=1, scratch=tmp_path)
    model, data, arguments = in_memory("xgboost", X, patients, setting)
    model.fit(*data, **arguments)
    found = linear_predictors(streamed, patients)
    np.testing.assert_allclose(found[0], model.linear_predictor(X), atol=1e-5)
    assert streamed.fitted.arm_effect == pytest.approx(model.fitted_.arm_effect, abs=1e-5)
    # A half's trees, from the library's ordinary matrix with the bins of all patients.
    half, group = streamed.halves[2], patients.groups[3]
    matrix = half.design.matrix(to_columns(X, VARIABLES), N)
    margin = half.intercept + half.arm_effect * patients.treatment
    plain = xgboost.QuantileDMatrix(matrix, label=patients.y, weight=patients.weight)
    plain.set_weight(patients.weight * group)
    plain.set_base_margin(margin if patients.exposure is None else margin + np.log(patients.exposure))
    booster = xgboost.train({**model.settings(half.design, VARIABLES), "seed": 0}, plain, len(half.booster.get_dump()))
    expected = booster.inplace_predict(matrix, predict_type="margin") + half.intercept
    np.testing.assert_allclose(found[3], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["binary"], indirect=True)
def test_block_size_and_threads_change_nothing(trial, tmp_path, monkeypatch):
    _, patients, setting = trial
    found = []
    for block, threads in ((2**16, 1), (97, 3)):
        monkeypatch.setattr(streamed_glm, "BLOCK", block)
        models = [
            fit_streamed(name, patients, setting, threads=threads, scratch=tmp_path) for name in ("logistic", "xgboost")
        ]
        found.append([linear_predictors(model, patients) for model in models])
    np.testing.assert_allclose(found[1][0], found[0][0], atol=1e-6)
    np.testing.assert_array_equal(found[1][1], found[0][1])


@pytest.mark.parametrize("kind", ["binary"], indirect=True)
def test_nobody_is_predicted_by_a_model_that_has_seen_them(trial, tmp_path):
    X, patients, setting = trial
    model = fit_streamed("logistic", patients, setting, threads=1, scratch=tmp_path)
    linear = linear_predictors(model, patients)
    untreated, treated = out_of_fold_means(model, linear, patients.groups, setting, 1)
    whole, data, arguments = in_memory("logistic", X, patients, setting)
    whole.fit(*data, **arguments)
    for place in (3, 4):
        inside = patients.groups[place]
        _, data, arguments = in_memory("logistic", X, patients, setting, inside)
        half = whole.refit(*data, **arguments)
        eta = half.linear_predictor(to_columns(X, VARIABLES), N)
        eta = np.clip(eta[~inside], eta[inside].min(), eta[inside].max())
        np.testing.assert_allclose(untreated[~inside], 1 / (1 + np.exp(-eta)), atol=1e-4)
        np.testing.assert_allclose(treated[~inside], 1 / (1 + np.exp(-eta - half.arm_effect)), atol=1e-4)


@pytest.mark.parametrize("kind", ["continuous"], indirect=True)
def test_halves_spread_as_bootstrap_samples_do(trial, tmp_path):
    # The standard error of a mean is known.
    _, patients, setting = trial
    groups = halve(np.random.default_rng(1).integers(0, 2**63, N, dtype=np.uint64), 40)
    weight = np.ones(N)
    patients = patients._replace(groups=groups, treatment=np.zeros(N), weight=weight)
    model = fit_streamed("prevalence", patients, setting, threads=1, scratch=tmp_path)
    spread = np.std([half.intercept for half in model.halves], ddof=1)
    assert spread == pytest.approx(patients.y.std() / np.sqrt(N), rel=0.25)


@pytest.mark.parametrize("kind", ["binary"], indirect=True)
def test_finished_trees_are_taken_from_the_state(trial, tmp_path, monkeypatch):
    _, patients, setting = trial
    state = State(tmp_path / "state" / "run")
    first = fit_streamed("xgboost", patients, setting, threads=1, scratch=tmp_path, state=state)
    monkeypatch.setattr(xgboost, "train", None)
    again = fit_streamed("xgboost", patients, setting, threads=1, scratch=tmp_path, state=state)
    np.testing.assert_array_equal(linear_predictors(again, patients), linear_predictors(first, patients))


@pytest.mark.parametrize("kind", ["binary"], indirect=True)
def test_other_models_are_refused(trial, tmp_path):
    _, patients, setting = trial
    with pytest.raises(InputError, match="models: stack cannot be trained part by part"):
        fit_streamed("stack", patients, setting, threads=1, scratch=tmp_path)
