"""Instability: how much predictions for the same patients differ between models fitted to bootstrap samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.errors import InputError
from il7ml.evaluation.calibration import calibration_curve
from il7ml.evaluation.checks import as_numbers, check_count, check_level
from il7ml.evaluation.outcome import as_repeats
from il7ml.evaluation.quantile_groups import quantile_groups
from il7ml.family import Kind

Floats = NDArray[np.float64]

#: A patient counts as unstable whose class changes in more than this share of the models.
UNSTABLE = 0.1


class Instability(NamedTuple):
    """Spread of predictions over bootstrap models. Holds summaries over patients, never a patient's own.

    Attributes
    ----------
    mean_absolute_prediction_error : float
        Mean over patients and models of the distance between a bootstrap model's prediction and the final model's.
    models : int
    groups : DataFrame
        A row a group of similar predictions: group, n, predicted (mean by the final model),
        mean_absolute_prediction_error, and width_q25, width_q50, width_q75: quartiles over the group's patients of the
        width of the interval that holds the share `level` of the models' predictions.
    flips : DataFrame
        A row a threshold: threshold, share_above (by the final model), flips (mean share of models that put a patient
        on the other side), share_unstable (patients whose side changes in more than a tenth of the models).
    """

    mean_absolute_prediction_error: float
    models: int
    groups: pd.DataFrame
    flips: pd.DataFrame


def prediction_instability(
    predicted: ArrayLike,
    bootstrap: ArrayLike,
    *,
    thresholds: ArrayLike = (),
    groups: int = 10,
    level: float = 0.95,
) -> Instability:
    """Summarise how predictions for the original patients vary over bootstrap models.

    Parameters
    ----------
    predicted : array-like of shape (n,)
        The final model's prediction for each patient.
    bootstrap : array-like of shape (b, n)
        Predictions for the same patients by models fitted to bootstrap samples, all modelling steps repeated.
    thresholds : array-like of shape (t,)
        At which patients would be classified; a prediction of at least the threshold is above.
    groups : int
        Groups of predictions at most; tied predictions share a group.
    level : float
        Share of the models that a patient's interval holds.

    Returns
    -------
    Instability

    Raises
    ------
    InputError
        If the arrays do not fit together, or there are fewer than two bootstrap models.

    References
    ----------
    Riley and Collins, Biom J 2023;65:2200302, doi 10.1002/bimj.202200302.

    Examples
    --------
    >>> result = prediction_instability([0.2, 0.6], [[0.1, 0.7], [0.3, 0.5], [0.6, 0.6]], thresholds=[0.5])
    >>> round(result.mean_absolute_prediction_error, 4)
    0.1333
    >>> result.flips[["share_above", "flips"]].round(4).values.tolist()
    [[0.5, 0.1667]]
    """
    final, models = _checked(predicted, bootstrap)
    error = np.abs(models - final).mean(axis=0)
    if level != 1:  # from the lowest to the highest model
        check_level(level)
    check_count(groups, 1, "groups")
    low, high = np.quantile(models, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    patients = pd.DataFrame({"predicted": final, "error": error, "width": high - low})
    grouped = patients.groupby(quantile_groups(final, groups))
    table = pd.DataFrame(
        {
            "group": np.arange(1, grouped.ngroups + 1),
            "n": grouped.size(),
            "predicted": grouped["predicted"].mean(),
            "mean_absolute_prediction_error": grouped["error"].mean(),
            **{f"width_q{round(100 * share)}": grouped["width"].quantile(share) for share in (0.25, 0.5, 0.75)},
        }
    )
    rows = []
    for cut in np.unique(as_numbers(thresholds, "thresholds")).tolist():
        above = final >= cut
        changed = ((models >= cut) != above).mean(axis=0)
        rows.append((cut, float(above.mean()), float(changed.mean()), float((changed > UNSTABLE).mean())))
    flips = pd.DataFrame(rows, columns=["threshold", "share_above", "flips", "share_unstable"], dtype=float)
    return Instability(float(error.mean()), len(models), table, flips)


def calibration_instability(
    y: ArrayLike,
    predicted: ArrayLike,
    bootstrap: ArrayLike,
    kind: Kind,
    *,
    weight: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
) -> pd.DataFrame:
    """Return the calibration curve in the original patients of the final model and of each bootstrap model.

    The final model was fitted to these patients, so its own curve shows apparent calibration; the spread of the curves
    is what counts.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome; may be NaN where `weight` is 0.
    predicted : array-like of shape (n,)
        The final model's predictions.
    bootstrap : array-like of shape (b, n)
        The bootstrap models' predictions for the same patients.
    kind : {'binary', 'count', 'continuous'}
    weight, exposure : array-like of shape (n,), optional
        As in `calibration_curve`.

    Returns
    -------
    DataFrame
        Columns model (0 is the final one, then 1 to b), predicted, observed.

    Raises
    ------
    InputError
        If the arrays do not fit together, or there are fewer than two bootstrap models.

    References
    ----------
    Riley and Collins, Biom J 2023;65:2200302, doi 10.1002/bimj.202200302.

    Examples
    --------
    >>> import numpy as np
    >>> risk = np.repeat([0.25, 0.75], 40)
    >>> y = np.tile([0, 0, 0, 1], 10).tolist() + np.tile([1, 1, 1, 0], 10).tolist()
    >>> curves = calibration_instability(y, risk, [risk, risk + 0.1], "binary")
    >>> curves.groupby("model")["predicted"].min().tolist()
    [0.25, 0.25, 0.35]
    """
    final, models = _checked(predicted, bootstrap)
    curves = []
    for number, values in enumerate([final, *models]):
        curve = calibration_curve(y, values, kind, weight=weight, exposure=exposure).curve[["predicted", "observed"]]
        curve.insert(0, "model", number)
        curves.append(curve)
    return pd.concat(curves, ignore_index=True)


def _checked(predicted: ArrayLike, bootstrap: ArrayLike) -> tuple[Floats, Floats]:
    final = as_repeats(predicted, np.atleast_1d(as_numbers(predicted, "predicted")).shape[-1])
    models = as_repeats(bootstrap, final.shape[1], "bootstrap")
    if len(final) != 1 or len(models) < 2:
        raise InputError(
            f"instability: expected one final model and at least 2 bootstrap models, got {len(final)} and "
            f"{len(models)}. Pass shapes (n,) and (b, n)."
        )
    return final[0], models
