"""The receiver operating characteristic curve as a table of points."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from il7ml.evaluation.outcome import as_outcome, as_repeats


def roc_curve(
    y: ArrayLike, predicted: ArrayLike, *, weight: ArrayLike | None = None, smallest: int = 1
) -> pd.DataFrame:
    """Return the points of the ROC curve, from treating nobody to treating all.

    Parameters
    ----------
    y : array-like of shape (n,)
        Binary outcome; may be NaN where `weight` is 0.
    predicted : array-like of shape (n,) or (repeats, n)
        Out-of-fold risk; repeats are averaged, so the area can differ a little from the averaged `auroc`.
    weight : array-like of shape (n,), optional
        Inverse probability that the outcome is observed.
    smallest : int, default 1
        Least number of patients between two points. Above 1 thresholds are left out, too, so that the table tells of
        no single patient; the curve runs straight between its points.

    Returns
    -------
    DataFrame
        Columns threshold, false_positive_rate, true_positive_rate; positive means a risk of at least the threshold. A
        rate is NaN where nobody is without, or with, the outcome.

    Examples
    --------
    >>> roc_curve([0, 1, 1], [0.2, 0.5, 0.1])["true_positive_rate"].tolist()
    [0.0, 0.5, 0.5, 1.0]
    """
    outcome = as_outcome(y, "binary", weight)
    risk = as_repeats(predicted, outcome.y.size, kind="binary").mean(axis=0)
    thresholds, position = np.unique(risk, return_inverse=True)
    events = np.bincount(position, weights=outcome.weight * outcome.y)[::-1].cumsum()
    others = np.bincount(position, weights=outcome.weight * (1 - outcome.y))[::-1].cumsum()
    with np.errstate(invalid="ignore"):
        curve = pd.DataFrame(
            {
                "threshold": np.concatenate([[np.inf], thresholds[::-1]]),
                "false_positive_rate": np.concatenate([[0.0], others / others[-1]]),
                "true_positive_rate": np.concatenate([[0.0], events / events[-1]]),
            }
        )
    if smallest == 1:
        return curve
    reached = np.concatenate([[0], np.bincount(position)[::-1].cumsum()])
    kept = [0]
    for place, count in enumerate(reached):
        # A rest that is too small for a point of its own belongs to the last group.
        if count - reached[kept[-1]] >= smallest and (reached[-1] - count >= smallest or count == reached[-1]):
            kept.append(place)
    if kept[-1] != reached.size - 1:
        kept.append(reached.size - 1)
    return curve.iloc[kept].drop(columns="threshold").reset_index(drop=True)
