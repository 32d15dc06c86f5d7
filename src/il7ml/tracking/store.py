"""The one file that knows MLflow: runs, models, aliases."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from il7ml import __version__
from il7ml.answer import answer_columns
from il7ml.bundle import Bundle, Card, save_bundle
from il7ml.errors import InputError
from il7ml.family import FAMILIES
from il7ml.features.columns import DERIVED
from il7ml.tracking.items import Child, Item, Metric, Param, Picture, Table, Tag, Text
from il7ml.tracking.location import database_of, resolve_uri

CHAMPION = "champion"
_DEFAULT_TAG = "il7ml.default"
_FOLDER = "bundle"


class RegisteredModel(NamedTuple):
    """A model in the registry."""

    name: str
    version: str


class FoundModel(NamedTuple):
    """A model's bundle on this machine, and its registry version where it has one."""

    folder: Path
    version: str | None


class Run:
    """An open run: takes items and, last of all, the model."""

    def __init__(self, client: Any, uri: str, run_id: str, experiment_id: str) -> None:
        self._client = client
        self._uri = uri
        self.run_id = run_id
        self._experiment_id = experiment_id

    def log(self, items: Iterable[Item]) -> None:
        """Write the items.

        Raises
        ------
        InputError
            If the store cannot be written.
        """
        with _store_errors(self._uri):
            self._log(items)

    def _log(self, items: Iterable[Item]) -> None:
        import mlflow.entities

        now = _now()
        params, metrics, tags, children = [], [], [], []
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for item in items:
                if isinstance(item, Param):
                    params.append(mlflow.entities.Param(item.name, item.value))
                elif isinstance(item, Metric):
                    metrics.append(mlflow.entities.Metric(item.name, item.value, now, 0))
                elif isinstance(item, Tag):
                    tags.append(mlflow.entities.RunTag(item.name, item.value))
                elif isinstance(item, Child):
                    children.append(item)
                else:
                    _write_artifact(item, root)
            self._client.log_batch(self.run_id, metrics=metrics, params=params, tags=tags)
            self._client.log_artifacts(self.run_id, str(root))
        for child in children:
            self._log_child(child)

    def _log_child(self, child: Child) -> None:
        tags = {"mlflow.parentRunId": self.run_id}
        run = self._client.create_run(self._experiment_id, run_name=child.name, tags=tags)
        try:
            Run(self._client, self._uri, run.info.run_id, self._experiment_id).log(child.items)
        except BaseException:
            self._client.set_terminated(run.info.run_id, "FAILED")
            raise
        self._client.set_terminated(run.info.run_id, "FINISHED")

    def log_model(self, bundle: Bundle, name: str, example: dict[str, Any]) -> RegisteredModel:
        """Log the bundle as a model with signature and synthetic example, and register it.

        Registration comes last: what is in the registry is complete.

        Raises
        ------
        InputError
            If the store cannot be written.
        """
        with _store_errors(self._uri):
            return self._log_model(bundle, name, example)

    def _log_model(self, bundle: Bundle, name: str, example: dict[str, Any]) -> RegisteredModel:
        import mlflow

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _FOLDER
            save_bundle(bundle, path)
            info = mlflow.pyfunc.log_model(
                name="model",
                loader_module="il7ml.predictor",
                data_path=str(path),
                signature=_signature(bundle.card),
                input_example=pd.DataFrame([example]),
                pip_requirements=[f"il7ml=={__version__}"],
            )
        if not _exists(self._client, name):
            self._client.create_registered_model(name)
        version = self._client.create_model_version(
            name, source=info.model_uri, run_id=self.run_id, model_id=info.model_id
        )
        return RegisteredModel(name, str(version.version))


@contextmanager
def open_run(uri: str, experiment: str, name: str, tags: dict[str, str]) -> Iterator[Run]:
    """Open a run in the store; it ends FINISHED, FAILED after an error, or KILLED after an interrupt.

    Parameters
    ----------
    uri : str
        Resolved tracking URI (see `resolve_uri`).
    experiment, name : str
    tags : dict
        Known from the start.

    Raises
    ------
    InputError
        If the store cannot be written.
    """
    client = _client(uri)
    import mlflow

    with _store_errors(uri):
        experiment_id = _experiment(client, uri, experiment)
        run = client.create_run(experiment_id, run_name=name, tags=tags)
    run_id = run.info.run_id
    # The fluent interface is needed for the model; it writes into the run that is open here.
    with mlflow.start_run(run_id=run_id, log_system_metrics=False):
        try:
            yield Run(client, uri, run_id, experiment_id)
        except KeyboardInterrupt:
            mlflow.end_run("KILLED")
            raise
        except BaseException:
            mlflow.end_run("FAILED")
            raise


def promote(model: str, uri: str | None = None) -> RegisteredModel:
    """Make a run's model (or ``models:/NAME/VERSION``) the champion of its name and the store's default.

    Raises
    ------
    InputError
        If the run or model is not known, or the store cannot be written.
    """
    uri = resolve_uri(uri)
    client = _client(uri, must_exist=True)
    with _store_errors(uri):
        found = _find_version(client, model)
        client.set_registered_model_alias(found.name, CHAMPION, found.version)
        for other in client.search_registered_models():
            if other.name != found.name and _DEFAULT_TAG in (other.tags or {}):
                client.delete_registered_model_tag(other.name, _DEFAULT_TAG)
        client.set_registered_model_tag(found.name, _DEFAULT_TAG, "true")
    return found


def resolve_model(model: str = CHAMPION, uri: str | None = None) -> FoundModel:
    """Return the bundle folder of a model in the store.

    Parameters
    ----------
    model : str
        ``champion`` (the one promoted last), a run id, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
    uri : str, optional

    Raises
    ------
    InputError
        If the store or the model is not known.
    """
    uri = resolve_uri(uri)
    client = _client(uri, must_exist=True)
    import mlflow
    from mlflow.exceptions import MlflowException

    with _store_errors(uri):
        found = _find_version(client, model)
    try:
        folder = mlflow.artifacts.download_artifacts(f"models:/{found.name}/{found.version}")
    except (MlflowException, OSError) as error:
        raise InputError(
            f"model {found.name} version {found.version}: its files are not where the store says "
            f"({type(error).__name__}). Was the folder moved? Train again or restore it."
        ) from None
    return FoundModel(Path(folder) / "data" / _FOLDER, found.version)


def _find_version(client: Any, model: str) -> RegisteredModel:
    from mlflow.exceptions import MlflowException

    known = sorted(_address(entry) for entry in client.search_registered_models())
    names = f" Known: {', '.join(known)}." if known else " Train one first."
    try:
        if model == CHAMPION:
            for entry in client.search_registered_models():
                if _DEFAULT_TAG in (entry.tags or {}):
                    version = client.get_model_version_by_alias(entry.name, CHAMPION)
                    return RegisteredModel(entry.name, str(version.version))
            raise InputError(f"no model is champion yet. Make one so: il7ml promote RUN.{names}")
        if model.startswith("models:/"):
            name, _, rest = model.removeprefix("models:/").replace("@", "/@").partition("/")
            if rest.startswith("@"):
                version = client.get_model_version_by_alias(name, rest[1:])
            else:
                version = client.get_model_version(name, rest)
            return RegisteredModel(version.name, str(version.version))
        found = client.search_model_versions(f"run_id='{model}'") if model.isalnum() else []
    except MlflowException:
        raise InputError(f"model {model!r} is not in the store.{names}") from None
    if not found:
        raise InputError(f"model {model!r} is neither a bundle folder nor a run with a model.{names}")
    return RegisteredModel(found[0].name, str(found[0].version))


def _address(entry: Any) -> str:
    """Return how a registered model can be named: by the champion's alias where it has one, else by version."""
    if CHAMPION in (entry.aliases or {}):
        return f"models:/{entry.name}@{CHAMPION}"
    versions = [int(version.version) for version in entry.latest_versions or ()]
    return f"models:/{entry.name}/{max(versions, default=1)}"


def _client(uri: str, must_exist: bool = False) -> Any:
    """Return a client for the store, with MLflow's own chatter and telemetry off."""
    database = database_of(uri)
    if database is not None:
        _check_file(database, must_exist)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with _store_errors(uri):
        _set_uri(uri)
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        logging.getLogger("alembic").setLevel(logging.ERROR)
    return client


@contextmanager
def _store_errors(uri: str) -> Iterator[None]:
    """Turn the store's own errors into one that says what to do."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        place = database_of(uri) or uri
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(
            f"tracking store {place}: cannot be used ({reason}). Check that it can be written, or set tracking.uri."
        ) from error


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


def _experiment(client: Any, uri: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage != "active":
            raise InputError(f"experiment {name!r} was deleted in the store. Restore it, or set tracking.experiment.")
        return str(found.experiment_id)
    database = database_of(uri)
    place = None if database is None else (database.parent / "artifacts").resolve().as_uri()
    return str(client.create_experiment(name, artifact_location=place))


def _exists(client: Any, name: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException:
        return False
    return True


def _write_artifact(item: Table | Picture | Text, root: Path) -> None:
    if isinstance(item, Table):
        (root / "tables").mkdir(exist_ok=True)
        item.frame.to_csv(root / "tables" / f"{item.name}.csv", index=False)
    elif isinstance(item, Picture):
        (root / "figures").mkdir(exist_ok=True)
        (root / "figures" / f"{item.name}.png").write_bytes(item.content)
    else:
        (root / item.name).write_text(item.content, encoding="utf-8")


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
    import time

    return int(time.time() * 1000)
