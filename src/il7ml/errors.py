"""What can go wrong, said once: every error carries an exit code and names the remedy.

Messages never hold a patient's value or identifier: they go to terminals, logs and the tracking store.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Il7mlError(Exception):
    """Base of all errors that il7ml raises on purpose; `exit_code` is the command line's."""

    exit_code = 1


class InputError(Il7mlError):
    """The caller's input cannot be used: a file, a column, a config key, a value (exit code 2)."""

    exit_code = 2


class OutOfScopeError(Il7mlError):
    """The request is well-formed but the model must not answer it (exit code 3)."""

    exit_code = 3


class BundleRefusedError(Il7mlError):
    """A stored model is damaged, altered, of another version or not of a trusted form (exit code 4)."""

    exit_code = 4


class Problem(NamedTuple):
    """One thing wrong with a data set. Holds counts, never values.

    Attributes
    ----------
    file, column : str
        Where; `column` may be empty when the whole file is meant.
    rule : str
        What was expected and what came.
    rows : int
        Number of rows concerned; 0 when the rule is about the file or the column as a whole.
    remedy : str
        What to do.
    """

    file: str
    column: str
    rule: str
    rows: int
    remedy: str

    def __str__(self) -> str:
        """Return the problem as one line."""
        place = f"{self.file}: {self.column}" if self.column else self.file
        rows = f" ({self.rows} row{'s' if self.rows != 1 else ''})" if self.rows else ""
        return f"{place}: {self.rule}{rows}. {self.remedy}"


class DataError(InputError):
    """A data set breaks its study file's rules; `problems` lists all of them at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} in the data:"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in self.problems)]))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ' Did you mean ...?' for the known name nearest to `name`, or the list of known names.

    Examples
    --------
    >>> nearest("lymphocites", ["lymphocytes", "age"])
    " Did you mean 'lymphocytes'?"
    """
    names = sorted(known)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if match:
        return f" Did you mean {match[0]!r}?"
    return f" Known: {', '.join(names)}." if names else ""
