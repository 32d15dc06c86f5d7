"""Boosted trees of several models laid end to end, and walked down all at once: quick where patients are few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from il7ml.models.stored_trees import StoredTrees

#: Patients up to whom walking beats calling the library once for each model.
FEW = 8


class JoinedTrees(NamedTuple):
    """All nodes of all trees; a leaf is its own child, and the last node is an empty leaf.

    Attributes
    ----------
    children : ndarray of shape (nodes, 2)
        Right and left.
    feature : ndarray of shape (nodes,)
    value : ndarray of shape (nodes,)
        Threshold, or the value of a leaf.
    missing_left : ndarray of shape (nodes,)
        Where a gap goes.
    roots : ndarray of shape (models, trees)
        The empty leaf where a model has fewer trees than others.
    depth : int
    """

    children: NDArray[np.intp]
    feature: NDArray[np.intp]
    value: NDArray[np.float32]
    missing_left: NDArray[np.bool_]
    roots: NDArray[np.intp]
    depth: int

    def margins(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return each model's sum of leaves for the rows of a design, shape (models, n)."""
        found = np.empty((len(self.roots), len(matrix)), dtype=np.float32)
        for row, patient in enumerate(matrix):
            at = self.roots
            for _ in range(self.depth):
                seen = patient[self.feature[at]]
                left = np.where(np.isnan(seen), self.missing_left[at], seen < self.value[at])
                at = self.children[at, left.astype(np.intp)]
            # One after the other in single precision, as the library does: one patient and many get the same answer.
            found[:, row] = np.add.accumulate(self.value[at], axis=1)[:, -1]
        return found


def join_trees(models: Sequence[StoredTrees]) -> JoinedTrees:
    """Return the trees of one model or several, each with at least one tree, as one.

    Parameters
    ----------
    models : sequence of StoredTrees
    """
    counts = [len(trees.sizes) for trees in models]
    sizes, left, right, feature, value, missing = (np.concatenate(each) for each in zip(*models, strict=True))
    starts = np.cumsum(sizes) - sizes
    own, offset = np.arange(sizes.sum()), np.repeat(starts, sizes)
    leaf = left == -1
    children = np.column_stack([np.where(leaf, own, right + offset), np.where(leaf, own, left + offset)])
    depth, reached = 0, starts
    while not leaf[reached].all():
        reached = children[reached[~leaf[reached]]].ravel()
        depth += 1
    empty = len(own)
    roots = np.full((len(models), max(counts)), empty)
    for row, of_model in zip(roots, np.split(starts, np.cumsum(counts)[:-1]), strict=True):
        row[: of_model.size] = of_model
    return JoinedTrees(
        children=np.vstack([children, [[empty, empty]]]),
        feature=np.append(feature, 0),
        value=np.append(value, np.float32(0)),
        missing_left=np.append(missing, False),
        roots=roots,
        depth=depth,
    )
