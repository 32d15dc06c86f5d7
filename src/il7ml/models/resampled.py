"""Whole pipelines refitted to bootstrap samples: what optimism and instability are read from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from il7ml.config import RiskModelName
from il7ml.models.catalog import Setting, make_risk_model
from il7ml.models.crossfit import bootstrap_rows, choice_of
from il7ml.models.sample import Sample
from il7ml.parallel import Progress, run_resumable, spawn
from il7ml.state import State

Floats = NDArray[np.float64]


class Resampled(NamedTuple):
    """Predictions for the original patients by models fitted to all of them, and to bootstrap samples of them.

    Attributes
    ----------
    counts : ndarray of shape (b, n)
        How often each patient is in each bootstrap sample; 0 means out of the bag.
    untreated, treated : dict of str to ndarray of shape (b + 1, n)
        Each risk model's mean outcome without and with treatment: the model of all patients first, then the refits.
    choice : ndarray of shape (b,)
        The model that each bootstrap sample chooses: its place in `untreated`. Where no choice was
        asked for, their number.
    """

    counts: NDArray[np.intp]
    untreated: dict[str, Floats]
    treated: dict[str, Floats]
    choice: NDArray[np.intp]

    def apparent(self, model: str, treatment: NDArray[np.int8]) -> Floats:
        """Return the predictions of the model of all patients under the arm each patient was in, shape (n,)."""
        return np.asarray(self._factual(model, treatment)[0])

    def refits(self, model: str, treatment: NDArray[np.int8]) -> Floats:
        """Return the refits' predictions under the arm each patient was in, shape (b, n)."""
        return self._factual(model, treatment)[1:]

    def chosen(self, treatment: NDArray[np.int8] | int) -> Floats:
        """Return predictions under the given arm by each refit of the model that its sample chose, shape (b, n)."""
        models = np.where(np.asarray(treatment) == 1, list(self.treated.values()), list(self.untreated.values()))
        return np.asarray(models[self.choice, np.arange(1, models.shape[1])])

    def choices(self) -> dict[str, float]:
        """Return which share of the bootstrap samples chose each model."""
        return {name: float((self.choice == place).mean()) for place, name in enumerate(self.untreated)}

    def _factual(self, model: str, treatment: NDArray[np.int8]) -> Floats:
        return np.where(treatment == 1, self.treated[model], self.untreated[model])


def resample(
    sample: Sample,
    setting: Setting,
    *,
    models: Sequence[RiskModelName],
    bootstrap: int = 200,
    choose: bool = False,
    seed: int | np.random.SeedSequence = 0,
    workers: int = 1,
    progress: Progress | None = None,
    state: State | None = None,
) -> Resampled:
    """Fit whole pipelines, features included, to all patients and to bootstrap samples drawn within arms.

    Unlike the refits that a bundle keeps, these learn the design anew, so that all that was learned is validated.

    Parameters
    ----------
    sample : Sample
    setting : Setting
    models : sequence of str
        Names of the catalog. All see the same bootstrap samples.
    bootstrap : int
        Number of bootstrap samples.
    choose : bool, default False
        Whether each bootstrap sample also chooses among the models, see `choose_among`.
    seed, workers, progress, state
        See `parallel.run_resumable`; results do not depend on `workers`.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, doi 10.1201/9780429246593.
    """
    n = sample.y.size
    seeds = spawn(seed, bootstrap)
    draws = [bootstrap_rows(sample.treatment, np.random.default_rng(s)) for s in seeds]
    inner = [spawn(s, 1)[0] if choose else None for s in seeds]
    # What the model of all patients is has been settled by the cross-validation already.
    tasks = [
        (sample, setting, tuple(models), rows, each)
        for rows, each in zip((np.arange(n), *draws), (None, *inner), strict=True)
    ]
    parts = run_resumable(_fit_drawn, tasks, state, workers=workers, progress=progress)
    return Resampled(
        np.array([np.bincount(rows, minlength=n) for rows in draws]).reshape(bootstrap, n),
        {name: np.array([part[f"untreated.{name}"] for part in parts]) for name in models},
        {name: np.array([part[f"treated.{name}"] for part in parts]) for name in models},
        np.array([int(part["choice"]) for part in parts[1:]], dtype=np.intp),
    )


def _fit_drawn(
    sample: Sample,
    setting: Setting,
    models: Sequence[RiskModelName],
    rows: NDArray[np.intp],
    inner: np.random.SeedSequence | None,
) -> dict[str, Floats]:
    """Train on the drawn patients and predict all: arrays by field of `Resampled` and name."""
    drawn = sample.rows(rows)
    found = {"choice": choice_of(models, drawn, setting, inner)}
    for name in models:
        model = make_risk_model(name, setting).fit(
            drawn.X, drawn.y, drawn.treatment, sample_weight=drawn.weight, exposure=drawn.exposure
        )
        found[f"untreated.{name}"], found[f"treated.{name}"] = model.predict_arms(sample.X)
    return found
