from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.small_course import small_course

from il7ml.data.loading import load_cohort
from il7ml.errors import DataError


@pytest.fixture
def trial():
    return small_course()


def problems_of(trial, tables=None):
    """Return the problems; no message may hold a patient's identifier."""
    with pytest.raises(DataError) as caught:
        load_cohort(trial.study(), trial.tables() if tables is None else tables)
    assert not any(one in str(caught.value) for one in trial.ids(*range(80)))
    return caught.value.problems


def only_problem(trial, tables=None):
    problems = problems_of(trial, tables)
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


def test_days_are_those_of_the_tables(trial):
    cohort = trial.load()
    course = cohort.course
    events = trial.events.set_index("patient_id")
    for kind, found in (("death", course.death), ("discharge", course.discharge)):
        expected = events.loc[events["kind"] == kind, "day"].reindex(trial.patients["patient_id"])
        np.testing.assert_array_equal(found, expected.to_numpy())
    assert course.follow_up.tolist() == trial.patients["follow_up"].tolist()
    assert course.doses.tolist() == trial.patients["doses"].tolist()
    assert course.stays["hospital"].tolist() == trial.patients["hospital_days"].tolist()
    assert set(course.stays) == {"hospital", "ventilator_free", "at_home"}


def test_measurements_come_in_canonical_units_with_the_threshold(trial):
    measured = trial.load().course.measurements
    count = measured["absolute_lymphocyte_count"]
    assert (count.unit, count.factor) == ("10^9/L", 0.001)
    assert count.threshold == pytest.approx(1.0)
    rows = trial.labs.loc[trial.where(trial.labs, "lymphocytes")]
    np.testing.assert_allclose(count.value, rows["value"] / 1000)
    assert [trial.ids(place)[0] for place in count.patient] == rows["patient_id"].tolist()
    assert count.day.tolist() == rows["day"].tolist()
    assert measured["c_reactive_protein"].factor == 10
    assert measured["ferritin"].threshold is None


def test_the_value_of_day_0_is_the_baseline(trial):
    trial.set_labs("lymphocytes", 0, {0: 500, 3: 600}, "cells/uL")
    trial.set_labs("lymphocytes", 1, {3: 600}, "cells/uL")
    baseline = trial.load().course.measurements["absolute_lymphocyte_count"].baseline
    assert baseline[0] == pytest.approx(0.5)
    assert np.isnan(baseline[1])


def test_a_quantity_outside_the_dictionary_keeps_its_unit(trial):
    trial.course["measurements"]["c_reactive_protein"]["unit"] = "mg/L"
    trial.course["measurements"]["mhla_dr"] = {**trial.course["measurements"].pop("ferritin"), "unit": "AB/C"}
    trial.course["rules"] = {}
    measured = trial.load().course.measurements["mhla_dr"]
    assert (measured.unit, measured.factor) == ("AB/C", 1.0)


def test_several_values_of_a_day_are_one_whatever_their_order(trial):
    name = "absolute_lymphocyte_count"
    rows = trial.where(trial.labs, "lymphocytes", 0)
    first = trial.labs.loc[rows].sort_values("day").iloc[0]
    again = first.to_frame().T.assign(value=4 * first["value"])
    before = trial.load().course.measurements[name]
    trial.labs = pd.concat([trial.labs, again.astype(trial.labs.dtypes)], ignore_index=True)
    after = trial.load().course.measurements[name]
    assert after.day.tolist() == before.day.tolist()
    same = (before.patient == 0) & (before.day == first["day"])
    # Of 1 and 4 the geometric mean is 2.
    np.testing.assert_allclose(after.value, np.where(same, 2 * before.value, before.value), rtol=1e-12)
    trial.labs = trial.labs.iloc[::-1].reset_index(drop=True)
    turned = trial.load().course.measurements[name]
    by_day = np.lexsort((after.day, after.patient)), np.lexsort((turned.day, turned.patient))
    assert after.value[by_day[0]].tolist() == turned.value[by_day[1]].tolist()


def test_empty_values_are_left_out(trial):
    rows = trial.where(trial.labs, "ferritin")
    trial.labs.loc[rows[:5], "value"] = np.nan
    assert trial.load().course.measurements["ferritin"].value.size == len(rows) - 5


def test_the_order_of_rows_has_no_influence(trial):
    first = trial.load().course
    order = np.random.default_rng(3).permutation
    trial.labs = trial.labs.iloc[order(len(trial.labs))]
    trial.events = trial.events.iloc[order(len(trial.events))]
    again = trial.load().course
    np.testing.assert_array_equal(again.death, first.death)
    np.testing.assert_array_equal(again.discharge, first.discharge)
    for name, measured in first.measurements.items():
        other = again.measurements[name]
        np.testing.assert_array_equal(other.baseline, measured.baseline)
        frames = [
            pd.DataFrame({"patient": each.patient, "day": each.day, "value": each.value})
            .sort_values(["patient", "day"])
            .reset_index(drop=True)
            for each in (measured, other)
        ]
        pd.testing.assert_frame_equal(*frames)


def test_tables_are_left_as_they_are(trial):
    before = {name: frame.copy() for name, frame in trial.tables().items()}
    trial.load()
    for name, frame in trial.tables().items():
        pd.testing.assert_frame_equal(frame, before[name])


def test_without_the_course_its_tables_are_not_needed(trial):
    tables = {name: frame for name, frame in trial.tables().items() if name != "labs"}
    assert load_cohort(trial.study(), tables, course=False).course is None
    assert "the table was not given" in only_problem(trial, tables).rule


def test_a_missing_table_file_is_named(trial, tmp_path):
    path = trial.write(tmp_path)
    (tmp_path / "labs.csv").unlink()
    with pytest.raises(DataError) as caught:
        load_cohort(path)
    assert {problem.file for problem in caught.value.problems} == {"labs.csv"}
    assert "no such file" in caught.value.problems[0].rule


@pytest.mark.parametrize(
    ("frame", "column", "file"),
    [
        ("labs", "value", "labs.csv"),
        ("labs", "day", "labs.csv"),
        ("labs", "analyte", "labs.csv"),
        ("labs", "unit", "labs.csv"),
        ("labs", "patient_id", "labs.csv"),
        ("events", "detail", "events.csv"),
        ("patients", "follow_up", "patients.csv"),
        ("patients", "doses", "patients.csv"),
        ("patients", "ventilation_days", "patients.csv"),
    ],
)
def test_a_missing_column_is_named(trial, frame, column, file):
    tables = trial.tables()
    tables[frame] = tables[frame].drop(columns=column)
    problem = only_problem(trial, tables)
    assert (problem.file, problem.column, problem.rule) == (file, column, "column is missing")


def test_measurement_after_death(trial):
    # Patient 2 dies on day 7.
    trial.set_labs("ferritin", 2, {0: 900, 7: 850, 8: 800, 9: 700}, "ng/mL")
    problem = only_problem(trial)
    assert (problem.file, problem.column, problem.rows) == ("labs.csv", "day", 2)
    assert problem.rule == "measurement after the patient's death"


@pytest.mark.parametrize(("day", "rows"), [(-1, 2), (None, 2)])
def test_negative_or_missing_days_of_measurements(trial, day, rows):
    places = trial.where(trial.labs, "ferritin")[:2]
    trial.labs["day"] = trial.labs["day"].astype(float)
    trial.labs.loc[places, "day"] = day
    problem = only_problem(trial)
    assert (problem.file, problem.column, problem.rows) == ("labs.csv", "day", rows)
    assert problem.rule == "day of a measurement is missing or negative"


@pytest.mark.parametrize("value", [0, -5])
def test_values_not_above_0(trial, value):
    trial.labs.loc[trial.where(trial.labs, "il6")[:3], "value"] = value
    problem = problems_of(trial)[0]
    assert (problem.column, problem.rows) == ("value", 3)
    assert problem.rule.startswith("measurements of interleukin_6 that are not above 0")
    assert problem.remedy == "Give the limit of detection, or leave them empty."


def test_a_value_or_day_that_is_no_number(trial):
    trial.labs[["value", "day"]] = trial.labs[["value", "day"]].astype(object)
    rows = trial.where(trial.labs, "il6")
    trial.labs.loc[rows[:2], "value"] = "<5.secret"
    trial.labs.loc[rows[4], "day"] = "day.secret"
    problems = problems_of(trial)
    assert {(problem.column, problem.rule, problem.rows) for problem in problems} == {
        ("value", "not a number", 2),
        ("day", "not a number", 1),
    }
    assert not any("secret" in str(problem) for problem in problems)


def test_rows_in_another_unit(trial):
    rows = trial.where(trial.labs, "lymphocytes")[:4]
    trial.labs.loc[rows, "unit"] = "10^9/L"
    problem = only_problem(trial)
    assert (problem.column, problem.rows) == ("unit", 4)
    assert problem.rule == "measurements of absolute_lymphocyte_count in another unit than 'cells/uL'"


@pytest.mark.parametrize(
    ("unit", "rule"),
    [("cells", "unit 'cells' of measurement ferritin is not known"), ("", "no unit for ferritin")],
)
def test_a_unit_that_is_not_known(trial, unit, rule):
    trial.course["measurements"]["ferritin"]["unit"] = unit
    problem = only_problem(trial)
    assert problem.rule == rule
    assert problem.remedy.startswith("Set course.measurements.ferritin.unit to one of ng/mL, ug/L")


def test_values_that_make_sense_only_in_another_unit(trial):
    del trial.course["measurements"]["absolute_lymphocyte_count"]["unit_column"]
    trial.course["measurements"]["absolute_lymphocyte_count"] |= {"unit": "10^9/L", "threshold": 1}
    problem = only_problem(trial)
    assert problem.rule.startswith("measurements of absolute_lymphocyte_count make no sense in 10^9/L")
    assert "cells/uL" in problem.remedy


def test_an_impossible_value_is_counted_and_not_shown(trial):
    trial.labs.loc[trial.where(trial.labs, "crp")[0], "value"] = 777.5
    problem = only_problem(trial)
    assert problem.rows == 1
    assert problem.rule == "impossible measurement of c_reactive_protein (expected 0 to 1500 mg/L)"


@pytest.mark.parametrize("frame", ["labs", "events"])
def test_rows_of_an_unknown_patient(trial, frame):
    table = getattr(trial, frame)
    kind = "ferritin" if frame == "labs" else "adverse_event"
    table.loc[trial.where(table, kind)[:2], "patient_id"] = "stranger.77"
    problem = only_problem(trial)
    assert (problem.file, problem.column, problem.rows) == (f"{frame}.csv", "patient_id", 2)
    assert "who is not in the patients table" in problem.rule
    assert "stranger" not in str(problem)


def test_patients_of_arms_left_out_are_no_strangers(trial):
    trial.raw["arms"]["other_arms"] = "exclude"
    trial.patients.loc[[2, 5], "arm"] = "high dose"
    course = trial.load().course
    kept = trial.patients.drop(index=[2, 5])
    assert course.death.size == 78
    assert course.follow_up.tolist() == kept["follow_up"].tolist()
    left = trial.labs[(trial.labs["analyte"] == "ferritin") & trial.labs["patient_id"].isin(kept["patient_id"])]
    found = kept["patient_id"].iloc[course.measurements["ferritin"].patient]
    assert found.tolist() == left["patient_id"].tolist()
    own = trial.events[(trial.events["kind"] == "adverse_event") & trial.events["patient_id"].isin(kept["patient_id"])]
    assert kept["patient_id"].iloc[course.adverse_events["patient"]].tolist() == own["patient_id"].tolist()


def test_follow_up_ends_with_death_where_the_column_goes_on(trial):
    died = trial.where(trial.events, "death")
    days = trial.events.loc[died].set_index("patient_id")["day"]
    trial.patients["follow_up"] = 90.0
    course = trial.load().course
    expected = trial.patients["patient_id"].map(days).fillna(90.0)
    assert course.follow_up.tolist() == expected.tolist()


def test_follow_up_before_death(trial):
    trial.patients.loc[2, "follow_up"] -= 1
    problem = only_problem(trial)
    assert (problem.column, problem.rule, problem.rows) == ("follow_up", "death after the patient's follow-up", 1)


@pytest.mark.parametrize(
    ("value", "rule"), [(-1.0, "follow-up is negative"), (np.nan, "follow-up is missing"), ("x", "not a number")]
)
def test_follow_up_that_cannot_be(trial, value, rule):
    trial.patients["follow_up"] = trial.patients["follow_up"].astype(object)
    trial.patients.loc[[3, 6], "follow_up"] = value
    problem = problems_of(trial)[0]
    assert (problem.column, problem.rule, problem.rows) == ("follow_up", rule, 2)


def test_a_stay_longer_than_life(trial):
    trial.patients.loc[2, "ventilation_days"] = 7.5  # patient 2 dies on day 7
    problem = only_problem(trial)
    assert (problem.column, problem.rule) == ("ventilation_days", "more days than the patient lived")


@pytest.mark.parametrize(
    ("column", "rule"),
    [("ventilation_days", "number of days is negative"), ("doses", "number of doses is negative")],
)
def test_negative_days_and_doses(trial, column, rule):
    trial.patients.loc[3, column] = -1
    problem = only_problem(trial)
    assert (problem.column, problem.rule, problem.rows) == (column, rule, 1)


@pytest.mark.parametrize("kind", ["death", "discharge"])
def test_negative_day_of_death_or_discharge(trial, kind):
    trial.events.loc[trial.where(trial.events, kind)[0], "day"] = -3
    problem = problems_of(trial)[0]
    assert (problem.column, problem.rule) == ("day", "day of an event is missing or negative")


def test_the_first_of_two_discharges_counts(trial):
    day = trial.load().course.discharge[0]
    trial.add_events("discharge", {0: day + 9})
    assert trial.load().course.discharge[0] == day


def test_adverse_events_are_split_into_term_grade_and_seriousness(trial):
    trial.drop_events("adverse_event")
    trial.add_events("adverse_event", {4: 6}, "rash | 3 |1")
    trial.add_events("adverse_event", {9: 2}, "fever||0")
    found = trial.load().course.adverse_events
    assert found[["patient", "day", "serious", "term"]].values.tolist() == [
        [4, 6.0, 1.0, "rash"],
        [9, 2.0, 0.0, "fever"],
    ]
    assert found["grade"].iloc[0] == 3
    assert np.isnan(found["grade"].iloc[1])


def test_adverse_events_may_stand_in_columns_of_their_own(trial):
    split = trial.load().course.adverse_events
    parts = trial.events["detail"].where(trial.events["kind"] == "adverse_event").str.split("|", expand=True)
    trial.events[["what", "ctcae", "sae"]] = parts
    trial.course["adverse_events"] |= {"term": "what", "grade": "ctcae", "serious": "sae"}
    del trial.course["adverse_events"]["split"]
    pd.testing.assert_frame_equal(trial.load().course.adverse_events, split, check_dtype=False)


def test_a_trial_without_adverse_events_has_an_empty_table(trial):
    trial.drop_events("adverse_event")
    found = trial.load().course.adverse_events
    assert len(found) == 0
    assert set(found.columns) == {"patient", "day", "term", "grade", "serious"}


@pytest.mark.parametrize("detail", ["rash|2", "rash|2|0|mild", "rash", None])
def test_a_detail_that_does_not_split(trial, detail):
    rows = trial.where(trial.events, "adverse_event")[:2]
    trial.events.loc[rows, "detail"] = detail
    problem = only_problem(trial)
    assert (problem.column, problem.rows) == ("detail", 2)
    assert problem.rule == "adverse events whose detail does not have 3 parts"


@pytest.mark.parametrize("serious", ["", "2", "perhaps"])
def test_adverse_events_without_seriousness(trial, serious):
    trial.events.loc[trial.where(trial.events, "adverse_event")[:3], "detail"] = f"rash|2|{serious}"
    problem = only_problem(trial)
    assert (problem.column, problem.rows) == ("serious", 3)
    assert problem.rule == "adverse events that are neither serious (1) nor not (0)"


def test_a_grade_that_is_no_number(trial):
    trial.events.loc[trial.where(trial.events, "adverse_event")[0], "detail"] = "rash|severe|1"
    problem = only_problem(trial)
    assert (problem.column, problem.rule, problem.rows) == ("grade", "not a number", 1)


@pytest.mark.parametrize("day", [-2, None])
def test_days_of_adverse_events_that_cannot_be(trial, day):
    trial.events.loc[trial.where(trial.events, "adverse_event")[:2], "day"] = day
    problem = only_problem(trial)
    assert (problem.column, problem.rows) == ("day", 2)
    assert problem.rule == "day of an adverse event is missing, negative or not a number"


def test_all_faults_come_at_once(trial):
    trial.labs.loc[trial.where(trial.labs, "ferritin")[0], "day"] = -1
    trial.labs.loc[trial.where(trial.labs, "lymphocytes")[0], "unit"] = "10^9/L"
    trial.patients.loc[2, "follow_up"] -= 1
    trial.patients.loc[3, "ventilation_days"] = -1
    trial.patients.loc[5, "age"] = 300
    trial.events.loc[trial.where(trial.events, "adverse_event")[0], "detail"] = "rash"
    assert {(problem.file, problem.column) for problem in problems_of(trial)} == {
        ("labs.csv", "day"),
        ("labs.csv", "unit"),
        ("patients.csv", "follow_up"),
        ("patients.csv", "ventilation_days"),
        ("patients.csv", "age"),
        ("events.csv", "detail"),
    }
