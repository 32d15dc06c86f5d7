from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from il7ml.data.description import (
    endpoint_counts,
    missing_by_arm,
    outside_eligibility,
    standardised_difference,
    table_one,
)
from il7ml.data.loading import load_cohort
from il7ml.schema import load_dictionary

DICTIONARY = load_dictionary()


def test_difference_of_means_in_pooled_standard_deviations():
    # Means 3 and 5, variances 4 and 7 (n - 1): (5 - 3) / sqrt((4 + 7) / 2).
    control, treated = pd.Series([1.0, 3.0, 5.0]), pd.Series([2.0, 6.0, 7.0, np.nan])
    assert standardised_difference(control, treated, DICTIONARY["age"]) == pytest.approx(2 / np.sqrt(5.5))


def test_difference_of_shares_in_pooled_standard_deviations():
    # Shares 1/4 and 3/5: 0.35 / sqrt((0.1875 + 0.24) / 2).
    control, treated = pd.Series([1.0, 0, 0, 0, np.nan]), pd.Series([1.0, 1, 1, 0, 0])
    assert standardised_difference(control, treated, DICTIONARY["diabetes"]) == pytest.approx(
        0.35 / np.sqrt((0.1875 + 0.24) / 2)
    )


def test_distance_of_three_levels_is_yang_and_daltons():
    # Shares (0.4, 0.4, 0.2) and (0.2, 0.3, 0.5), the first left out: d = (-0.1, 0.3),
    # S = [[0.225, -0.115], [-0.115, 0.205]], d' S^-1 d by hand.
    control = pd.Series(["oxygen"] * 4 + ["non_invasive"] * 4 + ["invasive"] * 2)
    treated = pd.Series(["oxygen"] * 2 + ["non_invasive"] * 3 + ["invasive"] * 5)
    determinant = 0.225 * 0.205 - 0.115**2
    squared = (0.01 * 0.205 + 0.09 * 0.225 + 2 * -0.1 * 0.3 * 0.115) / determinant
    found = standardised_difference(control, treated, DICTIONARY["respiratory_support"])
    assert found == pytest.approx(np.sqrt(squared))


def test_distance_of_two_levels_is_the_difference_of_shares_without_sign():
    control, treated = pd.Series(["male", "female", "female", "female"]), pd.Series(["male"] * 3 + ["female"] * 2)
    expected = abs(0.35) / np.sqrt((0.1875 + 0.24) / 2)
    assert standardised_difference(control, treated, DICTIONARY["sex"]) == pytest.approx(expected)
    assert standardised_difference(treated, control, DICTIONARY["sex"]) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["age", "diabetes"])
def test_difference_without_spread_or_without_patients(name):
    ones, zeros = pd.Series([1.0, 1.0]), pd.Series([0.0, 0.0])
    assert standardised_difference(ones, ones, DICTIONARY[name]) == 0
    assert np.isnan(standardised_difference(zeros, ones, DICTIONARY[name]))
    assert np.isnan(standardised_difference(ones, pd.Series([np.nan]), DICTIONARY[name]))


@pytest.fixture
def cohort(small_study):
    patients = small_study.patients
    placebo = patients["arm"] == "placebo"
    patients["age"] = np.where(placebo, np.arange(60) + 20, np.arange(60) + 30)
    patients["steroid"] = np.where(np.arange(60) < 20, "yes", "no")
    patients["sex"] = np.where(np.arange(60) % 3 == 0, "f", "m")
    patients.loc[patients.index[placebo][:4], "sex"] = None
    patients.loc[[1, 3], "crp"] = np.nan
    return load_cohort(small_study.write())


def test_table_one_counts_by_hand(cohort):
    table = table_one(cohort).set_index(["variable", "level"])
    # Placebo: 20, 22, ..., 78, quartiles by linear interpolation; Drug: 31, 33, ..., 89.
    assert table.loc[("Age (years)", ""), ["control", "treated"]].tolist() == ["49 [34.5-63.5]", "60 [45.5-74.5]"]
    assert table.loc[("Age (years)", ""), "standardised_difference"] == pytest.approx(
        11 / np.std(np.arange(0, 60, 2), ddof=1)
    )
    assert table.loc[("Corticosteroid at randomisation", "yes"), ["control", "treated"]].tolist() == [
        "10/30 (33 %)",
        "10/30 (33 %)",
    ]
    # Every third is female; of Placebo's first four patients (0, 2, 4, 6) two are.
    assert table.loc[("Sex", "female"), ["control", "treated"]].tolist() == ["8/26 (31 %)", "10/30 (33 %)"]
    assert table.loc[("Sex", "male"), ["control", "treated"]].tolist() == ["18/26 (69 %)", "20/30 (67 %)"]
    assert np.isnan(table.loc[("Sex", "male"), "standardised_difference"])
    assert not any("day 7" in variable for variable, _ in table.index)


def test_large_numbers_have_no_exponent(small_study):
    small_study.raw["variables"]["ferritin"] = {"unit": "ng/mL"}
    small_study.patients["ferritin"] = 1000 + 250 * (np.arange(60) // 2)
    table = table_one(load_cohort(small_study.write())).set_index("variable")
    assert table.loc["Ferritin (ng/mL)", "control"] == "4625 [2812-6438]"


def test_missing_values_by_arm(small_study, cohort):
    gaps = small_study.patients["crp"].isna()
    placebo = small_study.patients["arm"] == "placebo"
    table = missing_by_arm(cohort).set_index("variable")
    assert list(table.index) == ["Sex", "C-reactive protein"]
    assert table.loc["Sex"].tolist() == [4, 0, 4 / 60]
    assert table.loc["C-reactive protein"].tolist() == [(gaps & placebo).sum(), (gaps & ~placebo).sum(), gaps.mean()]


def test_endpoint_counts_by_hand(small_study):
    patients = small_study.patients
    # Every third died, every third was discharged alive: 20 events, 20 censored, 20 competing.
    patients["died"] = np.arange(60) // 2 % 3
    patients["infected"] = patients["infected"].astype(float)
    patients.loc[[0, 1, 3], "infected"] = np.nan
    patients["days_at_risk"] = 25
    patients["sofa7"] = np.arange(60) // 2
    small_study.raw["endpoints"]["survival"]["competing_value"] = 2
    small_study.raw["endpoints"]["infected"]["missing"] = "weight"
    placebo = patients["arm"] == "placebo"
    table = endpoint_counts(load_cohort(small_study.write())).set_index("endpoint")
    events = [int(patients.loc[rows, "infections"].sum()) for rows in (placebo, ~placebo)]
    infected = [int(patients.loc[rows, "infected"].sum()) for rows in (placebo, ~placebo)]
    arms = ["control", "treated"]
    assert table.loc["survival", arms].tolist() == ["10/30, 10 censored, 10 competing"] * 2
    assert table.loc["infected", arms].tolist() == [f"{infected[0]}/29", f"{infected[1]}/28"]
    assert table.loc["infections", arms].tolist() == [f"{count} in 0.75 (30 patients)" for count in events]
    assert table.loc["sofa_day7", arms].tolist() == ["14.5 (SD 8.8), n = 30"] * 2
    assert table.loc["survival", ["kind", "title"]].tolist() == ["time_to_event", "Death by day 60"]


def test_patients_outside_the_eligibility_limits_are_counted(small_study):
    small_study.patients["age"] = [17, 18, 90, 91, 95, *range(20, 75)]
    small_study.raw["eligibility"] = {"age": [18, 90], "absolute_lymphocyte_count": [None, 100.0]}
    assert outside_eligibility(load_cohort(small_study.write())) == {"age": 3}
    small_study.patients.loc[0, "age"] = None
    small_study.raw["eligibility"]["age"] = [18, None]
    assert outside_eligibility(load_cohort(small_study.write())) == {}
