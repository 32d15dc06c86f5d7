"""One relative effect for all: the shift on the link scale that gives the average effect (PATH's risk-based effect)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from il7ml.family import Family

Floats = NDArray[np.float64]

#: On the log-odds or log-rate scale nothing beyond this can be told apart from "never" or "always".
_LIMIT = 15.0


def constant_shift(family: Family, linear_predictor: Floats, average: float, weight: Floats | None = None) -> float:
    """Return theta such that shifting every linear predictor by it changes the mean outcome by `average`.

    Parameters
    ----------
    family : Family
    linear_predictor : ndarray of shape (n,)
        Without treatment.
    average : float
        Average effect: treated minus untreated mean.
    weight : ndarray of shape (n,), optional

    Returns
    -------
    float
        For binary outcomes a log odds ratio. An average that no shift can reach (a fall by more than the mean risk)
        gives the limit of +-15.

    References
    ----------
    Kent et al., PATH Statement, Ann Intern Med 2020;172:35, doi 10.7326/M18-3667.

    Examples
    --------
    >>> import numpy as np
    >>> from il7ml.family import BINARY
    >>> round(constant_shift(BINARY, np.zeros(3), -0.25), 4)
    -1.0986
    """
    if family.kind == "continuous":
        return float(average)
    before = np.average(family.mean(linear_predictor), weights=weight)

    def excess(theta: float) -> float:
        return float(np.average(family.mean(linear_predictor + theta), weights=weight) - before - average)

    if excess(-_LIMIT) >= 0:
        return -_LIMIT
    if excess(_LIMIT) <= 0:
        return _LIMIT
    return float(brentq(excess, -_LIMIT, _LIMIT, xtol=1e-12))
