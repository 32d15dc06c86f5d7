"""A trial as arrays: what everything that learns takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Sample(NamedTuple):
    """A trial as arrays, ready for learning.

    Attributes
    ----------
    X : DataFrame of shape (n, k)
        Baseline variables.
    y, weight, propensity : ndarray of shape (n,)
        Outcome, censoring weight (0: unknown), probability of treatment.
    treatment : ndarray of shape (n,)
        1 for treated.
    exposure : ndarray of shape (n,) or None
        Time at risk, for counts.
    """

    X: pd.DataFrame
    y: Floats
    treatment: NDArray[np.int8]
    propensity: Floats
    weight: Floats
    exposure: Floats | None = None

    def rows(self, rows: NDArray[np.intp]) -> Sample:
        """Return the given patients, in that order; one may come more than once."""
        return Sample(
            self.X.iloc[rows].reset_index(drop=True),
            self.y[rows],
            self.treatment[rows],
            self.propensity[rows],
            self.weight[rows],
            None if self.exposure is None else self.exposure[rows],
        )
