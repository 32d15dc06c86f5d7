"""What study files are written in: values that table cells are compared with, tables, and rows that are events."""

from __future__ import annotations

import codecs
import re
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator, model_validator

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


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class TableSpec(Closed):
    """A table with patients' rows: a file, whose path is relative to the study file, or a part of a database.

    Attributes
    ----------
    path : str, optional
        CSV (``.csv``), Parquet (``.parquet``, or a folder of such files), SAS transport (``.xpt``) or SAS data set
        (``.sas7bdat``).
    database : str, optional
        Instead of a path: the name of the environment variable that holds the database's URL, which has a password in
        it and so stands in no file.
    table, query : str, optional
        Of a database: one of its tables or views (``name`` or ``schema.name``), or a query.
    key : str
        Column that identifies the patient.
    missing : tuple
        Values that stand for "missing", beside empty fields and, in a CSV file, NA, N/A, NaN and NULL.
    encoding : str, optional
        Of the characters in a CSV or SAS file, where it is not UTF-8 (or what the data set itself says).
    study_days : tuple of str
        Columns that count study days as CDISC does: day 1 is the day of randomisation, day -1 the day before, and there
        is no day 0. They become days since randomisation, which is day 0.
    dates : dict of str to str
        Columns that hold dates, each with the column of the same row that holds the date of randomisation; they become
        days since randomisation.
    """

    path: str | None = Field(default=None, min_length=1)
    database: str | None = None
    table: str | None = Field(default=None, min_length=1)
    query: str | None = Field(default=None, min_length=1)
    key: str = Field(min_length=1)
    missing: tuple[Scalar, ...] = ()
    encoding: str | None = None
    study_days: tuple[str, ...] = ()
    dates: dict[str, str] = Field(default_factory=dict)

    @field_validator("database")
    @classmethod
    def _names_a_variable(cls, name: str | None) -> str | None:
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError("expected the name of an environment variable that holds the URL, never the URL itself")
        return name

    @field_validator("query")
    @classmethod
    def _only_reads(cls, query: str | None) -> str | None:
        if query is not None and query.strip()[:6].lower() != "select" and query.strip()[:5].lower() != "with ":
            raise ValueError("expected a query that only reads, beginning with SELECT or WITH")
        return query

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str | None) -> str | None:
        if encoding is None:
            return None
        try:
            "".encode(encoding)  # refuses what is a codec, but none of text
        except LookupError:
            raise ValueError("unknown encoding; expected a name such as utf-8, latin-1 or cp1252") from None
        return codecs.lookup(encoding).name

    @model_validator(mode="after")
    def _one_place(self) -> TableSpec:
        if (self.path is None) == (self.database is None):
            raise ValueError("give either path, or database with table or query")
        if (self.database is not None) != ((self.table is None) != (self.query is None)):
            raise ValueError("database goes with either table or query, and they with it")
        if twice := set(self.study_days) & set(self.dates):
            raise ValueError(f"column {min(twice)!r} stands under study_days and under dates")
        return self

    @property
    def place(self) -> str:
        """Where the table is, in words for messages."""
        if self.path is not None:
            return self.path
        return f"{self.database}: {self.table or 'query'}"


class JoinedColumn(Closed):
    """A column of the patients table that stands in another table, in the one row a patient that meets `where`."""

    table: str = Field(min_length=1)
    column: str = Field(min_length=1)
    where: dict[str, Values] = Field(default_factory=dict)


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
    if isinstance(value, str):  # the most frequent first: registries have millions of cells
        return value.strip()
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def check_apart(first: str, one: Values, second: str, other: Values) -> None:
    """Refuse two meanings of one value."""
    if set(as_codes(one)) & set(as_codes(other)):
        raise ValueError(f"{first} and {second} share a value; each value has one meaning")
