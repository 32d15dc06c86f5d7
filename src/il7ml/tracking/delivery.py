"""Delivering runs that were completed beside the project while their server was away: nothing lost, nothing twice."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from il7ml.bundle import load_bundle
from il7ml.errors import InputError
from il7ml.tracking.items import Metric, Param, Tag
from il7ml.tracking.location import database_of, is_server, local_uri, without_password
from il7ml.tracking.mlflow_client import or_none, server_answers, store_errors, write_batch
from il7ml.tracking.opening import HOST, PID, STARTED, open_store, process_tags
from il7ml.tracking.registry import bundle_of
from il7ml.tracking.store import (
    BEGUN,
    PARENT,
    SERVER,
    Place,
    RegisteredModel,
    children_of,
    delete_tree,
    experiment_of,
    register,
)

#: On the server: the local run that a copy is made of, at its beginning and once it is complete.
BEGINS, COPY = "il7ml.copy_begun_of_local_run", "il7ml.local_run"
#: On the local run: its id on the server.
DELIVERED = "il7ml.delivered"
_LOCAL_ONLY = (SERVER, BEGUN, DELIVERED, HOST, PID, STARTED, PARENT)
_PAGE = 1000


class Delivery(NamedTuple):
    """A local run and where it stands on its server.

    Attributes
    ----------
    local_run, server_run : str
    server : str
    """

    local_run: str
    server_run: str
    server: str


def push_runs(uri: str | None = None, *, root: Path | None = None) -> list[Delivery]:
    """Deliver the finished runs in the project's own store that belong to a server.

    May be stopped and repeated at will: a copy counts only once it is complete, an incomplete one is replaced, and a
    run that the server has complete is not sent again. What was begun on the server before it went away is deleted.

    Parameters
    ----------
    uri : str, optional
        Server to deliver to; by default each run's own. Needed where name and password stand in the address.
    root : Path, optional
        Folder from which the project root is looked for; by default the current one.

    Returns
    -------
    list of Delivery
        The runs that were delivered now, the oldest first.

    Raises
    ------
    InputError
        If a server does not answer, the local store is not there, or a delivery is under way already.
    """
    if uri is not None and not is_server(uri):
        raise InputError(
            f"store push: expected a server's address (http://...), got {uri!r}. Leave it out, or name one."
        )
    local = local_uri(root)
    client = open_store(local, must_exist=True)
    with _alone(local):
        with store_errors(local):
            waiting = _waiting(client)
        return [_deliver(client, local, run, uri or run.data.tags[SERVER]) for run in waiting]


def _waiting(client: Any) -> list[Any]:
    """Return the finished runs that belong to a server and have not been delivered, the oldest first."""
    experiments = [entry.experiment_id for entry in client.search_experiments()]
    runs = client.search_runs(
        experiments, "attributes.status != 'RUNNING'", order_by=["attributes.start_time ASC"], max_results=50_000
    )
    return [run for run in runs if SERVER in run.data.tags and DELIVERED not in run.data.tags]


def _deliver(local: Any, local_store: str, run: Any, server: str) -> Delivery:
    if not server_answers(server):
        raise InputError(
            f"tracking server {without_password(server)}: does not answer. What is not delivered stays in "
            f"{database_of(local_store)}; try again later."
        )
    remote = open_store(server)
    run_id = run.info.run_id
    with store_errors(local_store):
        experiment = local.get_experiment(run.info.experiment_id).name
    with store_errors(server):
        place = Place(remote, server, experiment_of(remote, server, experiment), "")
        delivered = _complete_copy(place, run) or _copy_run(local, local_store, run, place)
    with store_errors(local_store):
        local.set_tag(run_id, DELIVERED, delivered)
    return Delivery(run_id, delivered, without_password(server))


def _complete_copy(place: Place, run: Any) -> str | None:
    """Return the server's complete copy of a run, after clearing away what is incomplete; None where there is none.

    Registration is the last of a run's contents, so that a copy with a registered model lacks its end only.
    """
    run_id, begun = run.info.run_id, run.data.tags.get(BEGUN)
    copies = place.client.search_runs([place.experiment_id], f"tags.`{BEGINS}` = '{run_id}'", max_results=_PAGE)
    original = or_none(place.client.get_run, begun) if begun else None
    if original is not None and original.info.lifecycle_stage == "active":
        copies.append(original)
    complete = None
    for copy in copies:
        copy_id = copy.info.run_id
        if complete is None and (COPY in copy.data.tags or place.client.search_model_versions(f"run_id='{copy_id}'")):
            complete = copy_id
            _finish(place._replace(run_id=copy_id), run)
        else:
            delete_tree(place.client, place.experiment_id, copy_id)
    return complete


def _copy_run(local: Any, local_store: str, run: Any, place: Place) -> str:
    run_id = run.info.run_id
    place = _begin_copy(run, place, {BEGINS: run_id})
    _copy_contents(local, run, place)
    _copy_children(local, run, place)
    for version in local.search_model_versions(f"run_id='{run_id}'"):
        model = RegisteredModel(version.name, str(version.version))
        _copy_model(local_store, model, version.description or "", place)
    _finish(place, run)
    return place.run_id


def _copy_children(local: Any, run: Any, place: Place) -> None:
    for child in children_of(local, run.info.experiment_id, run.info.run_id):
        copy = _begin_copy(child, place, {PARENT: place.run_id})
        _copy_contents(local, child, copy)
        _copy_children(local, child, copy)
        place.client.set_terminated(copy.run_id, child.info.status, child.info.end_time)


def _begin_copy(run: Any, place: Place, more: dict[str, str]) -> Place:
    # The process to be watched is the one that copies.
    tags = {**_kept(run.data.tags), **process_tags(), **more}
    made = place.client.create_run(
        place.experiment_id, start_time=run.info.start_time, tags=tags, run_name=run.info.run_name
    )
    return place._replace(run_id=made.info.run_id)


def _copy_contents(local: Any, run: Any, place: Place) -> None:
    params = [Param(*pair) for pair in run.data.params.items()]
    metrics = [Metric(*pair) for pair in run.data.metrics.items()]
    write_batch(place.client, place.run_id, params, metrics, [Tag(*pair) for pair in _kept(run.data.tags).items()])
    if run.inputs.dataset_inputs:
        place.client.log_inputs(place.run_id, run.inputs.dataset_inputs)
    if local.list_artifacts(run.info.run_id):
        with tempfile.TemporaryDirectory() as folder:
            place.client.log_artifacts(place.run_id, local.download_artifacts(run.info.run_id, "", folder))


def _copy_model(local_store: str, model: RegisteredModel, description: str, place: Place) -> None:
    """Register a local model on the server, file by file what it is here."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = bundle_of(local_store, model, Path(scratch))
        example = json.loads((folder.parents[1] / "input_example.json").read_text(encoding="utf-8"))
        record = dict(zip(example["columns"], example["data"][0], strict=True))
        register(place, folder, load_bundle(folder).card, model.name, record, description)


def _finish(place: Place, run: Any) -> None:
    place.client.set_terminated(place.run_id, run.info.status, run.info.end_time)
    place.client.set_tag(place.run_id, COPY, run.info.run_id)


def _kept(tags: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if name not in _LOCAL_ONLY}


@contextmanager
def _alone(local: str) -> Iterator[None]:
    """Let one delivery at a time pass.

    SQLite's own lock is used, on a file of its own: the system takes it away with the process, however that ends.
    """
    database = database_of(local)
    if database is None:
        raise InputError(f"store push: expected the project's own store to be a file, got {without_password(local)}.")
    with closing(sqlite3.connect(database.with_name("push.lock"), timeout=0, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            raise InputError("store push: a delivery is under way already. Wait for it to end.") from None
        yield
