from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from il7ml.data.loading import load_cohort
from il7ml.errors import DataError, InputError


@pytest.fixture
def long_table(small_study):
    """Return the trial with its lymphocyte count, arm and day-7 SOFA in long tables instead of the patients table."""
    people = small_study.patients
    rows = pd.concat(
        [
            pd.DataFrame({"patient_id": people["patient_id"], "test": "LYM", "base": "Y", "value": people["alc"]}),
            pd.DataFrame({"patient_id": people["patient_id"], "test": "LYM", "base": "", "value": people["alc"] + 50}),
            pd.DataFrame({"patient_id": people["patient_id"], "test": "SOFA", "base": "", "value": people["sofa7"]}),
        ]
    ).sample(frac=1, random_state=2)
    small_study.raw["tables"]["labs"] = {"path": "labs.csv", "key": "patient_id"}
    small_study.raw["joined"] = {
        "alc": {"table": "labs", "column": "value", "where": {"test": "LYM", "base": "Y"}},
        "sofa7": {"table": "labs", "column": "value", "where": {"test": "SOFA"}},
    }
    return rows


def load(small_study, rows, **changes):
    path = small_study.write()
    tables = {"patients": small_study.patients, "events": small_study.events, "labs": rows}
    return load_cohort(path, {**tables, **changes})


def problems(small_study, rows, **changes):
    with pytest.raises(DataError) as caught:
        load(small_study, rows, **changes)
    return [str(problem) for problem in caught.value.problems]


def test_joined_columns_are_columns_of_the_patients_table(small_study, long_table):
    wide = load_cohort(small_study.folder)
    small_study.patients = small_study.patients.drop(columns=["alc", "sofa7"])
    long = load(small_study, long_table)
    assert long.digest == wide.digest
    assert long.baseline["absolute_lymphocyte_count"].tolist() == wide.baseline["absolute_lymphocyte_count"].tolist()
    np.testing.assert_array_equal(long.outcomes["sofa_day7"].value, wide.outcomes["sofa_day7"].value)


def test_a_joined_column_stands_before_one_of_its_name(small_study, long_table):
    wide = load_cohort(small_study.folder)
    small_study.patients["alc"] = 1e6
    assert load(small_study, long_table).digest == wide.digest


def test_patients_without_a_row_are_missing(small_study, long_table):
    first = small_study.patients["patient_id"][:4]
    rows = long_table[~(long_table["patient_id"].isin(first) & (long_table["base"] == "Y"))]
    missing = load(small_study, rows).baseline["absolute_lymphocyte_count"].isna()
    assert missing.tolist() == [True] * 4 + [False] * 56


def test_rows_that_do_not_fit_are_one_problem_each(small_study, long_table):
    twice = pd.concat([long_table, long_table[long_table["test"] == "SOFA"].iloc[:3]])
    assert problems(small_study, twice) == [
        "labs.csv: value: patients with more than one row for joined column 'sofa7' (6 rows). "
        "Narrow its where to one row a patient."
    ]
    strangers = long_table.assign(patient_id=long_table["patient_id"].where(long_table["test"] != "SOFA", "X1"))
    assert "labs.csv: patient_id: event of a patient who is not in the patients table (60 rows). Mend it." in problems(
        small_study, strangers
    )
    assert problems(small_study, long_table.replace("SOFA", "SOFA2")) == [
        "labs.csv: value: no row belongs to joined column 'sofa7'. Mend its where."
    ]
    assert problems(small_study, long_table.rename(columns={"base": "bas"})) == [
        "labs.csv: base: column is missing. Did you mean 'bas'? Mend the study file or the table."
    ]


def test_a_table_that_is_missing_is_said_once(small_study, long_table):
    path = small_study.write()
    with pytest.raises(DataError) as caught:
        load_cohort(path)
    assert [problem.file for problem in caught.value.problems] == ["labs.csv"]


@pytest.mark.parametrize(
    ("joined", "message"),
    [
        ({"alc": {"table": "lab", "column": "value"}}, "joined column 'alc' needs another table than 'patients'"),
        ({"alc": {"table": "patients", "column": "value"}}, "joined column 'alc' needs another table than 'patients'"),
        ({"patient_id": {"table": "labs", "column": "x"}}, "joined column 'patient_id' is the patient's identifier"),
        (
            {"alc": {"table": "labs", "column": "v"}, "sofa7": {"table": "labs", "column": "v"}},
            "variable 'absolute_lymphocyte_count' is joined from the same cells as 'sofa7', which is the outcome of "
            "endpoint 'sofa_day7', so it cannot be known before randomisation",
        ),
    ],
)
def test_joins_that_make_no_sense_are_refused(small_study, long_table, joined, message):
    small_study.raw["joined"] = joined
    with pytest.raises(InputError, match=message):
        load_cohort(small_study.write())
