import numpy as np
import pandas as pd
import pytest
from matplotlib.markers import CARETLEFT, CARETRIGHT

from il7ml import plots
from il7ml.endpoints.safety import adverse_events

TREATED, CONTROL = "IL-7 (CYT107)", "Placebo"
LABELS = {"control": CONTROL, "treated": TREATED}
LONG = {
    "control": "Placebo plus standard of care as in each country",
    "treated": "Recombinant human interleukin-7 (CYT107), 10 µg/kg twice a week",
}
NAN = np.nan
HEADLINE = pd.DataFrame(
    [
        ("Infection by day 30", "risk", "", True, "25/54 (46 %)", "16/55 (29 %)", "ratio", 0.63, 0.38, 1.04, 0.0704),
        ("Infections", "rate", "patient", True, "38 in 54 patients (0.7 per patient)",
         "22 in 55 patients (0.4 per patient)", "rate_ratio", 0.57, 0.33, 0.96, 0.034),
        ("Days in intensive care", "mean", "days", True, "14.2 (SD 9.1)", "12.8 (SD 8.8)", "difference",
         -1.4, -4.8, 2.0, 0.41),
        ("Lymphocyte count at the last measurement by day 30 or discharge", "geometric mean", "10^9/L", False,
         "1.0", "1.4", "ratio", 1.43, 1.13, 1.77, 0.0002),
        ("Pneumothorax", "risk", "", True, "1/54 (2 %)", "3/55 (5 %)", "odds_ratio", 2.95, 0.01, 300.0, 0.995),
        ("Cytokine storm", "risk", "", True, "0/54 (0 %)", "1/55 (2 %)", "ratio", NAN, NAN, NAN, NAN),
        ("Days alive and out of hospital", "mean", "days", False, "7.2", "8.8", "difference", 1.6, -1.8, 4.9, 0.35),
        ("PaO2/FiO2 ratio on day 7", "mean", "mmHg", False, "155", "171", "difference", 16.0, -7.0, 39.0, 0.17),
        ("Ventilator-free days", "value", "days", False, "12", "18", "probability", 0.56, 0.45, 0.66, 0.28),
        ("Not compared", "mean", "points", False, "-", "-", "difference", NAN, NAN, NAN, NAN),
    ],
    columns=["title", "measure", "unit", "harmful", "control", "treated", "scale", "estimate", "low", "high",
             "p_value"],
)  # fmt: skip
OVERALL = {"estimate": 0.6, "low": 0.4, "high": 0.9, "n": 109, "events": 60}


def subgroups(modifiers=3, scale="rate_ratio"):
    rows = []
    for number in range(modifiers):
        for name, estimate in (("no", 0.5), ("yes", 0.8)):
            rows.append(
                (f"modifier{number}", f"Modifier {number}", number != 1, name, scale, estimate, estimate / 2,
                 estimate * 2, NAN, 50 + number, 20, 0.04 + number / 10)
            )  # fmt: skip
    columns = ["modifier", "label", "protected", "subgroup", "scale", "estimate", "low", "high", "p_value", "n",
               "events", "interaction_p"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).astype({"n": "Int64", "events": "Int64"})


def endpoints(headline=HEADLINE, labels=LABELS, **options):
    return plots.endpoints_forest_figure(
        headline, labels["treated"], labels["control"], "Endpoints (simulated patients)", **options
    )


def by_subgroup(table=None, overall=OVERALL, labels=LABELS):
    table = subgroups() if table is None else table
    return plots.subgroup_forest_figure(
        table, overall, labels["treated"], labels["control"], "Subgroups (simulated patients)"
    )


def events(terms=3):
    rows = [(patient, f"term_{term:02d}", 1 + patient % 3, patient % 2)
            for term in range(terms) for patient in range(0, 20, 1 + term)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["patient", "term", "grade", "serious"])
    return adverse_events(table, [0] * 8 + [1] * 12, np.full(20, 0.3)).counts


def adverse(counts=None, labels=LABELS):
    return plots.adverse_events_figure(events() if counts is None else counts, labels, "Safety (simulated patients)")


FIGURES = {"endpoints": endpoints, "subgroups": by_subgroup, "adverse": adverse}
by_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)


def points(axes):
    """Return estimates as drawn, from top to bottom."""
    return [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "s"]


def intervals(axes):
    """Return the ends of intervals as drawn, from top to bottom."""
    return [tuple(line.get_xdata()) for line in axes.lines
            if line.get_marker() == "None" and line.get_ydata()[0] == line.get_ydata()[1]]  # fmt: skip


def height(figure, text):
    """Return how high in the figure a text stands, in pixels."""
    [found] = [each for each in figure.texts if each.get_text() == text]
    box = found.get_window_extent()
    return (box.y0 + box.y1) / 2


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


def test_endpoints_stand_on_axes_of_their_scale_and_unit(words):
    ratios, days, oxygen, probability = endpoints().axes
    np.testing.assert_allclose(points(ratios), [0.63, 0.57, 1.43, 2.95])
    np.testing.assert_allclose(points(days), [-1.4, 1.6])
    assert points(oxygen) == [16.0]
    assert points(probability) == [0.56]
    assert [axes.get_xscale() for axes in (ratios, days, oxygen, probability)] == ["log", *["linear"] * 3]
    nulls = [axes.lines[0].get_xdata()[0] for axes in (ratios, days, oxygen, probability)]
    assert nulls == [1, 0, 0, 0.5]
    np.testing.assert_allclose(intervals(days), [(-4.8, 2.0), (-1.8, 4.9)])
    assert "Difference (days), IL-7 (CYT107) − Placebo" in words(endpoints())


def test_an_endpoint_that_cannot_be_estimated_says_so_and_needs_no_axis_of_its_own(words):
    figure = endpoints()
    assert len(figure.axes) == 4
    assert words(figure).count("not estimable") == 2
    backwards = endpoints(HEADLINE.iloc[[9, 1, 0]])  # its row then comes first on an axis of ratios
    [axes] = backwards.axes
    assert axes.get_xscale() == "log"
    np.testing.assert_allclose(points(axes), [0.57, 0.63])
    alone = endpoints(HEADLINE[HEADLINE["estimate"].isna()])
    assert words(alone).count("not estimable") == 2
    assert all(not points(axes) for axes in alone.axes)


@pytest.mark.parametrize(
    ("endpoint", "left", "right"),
    [
        ("Infection by day 30", TREATED, CONTROL),
        ("PaO2/FiO2 ratio on day 7", CONTROL, TREATED),
    ],
)
def test_direction_follows_from_whether_more_is_worse(endpoint, left, right):
    axes = endpoints(HEADLINE[HEADLINE["title"] == endpoint]).axes[0]
    assert [text.get_text() for text in axes.texts] == [f"← favours\n{left}", f"favours\n{right} →"]
    null = axes.transData.transform((axes.lines[0].get_xdata()[0], 0))[0]
    axes.figure.draw_without_rendering()
    before, after = (text.get_window_extent() for text in axes.texts)
    assert before.x1 < null < after.x0


def test_where_more_is_worse_for_some_only_directions_favour_nobody():
    axes = endpoints().axes[0]
    assert [text.get_text() for text in axes.texts] == [f"← lower with\n{TREATED}", f"higher with\n{TREATED} →"]


def test_an_interval_far_wider_than_others_ends_in_arrows():
    axes = endpoints().axes[0]
    low, high = axes.get_xlim()
    assert 0.01 < low < 0.33
    assert 2.95 < high < 300
    assert intervals(axes)[3] == pytest.approx((low, high))
    heads = {line.get_marker(): line for line in axes.lines if line.get_marker() in (CARETLEFT, CARETRIGHT)}
    row = [line for line in axes.lines if line.get_marker() == "s"][3].get_ydata()[0]
    assert (heads[CARETLEFT].get_xdata()[0], heads[CARETLEFT].get_ydata()[0]) == (low, row)
    assert (heads[CARETRIGHT].get_xdata()[0], heads[CARETRIGHT].get_ydata()[0]) == (high, row)
    assert len([line for line in axes.lines if line.get_marker() in (CARETLEFT, CARETRIGHT)]) == 2


@pytest.mark.parametrize(
    ("scale", "estimate", "low", "high"),
    [
        ("ratio", 0.6, 0.0, np.inf),
        ("ratio", 0.6, 1e-200, 1e200),
        ("ratio", 1e-9, 0.0, 1e9),
        ("ratio", 1.0, 1.0, 1.0),
        ("ratio", 2.0, NAN, NAN),
        ("difference", 0.6, -np.inf, np.inf),
        ("difference", 0.0, 0.0, 0.0),
        ("difference", 1.0, NAN, NAN),
    ],
)
def test_extreme_effects_can_be_drawn(scale, estimate, low, high, assert_readable):
    figure = endpoints(HEADLINE.head(1).assign(scale=scale, estimate=estimate, low=low, high=high))
    assert_readable(figure)
    left, right = figure.axes[0].get_xlim()
    assert left < right
    if scale == "ratio":
        assert left > 1 / 50
        assert right < 50


def test_numbers_stand_in_the_row_of_their_mark():
    figure = endpoints()
    figure.draw_without_rendering()
    axes = figure.axes[0]
    mark = next(line for line in axes.lines if line.get_marker() == "s")
    place = axes.transData.transform((1, mark.get_ydata()[0]))[1]
    for text in ("Infection by day 30", "25/54 (46 %)", "16/55 (29 %)", "0.63 (0.38 to 1.04)", "0.070"):
        assert height(figure, text) == pytest.approx(place, abs=5)


def test_numbers_are_written_plainly(words):
    texts = words(endpoints(level=0.9))
    for text in ("0.57 (0.33 to 0.96)", "−1.40 (−4.80 to 2.00)", "16.0 (−7.0 to 39.0)", "2.95 (0.01 to 300)",
                 "< 0.001", "0.034", "0.41", "> 0.99", "odds", "Estimate\n(90 % interval)"):  # fmt: skip
        assert text in texts
    assert any("not adjusted" in text for text in texts)


def test_small_effects_keep_their_digits(words):
    small = HEADLINE.head(1).assign(scale="difference", estimate=-0.012, low=-0.034, high=0.01)
    assert "−0.012 (−0.034 to 0.010)" in words(endpoints(small))


def test_subgroups_stand_below_their_modifier_with_one_p_value_each(words):
    figure = by_subgroup()
    texts = words(figure)
    for text in ("0.040", "0.14", "0.24"):
        assert texts.count(text) == 1
    assert texts.count("    no") == texts.count("    yes") == 3
    assert height(figure, "Modifier 0") > height(figure, "Modifier 2")
    assert height(figure, "0.24") == pytest.approx(height(figure, "Modifier 2"), abs=2)
    [axes] = figure.axes
    np.testing.assert_allclose(points(axes), [0.6, *[0.5, 0.8] * 3])
    np.testing.assert_allclose(intervals(axes), [(0.4, 0.9), *[(0.25, 1.0), (0.4, 1.6)] * 3])
    assert axes.get_xscale() == "log"


def test_a_subgroups_own_p_value_is_never_shown(words):
    assert words(by_subgroup(subgroups().assign(p_value=0.0123))) == words(by_subgroup())


def test_a_modifier_that_randomisation_does_not_protect_is_marked(words):
    marked = [text for text in words(by_subgroup()) if "not protected by randomisation" in text]
    assert marked == ["Modifier 1\n(not protected by randomisation)"]


def test_the_overall_effect_is_a_dashed_line(words):
    figure = by_subgroup()
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [list(line.get_xdata()) for line in dashed] == [[0.6, 0.6]]
    assert "All patients" in words(figure)
    assert "109" in words(figure)
    series = by_subgroup(overall=pd.Series(OVERALL))
    assert words(series) == words(figure)
    without = by_subgroup(overall=None)
    assert not [line for line in without.axes[0].lines if line.get_linestyle() == "--"]
    assert "All patients" not in words(without)


def test_differences_by_subgroup_have_a_linear_axis(words):
    figure = by_subgroup(subgroups(scale="difference").assign(events=pd.NA), None)
    assert figure.axes[0].get_xscale() == "linear"
    assert figure.axes[0].lines[0].get_xdata()[0] == 0
    assert "Events" not in words(figure)


def test_a_subgroup_that_cannot_be_estimated_says_so(words):
    table = subgroups()
    table.loc[2, ["estimate", "low", "high", "interaction_p"]] = NAN
    table.loc[2, "events"] = pd.NA
    figure = by_subgroup(table)
    assert words(figure).count("not estimable") == 1
    assert len(points(figure.axes[0])) == 6


def test_twenty_subgroups_with_long_names_can_be_read(assert_readable):
    table = subgroups(10).assign(label="Corticosteroids at randomisation or in the week before it, of any kind")
    table["subgroup"] = table["subgroup"] + ", of which it is not known how long they had been taken"
    assert_readable(by_subgroup(table, labels=LONG))


def test_adverse_events_are_drawn_by_arm(words):
    counts = events()
    figure = adverse(counts)
    [axes] = figure.axes
    control, treated = axes.lines[-2:]
    for line, arm in ((control, "control"), (treated, "treated")):
        part = counts[counts["arm"] == arm].set_index("endpoint")["percent"]
        drawn = line.get_xdata()
        assert sorted(drawn) == pytest.approx(sorted(part))
        assert drawn[0] == part["adverse_event"]
        assert drawn[1] == part["serious_adverse_event"]
    assert control.get_marker() != treated.get_marker()
    texts = words(figure)
    assert {"Any", "Serious", "Grade 2 or above", "Grade 3 or above", "Term 00", "8/8 (100 %)"} <= set(texts)
    assert axes.get_xlim()[0] == 0


def test_the_most_frequent_terms_come_first_and_few_are_shown(words, assert_readable):
    figure = adverse(events(18))
    texts = words(figure)
    assert "15 most frequent of 18 terms" in texts
    assert [text for text in texts if text.startswith("Term")] == [f"Term {k:02d}" for k in range(15)]
    assert height(figure, "Term 00") > height(figure, "Term 14")
    assert_readable(figure)


def test_a_trial_without_adverse_events_can_be_drawn(words):
    nothing = pd.DataFrame({"patient": [], "term": [], "grade": [], "serious": []})
    figure = adverse(adverse_events(nothing, [0, 1], [1.0, 1.0]).counts)
    assert {"Any", "Serious", "0/1 (0 %)"} <= set(words(figure))
    assert plots.to_png(figure)[:4] == b"\x89PNG"
