import struct

import matplotlib
import numpy as np
import pandas as pd
import pytest

from il7ml import plots

GROUPS = pd.DataFrame(
    {
        "group": [1, 2, 3],
        "n": [36, 37, 36],
        "ranking": [-0.3, -0.1, 0.0],
        "effect": [-0.25, -0.1, 0.02],
        "low": [-0.5, -0.3, -0.2],
        "high": [0.0, 0.1, 0.24],
        "untreated": [0.5, 0.35, 0.2],
        "treated": [0.25, 0.25, 0.22],
    }
)
AVERAGE = plots.Average(-0.11, -0.23, 0.01)
CLAN = pd.DataFrame(
    {
        "variable": ["age", "ward", "constant"],
        "category": ["", "intensive care", ""],
        "n_first": 27,
        "n_last": 27,
        "first": [70.2, 0.5, 7.5],
        "last": [55.1, 0.25, 7.5],
        "difference": [-15.1, -0.25, 0.0],
        "low": [-21.0, -0.45, 0.0],
        "high": [-9.2, 0.01, 0.0],
        "standardised": [-1.1, -0.5, np.nan],
        "standardised_low": [-1.5, -0.9, np.nan],
        "standardised_high": [-0.7, 0.02, np.nan],
    }
)
CURVE = pd.DataFrame(
    {"predicted": [0.0, 0.1, 0.3], "observed": [0.05, 0.1, 0.2], "low": [-0.2, 0.0, -0.1], "high": [0.3, 0.2, 0.5]}
)
BENEFIT_GROUPS = pd.DataFrame(
    {
        "group": [1, 2],
        "n": [54, 55],
        "predicted": [0.04, 0.2],
        "observed": [0.1, 0.15],
        "low": [-0.1, -0.05],
        "high": [0.3, 0.35],
    }
)
TARGETING = pd.DataFrame(
    {
        "fraction": [0.25, 0.5, 0.75, 1.0],
        "estimate": [0.1, 0.06, 0.03, 0.0],
        "std_error": [0.1, 0.06, 0.03, 0.0],
        "low": [-0.1, -0.06, -0.03, 0.0],
        "high": [0.3, 0.18, 0.09, 0.0],
    }
)
POLICY = pd.DataFrame(
    {
        "threshold": [0.0, 0.1, 0.2],
        "treated": [0.9, 0.5, 0.05],
        "outcome": [0.25, 0.3, 0.35],
        "net_benefit": [0.12, 0.04, 0.005],
        "low": [0.0, -0.05, np.nan],
        "high": [0.24, 0.13, np.nan],
        "all_net_benefit": [0.11, 0.01, -0.09],
        "all_low": [-0.01, -0.11, -0.21],
        "all_high": [0.23, 0.13, 0.03],
        "difference": [0.01, 0.03, 0.095],
        "difference_low": [-0.03, -0.05, -0.02],
        "difference_high": [0.05, 0.11, 0.2],
    }
)
LONG = "secondary infection by day 30 in critically ill patients (simulated patients)"
FIGURES = {
    "groups": lambda: plots.effect_groups_figure(GROUPS, AVERAGE, LONG, "risk", "Third of predicted effect"),
    "classification": lambda: plots.classification_figure(CLAN, {"age": "Age (years)"}, LONG),
    "calibration": lambda: plots.benefit_calibration_figure(CURVE, BENEFIT_GROUPS, LONG, "risk reduction"),
    "targeting": lambda: plots.targeting_figure(TARGETING, LONG, "risk reduction", plots.Average(0.05, -0.02, 0.12)),
    "policy": lambda: plots.policy_value_figure(POLICY, LONG, "risk reduction"),
}
by_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)


def line(axes, start):
    """Return the points of the line whose label begins with `start`."""
    [found] = [each for each in axes.lines if str(each.get_label()).startswith(start)]
    return found.get_xydata()


def band(axes):
    """Return the lowest and highest point of each place of the first band."""
    points = np.concatenate([path.vertices for path in axes.collections[0].get_paths()])
    places = np.unique(points[:, 0])
    return np.array([[points[points[:, 0] == x, 1].min(), points[points[:, 0] == x, 1].max()] for x in places])


def rows(axes):
    """Return the ends of the intervals and the estimates, from the top."""
    ends = [each.get_xdata() for each in axes.lines if len(each.get_xdata()) == 2 and each.get_linestyle() == "-"]
    marks = [each.get_xdata()[0] for each in axes.lines if each.get_marker() == "s"]
    return np.array(ends[-len(marks) :]), np.array(marks)


@by_figure
def test_png_bytes_depend_on_nothing_but_the_content_and_no_global_state_changes(draw):
    before = dict(matplotlib.rcParams)
    first, second = plots.to_png(draw()), plots.to_png(draw())
    assert first == second
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert min(struct.unpack(">II", first[16:24])) > 250
    assert dict(matplotlib.rcParams) == before


@by_figure
def test_all_texts_can_be_read(draw, assert_readable, words):
    figure = draw()
    assert_readable(figure)
    assert figure.get_suptitle().replace("\n", " ") == LONG


def test_groups_stand_below_the_average():
    figure = FIGURES["groups"]()
    ends, marks = rows(figure.axes[0])
    np.testing.assert_allclose(marks, [-0.11, *GROUPS["effect"]])
    np.testing.assert_allclose(ends, [[-0.23, 0.01], *GROUPS[["low", "high"]].to_numpy()])
    written = [text.get_text() for text in figure.texts]
    for text in ("All patients", "109", "    Lowest", "    Group 2", "    Highest", "−0.25 (−0.50 to 0.00)"):
        assert text in written


def test_one_group_is_named_as_such(words):
    figure = plots.effect_groups_figure(GROUPS.head(1), AVERAGE, "", "risk", "Predicted effect")
    assert "    All equal" in words(figure)


def test_classification_draws_standardised_and_writes_plain_differences(words):
    figure = FIGURES["classification"]()
    ends, marks = rows(figure.axes[0])
    np.testing.assert_allclose(marks, CLAN["standardised"])
    np.testing.assert_allclose(ends, CLAN[["standardised_low", "standardised_high"]])
    written = words(figure)
    for text in ("Age (years)", "ward: intensive care", "70.2", "−15.1 (−21.0 to −9.2)", "−0.25 (−0.45 to 0.01)"):
        assert text in written


def test_calibration_draws_the_tables_numbers():
    axes = FIGURES["calibration"]().axes[0]
    np.testing.assert_array_equal(line(axes, "Flexible"), CURVE[["predicted", "observed"]])
    np.testing.assert_allclose(band(axes), CURVE[["low", "high"]])
    np.testing.assert_array_equal(line(axes, "Ideal"), [[0, 0], [0.3, 0.3]])
    bars = np.array(axes.containers[0][2][0].get_segments())
    np.testing.assert_allclose(bars[:, :, 1], BENEFIT_GROUPS[["low", "high"]])
    np.testing.assert_allclose(bars[:, 0, 0], BENEFIT_GROUPS["predicted"])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted risk reduction", "Observed risk reduction")


def test_targeting_draws_curve_band_and_area(words):
    figure = FIGURES["targeting"]()
    axes = figure.axes[0]
    np.testing.assert_array_equal(line(axes, "Highest"), TARGETING[["fraction", "estimate"]])
    np.testing.assert_allclose(band(axes), TARGETING[["low", "high"]])
    assert any("Area (AUTOC) 0.05 (−0.02 to 0.12)" in text for text in words(figure))
    assert not any("AUTOC" in text for text in words(plots.targeting_figure(TARGETING, "", "risk reduction")))


def test_policy_value_draws_three_panels_on_one_threshold():
    value, difference, share = FIGURES["policy"]().axes
    np.testing.assert_array_equal(line(value, "Treat above"), POLICY[["threshold", "net_benefit"]])
    np.testing.assert_array_equal(line(value, "Treat all"), POLICY[["threshold", "all_net_benefit"]])
    np.testing.assert_allclose(band(value), POLICY[["low", "high"]].dropna())  # no band where there are no limits
    np.testing.assert_array_equal(line(difference, "Treat above"), POLICY[["threshold", "difference"]])
    np.testing.assert_allclose(band(difference), POLICY[["difference_low", "difference_high"]])
    np.testing.assert_array_equal(share.lines[0].get_xydata(), POLICY[["threshold", "treated"]])
    assert value.get_xlim() == difference.get_xlim() == share.get_xlim()


def test_the_level_of_intervals_is_said(words):
    drawn = [
        plots.effect_groups_figure(GROUPS, AVERAGE, "", "risk", "Group", 0.9),
        plots.classification_figure(CLAN, {}, "", level=0.9),
        plots.benefit_calibration_figure(CURVE, BENEFIT_GROUPS, "", "benefit", 0.9),
        plots.targeting_figure(TARGETING, "", "benefit", level=0.9),
        plots.policy_value_figure(POLICY, "", "benefit", 0.9),
    ]
    for figure in drawn:
        assert any("90 %" in text for text in words(figure))
