"""Reading table files: CSV and Parquet into frames, with every fault as a problem instead of a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
from numpy.typing import NDArray

from il7ml.data.study import TableSpec, as_text
from il7ml.errors import InputError, Problem

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: pd.read_csv(path, low_memory=False),
    ".parquet": lambda path: pd.read_parquet(path),
}


def read_table(path: Path) -> pd.DataFrame:
    """Read one table by its ending.

    Raises
    ------
    InputError
        If the file is missing, of an unknown format, or not readable as what its ending says.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path.name}: unknown table format {path.suffix!r}. Use {' or '.join(READERS)}.")
    if not path.exists():
        raise InputError(f"{path}: no such file. Check the path.")
    try:
        return reader(path)
    except pd.errors.EmptyDataError:
        raise InputError(f"{path.name}: the file is empty. Expected a header and rows.") from None
    except (pd.errors.ParserError, UnicodeDecodeError, pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path.name}: not readable as {path.suffix[1:]} ({type(error).__name__}). Mend or export the file again."
        ) from None


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
        part.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror}. Choose another place.") from None


def read_study_table(folder: Path, spec: TableSpec, problems: list[Problem]) -> pd.DataFrame | None:
    """Read a study's table, set its missing codes, and index it by nothing; faults go to `problems`."""
    try:
        frame = read_table(folder / spec.path)
    except InputError as error:
        message = str(error)
        problems.append(Problem(spec.path, "", message.split(": ", 1)[-1].split(". ")[0], 0, message.split(". ")[-1]))
        return None
    frame.columns = frame.columns.map(str)
    if doubled := sorted(set(frame.columns[frame.columns.duplicated()])):
        problems.append(Problem(spec.path, doubled[0], "column stands twice", 0, "Keep one."))
        return None
    if spec.missing:
        codes = {as_text(code) for code in spec.missing}
        frame = frame.mask(frame.map(lambda value: as_text(value) in codes))
    return frame


def texts(series: pd.Series) -> NDArray[np.object_]:
    """Return the cells as text, None where missing; whole numbers lose their ".0"."""
    values = series.astype(object).to_numpy()
    missing = series.isna().to_numpy()
    return np.array([None if gap else as_text(value) for value, gap in zip(values, missing, strict=True)], dtype=object)


def numbers(series: pd.Series) -> tuple[NDArray[np.float64], int]:
    """Return the cells as numbers (NaN where missing or not a number), and how many were not numbers."""
    values = pd.to_numeric(series, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    values = np.where(np.isinf(values), np.nan, values)
    return values, int((np.isnan(values) & series.notna().to_numpy()).sum())
