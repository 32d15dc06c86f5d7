"""Which model is in use: promotion, the way back, and the history of both, kept as tags of the registered model."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pandas as pd

from il7ml.bundle import Card, load_bundle
from il7ml.errors import BundleRefusedError, InputError
from il7ml.tracking.contract import objections
from il7ml.tracking.location import resolve_uri
from il7ml.tracking.mlflow_client import store_errors
from il7ml.tracking.opening import open_store
from il7ml.tracking.registry import CHAMPION, DEFAULT_TAG, bundle_of, champion_of, find_version
from il7ml.tracking.store import RegisteredModel

_EVENT = "il7ml.champion."
_LONGEST_REASON = 1000


class Change(NamedTuple):
    """A change of champion.

    Attributes
    ----------
    when : str
        UTC, ISO 8601.
    who : str
        User name on the machine that it was done from.
    action : str
        promote, force or rollback.
    before, after : str
        Versions; `before` is empty for the first champion.
    reason : str
    """

    when: str
    who: str
    action: str
    before: str
    after: str
    reason: str


def promote(model: str, uri: str | None = None, *, force: bool = False, reason: str = "") -> RegisteredModel:
    """Make a run's model (or ``models:/NAME/VERSION``) the champion of its name and the store's default.

    It must load, keep the champion's data contract and be no worse by its validated score (see `objections`).

    Parameters
    ----------
    model : str
    uri : str, optional
    force : bool, default False
        Promote in spite of objections; needs a reason.
    reason : str, default ''
        Recorded in the history.

    Raises
    ------
    InputError
        If the run or model is not known, may not take the champion's place, or the store cannot be written.
    BundleRefusedError
        If its files are damaged or altered.
    """
    if force and not reason.strip():
        raise InputError("promote --force: expected a reason, got none. Say why: --reason '...'.")
    uri = resolve_uri(uri)
    client = open_store(uri, must_exist=True)
    with store_errors(uri):
        found = find_version(client, model)
        before = champion_of(client, found.name)
    card = load_bundle(bundle_of(uri, found)).card
    against = [] if before in (None, found.version) else _against(uri, card, RegisteredModel(found.name, str(before)))
    if against and not force:
        raise InputError(
            f"model {found.name} version {found.version} cannot take the place of champion version {before}: "
            f"{'; '.join(against)}. To promote it all the same: --force --reason '...'."
        )
    with store_errors(uri):
        if before != found.version:
            _set_champion(client, found, before, "force" if against else "promote", reason)
        for other in client.search_registered_models():
            if other.name != found.name and DEFAULT_TAG in (other.tags or {}):
                client.delete_registered_model_tag(other.name, DEFAULT_TAG)
        client.set_registered_model_tag(found.name, DEFAULT_TAG, "true")
    return found


def rollback(name: str | None = None, uri: str | None = None, *, reason: str = "") -> RegisteredModel:
    """Make the previous champion of a name champion again; once more, the one before it.

    Parameters
    ----------
    name : str, optional
        Registered model; by default the one that `predict` uses.
    uri : str, optional
    reason : str, default ''
        Recorded in the history.

    Raises
    ------
    InputError
        If there was no champion before, or the store cannot be written.
    BundleRefusedError
        If the previous champion's files are damaged or altered.
    """
    uri = resolve_uri(uri)
    client = open_store(uri, must_exist=True)
    with store_errors(uri):
        current = find_version(client, CHAMPION if name is None else f"models:/{name}@{CHAMPION}")
        earlier = _champions(_history(client, current.name), current.version)[:-1]
        if not earlier:
            raise InputError(
                f"model {current.name}: version {current.version} is the first champion, none came before it. "
                "Promote another: il7ml promote RUN."
            )
        previous = find_version(client, f"models:/{current.name}/{earlier[-1]}")
    load_bundle(bundle_of(uri, previous))
    with store_errors(uri):
        _set_champion(client, previous, current.version, "rollback", reason)
    return previous


def promotion_history(name: str | None = None, uri: str | None = None) -> pd.DataFrame:
    """Return the changes of champion, oldest first.

    Parameters
    ----------
    name : str, optional
        Registered model; by default all.
    uri : str, optional

    Returns
    -------
    DataFrame
        model, when, who, action, before, after, reason; a row a change.

    Raises
    ------
    InputError
        If the store or the name is not known.
    """
    uri = resolve_uri(uri)
    client = open_store(uri, must_exist=True)
    with store_errors(uri):
        names = sorted(entry.name for entry in client.search_registered_models())
        if name is not None and name not in names:
            raise InputError(f"no registered model {name!r}. Known: {', '.join(names)}.")
        rows = [(each, *change) for each in names if name in (None, each) for change in _history(client, each)]
    table = pd.DataFrame(rows, columns=["model", *Change._fields])
    return table.sort_values("when", kind="stable", ignore_index=True)


def _against(uri: str, challenger: Card, champion: RegisteredModel) -> list[str]:
    try:
        card = load_bundle(bundle_of(uri, champion)).card
    except (InputError, BundleRefusedError) as error:
        return [f"the champion cannot be read, so that they cannot be compared ({error})"]
    return objections(challenger, card)


def _set_champion(client: Any, model: RegisteredModel, before: str | None, action: str, reason: str) -> None:
    now = datetime.now(UTC)
    change = Change(
        now.isoformat(timespec="seconds"),
        _user(),
        action,
        before or "",
        model.version,
        reason.strip()[:_LONGEST_REASON],
    )
    client.set_registered_model_alias(model.name, CHAMPION, model.version)
    # A tag a change, named by its moment, so that two at a time do not overwrite each other.
    client.set_registered_model_tag(model.name, f"{_EVENT}{now:%Y%m%dT%H%M%S.%f}", json.dumps(change._asdict()))


def _history(client: Any, name: str) -> list[Change]:
    tags = client.get_registered_model(name).tags or {}
    return [Change(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(_EVENT)]


def _champions(history: list[Change], current: str) -> list[str]:
    """Return the champions that lead to the current one, in their order; who was rolled back is forgotten."""
    line: list[str] = []
    for change in history:
        # The alias may have been set in MLflow's pages meanwhile.
        if change.before and line[-1:] != [change.before]:
            line.append(change.before)
        if change.action == "rollback":
            line.pop()
        if line[-1:] != [change.after]:
            line.append(change.after)
    if line[-1:] != [current]:
        line.append(current)
    return line


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user need not have a name
        return "unknown"
