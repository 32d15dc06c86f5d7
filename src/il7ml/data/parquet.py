"""Parquet: one file, or a folder of files that is one table."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pyarrow

from il7ml.data.reading import UnreadableTableError, choose_columns


def read_parquet_file(path: Path, columns: Collection[str] | None) -> pd.DataFrame:
    """Read a Parquet file; of `columns` only those, where it has them all."""
    import pyarrow.parquet as pq

    return pd.read_parquet(path, columns=choose_columns(pq.read_schema(path).names, columns))


def read_parquet_folder(path: Path, columns: Collection[str] | None) -> pd.DataFrame:
    """Read the Parquet files in a folder and the folders in it as one table.

    Folders called ``column=value`` add that column to the files in them, as text (Hive's partitions). The files must
    have the same columns; a column that is integer in one and floating-point in another, or empty in one, is taken as
    the wider of the two.

    Raises
    ------
    UnreadableTableError
        If the folder holds no Parquet files, or files of different tables.
    """
    import pyarrow.dataset as ds

    files = sorted(file for file in path.rglob("*.parquet") if not _is_hidden(file.relative_to(path)))
    if not files:
        raise UnreadableTableError(path.name, "the folder holds no Parquet files", "Name a table, or its partitions.")
    keys = list(dict.fromkeys(key for file in files for key in _partitions(file.relative_to(path))))
    merged = _merged(path, [(file, _schema(file)) for file in files])
    for key in keys:
        if any(key not in _partitions(file.relative_to(path)) for file in files):
            raise _mixed(path, f"not all files lie in a folder {key}=...")
        if key in merged.names:
            raise _mixed(path, f"column {key!r} stands in the files and in the folders' names")
        merged = merged.append(pyarrow.field(key, pyarrow.string()))
    partitions = ds.partitioning(pyarrow.schema([(key, pyarrow.string()) for key in keys]), flavor="hive")
    whole: Any = ds.dataset(
        [str(file) for file in files],
        schema=merged,
        format="parquet",
        partitioning=partitions if keys else None,
        partition_base_dir=str(path),
    )
    frame: pd.DataFrame = whole.to_table(columns=choose_columns(merged.names, columns)).to_pandas()
    return frame


def _schema(file: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_schema(file).remove_metadata()


def _merged(path: Path, schemas: list[tuple[Path, Any]]) -> Any:
    first, expected = schemas[0]
    if len(set(expected.names)) < len(expected.names):
        raise UnreadableTableError(path.name, "two columns have the same name", "Rename one.")
    for file, schema in schemas[1:]:
        if sorted(expected.names) != sorted(schema.names):
            other = sorted(set(expected.names) ^ set(schema.names)) or sorted(schema.names)
            some = ", ".join(map(repr, other[:3])) + (", ..." if len(other) > 3 else "")
            raise _mixed(path, f"{_inside(path, first)} and {_inside(path, file)} do not both have {some}")
    merged = expected
    for file, schema in schemas[1:]:
        for field in schema:
            kinds = {merged.field(field.name).type, field.type}
            if len(kinds) > 1:
                wider = _wider(*sorted(kinds, key=str))
                if wider is None:
                    names = " and ".join(sorted(map(str, kinds)))
                    raise _mixed(path, f"column {field.name!r} is {names} ({_inside(path, file)})")
                place = merged.get_field_index(field.name)
                merged = merged.set(place, pyarrow.field(field.name, wider))
    return merged


def _wider(one: Any, other: Any) -> Any:
    """Return the type that holds both, None where there is none: text and numbers are not the same column."""
    schemas = [pyarrow.schema([("x", kind)]) for kind in (one, other)]
    try:
        return pyarrow.unify_schemas(schemas, promote_options="permissive").field("x").type
    except (pyarrow.ArrowTypeError, pyarrow.ArrowInvalid):
        return None


def _mixed(path: Path, found: str) -> UnreadableTableError:
    return UnreadableTableError(path.name, f"the files are not of one table: {found}", "Write them anew, or apart.")


def _inside(path: Path, file: Path) -> str:
    return file.relative_to(path).as_posix()


def _is_hidden(inside: Path) -> bool:
    """Whether a writer's temporary file: those begin with a dot or an underscore."""
    return any(part.startswith((".", "_")) for part in inside.parts)


def _partitions(inside: Path) -> list[str]:
    return [unquote(part.partition("=")[0]) for part in inside.parts[:-1] if "=" in part]
