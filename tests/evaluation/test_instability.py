import numpy as np
import pytest

from il7ml.errors import InputError
from il7ml.evaluation.calibration import calibration_curve
from il7ml.evaluation.instability import calibration_instability, prediction_instability


def test_a_table_worked_by_hand():
    final = [0.1, 0.4, 0.6]
    models = [[0.2, 0.5, 0.6], [0.1, 0.3, 0.4], [0.0, 0.6, 0.7], [0.1, 0.4, 0.6]]
    result = prediction_instability(final, models, thresholds=[0.5, 0.05], groups=3, level=1.0)
    # Mean distances by patient: 0.2/4, 0.4/4, 0.3/4.
    np.testing.assert_allclose(result.groups["mean_absolute_prediction_error"], [0.05, 0.1, 0.075])
    assert result.mean_absolute_prediction_error == pytest.approx(0.075)
    np.testing.assert_allclose(result.groups["width_q50"], [0.2, 0.3, 0.3])
    assert result.models == 4
    # At 0.05 the third model puts the first patient below; at 0.5 two models lift the second patient to it or above,
    # and one takes the third below.
    assert result.flips.round(6).values.tolist() == [[0.05, 1.0, 0.083333, 0.333333], [0.5, 0.333333, 0.25, 0.666667]]


def test_widths_are_those_of_the_models_distribution():
    rng = np.random.default_rng(1)
    scale = rng.uniform(0.1, 1, 500)
    final = np.arange(500.0)
    result = prediction_instability(final, final + scale * rng.normal(size=(3000, 500)), groups=1)
    row = result.groups.iloc[0]
    # A normal spread has mean distance sqrt(2 / pi) and central 95 % of width 3.92 standard deviations.
    assert row["mean_absolute_prediction_error"] == pytest.approx(np.sqrt(2 / np.pi) * scale.mean(), rel=0.01)
    widths = row[["width_q25", "width_q50", "width_q75"]].astype(float)
    np.testing.assert_allclose(widths, 3.92 * np.quantile(scale, [0.25, 0.5, 0.75]), rtol=0.03)


def test_a_patient_is_unstable_from_more_than_a_tenth_of_the_models_on():
    models = np.full((20, 2), 0.4)
    models[:2, 0] = models[:3, 1] = 0.6
    flips = prediction_instability([0.4, 0.4], models, thresholds=[0.5]).flips
    assert flips["flips"].tolist() == pytest.approx([(0.1 + 0.15) / 2])
    assert flips["share_unstable"].tolist() == [0.5]


def test_models_that_agree_are_stable():
    final = np.linspace(0.1, 0.9, 50)
    result = prediction_instability(final, np.tile(final, (5, 1)), thresholds=[0.3, 0.5])
    assert result.mean_absolute_prediction_error == 0
    assert result.groups["n"].tolist() == [5] * 10
    np.testing.assert_allclose(result.groups["width_q75"], 0, atol=1e-12)
    assert (result.flips[["flips", "share_unstable"]] == 0).all(axis=None)


def test_without_thresholds_there_are_no_flips():
    assert prediction_instability([0.1, 0.2], [[0.1, 0.2], [0.2, 0.1]]).flips.empty


def test_calibration_curves_are_those_of_each_model():
    rng = np.random.default_rng(2)
    final = rng.uniform(0.1, 0.9, 120)
    y = (rng.random(120) < final).astype(float)
    models = [np.clip(final + 0.05, 0, 1), final**1.3]
    curves = calibration_instability(y, final, models, "binary")
    assert curves["model"].unique().tolist() == [0, 1, 2]
    reference = calibration_curve(y, models[1], "binary").curve
    np.testing.assert_allclose(curves.loc[curves["model"] == 2, "observed"], reference["observed"])


@pytest.mark.parametrize(
    ("final", "models", "said"),
    [
        ([0.1, 0.2], [0.1, 0.2], "at least 2 bootstrap models, got 1 and 1"),
        ([[0.1, 0.2]] * 2, [[0.1, 0.2]] * 2, "one final model"),
        ([0.1, 0.2], [[0.1, 0.2, 0.3]] * 2, "bootstrap: expected shape"),
        ([0.1, 0.2], [[0.1, np.nan]] * 2, "finite"),
    ],
)
def test_shapes_are_checked(final, models, said):
    with pytest.raises(InputError, match=said):
        prediction_instability(final, models)
