from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import yaml

from il7ml.data.loading import load_cohort
from il7ml.errors import DataError, InputError


def problems_of(small_study, tables=None):
    path = small_study.write()
    with pytest.raises(DataError) as caught:
        load_cohort(path, tables)
    message = str(caught.value)
    assert not any(
        identifier in message for identifier in small_study.patients["patient_id"].dropna() if identifier.strip()
    )
    return caught.value.problems


def only_problem(small_study, tables=None):
    problems = problems_of(small_study, tables)
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


def test_all_problems_come_at_once_each_with_file_column_rows_and_remedy(small_study):
    patients, raw = small_study.patients, small_study.raw
    patients["age"] = patients["age"].astype(object)
    patients.loc[[3, 4], "age"] = [300, "old"]
    patients.loc[5, "arm"] = None
    patients.loc[6, "patient_id"] = patients.loc[7, "patient_id"]
    patients.loc[[8, 9], "steroid"] = "maybe"
    patients.loc[10, "infected"] = None
    patients.loc[11, "days_at_risk"] = 0
    raw["variables"]["absolute_lymphocyte_count"]["unit"] = "10^9/L"
    del patients["crp"]
    small_study.events.loc[0, "patient_id"] = "stranger"
    small_study.events.loc[1, "day"] = -1
    found = {(problem.file, problem.column, problem.rows) for problem in problems_of(small_study)}
    assert found == {
        ("patients.csv", "age", 1),
        ("patients.csv", "arm", 1),
        ("patients.csv", "patient_id", 2),
        ("patients.csv", "steroid", 2),
        ("patients.csv", "infected", 1),
        ("patients.csv", "days_at_risk", 1),
        ("patients.csv", "alc", 0),
        ("patients.csv", "crp", 0),
        # One infection of the patient whose identifier was taken by another is a stranger's, too.
        ("events.csv", "patient_id", found_rows(small_study)),
        ("events.csv", "day", 1),
    }
    assert all(problem.remedy.endswith((".", "...")) for problem in problems_of(small_study))


def found_rows(small_study):
    events = small_study.events
    return int((~events["patient_id"].isin(small_study.patients["patient_id"]) & (events["kind"] == "infection")).sum())


def test_both_an_impossible_value_and_a_word_in_one_column_are_found(small_study):
    patients = small_study.patients
    patients["age"] = patients["age"].astype(object)
    patients.loc[[3, 4], "age"] = [300, "old"]
    assert [problem.rule for problem in problems_of(small_study)] == [
        "not a number",
        "impossible value (expected 0 to 120 years)",
    ]


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_tables_given_as_frames_equal_those_in_files(small_study, format):
    read = load_cohort(small_study.folder)
    for name in ("patients", "events"):
        frame = getattr(small_study, name)
        path = small_study.folder / f"{name}.{format}"
        frame.to_parquet(path, index=False) if format == "parquet" else frame.to_csv(path, index=False)
        small_study.raw["tables"][name]["path"] = path.name
    again = load_cohort(small_study.folder)
    given = load_cohort(small_study.folder, {"patients": small_study.patients, "events": small_study.events})
    assert read.digest == again.digest == given.digest
    pd.testing.assert_frame_equal(read.values, given.values)


def test_parquet_equals_csv_also_for_codes_and_identifiers_with_zeros(small_study):
    patients = small_study.patients
    names = {old: f"{place:03d}" for place, old in enumerate(patients["patient_id"], start=1)}
    patients["patient_id"] = patients["patient_id"].map(names)
    small_study.events["patient_id"] = small_study.events["patient_id"].map(names)
    patients["centre"] = np.where(patients["centre"] == "north", "01", "1")
    patients["sex"] = np.where(patients["sex"] == "f", "01", "02")
    patients["steroid"] = patients["steroid"] == "yes"
    small_study.raw["variables"]["sex"]["levels"] = {"01": "female", 2: "male"}
    from_csv = load_cohort(small_study.write())
    assert set(from_csv.site) == {"01", "1"}
    for name in ("patients", "events"):
        getattr(small_study, name).to_parquet(small_study.folder / f"{name}.parquet")
    raw = small_study.raw["tables"]
    raw["patients"]["path"], raw["events"]["path"] = "patients.parquet", "events.parquet"
    frames = {"patients": patients, "events": small_study.events}
    (small_study.folder / "study.yaml").write_text(yaml.safe_dump(small_study.raw), encoding="utf-8")
    assert load_cohort(small_study.folder).digest == from_csv.digest
    assert load_cohort(small_study.folder, frames).digest == from_csv.digest


@pytest.mark.parametrize(
    ("written", "in_events"),
    [
        ("{:03d}", "{:03d}"),
        ("{:d}", "{:d}.0"),  # another program read the events' identifiers as numbers
        ("{:d}E1", "{:d}E1"),  # would all be numbers
        ("P {:d}", " P {:d} "),
        ("患者{:d}", "患者{:d}"),
        ("x" * 500 + "{:d}", "x" * 500 + "{:d}"),
    ],
)
def test_identifiers_of_every_form_meet_in_the_tables(small_study, written, in_events):
    expected = load_cohort(small_study.folder).outcomes["infection_day30"].value
    number = {old: place for place, old in enumerate(small_study.patients["patient_id"], start=1)}
    small_study.patients["patient_id"] = small_study.patients["patient_id"].map(lambda old: written.format(number[old]))
    small_study.events["patient_id"] = small_study.events["patient_id"].map(lambda old: in_events.format(number[old]))
    cohort = load_cohort(small_study.write())
    np.testing.assert_array_equal(cohort.outcomes["infection_day30"].value, expected)


def test_identifiers_that_differ_by_a_zero_are_two_patients(small_study):
    small_study.patients.loc[[0, 1], "patient_id"] = ["7", "007"]
    small_study.events = small_study.events[small_study.events["patient_id"].isin(small_study.patients["patient_id"])]
    assert len(load_cohort(small_study.write())) == 60


def test_duplicate_and_missing_identifiers_are_refused(small_study):
    small_study.patients.loc[[4, 6, 9], "patient_id"] = small_study.patients.loc[4, "patient_id"]
    small_study.events = small_study.events[small_study.events["patient_id"].isin(small_study.patients["patient_id"])]
    problem = only_problem(small_study)
    assert problem.column == "patient_id"
    assert problem.rule == "duplicate patient: one row a patient is expected"
    assert problem.rows == 3
    small_study.patients.loc[[4, 6], "patient_id"] = [None, " "]
    small_study.events = small_study.events[small_study.events["patient_id"].isin(small_study.patients["patient_id"])]
    assert (only_problem(small_study).rule, only_problem(small_study).rows) == ("patient identifier is missing", 2)


def test_a_patient_twice_is_seen_also_in_an_arm_left_out(small_study):
    small_study.raw["arms"]["other_arms"] = "exclude"
    extra = small_study.patients.iloc[[0]].assign(arm="third")
    small_study.patients = pd.concat([small_study.patients, extra], ignore_index=True)
    assert only_problem(small_study).rule == "duplicate patient: one row a patient is expected"


def third_arm(small_study):
    extra = small_study.patients.iloc[:10].assign(arm="third", age=500)
    extra["patient_id"] = "R" + extra["patient_id"].str[1:]
    events = small_study.events.iloc[:5].copy()
    events["patient_id"] = extra["patient_id"].iloc[0]
    small_study.patients = pd.concat([extra, small_study.patients], ignore_index=True)
    small_study.events = pd.concat([events, small_study.events], ignore_index=True)


def test_further_arms_are_refused_by_default(small_study):
    third_arm(small_study)
    small_study.patients["age"] = 40 + np.arange(70) % 30
    problem = only_problem(small_study)
    assert problem.rule == "arm is none of the contrast's (placebo, drug)"
    assert problem.rows == 10
    assert "other_arms: exclude" in problem.remedy


def test_patients_and_events_of_excluded_arms_are_left_out_and_counted(small_study):
    expected = load_cohort(small_study.folder)
    third_arm(small_study)
    small_study.raw["arms"]["other_arms"] = "exclude"
    cohort = load_cohort(small_study.write())
    assert cohort.flow == (70, 10, 60, 30, 30)
    assert cohort.digest == expected.digest


def test_an_arm_may_be_several_codes(small_study):
    third_arm(small_study)
    small_study.patients["age"] = 40 + np.arange(70) % 30
    small_study.raw["arms"]["treated"]["value"] = ["drug", "third"]
    assert load_cohort(small_study.write()).flow == (70, 0, 70, 30, 40)


@pytest.mark.parametrize(
    ("control", "treated", "cells"),
    [
        (0, 1, ["0", "1"]),
        (0, 1, ["0.0", "1.0"]),
        ("0", "1", ["00", "01"]),
        (False, True, ["False", "True"]),
        (False, True, ["no", "yes"]),
        ("no", "yes", ["No", "YES"]),
        ("None", "drug", ["None", "drug"]),
        ("Plazebo ä", "薬", [" Plazebo ä ", "薬"]),
    ],
)
def test_arms_are_found_however_they_are_coded(small_study, control, treated, cells):
    expected = load_cohort(small_study.folder).treatment
    arms = small_study.raw["arms"]
    arms["control"]["value"], arms["treated"]["value"] = control, treated
    small_study.patients["arm"] = np.where(small_study.patients["arm"] == "drug", cells[1], cells[0])
    np.testing.assert_array_equal(load_cohort(small_study.write()).treatment, expected)


def test_a_missing_arm_is_no_arm_called_none(small_study):
    arms = small_study.raw["arms"]
    arms["control"]["value"] = "None"
    arms["other_arms"] = "exclude"
    small_study.patients["arm"] = small_study.patients["arm"].replace("placebo", "None")
    small_study.patients.loc[[2, 3], "arm"] = None
    assert (only_problem(small_study).rule, only_problem(small_study).rows) == ("arm is missing", 2)


def test_one_arm_only_is_refused(small_study):
    small_study.patients["arm"] = "drug"
    problem = only_problem(small_study)
    assert problem.rule == "one arm only: no patient of arm Placebo"
    assert problem.remedy == "Expected placebo. Two arms are needed."


def test_arms_that_nobody_has_are_one_problem(small_study):
    small_study.patients["arm"] = small_study.patients["arm"].map({"drug": "A", "placebo": "B"})
    assert only_problem(small_study).rule == "no patient of the contrast's two arms (expected placebo, drug)"


@pytest.mark.parametrize("n", [2, 19])
def test_fewer_than_twenty_patients_are_refused(small_study, n):
    small_study.patients = small_study.patients.iloc[:n]
    small_study.events = small_study.events[small_study.events["patient_id"].isin(small_study.patients["patient_id"])]
    rules = [problem.rule for problem in problems_of(small_study)]
    assert rules[0] == f"{n} patients in the two arms, at least 20 are needed"


def test_twenty_patients_are_read(small_study):
    small_study.patients = small_study.patients.iloc[:20]
    small_study.events = small_study.events[small_study.events["patient_id"].isin(small_study.patients["patient_id"])]
    assert len(load_cohort(small_study.write())) == 20


def test_allocation_by_stratum_is_looked_up(small_study):
    small_study.patients["block"] = np.arange(60) % 2 + 1.0
    small_study.raw["allocation"] = {"stratum": "block", "by_stratum": {1: 0.5, "02": 0.75}}
    expected = np.where(small_study.patients["block"] == 1, 0.5, 0.75)
    np.testing.assert_array_equal(load_cohort(small_study.write()).propensity, expected)


def test_strata_that_are_missing_or_unknown_are_refused(small_study):
    small_study.patients.loc[[1, 2, 3], "centre"] = ["east", None, ""]
    small_study.raw["site"] = None
    small_study.raw["allocation"] = {"stratum": "centre", "by_stratum": {"north": 0.5, "south": 0.75}}
    problem = only_problem(small_study)
    assert (problem.column, problem.rows) == ("centre", 3)
    assert problem.rule == "stratum is missing or has no allocation probability"
    small_study.raw["allocation"]["stratum"] = "center"
    assert only_problem(small_study).remedy.startswith("Did you mean 'centre'?")


def test_a_missing_site_is_refused(small_study):
    small_study.patients.loc[[1, 2], "centre"] = None
    assert (only_problem(small_study).rule, only_problem(small_study).rows) == ("site is missing", 2)


def test_a_site_called_no_keeps_its_name(small_study):
    small_study.patients["centre"] = small_study.patients["centre"].replace("north", "NO")
    assert set(load_cohort(small_study.write()).site) == {"NO", "south"}


@pytest.mark.parametrize(
    ("cells", "mapping"),
    [
        (["m", "f"], {"m": "male", "f": "female"}),
        ([" m", "f "], {"m": "male", "f": "female"}),
        ([1, 2], {1: "male", 2: "female"}),
        ([1.0, 2.0], {"1": "male", "2": "female"}),
        (["male", "female"], {}),
        ([True, False], {True: "male", False: "female"}),
    ],
)
def test_categories_of_every_coding_become_levels(small_study, cells, mapping):
    expected = load_cohort(small_study.folder).baseline["sex"].tolist()
    small_study.patients["sex"] = [cells[0] if sex == "male" else cells[1] for sex in expected]
    small_study.raw["variables"]["sex"]["levels"] = mapping
    assert load_cohort(small_study.write()).baseline["sex"].tolist() == expected


def test_missing_categories_stay_missing(small_study):
    small_study.patients.loc[[0, 1, 2], "sex"] = [None, "", "NA"]
    assert load_cohort(small_study.write()).baseline["sex"].isna().tolist() == [True] * 3 + [False] * 57


def test_unknown_categories_are_counted_not_shown(small_study):
    small_study.patients.loc[[0, 1], "sex"] = "hermaphroditus"
    problem = only_problem(small_study)
    assert (problem.rule, problem.rows) == ("unknown category (expected f, m)", 2)
    assert "hermaphroditus" not in str(problem)


def test_levels_that_the_variable_lacks_are_named(small_study):
    small_study.raw["variables"]["sex"]["levels"] = {"f": "femal", "m": "male"}
    problem = only_problem(small_study)
    assert problem.rule == "level 'femal' is not one of the variable's"
    assert problem.remedy == "Did you mean 'female'? Mend the study file."


def test_own_levels_called_yes_and_no_are_levels(small_study):
    small_study.raw["define"]["consent"] = {
        "term": "Consent",
        "kind": "categorical",
        "levels": ["no", "yes", "deferred"],
        "known": "before_randomisation",
        "role": "other",
    }
    small_study.raw["variables"]["consent"] = None
    cells = np.array(["no", "yes", "deferred"])[np.arange(60) % 3]
    small_study.patients["consent"] = cells
    assert load_cohort(small_study.write()).baseline["consent"].tolist() == cells.tolist()


@pytest.mark.parametrize(
    ("cells", "coding"),
    [
        (["yes", "no"], {"present": "yes", "absent": "no"}),
        (["Yes", "NO"], {}),
        (["True", "False"], {}),
        ([1, 0], {}),
        ([1, 2], {"present": 1, "absent": 2}),
        (["given", "none"], {"present": "given", "absent": ["none", "not"]}),
    ],
)
def test_binary_codings(small_study, cells, coding):
    given = (small_study.patients["steroid"] == "yes").to_numpy()
    small_study.patients["steroid"] = [cells[0] if yes else cells[1] for yes in given]
    small_study.raw["variables"]["corticosteroid_at_randomisation"] = {"column": "steroid", **coding}
    np.testing.assert_array_equal(load_cohort(small_study.write()).baseline["corticosteroid_at_randomisation"], given)


def test_neither_yes_nor_no_is_refused(small_study):
    small_study.patients.loc[[0, 1], "steroid"] = ["perhaps", "2"]
    problem = only_problem(small_study)
    assert (problem.rule, problem.rows) == ("neither yes nor no (expected 1 for yes and 0 for no)", 2)


def test_a_column_in_another_unit_is_recognised(small_study):
    small_study.raw["variables"]["absolute_lymphocyte_count"]["unit"] = "10^9/L"
    problem = only_problem(small_study)
    assert problem.rule == "values make no sense in 10^9/L, they look like cells/uL"
    assert problem.remedy == "Set variables.absolute_lymphocyte_count.unit: cells/uL."


def test_a_missing_or_unknown_unit_is_refused(small_study):
    small_study.raw["variables"]["absolute_lymphocyte_count"]["unit"] = None
    small_study.raw["variables"]["age"]["unit"] = "decades"
    small_study.raw["variables"]["planned_doses"] = {"column": "age", "unit": "vials"}
    assert [str(problem) for problem in problems_of(small_study)] == [
        "patients.csv: age: unit 'decades' is not known. Set variables.age.unit to one of years.",
        "patients.csv: alc: no unit is stated (one of 10^9/L, cells/uL, /mm3, K/uL, 10^3/uL). "
        "Set variables.absolute_lymphocyte_count.unit.",
        "patients.csv: age: unit 'vials' is not known. Set variables.planned_doses.unit to one of doses.",
    ]


def test_a_unit_of_a_pure_number_is_refused(small_study):
    small_study.raw["define"]["index"] = {
        "term": "Index",
        "possible": [0, 100],
        "known": "before_randomisation",
        "role": "other",
    }
    small_study.raw["variables"]["index"] = {"column": "age", "unit": "points"}
    assert str(only_problem(small_study)).endswith("unit 'points' is not known. Leave variables.index.unit out.")


def test_impossible_values_are_counted_not_shown(small_study):
    small_study.patients["age"] = small_study.patients["age"].astype(float)
    small_study.patients.loc[[0, 1, 2], "age"] = [-1, 130.25, 987654]
    problem = only_problem(small_study)
    assert (problem.rule, problem.rows) == ("impossible value (expected 0 to 120 years)", 3)
    assert not any(text in str(problem) for text in ("-1", "130.25", "987654"))


@pytest.mark.parametrize("cell", ["12,5", "2020-05-01", "True", "inf", "4.1.2020", "41 years"])
def test_cells_that_are_no_numbers_are_counted_not_shown(small_study, cell):
    small_study.patients["age"] = small_study.patients["age"].astype(object)
    small_study.patients.loc[[7, 8], "age"] = cell
    problem = only_problem(small_study)
    assert (problem.column, problem.rule, problem.rows) == ("age", "not a number", 2)
    assert problem.remedy == "Write plain numbers with a decimal point, or list the code under the table's missing."
    assert cell not in str(problem)


def test_a_column_of_words_is_one_problem(small_study):
    small_study.patients["age"] = "old"
    assert (only_problem(small_study).rule, only_problem(small_study).rows) == ("not a number", 60)


def test_missing_codes_are_taken_as_missing(small_study):
    small_study.patients["age"] = small_study.patients["age"].astype(object)
    small_study.patients.loc[[0, 1], "age"] = [-99, "unknown"]
    small_study.raw["tables"]["patients"]["missing"] = [-99, "unknown"]
    cohort = load_cohort(small_study.write())
    np.testing.assert_array_equal(np.flatnonzero(cohort.baseline["age"].isna()), [0, 1])
    assert cohort.baseline["age"].dtype == np.float64


@pytest.mark.parametrize(
    ("column", "cells", "rule"),
    [
        ("age", 50, "constant: all known values are the same"),
        ("age", [50, None] * 30, "constant: all known values are the same"),
        ("sex", "f", "constant: all known values are the same"),
        ("steroid", "no", "constant: all known values are the same"),
        ("age", None, "all values are missing"),
        ("sex", None, "all values are missing"),
        ("steroid", " ", "all values are missing"),
    ],
)
def test_constant_and_empty_features_are_refused(small_study, column, cells, rule):
    small_study.patients[column] = cells
    problem = only_problem(small_study)
    assert (problem.column, problem.rule) == (column, rule)
    assert problem.remedy.startswith("Take ")


def test_what_is_known_later_may_be_constant(small_study):
    small_study.patients["crp7"] = 5.0
    assert len(load_cohort(small_study.write())) == 60


def test_missing_columns_are_named_once_with_the_nearest(small_study):
    small_study.patients = small_study.patients.rename(columns={"age": "Age", "infected": "infection", "died": "x"})
    small_study.raw["eligibility"] = {}
    found = {problem.column: problem.remedy for problem in problems_of(small_study)}
    assert found == {
        "age": "Did you mean 'Age'? Mend the study file or the table.",
        "infected": "Did you mean 'infection'? Mend the study file or the table.",
        "died": "Mend the study file or the table.",
    }


def test_a_file_without_a_header_shows_no_patient(small_study):
    path = small_study.write()
    places = range(1, len(small_study.patients.columns) + 1)
    for columns in (["patient_id", "arm", "age", "sex"], list(small_study.patients.columns)):
        small_study.patients[columns].to_csv(small_study.folder / "patients.csv", index=False, header=False)
        with pytest.raises(DataError) as caught:
            load_cohort(path)
        message = str(caught.value)
        assert re.search("none of the study's columns|columns [0-9]+ and [0-9]+ have the same name", message)
        words = set(re.findall(r"[\w.]+", message.partition("patients.csv")[2])) - {str(place) for place in places}
        assert words.isdisjoint(small_study.patients.iloc[0].astype(str))


def test_a_header_without_rows_is_one_problem(small_study):
    small_study.patients = small_study.patients.iloc[:0]
    assert str(only_problem(small_study)) == "patients.csv: the table has no rows. Export it again."


def test_empty_frames_are_one_problem(small_study):
    frames = {"patients": pd.DataFrame(), "events": small_study.events}
    assert only_problem(small_study, frames).rule == "none of the study's columns is in the table"


def test_missing_files_and_frames_are_all_named(small_study):
    path = small_study.write()
    for name in ("patients.csv", "events.csv"):
        (small_study.folder / name).unlink()
    with pytest.raises(DataError) as caught:
        load_cohort(path)
    assert [problem.file for problem in caught.value.problems] == ["patients.csv", "events.csv"]
    with pytest.raises(DataError, match=r"events: the table was not given. Pass it by this name"):
        load_cohort(path, {"patients": small_study.patients})
    with pytest.raises(DataError, match="patients: the table was not given"):
        load_cohort(path, {})


def test_an_event_table_that_cannot_be_read_hides_no_fault_of_the_patients(small_study):
    small_study.patients.loc[0, "age"] = 300
    path = small_study.write()
    (small_study.folder / "events.csv").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataError) as caught:
        load_cohort(path)
    assert [(problem.file, problem.column) for problem in caught.value.problems] == [
        ("events.csv", ""),
        ("patients.csv", "age"),
    ]


def test_the_study_files_own_faults_come_first(small_study):
    small_study.raw["variabels"] = {}
    with pytest.raises(InputError, match="Did you mean 'variables'") as caught:
        load_cohort(small_study.write())
    assert not isinstance(caught.value, DataError)


def test_numbers_of_any_frame_dtype_give_the_same_cohort(small_study):
    expected = load_cohort(small_study.folder)
    patients = small_study.patients.copy()
    patients["age"] = patients["age"].astype("Int64")
    patients["crp"] = patients["crp"].astype("Float64")
    patients["sex"] = patients["sex"].astype("category")
    patients["steroid"] = (patients["steroid"] == "yes").astype("boolean")
    patients["infected"] = patients["infected"].astype(bool)
    patients["infections"] = patients["infections"].astype("int8")
    patients["sofa7"] = patients["sofa7"].astype(str)
    patients.index = patients.index[::-1]
    cohort = load_cohort(small_study.folder, {"patients": patients, "events": small_study.events})
    assert cohort.digest == expected.digest


def test_very_long_and_foreign_column_names_are_read(small_study):
    name = "Lymphozyten absolut (µl⁻¹) 淋巴 " + "x" * 3000
    small_study.patients = small_study.patients.rename(columns={"alc": name})
    small_study.raw["variables"]["absolute_lymphocyte_count"]["column"] = name.strip()
    assert len(load_cohort(small_study.write())) == 60


def test_a_canonical_unit_declared_as_another_is_refused(small_study):
    small_study.patients["alc"] /= 1000
    with pytest.raises(DataError, match=r"make no sense in cells/uL, they look like 10\^9/L"):
        load_cohort(small_study.write())
