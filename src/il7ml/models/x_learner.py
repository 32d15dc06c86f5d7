"""The X-learner: each arm's patients get the effect that the other arm's model implies, and these are regressed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.features.design import TreeDesign
from il7ml.models.effect_learner import MeansModel, Trial, cross_fit_means
from il7ml.models.outcome_estimator import bootstrap_draws, predict_mean, rates
from il7ml.models.two_stage_learner import TwoStageLearner
from il7ml.parallel import spawn

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


class _Fits(NamedTuple):
    """Models of one sample: outcome and effect, each learned in the control and in the treated arm."""

    outcomes: tuple[Any, Any]
    effects: tuple[Any, Any]


class XLearner(TwoStageLearner):
    """Impute effects from the other arm's outcome model, regress them in each arm, and mix the two regressions.

    The effect learned in the control arm is weighted by the average probability of treatment, that of the treated arm
    by its complement, so that the larger arm's outcome model counts more.

    Parameters
    ----------
    outcome, outcome_estimator, effect_estimator, variables, folds, bootstrap, random_state, device
        As in `TwoStageLearner`.

    Attributes
    ----------
    fits_ : tuple
        Fitted estimators: (control, treated) outcome models, then effect models.
    propensity_ : float
        Average probability of treatment.
    design_ : TreeDesign
        Columns that they see.

    References
    ----------
    Kunzel et al., PNAS 2019;116:4156, doi 10.1073/pnas.1804597116.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> rng = np.random.default_rng(0)
    >>> X, arm = pd.DataFrame({"x": rng.normal(size=400)}), rng.integers(0, 2, 400)
    >>> y = X["x"] * arm + 0.1 * rng.normal(size=400)
    >>> learner = XLearner("continuous", LinearRegression(), LinearRegression(), bootstrap=0).fit(X, y, arm)
    >>> learner.predict(pd.DataFrame({"x": [1.0]})).round(1).tolist()
    [1.0]
    """

    def _learn(self, frame: pd.DataFrame, trial: Trial) -> None:
        self.design_ = TreeDesign.learn(self.variables_)
        self.propensity_ = float(trial.propensity.mean())
        matrix = self._matrix(frame)
        first, second = map(np.random.default_rng, spawn(self.random_state, 2))
        means = cross_fit_means(
            lambda rows: self._means(self._outcomes(matrix, trial, rows)), frame, trial, self.outcome, self.folds, first
        )
        self._set_average(trial.scores(*means))
        self.fits_ = self._fit(matrix, trial, np.arange(len(frame)))
        self.refits_ = [self._fit(matrix, trial, rows) for rows in bootstrap_draws(trial, self.bootstrap, second)]

    def predict(self, X: pd.DataFrame | ArrayLike) -> Floats:
        """Return the individual effect, treated minus control, shape (n,)."""
        matrix = self._matrix(X)
        return self._possible(self._effect(self.fits_, matrix))

    def _refits(self, frame: pd.DataFrame) -> Floats:
        matrix = self._matrix(frame)
        return np.array([self._effect(fits, matrix) for fits in self.refits_])

    def _effect(self, fits: _Fits, matrix: Floats) -> Floats:
        control, treated = (predict_mean(estimator, matrix) for estimator in fits.effects)
        return self.propensity_ * control + (1 - self.propensity_) * treated

    def _outcomes(self, matrix: Floats, trial: Trial, rows: Indices) -> tuple[Any, Any]:
        control, treated = (self._fit_outcome(matrix, trial, rows[trial.treatment[rows] == arm]) for arm in (0, 1))
        return control, treated

    def _fit(self, matrix: Floats, trial: Trial, rows: Indices) -> _Fits:
        outcomes = self._outcomes(matrix, trial, rows)
        y, weight = rates(trial)
        effects = []
        for arm, other, sign in ((0, outcomes[1], -1.0), (1, outcomes[0], 1.0)):
            own = rows[trial.treatment[rows] == arm]
            imputed = sign * (y[own] - predict_mean(other, matrix[own]))
            effects.append(self._fit_effect(matrix[own], imputed, weight[own]))
        return _Fits(outcomes, (effects[0], effects[1]))

    def _means(self, outcomes: tuple[Any, Any]) -> MeansModel:
        def predict(X: pd.DataFrame) -> tuple[Floats, Floats]:
            matrix = self._matrix(X)
            return predict_mean(outcomes[0], matrix), predict_mean(outcomes[1], matrix)

        return predict
