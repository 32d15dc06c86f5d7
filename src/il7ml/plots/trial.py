"""Figures of a trial by arm and day: cumulative incidence, recovery, course of measurements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from il7ml.plots.canvas import (
    ARM_LOOKS,
    EDGE,
    FONT,
    GREY,
    LINE,
    arm_legend,
    legend_height,
    log_axis,
    place_axes,
    sheet,
    text_width,
    wrap,
)

Floats = NDArray[np.float64]

# In inches: room below a panel for ticks and label, between panels, right of the last one.
_BELOW, _BETWEEN, _RIGHT = 0.48, 0.85, 0.3
# Room left of the first panel for tick labels and axis label.
_LEFT = 0.75
_NAME, _HEADING = 24, 46
# Arms are drawn side by side by this share of the axis, so that neither hides the other.
_ASIDE = 0.006
# Panels side by side.
_COLUMNS = 3
# A measurement spread over more than this ratio has a logarithmic axis.
_SPREAD = 10.0


class _Grid(NamedTuple):
    """Panels in rows of a few; their headings, their size and the room left of and below each, in inches."""

    headings: list[str]
    wide: float
    tall: float
    left: float
    below: float

    def draw(
        self, title: str, labels: Mapping[str, str], note: str, *, markers: bool = True
    ) -> tuple[Figure, list[Axes]]:
        """Return a figure with title, legend, a note and empty panels."""
        panels = len(self.headings)
        columns = min(panels, _COLUMNS)
        rows = -(-panels // columns)
        above = LINE * max(len(heading.splitlines()) for heading in self.headings) + 0.15
        width = self.left + columns * self.wide + (columns - 1) * _BETWEEN + _RIGHT
        legend = legend_height(labels)
        note = wrap(note, int(width * 14))
        top = rows * (above + self.tall + self.below)
        head = legend + LINE * len(note.splitlines()) + 0.06
        figure = sheet(title, width, top + head)
        arm_legend(figure, labels, top + head, markers=markers)
        figure.text(EDGE, top + head - legend, note, fontsize=FONT, va="top", transform=figure.dpi_scale_trans)
        found = []
        for number, heading in enumerate(self.headings):
            row, column = divmod(number, columns)
            bottom = top - (row + 1) * (above + self.tall) - row * self.below
            axes = place_axes(figure, self.left + column * (self.wide + _BETWEEN), bottom, self.wide, self.tall)
            axes.set_title(heading, fontsize=FONT, loc="left")
            found.append(axes)
        return figure, found


def incidence_figure(
    curves: pd.DataFrame,
    at_risk: pd.DataFrame,
    labels: Mapping[str, str],
    causes: Mapping[int, str],
    title: str,
    level: float = 0.95,
) -> Figure:
    """Draw cumulative incidence by arm, a panel a cause, with the numbers at risk below the first.

    Parameters
    ----------
    curves : DataFrame
        As `competing.cumulative_incidence` returns it. A curve goes on to the last day with patients at risk.
    at_risk : DataFrame
        As `competing.numbers_at_risk` returns it: arm, day, at_risk.
    labels : mapping of str to str
        What the arms `control` and `treated` are called.
    causes : mapping of int to str
        What the causes are called; a panel each, in this order: the event first, then what competes with it.
    title : str
    level : float
        Confidence level of the bands.

    Returns
    -------
    Figure
    """
    names = _names(labels)
    headings = [wrap(name, _HEADING) for name in causes.values()]
    grid = _Grid(headings, 3.9, 2.8, _room_left(names.values(), at_risk["at_risk"]), _BELOW + _numbers_height(names))
    note = f"Bands: pointwise {100 * level:g} % intervals."
    figure, panels = grid.draw(title, labels, note, markers=False)
    limits = 0.0, float(max(at_risk["day"].max(), curves["day"].max()))
    for axes, cause in zip(panels, causes, strict=True):
        part = curves[curves["cause"] == cause]
        for arm, look in ARM_LOOKS.items():
            curve = _to_last_day(part[part["arm"] == arm], at_risk[at_risk["arm"] == arm])
            axes.fill_between(
                curve["day"], curve["low"], curve["high"], step="post", color=look.colour, alpha=0.15, linewidth=0
            )
            axes.step(
                curve["day"], curve["incidence"], where="post", color=look.colour, linestyle=look.line, linewidth=1.6
            )
        axes.set_ylim(0, min(1.0, 1.08 * float(part["high"].max())) if part["high"].any() else 1.0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0 if axes.get_ylim()[1] > 0.1 else 1, " %"))
        _mark_days(axes, limits, at_risk, "at_risk", grid.wide)
    panels[0].set_ylabel("Cumulative incidence", fontsize=FONT)
    _write_numbers(figure, panels[0], at_risk, "at_risk", "Patients at risk", names)
    return figure


def recovery_figure(
    means: pd.DataFrame,
    labels: Mapping[str, str],
    ylabel: str,
    title: str,
    threshold: float | None = None,
    level: float = 0.95,
) -> Figure:
    """Draw geometric means by arm and day with bands, on a logarithmic axis, and the numbers measured below.

    Parameters
    ----------
    means : DataFrame
        Columns arm, day, mean, low, high, n, as `repeated.RepeatedMeasures.means`. An arm may lack a day.
    labels : mapping of str to str
        What the arms `control` and `treated` are called.
    ylabel, title : str
    threshold : float, optional
        Value at which a line is drawn.
    level : float
        Confidence level of the bands.

    Returns
    -------
    Figure
    """
    names = _names(labels)
    grid = _Grid([""], 5.4, 3.2, _room_left(names.values(), means["n"]), _BELOW + _numbers_height(names))
    note = f"Geometric means with pointwise {100 * level:g} % intervals."
    line = "" if threshold is None else f" Dotted line: {threshold:g}."
    figure, [axes] = grid.draw(title, labels, note + line)
    shown = means[means["mean"].notna()]
    limits = _day_limits(shown)
    for arm, look in ARM_LOOKS.items():
        rows = shown[shown["arm"] == arm].sort_values("day")
        axes.fill_between(rows["day"], rows["low"], rows["high"], color=look.colour, alpha=0.15, linewidth=0)
        _draw_points(axes, arm, rows, ("mean", "low", "high"), limits)
    values = shown[["mean", "low", "high"]].to_numpy(dtype=float)
    bounds = np.append(values, np.nan if threshold is None else threshold)
    low, high = float(np.nanmin(bounds)) / 1.1, float(np.nanmax(bounds)) * 1.1
    log_axis(axes, "y", low, high)
    axes.set_ylabel(wrap(ylabel, 42), fontsize=FONT)
    if threshold is not None:
        axes.axhline(threshold, color=GREY, linewidth=1, linestyle=":")
    _mark_days(axes, limits, means, "n", grid.wide)
    _write_numbers(figure, axes, means, "n", "Patients measured", names)
    return figure


def course_figure(table: pd.DataFrame, labels: Mapping[str, str], title: str) -> Figure:
    """Draw medians with quartiles by arm and day, a panel a measurement, with the numbers measured below.

    Parameters
    ----------
    table : DataFrame
        Columns measurement, unit, arm, day, n, median, q1, q3.
    labels : mapping of str to str
        What the arms `control` and `treated` are called.
    title : str

    Returns
    -------
    Figure
    """
    parts = list(table.groupby("measurement", sort=False))
    below = _BELOW + _numbers_height(dict.fromkeys(ARM_LOOKS, "")) + 0.1
    grid = _Grid([wrap(str(name), 40) for name, _ in parts], 2.9, 1.9, _LEFT, below)
    figure, panels = grid.draw(title, labels, "Medians with quartiles; below each panel the patients measured.")
    for axes, (_, part) in zip(panels, parts, strict=True):
        shown = part[part["median"].notna()]
        limits = _day_limits(shown)
        for arm in ARM_LOOKS:
            rows = shown[shown["arm"] == arm].sort_values("day")
            _draw_points(axes, arm, rows, ("median", "q1", "q3"), limits)
        low, high = float(shown["q1"].min()), float(shown["q3"].max())
        if low > 0 and high > _SPREAD * low:
            log_axis(axes, "y", low / 1.2, high * 1.2)
        unit = part["unit"].iloc[0]
        axes.set_ylabel("" if pd.isna(unit) else str(unit), fontsize=FONT)
        _mark_days(axes, limits, shown, "n", grid.wide)
        _write_numbers(figure, axes, shown, "n")
    return figure


def _to_last_day(curve: pd.DataFrame, at_risk: pd.DataFrame) -> pd.DataFrame:
    """Continue a curve at its last height to the last day on which patients are at risk."""
    last = at_risk.loc[at_risk["at_risk"] > 0, "day"].max()
    if curve.empty or not curve["day"].iloc[-1] < last:
        return curve
    return pd.concat([curve, curve.tail(1).assign(day=last)])


def _day_limits(shown: pd.DataFrame) -> tuple[float, float]:
    first, last = float(shown["day"].min()), float(shown["day"].max())
    margin = 0.04 * (last - first) or 1.0
    return first - margin, last + margin


def _draw_points(
    axes: Axes, arm: str, rows: pd.DataFrame, columns: tuple[str, str, str], limits: tuple[float, float]
) -> None:
    """Draw an arm's values with their intervals, a little to its own side of each day."""
    look, (value, low, high) = ARM_LOOKS[arm], columns
    aside = _ASIDE * (limits[1] - limits[0])
    days = rows["day"].to_numpy(dtype=float) + (aside if arm == "treated" else -aside)
    axes.vlines(days, rows[low], rows[high], color=look.colour, linewidth=1)
    axes.plot(
        days, rows[value], color=look.colour, linestyle=look.line, marker=look.marker, markerfacecolor=look.face,
        markersize=5, linewidth=1.4,
    )  # fmt: skip


def _mark_days(axes: Axes, limits: tuple[float, float], table: pd.DataFrame, column: str, wide: float) -> None:
    """Put ticks at those days of a table whose numbers of patients have room below the axis."""
    room = 0.08 + _number_width(table[column])
    days: list[float] = []
    for day in np.sort(table["day"].unique().astype(float)):
        if not days or (day - days[-1]) * wide / (limits[1] - limits[0]) >= room:
            days.append(float(day))
    axes.set_xlim(*limits)
    axes.set_xticks(days, [f"{day:g}" for day in days])
    axes.set_xlabel("Days since randomisation", fontsize=FONT, labelpad=2)


def _write_numbers(
    figure: Figure,
    axes: Axes,
    table: pd.DataFrame,
    column: str,
    heading: str = "",
    names: Mapping[str, str] | None = None,
) -> None:
    """Write numbers of patients below an axis at its ticks, a row an arm led by its name or else by its marker."""
    inches = figure.dpi_scale_trans
    depth = _BELOW
    before = _lead(table[column])
    if heading:
        corner = axes.transAxes + ScaledTranslation(-before, -depth - 0.03, inches)
        axes.text(0, 0, heading, transform=corner, ha="right", va="center", fontsize=FONT, weight="bold")
        depth += LINE
    for arm, look in ARM_LOOKS.items():
        name = names[arm] if names else ""
        depth += _row_height(name) / 2
        lead = axes.transAxes + ScaledTranslation(-before, -depth, inches)
        if name:
            axes.text(0, 0, name, transform=lead, ha="right", va="center", fontsize=FONT)
        else:
            axes.plot(0, 0, transform=lead, marker=look.marker, color=look.colour, markerfacecolor=look.face,
                      markersize=5, clip_on=False)  # fmt: skip
        at_day = axes.get_xaxis_transform() + ScaledTranslation(0, -depth, inches)
        rows = table[(table["arm"] == arm) & table["day"].isin(axes.get_xticks()) & table[column].notna()]
        for day, number in zip(rows["day"], rows[column], strict=True):
            axes.text(day, 0, f"{number:.0f}", transform=at_day, ha="center", va="center", fontsize=FONT)
        depth += _row_height(name) / 2


def _names(labels: Mapping[str, str]) -> dict[str, str]:
    return {arm: wrap(labels[arm], _NAME) for arm in ARM_LOOKS}


def _number_width(numbers: pd.Series) -> float:
    return max((text_width(f"{number:.0f}") for number in numbers.dropna()), default=0.0)


def _row_height(name: str) -> float:
    return LINE * max(len(name.splitlines()), 1) + 0.03


def _numbers_height(names: Mapping[str, str]) -> float:
    return LINE + 0.1 + sum(_row_height(name) for name in names.values())


def _lead(numbers: pd.Series) -> float:
    """Return how far before an axis' first day a row of numbers is led in, in inches."""
    return _number_width(numbers) / 2 + 0.12


def _room_left(names: Iterable[str], numbers: pd.Series) -> float:
    widest = max(text_width(name, weight="bold") for name in ("Patients measured", *names))
    return max(_LEFT, widest + _lead(numbers) + EDGE)
