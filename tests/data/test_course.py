from __future__ import annotations

import numpy as np
import pytest
from tests.small_course import small_course


def digest(trial):
    return trial.load().course.digest()


def test_the_same_tables_have_the_same_digest():
    assert digest(small_course()) == digest(small_course())


def change_value(trial):
    trial.labs.loc[trial.where(trial.labs, "ferritin")[3], "value"] += 0.1


def change_day(trial):
    trial.labs.loc[trial.where(trial.labs, "ferritin", 0)[-1], "day"] += 1


def change_owner(trial):
    rows = trial.where(trial.labs, "ferritin", 0)
    trial.labs.loc[rows, "patient_id"] = trial.ids(3)[0]


def change_death(trial):
    trial.events.loc[trial.where(trial.events, "death", 2), "day"] += 1
    trial.patients.loc[2, "follow_up"] += 1


def change_discharge(trial):
    trial.events.loc[trial.where(trial.events, "discharge", 0), "day"] += 1


def change_follow_up(trial):
    trial.patients.loc[0, "follow_up"] += 1


def change_doses(trial):
    trial.patients.loc[0, "doses"] += 1


def change_stay(trial):
    trial.patients.loc[0, "ventilation_days"] += 1


def change_seriousness(trial):
    trial.events.loc[trial.where(trial.events, "adverse_event")[0], "detail"] = "rash|1|1"


def change_term(trial):
    trial.events.loc[trial.where(trial.events, "adverse_event")[0], "detail"] = "itch|3|1"


def change_definition(trial):
    trial.course["rules"]["storm"]["at_least"] = 1


CHANGES = [
    change_value,
    change_day,
    change_owner,
    change_death,
    change_discharge,
    change_follow_up,
    change_doses,
    change_stay,
    change_seriousness,
    change_term,
    change_definition,
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_gives_another_digest(change):
    trial = small_course()
    change(trial)
    assert digest(trial) != digest(small_course())


def test_what_the_models_see_does_not_depend_on_the_course():
    trial = small_course()
    change_value(trial)
    change_doses(trial)
    changed, first = trial.load(), small_course().load()
    assert changed.digest == first.digest
    assert changed.course.digest() != first.course.digest()


def test_the_threshold_is_in_the_unit_of_the_values():
    measured = small_course().load().course.measurements["absolute_lymphocyte_count"]
    assert measured.spec.threshold == 1000
    assert measured.threshold == pytest.approx(1.0)
    reached = measured.value >= measured.threshold
    assert 0 < np.mean(reached) < 1
