"""The risk-based effect: one relative effect for all, so that absolute benefit grows with the untreated risk."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from il7ml.models.effect_learner import EffectLearner, MeansModel, Trial, cross_fit_means
from il7ml.models.outcome_estimator import bootstrap_draws
from il7ml.models.relative_effect import constant_shift
from il7ml.models.risk import LinearRiskModel
from il7ml.parallel import spawn

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


class RiskBasedEffect(EffectLearner):
    """Predict the effect of a constant odds ratio (rate ratio, difference) on each patient's risk (rate, mean).

    The relative effect is the one whose average absolute effect is the covariate-adjusted average effect.

    Parameters
    ----------
    outcome, variables, spline, folds, bootstrap, random_state
        As in `EffectLearner`.

    Attributes
    ----------
    risk_ : LinearRiskModel
        Prognostic model of both arms.
    relative_effect_ : float
        Log odds ratio, log rate ratio or difference of means.

    References
    ----------
    Kent et al., PATH Statement, Ann Intern Med 2020;172:35, doi 10.7326/M18-3667.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> X, arm = pd.DataFrame({"x": rng.normal(size=2000)}), rng.integers(0, 2, 2000)
    >>> y = rng.binomial(1, 1 / (1 + np.exp(2 - X["x"] + arm)))
    >>> model = RiskBasedEffect(bootstrap=0).fit(X, y, arm, propensity=0.5)
    >>> low_risk, high_risk = model.predict(pd.DataFrame({"x": [-2.0, 2.0]}))
    >>> bool(high_risk < low_risk < 0)
    True
    """

    def _learn(self, frame: pd.DataFrame, trial: Trial) -> None:
        first, second = map(np.random.default_rng, spawn(self.random_state, 2))
        means = cross_fit_means(
            lambda rows: self._means(self._fit(frame, trial, rows)), frame, trial, self.outcome, self.folds, first
        )
        scores = trial.scores(*means)
        self._set_average(scores)
        self.risk_ = self._fit(frame, trial, np.arange(len(frame)))
        self.relative_effect_ = self._relative(self.risk_, frame, scores.effect)
        self.refits_ = []
        for rows in bootstrap_draws(trial, self.bootstrap, second):
            risk = self._fit(frame, trial, rows)
            # Risk model and average effect come from the same draw, so that their errors go together.
            self.refits_.append((risk, self._relative(risk, frame.iloc[rows], scores.effect[rows])))

    def predict(self, X: pd.DataFrame | ArrayLike) -> Floats:
        """Return the individual effect, treated minus control, shape (n,)."""
        check_is_fitted(self)
        return self._effect(self.risk_, self.relative_effect_, X)

    def _refits(self, frame: pd.DataFrame) -> Floats:
        return np.array([self._effect(risk, shift, frame) for risk, shift in self.refits_])

    def _fit(self, frame: pd.DataFrame, trial: Trial, rows: Indices) -> LinearRiskModel:
        model: LinearRiskModel = LinearRiskModel(self.outcome, variables=self.variables_, spline=self.spline).fit(
            frame.iloc[rows],
            trial.y[rows],
            trial.treatment[rows],
            sample_weight=trial.weight[rows],
            exposure=trial.exposure_of(rows),
        )
        return model

    def _relative(self, risk: LinearRiskModel, frame: pd.DataFrame, effect: Floats) -> float:
        return constant_shift(self.family, risk.linear_predictor(frame), float(effect.mean()))

    def _means(self, model: LinearRiskModel) -> MeansModel:
        return model.predict_arms

    def _effect(self, risk: LinearRiskModel, shift: float, X: pd.DataFrame | ArrayLike) -> Floats:
        columns, n = self._columns(X)
        linear = risk.fitted_.linear_predictor(columns, n)
        return self.family.mean(linear + shift) - self.family.mean(linear)
