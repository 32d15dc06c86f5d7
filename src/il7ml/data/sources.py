"""What study files are written in: values that table cells are compared with, tables, and rows that are events."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from il7ml.schema import Closed


def _one(value: object) -> object:
    if isinstance(value, bool | int | float | str):
        return value
    raise ValueError("expected a word, a number or yes/no")


def _one_or_several(value: object) -> object:
    cells = value if isinstance(value, list | tuple) else [value]
    if cells and all(isinstance(cell, bool | int | float | str) for cell in cells):
        return value
    raise ValueError("expected a word, a number or yes/no, or a list of them")


# Checked before pydantic tries the members of a union, each of which would give an error of its own.
Scalar = Annotated[bool | int | float | str, BeforeValidator(_one)]
Values = Annotated[Scalar | tuple[Scalar, ...], BeforeValidator(_one_or_several)]


class TableSpec(Closed):
    """A file with patients' rows; the path is relative to the study file.

    Attributes
    ----------
    path : str
        CSV (``.csv``) or Parquet (``.parquet``).
    key : str
        Column that identifies the patient.
    missing : tuple
        Values that stand for "missing", beside empty fields and, in a CSV file, NA, N/A, NaN and NULL.
    """

    path: str = Field(min_length=1)
    key: str = Field(min_length=1)
    missing: tuple[Scalar, ...] = ()


class EventSource(Closed):
    """Rows of a table that are events: those where all conditions of `where` hold, on the day in column `day`."""

    table: str = Field(min_length=1)
    day: str = Field(min_length=1)
    where: dict[str, Values] = Field(default_factory=dict)


def as_codes(value: Scalar | tuple[Scalar, ...]) -> tuple[str, ...]:
    """Return one or several values of a study file as codes, the way `as_code` writes table cells."""
    return tuple(as_code(item) for item in (value if isinstance(value, tuple) else (value,)))


_YES_OR_NO = {"true": "1", "yes": "1", "on": "1", "false": "0", "no": "0", "off": "0"}
_NUMBER = re.compile(r"([+-]?)0*([0-9]+)(?:\.([0-9]*))?")


def as_code(value: object) -> str:
    """Return a value in the form in which study files and table cells are compared.

    Numbers lose what their column's type adds ("01", "1" and "1.0" are one code). Yes and no become 1 and 0: YAML reads
    an unquoted yes, no, on or off as a truth value, and table readers do so with true and false.

    Examples
    --------
    >>> as_code(1.0), as_code("01"), as_code(True), as_code("No"), as_code("2.50"), as_code(" IL-7 ")
    ('1', '1', '1', '0', '2.5', 'IL-7')
    """
    text = as_text(value)
    if number := _NUMBER.fullmatch(text):
        sign, whole, fraction = number.group(1), number.group(2), (number.group(3) or "").rstrip("0")
        size = f"{whole}.{fraction}" if fraction else whole
        return f"-{size}" if sign == "-" and size != "0" else size
    return _YES_OR_NO.get(text.lower(), text)


def as_text(value: object) -> str:
    """Return a cell's value as text, in which the number 1 and the number 1.0 are the same.

    Examples
    --------
    >>> as_text(1.0), as_text("1"), as_text(True), as_text("IL-7")
    ('1', '1', '1', 'IL-7')
    """
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def check_apart(first: str, one: Values, second: str, other: Values) -> None:
    """Refuse two meanings of one value."""
    if set(as_codes(one)) & set(as_codes(other)):
        raise ValueError(f"{first} and {second} share a value; each value has one meaning")
