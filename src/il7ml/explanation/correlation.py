"""Which variables go together so closely that a single one's importance means little."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from il7ml.features.columns import Columns
from il7ml.schema import Variable

#: Absolute rank correlation from which estimates of single variables become unreliable: Dormann et al., Ecography
#: 2013;36:27, doi 10.1111/j.1600-0587.2012.07348.x.
CORRELATED = 0.7
# Patients that a correlation needs.
_FEWEST = 10


def correlated_pairs(columns: Columns, variables: Mapping[str, Variable]) -> pd.DataFrame:
    """Return pairs of numbers and yes-or-no variables with an absolute rank correlation of 0.7 or more.

    Parameters
    ----------
    columns : dict of str to ndarray of shape (n,)
    variables : mapping of str to Variable

    Returns
    -------
    DataFrame
        ``first, second, first_label, second_label, spearman``, the closest pair first; from patients with both values.

    Examples
    --------
    >>> from il7ml.features.columns import infer_variables, to_columns
    >>> frame = pd.DataFrame({"x": range(20), "double": range(0, 40, 2), "other": [0.0, 1.0] * 10})
    >>> pairs = correlated_pairs(to_columns(frame, infer_variables(frame)), infer_variables(frame))
    >>> pairs[["first", "second", "spearman"]].values.tolist()
    [['x', 'double', 1.0]]
    """
    names = [name for name, variable in variables.items() if variable.kind != "categorical"]
    found = (
        pd.DataFrame({name: columns[name] for name in names}).corr(method="spearman", min_periods=_FEWEST).to_numpy()
    )
    rows = [
        (names[i], names[j], variables[names[i]].term, variables[names[j]].term, float(np.clip(found[i, j], -1, 1)))
        for i, j in combinations(range(len(names)), 2)
        if abs(found[i, j]) >= CORRELATED
    ]
    table = pd.DataFrame(rows, columns=["first", "second", "first_label", "second_label", "spearman"])
    return table.sort_values("spearman", key=abs, ascending=False, kind="stable", ignore_index=True)
