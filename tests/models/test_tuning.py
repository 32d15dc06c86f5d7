import sys

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.base import clone
from sklearn.metrics import log_loss

from il7ml.config import TuningConfig
from il7ml.errors import InputError
from il7ml.features.columns import infer_variables, to_columns
from il7ml.models import tuning
from il7ml.models.catalog import Setting, make_risk_model
from il7ml.models.inner_folds import inner_folds
from il7ml.models.risk import BoostedRiskModel, bearable_rounds
from il7ml.models.tuning import TreeSettings, TunedRiskModel, grid
from il7ml.schema import Variable


def trial(kind="binary", n=200, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"])
    arm = rng.integers(0, 2, n)
    eta = 1.5 * np.sign(X["a"].to_numpy() * X["b"].to_numpy()) - 0.4 * arm
    time = rng.uniform(0.5, 2, n) if kind == "count" else None
    y = {
        "binary": lambda: rng.binomial(1, expit(eta)),
        "count": lambda: rng.poisson(np.exp(eta / 2) * (1.0 if time is None else time)),
        "continuous": lambda: rng.normal(eta),
    }[kind]()
    return X, y.astype(float), arm, time


@pytest.fixture
def few(monkeypatch):
    """Let a search be made of small data, so that the tests are fast."""
    monkeypatch.setattr(tuning, "ENOUGH_EVENTS", 20)


@pytest.mark.parametrize("kind", ["binary", "count", "continuous"])
def test_the_chosen_settings_have_the_smallest_loss_and_make_the_model(kind):
    X, y, arm, time = trial(kind)
    model = TunedRiskModel(kind, folds=2).fit(X, y, arm, exposure=time)
    assert model.method_ == "grid"
    events = {"binary": min(y.sum(), (1 - y).sum()), "count": y.sum(), "continuous": len(y)}[kind]
    settings = grid(min(200, round(10 * events**0.5)))
    assert [TreeSettings(*row) for row in model.search_.drop(columns="loss").itertuples(index=False)] == list(settings)
    assert model.settings_ == settings[model.search_["loss"].idxmin()]
    alone = BoostedRiskModel(kind, **model.settings_._asdict()).fit(X, y, arm, exposure=time)
    np.testing.assert_array_equal(model.predict(X, arm), alone.predict(X, arm))


def test_the_loss_is_that_of_cross_validation_by_hand():
    X, y, arm, _ = trial()
    model = TunedRiskModel(folds=3, random_state=4).fit(X, y, arm)
    fold = inner_folds(X, y, arm * 1.0, None, "binary", 3, np.random.default_rng(4))
    predicted = np.empty(len(y))
    for held in range(3):
        inside, outside = fold != held, fold == held
        alone = BoostedRiskModel(rounds=int(model.search_["rounds"][0])).fit(X[inside], y[inside], arm[inside])
        predicted[outside] = alone.predict(X[outside], arm[outside])
    assert model.search_["loss"][0] == pytest.approx(log_loss(y, predicted))


def test_interacting_variables_are_found_worth_more_than_single_splits():
    """The truth is the sign of a product, which trees of one split cannot see."""
    X, y, arm, _ = trial(n=1000)
    model = TunedRiskModel(folds=2).fit(X, y, arm)
    assert model.settings_.depth > 1
    losses = model.search_.groupby("depth")["loss"].min()
    assert losses[2] < losses[1] - 0.05


def test_without_signal_fewer_or_weaker_steps_win():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(150, 8))).rename(columns=lambda k: f"x{k}")
    model = TunedRiskModel().fit(X, rng.integers(0, 2, 150), np.arange(150) % 2)
    assert model.settings_.rounds <= model.search_["rounds"][0]
    assert model.settings_.depth == 1


def test_copies_of_a_patient_do_not_reward_a_close_fit(monkeypatch):
    """Each patient five times, outcomes by chance: who can look up the copies seems to know them."""
    rng = np.random.default_rng(1)
    rows = np.repeat(np.arange(60), 5)
    X = pd.DataFrame(rng.normal(size=(60, 4)), columns=list("abcd")).iloc[rows].reset_index(drop=True)
    y, arm = rng.integers(0, 2, 60)[rows], (np.arange(60) % 2)[rows]
    assert TunedRiskModel().fit(X, y, arm).search_["loss"].min() > 0.6
    monkeypatch.setattr(tuning, "inner_folds", lambda X, *_: np.random.default_rng(0).permutation(len(X)) % 5)
    assert TunedRiskModel().fit(X, y, arm).search_["loss"].min() < 0.55


def test_refits_keep_the_chosen_settings():
    X, y, arm, _ = trial()
    model = TunedRiskModel(folds=2).fit(X, y, arm)
    other_X, other_y, other_arm, _ = trial(seed=1)
    found = model.refit(other_X, other_y, other_arm)
    alone = BoostedRiskModel(**model.settings_._asdict()).fit(other_X, other_y, other_arm)
    columns = to_columns(X, infer_variables(X))
    np.testing.assert_array_equal(
        found.linear_predictor(columns, len(X)), alone.fitted_.linear_predictor(columns, len(X))
    )


def test_known_directions_bind_whatever_the_settings():
    X, y, arm, _ = trial(n=400)
    y = np.where(X["a"] < 0, 1 - y, y)  # up and down in a
    steady = Variable(term="a", possible=(-9, 9), known="before_randomisation", role="other", direction=1)
    model = TunedRiskModel(variables={**infer_variables(X), "a": steady}, folds=2).fit(X, y, arm)
    path = pd.DataFrame({"a": np.linspace(-3, 3, 100), "b": 0.5, "c": 0.0})
    assert (np.diff(model.predict(path)) >= -1e-7).all()


def test_estimator_contract():
    X, y, arm, _ = trial(n=80)
    model = TunedRiskModel(folds=2)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert copy.fit(X, y, arm) is copy
    np.testing.assert_array_equal(clone(model).fit(X, y, arm).predict(X), copy.predict(X))


@pytest.mark.parametrize("method", ["none", "grid", "optuna"])
def test_the_config_decides_how_settings_are_found(method, tmp_path):
    variables = infer_variables(trial()[0])
    tuned = TuningConfig(method=method, trials=7)
    model = make_risk_model("xgboost", Setting("count", variables, None, False, tuned, tmp_path))
    if method == "none":
        assert type(model) is BoostedRiskModel
        assert model.rounds is None
    else:
        assert type(model) is TunedRiskModel
        assert (model.method, model.trials, model.state) == (method, 7, tmp_path)
    assert (model.outcome, model.variables, model.harmful) == ("count", variables, False)


@pytest.mark.parametrize(
    ("kind", "events", "rounds"), [("binary", 36, 60), ("binary", 90, 32), ("count", 1, 10), ("continuous", 0, 100)]
)
def test_fixed_settings_take_as_many_trees_as_the_events_bear(kind, events, rounds):
    """Ten times the root of the rarer outcome's number, of the number of events, or of the number of patients."""
    y = np.repeat([1.0, 0.0], [events, 100 - events])
    assert bearable_rounds(kind, y, np.ones(100)) == rounds
    assert bearable_rounds(kind, np.tile(y, 100), np.ones(10_000)) == (100 if kind == "count" else 200)
    X = pd.DataFrame({"a": np.random.default_rng(0).normal(size=100)})
    model = BoostedRiskModel(kind, rounds=None).fit(X, y, np.arange(100) % 2)
    assert model.fitted_.booster.num_boosted_rounds() == rounds


# The search.


@pytest.mark.parametrize("kind", ["binary", "count"])
def test_among_few_events_the_grid_is_compared_though_a_search_was_asked_for(kind):
    pytest.importorskip("optuna")
    X, y, arm, time = trial(kind, n=120)
    model = TunedRiskModel(kind, method="optuna", folds=2).fit(X, y, arm, exposure=time)
    assert model.method_ == "grid"
    assert len(model.search_) == 6


def test_without_optuna_a_search_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"not installed\. Run pip install 'il7ml\[tuning\]', or choose 'grid'"):
        TunedRiskModel(method="optuna").fit(*trial()[:3])


def test_a_search_tries_the_fixed_settings_first_and_takes_the_best(few):
    pytest.importorskip("optuna")
    X, y, arm, _ = trial()
    model = TunedRiskModel(method="optuna", trials=5, folds=2).fit(X, y, arm)
    assert (model.method_, len(model.search_)) == ("optuna", 5)
    fixed = TreeSettings(round(10 * min(y.sum(), (1 - y).sum()) ** 0.5))
    assert TreeSettings(*model.search_.drop(columns="loss").iloc[0]) == fixed
    assert model.search_["loss"].min() <= model.search_["loss"][0]
    best = model.search_.iloc[model.search_["loss"].idxmin()]
    assert model.settings_ == TreeSettings(*best[list(TreeSettings._fields)])


def test_a_stopped_search_goes_on_where_it_was_and_ends_as_if_it_had_not_been(few, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    X, y, arm, _ = trial()
    settings = {"method": "optuna", "trials": 6, "folds": 2}
    undisturbed = TunedRiskModel(**settings).fit(X, y, arm)
    loss, calls = TunedRiskModel._loss, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return loss(self, *arguments)

    monkeypatch.setattr(TunedRiskModel, "_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TunedRiskModel(**settings, state=tmp_path / "state").fit(X, y, arm)
    resumed = TunedRiskModel(**settings, state=tmp_path / "state").fit(X, y, arm)
    assert len(calls) == 7  # three that were kept, the one that was lost, and the other three
    pd.testing.assert_frame_equal(resumed.search_, undisturbed.search_)
    assert TunedRiskModel(**settings, state=tmp_path / "state").fit(X, y, arm).settings_ == resumed.settings_
    assert len(calls) == 7
    # Other patients, such as those of another fold, have a search of their own.
    TunedRiskModel(**settings, state=tmp_path / "state").fit(X[1:], y[1:], arm[1:])
    assert len(calls) == 13
    assert len(list((tmp_path / "state").glob("tuning-*.log"))) == 2


def test_a_state_folder_that_cannot_be_written_is_refused(few, tmp_path):
    pytest.importorskip("optuna")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        TunedRiskModel(method="optuna", state=tmp_path / "file" / "state").fit(*trial()[:3])
