"""What all figures share: colours, each arm's look, sizes, a figure with a title, axis ticks, PNG bytes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from typing import Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's palette, readable with any kind of colour vision.
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#6B7280"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, GREY)
BLACK = "#111827"

#: Size of text in points, and the height of a line of it in inches.
FONT, LINE = 9.0, 0.165
#: Inches kept free at the edges of a sheet.
EDGE = 0.1

_TITLE_FONT, _TITLE_LINE = 10.5, 0.185
_MARKER = 5.0
# Dots an inch of pictures. Letters are fitted to dots, so sheets are laid out with it too.
_DPI = 140


class ArmLook(NamedTuple):
    """How an arm is drawn: also without colours the arms differ, by line and by filling of the markers."""

    colour: str
    line: Literal["-", "--"]
    marker: str
    face: str


ARM_LOOKS = {"control": ArmLook(ORANGE, "--", "o", "white"), "treated": ArmLook(BLUE, "-", "s", BLUE)}


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG bytes that depend on nothing but its content."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def canvas(title: str, width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of `width` x `height` inches with its title and one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # The figure's own title begins at its edge, so that long labels beside the axes cannot push a mark out of sight.
    figure.suptitle(_wrapped_title(title, width), fontsize=_TITLE_FONT, x=0.01, horizontalalignment="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=FONT)
    return figure, axes


def sheet(title: str, width: float, height: float) -> Figure:
    """Return a figure whose content is placed in inches: `width` x `height` below the title, which comes on top."""
    text = _wrapped_title(title, width)
    total = height + 0.16 + _TITLE_LINE * len(text.splitlines())
    figure = Figure(figsize=(width, total), dpi=_DPI)
    FigureCanvasAgg(figure)
    figure.suptitle(text, fontsize=_TITLE_FONT, x=EDGE / width, y=1 - 0.07 / total, ha="left", va="top")
    return figure


def place_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes to a sheet, in inches from its lower left corner."""
    across, up = figure.get_size_inches()
    axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=FONT)
    return axes


def text_width(text: str, size: float = FONT, weight: str = "normal") -> float:
    """Return the width in inches of the longest line of a text, as drawn."""
    if not text:
        return 0.0
    figure = Figure(figsize=(1, 1), dpi=_DPI)
    FigureCanvasAgg(figure)
    return float(figure.text(0, 0, text, fontsize=size, weight=weight).get_window_extent().width) / _DPI


def wrap(text: str, characters: int) -> str:
    """Break a text into lines; the breaks it has already are kept."""
    return "\n".join(part for line in text.splitlines() for part in textwrap.wrap(line, characters))


def arm_legend(
    figure: Figure, labels: Mapping[str, str], top: float, *, lines: bool = True, markers: bool = True
) -> None:
    """Write which look is which arm's, from `top` (inches) downwards."""
    handles = [
        Line2D(
            [],
            [],
            color=look.colour,
            linestyle=look.line if lines else "none",
            marker=look.marker if markers else "none",
            markerfacecolor=look.face,
            markersize=_MARKER,
            label=_legend_label(labels[arm]),
        )
        for arm, look in ARM_LOOKS.items()
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(EDGE, top),
        bbox_transform=figure.dpi_scale_trans,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=2.8 if lines else 1.0,
        fontsize=FONT,
    )


def legend_height(labels: Mapping[str, str]) -> float:
    """Return the room in inches that `arm_legend` takes."""
    return sum(LINE * len(_legend_label(labels[arm]).splitlines()) + 0.05 for arm in ARM_LOOKS)


def log_axis(axes: Axes, which: Literal["x", "y"], low: float, high: float) -> None:
    """Make an axis logarithmic, from `low` to `high`, with few, plainly written ticks."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axes.set(**{f"{which}lim": (low, high)})
    if high < 3 * low:
        ticks = [tick for tick in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= tick <= high]
    else:
        decades = [10.0**power for power in range(-12, 13)]
        choices = [
            [step * decade for decade in decades for step in steps if low <= step * decade <= high]
            for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
        ]
        ticks = next((choice for choice in choices if len(choice) > 3), choices[-1])
    set_ticks = axes.set_xticks if which == "x" else axes.set_yticks
    set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    set_ticks([], minor=True)


def _legend_label(text: str) -> str:
    return wrap(text, 50)


def _wrapped_title(title: str, width: float) -> str:
    return wrap(title, int(width * 12))
