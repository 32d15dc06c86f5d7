import numpy as np
import pytest
from matplotlib.colors import to_rgb

from il7ml.plots.canvas import ARM_LOOKS, canvas, log_axis, sheet, text_width, wrap


def ticks_within(low, high):
    _, axes = canvas("", 4, 3)
    log_axis(axes, "y", low, high)
    return [label.get_text() for label in axes.get_yticklabels()], axes


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.05, 20, ["0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10", "20"]),
        (0.9, 1.2e4, ["1", "10", "100", "1000", "10000"]),
        (0.45, 1.6, ["0.5", "0.7", "1", "1.5"]),
        (0.85, 1.25, ["0.9", "1", "1.1", "1.2"]),
    ],
)
def test_logarithmic_ticks_are_few_round_and_plainly_written(low, high, expected):
    labels, axes = ticks_within(low, high)
    assert labels == expected
    np.testing.assert_allclose(axes.get_yticks(), [float(label) for label in labels])
    assert axes.get_yscale() == "log"
    assert axes.get_ylim() == (low, high)


@pytest.mark.parametrize("text", ["Patients measured", "interaction", "IL-7 (CYT107), 10 µg/kg"])
@pytest.mark.parametrize("weight", ["normal", "bold"])
def test_the_width_of_a_text_is_at_least_what_is_drawn_and_hardly_more(text, weight):
    figure = sheet("", 6, 2)
    drawn = figure.text(0, 0, text, fontsize=9, weight=weight).get_window_extent().width / figure.dpi
    assert drawn <= text_width(text, weight=weight) <= 1.1 * drawn


def test_the_width_of_lines_is_that_of_the_longest():
    assert text_width("a\nlonger line\nb") == text_width("longer line")
    assert text_width("") == 0


def test_wrapping_keeps_breaks_and_words():
    assert wrap("one two three\nfour", 8) == "one two\nthree\nfour"


def test_arms_differ_without_colours():
    control, treated = ARM_LOOKS["control"], ARM_LOOKS["treated"]
    assert (control.line, control.marker, control.face) != (treated.line, treated.marker, treated.face)
    grey = [np.dot(to_rgb(look.face), [0.299, 0.587, 0.114]) for look in (control, treated)]
    assert abs(grey[0] - grey[1]) > 0.4


def test_a_long_title_stays_whole_above_the_content():
    title = "Course of inflammatory markers and lung function " * 4 + "(simulated patients)"
    figure = sheet(title, 5, 1)
    figure.draw_without_rendering()
    [text] = figure.texts
    box = text.get_window_extent()
    assert text.get_text().replace("\n", " ") == title
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert 1 * figure.dpi <= box.y0 < box.y1 <= figure.bbox.y1
