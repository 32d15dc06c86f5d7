from __future__ import annotations

import dataclasses
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest

from il7ml.data.loading import load_cohort


@pytest.fixture
def cohort(small_study):
    return load_cohort(small_study.folder)


def digest_after(small_study, change):
    change(small_study)
    return load_cohort(small_study.write()).digest


def test_arms_sites_and_flow_are_those_of_the_table(small_study, cohort):
    treated = (small_study.patients["arm"] == "drug").to_numpy()
    np.testing.assert_array_equal(cohort.treatment, treated.astype(int))
    np.testing.assert_array_equal(cohort.propensity, np.full(60, 0.5))
    assert cohort.site.tolist() == small_study.patients["centre"].tolist()
    assert cohort.flow == (60, 0, 60, 30, 30)
    assert len(cohort) == 60
    assert (cohort.control_label, cohort.treated_label) == ("Placebo", "Drug")


def test_baseline_holds_canonical_units_and_nothing_known_later(small_study, cohort):
    assert list(cohort.baseline) == [
        "age",
        "sex",
        "absolute_lymphocyte_count",
        "c_reactive_protein",
        "corticosteroid_at_randomisation",
    ]
    np.testing.assert_allclose(cohort.baseline["absolute_lymphocyte_count"], small_study.patients["alc"] / 1000)
    np.testing.assert_array_equal(cohort.baseline["c_reactive_protein"], small_study.patients["crp"])
    assert "c_reactive_protein_day7" in cohort.values
    assert set(cohort.variables) - set(cohort.baseline_variables) == {"c_reactive_protein_day7"}


def test_fields_cannot_be_set(cohort):
    for field in dataclasses.fields(cohort):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(cohort, field.name, None)
    with pytest.raises(TypeError):
        cohort.outcomes["infected"] = None
    assert isinstance(cohort.outcomes, MappingProxyType)


def test_arrays_cannot_be_written(cohort):
    arrays = [cohort.treatment, cohort.propensity, cohort.site]
    for observed in cohort.outcomes.values():
        arrays += [part for part in (observed.value, observed.time, observed.exposure) if part is not None]
    assert len(arrays) == 3 + 5 + 2
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]


def test_frames_are_copies(small_study, cohort):
    for frame in (cohort.baseline, cohort.values):
        frame.loc[0, "age"] = 99
        frame["new"] = 1
    expected = small_study.patients["age"].to_list()
    assert cohort.baseline["age"].to_list() == expected
    assert cohort.values["age"].to_list() == expected
    assert "new" not in cohort.values


def test_changing_the_tables_afterwards_changes_no_cohort(small_study):
    tables = {"patients": small_study.patients, "events": small_study.events}
    cohort = load_cohort(small_study.folder, tables)
    before = cohort.values
    for name in ("age", "infected", "sofa7", "days"):
        small_study.patients[name] = 0
    small_study.patients["arm"] = "placebo"
    pd.testing.assert_frame_equal(cohort.values, before)
    assert cohort.treatment.sum() == 30
    assert cohort.outcomes["infected"].value.sum() == 24
    assert cohort.outcomes["sofa_day7"].value.any()


def test_repr_shows_counts_and_no_patient(small_study, cohort):
    assert repr(cohort) == (
        "Cohort('small', real, 60 patients: 30 Placebo, 30 Drug; "
        "endpoints: infection_day30, infected, infections, sofa_day7, survival)"
    )
    small_study.raw["simulated"] = True
    assert "simulated" in repr(load_cohort(small_study.write()))


def test_a_cohort_equals_itself_only_and_can_be_a_key(small_study, cohort):
    other = load_cohort(small_study.folder)
    assert cohort == cohort
    assert cohort != other
    assert len({cohort, other}) == 2


def test_digest_is_the_same_for_the_same_data(small_study, cohort):
    assert len(cohort.digest) == 64
    assert digest_after(small_study, lambda study: None) == cohort.digest


def shuffle_events(study):
    study.events = study.events.sample(frac=1, random_state=1)


def rename_column(study):
    study.patients = study.patients.rename(columns={"crp": "c_reactive"})
    study.raw["variables"]["c_reactive_protein"]["column"] = "c_reactive"


def unused_column(study):
    study.patients["comment"] = "free text"


def other_order_of_variables(study):
    study.raw["variables"] = dict(reversed(study.raw["variables"].items()))


@pytest.mark.parametrize(
    "change",
    [shuffle_events, rename_column, unused_column, other_order_of_variables],
    ids=lambda change: change.__name__,
)
def test_digest_ignores_what_models_cannot_see(small_study, cohort, change):
    assert digest_after(small_study, change) == cohort.digest


def set_cell(column, value):
    def change(study):
        study.patients.loc[5, column] = value

    return change


def swap_patients(study):
    study.patients = study.patients.iloc[[1, 0, *range(2, 60)]]


def drop_patient(study):
    study.patients = study.patients.iloc[:-1]
    study.events = study.events[study.events["patient_id"].isin(study.patients["patient_id"])]


def another_infection(study):
    first = study.patients.loc[(study.patients["infected"] == 0) & (study.patients["died"] == 0), "patient_id"].iloc[0]
    study.events.loc[len(study.events)] = [first, "infection", 9]


def set_key(*path, value):
    def change(study):
        entry = study.raw
        for key in path[:-1]:
            entry = entry[key]
        entry[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        set_cell("age", 26),
        set_cell("age", None),
        set_cell("sex", None),
        set_cell("steroid", None),
        set_cell("crp7", 4.5),
        set_cell("centre", "east"),
        set_cell("sofa7", 23),
        set_cell("infections", 6),
        set_cell("days_at_risk", 3),
        set_cell("days", 3),
        swap_patients,
        drop_patient,
        another_infection,
        set_key("allocation", "probability", value=0.6),
        set_key("site", value=None),
        set_key("modifiers", value=["sex"]),
        set_key("endpoints", "infection_day30", "by_day", value=20),
        set_key("endpoints", "survival", "by_day", value=30),
        set_key("define", "c_reactive_protein_day7", "scale", value="linear"),
        set_key("variables", "c_reactive_protein", value={"column": "crp7", "unit": "mg/L"}),
    ],
)
def test_digest_changes_with_whatever_a_model_can_depend_on(small_study, cohort, change):
    assert digest_after(small_study, change) != cohort.digest


def test_digest_changes_with_the_arms(small_study, cohort):
    arms = small_study.raw["arms"]
    arms["control"], arms["treated"] = arms["treated"], arms["control"]
    assert load_cohort(small_study.write()).digest != cohort.digest


def test_values_do_not_depend_on_the_unit_of_the_file(small_study, cohort):
    small_study.patients["alc"] = small_study.patients["alc"] / 1000
    small_study.raw["variables"]["absolute_lymphocyte_count"]["unit"] = "K/uL"
    again = load_cohort(small_study.write())
    np.testing.assert_allclose(
        again.baseline["absolute_lymphocyte_count"], cohort.baseline["absolute_lymphocyte_count"], rtol=1e-12
    )
