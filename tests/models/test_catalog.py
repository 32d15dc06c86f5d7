from typing import get_args

import pytest

from il7ml.config import EffectLearnerName, RiskModelName
from il7ml.models.catalog import SIMPLICITY, Setting, make_effect_learner, make_effect_model, make_risk_model
from il7ml.models.dr_learner import DRLearner
from il7ml.models.effect_model import EffectModel
from il7ml.models.r_learner import RLearner
from il7ml.models.risk import BoostedRiskModel, LinearRiskModel
from il7ml.models.risk_based_effect import RiskBasedEffect
from il7ml.models.s_learner import SLearner
from il7ml.models.t_learner import TLearner
from il7ml.models.x_learner import XLearner
from il7ml.schema import load_dictionary

VARIABLES = {name: load_dictionary()[name] for name in ("age", "absolute_lymphocyte_count")}
SETTING = Setting("count", VARIABLES, "absolute_lymphocyte_count", harmful=False, modifiers=("age",))


@pytest.mark.parametrize(
    ("name", "kind", "variables", "spline"),
    [
        ("prevalence", LinearRiskModel, {}, ()),
        ("lymphocyte", LinearRiskModel, {"absolute_lymphocyte_count"}, ("absolute_lymphocyte_count",)),
        ("logistic", LinearRiskModel, set(VARIABLES), ("absolute_lymphocyte_count",)),
    ],
)
def test_linear_models_of_the_catalog(name, kind, variables, spline):
    model = make_risk_model(name, SETTING)
    assert type(model) is kind
    assert model.outcome == "count"
    assert set(model.variables) == set(variables)
    assert model.spline == spline


def test_boosted_model_of_the_catalog():
    model = make_risk_model("xgboost", SETTING)
    assert type(model) is BoostedRiskModel
    assert (model.outcome, model.harmful, set(model.variables)) == ("count", False, set(VARIABLES))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("effect_model", EffectModel),
        ("t_learner", TLearner),
        ("dr_learner", DRLearner),
        ("s_learner", SLearner),
        ("x_learner", XLearner),
        ("r_learner", RLearner),
        ("risk_based", RiskBasedEffect),
    ],
)
def test_effect_learners_of_the_catalog(name, kind):
    learner = make_effect_learner(name, SETTING, seed=3)
    assert type(learner) is kind
    settings = learner.get_params()
    assert (settings["outcome"], settings["random_state"], set(settings["variables"])) == ("count", 3, set(VARIABLES))
    assert settings.get("spline", ("absolute_lymphocyte_count",)) == ("absolute_lymphocyte_count",)
    assert settings.get("bootstrap", 0) == 0


def test_the_final_effect_model_favours_the_modifiers_and_repeats_as_often_as_it_likes():
    model = make_effect_model(SETTING, seed=3)
    assert (model.modifiers, model.repeats, model.random_state) == (("age",), None, 3)
    assert make_effect_learner("effect_model", SETTING, seed=3).modifiers == ("age",)


def test_every_name_that_a_config_may_use_stands_for_a_model():
    assert set(SIMPLICITY) == set(get_args(RiskModelName))
    assert all(make_risk_model(name, SETTING) for name in get_args(RiskModelName))
    assert all(make_effect_learner(name, SETTING, seed=0) for name in get_args(EffectLearnerName))


@pytest.mark.parametrize("lymphopenia", [None, "cd4_count"])
def test_without_the_lymphocyte_count_nothing_is_curved(lymphopenia):
    setting = SETTING._replace(lymphopenia_variable=lymphopenia)
    assert setting.spline == ()
    assert make_risk_model("lymphocyte", setting).variables == {}
