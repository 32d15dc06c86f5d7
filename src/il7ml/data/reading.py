"""What readers of all formats share: the fault of a table that cannot be read, and which of its columns are read."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from il7ml.errors import InputError


class UnreadableTableError(InputError):
    """A table that cannot be read: the rule it breaks, and the remedy."""

    def __init__(self, name: str, rule: str, remedy: str) -> None:
        super().__init__(f"{name}: {rule}. {remedy}")
        self.rule, self.remedy = rule, remedy


def choose_columns(names: Sequence[str], wanted: Collection[str] | None) -> list[str] | None:
    """Return the wanted ones of a table's columns in its order, or None for all.

    All are read where a wanted one is not there or stands twice: the table is then refused, and its names help to say
    why.

    Examples
    --------
    >>> choose_columns(["id", "age", "ward"], {"age", "id"})
    ['id', 'age']
    >>> choose_columns(["id", "age", "ward"], {"id", "aeg"}) is None
    True
    """
    if wanted is None or not set(wanted) <= set(names) or len(set(names)) < len(names):
        return None
    return [name for name in names if name in wanted]
