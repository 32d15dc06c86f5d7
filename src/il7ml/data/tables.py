"""Reading tables of every format into frames, with every fault as a problem instead of a traceback."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow
from numpy.typing import NDArray

from il7ml.data.parquet import read_parquet_file, read_parquet_folder
from il7ml.data.reading import UnreadableTableError, choose_columns
from il7ml.data.sas import read_sas_data_set, read_xport
from il7ml.data.sources import TableSpec, as_code, as_codes, as_text
from il7ml.errors import InputError, Problem

# "None" is not among them: it is a category in many trials ("respiratory support: None").
_MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "<NA>", "#N/A")
NOT_A_NUMBER = "not a number"
NUMBER_REMEDY = "Write plain numbers with a decimal point, or list the code under the table's missing."

_NUMERIC = (int, float, str, Decimal, np.number)
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class _Wish(NamedTuple):
    """What is wanted of a file: columns (None: all), those kept as written, and its encoding (None: the format's)."""

    columns: Collection[str] | None = None
    text: Sequence[str] = ()
    encoding: str | None = None


def read_table(path: Path, text: Sequence[str] = ()) -> pd.DataFrame:
    """Read one table by its ending; a folder is read as Parquet files of one table.

    Parameters
    ----------
    path : Path
    text : sequence of str
        Columns of a CSV file to be kept as they are written, such as identifiers with leading zeros.

    Raises
    ------
    UnreadableTableError
        If the file is missing, of an unknown format, or not readable as what its ending says. An InputError.
    """
    return _read_file(path, _Wish(text=text))


def _read_file(path: Path, wish: _Wish) -> pd.DataFrame:
    reader = _read_folder if _is_folder(path) else READERS.get(path.suffix.lower())
    if reader is None:
        rule = f"unknown table format {path.suffix!r}"
        raise UnreadableTableError(path.name, rule, f"Use {_listed(READERS)}.")
    try:
        return reader(path, wish)
    except FileNotFoundError:
        raise UnreadableTableError(path.name, f"no such file ({path})", "Check the path.") from None
    except UnicodeError:
        rule = f"it is not {(wish.encoding or 'utf-8').upper()} text"
        remedy = "Save it as UTF-8, or set the table's encoding in the study file."
        raise UnreadableTableError(path.name, rule, remedy) from None
    # TypeError: what pandas stores in a Parquet file for itself, damaged.
    except (pd.errors.ParserError, csv.Error, pyarrow.ArrowException, OSError, ValueError, TypeError) as error:
        rule = f"not readable as {path.suffix[1:].lower() or 'Parquet'} ({type(error).__name__})"
        raise UnreadableTableError(path.name, rule, "Mend or export the file again.") from None


def _listed(endings: Iterable[str]) -> str:
    *others, last = endings
    return f"{', '.join(others)} or {last}"


def _read_csv(path: Path, wish: _Wish) -> pd.DataFrame:
    # As Excel writes it, UTF-8 begins with a mark that is no part of the first name.
    encoding = "utf-8-sig" if wish.encoding in (None, "utf-8") else wish.encoding
    names = _check_fields(path, encoding)
    return pd.read_csv(
        path,
        header=0,
        names=names,
        usecols=choose_columns(names, wish.columns),
        dtype=dict.fromkeys(wish.text, str),
        keep_default_na=False,
        na_values=_MISSING,
        encoding=encoding,
        low_memory=False,
    )


def _check_fields(path: Path, encoding: str | None) -> list[str]:
    """Return the header's names; refuse what pandas would silently take for something else.

    Those are a name that stands twice (the second gets another name), rows with fewer fields than the header (filled
    up) or with more (the first column becomes an index and the others move).
    """
    with path.open(encoding=encoding, newline="") as file:
        rows = (row for row in csv.reader(file) if row)
        header = [name.strip() for name in next(rows, [])]
        uneven = [number for number, row in enumerate(rows, start=2) if len(row) != len(header)]
    if not any(header):
        raise UnreadableTableError(path.name, "the file is empty", "Expected a header and rows.")
    if len(header) == 1 and (found := [word for mark, word in _OTHER_SEPARATORS.items() if mark in header[0]]):
        rule = f"the fields are separated by {found[0]}, expected commas"
        raise UnreadableTableError(path.name, rule, "Save it with commas, and with decimal points in numbers.")
    if uneven:
        some = f"{len(uneven)} row{'s' if len(uneven) > 1 else ''}, the first being row {uneven[0]}"
        rule = f"rows with fewer or more fields than the header's {len(header)} ({some})"
        raise UnreadableTableError(path.name, rule, "Mend or export the file again.")
    named = [name or f"unnamed {place}" for place, name in enumerate(header, start=1)]
    for place, name in enumerate(named, start=1):
        if name in named[place:]:
            # Places, not the name: in a file without a header the first row holds a patient's values.
            other = named.index(name, place) + 1
            raise UnreadableTableError(path.name, f"columns {place} and {other} have the same name", "Rename one.")
    return named


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, for example: reading says so
        return False


def _read_folder(path: Path, wish: _Wish) -> pd.DataFrame:
    return read_parquet_folder(path, wish.columns)


def _read_parquet(path: Path, wish: _Wish) -> pd.DataFrame:
    return read_parquet_file(path, wish.columns)


def _read_xport(path: Path, wish: _Wish) -> pd.DataFrame:
    return read_xport(path, wish.columns, wish.encoding)


def _read_sas_data_set(path: Path, wish: _Wish) -> pd.DataFrame:
    return read_sas_data_set(path, wish.columns, wish.encoding)


WRITTEN = (".csv", ".parquet")
READERS: dict[str, Callable[[Path, _Wish], pd.DataFrame]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".xpt": _read_xport,
    ".sas7bdat": _read_sas_data_set,
}


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write one table by its ending, whole or not at all.

    Raises
    ------
    InputError
        If the format is unknown or the place cannot be written.
    """
    if path.suffix.lower() not in WRITTEN:
        raise InputError(f"{path.name}: unknown table format {path.suffix!r}. Use {_listed(WRITTEN)}.")
    part = path.with_name(f".{path.name}.part")
    try:
        if path.suffix.lower() == ".csv":
            frame.to_csv(part, index=False)
        else:
            frame.to_parquet(part, index=False)
        part.replace(path)
    except OSError as error:
        reason = error.strerror or "no such folder"
        raise InputError(f"{path} cannot be written: {reason}. Choose another place.") from None
    finally:
        with suppress(OSError):  # what could not be made cannot always be removed either
            part.unlink(missing_ok=True)


def write_files(files: Mapping[Path, pd.DataFrame | str | bytes]) -> None:
    """Write all files or none, in their order: each beside its place first, then all are moved.

    Folders are made. A place that is no file (a pipe, a terminal) is written straight away.

    Raises
    ------
    InputError
        If a place cannot be written.
    """
    parts = {path: path if _is_device(path) else path.with_name(f".new-{path.name}") for path in files}
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, pd.DataFrame):
                write_table(content, parts[path])
            else:
                parts[path].write_bytes(content.encode() if isinstance(content, str) else content)
        for path, part in parts.items():
            part.replace(path)
    except OSError as error:
        raise InputError(f"{error.filename} cannot be written: {error.strerror}. Choose another place.") from None
    finally:
        for path, part in parts.items():
            if part != path:
                with suppress(OSError):  # what could not be made cannot always be removed either
                    part.unlink(missing_ok=True)


def _is_device(path: Path) -> bool:
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except OSError:  # a name that is too long, for example: writing says so
        return False


def read_study_table(
    folder: Path,
    spec: TableSpec,
    problems: list[Problem],
    text: Sequence[str] = (),
    columns: Collection[str] | None = None,
) -> pd.DataFrame | None:
    """Read a study's table and clean it; faults go to `problems` and give None.

    `text` are columns beside the key that are kept as written, `columns` those that are read (None: all).
    """
    try:
        frame = _read_place(folder, spec, _Wish(columns, (spec.key, *text), spec.encoding))
    except UnreadableTableError as error:
        problems.append(Problem(spec.place, "", error.rule, 0, error.remedy))
        return None
    return clean_table(frame, spec, problems)


def _read_place(folder: Path, spec: TableSpec, wish: _Wish) -> pd.DataFrame:
    if spec.path is not None:
        return _read_file(folder / spec.path, wish)
    from il7ml.data.sql import read_sql

    return read_sql(spec, wish.columns)


def clean_table(frame: pd.DataFrame, spec: TableSpec, problems: list[Problem]) -> pd.DataFrame | None:
    """Return a table with text as column names, missing codes and blanks set missing, and without empty rows.

    The frame given is left as it is. A column that stands twice goes to `problems` and gives None.
    """
    # An identifier may stand in the index; pandas keeps it there in a Parquet file, too.
    levels = [name for name in frame.index.names if name is not None and name not in frame.columns]
    frame = (frame.reset_index(levels) if levels else frame).reset_index(drop=True)
    frame = frame.set_axis([str(name).strip() for name in frame.columns], axis="columns")
    if doubled := list(frame.columns[frame.columns.duplicated()].unique()):
        problems += [Problem(spec.place, name, "column stands twice", 0, "Keep one.") for name in doubled]
        return None
    missing = {"", *as_codes(spec.missing)}
    for name, series in frame.items():
        if spec.missing or not (pd.api.types.is_numeric_dtype(series) or pd.api.types.is_bool_dtype(series)):
            gaps = np.array([cell is not None and cell in missing for cell in codes(series)], dtype=bool)
            if gaps.any():
                frame[name] = series.astype(object).mask(gaps, None)
    return frame.dropna(how="all").reset_index(drop=True)


def column_hint(name: str, columns: Iterable[object]) -> str:
    """Return the remedy for a column that a table lacks, with the nearest name where there is one.

    The table's other names stay unsaid: in a file without a header they are a patient's values.
    """
    known = {str(column).lower(): str(column) for column in columns}
    match = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"Did you mean {known[match[0]]!r}? " if match else ""
    return f"{hint}Mend the study file or the table."


def texts(series: pd.Series) -> NDArray[np.object_]:
    """Return the cells as they are written, None where missing; whole numbers lose their ".0"."""
    return _cells(series, _as_written)


def codes(series: pd.Series) -> NDArray[np.object_]:
    """Return the cells as codes, to be compared with the values in a study file; None where missing."""
    return _cells(series, as_code)


def _as_written(value: object) -> str:
    text = as_text(value)
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text


def _cells(series: pd.Series, write: Callable[[object], str]) -> NDArray[np.object_]:
    # Long columns have few different cells: each is written once. Whole numbers are their digits, as text and as code.
    if pd.api.types.is_integer_dtype(series):
        place, numbers_found = pd.factorize(series)
        return np.array([*map(str, numbers_found.tolist()), None], dtype=object)[place]
    place, different = pd.factorize(series.astype(object))
    return np.array([*map(write, different), None], dtype=object)[place]


def numbers(series: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the cells as numbers (NaN where missing or not a finite number), and which were not numbers.

    Truth values and dates are no numbers, although pandas could turn them into some.
    """
    missing = series.isna().to_numpy()
    is_plain = pd.api.types.is_integer_dtype(series) or pd.api.types.is_float_dtype(series)
    if not is_plain:
        strange = [isinstance(cell, bool) or not isinstance(cell, _NUMERIC) for cell in series]
        series = series.astype(object).mask(np.array(strange, dtype=bool), np.nan)
    values = pd.to_numeric(series, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    values = np.where(np.isinf(values), np.nan, values)
    return values, np.isnan(values) & ~missing
