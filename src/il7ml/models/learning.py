"""How a risk model's out-of-fold loss falls with the number of patients that it learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.config import RiskModelName
from il7ml.family import FAMILIES
from il7ml.models.catalog import Setting, make_risk_model
from il7ml.models.folds import outcome_strata, stratified_folds
from il7ml.models.sample import Sample
from il7ml.parallel import Progress, run_resumable, spawn
from il7ml.state import State

Floats = NDArray[np.float64]

FRACTIONS = (0.25, 0.5, 0.75, 1.0)


def losses_by_size(
    sample: Sample,
    setting: Setting,
    *,
    model: RiskModelName,
    fractions: Sequence[float] = FRACTIONS,
    folds: int = 5,
    repeats: int = 5,
    seed: int | np.random.SeedSequence = 0,
    workers: int = 1,
    progress: Progress | None = None,
    state: State | None = None,
) -> pd.DataFrame:
    """Return the loss in held-out patients of models that learned from parts of the others.

    Every size is judged on the same patients; a smaller part is contained in the larger ones, and all keep the shares
    of arms and outcomes.

    Parameters
    ----------
    sample : Sample
    setting : Setting
    model : str
        Name of the catalog.
    fractions : sequence of float
        Parts of the patients outside the held-out fold, the largest being 1.
    folds, repeats : int
    seed, workers, progress, state
        See `parallel.run_resumable`; results do not depend on `workers`.

    Returns
    -------
    DataFrame
        Columns size (training patients, to within one a stratum), repeat, value (mean loss).

    References
    ----------
    Perlich, Provost and Simonoff, J Mach Learn Res 2003;4:211 (learning curves of logistic regression and trees).
    """
    strata = outcome_strata(sample.y, sample.treatment, setting.outcome)
    tasks = []
    for repeat_seed in spawn(seed, repeats):
        rng = np.random.default_rng(repeat_seed)
        fold = stratified_folds(strata, folds, rng)
        # Ranked within stratum and fold, so that the first part of any folds has the shares of the whole.
        rank = _ranks(strata * folds + fold, rng)
        tasks += [(sample, setting, model, fold, held, rank, tuple(fractions)) for held in range(folds)]
    parts = run_resumable(_fit_parts, tasks, state, workers=workers, progress=progress)
    sizes = np.array(fractions) * sample.y.size * (folds - 1) / folds
    rows = []
    for repeat in range(repeats):
        found = parts[repeat * folds : (repeat + 1) * folds]
        total = np.sum([part["loss"] for part in found], axis=0) / np.sum([part["weight"] for part in found])
        rows += [(round(n), repeat, float(loss)) for n, loss in zip(sizes, total, strict=True)]
    return pd.DataFrame(rows, columns=["size", "repeat", "value"])


def _ranks(strata: NDArray[np.intp], rng: np.random.Generator) -> Floats:
    """Return each patient's place within the stratum, from 0 to 1, dealt at random."""
    rank = np.empty(strata.size)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        rank[rng.permutation(rows)] = (np.arange(rows.size) + 0.5) / rows.size
    return rank


def _fit_parts(
    sample: Sample,
    setting: Setting,
    model: RiskModelName,
    fold: NDArray[np.intp],
    held: int,
    rank: Floats,
    fractions: Sequence[float],
) -> dict[str, Floats]:
    """Return summed loss by fraction and the weight of the held-out patients."""
    test = sample.rows(np.flatnonzero(fold == held))
    known = test.weight > 0
    losses = []
    for fraction in fractions:
        train = sample.rows(np.flatnonzero((fold != held) & (rank <= fraction)))
        fitted = make_risk_model(model, setting).fit(
            train.X, train.y, train.treatment, sample_weight=train.weight, exposure=train.exposure
        )
        loss = FAMILIES[setting.outcome].loss(test.y, fitted.predict(test.X, test.treatment), test.exposure)
        losses.append(float((test.weight[known] * loss[known]).sum()))
    return {"loss": np.array(losses), "weight": np.array(float(test.weight.sum()))}
