"""P values adjusted for the number of endpoints: Holm, Benjamini-Hochberg, and a fixed sequence."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from il7ml.endpoints.arrays import as_values
from il7ml.errors import InputError, nearest

Floats = NDArray[np.float64]
Adjustment = Literal["holm", "benjamini_hochberg", "fixed_sequence"]

_ADJUSTMENTS: dict[str, str | None] = {"holm": "holm", "benjamini_hochberg": "fdr_bh", "fixed_sequence": None}


def adjusted_p_values(p_values: ArrayLike, method: Adjustment) -> Floats:
    """Return adjusted P values, each to be held against the level itself.

    Parameters
    ----------
    p_values : array-like of shape (k,)
        One for each hypothesis of the family. NaN (no test) stays NaN and does not count, except in a fixed sequence.
    method : {'holm', 'benjamini_hochberg', 'fixed_sequence'}
        Holm controls the chance of any false claim, Benjamini-Hochberg the expected share of false claims. In a fixed
        sequence (hierarchical testing) each hypothesis is tested only if all before it were rejected, so the adjusted
        value is the largest one so far; the order must have been set beforehand.

    Returns
    -------
    ndarray of shape (k,)

    Raises
    ------
    InputError
        If the method is not known, values are not between 0 and 1, or one is missing in a fixed sequence.

    References
    ----------
    Holm, Scand J Stat 1979;6:65. Benjamini and Hochberg, J R Stat Soc B 1995;57:289,
    doi 10.1111/j.2517-6161.1995.tb02031.x. Westfall and Krishen, J Stat Plan Inference 2001;99:25,
    doi 10.1016/S0378-3758(01)00077-5 (fixed sequence).

    Examples
    --------
    >>> adjusted_p_values([0.01, 0.04, 0.03], "holm").tolist()
    [0.03, 0.06, 0.06]
    >>> adjusted_p_values([0.01, 0.04, 0.03], "fixed_sequence").tolist()
    [0.01, 0.04, 0.04]
    """
    if method not in _ADJUSTMENTS:
        raise InputError(f"multiplicity: {method!r} is not known.{nearest(method, _ADJUSTMENTS)}")
    values = as_values("p_values", p_values, np.size(p_values), missing=True)
    known = ~np.isnan(values)
    if ((values[known] < 0) | (values[known] > 1)).any():
        raise InputError("p_values: expected numbers from 0 to 1; others came. Give P values.")
    statsmodels_name = _ADJUSTMENTS[method]
    if statsmodels_name is None:
        if not known.all():
            raise InputError("p_values: a fixed sequence needs every P value; some are missing. Take them out of it.")
        return np.maximum.accumulate(values)
    adjusted = np.full(values.size, np.nan)
    if known.any():
        from statsmodels.stats.multitest import multipletests

        adjusted[known] = multipletests(values[known], method=statsmodels_name)[1]
    return adjusted
