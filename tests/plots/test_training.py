import struct

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from il7ml import plots

CURVE = pd.DataFrame(
    {"predicted": [0.1, 0.3, 0.5], "observed": [0.12, 0.28, 0.55], "low": [0.05, 0.2, 0.4], "high": [0.2, 0.4, 0.7]}
)
GROUPS = pd.DataFrame(
    {
        "group": [1, 2],
        "n": [20, 22],
        "predicted": [0.2, 0.4],
        "observed": [0.25, 0.35],
        "low": [0.1, 0.2],
        "high": [0.5, 0.6],
    }
)
ROC = pd.DataFrame(
    {
        "false_positive_rate": [0, 0.2, 1, 0, 0.5, 1],
        "true_positive_rate": [0, 0.7, 1, 0, 0.6, 1],
        "model": ["logistic"] * 3 + ["xgboost"] * 3,
    }
)
DECISION = pd.DataFrame(
    {
        "strategy": ["risk model"] * 2 + ["lymphocyte count alone"] * 2 + ["treat all"] * 2 + ["treat none"] * 2,
        "threshold": [0.1, 0.3] * 4,
        "net_benefit": [0.2, 0.1, 0.15, 0.05, 0.2, -0.3, 0, 0],
        "low": [0.1, 0.05, 0.1, 0.0, *[np.nan] * 4],
        "high": [0.3, 0.2, 0.2, 0.1, *[np.nan] * 4],
    }
)
EFFECTS = pd.DataFrame(
    {"group": [1, 2], "n": [27, 28], "effect": [-0.1, -0.2], "low": [-0.3, -0.4], "high": [0.1, 0.05]}
)
FIGURES = {
    "calibration": lambda: plots.calibration_figure(CURVE, GROUPS, "Calibration", "risk"),
    "roc": lambda: plots.roc_figure(ROC, {"logistic": "Penalised regression"}, "ROC"),
    "decision": lambda: plots.decision_curve_figure(DECISION, "Decision"),
    "effects": lambda: plots.group_effects_figure(EFFECTS, -0.15, "Effects", "risk", "Quarter of risk"),
}
by_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def ticks(axes, name):
    return [label.get_text() for label in getattr(axes, f"get_{name}ticklabels")()]


@by_figure
def test_png_bytes_depend_on_nothing_but_the_content(draw):
    first, second = plots.to_png(draw()), plots.to_png(draw())
    assert first == second
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert min(struct.unpack(">II", first[16:24])) > 300
    assert b"matplotlib" not in first.lower()


@by_figure
def test_a_figure_changes_no_global_state(draw):
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.to_png(draw())
    assert dict(matplotlib.rcParams) == before


@by_figure
def test_axes_are_titled_and_labelled(draw):
    axes = draw().axes[0]
    assert axes.figure.get_suptitle()
    assert axes.get_xlabel()
    assert axes.get_ylabel() or any(ticks(axes, "y"))


def test_calibration_draws_the_tables_numbers():
    axes = FIGURES["calibration"]().axes[0]
    ideal, curve, groups = axes.lines[:3]
    np.testing.assert_array_equal(ideal.get_xdata(), ideal.get_ydata())
    np.testing.assert_array_equal(curve.get_xydata(), CURVE[["predicted", "observed"]])
    np.testing.assert_array_equal(groups.get_xydata(), GROUPS[["predicted", "observed"]])
    bars = np.array([line for container in axes.containers for line in container[2][0].get_segments()])
    np.testing.assert_allclose(bars[:, :, 1], GROUPS[["low", "high"]])
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_ylim()[1] >= 0.7
    assert legend(axes) == ["Ideal", "Flexible curve, 95 % band", "Groups, 95 %"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted risk", "Observed risk")


def test_the_level_of_the_intervals_is_said():
    axes = plots.calibration_figure(CURVE, GROUPS, "", "risk", 0.9).axes[0]
    assert legend(axes) == ["Ideal", "Flexible curve, 90 % band", "Groups, 90 %"]
    assert "Group, 90 %" in legend(plots.group_effects_figure(EFFECTS, 0, "", "risk", "", 0.9).axes[0])


def test_calibration_of_a_mean_shows_negative_values():
    low = plots.calibration_figure(CURVE - 3, GROUPS.assign(low=-3.5), "", "mean").axes[0]
    assert low.get_xlim()[0] <= -3.5


def test_roc_draws_a_curve_a_model():
    axes = FIGURES["roc"]().axes[0]
    assert legend(axes) == ["Chance", "Penalised regression", "xgboost"]
    np.testing.assert_array_equal(axes.lines[1].get_xydata(), ROC.iloc[:3, :2])
    np.testing.assert_array_equal(axes.lines[2].get_xydata(), ROC.iloc[3:, :2])


def test_roc_without_a_curve_can_be_drawn():
    empty = ROC.head(0)
    assert plots.to_png(plots.roc_figure(empty, {}, "ROC"))[:4] == b"\x89PNG"


def test_decision_curve_draws_every_strategy():
    axes = FIGURES["decision"]().axes[0]
    assert legend(axes) == ["Risk model", "Lymphocyte count alone", "Treat all", "Treat none"]
    for line, (_, part) in zip(axes.lines, DECISION.groupby("strategy", sort=False), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), part[["threshold", "net_benefit"]])
    colours = [to_hex(line.get_color()).upper() for line in axes.lines]
    assert len(set(colours)) == 4
    assert axes.get_ylim()[1] >= 0.3


def test_group_effects_draw_groups_and_the_average():
    axes = FIGURES["effects"]().axes[0]
    assert legend(axes) == ["Average effect", "Group, 95 %"]
    assert ticks(axes, "x") == ["1\n(n = 27)", "2\n(n = 28)"]
    average = next(line for line in axes.lines if line.get_label() == "Average effect")
    assert set(average.get_ydata()) == {-0.15}
    bars = np.array(axes.containers[0][2][0].get_segments())
    np.testing.assert_allclose(bars[:, :, 1], EFFECTS[["low", "high"]])
    assert axes.get_ylabel() == "Difference in risk, treated - untreated"
