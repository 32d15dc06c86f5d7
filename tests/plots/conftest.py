from itertools import combinations

import pytest


def texts_of(figure):
    """Return all texts that are seen: those of the figure, its legends and axes, ticks within the limits."""
    figure.draw_without_rendering()
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        found += [*axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = axis.get_major_ticks()
            found += [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


@pytest.fixture
def assert_readable():
    """Return a check that no text is cut off or lies on another, and that the smallest can be read."""

    def check(figure):
        texts = texts_of(figure)
        boxes = [text.get_window_extent() for text in texts]
        assert min(text.get_fontsize() for text in texts) >= 8
        for text, box in zip(texts, boxes, strict=True):
            inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
            assert inside, f"cut off: {text.get_text()!r}"
        for (one, first), (other, second) in combinations(zip(texts, boxes, strict=True), 2):
            across = min(first.x1, second.x1) - max(first.x0, second.x0)
            up = min(first.y1, second.y1) - max(first.y0, second.y0)
            # Boxes hold the room for letters that reach down, which lines below may use.
            assert across <= 0 or up <= 3, f"{one.get_text()!r} lies on {other.get_text()!r}"

    return check


@pytest.fixture
def words():
    """Return a function that gives all texts of a figure."""
    return lambda figure: [text.get_text() for text in texts_of(figure)]
