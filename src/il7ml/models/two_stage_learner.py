"""What the X- and the R-learner share: any estimator for the outcome, then any for the effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.family import Kind
from il7ml.features.design import TreeDesign
from il7ml.models.effect_learner import EffectLearner, Trial
from il7ml.models.outcome_estimator import fit_mean, rates, shallow_boosting
from il7ml.schema import Variable

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


class TwoStageLearner(EffectLearner):
    """Base of the learners that fit outcomes first and effects on what these leave.

    Parameters
    ----------
    outcome, variables, folds, bootstrap, random_state
        As in `EffectLearner`.
    outcome_estimator : scikit-learn estimator, optional
        A classifier or regressor for binary outcomes, a regressor otherwise; it sees raw columns, so it has to take
        missing values if there are any. By default shallow, shrunken XGBoost.
    effect_estimator : scikit-learn regressor, optional
        By default the same.
    device : str, default 'cpu'
        XGBoost's device.

    Attributes
    ----------
    design_ : TreeDesign
        Columns that they see.
    """

    design_: TreeDesign

    def __init__(
        self,
        outcome: Kind = "binary",
        outcome_estimator: Any = None,
        effect_estimator: Any = None,
        variables: Mapping[str, Variable] | None = None,
        folds: int = 5,
        bootstrap: int = 50,
        random_state: int = 0,
        device: str = "cpu",
    ) -> None:
        self.outcome = outcome
        self.outcome_estimator = outcome_estimator
        self.effect_estimator = effect_estimator
        self.variables = variables
        self.folds = folds
        self.bootstrap = bootstrap
        self.random_state = random_state
        self.device = device

    def _matrix(self, X: pd.DataFrame | ArrayLike) -> Floats:
        columns, n = self._columns(X)
        return self.design_.matrix(columns, n).astype(float)

    def _fit_outcome(self, matrix: Floats, trial: Trial, rows: Indices) -> Any:
        """Return the outcome estimator fitted to the given rows."""
        estimator = (
            shallow_boosting(self.outcome, self.device) if self.outcome_estimator is None else self.outcome_estimator
        )
        y, weight = rates(trial)
        return fit_mean(estimator, matrix[rows], y[rows], weight[rows])

    def _fit_effect(self, matrix: Floats, effect: Floats, weight: Floats) -> Any:
        """Return the effect estimator fitted to one noisy effect a row."""
        estimator = (
            shallow_boosting("continuous", self.device) if self.effect_estimator is None else self.effect_estimator
        )
        return fit_mean(estimator, matrix, effect, weight)
