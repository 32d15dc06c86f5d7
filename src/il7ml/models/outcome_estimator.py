"""Any scikit-learn regressor or classifier as a model of a mean: default, fitting and prediction in one form."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.dummy import DummyRegressor

from il7ml.family import Kind
from il7ml.models.effect_learner import Trial
from il7ml.models.risk import TREE_SETTINGS

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_ROUNDS = 200


def shallow_boosting(kind: Kind, device: str = "cpu") -> Any:
    """Return unfitted XGBoost, shallow and shrunken: a classifier for binary outcomes, else a regressor.

    Examples
    --------
    >>> shallow_boosting("binary").get_params()["max_depth"]
    2
    """
    import xgboost

    settings = {**TREE_SETTINGS, "n_estimators": _ROUNDS, "n_jobs": 1, "random_state": 0, "device": device}
    if kind == "binary":
        return xgboost.XGBClassifier(**settings)
    return xgboost.XGBRegressor(**settings, objective="count:poisson" if kind == "count" else "reg:squarederror")


def fit_mean(estimator: Any, matrix: Floats, y: Floats, weight: Floats) -> Any:
    """Return a clone of `estimator` fitted to the rows of positive weight.

    Weights are passed on only where they differ, since not every estimator takes them. A classifier that would see a
    single class, as resampling can draw it, is replaced by the mean.
    """
    used = weight > 0
    matrix, y, weight = matrix[used], y[used], weight[used]
    if is_classifier(estimator):
        if y.min() == y.max():
            return DummyRegressor().fit(matrix, y)
        y = y.astype(int)
    if np.ptp(weight) == 0:
        return clone(estimator).fit(matrix, y)
    return clone(estimator).fit(matrix, y, sample_weight=weight)


def predict_mean(estimator: Any, matrix: Floats) -> Floats:
    """Return the predicted mean, a classifier's being the probability of 1, shape (n,)."""
    values = estimator.predict_proba(matrix)[:, 1] if is_classifier(estimator) else estimator.predict(matrix)
    return np.asarray(values, dtype=float)


def rates(trial: Trial) -> tuple[Floats, Floats]:
    """Return outcomes per unit of exposure, and weights in proportion to it."""
    if trial.exposure is None:
        return trial.y, trial.weight
    return trial.y / trial.exposure, trial.weight * trial.exposure


def bootstrap_draws(trial: Trial, bootstrap: int, rng: np.random.Generator) -> list[Indices]:
    """Draw patients with replacement within each arm, `bootstrap` times."""
    arms = [np.flatnonzero(trial.treatment == arm) for arm in (0, 1)]
    return [np.concatenate([rng.choice(rows, rows.size) for rows in arms]) for _ in range(bootstrap)]
