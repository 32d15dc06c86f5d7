"""Sweeps in a store: found again by a key, and what they log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from il7ml.tracking.items import Item, Metric, Param, Picture, Table, Tag, Text
from il7ml.tracking.location import database_of, is_server, local_uri
from il7ml.tracking.mlflow_client import server_answers, store_errors
from il7ml.tracking.opening import open_store
from il7ml.tracking.store import FinishedChild, Place, finished_children

#: What a sweep and each of its candidates is found by.
SWEEP, CANDIDATE = "il7ml.sweep", "il7ml.sweep_candidate"


class FoundSweep(NamedTuple):
    """A sweep that was begun before.

    Attributes
    ----------
    uri : str
        Where it stands: if its server is away, beside the project.
    run_id, status : str
    candidates : list of FinishedChild
        Those that are complete.
    """

    uri: str
    run_id: str
    status: str
    candidates: list[FinishedChild]


def find_sweep(uri: str, experiment: str, key: str, root: Path | None = None) -> FoundSweep | None:
    """Return the sweep of a key: one that is finished, else the one begun last; None where there is none.

    Parameters
    ----------
    uri : str
        Resolved tracking URI.
    experiment, key : str
    root : Path, optional
        As in `open_run`.

    Raises
    ------
    InputError
        If the store cannot be read.
    """
    if is_server(uri) and not server_answers(uri):
        uri = local_uri(root)
    database = database_of(uri)
    if database is not None and not database.exists():
        return None
    client = open_store(uri)
    with store_errors(uri):
        place = client.get_experiment_by_name(experiment)
        if place is None:
            return None
        runs = client.search_runs(
            [place.experiment_id], f"tags.`{SWEEP}` = '{key}'", order_by=["attributes.start_time DESC"]
        )
        runs.sort(key=lambda run: run.info.status != "FINISHED")
        if not runs:
            return None
        info = runs[0].info
        done = finished_children(Place(client, uri, place.experiment_id, info.run_id))
    return FoundSweep(uri, info.run_id, info.status, done)


def sweep_items(
    candidates: pd.DataFrame, params: dict[str, str], figures: dict[str, float], files: dict[str, str], figure: bytes
) -> Iterator[Item]:
    """Yield what a sweep logs once its candidates are complete.

    Parameters
    ----------
    candidates : DataFrame
        A row a candidate.
    params, figures, files : dict
        Parameters, metrics, and texts by file name; ``summary.md`` is the run's description, too.
    figure : bytes
        PNG of the candidates.
    """
    yield Tag("mlflow.note.content", files["summary.md"])
    for name, text in params.items():
        yield Param(name, text)
    for name, value in figures.items():
        if np.isfinite(value):
            yield Metric(name, value)
    for name, text in files.items():
        yield Text(name, text)
    yield Table("candidates", candidates)
    yield Picture("candidates", figure)
