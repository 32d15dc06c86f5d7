"""Outcome families: how a kind of outcome is linked to a linear predictor, and how a prediction of it is scored."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, xlogy

from il7ml.errors import InputError, nearest

Floats = NDArray[np.float64]
Kind = Literal["binary", "count", "continuous"]

_SMALLEST = 1e-12


class Family(NamedTuple):
    """An exponential family with its canonical link.

    Attributes
    ----------
    kind : {'binary', 'count', 'continuous'}
        The outcome's kind.
    measure : str
        What the mean is called in tables: risk, rate or mean.
    relative : str
        What a difference on the link scale is called.
    """

    kind: Kind
    measure: str
    relative: str

    def link(self, mean: ArrayLike) -> Floats:
        """Map means to the link scale (log-odds, log or identity)."""
        mean = np.asarray(mean, dtype=float)
        if self.kind == "binary":
            return np.asarray(logit(np.clip(mean, _SMALLEST, 1 - _SMALLEST)))
        return np.asarray(np.log(np.maximum(mean, _SMALLEST))) if self.kind == "count" else mean

    def mean(self, linear_predictor: ArrayLike) -> Floats:
        """Map the link scale to means; the inverse of `link`."""
        eta = np.asarray(linear_predictor, dtype=float)
        if self.kind == "binary":
            return np.asarray(expit(eta))
        return np.exp(np.minimum(eta, 50.0)) if self.kind == "count" else eta

    def variance(self, mean: ArrayLike) -> Floats:
        """Return the variance function at `mean` (dispersion 1)."""
        mean = np.asarray(mean, dtype=float)
        if self.kind == "binary":
            return np.asarray(mean * (1 - mean))
        return np.maximum(mean, _SMALLEST) if self.kind == "count" else np.ones_like(mean)

    def loss(self, y: ArrayLike, mean: ArrayLike, exposure: ArrayLike | None = None) -> Floats:
        """Return each patient's loss: log loss, half the Poisson deviance, or squared error.

        Parameters
        ----------
        y : array-like of shape (n,)
            Outcome; events for counts.
        mean : array-like of shape (n,)
            Predicted risk, rate per unit of exposure, or mean.
        exposure : array-like of shape (n,), optional
            Time at risk, for counts.

        Returns
        -------
        ndarray of shape (n,)
            Non-negative losses, proper for the mean.

        Examples
        --------
        >>> float(BINARY.loss([1], [0.5])[0].round(4))
        0.6931
        """
        y, mean = np.asarray(y, dtype=float), np.asarray(mean, dtype=float)
        if self.kind == "binary":
            p = np.clip(mean, 1e-9, 1 - 1e-9)
            return np.asarray(-(xlogy(y, p) + xlogy(1 - y, 1 - p)))
        if self.kind == "count":
            expected = np.maximum(mean * (1.0 if exposure is None else np.asarray(exposure)), _SMALLEST)
            return np.asarray(xlogy(y, y / expected) - (y - expected))
        return np.asarray((y - mean) ** 2)


BINARY = Family("binary", "risk", "log odds ratio")
COUNT = Family("count", "rate", "log rate ratio")
CONTINUOUS = Family("continuous", "mean", "mean difference")

FAMILIES: dict[Kind, Family] = {"binary": BINARY, "count": COUNT, "continuous": CONTINUOUS}


def family_of(kind: str) -> Family:
    """Return the family of a kind of outcome.

    Raises
    ------
    InputError
        If `kind` is none of binary, count and continuous.
    """
    for known, family in FAMILIES.items():
        if kind == known:
            return family
    raise InputError(f"outcome: {kind!r} is not known.{nearest(kind, FAMILIES)}")
