import numpy as np
import pytest
from scipy import stats

from il7ml.errors import InputError
from il7ml.evaluation.selection import MORE_COMPLEX, select_model


def test_the_paired_standard_error_is_that_of_the_paired_test():
    rng = np.random.default_rng(1)
    simple = rng.normal(size=80)
    complicated = simple - 0.1 + 0.3 * rng.normal(size=80)
    table = select_model({"a": simple, "b": complicated}, ["a", "b"], "b").table.set_index("model")
    reference = stats.ttest_rel(simple, complicated)
    row = table.loc["a"]
    assert row["difference"] / row["std_error"] == pytest.approx(reference.statistic * np.sqrt(80 / 79))
    assert table.loc["b", "difference"] == 0


@pytest.mark.parametrize(("errors", "name"), [(MORE_COMPLEX + 0.1, "boosted"), (MORE_COMPLEX - 0.1, "regression")])
def test_a_more_complex_model_must_be_better_beyond_luck(errors, name):
    rng = np.random.default_rng(2)
    regression, noise = rng.normal(size=200), rng.normal(size=200)
    noise = (noise - noise.mean()) / noise.std()
    boosted = regression + noise - errors / np.sqrt(200)
    selection = select_model({"regression": regression, "boosted": boosted}, ["regression", "boosted"], "regression")
    assert (selection.name, selection.best) == (name, "boosted")


def test_a_simpler_model_that_is_better_takes_the_place_of_the_reference():
    rng = np.random.default_rng(3)
    rate = rng.normal(size=100)
    wide = rng.normal(size=100)
    losses = {
        "prevalence": rate,
        "regression": rate + 1e-6 + 0 * wide,
        "boosted": rate - 0.01 + 5 * (wide - wide.mean()),
    }
    selection = select_model(losses, list(losses), "regression")
    assert (selection.name, selection.best) == ("prevalence", "boosted")
    table = selection.table.set_index("model")
    assert table["beats_reference"].to_dict() == {"prevalence": True, "regression": False, "boosted": False}


def test_of_several_better_models_the_best_is_taken():
    flat = np.zeros(50)
    losses = {"rate": flat - 0.1, "count": flat - 0.2, "regression": flat, "boosted": flat - 0.15}
    assert select_model(losses, list(losses), "regression").name == "count"


@pytest.mark.parametrize(("errors", "name"), [(MORE_COMPLEX + 0.1, "boosted"), (MORE_COMPLEX - 0.1, "rate")])
def test_a_complex_model_is_held_against_the_simpler_one_that_beats_the_regression(errors, name):
    """A bent relation is missed by the regression, which the event rate then beats; trees may still find it."""
    rng = np.random.default_rng(4)
    rate, noise = rng.normal(size=(2, 200))
    noise = (noise - noise.mean()) / noise.std()
    losses = {"rate": rate, "regression": rate + 0.5, "boosted": rate + noise - errors / np.sqrt(200)}
    selection = select_model(losses, list(losses), "regression")
    assert (selection.name, selection.best) == (name, "boosted")


def test_a_tie_goes_to_the_reference():
    losses = {"rate": np.ones(9), "regression": np.ones(9), "boosted": np.ones(9)}
    assert select_model(losses, list(losses), "regression").name == "regression"


def test_repeats_are_averaged_before_the_error_is_taken():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 5, 60))
    repeated = select_model({"a": a, "b": b}, ["a", "b"], "a").table
    averaged = select_model({"a": a.mean(axis=0), "b": b.mean(axis=0)}, ["a", "b"], "a").table
    np.testing.assert_allclose(repeated["std_error"], averaged["std_error"])
    np.testing.assert_allclose(repeated["loss"], averaged["loss"])


def test_weights_leave_unknown_outcomes_out():
    a, b = np.array([1.0, 2.0, np.nan, 3.0]), np.array([2.0, 2.0, np.nan, 4.0])
    table = select_model({"a": a, "b": b}, ["a", "b"], "a", weight=[2, 1, 0, 1]).table.set_index("model")
    assert table.loc["a", "loss"] == pytest.approx((2 + 2 + 3) / 4)
    assert table.loc["b", "difference"] == pytest.approx(3 / 4)
    # Differences 1, 0, 1 with shares 1/2, 1/4, 1/4 about their mean 3/4.
    variance = (1 / 2) ** 2 * (1 / 4) ** 2 + (1 / 4) ** 2 * (3 / 4) ** 2 + (1 / 4) ** 2 * (1 / 4) ** 2
    assert table.loc["b", "std_error"] == pytest.approx(np.sqrt(variance))


def test_the_order_must_name_all_models():
    with pytest.raises(InputError, match="order"):
        select_model({"a": [1.0], "b": [2.0]}, ["a", "c"], "a")
    with pytest.raises(InputError, match="reference"):
        select_model({"a": [1.0], "b": [2.0]}, ["a", "b"], "c")
