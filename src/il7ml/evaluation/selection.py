"""Choice among candidate models: the simplest that is within one standard error of the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from il7ml.errors import InputError
from il7ml.evaluation.outcome import as_repeats


class Selection(NamedTuple):
    """Outcome of a choice among models.

    Attributes
    ----------
    name : str
        The chosen model.
    best : str
        The model with the smallest mean loss.
    table : DataFrame
        A row a model, simplest first: model, loss, difference (to the best), std_error (of the difference),
        within_one_se, no_simpler_is_better.
    """

    name: str
    best: str
    table: pd.DataFrame


def select_simplest(
    losses: Mapping[str, ArrayLike], order: Sequence[str], weight: ArrayLike | None = None
) -> Selection:
    """Choose the simplest model whose out-of-fold loss is within one standard error of the smallest.

    The standard error is that of the mean paired difference between patients' losses, repeats averaged first: models
    are judged on the same patients, so their losses are strongly correlated. A model that does worse than a simpler one
    is never chosen, whatever its standard error.

    Parameters
    ----------
    losses : mapping of str to array-like of shape (repeats, n) or (n,)
        Each patient's out-of-fold loss, by model, as `Family.loss` returns it; may be NaN where `weight` is 0.
    order : sequence of str
        Model names, simplest first.
    weight : array-like of shape (n,), optional
        Inverse probability that the outcome is observed.

    Returns
    -------
    Selection

    Raises
    ------
    InputError
        If `order` does not name the models of `losses`.

    References
    ----------
    Breiman et al., Classification and Regression Trees, 1984, doi 10.1201/9781315139470 (one-standard-error rule).

    Examples
    --------
    >>> losses = {"prevalence": [0.6, 0.7, 0.5, 0.6], "logistic": [0.5, 0.8, 0.4, 0.6]}
    >>> select_simplest(losses, ["prevalence", "logistic"]).name
    'prevalence'
    """
    if sorted(order) != sorted(losses):
        raise InputError(f"order: expected each of {', '.join(losses)} once, got {', '.join(order)}.")
    n = np.shape(losses[order[0]])[-1]
    share = np.ones(n) if weight is None else np.asarray(weight, dtype=float)
    known = share > 0
    share = share[known] / share.sum()
    patients = np.array(
        [
            as_repeats(np.asarray(losses[name])[..., known], share.size, f"losses of {name}").mean(axis=0)
            for name in order
        ]
    )
    mean = patients @ share
    best = int(np.argmin(mean))
    paired = patients - patients[best]
    difference = paired @ share
    error = np.sqrt(((paired - difference[:, None]) ** 2) @ share**2)
    within = difference <= error
    undefeated = mean <= np.minimum.accumulate(mean)
    table = pd.DataFrame(
        {
            "model": list(order),
            "loss": mean,
            "difference": difference,
            "std_error": error,
            "within_one_se": within,
            "no_simpler_is_better": undefeated,
        }
    )
    return Selection(order[int(np.argmax(within & undefeated))], order[best], table)
