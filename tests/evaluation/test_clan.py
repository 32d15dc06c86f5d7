import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from il7ml.errors import InputError
from il7ml.evaluation.clan import classification_analysis


def shares(first, n_first, last, n_last):
    """Return a table for `first` of `n_first` patients in the first group, and likewise in the last."""
    yes = np.r_[np.arange(n_first) < first, np.arange(n_last) < last]
    return classification_analysis(pd.DataFrame({"yes": yes}), np.repeat([0.0, 1.0], [n_first, n_last]), groups=2)


def test_means_agree_with_welch():
    rng = np.random.default_rng(0)
    age, effect = rng.normal(60, 12, 101), rng.normal(size=101)
    row = classification_analysis(pd.DataFrame({"age": age}), effect, level=0.9).iloc[0]
    order = np.argsort(effect)
    first, last = age[order[:25]], age[order[-int(row["n_last"]) :]]
    assert row["n_first"] == 25
    welch = stats.ttest_ind(last, first, equal_var=False)
    assert row["difference"] == pytest.approx(last.mean() - first.mean())
    np.testing.assert_allclose(row[["low", "high"]].astype(float), welch.confidence_interval(0.9))
    assert row["standardised"] == pytest.approx(row["difference"] / age.std())
    assert row["standardised_high"] == pytest.approx(row["high"] / age.std())


@pytest.mark.parametrize(
    ("last", "n_last", "first", "n_first", "low", "high"),
    [
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (6, 7, 2, 7, 0.0582, 0.8062),
        (5, 56, 0, 29, -0.0381, 0.1926),
        (0, 10, 0, 10, -0.2775, 0.2775),
    ],
)
def test_shares_agree_with_newcombes_published_intervals(last, n_last, first, n_first, low, high):
    row = shares(first, n_first, last, n_last).iloc[0]
    assert (row["n_first"], row["n_last"]) == (n_first, n_last)
    assert (row["low"], row["high"]) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))
    reference = confint_proportions_2indep(last, n_last, first, n_first, method="newcomb", compare="diff")
    assert (row["low"], row["high"]) == (pytest.approx(reference[0]), pytest.approx(reference[1]))


def test_categories_have_a_row_each_in_their_order():
    ward = pd.Categorical(["b", "a", "a", None], categories=["b", "a"])
    table = classification_analysis(pd.DataFrame({"ward": ward, "sex": list("fmfm")}), [0, 1, 2, 3], groups=2)
    assert table[["variable", "category"]].to_numpy().tolist() == [
        ["ward", "b"], ["ward", "a"], ["sex", "f"], ["sex", "m"],
    ]  # fmt: skip
    assert table["first"].tolist() == [0.5, 0.5, 0.5, 0.5]
    assert table["last"].tolist() == [0.0, 1.0, 0.5, 0.5]
    assert table["n_last"].tolist() == [1, 1, 2, 2]  # one ward is missing


def test_missing_values_are_left_out():
    values = pd.DataFrame({"ferritin": [1.0, np.nan, 3.0, 5.0, 7.0, np.nan]})
    row = classification_analysis(values, np.arange(6.0), groups=2).iloc[0]
    assert (row["n_first"], row["n_last"], row["first"], row["last"]) == (2, 2, 2.0, 6.0)


def test_a_variable_that_does_not_vary_has_no_standardised_difference():
    row = classification_analysis(pd.DataFrame({"unit": np.full(40, 7.5)}), np.arange(40.0)).iloc[0]
    assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)
    assert np.isnan(row["standardised"])


def test_equal_predictions_make_no_groups():
    row = classification_analysis(pd.DataFrame({"age": np.arange(20.0)}), np.zeros(20)).iloc[0]
    assert row[["first", "last", "difference", "low", "high"]].isna().all()


def test_repeats_are_joined_by_medians():
    rng = np.random.default_rng(1)
    baseline, effect = pd.DataFrame({"age": rng.normal(size=80)}), rng.normal(size=(3, 80))
    single = [classification_analysis(baseline, one, level=0.975)["low"].item() for one in effect]
    assert classification_analysis(baseline, effect)["low"].item() == pytest.approx(np.median(single))


def test_intervals_cover_the_true_difference():
    # Normal age, correlated 0.5 with the prediction: quarters differ by 0.5 * 2 * density(quartile) / 0.25. The bound
    # is the nominal level less 4 Monte-Carlo standard errors.
    truth, rng, trials = 0.5 * 2 * stats.norm.pdf(stats.norm.ppf(0.75)) / 0.25, np.random.default_rng(2), 400
    covered = 0
    for _ in range(trials):
        predicted = rng.normal(size=108)
        age = 0.5 * predicted + np.sqrt(0.75) * rng.normal(size=108)
        row = classification_analysis(pd.DataFrame({"age": age}), predicted).iloc[0]
        covered += row["low"] <= truth <= row["high"]
    assert covered / trials >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / trials)


def test_one_group_is_refused():
    with pytest.raises(InputError, match="2 or more"):
        classification_analysis(pd.DataFrame({"age": [1.0, 2.0]}), [0, 1], groups=1)


def test_lengths_must_agree():
    with pytest.raises(InputError, match="effect"):
        classification_analysis(pd.DataFrame({"age": [1.0, 2.0]}), [0, 1, 2])
