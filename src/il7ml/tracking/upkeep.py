"""A store's health: whether the database is whole, the files are where it says, and the registered models load."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from il7ml.bundle import load_bundle
from il7ml.errors import BundleRefusedError, InputError
from il7ml.tracking.location import database_of, resolve_uri
from il7ml.tracking.mlflow_client import store_errors
from il7ml.tracking.opening import HOST, open_store
from il7ml.tracking.registry import CHAMPION, bundle_of
from il7ml.tracking.store import RegisteredModel

_PAGE = 50_000
_DIGEST = "data_digest"


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes
    ----------
    part : str
        database, experiment, model or champion.
    name : str
    ok : bool
    finding : str
        What was found, and where it is not ok what to do.
    """

    part: str
    name: str
    ok: bool
    finding: str


def check_store(uri: str | None = None) -> pd.DataFrame:
    """Look through a store.

    Parameters
    ----------
    uri : str, optional

    Returns
    -------
    DataFrame
        part, name, ok, finding; a row for the database (SQLite only), each experiment, registered version and name.

    Raises
    ------
    InputError
        If the store is not there, or so damaged that it cannot be opened.
    """
    uri = resolve_uri(uri)
    database = database_of(uri)
    findings = []
    if database is not None and database.is_file():
        findings.append(_database(database))
        if not findings[0].ok:
            return pd.DataFrame(findings)
    client = open_store(uri, must_exist=True)
    with store_errors(uri):
        for experiment in client.search_experiments():
            findings.append(_experiment(client, experiment))
        versions = sorted(client.search_model_versions(), key=lambda each: (each.name, int(each.version)))
        entries = client.search_registered_models()
    findings += [_model(uri, RegisteredModel(each.name, str(each.version))) for each in versions]
    known = {(each.name, str(each.version)) for each in versions}
    findings += [_name(entry, known) for entry in entries]
    return pd.DataFrame(findings)


def _database(database: Path) -> Finding:
    try:
        # Not read-only: what an ended process was about to write is taken back by the next that may write.
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=rw", uri=True)) as connection:
            rows = [row for (row,) in connection.execute("PRAGMA integrity_check(10)")]
    except sqlite3.Error as error:
        rows = [type(error).__name__]
    if rows == ["ok"]:
        return Finding("database", database.name, True, "whole")
    return Finding("database", database.name, False, f"damaged ({len(rows)} faults). Restore it from a backup.")


def _experiment(client: Any, experiment: Any) -> Finding:
    runs = client.search_runs([experiment.experiment_id], max_results=_PAGE)
    status = [run.info.status for run in runs]
    # Every training and analysis that finished has files; its candidates, which name no data, need not.
    bare = sum(
        run.info.status == "FINISHED" and _DIGEST in run.data.tags and not client.list_artifacts(run.info.run_id)
        for run in runs
    )
    unknown = sum(run.info.status == "RUNNING" and HOST not in run.data.tags for run in runs)
    counts = ", ".join(f"{status.count(kind)} {kind.lower()}" for kind in sorted(set(status))) or "no runs"
    if bare:
        advice = f"{counts}; the files of {bare} are not where the store says. Moved? il7ml store relocate."
    elif unknown:
        advice = f"{counts}; of {unknown} running it is not known by which process. Close them in MLflow's pages."
    else:
        advice = counts
    return Finding("experiment", experiment.name, not (bare or unknown), advice)


def _model(uri: str, model: RegisteredModel) -> Finding:
    name = f"{model.name} version {model.version}"
    try:
        load_bundle(bundle_of(uri, model))
    except (InputError, BundleRefusedError) as error:
        return Finding("model", name, False, str(error))
    return Finding("model", name, True, "loads")


def _name(entry: Any, known: set[tuple[str, str]]) -> Finding:
    version = (entry.aliases or {}).get(CHAMPION)
    if version is None:
        return Finding("champion", entry.name, True, "none")
    if (entry.name, str(version)) in known:
        return Finding("champion", entry.name, True, f"version {version}")
    advice = f"version {version}, which is not there. Promote another: il7ml promote RUN."
    return Finding("champion", entry.name, False, advice)
