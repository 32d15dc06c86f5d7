"""Choice among candidate models: the penalised regression, unless a simpler or a clearly better one takes its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.errors import InputError
from il7ml.evaluation.outcome import as_repeats

Floats = NDArray[np.float64]

#: By how many standard errors of the paired difference a model's loss must be below the reference's: a simpler model's,
#: which is the safer choice, by less than that of a more complex one, which must be better beyond luck (docs/risk.md).
SIMPLER, MORE_COMPLEX = 0.5, 1.5


class Selection(NamedTuple):
    """Outcome of a choice among models.

    Attributes
    ----------
    name : str
        The chosen model.
    best : str
        The model with the smallest mean loss.
    table : DataFrame
        A row a model, simplest first: model, loss, difference (to the reference), std_error (of the difference),
        needed (standard errors by which it must be better), beats_reference.
    """

    name: str
    best: str
    table: pd.DataFrame


def select_model(
    losses: Mapping[str, ArrayLike], order: Sequence[str], reference: str, weight: ArrayLike | None = None
) -> Selection:
    """Choose the reference, unless a simpler model has a smaller loss or a more complex one a much smaller one.

    A penalised regression is shrunk towards the event rate by its penalty, so it is a compromise already, and the
    usual "simplest within one standard error" throws its gain away where patients are few (docs/risk.md). The standard
    error is that of the mean paired difference between patients' losses, repeats averaged first: models are judged on
    the same patients, so their losses are strongly correlated. Of several models that are better the one with the
    smallest loss is taken. Where a simpler model takes the reference's place, a more complex one is held against that.

    Parameters
    ----------
    losses : mapping of str to array-like of shape (repeats, n) or (n,)
        Each patient's out-of-fold loss, by model, as `Family.loss` returns it; may be NaN where `weight` is 0.
    order : sequence of str
        Model names, simplest first.
    reference : str
        One of them.
    weight : array-like of shape (n,), optional
        Inverse probability that the outcome is observed.

    Returns
    -------
    Selection

    Raises
    ------
    InputError
        If `order` does not name the models of `losses`, or the reference is not one of them.

    References
    ----------
    Breiman et al., Classification and Regression Trees, 1984, doi 10.1201/9781315139470 (standard-error rules).

    Examples
    --------
    >>> losses = {"prevalence": [0.6, 0.7, 0.5, 0.6], "logistic": [0.5, 0.8, 0.4, 0.6]}
    >>> select_model(losses, ["prevalence", "logistic"], "logistic").name
    'logistic'
    """
    if sorted(order) != sorted(losses):
        raise InputError(f"order: expected each of {', '.join(losses)} once, got {', '.join(order)}.")
    if reference not in losses:
        raise InputError(f"reference: expected one of {', '.join(losses)}, got {reference!r}.")
    n = np.shape(losses[reference])[-1]
    share = np.ones(n) if weight is None else np.asarray(weight, dtype=float)
    known = share > 0
    share = share[known] / share.sum()
    patients = np.array(
        [
            as_repeats(np.asarray(losses[name])[..., known], share.size, f"losses of {name}").mean(axis=0)
            for name in order
        ]
    )
    place = list(order).index(reference)
    mean = patients @ share
    difference, error = _paired(patients, place, share)
    is_simpler = np.arange(len(order)) < place
    needed = np.where(is_simpler, SIMPLER, MORE_COMPLEX)
    beats = difference < -needed * error
    stays = _best(mean, beats & is_simpler, place)
    gain, its_error = _paired(patients, stays, share)
    is_more_complex = np.arange(len(order)) > place
    chosen = _best(mean, is_more_complex & (gain < -MORE_COMPLEX * its_error), stays)
    table = pd.DataFrame(
        {
            "model": list(order),
            "loss": mean,
            "difference": difference,
            "std_error": error,
            "needed": needed,
            "beats_reference": beats,
        }
    )
    return Selection(order[chosen], order[int(np.argmin(mean))], table)


def _paired(patients: Floats, place: int, share: Floats) -> tuple[Floats, Floats]:
    """Return each model's mean loss less that of the one at `place`, and its standard error."""
    paired = patients - patients[place]
    difference = paired @ share
    return difference, np.sqrt(((paired - difference[:, None]) ** 2) @ share**2)


def _best(mean: Floats, able: NDArray[np.bool_], otherwise: int) -> int:
    """Return the place of the smallest loss among those that are able."""
    return int(np.argmin(np.where(able, mean, np.inf))) if able.any() else otherwise
