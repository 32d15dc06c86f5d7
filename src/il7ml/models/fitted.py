"""Fitted models as plain arrays: what a bundle stores and a predictor evaluates. Free of scikit-learn.

Each form gives, for columns of patients, the linear predictor *without treatment* and its exact split into the
variables' contributions. The relative effect of the arm is a number beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from il7ml.features.columns import Columns
from il7ml.features.design import LinearDesign, TreeDesign
from il7ml.models.joined_trees import FEW, JoinedTrees, join_trees
from il7ml.models.stored_trees import StoredTrees

Floats = NDArray[np.float64]


class Additive(Protocol):
    """A model whose prediction is split over the variables."""

    def linear_predictor(self, columns: Columns, n: int) -> Floats:
        """Return the prediction on the scale on which contributions add up, shape (n,)."""

    def contributions(self, columns: Columns, n: int) -> tuple[float, dict[str, Floats]]:
        """Return base and contributions by variable; they add up to the linear predictor."""


class Fitted(Additive, Protocol):
    """A model of the outcome without treatment, on the link scale."""

    @property
    def arm_effect(self) -> float:
        """Shift of the linear predictor under treatment."""

    def recalibrated(self, intercept: float, slope: float) -> Fitted:
        """Return the model whose linear predictor is `intercept` + `slope` times this one's."""


@dataclass(frozen=True)
class FittedLinear:
    """Intercept and coefficients on a linear design; with no columns it is the event rate alone."""

    design: LinearDesign
    coefficients: Floats
    intercept: float
    arm_effect: float = 0.0

    def linear_predictor(self, columns: Columns, n: int) -> Floats:
        """Return the linear predictor without treatment, shape (n,)."""
        return np.asarray(self.intercept + self.design.matrix(columns, n) @ self.coefficients)

    def contributions(self, columns: Columns, n: int) -> tuple[float, dict[str, Floats]]:
        """Return the intercept (the average training patient) and each variable's exact share.

        For a linear model this is the interventional Shapley value (Lundberg and Lee 2017), the design being centred.
        """
        parts = self.design.matrix(columns, n) * self.coefficients
        return self.intercept, sum_by_owner(parts, self.design.owners)

    def recalibrated(self, intercept: float, slope: float) -> FittedLinear:
        """Return the model whose linear predictor is `intercept` + `slope` times this one's."""
        return replace(self, coefficients=slope * self.coefficients, intercept=intercept + slope * self.intercept)


@dataclass(frozen=True)
class FittedTrees:
    """Boosted trees and an intercept on a tree design; what was read from a file has the trees' nodes beside them."""

    design: TreeDesign
    booster: Any
    intercept: float
    arm_effect: float = 0.0
    nodes: StoredTrees | None = field(default=None, compare=False, repr=False)

    def linear_predictor(self, columns: Columns, n: int) -> Floats:
        """Return the linear predictor without treatment, shape (n,)."""
        matrix = self.design.matrix(columns, n)
        if n <= FEW and self._joined is not None:
            margin = self._joined.margins(matrix)
        else:
            margin = self.booster.inplace_predict(matrix, predict_type="margin")
        return np.asarray(margin, dtype=float).reshape(n) + self.intercept

    @cached_property
    def _joined(self) -> JoinedTrees | None:
        return None if self.nodes is None else join_trees([self.nodes])

    def contributions(self, columns: Columns, n: int) -> tuple[float, dict[str, Floats]]:
        """Return base and exact tree contributions (path-dependent TreeSHAP, Lundberg 2020)."""
        from xgboost import DMatrix

        values = self.booster.predict(DMatrix(self.design.matrix(columns, n)), pred_contribs=True)
        values = np.asarray(values, dtype=float).reshape(n, len(self.design.owners) + 1)
        base = (float(values[0, -1]) if n else 0.0) + self.intercept
        # XGBoost adds up in single precision; what that leaves is shared out in proportion.
        shares = values[:, :-1]
        size = np.abs(shares).sum(axis=1)
        gap = self.linear_predictor(columns, n) - base - shares.sum(axis=1)
        shares = shares + np.abs(shares) * np.divide(gap, size, out=np.zeros(n), where=size > 0)[:, None]
        return base, sum_by_owner(shares, self.design.owners)

    def interactions(self, columns: Columns, n: int) -> Floats:
        """Return exact SHAP interaction values of the design's p columns, shape (n, p, p) (Lundberg 2020).

        Both halves of a pair are the same, and the rows add up to the contributions.
        """
        from xgboost import DMatrix

        width = len(self.design.owners) + 1
        values = self.booster.predict(DMatrix(self.design.matrix(columns, n)), pred_interactions=True)
        return np.asarray(values, dtype=float).reshape(n, width, width)[:, :-1, :-1]

    def recalibrated(self, intercept: float, slope: float) -> FittedStack:
        """Return the model whose linear predictor is `intercept` + `slope` times this one's."""
        return FittedStack((self,), np.array([slope]), intercept, self.arm_effect)


@dataclass(frozen=True)
class FittedStack:
    """A weighted sum of other models' linear predictors, and an intercept.

    Attributes
    ----------
    parts : tuple of Fitted
        Their own arm effects play no part.
    weights : ndarray of shape (parts,)
    intercept, arm_effect : float
    """

    parts: tuple[Fitted, ...]
    weights: Floats
    intercept: float
    arm_effect: float = 0.0

    def linear_predictor(self, columns: Columns, n: int) -> Floats:
        """Return the linear predictor without treatment, shape (n,)."""
        parts = np.array([part.linear_predictor(columns, n) for part in self.parts])
        return np.asarray(self.intercept + self.weights @ parts)

    def contributions(self, columns: Columns, n: int) -> tuple[float, dict[str, Floats]]:
        """Return base and contributions: the weighted sums of the parts', since Shapley values are additive."""
        base = self.intercept
        totals: dict[str, Floats] = {}
        for part, weight in zip(self.parts, self.weights, strict=True):
            start, shares = part.contributions(columns, n)
            base += float(weight) * start
            for name, share in shares.items():
                totals[name] = totals.get(name, np.zeros(n)) + weight * share
        return base, totals

    def recalibrated(self, intercept: float, slope: float) -> FittedStack:
        """Return the model whose linear predictor is `intercept` + `slope` times this one's."""
        return replace(self, weights=slope * self.weights, intercept=intercept + slope * self.intercept)


def sum_by_owner(parts: Floats, owners: tuple[str, ...]) -> dict[str, Floats]:
    """Add up the columns of `parts` (n, p) that belong to the same variable."""
    totals: dict[str, Floats] = {}
    for column, owner in zip(parts.T, owners, strict=True):
        totals[owner] = totals[owner] + column if owner in totals else column.copy()
    return totals
