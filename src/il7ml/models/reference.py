"""How far a patient lies from the training patients: the yardstick behind "unusual combination of values"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

from il7ml.features.columns import Columns, take
from il7ml.features.design import LinearDesign
from il7ml.schema import Variable

Floats = NDArray[np.float64]

_FOLDS = 5


class Reference(NamedTuple):
    """A design, the inverse covariance on it, and quantiles (0 to 100 %) of held-out patients' squared distances."""

    design: LinearDesign
    precision: Floats
    quantiles: tuple[float, ...]


def fit_reference(columns: Columns, variables: Mapping[str, Variable], n: int, rng: np.random.Generator) -> Reference:
    """Learn the spread of the training patients, with distances of patients that were held out.

    Distances of the very patients that shaped the covariance would be too small: every new patient would look unusual.

    Parameters
    ----------
    columns : dict of str to ndarray of shape (n,)
    variables : mapping of str to Variable
    n : int
    rng : numpy.random.Generator
        Draws the folds.

    References
    ----------
    Mahalanobis 1936; shrunken covariance: Ledoit and Wolf, J Multivar Anal 2004;88:365,
    doi 10.1016/S0047-259X(03)00096-4.
    """
    design, precision = _fit(columns, variables, n)
    fold = rng.permutation(n) % _FOLDS
    distances = np.empty(n)
    for held in range(_FOLDS):
        inside, outside = fold != held, fold == held
        part, inverse = _fit(take(columns, inside), variables, int(inside.sum()))
        matrix = part.matrix(take(columns, outside), int(outside.sum()))
        distances[outside] = np.einsum("ij,jk,ik->i", matrix, inverse, matrix)
    quantiles = np.quantile(distances, np.linspace(0, 1, 101))
    # Three digits: the smallest and the largest are single patients'.
    return Reference(design, precision, tuple(float(f"{quantile:.3g}") for quantile in quantiles))


def _fit(columns: Columns, variables: Mapping[str, Variable], n: int) -> tuple[LinearDesign, Floats]:
    design = LinearDesign.learn(columns, variables)
    return design, np.asarray(LedoitWolf(assume_centered=True).fit(design.matrix(columns, n)).precision_)
