"""Finished tasks of a long computation on disk: a killed one goes on where it stopped, with the same numbers."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from il7ml.errors import InputError

Arrays = Mapping[str, NDArray[np.float64]]


class State:
    """A folder with one file of arrays a finished task.

    Results are kept as plain numbers (no pickle). What belongs to another config, other data or another version must
    get another folder.

    Parameters
    ----------
    folder : Path
        Made at the first `save`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     state = State(Path(folder) / "run")
    ...     state.save("fold0", {"risk": np.array([0.1, 0.2])})
    ...     state.load("fold0")["risk"].tolist(), state.load("fold1")
    ([0.1, 0.2], None)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def part(self, name: str) -> State:
        """Return the state of one part of the computation."""
        return State(self.folder / name)

    def load(self, name: str) -> dict[str, NDArray[np.float64]] | None:
        """Return a task's arrays; None where it is not finished or its file is damaged."""
        try:
            with self._path(name).open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, name: str, arrays: Arrays) -> None:
        """Keep a task's arrays, whole or not at all.

        Raises
        ------
        InputError
            If the folder cannot be written.
        """
        path = self._path(name)
        unfinished = path.with_suffix(f".{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            unfinished.replace(path)
        except OSError as error:
            raise InputError(f"{self.folder} cannot be written: {error.strerror}. Free it.") from None

    def clear(self) -> None:
        """Remove everything: the computation is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)
        # The folder above holds the states of other runs; it goes with the last.
        with suppress(OSError):
            self.folder.parent.rmdir()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"
