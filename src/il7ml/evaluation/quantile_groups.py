"""Groups of about equal size along a ranking."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def quantile_groups(values: NDArray[np.float64], groups: int) -> NDArray[np.intp]:
    """Return each patient's group, numbered from 0 for the lowest values.

    Tied values share a group, so there are fewer groups where there are few distinct values.

    Parameters
    ----------
    values : ndarray of shape (n,)
    groups : int
        Groups at most.

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> import numpy as np
    >>> quantile_groups(np.array([0.3, 0.1, 0.2, 0.4]), 2).tolist()
    [1, 0, 0, 1]
    >>> quantile_groups(np.array([0.0, 1.0, 0.0, 0.0]), 4).tolist()
    [0, 1, 0, 0]
    """
    _, distinct, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    share = np.minimum((groups * middle / values.size).astype(int), groups - 1)
    return np.unique(share, return_inverse=True)[1][distinct]
