"""The T-learner: one outcome model an arm, the effect being their difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.family import Kind
from il7ml.features.columns import as_frame, to_columns
from il7ml.features.design import LinearDesign, TreeDesign
from il7ml.models.effect_learner import EffectLearner, MeansModel, Trial, cross_fit_means
from il7ml.models.glm import GlmFit, fit_glm
from il7ml.models.outcome_estimator import bootstrap_draws, fit_mean, predict_mean, rates
from il7ml.parallel import spawn
from il7ml.schema import Variable

Floats = NDArray[np.float64]


class _Pair(NamedTuple):
    """The arms' models: penalised regressions, or fitted estimators."""

    untreated: GlmFit | Any
    treated: GlmFit | Any


class TLearner(EffectLearner):
    """Fit a model in each arm and subtract.

    Simple and unbiased for flexible models, but noise of the two arms adds up: with few patients expect individual
    effects that are worse than the average effect.

    Parameters
    ----------
    outcome, variables, spline, folds, bootstrap, random_state
        As in `EffectLearner`.
    estimator : scikit-learn estimator, optional
        A classifier or regressor for binary outcomes, a regressor otherwise; it sees raw columns, so it has to take
        missing values if there are any. By default penalised regression on a standardised design.

    References
    ----------
    Kunzel et al., PNAS 2019;116:4156, doi 10.1073/pnas.1804597116.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"x": rng.normal(size=400)})
    >>> arm = rng.integers(0, 2, 400)
    >>> y = X["x"] * arm + 0.1 * rng.normal(size=400)
    >>> TLearner("continuous").fit(X, y, arm).predict(pd.DataFrame({"x": [1.0]})).round(1).tolist()
    [1.0]
    """

    def __init__(
        self,
        outcome: Kind = "binary",
        estimator: Any = None,
        variables: Mapping[str, Variable] | None = None,
        spline: tuple[str, ...] = (),
        folds: int = 5,
        bootstrap: int = 50,
        random_state: int = 0,
    ) -> None:
        self.outcome = outcome
        self.estimator = estimator
        self.variables = variables
        self.spline = spline
        self.folds = folds
        self.bootstrap = bootstrap
        self.random_state = random_state

    def _learn(self, frame: pd.DataFrame, trial: Trial) -> None:
        columns = to_columns(frame, self.variables_)
        self.design_: LinearDesign | TreeDesign = (
            LinearDesign.learn(columns, self.variables_, spline=self.spline, weight=trial.weight)
            if self.estimator is None
            else TreeDesign.learn(self.variables_)
        )
        matrix = self._matrix(frame)
        first, second = spawn(self.random_state, 2)
        means = cross_fit_means(
            lambda rows: self._means(self._fit_pair(matrix, trial, rows)),
            frame,
            trial,
            self.outcome,
            self.folds,
            np.random.default_rng(first),
        )
        self._set_average(trial.scores(*means))
        self.pair_ = self._fit_pair(matrix, trial, np.arange(len(frame)))
        draws = bootstrap_draws(trial, self.bootstrap, np.random.default_rng(second))
        self.pairs_ = [self._fit_pair(matrix, trial, rows) for rows in draws]

    def predict(self, X: pd.DataFrame | ArrayLike) -> Floats:
        """Return the individual effect, treated minus control, shape (n,)."""
        matrix = self._matrix(as_frame(X))
        return self._possible(self._effect(self.pair_, matrix))

    def _refits(self, frame: pd.DataFrame) -> Floats:
        matrix = self._matrix(frame)
        return np.array([self._effect(pair, matrix) for pair in self.pairs_])

    def _effect(self, pair: _Pair, matrix: Floats) -> Floats:
        untreated, treated = self._both(pair, matrix)
        return treated - untreated

    def _matrix(self, frame: pd.DataFrame) -> Floats:
        columns, n = self._columns(frame)
        return self.design_.matrix(columns, n).astype(float)

    def _fit_pair(self, matrix: Floats, trial: Trial, rows: NDArray[np.intp]) -> _Pair:
        def arm_fit(arm: int) -> GlmFit | Any:
            chosen = rows[trial.treatment[rows] == arm]
            if self.estimator is not None:
                y, weight = rates(trial)
                return fit_mean(self.estimator, matrix[chosen], y[chosen], weight[chosen])
            return fit_glm(
                self.family,
                matrix[chosen],
                trial.y[chosen],
                weight=trial.weight[chosen],
                exposure=trial.exposure_of(chosen),
            )

        return _Pair(arm_fit(0), arm_fit(1))

    def _means(self, pair: _Pair) -> MeansModel:
        return lambda X: self._both(pair, self._matrix(X))

    def _both(self, pair: _Pair, matrix: Floats) -> tuple[Floats, Floats]:
        """Return predicted means without and with treatment."""
        untreated, treated = (
            self.family.mean(fit.intercept + matrix @ fit.coefficients)
            if isinstance(fit, GlmFit)
            else predict_mean(fit, matrix)
            for fit in pair
        )
        return untreated, treated
