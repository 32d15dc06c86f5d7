"""Models that differ only in their numbers, as bootstrap refits do, evaluated together: one design, one product."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from il7ml.features.columns import Columns
from il7ml.models.fitted import Fitted, FittedLinear, FittedTrees
from il7ml.models.stored_trees import trees_of

Floats = NDArray[np.float64]

# Patients up to whom walking down all trees at once beats calling the library once for each model.
_FEW = 8


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
    def _nodes(self) -> _Nodes:
        return _nodes(self._models)

    def linear_predictors(self, columns: Columns, n: int) -> Floats:
        matrix = self._design.matrix(columns, n)
        if n <= _FEW:
            margins = np.array([self._nodes.margins(row) for row in matrix]).reshape(n, len(self._models)).T
        else:
            margins = np.array(
                [model.booster.inplace_predict(matrix, predict_type="margin").reshape(n) for model in self._models]
            )
        return np.asarray(self._intercepts[:, None] + margins.astype(float))


class _Nodes(NamedTuple):
    """All nodes of all trees; a leaf is its own child.

    Attributes
    ----------
    children : ndarray of shape (nodes, 2)
        Right and left.
    feature : ndarray of shape (nodes,)
    value : ndarray of shape (nodes,)
        Threshold, or the value of a leaf.
    missing_left : ndarray of shape (nodes,)
        Where a gap goes.
    roots : ndarray of shape (trees,)
    starts : ndarray of shape (models,)
        Each model's first tree.
    depth : int
    """

    children: NDArray[np.intp]
    feature: NDArray[np.intp]
    value: NDArray[np.float32]
    missing_left: NDArray[np.bool_]
    roots: NDArray[np.intp]
    starts: NDArray[np.intp]
    depth: int

    def margins(self, patient: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return each model's sum of leaves for one row of the design, shape (models,)."""
        at = self.roots
        for _ in range(self.depth):
            seen = patient[self.feature[at]]
            left = np.where(np.isnan(seen), self.missing_left[at], seen < self.value[at])
            at = self.children[at, left.astype(np.intp)]
        # One after the other in single precision, as the library does: one patient and many get the same answer.
        return np.array([np.add.accumulate(leaves)[-1] for leaves in np.split(self.value[at], self.starts[1:])])


def _nodes(models: Sequence[FittedTrees]) -> _Nodes:
    stored = [trees_of(model.booster) if model.nodes is None else model.nodes for model in models]
    counts = np.array([len(trees.sizes) for trees in stored])
    sizes, left, right, feature, value, missing = (np.concatenate(each) for each in zip(*stored, strict=True))
    roots = np.cumsum(sizes) - sizes
    own, offset = np.arange(sizes.sum()), np.repeat(roots, sizes)
    leaf = left == -1
    children = np.column_stack([np.where(leaf, own, right + offset), np.where(leaf, own, left + offset)])
    depth, reached = 0, roots
    while not leaf[reached].all():
        reached = children[reached[~leaf[reached]]].ravel()
        depth += 1
    return _Nodes(
        children=children,
        feature=feature,
        value=value,
        missing_left=missing,
        roots=roots,
        starts=np.cumsum(counts) - counts,
        depth=depth,
    )
