import numpy as np
import pytest
from scipy import stats

from il7ml.errors import InputError
from il7ml.evaluation.selection import select_simplest


def test_the_paired_standard_error_is_that_of_the_paired_test():
    rng = np.random.default_rng(1)
    simple = rng.normal(size=80)
    complicated = simple - 0.1 + 0.3 * rng.normal(size=80)
    table = select_simplest({"a": simple, "b": complicated}, ["a", "b"]).table.set_index("model")
    reference = stats.ttest_rel(simple, complicated)
    row = table.loc["a"]
    assert row["difference"] / row["std_error"] == pytest.approx(reference.statistic * np.sqrt(80 / 79))
    assert table.loc["b", "difference"] == 0


def test_a_clear_gain_is_taken_and_a_doubtful_one_is_not():
    rng = np.random.default_rng(2)
    simple, noise = rng.normal(size=200), rng.normal(size=200)
    noise -= noise.mean()
    clear = select_simplest({"simple": simple, "boosted": simple - 0.3 + noise}, ["simple", "boosted"])
    doubtful = select_simplest({"simple": simple, "boosted": simple - 0.03 + noise}, ["simple", "boosted"])
    assert (clear.name, clear.best) == ("boosted", "boosted")
    assert (doubtful.name, doubtful.best) == ("simple", "boosted")


def test_a_model_worse_than_a_simpler_one_is_never_chosen():
    wide = np.array([-3.0, 3.0] * 50)
    losses = {"prevalence": np.full(100, 1.0), "wild": 1.05 + wide, "best": np.full(100, 0.9)}
    selection = select_simplest(losses, ["prevalence", "wild", "best"])
    table = selection.table.set_index("model")
    assert table.loc["wild", "within_one_se"]
    assert not table.loc["wild", "no_simpler_is_better"]
    assert selection.name == "best"


def test_repeats_are_averaged_before_the_error_is_taken():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 5, 60))
    repeated = select_simplest({"a": a, "b": b}, ["a", "b"]).table
    averaged = select_simplest({"a": a.mean(axis=0), "b": b.mean(axis=0)}, ["a", "b"]).table
    np.testing.assert_allclose(repeated["std_error"], averaged["std_error"])
    np.testing.assert_allclose(repeated["loss"], averaged["loss"])


def test_weights_leave_unknown_outcomes_out():
    a, b = np.array([1.0, 2.0, np.nan, 3.0]), np.array([2.0, 2.0, np.nan, 4.0])
    table = select_simplest({"a": a, "b": b}, ["a", "b"], weight=[2, 1, 0, 1]).table.set_index("model")
    assert table.loc["a", "loss"] == pytest.approx((2 + 2 + 3) / 4)
    assert table.loc["b", "difference"] == pytest.approx(3 / 4)
    # Differences 1, 0, 1 with shares 1/2, 1/4, 1/4 about their mean 3/4.
    variance = (1 / 2) ** 2 * (1 / 4) ** 2 + (1 / 4) ** 2 * (3 / 4) ** 2 + (1 / 4) ** 2 * (1 / 4) ** 2
    assert table.loc["b", "std_error"] == pytest.approx(np.sqrt(variance))


def test_the_order_must_name_all_models():
    with pytest.raises(InputError, match="order"):
        select_simplest({"a": [1.0], "b": [2.0]}, ["a", "c"])
