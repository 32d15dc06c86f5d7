"""The figure of planning: power against the number of patients."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from il7ml.plots.canvas import BLUE, GREY, canvas


def power_curve_figure(curve: pd.DataFrame, title: str) -> Figure:
    """Draw power over the number of patients with its Monte-Carlo interval; `curve` has n, power, low and high."""
    figure, axes = canvas(title, 6.0, 4.2)
    for usual in (0.8, 0.9):
        axes.axhline(usual, color=GREY, linewidth=0.8, linestyle=":")
    below, above = curve["power"] - curve["low"], curve["high"] - curve["power"]
    label = "Power, 95 % Monte-Carlo interval"
    axes.errorbar(curve["n"], curve["power"], [below, above], fmt="-o", color=BLUE, capsize=3, label=label)
    axes.set(xlabel="Patients", ylabel="Power", ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower right")
    return figure
