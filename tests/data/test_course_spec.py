from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.small_course import small_course

from il7ml.data.course_spec import StaySpec
from il7ml.data.projection import named_columns
from il7ml.data.simulator import il7_study
from il7ml.data.study import parse_study
from il7ml.errors import InputError


def refusal(trial):
    with pytest.raises(InputError) as caught:
        parse_study(trial.raw, Path("folder"))
    return str(caught.value)


def test_defaults_are_the_usual_days_and_ratios_harm():
    trial = small_course()
    del trial.course["mortality_days"]
    course = trial.study().course
    assert course.mortality_days == (30, 60, 90)
    marker = course.measurements["c_reactive_protein"]
    assert (marker.recovery, marker.threshold, marker.by_day, marker.harmful) == (False, None, 30, True)
    assert course.rules["storm"].by_day == course.adverse_events.by_day == 30


def test_a_study_without_a_course_has_none_and_needs_no_table_for_it():
    trial = small_course()
    del trial.raw["course"]
    study = trial.study()
    assert study.course is None
    assert set(named_columns(study)) == {"patients", "events"}


def test_tables_of_the_course_are_those_that_it_names():
    trial = small_course()
    assert trial.study().course.tables == {"events", "labs"}
    trial.raw["tables"]["safety"] = {"path": "safety.csv", "key": "patient_id"}
    trial.course["adverse_events"]["events"]["table"] = "safety"
    assert trial.study().course.tables == {"events", "labs", "safety"}
    del trial.course["adverse_events"]
    assert trial.study().course.tables == {"events", "labs"}


@pytest.mark.parametrize("schedule", [[7, 3, 14], [3, 3, 14], [14, 7, 3]])
def test_visits_out_of_order_are_refused(schedule):
    trial = small_course()
    trial.course["measurements"]["ferritin"]["schedule"] = schedule
    message = refusal(trial)
    assert "course.measurements.ferritin" in message
    assert "visits are out of order; give their days increasing" in message


@pytest.mark.parametrize("schedule", [[], [0, 3], [-3, 3]])
def test_a_schedule_needs_days_after_randomisation(schedule):
    trial = small_course()
    trial.course["measurements"]["ferritin"]["schedule"] = schedule
    assert "course.measurements.ferritin.schedule" in refusal(trial)


@pytest.mark.parametrize("days", [[], [0], [30, -1]])
def test_deaths_are_compared_by_at_least_one_day_after_randomisation(days):
    trial = small_course()
    trial.course["mortality_days"] = days
    assert "course.mortality_days" in refusal(trial)


def test_a_threshold_is_for_what_recovers():
    trial = small_course()
    trial.course["measurements"]["ferritin"]["threshold"] = 500
    assert "threshold goes with recovery: true" in refusal(trial)


def test_a_rule_that_no_patient_can_meet_is_refused():
    trial = small_course()
    trial.course["rules"]["storm"]["at_least"] = 4
    assert "at_least: more than there are measurements under 'above'" in refusal(trial)


def test_a_rule_uses_measurements_of_the_course():
    trial = small_course()
    trial.course["rules"]["storm"]["above"] = {"ferritin": 3000, "procalcitonin": 2}
    assert "rule 'storm' uses 'procalcitonin', which is not under 'measurements'" in refusal(trial)


def test_a_table_of_the_course_must_be_listed():
    trial = small_course()
    trial.course["measurements"]["ferritin"]["table"] = "laboratory"
    assert "course uses table 'laboratory', which is not listed under 'tables'" in refusal(trial)


def test_a_misspelt_key_is_refused_with_the_nearest():
    trial = small_course()
    trial.course["measurements"]["ferritin"]["shedule"] = [3, 7]
    message = refusal(trial)
    assert "shedule" in message
    assert re.search(r"Did you mean '?schedule'?", message)


@pytest.mark.parametrize("column", ["follow_up", "doses", "hospital_days", "ventilation_days"])
def test_what_is_known_only_later_is_no_feature(column):
    trial = small_course()
    trial.raw["variables"]["age"]["column"] = column
    message = refusal(trial)
    assert f"column '{column}'" in message
    assert "known only after randomisation" in message


@pytest.mark.parametrize(
    ("compare", "harmful"), [("stay", True), ("free_days", False), ("alive_out_of_hospital", False)]
)
def test_only_more_days_of_stay_are_worse(compare, harmful):
    assert StaySpec(title="Days", column="days", compare=compare).harmful is harmful


def test_the_shipped_study_states_what_the_issue_asks_for():
    course = il7_study().course
    recovering = {name for name, each in course.measurements.items() if each.recovery}
    assert recovering == {"absolute_lymphocyte_count", "cd4_count", "cd8_count"}
    assert course.measurements["absolute_lymphocyte_count"].threshold == 1.0
    assert course.mortality_days == (30, 60, 90)
    assert {stay.compare for stay in course.stays.values()} == {"stay", "free_days", "alive_out_of_hospital"}
    assert course.adverse_events is not None
    assert course.rules["cytokine_storm"].at_least == 2


def test_names_of_results_are_told_apart():
    trial = small_course()
    trial.raw["endpoints"]["death"] = trial.raw["endpoints"].pop("sofa")
    assert "'death' is the name of an endpoint and of a result of the course" in refusal(trial)


@pytest.mark.parametrize("stay", ["storm", "infected", "absolute_lymphocyte_count_final", "adverse_event"])
def test_a_stay_has_a_name_of_its_own(stay):
    trial = small_course()
    trial.course["stays"][stay] = trial.course["stays"].pop("hospital")
    assert f"'{stay}'" in refusal(trial)
