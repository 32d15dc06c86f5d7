"""Columns of more patients than memory holds: single-precision numbers on disk, read some rows at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from il7ml.errors import InputError
from il7ml.features.columns import Columns, Floats


class StoredColumns(Mapping[str, Floats]):
    """Columns in a folder. As a mapping it reads one whole column at a time; `rows` gives some patients of all.

    Single precision is what trees see of a value in any case, and its error of 6e-8 is below that of any measurement.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    names : sequence of str

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     stored = StoredColumns(Path(folder), ["age"])
    ...     stored.append({"age": np.array([50.0, 61.0])})
    ...     stored.append({"age": np.array([np.nan])})
    ...     stored["age"].tolist(), stored.rows(1, 2)["age"].tolist(), stored.n
    ([50.0, 61.0, nan], [61.0], 3)
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._files = {name: folder / f"{place:04d}.float32" for place, name in enumerate(names)}
        self.folder = folder
        self.n = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def append(self, columns: Columns) -> None:
        """Add patients.

        Raises
        ------
        InputError
            If the disk is full, for example.
        """
        try:
            for name, file in self._files.items():
                with file.open("ab") as stored:
                    columns[name].astype(np.float32).tofile(stored)
        except OSError as error:
            raise self._unwritable(error) from None
        self.n += next(iter(columns.values())).size

    def rows(self, start: int, stop: int) -> Columns:
        """Return the patients from `start` to before `stop`."""
        return {name: self._read(file, start, stop - start) for name, file in self._files.items()}

    def update(self, digest: hashlib._Hash) -> None:
        """Add names and numbers to a digest."""
        for name, file in self._files.items():
            digest.update(name.encode())
            with file.open("rb") as stored:
                for block in iter(lambda: stored.read(2**20), b""):
                    digest.update(block)

    def __getitem__(self, name: str) -> Floats:
        return self._read(self._files[name], 0, self.n)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    @staticmethod
    def _read(file: Path, start: int, count: int) -> Floats:
        # Not mapped into memory: what is read here is used once, and would be counted as the process's own.
        return np.fromfile(file, np.float32, count, offset=4 * start).astype(float)

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"{self.folder} cannot be written: {error.strerror}. Free it, or use another store.")
