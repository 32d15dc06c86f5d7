"""One trial, written in every format by the script in data/formats, gives one cohort."""

from __future__ import annotations

import pytest
from tests.made_formats import assert_same_cohort, assert_same_course, make

from il7ml.data.loading import load_cohort


def test_one_trial_in_every_format(tmp_path, monkeypatch):
    pytest.importorskip("pyreadstat", reason="the package pyreadstat (extra 'sas') is not installed")
    make.main(tmp_path)
    monkeypatch.setenv("IL7_DATABASE", f"sqlite:///{tmp_path}/sqlite/trial.db")
    csv, sqlite, parquet, adam = (load_cohort(tmp_path / name) for name in ("csv", "sqlite", "parquet", "adam"))
    assert_same_cohort(csv, sqlite)
    assert_same_course(csv.course, sqlite.course)
    # The patients of the folders come by cohort, those of the others by identifier.
    assert sorted(parquet.site) == list(parquet.site) != list(csv.site)
    for other in (parquet, adam):
        assert other.flow == csv.flow
        infected = (cohort.outcomes["infection_day30"].value.sum() for cohort in (csv, other))
        assert len(set(infected)) == 1
