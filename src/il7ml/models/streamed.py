"""Risk models for patients on disk: fitted to all of them, and to random halves of them in turn.

A half predicts the other, which gives out-of-fold predictions; and the models of halves differ from that of all
patients as much as models of bootstrap samples do, which gives a prediction's interval without further fits.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from il7ml.config import RiskModelName
from il7ml.errors import InputError
from il7ml.family import FAMILIES
from il7ml.features.design import LinearDesign
from il7ml.models.catalog import Setting, make_risk_model
from il7ml.models.fitted import Fitted, FittedLinear
from il7ml.models.risk import BoostedRiskModel, LinearRiskModel
from il7ml.models.streamed_glm import StoredPatients, fit_streamed_glm
from il7ml.models.streamed_trees import fit_streamed_trees
from il7ml.parallel import Progress
from il7ml.state import State

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Candidates that can be fitted to patients on disk.
STREAMED: tuple[RiskModelName, ...] = ("prevalence", "lymphocyte", "logistic", "xgboost")


class StreamedModel(NamedTuple):
    """A risk model of all patients, and those of halves.

    Attributes
    ----------
    fitted : Fitted
    halves : tuple of Fitted
        Of the first half, of the second, and so on for each way of halving. The spread of predictions from random
        halves, drawn without replacement, is that of predictions from bootstrap samples.

    References
    ----------
    Shao and Wu, Ann Stat 1989;17:1176, doi 10.1214/aos/1176347263 (delete-d jackknife, here with d = n / 2).
    """

    fitted: Fitted
    halves: tuple[Fitted, ...]


def halve(number: NDArray[np.uint64], times: int) -> Bools:
    """Return the groups that models are fitted to: everybody, a random half, the others, another half, ....

    Parameters
    ----------
    number : ndarray of uint64 of shape (n,)
        A random number for each patient; its last bits tell the halves.
    times : int

    Returns
    -------
    ndarray of bool of shape (1 + 2 * times, n)

    Examples
    --------
    >>> import numpy as np
    >>> halve(np.array([0, 1, 2, 3], dtype=np.uint64), 1).astype(int).tolist()
    [[1, 1, 1, 1], [0, 1, 0, 1], [1, 0, 1, 0]]
    """
    groups = np.ones((1 + 2 * times, number.size), dtype=bool)
    for turn in range(times):
        groups[2 * turn + 1] = (number >> np.uint64(turn)) & np.uint64(1)
        groups[2 * turn + 2] = ~groups[2 * turn + 1]
    return groups


def fit_streamed(
    name: RiskModelName,
    patients: StoredPatients,
    setting: Setting,
    *,
    threads: int,
    scratch: Path,
    state: State | None = None,
    progress: Progress | None = None,
) -> StreamedModel:
    """Fit a risk model of the catalog to all patients and to their halves.

    Linear models of halves share the design of all patients; it does not depend on outcomes.

    Parameters
    ----------
    name : {'prevalence', 'lymphocyte', 'logistic', 'xgboost'}
    patients : StoredPatients
        Its groups as `halve` returns them.
    setting : Setting
    threads, scratch, state, progress
        As in `fit_streamed_trees`.

    Raises
    ------
    InputError
        If the model cannot be fitted to patients on disk, or does not converge.
    """
    family, model = FAMILIES[setting.outcome], make_risk_model(name, setting)
    fitted: list[Fitted]
    if isinstance(model, BoostedRiskModel):
        starts = fit_streamed_glm(family, LinearDesign.learn({}, {}), patients)
        fitted = [
            *fit_streamed_trees(
                model, patients, starts, threads=threads, scratch=scratch, state=state, progress=progress
            )
        ]
    elif isinstance(model, LinearRiskModel) and not model.firth:
        used = dict(model.variables or {})
        design = LinearDesign.learn(patients.columns, used, spline=model.spline, weight=patients.weight)
        fits = fit_streamed_glm(family, design, patients)
        fitted = [FittedLinear(design, fit.coefficients[1:], fit.intercept, float(fit.coefficients[0])) for fit in fits]
    else:
        raise InputError(f"models: {name} cannot be trained part by part. Take it out, or raise streaming.above.")
    return StreamedModel(fitted[0], tuple(fitted[1:]))


def linear_predictors(model: StreamedModel, patients: StoredPatients) -> NDArray[np.float32]:
    """Return the linear predictors without treatment of all patients by all models, shape (1 + halves, n)."""
    models = (model.fitted, *model.halves)
    found = np.empty((len(models), patients.y.size), dtype=np.float32)
    for rows, columns in patients.blocks():
        n = rows.stop - rows.start
        if isinstance(model.fitted, FittedLinear):
            matrix = model.fitted.design.matrix(columns, n)
            for place, each in enumerate(models):
                found[place, rows] = each.intercept + matrix @ each.coefficients  # type: ignore[attr-defined]
        else:
            for place, each in enumerate(models):
                found[place, rows] = each.linear_predictor(columns, n)
    return found


def out_of_fold_means(
    model: StreamedModel, linear: NDArray[np.float32], groups: Bools, setting: Setting, turn: int
) -> tuple[Floats, Floats]:
    """Return all patients' means without and with treatment, each by the model of the half that they are not in.

    Parameters
    ----------
    model : StreamedModel
    linear : ndarray of shape (1 + halves, n)
        From `linear_predictors`.
    groups : ndarray of bool of shape (1 + halves, n)
    setting : Setting
    turn : int
        Which way of halving.
    """
    family, n = FAMILIES[setting.outcome], linear.shape[1]
    untreated, treated = np.empty(n), np.empty(n)
    for place in (2 * turn + 1, 2 * turn + 2):
        inside, half = groups[place], model.halves[place - 1]
        values = linear[place, ~inside].astype(float)
        if isinstance(half, FittedLinear):  # as `PrognosticModel.predict` does
            values = np.clip(values, linear[place, inside].min(), linear[place, inside].max())
        untreated[~inside], treated[~inside] = family.mean(values), family.mean(values + half.arm_effect)
    return untreated, treated
