"""The DR-learner: a penalised linear model of the effect, fitted to cross-fitted doubly-robust scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.evaluation.effects import DoublyRobustScores
from il7ml.family import CONTINUOUS
from il7ml.features.columns import infer_variables, to_columns
from il7ml.features.design import LinearDesign
from il7ml.models.effect_learner import EffectLearner, MeansModel, Trial, as_frame, cross_fit_means
from il7ml.models.fitted import FittedLinear
from il7ml.models.glm import fit_glm
from il7ml.models.risk import LinearRiskModel
from il7ml.parallel import spawn

Floats = NDArray[np.float64]


class DRLearner(EffectLearner):
    """Regress cross-fitted doubly-robust scores on the baseline variables, with a ridge penalty.

    See `EffectLearner` for parameters and attributes; in addition `fitted_` (FittedLinear) is the effect model.

    References
    ----------
    Kennedy, Electron J Stat 2023;17:3008, doi 10.1214/23-EJS2157.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame({"x": rng.normal(size=400)})
    >>> arm = rng.integers(0, 2, 400)
    >>> y = X["x"] * arm + 0.1 * rng.normal(size=400)
    >>> learner = DRLearner("continuous").fit(X, y, arm, propensity=0.5)
    >>> learner.predict(pd.DataFrame({"x": [1.0]})).round(1).tolist()
    [1.0]
    """

    def _learn(self, frame: pd.DataFrame, trial: Trial) -> None:
        first, second = spawn(self.random_state, 2)
        means = cross_fit_means(
            lambda rows: self._nuisance(frame, trial, rows),
            frame,
            trial,
            self.outcome,
            self.folds,
            np.random.default_rng(first),
        )
        self.fit_scores(frame, trial.scores(*means), np.random.default_rng(second))

    def fit_scores(
        self, X: pd.DataFrame, scores: DoublyRobustScores, rng: np.random.Generator | None = None
    ) -> DRLearner:
        """Fit to scores that are there already, for example averaged over repeated cross-fitting."""
        rng = rng if rng is not None else np.random.default_rng(self.random_state)
        if not hasattr(self, "variables_"):
            self.variables_ = dict(self.variables) if self.variables is not None else infer_variables(X)
            self.feature_names_in_ = np.array(list(map(str, X.columns)), dtype=object)
            self.n_features_in_ = X.shape[1]
        columns = to_columns(X, self.variables_)
        design = LinearDesign.learn(columns, self.variables_, spline=self.spline)
        matrix = design.matrix(columns, len(X))
        self._set_average(scores)
        fit = fit_glm(CONTINUOUS, matrix, scores.effect)
        self.fitted_ = FittedLinear(design, fit.coefficients, fit.intercept)
        draws = [rng.integers(0, len(X), len(X)) for _ in range(self.bootstrap)]
        refits = [fit_glm(CONTINUOUS, matrix[rows], scores.effect[rows]) for rows in draws]
        self.refit_coefficients_ = np.array([refit.coefficients for refit in refits]).reshape(
            len(refits), matrix.shape[1]
        )
        self.refit_intercepts_ = np.array([refit.intercept for refit in refits])
        return self

    def predict(self, X: pd.DataFrame | ArrayLike) -> Floats:
        """Return the individual effect, treated minus control, shape (n,)."""
        columns, n = self._columns(X)
        return self.fitted_.linear_predictor(columns, n)

    def _refits(self, frame: pd.DataFrame) -> Floats:
        matrix = self.fitted_.design.matrix(*self._columns(frame))
        return np.asarray(self.refit_intercepts_[:, None] + self.refit_coefficients_ @ matrix.T)

    def _nuisance(self, frame: pd.DataFrame, trial: Trial, rows: NDArray[np.intp]) -> MeansModel:
        model = LinearRiskModel(self.outcome, variables=self.variables_, spline=self.spline).fit(
            frame.iloc[rows],
            trial.y[rows],
            trial.treatment[rows],
            sample_weight=trial.weight[rows],
            exposure=trial.exposure_of(rows),
        )
        return lambda X: (model.predict(as_frame(X), 0), model.predict(as_frame(X), 1))
