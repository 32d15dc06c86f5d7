"""Models that differ only in their numbers, as bootstrap refits do, evaluated together: one design, one product."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from il7ml.features.columns import Columns
from il7ml.models.fitted import Fitted, FittedLinear, FittedTrees
from il7ml.models.joined_trees import FEW, JoinedTrees, join_trees
from il7ml.models.stored_trees import trees_of

Floats = NDArray[np.float64]


class Together(Protocol):
    """Several models of the outcome without treatment."""

    def linear_predictors(self, columns: Columns, n: int) -> Floats:
        """Return each model's linear predictor without treatment, shape (models, n)."""


def together(models: Sequence[Fitted]) -> Together:
    """Return models of one form and on one design as one; each predicts what it predicts by itself, up to rounding.

    Parameters
    ----------
    models : sequence of Fitted
        At least one. The design is that of the first.
    """
    first = models[0]
    if isinstance(first, FittedLinear):
        return _Linear(models)
    return _Trees(models) if isinstance(first, FittedTrees) else _Stacks(models)


class _Linear:
    def __init__(self, models: Sequence[Any]) -> None:
        self._design = models[0].design
        self._coefficients = np.array([model.coefficients for model in models])
        self._intercepts = np.array([model.intercept for model in models])

    def linear_predictors(self, columns: Columns, n: int) -> Floats:
        matrix = self._design.matrix(columns, n)
        return np.asarray(self._intercepts[:, None] + self._coefficients @ matrix.T)


class _Stacks:
    def __init__(self, models: Sequence[Any]) -> None:
        self._weights = np.array([model.weights for model in models])
        self._intercepts = np.array([model.intercept for model in models])
        self._parts = [together(parts) for parts in zip(*(model.parts for model in models), strict=True)]

    def linear_predictors(self, columns: Columns, n: int) -> Floats:
        parts = [part.linear_predictors(columns, n) for part in self._parts]
        return np.asarray(self._intercepts[:, None] + np.einsum("mp,pmn->mn", self._weights, parts))


class _Trees:
    def __init__(self, models: Sequence[Any]) -> None:
        self._models = models
        self._design = models[0].design
        self._intercepts = np.array([model.intercept for model in models])

    @cached_property
    def _joined(self) -> JoinedTrees:
        return join_trees([trees_of(model.booster) if model.nodes is None else model.nodes for model in self._models])

    def linear_predictors(self, columns: Columns, n: int) -> Floats:
        matrix = self._design.matrix(columns, n)
        if n <= FEW:
            margins = self._joined.margins(matrix)
        else:
            margins = np.array(
                [model.booster.inplace_predict(matrix, predict_type="margin").reshape(n) for model in self._models]
            )
        return np.asarray(self._intercepts[:, None] + margins.astype(float))
