"""Figures of how the treatment effect differs between patients: groups, calibration, targeting, policies.

Benefits point upwards or to the right; effects (treated minus untreated) keep their sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

from il7ml.plots.canvas import BLACK, BLUE, FONT, GREY, ORANGE, canvas, place_axes, sheet, wrap
from il7ml.plots.rows import Block, Column, row_sheet

_AXIS_WIDTH = 2.8
_LABEL = 40
# Room below an axis of rows for ticks and label, in inches.
_BELOW = 0.5
_DIFFERENCE = "Difference in {}, treated − untreated"


class Average(NamedTuple):
    """The average effect with its limits."""

    estimate: float
    low: float
    high: float


def effect_groups_figure(
    groups: pd.DataFrame, average: Average, title: str, measure: str, ranking: str, level: float = 0.95
) -> Figure:
    """Draw a forest plot of the effects in groups along a ranking, below the average effect.

    Parameters
    ----------
    groups : DataFrame
        As `group_effects` returns it.
    average : Average
        Among all patients.
    title, measure : str
        What the figure is about, and what the effect is a difference of, such as 'risk'.
    ranking : str
        What patients are grouped by.
    level : float
        Confidence level of the intervals.

    Returns
    -------
    Figure
    """
    n = len(groups)
    names = ["Lowest", *(f"Group {k}" for k in range(2, n)), "Highest"] if n > 1 else ["All equal"]
    everyone = {"n": groups["n"].sum(), "effect": average.estimate, "low": average.low, "high": average.high}
    rows = pd.concat([pd.DataFrame([everyone]), groups], ignore_index=True)
    left = [
        Column(wrap(ranking, _LABEL), ["All patients", *(f"    {name}" for name in names)], "left"),
        Column("Patients", [f"{size:.0f}" for size in rows["n"]]),
        *(
            Column(f"Mean {measure},\n{arm}", ["", *(_number(value) for value in groups[arm])])
            for arm in ("untreated", "treated")
        ),
    ]
    right = [_estimates("Difference", rows["effect"], rows["low"], rows["high"], level)]
    block = Block(len(rows), "", _BELOW)
    figure, [axes], [places] = row_sheet(title, left, right, [block], axis_width=_AXIS_WIDTH, headings=frozenset([0]))
    axes.axvline(0, color=BLACK, linewidth=0.8, zorder=0)
    axes.axvline(average.estimate, color=BLUE, linestyle="--", linewidth=1, zorder=0)
    _draw_rows(axes, places, rows["effect"], rows["low"], rows["high"])
    axes.set_xlabel(wrap(_DIFFERENCE.format(measure), _LABEL), fontsize=FONT)
    return figure


def classification_figure(
    table: pd.DataFrame,
    labels: Mapping[str, str],
    title: str,
    groups: tuple[str, str] = ("Lowest\nquarter", "Highest\nquarter"),
    level: float = 0.95,
) -> Figure:
    """Draw how baseline variables differ between the patients with the lowest and the highest predicted effects.

    Parameters
    ----------
    table : DataFrame
        As `classification_analysis` returns it, at least one row.
    labels : mapping of str to str
        What the variables are called, with units.
    title : str
    groups : tuple of str
        What first and last group of the predicted effect are called.
    level : float
        Confidence level of the intervals.

    Returns
    -------
    Figure
    """
    names = [
        f"{labels.get(variable, variable)}: {category}" if category else labels.get(variable, variable)
        for variable, category in zip(table["variable"], table["category"], strict=True)
    ]
    left = [
        Column("Baseline (mean or share)", [wrap(name, _LABEL) for name in names], "left"),
        *(
            Column(name, [_number(value) for value in table[part]])
            for name, part in zip(groups, ("first", "last"), strict=True)
        ),
    ]
    right = [_estimates("Difference", table["difference"], table["low"], table["high"], level)]
    block = Block(len(table), "", _BELOW)
    figure, [axes], [places] = row_sheet(title, left, right, [block], axis_width=_AXIS_WIDTH)
    axes.axvline(0, color=BLACK, linewidth=0.8, zorder=0)
    _draw_rows(axes, places, table["standardised"], table["standardised_low"], table["standardised_high"])
    axes.set_xlabel("Difference in standard deviations", fontsize=FONT)
    return figure


def benefit_calibration_figure(
    curve: pd.DataFrame, groups: pd.DataFrame, title: str, measure: str, level: float = 0.95
) -> Figure:
    """Draw predicted against observed benefit: flexible curve with band, groups with intervals, ideal line.

    Parameters
    ----------
    curve, groups : DataFrame
        As in `BenefitCalibration`.
    title : str
    measure : str
        What the benefit is, such as 'risk reduction'.
    level : float
        Confidence level of band and intervals.

    Returns
    -------
    Figure
    """
    figure, axes = canvas(title, 6.0, 5.0)
    ends = [
        min(curve["predicted"].min(), groups["predicted"].min()),
        max(curve["predicted"].max(), groups["predicted"].max()),
    ]
    axes.axhline(0, color=BLACK, linewidth=0.8)
    axes.plot(ends, ends, color=GREY, linewidth=1.2, linestyle="--", label="Ideal")
    axes.fill_between(curve["predicted"], curve["low"], curve["high"], color=BLUE, alpha=0.15, linewidth=0)
    axes.plot(curve["predicted"], curve["observed"], color=BLUE, label=f"Flexible curve, {100 * level:g} % band")
    below, above = groups["observed"] - groups["low"], groups["high"] - groups["observed"]
    label = f"Groups, {100 * level:g} %"
    axes.errorbar(
        groups["predicted"], groups["observed"], [below, above], fmt="o", color=ORANGE, capsize=2, label=label
    )
    axes.set(xlabel=f"Predicted {measure}", ylabel=f"Observed {measure}")
    axes.margins(x=0.04)
    _legend_below(figure)
    return figure


def targeting_figure(
    curve: pd.DataFrame, title: str, measure: str, autoc: Average | None = None, level: float = 0.95
) -> Figure:
    """Draw the targeting operator characteristic with its pointwise band.

    Parameters
    ----------
    curve : DataFrame
        As `targeting_curve` returns it.
    title : str
    measure : str
        What the benefit is, such as 'risk reduction'.
    autoc : Average, optional
        Area under the curve with its limits.
    level : float
        Confidence level of the band.

    Returns
    -------
    Figure
    """
    figure, axes = canvas(title, 6.4, 4.6)
    axes.axhline(0, color=BLACK, linewidth=0.8, label="Treating in any order")
    band = f"Highest predicted benefit first, {100 * level:g} % band"
    if autoc is not None:
        band += f"\nArea (AUTOC) {_interval(*autoc)}"
    axes.fill_between(curve["fraction"], curve["low"], curve["high"], color=BLUE, alpha=0.15, linewidth=0)
    axes.plot(curve["fraction"], curve["estimate"], color=BLUE, label=band)
    axes.set(
        xlabel="Share of patients treated", ylabel=f"{_capital(measure)} among them,\nabove that of all", xlim=(0, 1)
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _legend_below(figure)
    return figure


def policy_value_figure(table: pd.DataFrame, title: str, measure: str, level: float = 0.95) -> Figure:
    """Draw the net benefit of treating by predicted benefit, its difference to treating all, and who is treated.

    Parameters
    ----------
    table : DataFrame
        As `policy_value` returns it.
    title : str
    measure : str
        What the benefit is, such as 'risk reduction'.
    level : float
        Confidence level of the bands.

    Returns
    -------
    Figure
    """
    width, left, wide = 6.4, 0.95, 5.2
    figure = sheet(title, width, 6.75)
    value = place_axes(figure, left, 3.75, wide, 2.3)
    difference = place_axes(figure, left, 1.75, wide, 1.75)
    share = place_axes(figure, left, 0.6, wide, 0.9)
    policy = f"Treat above the threshold, {100 * level:g} % band"
    for axes, column, low, high in (
        (value, "net_benefit", "low", "high"),
        (difference, "difference", "difference_low", "difference_high"),
    ):
        axes.fill_between(table["threshold"], table[low], table[high], color=BLUE, alpha=0.15, linewidth=0)
        axes.plot(table["threshold"], table[column], color=BLUE, label=policy)
    value.plot(table["threshold"], table["all_net_benefit"], color=ORANGE, linestyle="--", label="Treat all")
    value.axhline(0, color=BLACK, linewidth=1, linestyle=":", label="Treat none")
    difference.axhline(0, color=ORANGE, linewidth=1.2, linestyle="--")
    share.plot(table["threshold"], table["treated"], color=BLUE, drawstyle="steps-post")
    value.set_ylabel("Net benefit", fontsize=FONT)
    difference.set_ylabel("Net benefit above\ntreating all", fontsize=FONT)
    share.set(ylim=(-0.05, 1.05), yticks=[0, 0.5, 1])
    share.set_ylabel("Treated", fontsize=FONT)
    share.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    share.set_xlabel(f"Threshold: smallest {measure} worth treating for", fontsize=FONT)
    for axes in (value, difference):
        axes.sharex(share)
        axes.tick_params(labelbottom=False)
    figure.align_ylabels([value, difference, share])
    figure.legend(
        handles=value.get_legend_handles_labels()[0],
        loc="lower left",
        bbox_to_anchor=(left, 6.1),
        bbox_transform=figure.dpi_scale_trans,
        frameon=False,
        borderaxespad=0,
        fontsize=FONT,
    )
    return figure


def _draw_rows(axes: Axes, places: ArrayLike, estimates: pd.Series, lows: pd.Series, highs: pd.Series) -> None:
    for place, estimate, low, high in zip(np.asarray(places), estimates, lows, highs, strict=True):
        axes.plot([low, high], [place, place], color=BLUE, linewidth=1.4)
        axes.plot(estimate, place, color=BLUE, marker="s", markersize=5.5)


def _legend_below(figure: Figure) -> None:
    figure.legend(frameon=False, loc="outside lower left", fontsize=FONT)


def _estimates(heading: str, estimates: pd.Series, lows: pd.Series, highs: pd.Series, level: float) -> Column:
    texts = [_interval(*row) for row in zip(estimates, lows, highs, strict=True)]
    return Column(f"{heading}\n({100 * level:g} % interval)", texts)


def _interval(estimate: float, low: float, high: float) -> str:
    if not np.isfinite(estimate):
        return ""
    decimals = 3 if high - low < 0.1 else 2 if abs(estimate) < 10 else 1
    if not np.isfinite([low, high]).all():
        return _number(estimate, decimals)
    return f"{_number(estimate, decimals)} ({_number(low, decimals)} to {_number(high, decimals)})"


def _number(value: float, decimals: int | None = None) -> str:
    if not np.isfinite(value):
        return ""
    places = decimals if decimals is not None else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{places}f}".replace("-", "−")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
