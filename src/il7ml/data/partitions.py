"""A folder of Parquet files turned into another, file by file: little memory, and a second call goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from il7ml.data.reading import UnreadableTableError
from il7ml.errors import InputError

#: Beside the answers: what they were made from.
RECORD = "_il7ml.json"
_ROWS = 50_000

#: From some rows, with the file's name and the number of the first row, to as many answers.
Answer = Callable[[pd.DataFrame, str, int], pd.DataFrame]


def parquet_files(folder: Path) -> list[Path]:
    """Return a folder's Parquet files in the order of their names, those of folders below it included.

    Raises
    ------
    UnreadableTableError
        If there are none.
    """
    files = sorted(file for file in folder.rglob("*.parquet") if not file.name.startswith((".", "_")))
    if not files:
        raise UnreadableTableError(folder.name, "the folder holds no Parquet files", "Name a table, or its partitions.")
    return files


def map_parquet(
    source: Path, target: Path, answer: Answer, *, choose: Callable[[list[str]], list[str]], key: str
) -> list[Path]:
    """Write an answer for each row of each file of `source` to a file of the same name in `target`.

    Each file appears complete or not at all; those that are there already are left, so that a call that was stopped can
    be made again.

    Parameters
    ----------
    source, target : Path
        Folders.
    answer : callable
    choose : callable
        Which of a file's columns are read.
    key : str
        What the answers depend on beside the files, such as the model's digest.

    Returns
    -------
    list of Path
        The files written, by this call and by earlier ones.

    Raises
    ------
    InputError
        If a file cannot be read or written, `target` holds something else, or answers that were made with another key
        or from other files.
    """
    files = parquet_files(source)
    if target.resolve() == source.resolve() or source.resolve() in target.resolve().parents:
        raise InputError(f"{target}: expected a folder outside of {source}. The patients' tables are not overwritten.")
    names = {file.relative_to(source).as_posix(): file.stat().st_size for file in files}
    _claim(target, {"key": key, "files": names})
    done = [target / name for name in names]
    for file, place in zip(files, done, strict=True):
        if not place.exists():
            _map_file(file, place, answer, choose)
    return done


def _claim(target: Path, record: dict[str, object]) -> None:
    """Make the folder and note what its files come from, or check that a folder found is a part of the same work."""
    mark = target / RECORD
    try:
        if mark.exists():
            found = json.loads(mark.read_text(encoding="utf-8"))
            if found != record:
                raise InputError(
                    f"{target} holds answers of another model or from other tables. Name a new folder, or remove it."
                )
            return
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise InputError(f"{target} is not empty and holds no answers of il7ml. Name a new folder.")
        part = mark.with_name(f".{RECORD}.part")
        part.write_text(json.dumps(record), encoding="utf-8")
        part.replace(mark)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "its record is not readable"
        raise InputError(f"{target} cannot be used: {reason}. Choose another place.") from None


def _map_file(file: Path, place: Path, answer: Answer, choose: Callable[[list[str]], list[str]]) -> None:
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        table = pq.ParquetFile(file)
        columns = choose(list(table.schema_arrow.names))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file, error) from None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _write(table, columns, file, part, answer)
        part.replace(place)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{place} cannot be written: {reason}. Choose another place.") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _write(table: pq.ParquetFile, columns: Sequence[str], file: Path, part: Path, answer: Answer) -> None:
    writer = None
    try:
        for start, frame in _frames(table, columns, file):
            answers = pa.Table.from_pandas(answer(frame, file.name, start), preserve_index=False)
            writer = writer or pq.ParquetWriter(part, answers.schema)
            writer.write_table(answers.cast(writer.schema))
    finally:
        if writer is not None:
            writer.close()


def _frames(table: pq.ParquetFile, columns: Sequence[str], file: Path) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield a file's rows some at a time, with the number of the first; a file without rows gives no rows once."""
    start = 0
    try:
        for block in table.iter_batches(_ROWS, columns=list(columns)):
            yield start, block.to_pandas()
            start += block.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file, error) from None
    if not start:
        yield 0, table.schema_arrow.empty_table().select(list(columns)).to_pandas()


def _unreadable(file: Path, error: Exception) -> UnreadableTableError:
    return UnreadableTableError(
        file.name, f"not readable as Parquet ({type(error).__name__})", "Mend or export the file again."
    )
