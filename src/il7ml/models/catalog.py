"""One name, one model: what a config's words stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from il7ml.config import Device, EffectLearnerName, RiskModelName, TuningConfig
from il7ml.family import Kind
from il7ml.models.dr_learner import DRLearner
from il7ml.models.effect_learner import EffectLearner
from il7ml.models.effect_model import EffectModel
from il7ml.models.r_learner import RLearner
from il7ml.models.risk import BoostedRiskModel, LinearRiskModel
from il7ml.models.risk_based_effect import RiskBasedEffect
from il7ml.models.s_learner import SLearner
from il7ml.models.stack import StackedRiskModel
from il7ml.models.t_learner import TLearner
from il7ml.models.tuning import TunedRiskModel
from il7ml.models.x_learner import XLearner
from il7ml.schema import Variable

RiskModel = LinearRiskModel | BoostedRiskModel | StackedRiskModel | TunedRiskModel

#: From the simplest to the most complex; ties in cross-validation go to the earlier one.
SIMPLICITY: tuple[RiskModelName, ...] = ("prevalence", "lymphocyte", "firth", "logistic", "xgboost", "stack")


#: What stays unless a simpler model is better, or a more complex one clearly so.
REFERENCE: RiskModelName = "logistic"

#: Models that learn shapes and interactions, for which they need many times the patients of a regression: van der Ploeg
#: et al., BMC Med Res Methodol 2014;14:137, doi 10.1186/1471-2288-14-137.
FLEXIBLE: tuple[RiskModelName, ...] = ("xgboost", "stack")


_BOOSTED: dict[str, type[SLearner | XLearner | RLearner]] = {
    "s_learner": SLearner,
    "x_learner": XLearner,
    "r_learner": RLearner,
}
_REGRESSIONS: dict[str, type[DRLearner | TLearner | RiskBasedEffect]] = {
    "dr_learner": DRLearner,
    "t_learner": TLearner,
    "risk_based": RiskBasedEffect,
}
# In a cross-validation the effect model averages its scores over fewer repetitions than at the end, to save time.
_REPEATS = 2


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
    modifiers : tuple of str
        Pre-specified effect modifiers among the features.
    device : {'cpu', 'cuda'}
        Where XGBoost computes.
    """

    outcome: Kind
    variables: Mapping[str, Variable]
    lymphopenia_variable: str | None
    harmful: bool
    tuning: TuningConfig = TuningConfig()
    state: Path | None = None
    modifiers: tuple[str, ...] = ()
    device: Device = "cpu"

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
                setting.outcome,
                variables=dict(setting.variables),
                harmful=setting.harmful,
                rounds=None,
                device=setting.device,
            )
        return TunedRiskModel(
            setting.outcome,
            variables=dict(setting.variables),
            harmful=setting.harmful,
            method=setting.tuning.method,
            trials=setting.tuning.trials,
            state=setting.state,
            device=setting.device,
        )
    if name == "stack":
        return StackedRiskModel(
            setting.outcome,
            variables=dict(setting.variables),
            spline=setting.spline,
            harmful=setting.harmful,
            device=setting.device,
        )
    if name == "firth":
        return LinearRiskModel(setting.outcome, variables=dict(setting.variables), firth=True)
    used = {key: setting.variables[key] for key in setting.spline} if name == "lymphocyte" else setting.variables
    return LinearRiskModel(setting.outcome, variables=dict(used), spline=setting.spline)


def make_effect_model(setting: Setting, *, seed: int, repeats: int | None = None, bootstrap: int = 0) -> EffectModel:
    """Return the unfitted effect model: the one that a bundle holds."""
    return EffectModel(
        setting.outcome,
        modifiers=setting.modifiers,
        variables=dict(setting.variables),
        spline=setting.spline,
        repeats=repeats,
        bootstrap=bootstrap,
        random_state=seed,
        device=setting.device,
    )


def make_effect_learner(name: EffectLearnerName, setting: Setting, *, seed: int) -> EffectLearner:
    """Return the unfitted effect learner that `name` stands for, without what only its intervals need."""
    if name == "effect_model":
        return make_effect_model(setting, seed=seed, repeats=_REPEATS)
    variables = dict(setting.variables)
    if name in _BOOSTED:
        return _BOOSTED[name](
            setting.outcome, variables=variables, bootstrap=0, random_state=seed, device=setting.device
        )
    learner = _REGRESSIONS[name]
    return learner(setting.outcome, variables=variables, spline=setting.spline, bootstrap=0, random_state=seed)
