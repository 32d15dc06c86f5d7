"""Boosted trees on the scores: a shape that a large trial can afford to learn instead of naming it beforehand."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SETTINGS: dict[str, Any] = {
    "max_depth": 3,
    "eta": 0.1,
    "lambda": 10.0,
    "tree_method": "hist",
    "base_score": 0.0,
    "nthread": 1,
    "seed": 0,
}
_ROUNDS = 150
_FOLDS = 2
# A leaf holds at least this share of the training patients, so that its mean score has a bearable error.
_SMALLEST_LEAF = 0.01


class LearnedEffect(NamedTuple):
    """Trees of each fold; a new patient gets their mean.

    Attributes
    ----------
    boosters : tuple of xgboost.Booster
    """

    boosters: tuple[Any, ...]

    def predict(self, matrix: NDArray[np.float32]) -> Floats:
        """Return the learned heterogeneity of new patients, shape (n,)."""
        return np.asarray(np.mean([each.inplace_predict(matrix) for each in self.boosters], axis=0), dtype=float)


def learn_effect(
    matrix: NDArray[np.float32], scores: Floats, weight: Floats, rng: np.random.Generator
) -> tuple[LearnedEffect, Floats]:
    """Fit boosted trees to the scores in halves, and return them with each half's prediction by the other's trees.

    Parameters
    ----------
    matrix : ndarray of shape (n, p)
        Columns as trees see them, NaN where missing.
    scores, weight : ndarray of shape (n,)
    rng : Generator
        Deals the patients.
    """
    import xgboost

    fold = rng.permutation(scores.size) % _FOLDS
    scale, out_of_fold, boosters = float(scores.std()), np.empty(scores.size), []
    for held in range(_FOLDS):
        train = fold != held
        centred = (scores[train] - np.average(scores[train], weights=weight[train])) / scale
        data = xgboost.DMatrix(matrix[train], label=centred, weight=weight[train], nthread=1)
        settings = {**_SETTINGS, "min_child_weight": _SMALLEST_LEAF * train.sum()}
        boosters.append(xgboost.train(settings, data, num_boost_round=_ROUNDS))
        out_of_fold[~train] = boosters[-1].inplace_predict(matrix[~train])
    return LearnedEffect(tuple(boosters)), out_of_fold
