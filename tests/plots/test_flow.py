import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import FancyArrowPatch, Rectangle

from il7ml import plots

LABELS = {"control": "Placebo", "treated": "IL-7 (CYT107)"}
LONG = {
    "control": "Placebo plus standard of care as in each country",
    "treated": "Recombinant human interleukin-7 (CYT107), 10 µg/kg twice a week",
}
FLOW = pd.DataFrame(
    [
        ("Patients in the tables", np.nan, np.nan, 112),
        ("Randomised", 54, 55, 109),
        ("Received at least one dose of the treatment that was allocated to them", 53, 55, 108),
        ("Analysed", np.nan, np.nan, 109),
    ],
    columns=["step", "control", "treated", "total"],
)


def boxes_of(figure):
    return [artist for artist in figure.patches + figure.artists if type(artist) is Rectangle
            and artist.get_edgecolor() != artist.get_facecolor()]  # fmt: skip


def arrows_of(figure):
    return [artist for artist in figure.artists if isinstance(artist, FancyArrowPatch)]


def draw(flow=FLOW, labels=LABELS):
    return plots.flow_figure(flow, labels, "Flow (simulated patients)")


def test_steps_by_arm_have_a_box_an_arm(words):
    figure = draw()
    assert len(boxes_of(figure)) == 1 + 2 + 2 + 1
    texts = words(figure)
    assert texts.count("Placebo") == texts.count("IL-7 (CYT107)") == 1  # where the arms part
    assert "Randomised\nn = 54" in texts
    assert "Randomised\nn = 55" in texts
    assert "Patients in the tables\nn = 112" in texts
    assert "Analysed\nn = 109" in texts


def test_arrows_lead_down_from_step_to_step():
    figure = draw()
    arrows = arrows_of(figure)
    assert len(arrows) == 2 + 2 + 2
    for arrow in arrows:
        (x, y), (to_x, to_y) = arrow._posA_posB
        assert x == to_x
        assert to_y < y


def test_texts_lie_within_their_boxes():
    figure = draw(labels=LONG)
    figure.draw_without_rendering()
    frames = [box.get_window_extent() for box in boxes_of(figure)]
    for text in figure.texts[1:]:
        extent = text.get_window_extent()
        inside = [f.x0 < extent.x0 and f.x1 > extent.x1 and f.y0 < extent.y0 and f.y1 > extent.y1 for f in frames]
        assert inside.count(True) == 1, text.get_text()


@pytest.mark.parametrize("labels", [LABELS, LONG], ids=["short", "long"])
def test_no_text_is_cut_off_or_lies_on_another(labels, assert_readable):
    assert_readable(draw(labels=labels))


def test_blank_cells_are_as_good_as_missing_ones():
    blank = FLOW.astype(object).where(FLOW.notna(), "")
    assert plots.to_png(draw(blank)) == plots.to_png(draw())


def test_a_step_of_one_arm_has_one_box(words):
    flow = pd.concat([FLOW.head(2), pd.DataFrame([("Crossed over", 2, np.nan, np.nan)], columns=FLOW.columns)])
    figure = draw(flow)
    assert len(boxes_of(figure)) == 1 + 2 + 1
    assert "Crossed over\nn = 2" in words(figure)
