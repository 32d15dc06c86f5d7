"""Runs: opened in a store, given items and at last a model; completed beside the project where a server is away."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from il7ml.bundle import Bundle, Card, save_bundle
from il7ml.errors import InputError
from il7ml.tracking.items import Child, Dataset, Item, Metric, Param, Picture, Table, Tag, Text
from il7ml.tracking.location import database_of, is_server, local_uri, without_password
from il7ml.tracking.mlflow_client import (
    BUNDLE_FOLDER,
    StoreError,
    or_existing,
    register_model,
    server_answers,
    store_errors,
    write_batch,
    write_dataset,
    write_model,
)
from il7ml.tracking.opening import open_store, process_tags

#: Tags of a run that was completed beside the project: the server it belongs to, and what was begun there.
SERVER, BEGUN = "il7ml.server", "il7ml.begun_on_server"
PARENT = "mlflow.parentRunId"
_PAGE = 1000

_LOGGER = logging.getLogger("il7ml")

Done = TypeVar("Done")


class RegisteredModel(NamedTuple):
    """A model in the registry."""

    name: str
    version: str


class FinishedChild(NamedTuple):
    """A complete child of a run.

    Attributes
    ----------
    run_id : str
    metrics : dict of str to float
    tags : dict of str to str
    """

    run_id: str
    metrics: dict[str, float]
    tags: dict[str, str]


class Place(NamedTuple):
    """A run in a store."""

    client: Any
    uri: str
    experiment_id: str
    run_id: str


class Run:
    """An open run: takes items and, last of all, the model.

    On a server that stops answering, what was written is written again into the store beside the project, and the rest
    follows there; `run_id` is then that run's.

    Parameters
    ----------
    place : Place
    local : callable or None
        Begins the same run beside the project, given more tags; None where there is nowhere to go.
    """

    def __init__(self, place: Place, local: Callable[[dict[str, str]], Place] | None) -> None:
        self._place = place
        self._local = local
        self._written: list[Callable[[Place], object]] = []

    @property
    def run_id(self) -> str:
        """The run's id, in the store where it stands now."""
        return self._place.run_id

    def log(self, items: Iterable[Item]) -> None:
        """Write the items.

        Raises
        ------
        InputError
            If the store cannot be written.
        """
        kept = tuple(items)
        self._write(lambda place: write_items(place, kept))

    def log_model(self, bundle: Bundle, name: str, example: dict[str, Any], description: str = "") -> RegisteredModel:
        """Log the bundle as a model with signature and synthetic example, and register it with its `description`.

        Registration comes last: what is in the registry is complete.

        Raises
        ------
        InputError
            If the store cannot be written.
        """

        def write(place: Place) -> RegisteredModel:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / BUNDLE_FOLDER
                save_bundle(bundle, path)
                return register(place, path, bundle.card, name, example, description)

        return self._write(write)

    def children(self) -> list[FinishedChild]:
        """Return the children that are complete.

        Raises
        ------
        InputError
            If the store cannot be read.
        """
        return self._write(finished_children)

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED.

        Raises
        ------
        InputError
            If the store cannot be written.
        """
        self._write(lambda place: place.client.set_terminated(place.run_id, status))

    def _write(self, write: Callable[[Place], Done]) -> Done:
        try:
            with store_errors(self._place.uri):
                done = write(self._place)
        except StoreError as error:
            if self._local is None:
                raise
            self._go_local(self._local, error)
            with store_errors(self._place.uri):
                done = write(self._place)
        if self._local is not None:
            self._written.append(write)
        return done

    def _go_local(self, local: Callable[[dict[str, str]], Place], error: StoreError) -> None:
        begun = self._place
        self._local = None
        self._place = local({BEGUN: begun.run_id})
        _say_local(begun.uri, self._place, str(error.__cause__ and type(error.__cause__).__name__))
        with store_errors(self._place.uri):
            for write in self._written:
                write(self._place)
        self._written.clear()


@contextmanager
def open_run(uri: str, experiment: str, name: str, tags: dict[str, str], *, root: Path | None = None) -> Iterator[Run]:
    """Open a run in the store; it ends FINISHED, FAILED after an error, or KILLED after an interrupt.

    A run whose process is ended from outside is closed as KILLED by whoever opens the store next. If the store is a
    server that does not answer, now or later, the run is completed in the store beside the project, and a warning of
    the logger ``il7ml`` says so; `push_runs` delivers it.

    Parameters
    ----------
    uri : str
        Resolved tracking URI (see `resolve_uri`).
    experiment, name : str
    tags : dict
        Known from the start.
    root : Path, optional
        Folder from which the project root is looked for, where a server is away; by default the current one.

    Raises
    ------
    InputError
        If the store cannot be written.
    """
    with _ending(_begin(uri, experiment, name, {**tags, **process_tags()}, root)) as run:
        yield run


@contextmanager
def reopen_run(uri: str, run_id: str) -> Iterator[Run]:
    """Go on with a run that ended early: its complete children stay, the others are deleted.

    Parameters
    ----------
    uri : str
        Resolved tracking URI.
    run_id : str

    Raises
    ------
    InputError
        If the store cannot be written; a server that goes away ends the run, which can be reopened once more.
    """
    client = open_store(uri, must_exist=True)
    with store_errors(uri):
        experiment_id = client.get_run(run_id).info.experiment_id
        # The process first: a run that is called running by an ended one would be closed by whoever looks.
        for name, value in process_tags().items():
            client.set_tag(run_id, name, value)
        client.update_run(run_id, status="RUNNING")
        for child in children_of(client, experiment_id, run_id):
            if child.info.status != "FINISHED":
                delete_tree(client, experiment_id, child.info.run_id)
    with _ending(Run(Place(client, uri, experiment_id, run_id), None)) as run:
        yield run


@contextmanager
def _ending(run: Run) -> Iterator[Run]:
    try:
        yield run
    except BaseException as error:
        # The error that ended the run is the one to be told, also where the store cannot take note of it.
        with suppress(InputError):
            run.end(_status_after(error))
        raise
    run.end("FINISHED")


def _status_after(error: BaseException) -> str:
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"


def _begin(uri: str, experiment: str, name: str, tags: dict[str, str], root: Path | None) -> Run:
    def begin(where: str, more: dict[str, str]) -> Place:
        client = open_store(where)
        with store_errors(where):
            experiment_id = experiment_of(client, where, experiment)
            run = client.create_run(experiment_id, run_name=name, tags={**tags, **more})
        return Place(client, where, experiment_id, run.info.run_id)

    if not is_server(uri):
        return Run(begin(uri, {}), None)

    def local(more: dict[str, str]) -> Place:
        return begin(local_uri(root), {SERVER: without_password(uri), **more})

    # Asked first, so that a server that refuses us (a wrong password) is not taken for one that is away.
    if server_answers(uri):
        return Run(begin(uri, {}), local)
    place = local({})
    _say_local(uri, place, "it does not answer")
    return Run(place, None)


def _say_local(uri: str, place: Place, reason: str) -> None:
    _LOGGER.warning(
        "tracking server %s: cannot be used (%s). The run is kept in %s; deliver it later: il7ml store push",
        without_password(uri),
        reason,
        database_of(place.uri),
    )


def write_items(place: Place, items: Iterable[Item]) -> None:
    """Write a run's items, its children last."""
    params, metrics, tags, children = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for item in items:
            match item:
                case Param():
                    params.append(item)
                case Metric():
                    metrics.append(item)
                case Tag():
                    tags.append(item)
                case Child():
                    children.append(item)
                case Dataset():
                    write_dataset(place.client, place.run_id, item)
                case _:
                    _write_artifact(item, root)
        write_batch(place.client, place.run_id, params, metrics, tags)
        place.client.log_artifacts(place.run_id, str(root))
    for child in children:
        _write_child(place, child)


def _write_child(place: Place, child: Child) -> None:
    tags = {PARENT: place.run_id, **process_tags()}
    run = place.client.create_run(place.experiment_id, start_time=child.started, run_name=child.name, tags=tags)
    try:
        write_items(place._replace(run_id=run.info.run_id), child.items)
    except BaseException as error:
        place.client.set_terminated(run.info.run_id, _status_after(error))
        raise
    place.client.set_terminated(run.info.run_id, "FINISHED")


def children_of(client: Any, experiment_id: str, run_id: str) -> list[Any]:
    """Return a run's children, without theirs."""
    return list(client.search_runs([experiment_id], f"tags.`{PARENT}` = '{run_id}'", max_results=_PAGE))


def finished_children(place: Place) -> list[FinishedChild]:
    """Return the complete children of a run, the oldest first."""
    found = [
        child
        for child in children_of(place.client, place.experiment_id, place.run_id)
        if child.info.status == "FINISHED"
    ]
    found.sort(key=lambda child: child.info.start_time)
    return [FinishedChild(child.info.run_id, dict(child.data.metrics), dict(child.data.tags)) for child in found]


def delete_tree(client: Any, experiment_id: str, run_id: str) -> None:
    """Delete a run with all its descendants, these first."""
    for child in children_of(client, experiment_id, run_id):
        delete_tree(client, experiment_id, child.info.run_id)
    client.delete_run(run_id)


def register(
    place: Place, folder: Path, card: Card, name: str, example: dict[str, Any], description: str
) -> RegisteredModel:
    """Log a bundle's folder as the run's model and register it."""
    model_id = write_model(place.client, place.experiment_id, place.run_id, folder, card, example)
    return RegisteredModel(name, register_model(place.client, place.uri, place.run_id, model_id, name, description))


def experiment_of(client: Any, uri: str, name: str) -> str:
    """Return an experiment's id; it is made where there is none, with its artifacts beside the database.

    Raises
    ------
    InputError
        If the experiment was deleted.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        database = database_of(uri)
        place = None if database is None else (database.parent / "artifacts").resolve().as_uri()
        made = or_existing(
            lambda: client.create_experiment(name, artifact_location=place),
            lambda: getattr(client.get_experiment_by_name(name), "experiment_id", None),
        )
        return str(made)
    if found.lifecycle_stage != "active":
        raise InputError(f"experiment {name!r} was deleted in the store. Restore it, or set tracking.experiment.")
    return str(found.experiment_id)


def _write_artifact(item: Table | Picture | Text, root: Path) -> None:
    if isinstance(item, Table):
        (root / "tables").mkdir(exist_ok=True)
        item.frame.to_csv(root / "tables" / f"{item.name}.csv", index=False)
    elif isinstance(item, Picture):
        (root / "figures").mkdir(exist_ok=True)
        (root / "figures" / f"{item.name}.png").write_bytes(item.content)
    else:
        (root / item.name).write_text(item.content, encoding="utf-8")
