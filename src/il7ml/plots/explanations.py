"""Figures of explanations: importance with intervals, how values lie, dependence on one variable."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from il7ml.explanation import Explanation
from il7ml.plots.canvas import BLACK, BLUE, FONT, GREY, ORANGE, canvas, log_axis, wrap

_SHOWN = 12
_CORRELATED = "† goes with another variable (rank correlation of 0.7 or more): read them as a group"
# Each group's colour and line, so that they differ without colours, too.
_LOOKS = ((ORANGE, "--"), (BLUE, "-"))


def importance_figure(table: pd.DataFrame, title: str, level: float = 0.95) -> Figure:
    """Draw mean absolute SHAP values with their intervals, the strongest on top, beside ranks with theirs.

    Parameters
    ----------
    table : DataFrame
        As `importance` or `group_importance` returns it.
    title : str
    level : float
        Confidence level of the intervals.
    """
    shown = table.head(_SHOWN).iloc[::-1]
    note = _note(table)
    figure, axes = canvas(_titled(title, note), 7.6, 1.9 + 0.34 * max(len(shown), 1))
    place = np.arange(len(shown))
    axes.barh(place, shown["mean_abs_shap"], color=GREY if note else BLUE, height=0.62, alpha=0.75)
    axes.set_yticks(place, _labels(shown))
    scale = str(table["scale"].iloc[0]) if len(table) else ""
    known = "low" in shown and bool(shown["low"].notna().any())
    label = f"Mean absolute SHAP value ({scale})"
    axes.set(xlabel=f"{label}\nwith {100 * level:g} % bootstrap interval" if known else label)
    if known:
        axes.hlines(place, shown["low"], shown["high"], color=BLACK, linewidth=1.2)
        axes.vlines([*shown["low"], *shown["high"]], [*place - 0.12] * 2, [*place + 0.12] * 2, color=BLACK, linewidth=1)
        side = axes.secondary_yaxis("right")
        side.set_yticks(
            place, [_rank(*row) for row in shown[["rank", "rank_low", "rank_high"]].itertuples(index=False)]
        )
        side.tick_params(length=0, labelsize=FONT)
        side.spines[:].set_visible(False)
        axes.text(1.01, 1.0, f"Rank ({100 * level:g} %)", transform=axes.transAxes, fontsize=FONT, va="bottom")
    if "correlated_with" in shown and shown["correlated_with"].ne("").any():
        figure.supxlabel(_CORRELATED, fontsize=FONT - 1, x=0.01, ha="left")
    axes.margins(y=0.02)
    axes.set_xlim(left=0)
    return figure


def patient_groups_figure(groups: pd.DataFrame, table: pd.DataFrame, title: str) -> Figure:
    """Draw mean SHAP values of groups of patients, coloured from the variable's low to its high values.

    Parameters
    ----------
    groups : DataFrame
        As `patient_groups` returns it.
    table : DataFrame
        As `importance` returns it: order, scale and caveat.
    title : str
    """
    shown = table.head(_SHOWN).iloc[::-1]
    figure, axes = canvas(_titled(title, _note(table)), 7.6, 1.8 + 0.36 * max(len(shown), 1))
    points: PathCollection | None = None
    for height, name in enumerate(shown["variable"]):
        part = groups[groups["variable"] == name]
        size = 6.0 * np.sqrt(part["n"].to_numpy(dtype=float))
        x, place = part["mean_shap"].to_numpy(), part["place"].to_numpy()
        gap = np.isnan(place)
        axes.scatter(
            x[gap], np.full(int(gap.sum()), height), s=size[gap], facecolors="none", edgecolors=BLACK, linewidths=0.9
        )
        points = axes.scatter(
            x[~gap], np.full(int((~gap).sum()), height), s=size[~gap], c=place[~gap], cmap="cividis", vmin=0, vmax=1,
            edgecolors="white", linewidths=0.4,
        )  # fmt: skip
    axes.axvline(0, color=BLACK, linewidth=0.8)
    axes.set_yticks(range(len(shown)), _labels(shown))
    scale = str(table["scale"].iloc[0]) if len(table) else ""
    axes.set(xlabel=f"Mean SHAP value ({scale}) of groups of 10 or more patients, larger where more")
    if points is not None:
        _colour_bar(figure, axes, points)
    return figure


def beeswarm_figure(explanation: Explanation, table: pd.DataFrame, title: str) -> Figure:
    """Draw each patient's SHAP values, coloured from the variable's low to its high values."""
    shown = table.head(_SHOWN).iloc[::-1]
    figure, axes = canvas(_titled(title, _note(table)), 7.6, 1.8 + 0.4 * max(len(shown), 1))
    points: PathCollection | None = None
    for place, name in enumerate(shown["variable"]):
        values = explanation.values[name].to_numpy()
        known = _ranks(explanation.data[name])
        height = place + _spread(values)
        gap = np.isnan(known)
        axes.scatter(values[gap], height[gap], s=9, facecolors="none", edgecolors=BLACK, linewidths=0.5)
        some = ~np.isnan(known)
        points = axes.scatter(
            values[some], height[some], s=9, c=known[some], cmap="cividis", vmin=0, vmax=1, linewidths=0
        )
    axes.axvline(0, color=BLACK, linewidth=0.8)
    axes.set_yticks(range(len(shown)), _labels(shown))
    axes.set(xlabel=f"SHAP value ({explanation.scale})")
    if points is not None:
        _colour_bar(figure, axes, points)
    return figure


def dependence_figure(
    curve: pd.DataFrame,
    rug: ArrayLike,
    title: str,
    variable: str,
    measure: str,
    *,
    reference: tuple[float, str] | None = None,
    points: pd.DataFrame | None = None,
    log: bool = False,
    level: float = 0.95,
) -> Figure:
    """Draw how a prediction follows a variable, with its band; one curve a group.

    Parameters
    ----------
    curve : DataFrame
        Columns value, group, estimate, low, high, as `risk_dependence` and `effect_dependence` return them.
    rug : array-like of shape (m,)
        Where patients lie; quantiles do, and show no patient's value.
    title : str
    variable : str
        The variable with its unit.
    measure : str
        What the curve is of.
    reference : (float, str), optional
        A level to compare with, such as the average effect, and its name.
    points : DataFrame, optional
        Single patients: value, group, estimate.
    log : bool
        Whether the variable has a logarithmic axis; its values are then positive.
    level : float
        Confidence level of the band.
    """
    figure, axes = canvas(title, 6.6, 4.8)
    axes.axhline(0, color=BLACK, linewidth=0.8)
    if reference is not None:
        axes.axhline(reference[0], color=GREY, linestyle=":", linewidth=1.4, label=reference[1])
    groups = list(curve.groupby("group", sort=False))
    looks = _LOOKS if len(groups) > 1 else _LOOKS[1:]
    for (name, part), (colour, line) in zip(groups, looks, strict=True):
        group = str(name)
        label = f"{group}, {100 * level:g} % band" if group else f"Curve with {100 * level:g} % band"
        axes.fill_between(part["value"], part["low"], part["high"], color=colour, alpha=0.13, linewidth=0)
        axes.plot(part["value"], part["estimate"], color=colour, linestyle=line, label=label)
        if points is not None:
            here = points[points["group"] == group]
            marker = "o" if line == "-" else "^"
            axes.scatter(here["value"], here["estimate"], s=10, color=colour, marker=marker, alpha=0.6, linewidths=0)
    low, high = float(curve["value"].min()), float(curve["value"].max())
    if log:
        log_axis(axes, "x", low, high)
    else:
        axes.set_xlim(low, high)
    places = np.asarray(rug, dtype=float)
    axes.plot(
        places, np.full(places.size, 0.015), marker="|", linestyle="none", color=GREY, markersize=7,
        transform=axes.get_xaxis_transform(), label="Tenths of the patients",
    )  # fmt: skip
    axes.set(xlabel=variable, ylabel=wrap(measure, 40))
    figure.legend(frameon=False, loc="outside lower left", fontsize=FONT, ncols=2)
    return figure


def _note(table: pd.DataFrame) -> str:
    return str(table["note"].iloc[0]) if len(table) else ""


def _titled(title: str, note: str) -> str:
    return f"{title}\n({note})" if note else title


def _rank(rank: float, low: float, high: float) -> str:
    return f"{rank:.0f} ({low:.0f}–{high:.0f})"


def _labels(table: pd.DataFrame) -> list[str]:
    if "label" not in table:
        return [str(group).capitalize() for group in table["group"]]
    marks = ["" if not partner else " †" for partner in table.get("correlated_with", [""] * len(table))]
    return [
        f"{label} ({unit}){mark}" if unit else f"{label}{mark}"
        for label, unit, mark in zip(table["label"], table["unit"], marks, strict=True)
    ]


def _colour_bar(figure: Figure, axes: Axes, points: PathCollection) -> None:
    bar = figure.colorbar(points, ax=axes, ticks=[0, 1], pad=0.02, aspect=30)
    bar.ax.set_yticklabels(["low", "high"])
    bar.set_label("Variable's value (hollow: missing)")
    bar.outline.set_visible(False)


def _ranks(series: pd.Series) -> NDArray[np.float64]:
    """Return where each value lies between the lowest (0) and the highest (1), NaN where missing."""
    rank = series.rank(method="average", pct=False)
    span = rank.max() - rank.min()
    return np.asarray((rank - rank.min()) / span if span > 0 else rank * 0 + 0.5, dtype=float)


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return vertical offsets that keep points of equal value apart."""
    offsets = np.zeros(values.size)
    if values.size < 2 or np.ptp(values) == 0:
        return np.linspace(-0.3, 0.3, values.size) if values.size > 1 else offsets
    bins = np.round(60 * (values - values.min()) / np.ptp(values)).astype(int)
    fullest = np.bincount(bins).max()
    for number in np.unique(bins):
        members = np.flatnonzero(bins == number)
        layer = (np.arange(members.size) + 1) // 2 * np.where(np.arange(members.size) % 2 == 0, 1, -1)
        offsets[members] = 0.36 * layer / max(fullest / 2, 1)
    return offsets
