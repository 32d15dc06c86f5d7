"""Studies read part by part against the same tables read at once, which `test_loading` covers."""

import numpy as np
import pandas as pd
import pytest
import yaml

from il7ml.data.loading import load_cohort
from il7ml.data.streaming import count_partitioned_rows, stream_study
from il7ml.data.study import load_study
from il7ml.errors import DataError, InputError


def write_parts(study, cuts):
    """Write the study's tables as folders of Parquet files, all rows of a patient in files of one name."""
    for name, frame in (("patients", study.patients), ("events", study.events)):
        study.raw["tables"][name]["path"] = f"{name}-{len(cuts)}"
        folder = study.folder / f"{name}-{len(cuts)}"
        folder.mkdir(exist_ok=True)
        for number, ids in enumerate(np.array_split(study.patients["patient_id"].unique(), cuts)):
            part = frame[frame["patient_id"].isin(ids)]
            part.to_parquet(folder / f"part-{number}.parquet", index=False)
    study.write_study()


@pytest.fixture
def study(small_study):
    def write_study():
        (small_study.folder / "study.yaml").write_text(
            yaml.safe_dump(small_study.raw, sort_keys=False), encoding="utf-8"
        )

    small_study.write_study = write_study
    small_study.cut = lambda *cuts: write_parts(small_study, list(cuts))
    return small_study


def read(study, sample=1000, seed=0):
    kept = []
    found = stream_study(load_study(study.folder), kept.append, sample=sample, seed=seed)
    return found, kept


@pytest.mark.parametrize("cuts", [(60,), (13, 40), (1, 2, 30)])
def test_parts_together_are_the_tables_read_at_once(study, cuts):
    expected = load_cohort(study.folder, course=False)
    study.cut(*cuts)
    found, kept = read(study)
    assert found.everybody.flow == expected.flow
    np.testing.assert_array_equal(found.everybody.treatment, expected.treatment)
    np.testing.assert_array_equal(found.everybody.propensity, expected.propensity)
    for name, observed in expected.outcomes.items():
        np.testing.assert_array_equal(found.everybody.outcomes[name].value, observed.value)
        for part in ("time", "exposure"):
            np.testing.assert_array_equal(getattr(found.everybody.outcomes[name], part), getattr(observed, part))
    pd.testing.assert_frame_equal(pd.concat([part.baseline for part in kept], ignore_index=True), expected.baseline)
    # All are in a sample that is larger than the table.
    assert found.sample.digest == expected.digest
    assert found.rows.tolist() == list(range(60))


def test_numbers_belong_to_patients_and_the_seed(study):
    study.cut(20)
    first, _ = read(study)
    study.patients = study.patients[::-1]
    study.cut(7, 31)
    turned, _ = read(study)
    np.testing.assert_array_equal(turned.number[::-1], first.number)
    other, _ = read(study, seed=1)
    assert not np.array_equal(other.number, turned.number)
    assert np.unique(first.number).size == 60


def test_the_sample_is_drawn_with_the_wanted_share_and_is_complete(study):
    study.cut(30)
    everybody = load_cohort(study.folder, course=False)
    sizes = []
    for seed in range(20):
        found, _ = read(study, sample=40, seed=seed)
        sizes.append(found.rows.size)
        pd.testing.assert_frame_equal(found.sample.baseline, everybody.baseline.iloc[found.rows].reset_index(drop=True))
        for name, observed in found.sample.outcomes.items():
            np.testing.assert_array_equal(observed.value, everybody.outcomes[name].value[found.rows])
    # 20 draws of 60 patients with probability 2/3 each.
    assert np.mean(sizes) == pytest.approx(40, abs=4 * np.sqrt(60 * (2 / 3) * (1 / 3) / 20))


def fault(study, change):
    change(study)
    study.cut(20, 40)
    with pytest.raises(DataError) as parts:
        read(study)
    with pytest.raises(DataError) as whole:
        load_cohort(study.folder, course=False)
    return parts.value.problems, whole.value.problems


def set_cells(column, rows, value):
    def change(study):
        study.patients[column] = study.patients[column].astype(object)
        study.patients.loc[rows, column] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        set_cells("age", [3, 30, 50], 400),
        set_cells("arm", [1, 59], None),
        set_cells("arm", [2, 22], "other"),
        set_cells("steroid", [0, 45], "perhaps"),
        set_cells("centre", [25], None),
        set_cells("age", range(60), 50),
        set_cells("crp", range(60), None),
        set_cells("arm", range(60), "drug"),
        lambda study: study.patients.__delitem__("age"),
        lambda study: study.events.__setitem__("day", -study.events["day"]),
    ],
)
def test_faults_are_those_of_the_tables_read_at_once(study, change):
    parts, whole = fault(study, change)
    assert set(parts) == set(whole)


def test_a_patient_in_two_parts_is_found(study):
    study.cut(20)
    first, second = (study.folder / "patients-1" / f"part-{number}.parquet" for number in (0, 1))
    pd.concat([pd.read_parquet(second), pd.read_parquet(first).head(2)]).to_parquet(second, index=False)
    with pytest.raises(DataError, match=r"duplicate patient: one row a patient is expected \(2 rows\)"):
        read(study)


def test_a_part_without_patients_of_the_two_arms_is_passed_over(study):
    study.raw["arms"]["other_arms"] = "exclude"
    study.patients.loc[:19, "arm"] = "third"
    study.cut(20, 40)
    found, kept = read(study)
    expected = load_cohort(study.folder, course=False)
    assert found.everybody.flow == expected.flow == (60, 20, 40, 20, 20)
    assert len(kept) == 2


def test_nothing_is_kept_once_a_fault_was_found(study):
    study.patients.loc[0, "age"] = 400
    study.cut(20, 40)
    kept = []
    with pytest.raises(DataError):
        stream_study(load_study(study.folder), kept.append, sample=10, seed=0)
    assert kept == []


# Layouts that are refused.


def test_a_table_that_is_one_file_is_refused(study):
    study.cut(30)
    study.raw["tables"]["events"]["path"] = "events.csv"
    study.write_study()
    with pytest.raises(InputError, match="needs table 'events' as a folder of Parquet files"):
        read(study)


def test_tables_cut_in_other_ways_are_refused(study):
    study.cut(30)
    (study.folder / "events-1" / "part-1.parquet").rename(study.folder / "events-1" / "later.parquet")
    with pytest.raises(InputError, match="its files are not called as those of the patients table"):
        read(study)


def test_folders_that_are_a_column_are_refused(study):
    study.cut(30)
    for table in ("patients-1", "events-1"):
        (study.folder / table / "year=2024").mkdir()
        (study.folder / table / "part-1.parquet").rename(study.folder / table / "year=2024" / "part-1.parquet")
    with pytest.raises(InputError, match="folders called column=value are not read part by part"):
        read(study)


def test_rows_are_counted_in_folders_only(study):
    assert count_partitioned_rows(load_study(study.folder)) == 0
    study.cut(10, 40)
    assert count_partitioned_rows(load_study(study.folder)) == 60
