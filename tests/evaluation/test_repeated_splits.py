import numpy as np
import pandas as pd
import pytest

from il7ml.errors import InputError
from il7ml.evaluation.effect_calibration import best_linear_predictor, group_effects
from il7ml.evaluation.effects import DoublyRobustScores
from il7ml.evaluation.repeated_splits import median_over_splits, split_level


def split(**columns):
    return pd.DataFrame({"term": ["slope"], **{name: [value] for name, value in columns.items()}})


def test_worked_by_hand():
    splits = [
        split(estimate=1.0, std_error=0.5, low=0.1, high=1.9, p_value=0.03),
        split(estimate=0.4, std_error=0.6, low=-0.8, high=1.6, p_value=0.40),
        split(estimate=0.8, std_error=0.4, low=0.0, high=1.5, p_value=0.05),
    ]
    row = median_over_splits(splits, ["term"]).iloc[0]
    assert row.to_dict() == {
        "term": "slope", "estimate": 0.8, "std_error": 0.5, "low": 0.0, "high": 1.6, "p_value": pytest.approx(0.10),
    }  # fmt: skip


def test_p_is_one_at_most():
    assert median_over_splits([split(p_value=0.7), split(p_value=0.9)], ["term"])["p_value"].item() == 1.0


def test_a_single_split_comes_back_unchanged():
    single = split(estimate=0.5, p_value=0.2)
    pd.testing.assert_frame_equal(median_over_splits([single], ["term"]), single)


def test_it_is_the_rule_of_the_best_linear_predictor():
    rng = np.random.default_rng(0)
    scores, effect = rng.normal(size=120), rng.normal(size=(7, 120))
    splits = [best_linear_predictor(scores, repeat, split_level(0.95, 7)) for repeat in effect]
    joined, reference = median_over_splits(splits, ["term"]), best_linear_predictor(scores, effect)
    pd.testing.assert_frame_equal(joined, reference)


def test_group_effects_keep_their_groups_and_whole_sizes():
    rng = np.random.default_rng(1)
    effect = rng.normal(size=110)
    scores = DoublyRobustScores(effect, np.zeros(110), effect)
    rankings = rng.normal(size=(4, 110))
    splits = [group_effects(scores, ranking, level=0.975) for ranking in rankings]
    joined = median_over_splits(splits, ["group"])
    assert joined["group"].tolist() == [1, 2, 3, 4]
    assert joined["n"].dtype.kind == "i"
    second = [table["low"].iloc[1] for table in splits]
    assert joined["low"].iloc[1] == pytest.approx(np.median(second))


def test_a_split_that_knows_nothing_widens_the_limits():
    known = [split(estimate=0.3, low=0.1, high=0.5, p_value=0.01), split(estimate=0.4, low=0.2, high=0.6, p_value=0.02)]
    nothing = split(estimate=np.nan, low=np.nan, high=np.nan, p_value=np.nan)
    row = median_over_splits([*known, nothing], ["term"]).iloc[0]
    assert row["low"] == 0.1  # the middle of -inf, 0.1 and 0.2
    assert row["high"] == 0.6
    assert row["p_value"] == 0.04
    assert row["estimate"] == pytest.approx(0.35)
    half = median_over_splits([known[0], nothing], ["term"]).iloc[0]
    assert half[["low", "high", "p_value"]].isna().all()


def test_a_row_that_a_split_lacks_counts_as_knowing_nothing():
    two = pd.DataFrame({"group": [1, 2], "n": [5, 5], "low": [0.1, 0.2]})
    joined = median_over_splits([two.head(1), two, two.assign(low=[0.3, 0.4])], ["group"])
    assert joined["low"].tolist() == [0.1, 0.2]
    assert joined["group"].tolist() == [1, 2]


def test_p_holds_its_size_under_the_dependence_that_inflates_the_median_most():
    # Three uniform P values, of which two are small together in 7.5 % of trials: each is still uniform.
    rng, level, trials = np.random.default_rng(2), 0.05, 20000
    small = rng.random(trials) < 1.5 * level
    p = rng.uniform(level, 1, (3, trials))
    pair = np.array([rng.permutation(3)[:2] for _ in range(trials)])
    for place in (0, 1):
        p[pair[small, place], np.flatnonzero(small)] = rng.uniform(0, level, small.sum())
    error = 4 * np.sqrt(0.05 * 0.95 / trials)
    assert np.mean(p[0] <= level) == pytest.approx(level, abs=error)
    assert np.mean(np.median(p, axis=0) <= level) > level + error  # what doubling is for
    table = [pd.DataFrame({"trial": range(trials), "p_value": column}) for column in p]
    assert np.mean(median_over_splits(table, ["trial"])["p_value"] <= level) <= level


@pytest.mark.parametrize(
    ("tables", "keys", "message"),
    [
        ([], ["term"], "got none"),
        ([split(low=1.0), split(high=1.0)], ["term"], "same columns"),
        ([split(low=1.0)], ["group"], "keys"),
        ([split(low=1.0)], [], "keys"),
        ([pd.concat([split(low=1.0)] * 2)] * 2, ["term"], "one row for each"),
    ],
)
def test_tables_that_cannot_be_joined_are_refused(tables, keys, message):
    with pytest.raises(InputError, match=message):
        median_over_splits(tables, keys)
