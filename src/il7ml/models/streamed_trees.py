"""Boosted trees for patients on disk, through XGBoost's external memory: binned once, trained for every group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from il7ml.features.design import TreeDesign
from il7ml.models.fitted import FittedTrees
from il7ml.models.glm import GlmFit
from il7ml.models.risk import BoostedRiskModel, bearable_rounds
from il7ml.models.streamed_glm import BLOCK, StoredPatients
from il7ml.parallel import Progress
from il7ml.state import State

Floats = NDArray[np.float64]

# Patients of a batch that XGBoost is given: fixed, since the quantiles that it bins by depend on it a little.
_BATCH = 4 * BLOCK


def fit_streamed_trees(
    model: BoostedRiskModel,
    patients: StoredPatients,
    starts: Sequence[GlmFit],
    *,
    threads: int,
    scratch: Path,
    state: State | None = None,
    progress: Progress | None = None,
) -> list[FittedTrees]:
    """Fit the trees of `BoostedRiskModel` to each group of patients.

    Patients outside a group have weight 0, so that one binned matrix serves all groups. Bins come from the baseline
    values of all patients, never from outcomes.

    Parameters
    ----------
    model : BoostedRiskModel
        Unfitted, with the number of rounds left to the events.
    patients : StoredPatients
    starts : sequence of GlmFit
        Each group's intercept and arm effect.
    threads : int
    scratch : Path
        Folder for the binned matrix.
    state : State, optional
        Keeps the trees of each group that is finished.
    progress : callable, optional

    Returns
    -------
    list of FittedTrees
        One a group.

    References
    ----------
    XGBoost 3.2, "Using XGBoost External Memory Version" (xgboost.readthedocs.io).
    """
    variables = dict(model.variables or {})
    design = TreeDesign.learn(variables)
    settings = {**model.settings(design, variables), "nthread": threads}
    stored = [None if state is None else state.load(f"{group:03d}") for group in range(len(patients.groups))]
    data: Any = None
    fitted = []
    for group, (start, found) in enumerate(zip(starts, stored, strict=True)):
        if found is None:
            if data is None:
                data = binned(design, patients, threads=threads, scratch=scratch)
            content = _train(settings, data, patients, group, start, model)
            if state is not None:
                state.save(f"{group:03d}", {"trees": np.frombuffer(content, dtype=np.uint8).astype(float)})
        else:
            content = found["trees"].astype(np.uint8).tobytes()
        fitted.append(FittedTrees(design, _booster(content, threads), start.intercept, float(start.coefficients[0])))
        if progress is not None:
            progress(group + 1, len(starts))
    return fitted


def binned(design: TreeDesign, patients: StoredPatients, *, threads: int, scratch: Path) -> Any:
    """Return all patients as an ``ExtMemQuantileDMatrix`` whose pages lie in `scratch`."""
    import xgboost

    n = patients.y.size

    class Batches(xgboost.DataIter):  # type: ignore[misc]
        def __init__(self) -> None:
            self.start = 0
            super().__init__(cache_prefix=str(scratch / "binned"))

        def next(self, input_data: Callable[..., None]) -> bool:
            if self.start >= n:
                return False
            rows = slice(self.start, min(self.start + _BATCH, n))
            matrix = design.matrix(patients.columns.rows(rows.start, rows.stop), rows.stop - rows.start)
            input_data(data=matrix, label=patients.y[rows], weight=patients.weight[rows])
            self.start = rows.stop
            return True

        def reset(self) -> None:
            self.start = 0

    return xgboost.ExtMemQuantileDMatrix(Batches(), nthread=threads)


def _train(
    settings: dict[str, Any],
    data: Any,
    patients: StoredPatients,
    group: int,
    start: GlmFit,
    model: BoostedRiskModel,
) -> bytes:
    import xgboost

    inside = patients.groups[group]
    margin = start.intercept + start.coefficients[0] * patients.treatment
    data.set_weight(patients.weight * inside)
    data.set_base_margin(margin if patients.exposure is None else margin + np.log(patients.exposure))
    rounds = model.rounds
    if rounds is None:
        rounds = bearable_rounds(model.outcome, patients.y[inside], patients.weight[inside])
    return bytes(xgboost.train(settings, data, num_boost_round=rounds).save_raw("ubj"))


def _booster(content: bytes, threads: int) -> Any:
    import xgboost

    booster = xgboost.Booster({"nthread": threads})
    booster.load_model(bytearray(content))
    return booster
