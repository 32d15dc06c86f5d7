"""Boosted trees on the scores: a shape that a large trial can afford to learn instead of naming it beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from il7ml.features.columns import Columns
from il7ml.features.design import TreeDesign
from il7ml.models.fitted import FittedTrees

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


def learn_effect(
    design: TreeDesign,
    columns: Columns,
    scores: Floats,
    weight: Floats,
    rng: np.random.Generator,
    device: str = "cpu",
) -> tuple[tuple[FittedTrees, ...], Floats]:
    """Fit boosted trees to the scores in halves, and return them with each half's prediction by the other's trees.

    A new patient gets the mean over the trees of both halves.

    Parameters
    ----------
    design : TreeDesign
    columns : dict of str to ndarray of shape (n,)
    scores, weight : ndarray of shape (n,)
    rng : Generator
        Deals the patients.
    device : str, default 'cpu'
        XGBoost's device.
    """
    import xgboost

    matrix = design.matrix(columns, scores.size)
    fold = rng.permutation(scores.size) % _FOLDS
    scale, out_of_fold, trees = float(scores.std()), np.empty(scores.size), []
    for held in range(_FOLDS):
        train = fold != held
        centred = (scores[train] - np.average(scores[train], weights=weight[train])) / scale
        data = xgboost.DMatrix(matrix[train], label=centred, weight=weight[train], nthread=1)
        settings = {**_SETTINGS, "min_child_weight": _SMALLEST_LEAF * train.sum(), "device": device}
        booster = xgboost.train(settings, data, num_boost_round=_ROUNDS)
        booster.set_param({"device": "cpu"})  # what it predicts from is in the processor's memory
        out_of_fold[~train] = booster.inplace_predict(matrix[~train])
        trees.append(FittedTrees(design, booster, 0.0))
    return tuple(trees), out_of_fold
