"""How SHAP values lie along a variable, shown by groups of patients: nobody's value can be read off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.explanation.additive import Explanation
from il7ml.schema import Variable

Floats = NDArray[np.float64]

#: Smallest group that is shown.
SMALLEST = 10
_MOST_GROUPS = 10


def patient_groups(explanation: Explanation, variables: Mapping[str, Variable]) -> pd.DataFrame:
    """Average SHAP values over groups of at least ten patients with similar values of the variable.

    Numbers make up to ten groups of equal size by their order, categories one group a level, missing values one of
    their own. Smaller groups are left out.

    Parameters
    ----------
    explanation : Explanation
    variables : mapping of str to Variable

    Returns
    -------
    DataFrame
        ``variable, label, place, level, n, mean_shap``; `place` runs from 0 (lowest values) to 1 (highest), NaN for
        missing ones; `level` names a category, yes, no or missing, and is empty for numbers.
    """
    rows = []
    for name in explanation.values:
        variable = variables[str(name)]
        values = explanation.values[name].to_numpy()
        for place, level, members in _groups(explanation.data[name].to_numpy(), variable):
            if members.size >= SMALLEST:
                rows.append((name, variable.term, place, level, members.size, float(values[members].mean())))
    return pd.DataFrame(rows, columns=["variable", "label", "place", "level", "n", "mean_shap"])


def _groups(data: Floats, variable: Variable) -> Iterator[tuple[float, str, NDArray[np.intp]]]:
    """Yield place, level and rows of each group."""
    known = np.flatnonzero(~np.isnan(data))
    if variable.kind == "continuous":
        order = known[np.argsort(data[known], kind="stable")]
        count = min(known.size // SMALLEST, _MOST_GROUPS)
        for number, members in enumerate(np.array_split(order, count) if count else ()):
            yield (number / (count - 1) if count > 1 else 0.5), "", members
    else:
        levels = variable.levels or ("no", "yes")
        for number, level in enumerate(levels):
            yield number / max(len(levels) - 1, 1), level, np.flatnonzero(data == number)
    yield float("nan"), "missing", np.flatnonzero(np.isnan(data))
