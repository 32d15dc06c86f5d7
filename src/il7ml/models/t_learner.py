"""The T-learner: one outcome model an arm, the effect being their difference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.features.columns import to_columns
from il7ml.features.design import LinearDesign
from il7ml.models.effect_learner import EffectLearner, MeansModel, Trial, cross_fit_means
from il7ml.models.glm import GlmFit, fit_glm
from il7ml.parallel import spawn

Floats = NDArray[np.float64]


class _Pair(NamedTuple):
    untreated: GlmFit
    treated: GlmFit


class TLearner(EffectLearner):
    """Fit a penalised model in each arm and subtract.

    Simple and unbiased for flexible models, but noise of the two arms adds up: with few patients expect individual
    effects that are worse than the average effect. See `EffectLearner` for parameters and attributes.

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

    def _learn(self, frame: pd.DataFrame, trial: Trial) -> None:
        columns = to_columns(frame, self.variables_)
        self.design_ = LinearDesign.learn(columns, self.variables_, spline=self.spline, weight=trial.weight)
        matrix = self.design_.matrix(columns, len(frame))
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
        rng = np.random.default_rng(second)
        arms = [np.flatnonzero(trial.treatment == arm) for arm in (0, 1)]
        draws = [np.concatenate([rng.choice(rows, rows.size) for rows in arms]) for _ in range(self.bootstrap)]
        self.pairs_ = [self._fit_pair(matrix, trial, rows) for rows in draws]

    def predict(self, X: pd.DataFrame | ArrayLike) -> Floats:
        """Return the individual effect, treated minus control, shape (n,)."""
        columns, n = self._columns(X)
        return self._effect(self.pair_, self.design_.matrix(columns, n))

    def _refits(self, frame: pd.DataFrame) -> Floats:
        matrix = self.design_.matrix(*self._columns(frame))
        return np.array([self._effect(pair, matrix) for pair in self.pairs_])

    def _effect(self, pair: _Pair, matrix: Floats) -> Floats:
        untreated, treated = (self.family.mean(fit.intercept + matrix @ fit.coefficients) for fit in pair)
        return treated - untreated

    def _fit_pair(self, matrix: Floats, trial: Trial, rows: NDArray[np.intp]) -> _Pair:
        def arm_fit(arm: int) -> GlmFit:
            chosen = rows[trial.treatment[rows] == arm]
            return fit_glm(
                self.family,
                matrix[chosen],
                trial.y[chosen],
                weight=trial.weight[chosen],
                exposure=trial.exposure_of(chosen),
            )

        return _Pair(arm_fit(0), arm_fit(1))

    def _means(self, pair: _Pair) -> MeansModel:
        def predict(X: pd.DataFrame) -> tuple[Floats, Floats]:
            matrix = self.design_.matrix(to_columns(X, self.variables_), len(X))
            return (
                self.family.mean(pair.untreated.intercept + matrix @ pair.untreated.coefficients),
                self.family.mean(pair.treated.intercept + matrix @ pair.treated.coefficients),
            )

        return predict
