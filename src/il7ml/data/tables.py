"""Reading table files: CSV and Parquet into frames, with every fault as a problem instead of a traceback."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from numpy.typing import NDArray

from il7ml.data.sources import TableSpec, as_code, as_codes, as_text
from il7ml.errors import InputError, Problem

# "None" is not among them: it is a category in many trials ("respiratory support: None").
_MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "<NA>", "#N/A")
NOT_A_NUMBER = "not a number"
NUMBER_REMEDY = "Write plain numbers with a decimal point, or list the code under the table's missing."

_NUMERIC = (int, float, str, Decimal, np.number)
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class UnreadableTableError(InputError):
    """A table file that cannot be read: the rule it breaks, and the remedy."""

    def __init__(self, name: str, rule: str, remedy: str) -> None:
        super().__init__(f"{name}: {rule}. {remedy}")
        self.rule, self.remedy = rule, remedy


def read_table(path: Path, text: Sequence[str] = ()) -> pd.DataFrame:
    """Read one table by its ending; a folder is read as Parquet partitions.

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
    reader = _read_partitions if _is_folder(path) else READERS.get(path.suffix.lower())
    if reader is None:
        rule = f"unknown table format {path.suffix!r}"
        raise UnreadableTableError(path.name, rule, f"Use {' or '.join(READERS)}.")
    try:
        return reader(path, text)
    except FileNotFoundError:
        raise UnreadableTableError(path.name, f"no such file ({path})", "Check the path.") from None
    except UnicodeDecodeError:
        raise UnreadableTableError(path.name, "it is not UTF-8 text", "Save it as CSV with encoding UTF-8.") from None
    except (pd.errors.ParserError, csv.Error, pyarrow.ArrowException, OSError, ValueError) as error:
        rule = f"not readable as {path.suffix[1:].lower() or 'Parquet'} ({type(error).__name__})"
        raise UnreadableTableError(path.name, rule, "Mend or export the file again.") from None


def _read_csv(path: Path, text: Sequence[str]) -> pd.DataFrame:
    names = _check_fields(path)
    return pd.read_csv(
        path,
        header=0,
        names=names,
        dtype=dict.fromkeys(text, str),
        keep_default_na=False,
        na_values=_MISSING,
        encoding="utf-8-sig",
        low_memory=False,
    )


def _check_fields(path: Path) -> list[str]:
    """Return the header's names; refuse what pandas would silently take for something else.

    Those are a name that stands twice (the second gets another name), rows with fewer fields than the header (filled
    up) or with more (the first column becomes an index and the others move).
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
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


def _read_partitions(path: Path, text: Sequence[str]) -> pd.DataFrame:
    if not any(path.rglob("*.parquet")):
        raise UnreadableTableError(path.name, "the folder holds no Parquet files", "Name a table, or its partitions.")
    return pd.read_parquet(path)


def _read_parquet(path: Path, text: Sequence[str]) -> pd.DataFrame:
    return pd.read_parquet(path)


READERS: dict[str, Callable[[Path, Sequence[str]], pd.DataFrame]] = {".csv": _read_csv, ".parquet": _read_parquet}


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write one table by its ending, whole or not at all.

    Raises
    ------
    InputError
        If the format is unknown or the place cannot be written.
    """
    if path.suffix.lower() not in READERS:
        raise InputError(f"{path.name}: unknown table format {path.suffix!r}. Use {' or '.join(READERS)}.")
    part = path.with_name(f".{path.name}.part")
    try:
        if path.suffix.lower() == ".csv":
            frame.to_csv(part, index=False)
        else:
            frame.to_parquet(part, index=False)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):  # what could not be made cannot always be removed either
            part.unlink(missing_ok=True)
        reason = error.strerror or "no such folder"
        raise InputError(f"{path} cannot be written: {reason}. Choose another place.") from None


def read_study_table(
    folder: Path, spec: TableSpec, problems: list[Problem], text: Sequence[str] = ()
) -> pd.DataFrame | None:
    """Read a study's table and clean it; faults go to `problems` and give None.

    `text` are columns beside the key that are kept as written.
    """
    try:
        frame = read_table(folder / spec.path, (spec.key, *text))
    except UnreadableTableError as error:
        problems.append(Problem(spec.path, "", error.rule, 0, error.remedy))
        return None
    return clean_table(frame, spec, problems)


def clean_table(frame: pd.DataFrame, spec: TableSpec, problems: list[Problem]) -> pd.DataFrame | None:
    """Return a table with text as column names, missing codes and blanks set missing, and without empty rows.

    The frame given is left as it is. A column that stands twice goes to `problems` and gives None.
    """
    # An identifier may stand in the index; pandas keeps it there in a Parquet file, too.
    levels = [name for name in frame.index.names if name is not None and name not in frame.columns]
    frame = (frame.reset_index(levels) if levels else frame).reset_index(drop=True)
    frame = frame.set_axis([str(name).strip() for name in frame.columns], axis="columns")
    if doubled := list(frame.columns[frame.columns.duplicated()].unique()):
        problems += [Problem(spec.path, name, "column stands twice", 0, "Keep one.") for name in doubled]
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
    whole = text.removesuffix(".0")
    return whole if whole.isdigit() else text


def _cells(series: pd.Series, write: Callable[[object], str]) -> NDArray[np.object_]:
    values = series.astype(object).to_numpy()
    missing = series.isna().to_numpy()
    return np.array([None if gap else write(value) for value, gap in zip(values, missing, strict=True)], dtype=object)


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
