"""How results show themselves in a notebook: small pieces of HTML, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def heading(text: str) -> str:
    """Return a heading.

    Examples
    --------
    >>> heading("A < B")
    '<h4>A &lt; B</h4>'
    """
    return f"<h4>{escape(text)}</h4>"


def paragraph(text: str, *, strong: bool = False) -> str:
    """Return a paragraph; nothing for an empty text."""
    if not text:
        return ""
    return f"<p><strong>{escape(text)}</strong></p>" if strong else f"<p>{escape(text)}</p>"


def items(texts: Iterable[str]) -> str:
    """Return a list; nothing where there are no items."""
    lines = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{lines}</ul>" if lines else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column names its rows.

    Examples
    --------
    >>> table(["arm", "patients"], [["placebo", "55"]])
    '<table><thead><tr><th>arm</th><th>patients</th></tr></thead><tbody><tr><th>placebo</th><td>55</td></tr></tbody></table>'
    """
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for first, *cells in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
