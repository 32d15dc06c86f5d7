"""Fitted models as plain arrays: what a bundle stores and a predictor evaluates. Free of scikit-learn.

Each form gives, for columns of patients, the linear predictor *without treatment* and its exact split into the
variables' contributions. The relative effect of the arm is a number beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from il7ml.features.columns import Columns
from il7ml.features.design import LinearDesign, TreeDesign

Floats = NDArray[np.float64]


class Fitted(Protocol):
    """A model of the outcome without treatment, on the link scale."""

    @property
    def arm_effect(self) -> float:
        """Shift of the linear predictor under treatment."""

    def linear_predictor(self, columns: Columns, n: int) -> Floats:
        """Return the linear predictor without treatment, shape (n,)."""

    def contributions(self, columns: Columns, n: int) -> tuple[float, dict[str, Floats]]:
        """Return base and contributions by variable; they add up to the linear predictor."""


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


@dataclass(frozen=True)
class FittedTrees:
    """Boosted trees and an intercept on a tree design."""

    design: TreeDesign
    booster: Any
    intercept: float
    arm_effect: float = 0.0

    def linear_predictor(self, columns: Columns, n: int) -> Floats:
        """Return the linear predictor without treatment, shape (n,)."""
        margin = self.booster.inplace_predict(self.design.matrix(columns, n), predict_type="margin")
        return np.asarray(margin, dtype=float).reshape(n) + self.intercept

    def contributions(self, columns: Columns, n: int) -> tuple[float, dict[str, Floats]]:
        """Return base and exact tree contributions (path-dependent TreeSHAP, Lundberg 2020)."""
        from xgboost import DMatrix

        values = self.booster.predict(DMatrix(self.design.matrix(columns, n)), pred_contribs=True)
        values = np.asarray(values, dtype=float).reshape(n, len(self.design.owners) + 1)
        base = float(values[0, -1]) if n else 0.0
        return base + self.intercept, sum_by_owner(values[:, :-1], self.design.owners)


def sum_by_owner(parts: Floats, owners: tuple[str, ...]) -> dict[str, Floats]:
    """Add up the columns of `parts` (n, p) that belong to the same variable."""
    totals: dict[str, Floats] = {}
    for column, owner in zip(parts.T, owners, strict=True):
        totals[owner] = totals[owner] + column if owner in totals else column.copy()
    return totals
