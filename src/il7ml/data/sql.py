"""Databases, through SQLAlchemy: a table, a view or a query, only ever read.

The URL comes from the environment. Neither it nor what the driver says goes into a message: both can hold a password,
an account or a patient's value.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import Connection, column, create_engine, event, inspect, select, text
from sqlalchemy import table as table_clause
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from il7ml.data.reading import UnreadableTableError, choose_columns
from il7ml.data.sources import TableSpec
from il7ml.errors import nearest

_CHUNK = 100_000
_CONNECT_SECONDS = 10


def read_sql(spec: TableSpec, columns: Collection[str] | None) -> pd.DataFrame:
    """Read a table, view or query of the database that `spec` names, in chunks; rows are put in order of identifiers.

    A database gives rows in any order, and folds and digests depend on it.

    The connection is read-only where the database knows such a thing (PostgreSQL, SQLite), and nothing is ever
    committed.

    Parameters
    ----------
    spec : TableSpec
        With `database`, and `table` or `query`.
    columns : collection of str, optional
        Of a table only these are read, where it has them all; a query says itself what it gives.

    Raises
    ------
    UnreadableTableError
        If the variable is not set or holds no URL, the driver is not installed, the database does not answer, or the
        table is not there or the query is refused.
    """
    engine = _engine(spec)
    try:
        with _connect(engine, spec) as connection:
            statement = text(spec.query) if spec.query is not None else _select(connection, spec, columns)
            frame = pd.concat(pd.read_sql_query(statement, connection, chunksize=_CHUNK), ignore_index=True)
    except (SQLAlchemyError, pd.errors.DatabaseError) as error:
        raise UnreadableTableError(
            spec.place, f"the database refused to read it ({_kind(error)})", "Try it with the database's own client."
        ) from None
    finally:
        engine.dispose()
    if spec.key not in frame:
        return frame
    return frame.sort_values(spec.key, key=lambda ids: ids.astype(str), kind="stable", ignore_index=True)


def _kind(error: BaseException) -> str:
    """Return the driver's own class, which says what is wrong (UndefinedColumn); its text may show values."""
    wrapped = error.__cause__ if isinstance(error, pd.errors.DatabaseError) and error.__cause__ else error
    return type(getattr(wrapped, "orig", None) or wrapped).__name__


def _engine(spec: TableSpec) -> Engine:
    variable = str(spec.database)
    written = os.environ.get(variable, "")
    if not written:
        raise UnreadableTableError(
            spec.place, f"environment variable {variable} is not set", "Set it to the database's URL."
        )
    try:
        url = make_url(written)
        _check_file(url, spec)
        waiting = {"connect_timeout": _CONNECT_SECONDS} if url.get_backend_name() == "postgresql" else {}
        return create_engine(url, connect_args=waiting, hide_parameters=True)
    except NoSuchModuleError:
        remedy = "Expected one such as postgresql+psycopg://user:password@host/name or sqlite:////folder/file.db."
        raise UnreadableTableError(spec.place, f"{variable} names no known kind of database", remedy) from None
    except (ArgumentError, ValueError):
        remedy = "Expected one such as postgresql+psycopg://user:password@host/name or sqlite:////folder/file.db."
        raise UnreadableTableError(spec.place, f"{variable} holds no database URL", remedy) from None
    except ImportError as error:
        rule = f"the database's driver {error.name or ''} is not installed".replace("  ", " ")
        remedy = "Install it; for PostgreSQL: pip install 'il7ml[sql]', and a URL that begins with postgresql+psycopg."
        raise UnreadableTableError(spec.place, rule, remedy) from None


def _check_file(url: URL, spec: TableSpec) -> None:
    """Refuse a SQLite file that is not there: connecting would make an empty one."""
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        rule = f"{spec.database} names a SQLite file that is not there"
        raise UnreadableTableError(spec.place, rule, "Check the path; sqlite:////folder/file.db is an absolute one.")


def _connect(engine: Engine, spec: TableSpec) -> Connection:
    backend = engine.url.get_backend_name()
    if backend == "sqlite":
        event.listen(engine, "connect", _only_query)
    try:
        connection = engine.connect()
    except SQLAlchemyError:
        remedy = f"Check the server, and the account in {spec.database}."
        raise UnreadableTableError(spec.place, "the database does not let us in, or does not answer", remedy) from None
    connection = connection.execution_options(stream_results=True)
    return connection.execution_options(postgresql_readonly=True) if backend == "postgresql" else connection


def _only_query(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA query_only = ON")


def _select(connection: Connection, spec: TableSpec, columns: Collection[str] | None) -> Any:
    schema, _, name = str(spec.table).rpartition(".")
    known = inspect(connection)
    if not known.has_table(name, schema=schema or None):
        others = [*known.get_table_names(schema=schema or None), *known.get_view_names(schema=schema or None)]
        raise UnreadableTableError(
            spec.place, f"the database has no table {spec.table!r}", f"Mend the study file.{nearest(name, others)}"
        )
    names = [str(each["name"]) for each in known.get_columns(name, schema=schema or None)]
    chosen = choose_columns(names, columns) or names
    return select(*(column(each) for each in chosen)).select_from(table_clause(name, schema=schema or None))
