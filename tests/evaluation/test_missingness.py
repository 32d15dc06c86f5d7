import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from il7ml.errors import InputError
from il7ml.evaluation.missingness import missingness_audit


@pytest.fixture
def trial():
    rng = np.random.default_rng(1)
    n = 120
    values = pd.DataFrame(
        {
            "age": rng.normal(60, 10, n),
            "lactate": rng.normal(2, 1, n),
            "ferritin": rng.normal(900, 100, n),
            "respiratory_support": rng.choice(["none", "ventilation"], n),
        },
        index=np.arange(500, 500 + n),
    )
    arm = np.where(np.arange(n) % 2 == 0, "il7", "placebo")
    y = (np.arange(n) % 3 == 0).astype(float)
    values.loc[values.index[(y == 1) & (rng.random(n) < 0.5)], "lactate"] = np.nan
    values.loc[values.index[rng.random(n) < 0.2], "ferritin"] = np.nan
    values.loc[values.index[:5], "respiratory_support"] = None
    return values, arm, y


def test_shares_are_counts_by_arm(trial):
    values, arm, _ = trial
    shares = missingness_audit(values, arm).shares.set_index(["variable", "arm"])
    assert shares.loc[("respiratory_support", "all"), ["n", "missing"]].tolist() == [120, 5]
    assert shares.loc[("respiratory_support", "il7"), ["n", "missing"]].tolist() == [60, 3]
    assert shares.loc[("respiratory_support", "placebo"), "share"] == pytest.approx(2 / 60)
    assert (shares.loc["age", "missing"] == 0).all()


def test_complete_patients_are_counted(trial):
    values, arm, _ = trial
    complete = missingness_audit(values, arm).complete.set_index("arm")
    kept = values.dropna()
    assert complete.loc["all", "complete"] == len(kept)
    assert complete.loc["il7", "share"] == pytest.approx((kept.index % 2 == 0).sum() / 60)


def test_tests_are_fishers_with_holms_adjustment(trial):
    values, arm, y = trial
    tests = missingness_audit(values, arm, y).tests
    incomplete = ["lactate", "ferritin", "respiratory_support"]
    for against, held in (("arm", arm), ("outcome", y)):
        rows = tests[tests["against"] == against]
        assert rows["variable"].tolist() == incomplete
        p_values = [
            stats.fisher_exact(pd.crosstab(values[name].isna().to_numpy(), held).to_numpy()).pvalue
            for name in incomplete
        ]
        np.testing.assert_allclose(rows["p_value"], p_values)
        np.testing.assert_allclose(rows["p_holm"], multipletests(p_values, method="holm")[1])
    # Lactate was made to be missing only in patients with the outcome.
    assert tests.query("variable == 'lactate' and against == 'outcome'")["p_holm"].item() < 0.001


def test_other_outcomes_are_ranked(trial):
    values, arm, _ = trial
    outcome = np.random.default_rng(2).poisson(1.5, 120)
    tests = missingness_audit(values, arm, outcome, "count").tests.query("against == 'outcome'").set_index("variable")
    lacks = values["ferritin"].isna().to_numpy()
    reference = stats.mannwhitneyu(outcome[lacks], outcome[~lacks]).pvalue
    assert tests.loc["ferritin", "p_value"] == pytest.approx(reference)


def test_unknown_outcomes_are_left_out(trial):
    values, arm, y = trial
    known = np.arange(120) >= 40
    tests = missingness_audit(values, arm, np.where(known, y, np.nan), weight=known).tests
    reference = missingness_audit(values[known], arm[known], y[known]).tests.set_index(["variable", "against"])
    found = tests.set_index(["variable", "against"])
    assert found.loc[("lactate", "outcome"), "p_value"] == reference.loc[("lactate", "outcome"), "p_value"]
    # All patients with an unknown support have an unknown outcome: nothing is left to test.
    assert np.isnan(found.loc[("respiratory_support", "outcome"), ["p_value", "p_holm"]].astype(float)).all()


def test_complete_data_need_no_test(trial):
    values, arm, y = trial
    assert missingness_audit(values[["age"]], arm, y).tests.empty


@pytest.mark.parametrize("arm", [["a", "b"], ["a"] * 120, ["a", "b", "c"] * 40, ["a", None] * 60])
def test_there_are_two_arms(trial, arm):
    with pytest.raises(InputError, match="arm: expected two labels"):
        missingness_audit(trial[0], arm)


def test_every_patient_has_an_outcome(trial):
    values, arm, y = trial
    with pytest.raises(InputError, match="each of 120 patients, got 119"):
        missingness_audit(values, arm, y[1:])
