"""One name, one model: what a config's words stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from il7ml.config import EffectLearnerName, RiskModelName, TuningConfig
from il7ml.family import Kind
from il7ml.models.dr_learner import DRLearner
from il7ml.models.risk import BoostedRiskModel, LinearRiskModel
from il7ml.models.stack import StackedRiskModel
from il7ml.models.t_learner import TLearner
from il7ml.models.tuning import TunedRiskModel
from il7ml.schema import Variable

RiskModel = LinearRiskModel | BoostedRiskModel | StackedRiskModel | TunedRiskModel
EffectLearner = DRLearner | TLearner

#: From the simplest to the most complex; ties in cross-validation go to the earlier one.
SIMPLICITY: tuple[RiskModelName, ...] = ("prevalence", "lymphocyte", "firth", "logistic", "xgboost", "stack")


#: What stays unless a simpler model is better, or a more complex one clearly so.
REFERENCE: RiskModelName = "logistic"

#: Models that learn shapes and interactions, for which they need many times the patients of a regression: van der Ploeg
#: et al., BMC Med Res Methodol 2014;14:137, doi 10.1186/1471-2288-14-137.
FLEXIBLE: tuple[RiskModelName, ...] = ("xgboost", "stack")


class Setting(NamedTuple):
    """What the models need to know of the study.

    Attributes
    ----------
    outcome : {'binary', 'count', 'continuous'}
    variables : mapping of str to Variable
        All features.
    lymphopenia_variable : str or None
        The count that the lymphocyte model uses alone, and that enters linear models as a curve.
    harmful : bool
        Whether a higher outcome is worse.
    tuning : TuningConfig
        How the settings of 'xgboost' are found; those of 'stack' are the fixed ones.
    state : Path or None
        Folder in which a search keeps what it has tried, so that it goes on where it was stopped.
    """

    outcome: Kind
    variables: Mapping[str, Variable]
    lymphopenia_variable: str | None
    harmful: bool
    tuning: TuningConfig = TuningConfig()
    state: Path | None = None

    @property
    def spline(self) -> tuple[str, ...]:
        """Variables that enter linear models as restricted cubic splines."""
        name = self.lymphopenia_variable
        return (name,) if name is not None and name in self.variables else ()


def make_risk_model(name: RiskModelName, setting: Setting) -> RiskModel:
    """Return the unfitted risk model that `name` stands for."""
    if name == "prevalence":
        return LinearRiskModel(setting.outcome, variables={})
    if name == "xgboost":
        if setting.tuning.method == "none":
            return BoostedRiskModel(
                setting.outcome, variables=dict(setting.variables), harmful=setting.harmful, rounds=None
            )
        return TunedRiskModel(
            setting.outcome,
            variables=dict(setting.variables),
            harmful=setting.harmful,
            method=setting.tuning.method,
            trials=setting.tuning.trials,
            state=setting.state,
        )
    if name == "stack":
        return StackedRiskModel(
            setting.outcome, variables=dict(setting.variables), spline=setting.spline, harmful=setting.harmful
        )
    if name == "firth":
        return LinearRiskModel(setting.outcome, variables=dict(setting.variables), firth=True)
    used = {key: setting.variables[key] for key in setting.spline} if name == "lymphocyte" else setting.variables
    return LinearRiskModel(setting.outcome, variables=dict(used), spline=setting.spline)


def make_effect_learner(name: EffectLearnerName, setting: Setting, *, bootstrap: int, seed: int) -> EffectLearner:
    """Return the unfitted effect learner that `name` stands for."""
    learner = {"t_learner": TLearner, "dr_learner": DRLearner}[name]
    return learner(
        setting.outcome,
        variables=dict(setting.variables),
        spline=setting.spline,
        bootstrap=bootstrap,
        random_state=seed,
    )
