"""SAS: transport files (version 5 and 8) and data sets, as CDISC's analysis tables come."""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from il7ml.data.reading import UnreadableTableError, choose_columns

_CARD = 80  # transport files are made of records of this length
_OBSERVATIONS = b"HEADER RECORD*******OBS"
_MEMBER = b"HEADER RECORD*******MEM"
_NO_FILE = "not a readable SAS file, or cut off"
_AGAIN = "Export it again."


def read_xport(path: Path, columns: Collection[str] | None, encoding: str | None) -> pd.DataFrame:
    """Read a SAS transport file; dates stay numbers of days since 1960, special missing values (.A to .Z) are missing.

    Raises
    ------
    UnreadableTableError
        If it is no transport file, is cut off or holds several tables, or pyreadstat is not installed.
    """
    _check_single(path)
    # Text that is UTF-8 already is not converted: the converter drops a last character that is none, and says nothing.
    frame, widths = _read("read_xport", path, columns, None if encoding == "utf-8" else encoding)
    _check_whole(path, len(frame), sum(widths.values()))
    return frame


def read_sas_data_set(path: Path, columns: Collection[str] | None, encoding: str | None) -> pd.DataFrame:
    """Read a sas7bdat file; as `read_xport`, the encoding is by default the one that the file states."""
    return _read("read_sas7bdat", path, columns, encoding)[0]


def _read(
    reader: str, path: Path, columns: Collection[str] | None, encoding: str | None
) -> tuple[pd.DataFrame, dict[str, int]]:
    if not path.is_file():
        raise FileNotFoundError
    try:
        import pyreadstat
    except ModuleNotFoundError:
        raise UnreadableTableError(
            path.name, "SAS files need the package pyreadstat", "Install it: pip install 'il7ml[sas]'."
        ) from None
    read: Any = getattr(pyreadstat, reader)
    try:
        _, header = read(path, encoding=encoding, metadataonly=True)
        names = list(header.column_names)
        chosen = choose_columns(names, columns)
        frame, _ = read(path, encoding=encoding, usecols=chosen, disable_datetime_conversion=True)
    except UnicodeDecodeError:
        raise UnreadableTableError(
            path.name, f"its text is not {(encoding or 'utf-8').upper()}", "Set the table's encoding, as in latin-1."
        ) from None
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError, TypeError):  # the last: a damaged header
        raise UnreadableTableError(path.name, _NO_FILE, _AGAIN) from None
    return frame, dict(header.variable_storage_width)


def _check_single(path: Path) -> None:
    """Refuse several tables in a file: their headers would be read as rows of the first."""
    with _mapped(path) as content:
        start = content.find(_OBSERVATIONS)
        several = start >= 0 and content.find(_MEMBER, start) >= 0
    if several:
        raise UnreadableTableError(path.name, "it holds several tables", "Export one table a file.")


def _check_whole(path: Path, rows: int, width: int) -> None:
    """Refuse a file whose end is missing: readers stop there silently.

    After the last row only blanks fill up the last record. A file cut off exactly between two rows and two records
    looks whole; nothing in version 5 says how many rows there are.
    """
    with _mapped(path) as content:
        start = content.find(_OBSERVATIONS)
        stated = content[start + 48 : start + 63].strip() if content[start + 23 : start + 25] == b"V8" else b""
        rest = content[start + _CARD + rows * width :]
    if len(rest) >= _CARD + width or rest.strip(b" ") or (stated.isdigit() and int(stated) != rows):
        raise UnreadableTableError(path.name, "the file is cut off: the last row is not whole", _AGAIN)


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise UnreadableTableError(path.name, _NO_FILE, _AGAIN)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content
