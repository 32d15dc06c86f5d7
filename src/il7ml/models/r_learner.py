"""The R-learner: regress the residual of the outcome on the residual of the treatment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.family import Kind
from il7ml.features.design import TreeDesign
from il7ml.models.effect_learner import EffectLearner, MeansModel, Trial, cross_fit_means
from il7ml.models.outcome_estimator import bootstrap_draws, fit_mean, predict_mean, rates, shallow_boosting
from il7ml.parallel import spawn
from il7ml.schema import Variable

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


class RLearner(EffectLearner):
    """Minimise the squared error of y - m(x) - (T - e) effect(x), with m cross-fitted and the allocation known.

    It is a weighted regression of (y - m) / (T - e) with weights (T - e)^2, which any regressor that takes weights can
    do.

    Parameters
    ----------
    outcome, variables, folds, bootstrap, random_state
        As in `EffectLearner`. Bootstrap refits keep the cross-fitted means.
    outcome_estimator : scikit-learn estimator, optional
        Model of the mean over both arms, m: a classifier or regressor for binary outcomes, a regressor otherwise; it
        sees raw columns, so it has to take missing values if there are any. By default shallow, shrunken XGBoost.
    effect_estimator : scikit-learn regressor, optional
        By default the same.

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

    def __init__(
        self,
        outcome: Kind = "binary",
        outcome_estimator: Any = None,
        effect_estimator: Any = None,
        variables: Mapping[str, Variable] | None = None,
        folds: int = 5,
        bootstrap: int = 50,
        random_state: int = 0,
    ) -> None:
        self.outcome = outcome
        self.outcome_estimator = outcome_estimator
        self.effect_estimator = effect_estimator
        self.variables = variables
        self.folds = folds
        self.bootstrap = bootstrap
        self.random_state = random_state

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
        return predict_mean(self.estimator_, matrix)

    def _refits(self, frame: pd.DataFrame) -> Floats:
        matrix = self._matrix(frame)
        return np.array([predict_mean(refit, matrix) for refit in self.refits_])

    def _matrix(self, X: pd.DataFrame | ArrayLike) -> Floats:
        columns, n = self._columns(X)
        return self.design_.matrix(columns, n).astype(float)

    def _fit(self, matrix: Floats, trial: Trial, mean: Floats, rows: Indices) -> Any:
        estimator = shallow_boosting("continuous") if self.effect_estimator is None else self.effect_estimator
        y, weight = rates(trial)
        balance = (trial.treatment - trial.propensity)[rows]
        return fit_mean(estimator, matrix[rows], (y - mean)[rows] / balance, weight[rows] * balance**2)

    def _means(self, matrix: Floats, trial: Trial, rows: Indices) -> MeansModel:
        estimator = shallow_boosting(self.outcome) if self.outcome_estimator is None else self.outcome_estimator
        y, weight = rates(trial)
        fit = fit_mean(estimator, matrix[rows], y[rows], weight[rows])

        def predict(X: pd.DataFrame) -> tuple[Floats, Floats]:
            mean = predict_mean(fit, self._matrix(X))
            return mean, mean

        return predict
