"""The R-learner: regress the residual of the outcome on the residual of the treatment."""

from __future__ import annotations

from typing import Any

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


class RLearner(TwoStageLearner):
    """Minimise the squared error of y - m(x) - (T - e) effect(x), with m cross-fitted and the allocation known.

    It is a weighted regression of (y - m) / (T - e) with weights (T - e)^2, which any regressor that takes weights can
    do.

    Parameters
    ----------
    outcome, outcome_estimator, effect_estimator, variables, folds, bootstrap, random_state, device
        As in `TwoStageLearner`. The outcome's estimator is a model of the mean over both arms, m. Bootstrap refits keep
        the cross-fitted means.

    Attributes
    ----------
    estimator_ : fitted regressor
    design_ : TreeDesign
        Columns that it sees.

    References
    ----------
    Nie and Wager, Biometrika 2021;108:299, doi 10.1093/biomet/asaa076.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> rng = np.random.default_rng(0)
    >>> X, arm = pd.DataFrame({"x": rng.normal(size=400)}), rng.integers(0, 2, 400)
    >>> y = X["x"] * arm + 0.1 * rng.normal(size=400)
    >>> learner = RLearner("continuous", LinearRegression(), LinearRegression(), bootstrap=0)
    >>> learner.fit(X, y, arm, propensity=0.5).predict(pd.DataFrame({"x": [1.0]})).round(1).tolist()
    [1.0]
    """

    def _learn(self, frame: pd.DataFrame, trial: Trial) -> None:
        self.design_ = TreeDesign.learn(self.variables_)
        matrix = self._matrix(frame)
        first, second = map(np.random.default_rng, spawn(self.random_state, 2))
        mean, _ = cross_fit_means(
            lambda rows: self._means(matrix, trial, rows), frame, trial, self.outcome, self.folds, first
        )
        self._set_average(trial.scores(mean, mean))
        everybody = np.arange(len(frame))
        self.estimator_ = self._fit(matrix, trial, mean, everybody)
        draws = bootstrap_draws(trial, self.bootstrap, second)
        self.refits_ = [self._fit(matrix, trial, mean, rows) for rows in draws]

    def predict(self, X: pd.DataFrame | ArrayLike) -> Floats:
        """Return the individual effect, treated minus control, shape (n,)."""
        matrix = self._matrix(X)
        return self._possible(predict_mean(self.estimator_, matrix))

    def _refits(self, frame: pd.DataFrame) -> Floats:
        matrix = self._matrix(frame)
        return np.array([predict_mean(refit, matrix) for refit in self.refits_])

    def _fit(self, matrix: Floats, trial: Trial, mean: Floats, rows: Indices) -> Any:
        y, weight = rates(trial)
        balance = (trial.treatment - trial.propensity)[rows]
        return self._fit_effect(matrix[rows], (y - mean)[rows] / balance, weight[rows] * balance**2)

    def _means(self, matrix: Floats, trial: Trial, rows: Indices) -> MeansModel:
        fit = self._fit_outcome(matrix, trial, rows)

        def predict(X: pd.DataFrame) -> tuple[Floats, Floats]:
            mean = predict_mean(fit, self._matrix(X))
            return mean, mean

        return predict
