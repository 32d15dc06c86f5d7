import numpy as np
import pandas as pd
import pytest

from il7ml.evaluation.selection import select_model
from il7ml.family import BINARY
from il7ml.features.columns import infer_variables
from il7ml.models import choice
from il7ml.models.catalog import Setting, make_risk_model
from il7ml.models.choice import choose_among, choose_by_losses, reference_among
from il7ml.models.inner_folds import inner_folds
from il7ml.models.sample import Sample

CANDIDATES = ("xgboost", "prevalence", "logistic")


def trial(n=120, signal=0.0, seed=0, bend=0.0):
    """Return a trial in which one of five variables foretells the outcome: straight, or by |x|."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 5)), columns=[f"x{k}" for k in range(5)])
    x = X["x0"].to_numpy()
    y = (signal * x + bend * (np.abs(x) - 0.8) + rng.logistic(size=n) > 0.7).astype(float)
    sample = Sample(X, y, (np.arange(n) % 2).astype(np.int8), np.full(n, 0.5), np.ones(n))
    return sample, Setting("binary", infer_variables(X), None, harmful=True)


@pytest.mark.parametrize(
    ("world", "expected"),
    [({"signal": 2.0}, "logistic"), ({"n": 1500, "bend": 4.0}, "xgboost")],
)
def test_the_model_that_foretells_best_is_chosen(world, expected):
    sample, setting = trial(**world)
    assert choose_among(CANDIDATES, sample, setting, np.random.default_rng(0)) == expected


def test_where_there_is_nothing_to_find_trees_are_hardly_ever_chosen():
    chosen = [choose_among(CANDIDATES, *trial(seed=seed), np.random.default_rng(seed)) for seed in range(8)]
    assert chosen.count("xgboost") <= 1


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("signal", [0.0, 0.5, 2.0])
def test_the_rule_is_that_of_the_cross_validation_over_all_candidates(signal, seed):
    sample, setting = trial(signal=signal, seed=seed)
    fold = inner_folds(
        sample.X, sample.y, sample.treatment.astype(float), None, "binary", 5, np.random.default_rng(seed)
    )
    losses = {}
    for name in ("prevalence", "logistic", "xgboost"):
        predicted = np.empty(sample.y.size)
        for held in range(5):
            train = sample.rows(np.flatnonzero(fold != held))
            model = make_risk_model(name, setting).fit(train.X, train.y, train.treatment)
            predicted[fold == held] = model.predict(sample.X[fold == held], sample.treatment[fold == held])
        losses[name] = BINARY.loss(sample.y, predicted)
    expected = select_model(losses, list(losses), "logistic").name
    assert choose_among(CANDIDATES, sample, setting, np.random.default_rng(seed)) == expected
    assert choose_by_losses(losses).name == expected


class Spy:
    """Foretells nothing, and notes whom it was fitted to and whom it predicts."""

    def __init__(self, seen):
        self.seen = seen

    def fit(self, X, y, treatment, *, sample_weight, exposure):
        assert (sample_weight > 0).all()
        self.trained = set(X["x0"])
        return self

    def predict(self, X, treatment):
        assert len(treatment) == len(X)
        self.seen.append((self.trained, set(X["x0"])))
        return np.full(len(X), 0.5)


def test_copies_of_a_patient_are_never_on_both_sides_and_unknown_outcomes_take_no_part(monkeypatch):
    sample, setting = trial()
    drawn = sample.rows(np.random.default_rng(1).integers(0, 100, 120))
    weight = np.where(np.arange(120) < 20, 0.0, 1.0)
    drawn = drawn._replace(weight=weight, y=np.where(weight > 0, drawn.y, np.nan))
    seen = []
    monkeypatch.setattr(choice, "make_risk_model", lambda name, setting: Spy(seen))
    choose_among(("prevalence", "logistic"), drawn, setting, np.random.default_rng(0))
    assert len(seen) == 10
    everyone = set(drawn.X["x0"][weight > 0])
    for trained, predicted in seen:
        assert not trained & predicted
        assert trained | predicted == everyone


def test_a_single_candidate_needs_no_choice(monkeypatch):
    sample, setting = trial()
    monkeypatch.setattr(choice, "make_risk_model", None)
    assert choose_among(("xgboost",), sample, setting, np.random.default_rng(0)) == "xgboost"


def test_the_reference_is_the_regression_or_else_the_simplest():
    assert reference_among(("xgboost", "logistic", "prevalence")) == "logistic"
    assert reference_among(("xgboost", "lymphocyte", "prevalence")) == "prevalence"
