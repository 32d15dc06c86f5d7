import pytest

from il7ml.app.drawing import LEFT, WIDTH, Bar, chart_around_zero, chart_from_zero


def test_places_follow_values():
    chart = chart_from_zero([Bar("a", "A", 30.0, 10.0, 90.0)], "%", 100.0)
    (bar,) = chart.bars
    inner = WIDTH - 2 * LEFT
    assert (bar.start, bar.width) == (LEFT, 0.3 * inner)
    assert (bar.low, bar.high) == (LEFT + 0.1 * inner, LEFT + 0.9 * inner)


def test_a_negative_bar_lies_left_of_zero():
    chart = chart_around_zero([Bar("a", "A", -5.0)], "points")
    assert chart.zero == WIDTH / 2
    assert chart.bars[0].start + chart.bars[0].width == chart.zero
    assert chart.bars[0].low is None


@pytest.mark.parametrize(
    ("largest", "end"), [(0.0, 1), (1.0, 1), (1.01, 2), (19.9, 20), (20.0, 20), (21, 40), (60, 100), (0.003, 0.004)]
)
def test_the_axis_ends_at_a_round_number_that_nothing_exceeds(largest, end):
    chart = chart_around_zero([Bar("a", "A", 0.0, -largest, 0.0)], "points")
    assert float(chart.ticks[-1].text) == pytest.approx(end)
