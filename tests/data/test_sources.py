from __future__ import annotations

import pytest
import yaml

from il7ml.data.sources import TableSpec
from il7ml.data.study import load_study
from il7ml.errors import InputError

SECRET = "postgresql+psycopg://il7:correct-horse@host/trial"


def refusal(small_study, **spec):
    small_study.raw["tables"]["events"] = {"key": "patient_id", **spec}
    path = small_study.folder / "study.yaml"
    path.write_text(yaml.safe_dump(small_study.raw))
    with pytest.raises(InputError) as caught:
        load_study(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "give either path, or database with table or query"),
        ({"path": "t.csv", "database": "IL7", "table": "t"}, "give either path, or database with table or query"),
        ({"database": "IL7"}, "database goes with either table or query"),
        ({"database": "IL7", "table": "t", "query": "SELECT 1"}, "database goes with either table or query"),
        ({"path": "t.csv", "table": "t"}, "database goes with either table or query"),
        ({"database": "IL7", "query": "DELETE FROM t"}, "expected a query that only reads, beginning with SELECT"),
        ({"database": "IL7", "query": "  "}, "expected a query that only reads, beginning with SELECT"),
        ({"path": "t.csv", "encoding": "klingon"}, "unknown encoding; expected a name such as utf-8, latin-1"),
        ({"path": "t.csv", "encoding": "base64"}, "unknown encoding; expected a name such as utf-8, latin-1"),
        ({"path": "t.xpt", "study_days": ["ADY"], "dates": {"ADY": "RANDDT"}}, "'ADY' stands under study_days and"),
    ],
)
def test_places_that_make_no_sense_are_refused(small_study, spec, message):
    assert message in refusal(small_study, **spec)


def test_a_url_in_a_study_file_is_refused_without_being_shown(small_study):
    message = refusal(small_study, database=SECRET, table="t")
    assert "expected the name of an environment variable that holds the URL, never the URL itself" in message
    assert "correct-horse" not in message


def test_places_in_words():
    assert TableSpec(path="t.csv", key="id").place == "t.csv"
    assert TableSpec(database="IL7", table="a.t", key="id").place == "IL7: a.t"
    assert TableSpec(database="IL7", query="select 1", key="id").place == "IL7: query"
