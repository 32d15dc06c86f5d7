"""A table with an axis in its middle: rows of text, and beside them room to draw a mark for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from il7ml.plots.canvas import BLACK, EDGE, FONT, LINE, place_axes, sheet, text_width, wrap

Floats = NDArray[np.float64]

# Inches between columns, and between the text of one row and the next.
_GAP, _SPACE = 0.24, 0.1
_SHADE = "#F3F4F6"


class Column(NamedTuple):
    """A column of text: what stands above it, and in each row."""

    heading: str
    cells: Sequence[str]
    align: Literal["left", "center"] = "center"


class Block(NamedTuple):
    """Rows that share an axis.

    Attributes
    ----------
    rows : int
    heading : str
        Stands above them; may be empty.
    below : float
        Room below the axis for ticks and words, in inches.
    """

    rows: int
    heading: str
    below: float


class RowSheet(NamedTuple):
    """Figure, and for each block its axes with the place of each row on their y axis."""

    figure: Figure
    axes: list[Axes]
    places: list[Floats]


class _Layout(NamedTuple):
    """Where columns and axis lie, in inches from the left."""

    columns: Sequence[Column]
    starts: list[float]
    widths: list[float]
    axis: float
    total: float

    def write(self, figure: Figure, height: float, texts: Sequence[str], weight: str) -> None:
        """Write a row at a height in inches."""
        for column, start, width, text in zip(self.columns, self.starts, self.widths, texts, strict=True):
            place = start + width / 2 if column.align == "center" else start
            _write(figure, place, height, text, ha=column.align, weight=weight)


def row_sheet(
    title: str,
    left: Sequence[Column],
    right: Sequence[Column],
    blocks: Sequence[Block],
    *,
    axis_width: float,
    headings: frozenset[int] = frozenset(),
    note: str = "",
) -> RowSheet:
    """Write columns of text to the left and right of axes.

    Parameters
    ----------
    title : str
    left, right : sequence of Column
        Cells of all blocks, one after the other.
    blocks : sequence of Block
    axis_width : float
        In inches.
    headings : frozenset of int
        Rows that head others: written bold, not shaded.
    note : str
        Stands at the bottom.

    Returns
    -------
    RowSheet
        The y axis of each block runs downwards in inches.
    """
    layout = _lay_out(left, right, axis_width)
    cells = list(zip(*(column.cells for column in layout.columns), strict=True))
    heights = np.array([_height(row) for row in cells])
    leads = [wrap(block.heading, int(layout.total * 13)) for block in blocks]
    foot = wrap(note, int(layout.total * 14))
    head = _height([column.heading for column in layout.columns])
    rooms = sum(block.below + _height([lead]) for block, lead in zip(blocks, leads, strict=True))
    figure = sheet(title, layout.total, head + float(heights.sum()) + rooms + _height([foot]))
    top = head + float(heights.sum()) + rooms + _height([foot])
    layout.write(figure, top - head / 2, [column.heading for column in layout.columns], "bold")
    top -= head
    figure.add_artist(Line2D([EDGE, layout.total - EDGE], [top, top], color=BLACK, linewidth=0.8,
                             transform=figure.dpi_scale_trans))  # fmt: skip
    found, first = RowSheet(figure, [], []), 0
    for block, lead in zip(blocks, leads, strict=True):
        _write(figure, EDGE, top - _height([lead]) / 2, lead, ha="left", style="italic")
        top -= _height([lead])
        rows = range(first, first + block.rows)
        places = np.cumsum(heights[rows]) - heights[rows] / 2
        for row, place in zip(rows, places, strict=True):
            if row % 2 == 0 and row not in headings:
                _shade(figure, layout.total, top - float(place + heights[row] / 2), float(heights[row]))
            layout.write(figure, top - float(place), cells[row], "bold" if row in headings else "normal")
        tall = float(heights[rows].sum())
        axes = place_axes(figure, layout.axis, top - tall, axis_width, tall)
        axes.set(ylim=(tall, 0), yticks=[])
        axes.spines["left"].set_visible(False)
        axes.patch.set_visible(False)
        found.axes.append(axes)
        found.places.append(places)
        top -= tall + block.below
        first += block.rows
    _write(figure, EDGE, _height([foot]) / 2, foot, ha="left")
    return found


def _lay_out(left: Sequence[Column], right: Sequence[Column], axis_width: float) -> _Layout:
    columns = [*left, *right]
    widths = [max(text_width(text, weight="bold") for text in (column.heading, *column.cells)) for column in columns]
    starts, place, axis = [], EDGE, EDGE
    for number, width in enumerate(widths):
        if number == len(left):
            axis, place = place, place + axis_width + _GAP
        starts.append(place)
        place += width + _GAP
    return _Layout(columns, starts, widths, axis, place - _GAP + EDGE)


def _height(texts: Sequence[str]) -> float:
    """Return the height of a row of texts, 0 where all are empty."""
    lines = max(len(text.splitlines()) for text in texts)
    return LINE * lines + _SPACE if lines else 0.0


def _write(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    ha: Literal["left", "center"],
    weight: str = "normal",
    style: Literal["normal", "italic"] = "normal",
) -> None:
    if text:
        figure.text(
            x, y, text, fontsize=FONT, va="center", transform=figure.dpi_scale_trans, ha=ha, weight=weight, style=style
        )


def _shade(figure: Figure, width: float, bottom: float, height: float) -> None:
    place, size = (EDGE / 2, bottom), width - EDGE
    figure.add_artist(
        Rectangle(place, size, height, color=_SHADE, linewidth=0, zorder=-1, transform=figure.dpi_scale_trans)
    )
