"""Folds for cross-validation: balanced by arm and outcome, reproducible, quiet about rare strata."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from il7ml.family import Kind


def stratified_folds(strata: NDArray[np.intp], folds: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return a fold number for each patient, each stratum being dealt evenly over the folds.

    Unlike scikit-learn's splitter it accepts strata smaller than the number of folds, which small trials have.

    Parameters
    ----------
    strata : ndarray of shape (n,)
    folds : int
    rng : numpy.random.Generator

    Examples
    --------
    >>> import numpy as np
    >>> fold = stratified_folds(np.array([0] * 6 + [1] * 3), 3, np.random.default_rng(0))
    >>> np.bincount(fold[:6]).tolist(), np.bincount(fold[6:]).tolist()
    ([2, 2, 2], [1, 1, 1])
    """
    result = np.empty(strata.size, dtype=np.intp)
    start = 0
    for stratum in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        # Dealing goes on where the last stratum stopped, so that fold sizes differ by at most one.
        result[members] = (start + np.arange(members.size)) % folds
        start += members.size
    return result


def outcome_strata(y: NDArray[np.float64], treatment: NDArray[np.int8], kind: Kind) -> NDArray[np.intp]:
    """Return a label for arm and outcome: event or not for binary and counts, quarter of the outcome otherwise."""
    if kind == "continuous":
        level = np.searchsorted(np.quantile(y, [0.25, 0.5, 0.75]), y, side="left")
    else:
        level = (y > 0).astype(int)
    return np.asarray(level * 2 + treatment, dtype=np.intp)
