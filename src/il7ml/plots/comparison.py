"""Figures of several trainings: paired differences between two, and the candidates of a sweep."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from il7ml.plots.canvas import BLACK, BLUE, FONT, GREY, LINE, wrap
from il7ml.plots.numbers import interval_text, number_text, p_text
from il7ml.plots.rows import Block, Column, row_sheet

_AXIS_WIDTH = 2.8
_BELOW = 0.3
_MARGIN = 0.06


def comparison_figure(
    table: pd.DataFrame, labels: tuple[str, str], names: Mapping[str, str], title: str, level: float = 0.95
) -> Figure:
    """Draw the paired differences of two models, each measure on an axis of its own, better of the first to the right.

    Parameters
    ----------
    table : DataFrame
        As `compare_models`: metric, threshold, first, second, difference, low, high, p_value, higher_is_better.
    labels : tuple of str
        What the two models are called.
    names : mapping of str to str
        What the metrics are called.
    title : str
    level : float
        Confidence level of the intervals.

    Returns
    -------
    Figure
    """
    groups = [rows for _, rows in table.groupby("metric", sort=False)]
    rows = pd.concat(groups)
    left = [
        Column("Measure", [_measure(row, names) for _, row in rows.iterrows()], "left"),
        *(
            Column(wrap(label, 18), [number_text(float(value), 3) for value in rows[side]])
            for side, label in zip(("first", "second"), labels, strict=True)
        ),
    ]
    right = [
        Column(
            f"Difference\n({100 * level:g} % interval)",
            [interval_text(*row) for row in rows[["difference", "low", "high"]].itertuples(index=False)],
        ),
        Column("P", [p_text(value) for value in rows["p_value"]]),
    ]
    words = [f"{wrap(label, 24)}\nis better" for label in labels]
    below = _BELOW + LINE * max(len(text.splitlines()) for text in words) + 0.12
    # The words stand below the last axis: all axes point the same way.
    blocks = [Block(len(group), "", below if group is groups[-1] else _BELOW + 0.1) for group in groups]
    figure, axes, places = row_sheet(title, left, right, blocks, axis_width=_AXIS_WIDTH)
    for each, place, group in zip(axes, places, groups, strict=True):
        ends = np.abs(group[["difference", "low", "high"]].to_numpy(dtype=float))
        reach = float(np.nanmax(ends, initial=0.0)) * (1 + _MARGIN) or 1.0
        # Where smaller is better the axis runs to the left, so that to the right is better on all.
        each.set_xlim((-reach, reach) if group["higher_is_better"].all() else (reach, -reach))
        each.axvline(0, color=BLACK, linewidth=0.8, zorder=0)
        each.locator_params(axis="x", nbins=5)
        _draw(each, place.tolist(), group.rename(columns={"difference": "estimate"}), [BLUE] * len(group))
    for text, sign in zip(words, (1, -1), strict=True):
        axes[-1].annotate(
            f"{text} →" if sign > 0 else f"← {text}", (0.5, 0), (8 * sign, -72 * _BELOW + 2),
            xycoords="axes fraction", textcoords="offset points", ha="left" if sign > 0 else "right", va="top",
            fontsize=FONT,
        )  # fmt: skip
    return figure


def sweep_figure(candidates: pd.DataFrame, metric: str, title: str, note: str, level: float = 0.95) -> Figure:
    """Draw the candidates of a sweep from best to worst.

    Parameters
    ----------
    candidates : DataFrame
        In the order in which they are drawn: candidate, risk_model, estimate, low, high, best (bool).
    metric : str
        What the measure is called.
    title, note : str
        The note stands below.
    level : float
        Confidence level of the intervals.

    Returns
    -------
    Figure
    """
    left = [
        Column("Candidate", [wrap(str(name), 60) for name in candidates["candidate"]], "left"),
        Column("Chosen\nrisk model", [wrap(str(name), 24) for name in candidates["risk_model"]]),
    ]
    # More digits than an interval bears: candidates differ little.
    shown = [
        f"{number_text(value, 3)} ({number_text(low, 3)} to {number_text(high, 3)})"
        if value == value
        else "not estimable"
        for value, low, high in candidates[["estimate", "low", "high"]].itertuples(index=False)
    ]
    right = [Column(f"Estimate\n({100 * level:g} % interval)", shown)]
    block = Block(len(candidates), "", _BELOW + 2 * LINE)
    figure, [axes], [places] = row_sheet(title, left, right, [block], axis_width=_AXIS_WIDTH, note=note)
    for _, best in candidates[candidates["best"]].iterrows():
        axes.axvline(best["estimate"], color=BLUE, linestyle="--", linewidth=1, zorder=0)
    _draw(axes, places.tolist(), candidates, [BLUE if best else GREY for best in candidates["best"]])
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(metric, fontsize=FONT)
    return figure


def _draw(axes: Axes, places: list[float], rows: pd.DataFrame, colours: list[str]) -> None:
    """Draw estimates with their intervals."""
    numbers = rows[["estimate", "low", "high"]].itertuples(index=False)
    for place, colour, (estimate, low, high) in zip(places, colours, numbers, strict=True):
        axes.plot([low, high], [place, place], color=colour, linewidth=1.4, clip_on=False)
        axes.plot(estimate, place, marker="s", markersize=5.5, color=colour, clip_on=False)


def _measure(row: pd.Series, names: Mapping[str, str]) -> str:
    name = names.get(str(row["metric"]), str(row["metric"]))
    return name if np.isnan(row["threshold"]) else f"{name} at {row['threshold']:g}"
