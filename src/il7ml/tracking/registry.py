"""Finding models in the registry, by run, version, alias or as the store's default."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from il7ml.errors import InputError
from il7ml.tracking.location import resolve_uri
from il7ml.tracking.mlflow_client import BUNDLE_FOLDER, or_none, read_model, store_errors
from il7ml.tracking.opening import open_store
from il7ml.tracking.store import RegisteredModel

CHAMPION = "champion"
DEFAULT_TAG = "il7ml.default"


class FoundModel(NamedTuple):
    """A model's bundle on this machine, and its registry version where it has one."""

    folder: Path
    version: str | None


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
    client = open_store(uri, must_exist=True)
    with store_errors(uri):
        found = find_version(client, model)
    return FoundModel(bundle_of(uri, found), found.version)


def bundle_of(uri: str, model: RegisteredModel, folder: Path | None = None) -> Path:
    """Return where the bundle of a registered model is.

    Raises
    ------
    InputError
        If its files are not where the store says.
    """
    return read_model(uri, *model, folder) / "data" / BUNDLE_FOLDER


def find_version(client: Any, model: str) -> RegisteredModel:
    """Return the registered version that is meant.

    Raises
    ------
    InputError
        If there is none; the message names those that are known.
    """
    entries = client.search_registered_models()
    known = sorted(address for entry in entries if (address := _address(entry)))
    names = f" Known: {', '.join(known)}." if known else " Train one first."
    if model == CHAMPION:
        for entry in entries:
            if DEFAULT_TAG in (entry.tags or {}) and (version := champion_of(client, entry.name)):
                return RegisteredModel(entry.name, version)
        raise InputError(f"no model is champion yet. Make one so: il7ml promote RUN.{names}")
    if model.startswith("models:/"):
        name, _, rest = model.removeprefix("models:/").replace("@", "/@").partition("/")
        if rest.startswith("@"):
            found = or_none(client.get_model_version_by_alias, name, rest[1:])
        else:
            found = or_none(client.get_model_version, name, rest)
        if found is None:
            raise InputError(f"model {model!r} is not in the store.{names}")
        return RegisteredModel(found.name, str(found.version))
    versions = client.search_model_versions(f"run_id='{model}'") if model.isalnum() else []
    if not versions:
        raise InputError(f"model {model!r} is neither a bundle folder nor a run with a model.{names}")
    return RegisteredModel(versions[0].name, str(versions[0].version))


def champion_of(client: Any, name: str) -> str | None:
    """Return the version that is champion of a name, or None."""
    found = or_none(client.get_model_version_by_alias, name, CHAMPION)
    return None if found is None else str(found.version)


def _address(entry: Any) -> str | None:
    """Return how a registered model can be named: by the champion's alias where it has one, else by version."""
    if CHAMPION in (entry.aliases or {}):
        return f"models:/{entry.name}@{CHAMPION}"
    # A training that was killed while it registered leaves a name without a version.
    versions = [int(version.version) for version in entry.latest_versions or ()]
    return f"models:/{entry.name}/{max(versions)}" if versions else None
