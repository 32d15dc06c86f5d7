"""The one file that knows MLflow: connections and their errors, and what is written and read through a client.

The rest of the room is handed a client and calls its methods. Nothing here depends on MLflow's current run, so that
several runs can be open at once.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from il7ml.answer import answer_columns
from il7ml.bundle import Card
from il7ml.errors import InputError
from il7ml.family import FAMILIES
from il7ml.features.columns import DERIVED
from il7ml.tracking.items import Dataset, Metric, Param, Tag
from il7ml.tracking.location import database_of, without_password

Found = TypeVar("Found")

BUNDLE_FOLDER = "bundle"
_BATCH = 100
_DIGEST_LENGTH = 36
_PROBE_SECONDS = 5
#: Where the user has not set another: quiet, and with less patience than MLflow's seven retries, which take minutes.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}


#: What SQLite says, which MLflow hands on among much else, and what it means.
_SQLITE_REASONS = {
    "database is locked": "another process keeps it locked",
    "database or disk is full": "the disk is full",
    "disk I/O error": "the disk cannot be written",
    "attempt to write a readonly database": "it may only be read",
}


class StoreError(InputError):
    """The tracking store cannot be read or written, for a reason of its own."""


def connect(uri: str, must_exist: bool = False) -> Any:
    """Return a client for the store, with MLflow's own chatter and telemetry off.

    Raises
    ------
    InputError
        If the store is not there, or cannot be used.
    """
    database = database_of(uri)
    if database is not None:
        _check_file(database, must_exist)
    _quiet()
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with store_errors(uri):
        if database is not None and not database.exists():
            _make_database(database)
        _set_uri(uri)
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        logging.getLogger("alembic").setLevel(logging.ERROR)
    return client


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn the store's own errors into a `StoreError` that says what to do."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        place = database_of(uri) or without_password(uri)
        said = str(error)  # not shown: it holds what was to be written
        reason = next((meaning for words, meaning in _SQLITE_REASONS.items() if words in said), None)
        reason = reason or getattr(error, "strerror", None) or type(error).__name__
        raise StoreError(
            f"tracking store {place}: cannot be used ({reason}). Check that it can be written, or set tracking.uri."
        ) from error


def or_none(call: Callable[..., Found], *arguments: str) -> Found | None:
    """Return what the store has under a name, or None where it has nothing."""
    from mlflow.exceptions import MlflowException

    try:
        return call(*arguments)
    except MlflowException as error:
        # An alias or a version that is not there is called an invalid parameter.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "ENDPOINT_NOT_FOUND"):
            return None
        raise


def or_existing(create: Callable[[], Found], find: Callable[[], Found | None]) -> Found:
    """Create something under a name, or find what another process has created there in the meantime."""
    from mlflow.exceptions import MlflowException

    try:
        return create()
    except MlflowException:
        found = find()
        if found is None:
            raise
        return found


def server_answers(uri: str) -> bool:
    """Return whether a tracking server answers at all, within seconds; whoever is refused was answered."""
    _quiet()
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        http_request(get_default_host_creds(uri), "/health", "GET", max_retries=0, timeout=_PROBE_SECONDS)
    except MlflowException:
        return False
    return True


def write_batch(
    client: Any, run_id: str, params: Sequence[Param], metrics: Sequence[Metric], tags: Sequence[Tag]
) -> None:
    """Write parameters, metrics and tags in batches of the size that a store takes."""
    import mlflow.entities

    now = _now()
    parts: list[tuple[str, list[Any]]] = [
        ("params", [mlflow.entities.Param(*param) for param in params]),
        ("metrics", [mlflow.entities.Metric(*metric, now, 0) for metric in metrics]),
        ("tags", [mlflow.entities.RunTag(*tag) for tag in tags]),
    ]
    while any(entries for _, entries in parts):
        client.log_batch(run_id, **{name: entries[:_BATCH] for name, entries in parts})
        parts = [(name, entries[_BATCH:]) for name, entries in parts]


def write_dataset(client: Any, run_id: str, dataset: Dataset) -> None:
    """Write what data a run used: digest, columns and number of rows."""
    from mlflow.entities import Dataset as Entry
    from mlflow.entities import DatasetInput, InputTag

    columns = [{"name": name, "type": kind, "required": True} for name, kind in dataset.columns]
    entry = Entry(
        name=dataset.name,
        digest=dataset.digest[:_DIGEST_LENGTH],
        source_type="study",
        source=json.dumps({"study": dataset.name, "sha256": dataset.digest}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"num_rows": dataset.rows}),
    )
    client.log_inputs(run_id, [DatasetInput(entry, [InputTag("mlflow.data.context", dataset.context)])])


def write_model(client: Any, experiment_id: str, run_id: str, folder: Path, card: Card, example: dict[str, Any]) -> str:
    """Write a bundle as a logged model of a run, with the run's parameters and metrics, and return its id.

    MLflow's `log_model` would do so for the current run only, of which there is one a process.
    """
    import mlflow
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    data = client.get_run(run_id).data
    model = client.create_logged_model(experiment_id, name="model", source_run_id=run_id, params=dict(data.params))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model"
        mlflow.pyfunc.save_model(
            path=str(path),
            loader_module="il7ml.predictor",
            data_path=str(folder),
            mlflow_model=Model(
                artifact_path=model.artifact_location,
                run_id=run_id,
                model_uuid=model.model_id,
                model_id=model.model_id,
            ),
            signature=_signature(card),
            input_example=pd.DataFrame([example]),
            pip_requirements=[f"il7ml=={card.il7ml_version}"],
        )
        client.log_model_artifacts(model.model_id, str(path))
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    now = _now()
    metrics = [
        mlflow.entities.Metric(name, value, now, 0, run_id=run_id, model_id=model.model_id)
        for name, value in data.metrics.items()
    ]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def register_model(client: Any, uri: str, run_id: str, model_id: str, name: str, description: str) -> str:
    """Register a logged model under a name, which is made where there is none, and return its version."""
    or_existing(lambda: client.create_registered_model(name), lambda: or_none(client.get_registered_model, name))
    # MLflow looks the logged model up in the store that it was pointed to last.
    _set_uri(uri)
    version = client.create_model_version(
        name, source=f"models:/{model_id}", run_id=run_id, model_id=model_id, description=description
    )
    return str(version.version)


def read_model(uri: str, name: str, version: str, folder: Path | None = None) -> Path:
    """Return where a registered model's files are, in `folder` or wherever a copy of them lies.

    Raises
    ------
    StoreError
        If the files are not where the store says.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    try:
        # An address of the form models:/NAME/VERSION would be looked up in the store that was opened last.
        place = mlflow.artifacts.download_artifacts(
            client.get_model_version_download_uri(name, version),
            dst_path=None if folder is None else str(folder),
            tracking_uri=uri,
        )
    except (MlflowException, OSError) as error:
        raise StoreError(
            f"model {name} version {version}: its files are not where the store says "
            f"({type(error).__name__}). Was the folder moved? Then: il7ml store relocate. Else restore it."
        ) from None
    return Path(place)


def _quiet() -> None:
    """Turn MLflow's telemetry and chatter off, which has to be done before it is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    # It prints the statement that failed with what was to be written; the error is raised, and told without.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _make_database(database: Path) -> None:
    """Make an empty store under another name and give it its own once it is complete.

    MLflow fills a new database in many steps: two trainings that begin at once would meet in the middle, and one that
    is killed would leave it half made.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with tempfile.TemporaryDirectory(prefix=".new-", dir=database.parent) as folder:
        made = Path(folder) / database.name
        store = SqlAlchemyStore(f"sqlite:///{made}", str(database.parent))
        store.engine.dispose()
        try:
            database.hardlink_to(made)
        except FileExistsError:
            pass  # another process was faster
        except OSError:  # a disk without hard links
            made.replace(database)


def _set_uri(uri: str) -> None:
    """Point MLflow to the store without changing the environment, where it would be the default of later calls."""
    import mlflow

    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    before = {name: os.environ[name] for name in names if name in os.environ}
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for name in names:
        os.environ.pop(name, None)
    os.environ.update(before)


def _check_file(database: Path, must_exist: bool) -> None:
    """Refuse at once what MLflow would try for minutes to open."""
    if must_exist and not database.exists():
        raise InputError(f"no tracking store at {database}. Train a model first, or name the store with --uri.")
    if database.exists() and not (database.is_file() and os.access(database, os.R_OK)):
        raise InputError(f"tracking store {database}: expected a readable file. Set tracking.uri to another.")
    if not must_exist:
        _make_folder(database.parent)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"tracking store {folder}: cannot be written ({error.strerror}). Free it, or set tracking.uri."
        ) from None


def _signature(card: Card) -> Any:
    """Return the model's signature; only required variables must be there, and any value may be missing."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    names = {float: "double", str: "string"}
    inputs = [
        ColSpec("string" if entry.variable.kind == "categorical" else "double", name, required=entry.required)
        for name, entry in card.variables.items()
        if name not in DERIVED
    ]
    columns = answer_columns(FAMILIES[card.kind].measure, card.simulated)
    return ModelSignature(Schema(inputs), Schema([ColSpec(names[kind], name) for name, kind in columns.items()]))


def _now() -> int:
    return int(time.time() * 1000)
