"""Folds inside one model's training, for what it must learn from patients held out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.family import Kind
from il7ml.models.folds import outcome_strata, stratified_folds

Floats = NDArray[np.float64]


def inner_folds(
    X: pd.DataFrame,
    y: Floats,
    treatment: Floats,
    exposure: Floats | None,
    kind: Kind,
    folds: int,
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Return a fold number for each patient, balanced by arm and outcome; copies of a patient share a fold.

    A bootstrap sample holds patients more than once. A model that has seen one copy knows the outcome of the other, and
    would look the better the more closely it fits.

    Parameters
    ----------
    X : DataFrame of shape (n, k)
    y, treatment : ndarray of shape (n,)
    exposure : ndarray of shape (n,) or None
    kind : {'binary', 'count', 'continuous'}
    folds : int
    rng : numpy.random.Generator

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rows = np.array([0, 1, 2, 3, 3, 3, 0, 1])
    >>> X = pd.DataFrame({"age": np.array([61.0, 72.0, 48.0, 55.0])[rows]})
    >>> fold = inner_folds(X, rows % 2.0, np.zeros(8), None, "binary", 2, np.random.default_rng(0))
    >>> len(set(zip(rows, fold)))
    4
    """
    numbers = np.column_stack([y, treatment, np.ones(len(X)) if exposure is None else exposure]).astype(float)
    patients = np.column_stack([pd.util.hash_pandas_object(X, index=False).to_numpy(), numbers.view(np.uint64)])
    _, first, patient = np.unique(patients, axis=0, return_index=True, return_inverse=True)
    # In the order in which the patients come, so that without copies the folds are the usual ones.
    order = np.argsort(first)
    rows = first[order]
    strata = outcome_strata(y[rows], treatment[rows].astype(np.int8), kind)
    fold = np.empty(rows.size, dtype=np.intp)
    fold[order] = stratified_folds(strata, folds, rng)
    return fold[patient]
