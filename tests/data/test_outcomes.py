from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from il7ml.data.loading import load_cohort
from il7ml.errors import DataError


def observed(small_study, name):
    return load_cohort(small_study.write()).outcomes[name]


def only_problem(small_study):
    path = small_study.write()
    with pytest.raises(DataError) as caught:
        load_cohort(path)
    assert len(caught.value.problems) == 1, str(caught.value)
    return caught.value.problems[0]


def events(small_study, *rows):
    """Replace the events by `rows` of (patient's place, kind, day)."""
    ids = small_study.patients["patient_id"]
    frame = pd.DataFrame([(ids[place], kind, day) for place, kind, day in rows], columns=["patient_id", "kind", "day"])
    small_study.events = frame


def test_an_event_counts_up_to_its_day_and_up_to_the_first_end(small_study):
    small_study.raw["endpoints"]["infection_day30"]["until"].append(
        {"table": "events", "day": "day", "where": {"kind": "discharge"}}
    )
    events(
        small_study,
        (0, "infection", 30),  # on the last day
        (1, "infection", 30.5),  # after it
        (2, "infection", 12),
        (2, "death", 12),  # on the day of death
        (3, "infection", 12),
        (3, "death", 11),  # recorded after death
        (4, "infection", 9),
        (4, "discharge", 8),
        (4, "death", 20),  # the first end counts
        (5, "infection", 40),
        (5, "infection", 3),  # one of two counts
        (6, "adverse_event", 2),  # another kind
        (7, "infection", 0),
        (8, "infection", 31),
        (8, "death", 40),  # an end after the last day
    )
    value = observed(small_study, "infection_day30").value
    assert np.flatnonzero(value).tolist() == [0, 2, 5, 7]


def test_without_a_day_every_event_counts_and_an_empty_table_means_none(small_study):
    small_study.raw["endpoints"]["infection_day30"]["by_day"] = None
    events(small_study, (0, "infection", 900))
    assert observed(small_study, "infection_day30").value[0] == 1
    events(small_study)
    assert not observed(small_study, "infection_day30").value.any()


def test_recurrences_are_counted_over_the_time_at_risk(small_study):
    source = {"table": "events", "day": "day", "where": {"kind": ["infection", "sepsis"]}}
    small_study.raw["endpoints"]["infections"] |= {"column": None, "events": source, "by_day": 20}
    events(small_study, (0, "infection", 1), (0, "sepsis", 20), (0, "infection", 21), (3, "infection", 1))
    found = observed(small_study, "infections")
    assert {place: found.value[place] for place in np.flatnonzero(found.value)} == {0: 2.0, 3: 1.0}
    np.testing.assert_allclose(found.exposure, small_study.patients["days_at_risk"] / 1000)


def test_one_time_at_risk_for_all(small_study):
    small_study.raw["endpoints"]["infections"] |= {"exposure": 30, "per": 1}
    found = observed(small_study, "infections")
    np.testing.assert_array_equal(found.exposure, np.full(60, 30.0))
    np.testing.assert_array_equal(found.value, small_study.patients["infections"])


def test_conditions_hold_together_and_know_number_codes(small_study):
    small_study.raw["endpoints"]["infection_day30"]["events"]["where"] = {"kind": "infection", "proven": 1}
    small_study.raw["endpoints"]["infection_day30"]["until"] = []
    events(small_study, (0, "infection", 1), (1, "infection", 1), (2, "death", 1), (3, "infection", 1))
    small_study.events["proven"] = [1.0, 0.0, 1.0, None]
    assert np.flatnonzero(observed(small_study, "infection_day30").value).tolist() == [0]


def test_rows_without_a_kind_are_not_of_a_kind_called_none(small_study):
    small_study.raw["endpoints"]["infection_day30"]["events"]["where"] = {"kind": "None"}
    small_study.raw["endpoints"]["infection_day30"]["until"] = []
    events(small_study, (0, None, 1), (1, "None", 1))
    assert np.flatnonzero(observed(small_study, "infection_day30").value).tolist() == [1]


def test_strangers_are_counted_once_for_all_endpoints(small_study):
    small_study.raw["endpoints"]["any_event"] = {
        "kind": "binary",
        "title": "Any event",
        "estimand": "Any event.",
        "events": {"table": "events", "day": "day"},
    }
    events(small_study, (0, "infection", 1), (1, "infection", 1), (2, "death", 3), (3, "infection", 1))
    small_study.events.loc[[0, 2, 3], "patient_id"] = ["nobody", "nobody", None]
    problem = only_problem(small_study)
    assert (problem.file, problem.column, problem.rows) == ("events.csv", "patient_id", 3)
    assert problem.rule == "event of a patient who is not in the patients table"


@pytest.mark.parametrize(
    ("day", "rule"),
    [
        (-1, "day of an event is missing or negative"),
        (None, "day of an event is missing or negative"),
        ("soon", "not a number"),
        ("2020-05-01", "not a number"),
    ],
)
def test_days_that_are_none_are_refused(small_study, day, rule):
    small_study.events["day"] = small_study.events["day"].astype(object)
    infection = small_study.events.index[small_study.events["kind"] == "infection"][0]
    small_study.events.loc[infection, "day"] = day
    problem = only_problem(small_study)
    assert (problem.file, problem.column, problem.rule, problem.rows) == ("events.csv", "day", rule, 1)


def test_days_of_other_events_do_not_matter(small_study):
    small_study.events["day"] = small_study.events["day"].astype(float)
    small_study.events.loc[len(small_study.events)] = [small_study.patients["patient_id"][0], "adverse_event", np.nan]
    assert observed(small_study, "infection_day30").value.sum() > 0


def test_columns_of_the_event_table_are_looked_for(small_study):
    small_study.events = small_study.events.rename(columns={"kind": "type", "day": "Day", "patient_id": "patient"})
    path = small_study.write()
    with pytest.raises(DataError) as caught:
        load_cohort(path)
    assert [(problem.file, problem.column) for problem in caught.value.problems] == [
        ("events.csv", "patient_id"),
        ("events.csv", "day"),
        ("events.csv", "kind"),
    ]


@pytest.mark.parametrize(
    ("cells", "event"),
    [([0, 1], 1), (["no", "yes"], 1), ([False, True], "true"), (["alive", "dead"], "dead"), ([2, 1], [1])],
)
def test_binary_columns_of_every_coding(small_study, cells, event):
    expected = small_study.patients["infected"].to_numpy()
    small_study.patients["infected"] = [cells[value] for value in expected]
    small_study.raw["endpoints"]["infected"]["event"] = event
    np.testing.assert_array_equal(observed(small_study, "infected").value, expected)


def test_two_values_of_which_none_is_the_event_are_refused(small_study):
    small_study.patients["infected"] = np.where(small_study.patients["infected"], "dead", "alive")
    problem = only_problem(small_study)
    assert problem.rule == "neither of the two values means the event (expected 1)"
    assert problem.remedy == "Set endpoints.infected.event."


def test_more_than_two_values_are_no_binary_outcome(small_study):
    small_study.patients.loc[[0, 1], "infected"] = [5, 7]
    assert only_problem(small_study).rule == "more than two values in a binary outcome"


@pytest.mark.parametrize(("endpoint", "column"), [("infected", "infected"), ("sofa_day7", "sofa7")])
def test_missing_outcomes_are_refused_or_left_unknown(small_study, endpoint, column):
    small_study.patients[column] = small_study.patients[column].astype(float)
    small_study.patients.loc[[3, 4, 5], column] = np.nan
    problem = only_problem(small_study)
    assert (problem.column, problem.rule, problem.rows) == (column, "outcome is missing", 3)
    assert problem.remedy == f"Complete it, or set endpoints.{endpoint}.missing: weight."
    small_study.raw["endpoints"][endpoint]["missing"] = "weight"
    assert np.flatnonzero(np.isnan(observed(small_study, endpoint).value)).tolist() == [3, 4, 5]


def test_weights_cannot_replace_a_whole_arm(small_study):
    small_study.raw["endpoints"]["sofa_day7"]["missing"] = "weight"
    small_study.patients["sofa7"] = small_study.patients["sofa7"].where(small_study.patients["arm"] == "drug")
    assert only_problem(small_study).rule == "outcome is missing for a whole arm"


@pytest.mark.parametrize(
    ("column", "cell", "rule"),
    [
        ("infections", -1, "not a number of events"),
        ("infections", 1.5, "not a number of events"),
        ("infections", None, "outcome is missing"),
        ("infections", "many", "not a number"),
        ("days_at_risk", 0, "time at risk is missing or not positive"),
        ("days_at_risk", None, "time at risk is missing or not positive"),
        ("days_at_risk", "inf", "not a number"),
        ("days", -1, "time is missing or negative"),
        ("days", None, "time is missing or negative"),
        ("days", "long", "not a number"),
        ("died", None, "outcome is missing"),
        ("died", 2, "neither event nor censored (expected 1, 0)"),
        ("sofa7", "high", "not a number"),
        ("sofa7", "3,5", "not a number"),
    ],
)
def test_one_impossible_outcome_is_one_problem(small_study, column, cell, rule):
    small_study.patients[column] = small_study.patients[column].astype(object)
    small_study.patients.loc[7, column] = cell
    problem = only_problem(small_study)
    assert (problem.column, problem.rule, problem.rows) == (column, rule, 1)


def test_times_come_with_event_censoring_and_competing_event(small_study):
    words = np.array(["alive", "dead", "discharged", "lost"])
    code = np.arange(60) % 4
    small_study.patients["died"] = words[code]
    small_study.raw["endpoints"]["survival"] |= {
        "event_value": "dead",
        "censored_value": ["alive", "lost"],
        "competing_value": "discharged",
    }
    found = observed(small_study, "survival")
    np.testing.assert_array_equal(found.value, np.array([0, 1, 2, 0])[code])
    np.testing.assert_array_equal(found.time, small_study.patients["days"])
    small_study.raw["endpoints"]["survival"]["censored_value"] = "alive"
    problem = only_problem(small_study)
    assert (problem.rule, problem.rows) == ("neither event nor censored (expected dead, alive)", 15)
    assert problem.remedy == "Set event_value, censored_value and competing_value of endpoints.survival."


def test_outcome_columns_that_are_missing_are_named(small_study):
    small_study.patients = small_study.patients.drop(columns=["sofa7", "days"])
    path = small_study.write()
    with pytest.raises(DataError) as caught:
        load_cohort(path)
    assert {(problem.column, problem.rule) for problem in caught.value.problems} == {
        ("sofa7", "column is missing"),
        ("days", "column is missing"),
    }
