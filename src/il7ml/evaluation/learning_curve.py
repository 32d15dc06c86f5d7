"""The learning curve: how performance changes with the number of patients a model is fitted to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from il7ml.errors import InputError
from il7ml.evaluation.checks import as_numbers, as_vector, check_level


class LearningCurve(NamedTuple):
    """Performance by number of patients, and whether the last step still gained.

    Attributes
    ----------
    table : DataFrame
        A row a size: size, repeats, mean, std_dev (over repeats), low, high (of the mean).
    gain, gain_low, gain_high : float
        Improvement from the second largest to the largest size, positive when better.
    still_gains : bool
        Whether the whole interval of the gain is above 0: more patients can be expected to help.
    """

    table: pd.DataFrame
    gain: float
    gain_low: float
    gain_high: float
    still_gains: bool


def learning_curve(
    size: ArrayLike, repeat: ArrayLike, value: ArrayLike, *, higher_is_better: bool, level: float = 0.95
) -> LearningCurve:
    """Summarise a measure of performance by the number of patients that models were fitted to.

    Intervals are Student's t over repeats. They show how well the mean over random subsets is known, not how it would
    differ in other patients, since all repeats draw from the same ones. The gain is paired by repeat.

    Parameters
    ----------
    size : array-like of shape (m,)
        Patients fitted to.
    repeat : array-like of shape (m,)
        Which repeat; within one, the sizes should be evaluated on the same patients.
    value : array-like of shape (m,)
        Performance on patients not fitted to, such as log loss or AUROC.
    higher_is_better : bool
        True for AUROC, False for losses.
    level : float
        Confidence level.

    Returns
    -------
    LearningCurve

    Raises
    ------
    InputError
        If there are not at least two sizes with the same two or more repeats, each with one finite value.

    Examples
    --------
    >>> curve = learning_curve(
    ...     [50, 50, 50, 100, 100, 100], [1, 2, 3, 1, 2, 3], [0.60, 0.62, 0.61, 0.66, 0.69, 0.66], higher_is_better=True
    ... )
    >>> round(curve.gain, 3), curve.still_gains
    (0.06, True)
    """
    check_level(level)
    values = as_numbers(value, "value")
    sizes, repeats = as_vector(size, values.size, "size"), np.asarray(repeat)
    if values.ndim != 1 or repeats.shape != values.shape:
        raise InputError(f"learning curve: expected a size, a repeat and a value a row, got {values.shape} values.")
    rows = pd.DataFrame({"size": sizes, "repeat": repeats, "value": values})
    if rows.duplicated(["size", "repeat"]).any() or not np.isfinite(rows["value"]).all():
        raise InputError(
            "learning curve: expected one finite value for each size and repeat. Leave out failed repeats."
        )
    wide = rows.pivot_table(index="repeat", columns="size", values="value")
    if wide.shape[1] < 2 or len(wide) < 2 or wide.isna().any(axis=None):
        raise InputError(
            f"learning curve: expected at least 2 sizes with the same 2 or more repeats, got {wide.shape[1]} sizes and "
            f"{len(wide)} repeats, {int(wide.isna().sum().sum())} combinations missing. Run each size in each repeat."
        )
    mean, std_dev = wide.mean(), wide.std(ddof=1)
    quantile = float(stdtrit(len(wide) - 1, 0.5 + level / 2)) / np.sqrt(len(wide))
    table = pd.DataFrame(
        {
            "size": wide.columns,
            "repeats": len(wide),
            "mean": mean.to_numpy(),
            "std_dev": std_dev.to_numpy(),
            "low": (mean - quantile * std_dev).to_numpy(),
            "high": (mean + quantile * std_dev).to_numpy(),
        }
    )
    gains = (wide.iloc[:, -1] - wide.iloc[:, -2]).to_numpy() * (1 if higher_is_better else -1)
    gain, half = float(gains.mean()), float(quantile * gains.std(ddof=1))
    return LearningCurve(table, gain, gain - half, gain + half, gain - half > 0)
