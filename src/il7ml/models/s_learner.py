"""The S-learner: one outcome model with the arm among its inputs, the effect being the difference between arms."""

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


class SLearner(EffectLearner):
    """Fit one model to both arms, the arm being one more column, and predict with the arm set to 1 and to 0.

    Penalised and boosted models may leave the arm out, so effects are biased towards 0 when data are few.

    Parameters
    ----------
    outcome, variables, folds, bootstrap, random_state
        As in `EffectLearner`.
    estimator : scikit-learn estimator, optional
        A classifier or regressor for binary outcomes, a regressor otherwise; it sees raw columns (the arm last), so it
        has to take missing values if there are any. By default shallow, shrunken XGBoost.
    device : str, default 'cpu'
        XGBoost's device.

    Attributes
    ----------
    estimator_ : fitted estimator
    design_ : TreeDesign
        Columns that it sees.

    References
    ----------
    Kunzel et al., PNAS 2019;116:4156, doi 10.1073/pnas.1804597116.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> rng = np.random.default_rng(0)
    >>> X, arm = pd.DataFrame({"x": rng.normal(size=400)}), rng.integers(0, 2, 400)
    >>> y = X["x"] - arm + 0.1 * rng.normal(size=400)
    >>> learner = SLearner("continuous", LinearRegression(), bootstrap=0).fit(X, y, arm)
    >>> learner.predict(pd.DataFrame({"x": [1.0]})).round(1).tolist()
    [-1.0]
    """

    def __init__(
        self,
        outcome: Kind = "binary",
        estimator: Any = None,
        variables: Mapping[str, Variable] | None = None,
        folds: int = 5,
        bootstrap: int = 50,
        random_state: int = 0,
        device: str = "cpu",
    ) -> None:
        self.outcome = outcome
        self.estimator = estimator
        self.variables = variables
        self.folds = folds
        self.bootstrap = bootstrap
        self.random_state = random_state
        self.device = device

    def _learn(self, frame: pd.DataFrame, trial: Trial) -> None:
        self.design_ = TreeDesign.learn(self.variables_)
        matrix = self._matrix(frame)
        first, second = map(np.random.default_rng, spawn(self.random_state, 2))
        means = cross_fit_means(
            lambda rows: self._means(self._fit(matrix, trial, rows)), frame, trial, self.outcome, self.folds, first
        )
        self._set_average(trial.scores(*means))
        self.estimator_ = self._fit(matrix, trial, np.arange(len(frame)))
        self.refits_ = [self._fit(matrix, trial, rows) for rows in bootstrap_draws(trial, self.bootstrap, second)]

    def predict(self, X: pd.DataFrame | ArrayLike) -> Floats:
        """Return the individual effect, treated minus control, shape (n,)."""
        matrix = self._matrix(X)
        untreated, treated = self._both(self.estimator_, matrix)
        return self._possible(treated - untreated)

    def _refits(self, frame: pd.DataFrame) -> Floats:
        matrix = self._matrix(frame)
        return np.array([np.subtract(*self._both(refit, matrix)[::-1]) for refit in self.refits_])

    def _matrix(self, X: pd.DataFrame | ArrayLike) -> Floats:
        columns, n = self._columns(X)
        return self.design_.matrix(columns, n).astype(float)

    def _fit(self, matrix: Floats, trial: Trial, rows: Indices) -> Any:
        estimator = shallow_boosting(self.outcome, self.device) if self.estimator is None else self.estimator
        y, weight = rates(trial)
        return fit_mean(estimator, np.column_stack([matrix, trial.treatment])[rows], y[rows], weight[rows])

    def _means(self, estimator: Any) -> MeansModel:
        return lambda X: self._both(estimator, self._matrix(X))

    def _both(self, estimator: Any, matrix: Floats) -> tuple[Floats, Floats]:
        """Return predicted means without and with treatment."""
        untreated, treated = (
            predict_mean(estimator, np.column_stack([matrix, np.full(len(matrix), arm)])) for arm in (0.0, 1.0)
        )
        return untreated, treated
