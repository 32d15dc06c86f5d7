"""The DR-learner: a model of the effect, fitted to cross-fitted doubly-robust scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.errors import InputError, nearest
from il7ml.evaluation.effects import DoublyRobustScores
from il7ml.family import CONTINUOUS, Kind
from il7ml.features.columns import infer_variables, to_columns
from il7ml.features.design import LinearDesign, TreeDesign
from il7ml.models.effect_learner import EffectLearner, MeansModel, Trial, cross_fit_means
from il7ml.models.fitted import FittedLinear
from il7ml.models.glm import fit_glm
from il7ml.models.outcome_estimator import fit_mean, predict_mean, rates
from il7ml.models.risk import LinearRiskModel
from il7ml.parallel import spawn
from il7ml.schema import Variable

Floats = NDArray[np.float64]


class DRLearner(EffectLearner):
    """Regress cross-fitted doubly-robust scores on the baseline variables.

    Parameters
    ----------
    outcome, variables, spline, folds, bootstrap, random_state
        As in `EffectLearner`.
    outcome_estimator : scikit-learn estimator, optional
        Fitted in each arm: a classifier or regressor for binary outcomes, a regressor otherwise. It sees raw columns,
        so it has to take missing values if there are any. By default one penalised regression for both arms.
    effect_estimator : scikit-learn regressor, optional
        Fitted to the scores, a forest or boosted trees for example; it sees raw columns. By default ridge regression on
        a standardised design.
    modifiers : tuple of str
        Variables that the effect may depend on; by default all.

    Attributes
    ----------
    fitted_ : FittedLinear or fitted estimator
        The effect model.

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

    def __init__(
        self,
        outcome: Kind = "binary",
        outcome_estimator: Any = None,
        effect_estimator: Any = None,
        modifiers: tuple[str, ...] = (),
        variables: Mapping[str, Variable] | None = None,
        spline: tuple[str, ...] = (),
        folds: int = 5,
        bootstrap: int = 50,
        random_state: int = 0,
    ) -> None:
        self.outcome = outcome
        self.outcome_estimator = outcome_estimator
        self.effect_estimator = effect_estimator
        self.modifiers = modifiers
        self.variables = variables
        self.spline = spline
        self.folds = folds
        self.bootstrap = bootstrap
        self.random_state = random_state

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
        for name in self.modifiers:
            if name not in self.variables_:
                raise InputError(f"modifiers: {name!r} is not among the variables.{nearest(name, self.variables_)}")
        columns, used = (
            to_columns(X, self.variables_),
            {n: self.variables_[n] for n in self.modifiers or self.variables_},
        )
        self._set_average(scores)
        draws = [rng.integers(0, len(X), len(X)) for _ in range(self.bootstrap)]
        if self.effect_estimator is not None:
            self.design_ = TreeDesign.learn(used)
            matrix, even = self.design_.matrix(columns, len(X)).astype(float), np.ones(len(X))
            self.fitted_ = fit_mean(self.effect_estimator, matrix, scores.effect, even)
            self.refits_ = [fit_mean(self.effect_estimator, matrix[rows], scores.effect[rows], even) for rows in draws]
            return self
        spline = tuple(name for name in self.spline if name in used)
        design = LinearDesign.learn(columns, used, spline=spline)
        matrix = design.matrix(columns, len(X))
        fit = fit_glm(CONTINUOUS, matrix, scores.effect)
        self.fitted_ = FittedLinear(design, fit.coefficients, fit.intercept)
        refits = [fit_glm(CONTINUOUS, matrix[rows], scores.effect[rows]) for rows in draws]
        self.refit_coefficients_ = np.array([refit.coefficients for refit in refits]).reshape(
            len(refits), matrix.shape[1]
        )
        self.refit_intercepts_ = np.array([refit.intercept for refit in refits])
        return self

    def predict(self, X: pd.DataFrame | ArrayLike) -> Floats:
        """Return the individual effect, treated minus control, shape (n,)."""
        columns, n = self._columns(X)
        if self.effect_estimator is not None:
            return self._possible(predict_mean(self.fitted_, self.design_.matrix(columns, n).astype(float)))
        return self._possible(self.fitted_.linear_predictor(columns, n))

    def _refits(self, frame: pd.DataFrame) -> Floats:
        if self.effect_estimator is not None:
            columns, n = self._columns(frame)
            matrix = self.design_.matrix(columns, n).astype(float)
            return np.array([predict_mean(refit, matrix) for refit in self.refits_])
        matrix = self.fitted_.design.matrix(*self._columns(frame))
        return np.asarray(self.refit_intercepts_[:, None] + self.refit_coefficients_ @ matrix.T)

    def _nuisance(self, frame: pd.DataFrame, trial: Trial, rows: NDArray[np.intp]) -> MeansModel:
        if self.outcome_estimator is not None:
            return self._arms_means(frame, trial, rows)
        model = LinearRiskModel(self.outcome, variables=self.variables_, spline=self.spline).fit(
            frame.iloc[rows],
            trial.y[rows],
            trial.treatment[rows],
            sample_weight=trial.weight[rows],
            exposure=trial.exposure_of(rows),
        )
        return model.predict_arms

    def _arms_means(self, frame: pd.DataFrame, trial: Trial, rows: NDArray[np.intp]) -> MeansModel:
        design = TreeDesign.learn(self.variables_)

        def matrix_of(X: pd.DataFrame) -> Floats:
            return design.matrix(to_columns(X, self.variables_), len(X)).astype(float)

        matrix, (y, weight) = matrix_of(frame), rates(trial)
        arms = [rows[trial.treatment[rows] == arm] for arm in (0, 1)]
        control, treated = (fit_mean(self.outcome_estimator, matrix[own], y[own], weight[own]) for own in arms)
        return lambda X: (predict_mean(control, matrix_of(X)), predict_mean(treated, matrix_of(X)))
