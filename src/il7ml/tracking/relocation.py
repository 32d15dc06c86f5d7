"""A store that was moved or copied: MLflow keeps absolute paths, which are rewritten to where the store is now."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from il7ml.errors import InputError
from il7ml.tracking.location import database_of, resolve_uri

#: Where MLflow 3 keeps the places of files.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_ARTIFACTS = "artifacts"
_WAIT_SECONDS = 5


class Relocation(NamedTuple):
    """What was rewritten.

    Attributes
    ----------
    before : tuple of str
        Folders in which the files were said to be.
    after : str
        Where they are.
    changed : int
        Paths rewritten; 0 where all were right already.
    backup : Path or None
        The database as it was; None where nothing was changed.
    """

    before: tuple[str, ...]
    after: str
    changed: int
    backup: Path | None


def relocate_store(uri: str | None = None) -> Relocation:
    """Rewrite the paths in a moved SQLite store to the ``artifacts`` folder beside it.

    All paths are changed in one transaction, after a backup: a store is relocated whole or not at all. Paths outside
    the store's former folder (another disk, a server) stay.

    Parameters
    ----------
    uri : str, optional

    Raises
    ------
    InputError
        If the store is a server or not there, its artifacts were not moved along, or it is in use or cannot be written.
    """
    uri = resolve_uri(uri)
    database = database_of(uri)
    if database is None:
        raise InputError(
            "store relocate: expected an SQLite store, got a server's address. A server keeps its own files."
        )
    if not database.is_file():
        raise InputError(f"no tracking store at {database}. Name the store with --uri.")
    folder = database.resolve().parent / _ARTIFACTS
    if not folder.is_dir():
        raise InputError(
            f"store relocate: expected the files in {folder}, which is not there. Move the folder there, too."
        )
    with _locked(database) as connection:
        columns = [place for place in _PLACES if _has(connection, *place)]
        former = [old for old in _former(connection, folder) if _came_along(connection, old, folder)]
        moves = [move for old in former for move in _moves(old, folder)]
        changes = [(column, move, n) for column in columns for move in moves if (n := _count(connection, column, move))]
        if not changes:
            return Relocation((), str(folder), 0, None)
        backup = _back_up(database)
        for (table, column), move, _ in changes:
            # Table and column names are the constants above.
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (move.after, len(move.before) + 1, len(move.before), move.before),
            )
    return Relocation(tuple(former), str(folder), sum(count for *_, count in changes), backup)


class _Move(NamedTuple):
    """The beginning of a path, before and after."""

    before: str
    after: str


def _moves(old: str, folder: Path) -> tuple[_Move, ...]:
    """Return how paths in a former folder begin now; those of MLflow's own experiment 0 are no URIs."""
    root = Path(url2pathname(urlsplit(old).path)).parent
    return _Move(old, folder.as_uri()), _Move(f"{root}{os.sep}", f"{folder.parent}{os.sep}")


def _former(connection: sqlite3.Connection, folder: Path) -> list[str]:
    """Return the places of experiments that are an ``artifacts`` folder, as every il7ml store has it, elsewhere."""
    rows = connection.execute("SELECT DISTINCT artifact_location FROM experiments ORDER BY 1")
    places = [place for (place,) in rows if place and place.startswith("file:") and place.endswith(f"/{_ARTIFACTS}")]
    return [place for place in places if place != folder.as_uri()]


def _came_along(connection: sqlite3.Connection, old: str, folder: Path) -> bool:
    """Return whether files of a former folder are here now; else it lies elsewhere on purpose."""
    rows = connection.execute("SELECT artifact_uri FROM runs WHERE substr(artifact_uri, 1, ?) = ?", (len(old), old))
    parts = [uri[len(old) + 1 :] for (uri,) in rows]
    return not parts or any((folder / part).is_dir() for part in parts)


def _count(connection: sqlite3.Connection, place: tuple[str, str], move: _Move) -> int:
    table, column = place
    (count,) = connection.execute(
        f"SELECT count(*) FROM {table} WHERE substr({column}, 1, ?) = ?", (len(move.before), move.before)
    ).fetchone()
    return int(count)


def _has(connection: sqlite3.Connection, table: str, column: str) -> bool:
    return column in {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def _back_up(database: Path) -> Path:
    """Copy the database as it stands; its own lock keeps writers away meanwhile, not readers."""
    moment = datetime.now(UTC)
    backup = database.with_name(f"{database.name}.before-relocation-{moment:%Y%m%dT%H%M%S%f}")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    return backup


@contextmanager
def _locked(database: Path) -> Iterator[sqlite3.Connection]:
    """Open the database in one transaction that nobody else can write in."""
    try:
        with closing(sqlite3.connect(database, timeout=_WAIT_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise InputError(
            f"tracking store {database}: cannot be changed ({type(error).__name__}: {error}). Close what uses it, such "
            "as il7ml ui or a training, and try again."
        ) from None
