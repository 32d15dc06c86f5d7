"""The figure of the patients' way through a trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Rectangle

from il7ml.plots.canvas import BLACK, FONT, LINE, sheet, wrap

# In inches: width of a box, and the room between boxes side by side and one below the other.
_BOX, _GAP, _ARROW = 2.7, 0.4, 0.3
_TEXT = 34
# Middle of each column of boxes.
_PLACES = {
    "control": _GAP + _BOX / 2,
    "total": 1.5 * _GAP + _BOX,
    "treated": 2 * _GAP + 1.5 * _BOX,
}


class _Box(NamedTuple):
    """Text of a box: an arm's name where the arms part, else empty; the step; the number of patients."""

    arm: str
    step: str
    number: str

    @property
    def height(self) -> float:
        """In inches."""
        return LINE * len("\n".join([self.arm, self.step, self.number]).strip().splitlines()) + 0.2


def flow_figure(flow: pd.DataFrame, labels: Mapping[str, str], title: str) -> Figure:
    """Draw the patients' way through the trial (CONSORT) as boxes from top to bottom.

    Parameters
    ----------
    flow : DataFrame
        Columns step, control, treated, total, from the first step to the last. A step with numbers by arm has a box an
        arm; one with only a total (NaN in the arms) has a box in the middle.
    labels : mapping of str to str
        What the arms `control` and `treated` are called.
    title : str

    Returns
    -------
    Figure

    References
    ----------
    Hopewell et al., BMJ 2025;389:e081123, doi 10.1136/bmj-2024-081123 (CONSORT 2025 statement).
    """
    rows = _rows(flow, labels)
    heights = [max(box.height for box in row.values()) for row in rows]
    top = sum(heights) + _ARROW * (len(rows) - 1) + 0.1
    figure = sheet(title, 2 * _BOX + 3 * _GAP, top + 0.1)
    ends: dict[str, float] = {}
    for row, height in zip(rows, heights, strict=True):
        for name, box in row.items():
            _draw_box(figure, _PLACES[name], top, height, box)
            for before in [name] if name in ends else list(ends):
                _draw_arrow(figure, _PLACES[before], ends[before], _PLACES[name], top)
        if "total" in row or "total" in ends:
            ends = {}
        ends |= dict.fromkeys(row, top - height)
        top -= height + _ARROW
    return figure


def _rows(flow: pd.DataFrame, labels: Mapping[str, str]) -> list[dict[str, _Box]]:
    """Return the boxes of each step by their column; the first ones of the arms bear the arms' names."""
    rows: list[dict[str, _Box]] = []
    named: set[str] = set()
    numbers = flow[["control", "treated", "total"]].apply(pd.to_numeric, errors="coerce")
    for step, control, treated, total in zip(flow["step"], *(numbers[name] for name in numbers), strict=True):
        split = {name: number for name, number in (("control", control), ("treated", treated)) if pd.notna(number)}
        shown = split or {"total": total}
        rows.append(
            {
                name: _Box(
                    wrap(labels[name], _TEXT - 4) if name in split and name not in named else "",
                    wrap(str(step), _TEXT),
                    f"n = {number:.0f}" if pd.notna(number) else "",
                )
                for name, number in shown.items()
            }
        )
        named |= set(shown)
    return rows


def _draw_box(figure: Figure, middle: float, top: float, height: float, box: _Box) -> None:
    inches = figure.dpi_scale_trans
    figure.add_artist(
        Rectangle((middle - _BOX / 2, top - height), _BOX, height, facecolor="white", edgecolor=BLACK, linewidth=0.9,
                  transform=inches)
    )  # fmt: skip
    place = top - (height - box.height) / 2 - 0.1
    for text, weight in ((box.arm, "bold"), (f"{box.step}\n{box.number}".strip(), "normal")):
        if text:
            figure.text(middle, place, text, fontsize=FONT, weight=weight, ha="center", va="top", transform=inches)
            place -= LINE * len(text.splitlines())


def _draw_arrow(figure: Figure, x: float, y: float, to_x: float, to_y: float) -> None:
    """Draw a line down, across and down again, with a head at its end."""
    inches, bend = figure.dpi_scale_trans, (y + to_y) / 2
    if x != to_x:
        figure.add_artist(Line2D([x, x, to_x], [y, bend, bend], color=BLACK, linewidth=0.9, transform=inches))
        y = bend
    figure.add_artist(
        FancyArrowPatch((to_x, y), (to_x, to_y), arrowstyle="-|>", mutation_scale=9, color=BLACK, linewidth=0.9,
                        shrinkA=0, shrinkB=0, transform=inches)
    )  # fmt: skip
