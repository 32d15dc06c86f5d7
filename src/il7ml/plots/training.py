"""Figures of a training: risk models, effects by group."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from il7ml.plots.canvas import BLACK, BLUE, COLOURS, GREY, ORANGE, canvas


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
