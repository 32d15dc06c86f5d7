import numpy as np
import pandas as pd
import pytest

from il7ml import plots
from il7ml.evaluation import compare_models

NAMES = {"auroc": "AUROC", "log_loss": "Log loss", "net_benefit": "Net benefit"}


def draw(labels=("Regression", "Event rate")):
    rng = np.random.default_rng(1)
    risk = rng.uniform(0.05, 0.95, 200)
    y = rng.binomial(1, risk)
    table = compare_models(y, risk, np.full(200, 0.5), "binary", thresholds=(0.2, 0.4))
    return table, plots.comparison_figure(table, labels, NAMES, "A comparison")


def texts(figure):
    return [text.get_text() for text in figure.texts]


def test_each_measure_has_an_axis_on_which_the_better_first_model_lies_to_the_right():
    table, figure = draw()
    assert len(figure.axes) == table["metric"].nunique() == 4
    for axes, (_, rows) in zip(figure.axes, table.groupby("metric", sort=False), strict=True):
        marks = [line for line in axes.lines if line.get_marker() == "s"]
        places = [float(axes.transData.transform((mark.get_xdata()[0], 0))[0]) for mark in marks]
        zero = float(axes.transData.transform((0, 0))[0])
        better = np.where(rows["higher_is_better"], rows["difference"], -rows["difference"]) > 0
        assert [place > zero for place in places] == better.tolist()
        assert [mark.get_xdata()[0] for mark in marks] == rows["difference"].tolist()


def test_intervals_lie_inside_their_axes():
    table, figure = draw()
    for axes, (_, rows) in zip(figure.axes, table.groupby("metric", sort=False), strict=True):
        low, high = sorted(axes.get_xlim())
        assert low < rows["low"].min()
        assert rows["high"].max() < high


def test_measures_and_models_are_named():
    _, figure = draw()
    words = texts(figure)
    assert {"AUROC", "Log loss", "Net benefit at 0.2", "Net benefit at 0.4", "brier"} <= set(words)
    notes = [text.get_text() for text in figure.axes[-1].texts]
    assert notes == ["Regression\nis better →", "← Event rate\nis better"]


def test_a_model_and_itself_can_be_drawn():
    table = compare_models([0, 1, 0, 1], [0.1, 0.4, 0.35, 0.8], [0.1, 0.4, 0.35, 0.8], "binary")
    assert plots.to_png(plots.comparison_figure(table, ("A", "A"), {}, "Itself")).startswith(b"\x89PNG")


@pytest.fixture
def candidates():
    return pd.DataFrame(
        {
            "candidate": ["folds=5", "folds=3", "folds=4"],
            "risk_model": ["Regression", "Regression", "XGBoost"],
            "estimate": [0.6, 0.62, np.nan],
            "low": [0.5, 0.52, np.nan],
            "high": [0.7, 0.72, np.nan],
            "best": [True, False, False],
        }
    )


def test_a_sweep_shows_every_candidate_and_the_best_in_another_colour(candidates):
    figure = plots.sweep_figure(candidates, "Log loss", "A sweep", "A warning.")
    (axes,) = figure.axes
    marks = [line for line in axes.lines if line.get_marker() == "s"]
    assert [mark.get_xdata()[0] for mark in marks] == pytest.approx([0.6, 0.62, np.nan], nan_ok=True)
    colours = [mark.get_color() for mark in marks]
    assert colours[0] != colours[1] == colours[2]
    assert {"folds=5", "folds=3", "folds=4", "not estimable", "A warning."} <= set(texts(figure))
    assert axes.get_xlabel() == "Log loss"


def test_without_a_best_there_is_no_line_for_it(candidates):
    figure = plots.sweep_figure(candidates.assign(best=False), "Log loss", "A sweep", "")
    assert [line for line in figure.axes[0].lines if line.get_linestyle() == "--"] == []
