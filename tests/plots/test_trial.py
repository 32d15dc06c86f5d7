import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from il7ml import plots
from il7ml.endpoints.competing import cumulative_incidence, numbers_at_risk

LABELS = {"control": "Placebo", "treated": "IL-7 (CYT107)"}
LONG = {
    "control": "Placebo plus standard of care as in each country",
    "treated": "Recombinant human interleukin-7 (CYT107), 10 µg/kg twice a week",
}
CAUSES = {1: "Hospital-acquired infection", 2: "Discharge without infection", 3: "Death without infection"}
TIME = [2, 4, 4, 6, 30, 3, 5, 9, 12, 30]
STATUS = [1, 2, 1, 3, 0, 1, 2, 1, 2, 0]
ARM = [1] * 5 + [0] * 5
MEANS = pd.DataFrame(
    {
        "arm": ["control"] * 4 + ["treated"] * 4,
        "day": [3.0, 7, 14, 30] * 2,
        "mean": [0.6, 0.7, 0.9, 1.1, 0.5, 0.8, 1.2, 1.6],
        "low": [0.5, 0.6, 0.7, 0.8, 0.4, 0.6, 0.9, 1.1],
        "high": [0.7, 0.8, 1.1, 1.5, 0.6, 1.0, 1.6, 2.3],
        "n": [54, 50, 31, 12, 55, 49, 33, 15],
    }
)
COURSE = pd.DataFrame(
    [
        (name, unit, arm, day, 50 - day, middle, middle / spread, middle * spread)
        for name, unit, spread in (("Ferritin", "ng/mL", 4), ("PaO2/FiO2 ratio", "mmHg", 1.3), ("Score", np.nan, 2))
        for arm, middle in (("control", 120.0), ("treated", 90.0))
        for day in (0, 1, 3, 7, 14, 30)
    ],
    columns=["measurement", "unit", "arm", "day", "n", "median", "q1", "q3"],
)


def incidence(labels=LABELS, causes=CAUSES, **options):
    curves, at_risk = cumulative_incidence(TIME, STATUS, ARM), numbers_at_risk(TIME, ARM, range(0, 31, 5))
    return plots.incidence_figure(curves, at_risk, labels, causes, "Infection (simulated patients)", **options)


FIGURES = {
    "incidence": incidence,
    "recovery": lambda labels=LABELS: plots.recovery_figure(MEANS, labels, "Count (10^9/L)", "Recovery", 1.0),
    "course": lambda labels=LABELS: plots.course_figure(COURSE, labels, "Course (simulated patients)"),
}
by_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)


def lines_of(axes, points):
    """Return the lines with that many points, control first."""
    return [line for line in axes.lines if len(line.get_xdata()) == points]


def numbers_below(axes, labels):
    """Return what stands below each day: dict of day to texts, from top to bottom."""
    found = {}
    for text in axes.texts:
        if text.get_text() not in labels:
            found.setdefault(text.get_position()[0], []).append(text.get_text())
    return found


@by_figure
@pytest.mark.parametrize("labels", [LABELS, LONG], ids=["short", "long"])
def test_no_text_is_cut_off_or_lies_on_another(draw, labels, assert_readable):
    assert_readable(draw(labels=labels))


@by_figure
def test_pictures_depend_on_nothing_but_the_content(draw):
    import matplotlib

    before = dict(matplotlib.rcParams)
    assert plots.to_png(draw()) == plots.to_png(draw())
    assert dict(matplotlib.rcParams) == before


@by_figure
def test_arms_are_named_and_drawn_each_in_its_own_way(draw):
    figure = draw()
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(LABELS.values())
    keys = legend.get_lines()
    for key, line in zip(keys, figure.axes[0].lines[:2], strict=True):
        assert (key.get_color(), key.get_linestyle()) == (line.get_color(), line.get_linestyle())
        assert key.get_marker().lower() == line.get_marker().lower()
    assert keys[0].get_linestyle() != keys[1].get_linestyle()


def test_incidence_draws_each_causes_curves():
    figure = incidence()
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(CAUSES.values())
    # Patients 1 and 3 of five treated, 6 and 8 of five controls, were infected; nobody was censored before.
    control, treated = figure.axes[0].lines
    np.testing.assert_array_equal(control.get_xdata(), [0, 3, 5, 9, 12, 30])
    np.testing.assert_allclose(control.get_ydata(), [0, 0.2, 0.2, 0.4, 0.4, 0.4])
    np.testing.assert_array_equal(treated.get_xdata(), [0, 2, 4, 6, 30])
    np.testing.assert_allclose(treated.get_ydata(), [0, 0.2, 0.4, 0.4, 0.4])
    assert control.get_drawstyle() == treated.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(figure.axes[2].lines[1].get_ydata()[-1], 0.2)
    for axes in figure.axes:
        assert axes.get_xlim() == (0, 30)
        assert axes.get_ylim()[0] == 0


def test_incidence_bands_are_the_tables_limits():
    curves = cumulative_incidence(TIME, STATUS, ARM)
    bands = incidence().axes[0].collections
    for band, arm in zip(bands, ("control", "treated"), strict=True):
        part = curves[(curves["arm"] == arm) & (curves["cause"] == 1)]
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.max() == pytest.approx(part["high"].max())
        assert set(part["low"].round(9)) <= set(heights.round(9))


def test_numbers_at_risk_stand_below_their_days(words):
    figure = incidence()
    first = figure.axes[0]
    below = numbers_below(first, {*LABELS.values(), "Patients at risk"})
    assert below == {
        0: ["5", "5"], 5: ["4", "2"], 10: ["2", "1"], 15: ["1", "1"], 20: ["1", "1"], 25: ["1", "1"], 30: ["1", "1"]
    }  # fmt: skip
    np.testing.assert_array_equal(first.get_xticks(), list(below))
    # Drawn below the axis, at the day's place on it, the control's row above the treated's.
    figure.draw_without_rendering()
    at_ten = [text for text in first.texts if text.get_position()[0] == 10]
    boxes = [text.get_window_extent() for text in at_ten]
    for box in boxes:
        assert (box.x0 + box.x1) / 2 == pytest.approx(first.transData.transform((10, 0))[0], abs=1)
        assert box.y1 < first.bbox.y0
    assert boxes[0].y0 > boxes[1].y1
    assert "Patients at risk" in words(figure)


def test_a_curve_ends_with_the_arms_follow_up():
    time, status, arm = [2, 8, 3, 30], [1, 0, 1, 0], [1, 1, 0, 0]
    curves, at_risk = cumulative_incidence(time, status, arm), numbers_at_risk(time, arm, [0, 10, 20, 30])
    control, treated = plots.incidence_figure(curves, at_risk, LABELS, {1: "Infection"}, "").axes[0].lines
    assert control.get_xdata()[-1] == 30
    assert treated.get_xdata()[-1] == 2


def test_a_cause_without_events_has_an_empty_panel():
    axes = incidence(causes={1: "Infection", 4: "Transfer"}).axes[1]
    assert all(len(line.get_xdata()) == 0 for line in axes.lines)
    assert axes.get_ylim() == (0, 1)


def test_the_level_of_bands_is_said(words):
    assert any("95 %" in text for text in words(incidence()))
    assert any("90 %" in text for text in words(incidence(level=0.9)))
    assert any("80 %" in text for text in words(plots.recovery_figure(MEANS, LABELS, "", "", level=0.8)))


def test_recovery_draws_means_with_limits_at_their_days():
    axes = FIGURES["recovery"]().axes[0]
    for line, bars, (_, part) in zip(
        lines_of(axes, 4), axes.collections[1::2], MEANS.groupby("arm", sort=False), strict=True
    ):
        np.testing.assert_allclose(line.get_ydata(), part["mean"])
        np.testing.assert_allclose(line.get_xdata(), part["day"], atol=0.2)
        np.testing.assert_allclose(np.array(bars.get_segments())[:, :, 1], part[["low", "high"]])
    assert axes.get_yscale() == "log"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0.5", "0.7", "1", "1.5", "2"]
    assert numbers_below(axes, {*LABELS.values(), "Patients measured"}) == {
        3: ["54", "55"], 7: ["50", "49"], 14: ["31", "33"], 30: ["12", "15"]
    }  # fmt: skip


def test_recovery_marks_the_threshold_even_beyond_the_means(words):
    figure = plots.recovery_figure(MEANS, LABELS, "", "", threshold=4.0)
    axes = figure.axes[0]
    assert [4.0, 4.0] in [list(line.get_ydata()) for line in axes.lines]
    assert axes.get_ylim()[1] > 4
    assert any("Dotted line: 4." in text for text in words(figure))
    assert not any("Dotted" in text for text in words(plots.recovery_figure(MEANS, LABELS, "", "")))


def test_an_arm_may_lack_a_day_or_a_mean(assert_readable):
    means = MEANS.drop(index=6).reset_index(drop=True)
    means.loc[1, ["mean", "low", "high"]] = np.nan
    figure = plots.recovery_figure(means, LABELS, "", "")
    axes = figure.axes[0]
    control, treated = axes.lines[:2]
    np.testing.assert_allclose(control.get_ydata(), [0.6, 0.9, 1.1])
    np.testing.assert_allclose(treated.get_ydata(), [0.5, 0.8, 1.6])
    assert numbers_below(axes, {*LABELS.values(), "Patients measured"})[14] == ["31"]
    assert_readable(figure)


def test_days_whose_numbers_have_no_room_are_left_out_below_but_drawn(assert_readable):
    table = pd.concat([MEANS.head(1).assign(day=float(day), arm=arm, n=123456)
                       for arm in LABELS for day in range(31)])  # fmt: skip
    figure = plots.recovery_figure(table, LABELS, "", "")
    axes = figure.axes[0]
    assert len(axes.lines[0].get_xdata()) == 31
    assert 3 <= len(axes.get_xticks()) < 31
    assert_readable(figure)


def test_course_has_a_panel_a_measurement():
    figure = FIGURES["course"]()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Ferritin", "PaO2/FiO2 ratio", "Score"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["ng/mL", "mmHg", ""]
    # Ferritin spreads over more than a factor of ten.
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear", "linear"]
    for axes in figure.axes:
        control, treated = lines_of(axes, 6)
        assert set(control.get_ydata()) == {120}
        assert set(treated.get_ydata()) == {90}
        assert to_hex(control.get_color()) != to_hex(treated.get_color())
    bars = np.array(figure.axes[1].collections[0].get_segments())
    np.testing.assert_allclose(bars[0, :, 1], [120 / 1.3, 120 * 1.3])
    assert numbers_below(figure.axes[0], set())[7] == ["43", "43"]


def test_course_of_many_measurements_goes_on_in_further_rows(assert_readable):
    many = pd.concat([COURSE.assign(measurement=COURSE["measurement"] + f" of a rather long kind, number {k}")
                      for k in range(3)])  # fmt: skip
    many = many[~((many["arm"] == "treated") & (many["day"] == 30))]
    figure = plots.course_figure(many, LABELS, "Course")
    assert len(figure.axes) == 9
    assert len({round(axes.get_position().y0, 6) for axes in figure.axes}) == 3
    assert_readable(figure)
