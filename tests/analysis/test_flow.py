from __future__ import annotations

import pytest
from tests.small_course import small_course

from il7ml.analysis.flow import patient_flow


@pytest.fixture
def trial():
    """Return a trial in which nobody dies or is lost, and everyone is treated."""
    trial = small_course()
    trial.drop_events("death")
    trial.patients["follow_up"] = 90.0
    trial.patients["doses"] = 4
    return trial


def steps(trial):
    """Return control, treated and total by step; None where there is no such number."""
    frame = patient_flow(trial.load()).set_index("step").astype(object)
    return {
        step: tuple(row) for step, row in zip(frame.index, frame.where(frame.notna(), None).to_numpy(), strict=True)
    }


def test_counts_by_hand(trial):
    for place, day in {0: 30, 1: 12, 2: 31, 3: 29}.items():
        trial.let_die(place, day)
    trial.patients.loc[[4, 5, 6], "follow_up"] = [29.5, 30, 8]
    trial.patients.loc[[7, 9, 11, 12], "doses"] = 0
    assert steps(trial) == {
        "In the tables": (None, None, 80),
        "Randomised": (40, 40, 80),
        "Received at least one dose": (39, 37, 76),
        "Died by day 30": (1, 2, 3),
        "Lost to follow-up before day 30": (2, 0, 2),
        "Analysed as randomised": (40, 40, 80),
    }


def test_the_first_day_of_mortality_counts(trial):
    trial.course["mortality_days"] = [7, 60]
    trial.let_die(0, 8)
    found = steps(trial)
    assert found["Died by day 7"] == (0, 0, 0)
    assert found["Lost to follow-up before day 7"] == (0, 0, 0)


def test_patients_of_other_arms_are_counted_apart(trial):
    trial.raw["arms"]["other_arms"] = "exclude"
    trial.patients.loc[[2, 3, 4], "arm"] = "high dose"
    found = steps(trial)
    assert found["In the tables"] == (None, None, 80)
    assert found["In arms outside this contrast"] == (None, None, 3)
    assert found["Randomised"] == found["Analysed as randomised"] == (38, 39, 77)


def test_patients_without_known_doses_did_not_show_to_have_had_one(trial):
    trial.patients["doses"] = trial.patients["doses"].astype(float)
    trial.patients.loc[0, "doses"] = None
    assert steps(trial)["Received at least one dose"] == (39, 40, 79)


def test_without_a_course_there_are_fewer_steps(trial):
    del trial.course["doses"]
    assert "Received at least one dose" not in steps(trial)
    del trial.raw["course"]
    assert list(steps(trial)) == ["In the tables", "Randomised", "Analysed as randomised"]
