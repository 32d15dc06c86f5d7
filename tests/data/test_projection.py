from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from il7ml.data.loading import load_cohort
from il7ml.data.projection import named_columns
from il7ml.data.study import load_study
from il7ml.errors import DataError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["cgd", "actg175", "il7_trial"])
@pytest.mark.parametrize("course", [True, False])
def test_the_columns_that_are_named_are_all_that_is_needed(name, course):
    study = load_study(ROOT / "data" / name)
    whole = {key: pd.read_csv(study.folder / spec.path) for key, spec in study.tables.items()}
    named = named_columns(study, course=course)
    few = {table: whole[table][whole[table].columns.intersection(list(columns))] for table, columns in named.items()}
    one, other = (load_cohort(study, tables, course=course) for tables in (whole, few))
    assert one.digest == other.digest
    assert (one.course is None) == (other.course is None)
    if one.course is not None:
        assert one.course.digest() == other.course.digest()


def test_no_column_is_named_for_nothing():
    study = load_study(ROOT / "data" / "cgd")
    for table, columns in named_columns(study).items():
        for column in sorted(columns):
            tables = {key: pd.read_csv(study.folder / spec.path) for key, spec in study.tables.items()}
            tables[table] = tables[table].drop(columns=column)
            with pytest.raises(DataError, match="missing"):
                load_cohort(study, tables)


def test_joined_columns_and_dates_name_their_sources():
    raw = yaml.safe_load((ROOT / "data" / "formats" / "adam.yaml").read_text(encoding="utf-8"))
    study = load_study(ROOT / "data" / "formats" / "adam.yaml")
    named = named_columns(study)
    assert {"LSTALVDT", "RANDDT", "USUBJID", "TRT01P", "SITEID"} <= named["patients"]
    assert named["patients"].isdisjoint(raw["joined"])
    assert named["adlb"] == {"USUBJID", "PARAMCD", "ABLFL", "AVAL", "ADY"}
    assert named["adtte"] == {"USUBJID", "PARAMCD", "AVAL", "CNSR", "ADT", "STARTDT"}
    # Models do not need the time after randomisation.
    assert "RANDDT" not in named_columns(study, course=False)["patients"]
    assert "AEDECOD" not in named_columns(study, course=False)["adae"]


def test_days_under_a_name_that_nothing_uses_are_a_problem(small_study):
    small_study.raw["tables"]["events"]["study_days"] = ["dya"]
    with pytest.raises(DataError, match=r"events.csv: dya: stands under study_days or dates, but nothing .*mean 'day'"):
        load_cohort(small_study.write())
