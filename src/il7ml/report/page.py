"""A self-contained HTML page from headings, paragraphs, tables and figures: no script, nothing to fetch."""

from __future__ import annotations

import base64
from functools import cache
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


class Paragraph(NamedTuple):
    """Running text."""

    text: str


class Bullets(NamedTuple):
    """A list of sentences."""

    items: tuple[str, ...]


class Facts(NamedTuple):
    """Names with values."""

    pairs: tuple[tuple[str, str], ...]


class Verdict(NamedTuple):
    """A judgement in one word or number, with the reason."""

    name: str
    value: str
    reason: str


class Column(NamedTuple):
    """The head of a table's column; numbers stand to the right."""

    text: str
    is_number: bool = False


class Group(NamedTuple):
    """Rows of a table under a heading of their own, which may be empty. The first cell heads its row."""

    heading: str
    rows: tuple[tuple[str, ...], ...]


class Table(NamedTuple):
    """A table with its caption.

    Attributes
    ----------
    caption : str
    columns : tuple of Column
    groups : tuple of Group
    note : str
        Stands below; may be empty.
    is_folded : bool
        Shown on demand, for the numbers behind a figure.
    """

    caption: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    note: str = ""
    is_folded: bool = False


class Picture(NamedTuple):
    """A PNG with its caption, and what it shows for those who cannot see it."""

    caption: str
    alt: str
    content: bytes

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return f"data:image/png;base64,{base64.b64encode(self.content).decode('ascii')}"


class Source(NamedTuple):
    """Text as it stands in a file, shown on demand."""

    name: str
    text: str


Part = Paragraph | Bullets | Facts | Verdict | Table | Picture | Source


class Section(NamedTuple):
    """A heading with what stands under it."""

    title: str
    parts: tuple[Part, ...]


class Page(NamedTuple):
    """A report.

    Attributes
    ----------
    title, subtitle : str
    notice : str
        Stays in sight on every screen and heads every printed page; empty for real patients.
    sections : tuple of Section
        Empty ones are left out.
    """

    title: str
    subtitle: str
    notice: str
    sections: tuple[Section, ...]


def render(page: Page) -> str:
    """Return a page as HTML.

    All text is escaped. The page keeps to WCAG 2.2 AA: headings in order, captions and scopes in tables, texts for
    figures, a link past the contents, contrast in light and dark.

    Parameters
    ----------
    page : Page

    Returns
    -------
    str

    Examples
    --------
    >>> html = render(Page("Trial", "a < b", "", (Section("Results", (Paragraph("12 of 54"),)),)))
    >>> "a &lt; b" in html, "<script" in html
    (True, False)
    """
    sections = [section for section in page.sections if section.parts]
    return _environment().get_template("page.html.j2").render(page=page, sections=sections)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("il7ml.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["kind"] = _kind
    environment.filters["css_string"] = _css_string
    environment.filters["unbroken"] = _unbroken
    return environment


def _kind(part: Part) -> str:
    return type(part).__name__.lower()


def _css_string(text: str) -> Markup:
    """Return text as a CSS string, where HTML's escapes do not hold."""
    safe = "".join(sign if sign.isalnum() or sign in " .,:;-" else f"\\{ord(sign):x} " for sign in text)
    return Markup(f'"{safe}"')


def _unbroken(text: str) -> str:
    """Keep numbers together with their signs at the end of a line."""
    space = "\u00a0"
    return text.replace(" %", f"{space}%").replace(" = ", f"{space}={space}").replace(" < ", f"{space}<{space}")
