"""Figures of a training: risk models, effects by group, explanations."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from il7ml.explanation import Explanation
from il7ml.plots.canvas import BLACK, BLUE, COLOURS, GREY, ORANGE, canvas

_SHOWN = 12


def calibration_figure(
    curve: pd.DataFrame, groups: pd.DataFrame, title: str, outcome: str, level: float = 0.95
) -> Figure:
    """Draw predicted against observed: flexible curve with band, grouped points with intervals, ideal line."""
    figure, axes = canvas(title, 5.6, 5.2)
    top = float(max(curve["high"].max(), groups["high"].max(), curve["predicted"].max()) * 1.05)
    bottom = float(min(0.0, curve["low"].min(), groups["low"].min()))
    axes.plot([bottom, top], [bottom, top], color=GREY, linewidth=1, linestyle="--", label="Ideal")
    axes.fill_between(curve["predicted"], curve["low"], curve["high"], color=BLUE, alpha=0.15, linewidth=0)
    axes.plot(curve["predicted"], curve["observed"], color=BLUE, label=f"Flexible curve, {100 * level:g} % band")
    below, above = groups["observed"] - groups["low"], groups["high"] - groups["observed"]
    label = f"Groups, {100 * level:g} %"
    axes.errorbar(
        groups["predicted"], groups["observed"], [below, above], fmt="o", color=ORANGE, capsize=2, label=label
    )
    axes.set(xlabel=f"Predicted {outcome}", ylabel=f"Observed {outcome}", xlim=(bottom, top), ylim=(bottom, top))
    axes.legend(frameon=False, loc="upper left")
    return figure


def roc_figure(curves: pd.DataFrame, labels: dict[str, str], title: str) -> Figure:
    """Draw receiver operating characteristic curves; `curves` has model, false_positive_rate, true_positive_rate."""
    figure, axes = canvas(title, 5.2, 5.2)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="Chance")
    for colour, (model, curve) in zip(COLOURS, curves.groupby("model", sort=False), strict=False):
        axes.plot(
            curve["false_positive_rate"],
            curve["true_positive_rate"],
            color=colour,
            label=labels.get(str(model), str(model)),
        )
    axes.set(xlabel="1 - specificity", ylabel="Sensitivity", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, loc="lower right")
    return figure


def decision_curve_figure(curve: pd.DataFrame, title: str) -> Figure:
    """Draw net benefit over thresholds; `curve` has strategy, threshold, net_benefit and, for models, low and high."""
    figure, axes = canvas(title, 6.4, 4.6)
    style = {"treat all": (GREY, "--"), "treat none": (BLACK, ":")}
    colours = iter(COLOURS)
    for strategy, part in curve.groupby("strategy", sort=False):
        if str(strategy) in style:
            colour, line = style[str(strategy)]
        else:
            colour, line = next(colours), "-"
            axes.fill_between(part["threshold"], part["low"], part["high"], color=colour, alpha=0.12, linewidth=0)
        axes.plot(
            part["threshold"], part["net_benefit"], color=colour, linestyle=line, label=str(strategy).capitalize()
        )
    models = curve[~curve["strategy"].isin(style)]
    top = float(max(models["high"].max(), curve["net_benefit"].max(), 0.01)) * 1.05
    axes.set(xlabel="Threshold risk", ylabel="Net benefit", ylim=(-0.25 * top, top))
    axes.legend(frameon=False, loc="upper right")
    return figure


def group_effects_figure(
    groups: pd.DataFrame, average: float, title: str, measure: str, group_title: str, level: float = 0.95
) -> Figure:
    """Draw effects by group with intervals beside the average effect."""
    figure, axes = canvas(title, 6.4, 4.4)
    place = np.arange(len(groups))
    axes.axhline(0, color=BLACK, linewidth=0.8)
    axes.axhline(average, color=ORANGE, linestyle="--", linewidth=1.2, label="Average effect")
    below, above = groups["effect"] - groups["low"], groups["high"] - groups["effect"]
    label = f"Group, {100 * level:g} %"
    axes.errorbar(place, groups["effect"], [below, above], fmt="o", color=BLUE, capsize=3, label=label)
    labels = [f"{i + 1}\n(n = {n})" for i, n in enumerate(groups["n"])]
    axes.set_xticks(place, labels)
    axes.set(xlabel=group_title, ylabel=f"Difference in {measure}, treated - untreated")
    axes.legend(frameon=False)
    return figure


def importance_figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw mean absolute SHAP values as bars, the strongest on top."""
    shown = table.head(_SHOWN).iloc[::-1]
    note = str(table["note"].iloc[0]) if len(table) else ""
    figure, axes = canvas(f"{title}\n({note})" if note else title, 7.2, 1.6 + 0.34 * max(len(shown), 1))
    axes.barh(_labels(shown), shown["mean_abs_shap"], color=GREY if note else BLUE, height=0.65)
    scale = str(table["scale"].iloc[0]) if len(table) else ""
    axes.set(xlabel=f"Mean absolute SHAP value ({scale})")
    axes.margins(y=0.02)
    return figure


def beeswarm_figure(explanation: Explanation, table: pd.DataFrame, title: str) -> Figure:
    """Draw each patient's SHAP values, coloured from the variable's low to its high values."""
    shown = table.head(_SHOWN).iloc[::-1]
    note = str(table["note"].iloc[0]) if len(table) else ""
    figure, axes = canvas(f"{title}\n({note})" if note else title, 7.6, 1.8 + 0.4 * max(len(shown), 1))
    points: PathCollection | None = None
    for place, name in enumerate(shown["variable"]):
        values = explanation.values[name].to_numpy()
        known = _ranks(explanation.data[name])
        height = place + _spread(values)
        axes.scatter(values[np.isnan(known)], height[np.isnan(known)], s=9, color="#BBBBBB", linewidths=0)
        some = ~np.isnan(known)
        points = axes.scatter(
            values[some], height[some], s=9, c=known[some], cmap="cividis", vmin=0, vmax=1, linewidths=0
        )
    axes.axvline(0, color=BLACK, linewidth=0.8)
    axes.set_yticks(range(len(shown)), _labels(shown))
    axes.set(xlabel=f"SHAP value ({explanation.scale})")
    if points is not None:
        bar = figure.colorbar(points, ax=axes, ticks=[0, 1], pad=0.02, aspect=30)
        bar.ax.set_yticklabels(["low", "high"])
        bar.set_label("Variable's value (grey: missing)")
        bar.outline.set_visible(False)
    return figure


def _labels(table: pd.DataFrame) -> list[str]:
    return [
        f"{label} ({unit})" if unit else str(label) for label, unit in zip(table["label"], table["unit"], strict=True)
    ]


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
