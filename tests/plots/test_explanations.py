import numpy as np
import pandas as pd
import pytest

from il7ml import plots
from il7ml.explanation import Explanation

IMPORTANCE = pd.DataFrame(
    {
        "rank": [1, 2, 3],
        "variable": ["age", "sex", "ferritin"],
        "label": ["Age", "Sex", "Ferritin"],
        "unit": ["years", "", "ng/mL"],
        "mean_abs_shap": [0.5, 0.3, 0.1],
        "scale": "log odds",
        "note": "",
    }
)
SHAP = Explanation(
    0.1,
    pd.DataFrame({"age": [0.4, -0.4, 0.6], "sex": [0.3, -0.3, 0.3], "ferritin": [0.1, 0.1, 0.1]}),
    pd.DataFrame({"age": [70.0, 40.0, 80.0], "sex": [1.0, 0.0, 1.0], "ferritin": [500.0, np.nan, 500.0]}),
    "log odds",
)
WITH_LIMITS = IMPORTANCE.assign(
    low=[0.2, 0.0, 0.0],
    high=[0.9, 0.8, 0.2],
    rank_low=[1, 1, 2],
    rank_high=[2, 3, 3],
    correlated_with=["", "", "C-reactive protein"],
)
SWARM = pd.DataFrame(
    {
        "variable": ["age", "age", "sex", "sex", "ferritin", "ferritin"],
        "place": [0.0, 1.0, 0.0, 1.0, 0.5, np.nan],
        "n": [12, 12, 10, 14, 14, 10],
        "mean_shap": [-0.5, 0.5, -0.3, 0.3, 0.1, -0.2],
    }
)
CURVE = pd.DataFrame(
    {
        "value": [0.2, 0.6, 1.5] * 2,
        "group": ["Antiviral: no"] * 3 + ["Antiviral: yes"] * 3,
        "estimate": [-0.3, -0.2, -0.1, -0.4, -0.3, 0.0],
        "low": [-0.5, -0.4, -0.3, -0.6, -0.5, -0.3],
        "high": [-0.1, 0.0, 0.1, -0.2, -0.1, 0.3],
    }
)
FIGURES = {
    "importance": lambda: plots.importance_figure(IMPORTANCE, "Importance"),
    "intervals": lambda: plots.importance_figure(WITH_LIMITS, "Importance", 0.9),
    "groups": lambda: plots.patient_groups_figure(SWARM, IMPORTANCE, "Groups"),
    "beeswarm": lambda: plots.beeswarm_figure(SHAP, IMPORTANCE, "Beeswarm"),
    "dependence": lambda: plots.dependence_figure(
        CURVE,
        [0.3, 0.4, 0.9],
        "Effect",
        "Lymphocytes",
        "Difference in risk",
        reference=(-0.11, "Average effect"),
        log=True,
        level=0.9,
    ),
}


def ticks(axes, name):
    return [label.get_text() for label in getattr(axes, f"get_{name}ticklabels")()]


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_every_figure_is_a_picture_that_depends_on_its_content_alone(draw):
    first, second = (plots.to_png(draw()) for _ in range(2))
    assert first[:4] == b"\x89PNG"
    assert first == second


def test_importance_draws_the_strongest_on_top():
    axes = FIGURES["importance"]().axes[0]
    assert ticks(axes, "y") == ["Ferritin (ng/mL)", "Sex", "Age (years)"]
    assert [bar.get_width() for bar in axes.patches] == [0.1, 0.3, 0.5]
    assert axes.get_xlabel() == "Mean absolute SHAP value (log odds)"


def test_importance_shows_at_most_twelve_variables():
    table = pd.concat([IMPORTANCE.assign(label=[f"{name}{k}" for name in "abc"]) for k in range(6)])
    assert len(plots.importance_figure(table, "").axes[0].patches) == 12


@pytest.mark.parametrize("name", ["importance", "beeswarm"])
def test_a_caveat_stands_in_the_title(name):
    table = IMPORTANCE.assign(note="exploratory: no credible heterogeneity")
    figure = (
        plots.importance_figure(table, "Effect")
        if name == "importance"
        else plots.beeswarm_figure(SHAP, table, "Effect")
    )
    assert figure.get_suptitle() == "Effect\n(exploratory: no credible heterogeneity)"


def test_beeswarm_draws_a_point_a_patient():
    figure = FIGURES["beeswarm"]()
    axes, bar = figure.axes
    assert ticks(axes, "y") == ["Ferritin (ng/mL)", "Sex", "Age (years)"]
    known = [points for points in axes.collections if len(points.get_offsets()) and points.get_array() is not None]
    for points, name in zip(known, ["ferritin", "sex", "age"], strict=True):
        some = SHAP.data[name].notna()
        np.testing.assert_allclose(points.get_offsets()[:, 0], SHAP.values.loc[some, name])
    np.testing.assert_allclose(known[2].get_array(), [0.5, 0.0, 1.0])  # from the lowest age to the highest
    missing = [points for points in axes.collections if points.get_array() is None and len(points.get_offsets())]
    assert [points.get_facecolor().size for points in missing] == [0]
    assert bar.get_ylabel() == "Variable's value (hollow: missing)"
    assert ticks(bar, "y") == ["low", "high"]


def test_points_of_equal_value_are_kept_apart():
    values = pd.DataFrame({"age": np.repeat([0.0, 1.0], 20)})
    explanation = Explanation(0.0, values, values, "log odds")
    axes = plots.beeswarm_figure(explanation, IMPORTANCE.head(1), "").axes[0]
    heights = np.concatenate([points.get_offsets()[:, 1] for points in axes.collections])
    assert len(np.unique(heights[:20].round(6))) == 20
    assert np.abs(heights).max() < 0.5  # within the variable's own row


@pytest.mark.parametrize("rows", [0, 1])
def test_hardly_any_patient_can_be_drawn(rows):
    explanation = SHAP._replace(values=SHAP.values.head(rows), data=SHAP.data.head(rows))
    assert plots.to_png(plots.beeswarm_figure(explanation, IMPORTANCE, ""))[:4] == b"\x89PNG"


def test_a_long_title_stays_whole_within_the_figure():
    table = pd.DataFrame(
        {
            "variable": ["a"],
            "label": ["Anti-IL-6 or JAK inhibitor at randomisation"],
            "unit": [""],
            "mean_abs_shap": [0.1],
            "scale": ["log odds"],
            "note": ["exploratory: no credible heterogeneity"],
        }
    )
    title = "What moves the estimated individual effect of a treatment with a long name (simulated patients)"
    figure = plots.importance_figure(table, title)
    figure.canvas.draw()
    [text] = figure.texts
    assert text.get_text().replace("\n", " ") == f"{title} (exploratory: no credible heterogeneity)"
    box = text.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_intervals_and_rank_limits_stand_beside_the_bars(words):
    figure = FIGURES["intervals"]()
    axes = figure.axes[0]
    ends = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    assert ends == [[0.0, 0.2], [0.0, 0.8], [0.2, 0.9]]
    assert ticks(axes, "y") == ["Ferritin (ng/mL) †", "Sex", "Age (years)"]
    assert ticks(axes.child_axes[0], "y") == ["3 (2–3)", "2 (1–3)", "1 (1–2)"]
    assert "90 % bootstrap interval" in axes.get_xlabel()
    assert any(text.startswith("†") for text in words(figure))
    assert not any(text.startswith("†") for text in words(FIGURES["importance"]()))


def test_groups_of_variables_have_bars_too():
    table = WITH_LIMITS.drop(columns=["label", "unit", "variable", "correlated_with"]).assign(
        group=["severity", "treatment", "other"]
    )
    axes = plots.importance_figure(table, "").axes[0]
    assert ticks(axes, "y") == ["Other", "Treatment", "Severity"]


def test_groups_of_patients_are_drawn_at_their_means():
    axes = FIGURES["groups"]().axes[0]
    coloured = [points for points in axes.collections if points.get_array() is not None]
    drawn = [points.get_offsets()[:, 0].tolist() for points in coloured]
    assert drawn == [[0.1], [-0.3, 0.3], [-0.5, 0.5]]
    hollow = [points for points in axes.collections if points.get_array() is None and len(points.get_offsets())]
    assert [points.get_offsets().tolist() for points in hollow] == [[[-0.2, 0.0]]]
    assert "groups of 10 or more patients" in axes.get_xlabel()


def test_dependence_has_a_curve_and_a_band_for_each_group(words):
    figure = FIGURES["dependence"]()
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    for name, part in CURVE.groupby("group"):
        np.testing.assert_array_equal(lines[f"{name}, 90 % band"].get_xydata(), part[["value", "estimate"]].to_numpy())
    assert lines["Antiviral: no, 90 % band"].get_linestyle() != lines["Antiviral: yes, 90 % band"].get_linestyle()
    assert set(lines["Average effect"].get_ydata()) == {-0.11}
    assert lines["Tenths of the patients"].get_xdata().tolist() == [0.3, 0.4, 0.9]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim() == (0.2, 1.5)
    assert [len(axes.collections), axes.get_xlabel()] == [2, "Lymphocytes"]


def test_dependence_of_one_group_shows_points_where_it_is_given_some():
    curve = CURVE.head(3).assign(group="")
    points = pd.DataFrame({"value": [0.3, 0.5], "group": "", "estimate": [-0.2, -0.1]})
    axes = plots.dependence_figure(curve, [], "", "Age (years)", "Contribution", points=points).axes[0]
    assert axes.get_xscale() == "linear"
    assert axes.collections[-1].get_offsets().tolist() == [[0.3, -0.2], [0.5, -0.1]]
    assert "Curve with 95 % band" in {line.get_label() for line in axes.lines}
