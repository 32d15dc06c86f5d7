from __future__ import annotations

import sqlite3
import sys
import traceback

import pandas as pd
import pytest
import sqlalchemy
import yaml
from tests import postgres_server
from tests.made_formats import assert_same_cohort, assert_same_course, make

from il7ml.data import sql
from il7ml.data.generator import simulate_tables
from il7ml.data.loading import load_cohort
from il7ml.data.reading import UnreadableTableError
from il7ml.data.sources import TableSpec
from il7ml.errors import DataError

VARIABLE = "IL7_DATABASE"
EVENTS = TableSpec(database=VARIABLE, table="events", key="patient_id")


@pytest.fixture(scope="module")
def tables():
    return simulate_tables(make.PATIENTS, make.SEED)


@pytest.fixture(scope="module")
def postgres(tables):
    """Return the URL of a PostgreSQL database with the trial in it, its rows in no order."""
    if (reason := postgres_server.missing()) is not None:
        pytest.skip(reason)
    pytest.importorskip("psycopg", reason="the driver psycopg (extra 'sql') is not installed")
    with postgres_server.running() as url:
        engine = sqlalchemy.create_engine(url)
        with engine.begin() as connection:
            for name in ("patients", "labs", "events"):
                getattr(tables, name).sample(frac=1, random_state=1).to_sql(name, connection, index=False)
            connection.execute(sqlalchemy.text("CREATE SCHEMA registry"))
            connection.execute(sqlalchemy.text("CREATE SEQUENCE registry.counter"))
            connection.execute(sqlalchemy.text("CREATE VIEW registry.people AS SELECT * FROM patients"))
        engine.dispose()
        yield url


@pytest.fixture
def trial(tmp_path, tables, monkeypatch):
    make.write_sqlite(tmp_path, tables)
    monkeypatch.setenv(VARIABLE, f"sqlite:///{tmp_path}/trial.db")
    return tmp_path


def rows_of(**place):
    return sql.read_sql(TableSpec(database=VARIABLE, key="patient_id", **place), None)


def refusal(**place):
    with pytest.raises(UnreadableTableError) as caught:
        rows_of(**place)
    # What a log would show of it, the errors behind it included.
    assert postgres_server.PASSWORD not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def plain_of(cohort, tables):
    return load_cohort(cohort.study, {name: getattr(tables, name) for name in ("patients", "labs", "events")})


def test_a_sqlite_file_gives_the_cohort_of_the_plain_tables(trial, tables):
    cohort = load_cohort(trial)
    plain = plain_of(cohort, tables)
    assert_same_cohort(cohort, plain)
    assert_same_course(cohort.course, plain.course)


def test_postgresql_gives_the_cohort_of_the_plain_tables(trial, postgres, tables, monkeypatch):
    monkeypatch.setenv(VARIABLE, postgres)
    raw = yaml.safe_load((trial / "study.yaml").read_text())
    raw["tables"]["patients"]["table"] = "registry.people"
    (trial / "study.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    cohort = load_cohort(trial)
    plain = plain_of(cohort, tables)
    assert_same_cohort(cohort, plain)
    assert_same_course(cohort.course, plain.course)


def test_chunks_make_no_difference(trial, tables, monkeypatch):
    whole = rows_of(table="labs")
    monkeypatch.setattr(sql, "_CHUNK", 37)
    pd.testing.assert_frame_equal(rows_of(table="labs"), whole)
    assert len(whole) == len(tables.labs)


def test_an_empty_table_has_its_columns(trial):
    assert list(rows_of(query="SELECT patient_id, day FROM labs WHERE day > 1e6")) == ["patient_id", "day"]


def test_only_the_columns_that_are_named_are_read(trial, tables):
    assert list(sql.read_sql(EVENTS, {"patient_id", "kind"})) == ["patient_id", "kind"]
    assert list(sql.read_sql(EVENTS, {"patient_id", "kinds"})) == list(tables.events)


def test_a_query_may_have_colons_and_per_cent_signs(trial, postgres, monkeypatch):
    query = "SELECT patient_id, kind FROM events WHERE kind LIKE 'inf%'"
    one = rows_of(query=query)
    monkeypatch.setenv(VARIABLE, postgres)
    other = rows_of(query=query.replace("kind,", "kind::text,").replace(", kind F", ", kind::text F"))
    assert one["kind"].tolist() == other["kind"].tolist()
    assert len(one) > 10


def test_numbers_and_truth_values_and_dates_of_postgresql(trial, postgres, monkeypatch):
    monkeypatch.setenv(VARIABLE, postgres)
    query = "SELECT 'a' AS patient_id, 1.50::numeric AS n, true AS t, DATE '2020-03-01' AS d, NULL::float AS m"
    row = rows_of(query=query).iloc[0]
    assert (float(row["n"]), bool(row["t"]), str(row["d"])[:10]) == (1.5, True, "2020-03-01")
    assert pd.isna(row["m"])


def test_nothing_can_be_written(trial, postgres, tables, monkeypatch):
    insert = "WITH x AS (SELECT 1) INSERT INTO events SELECT * FROM events"
    assert "the database refused to read it (OperationalError)" in refusal(query=insert)
    assert len(rows_of(table="events")) == len(tables.events)
    monkeypatch.setenv(VARIABLE, postgres)
    assert "the database refused to read it (SyntaxError)" in refusal(query=insert)
    # What a query could do without looking like it.
    hidden = "SELECT nextval('registry.counter') AS patient_id"
    assert "the database refused to read it (ReadOnlySqlTransaction)" in refusal(query=hidden)
    assert len(rows_of(table="events")) == len(tables.events)


def test_a_missing_table_is_named_with_the_nearest(trial, postgres, monkeypatch):
    expected = (
        "IL7_DATABASE: patient: the database has no table 'patient'. Mend the study file. Did you mean 'patients'?"
    )
    assert refusal(table="patient") == expected
    monkeypatch.setenv(VARIABLE, postgres)
    assert refusal(table="patient") == expected
    assert "Did you mean 'people'?" in refusal(table="registry.peoples")
    assert "has no table 'elsewhere.people'" in refusal(table="elsewhere.people")


def test_a_query_that_is_refused_shows_the_kind_of_fault_only(trial, postgres, monkeypatch):
    assert "refused to read it (OperationalError). Try it with the" in refusal(query="SELECT nothing FROM events")
    assert "refused to read it (InvalidRequestError)" in refusal(query="SELECT * FROM events WHERE day = :day")
    monkeypatch.setenv(VARIABLE, postgres)
    assert "refused to read it (UndefinedColumn)" in refusal(query="SELECT nothing FROM events")
    assert "refused to read it (UndefinedTable)" in refusal(query="SELECT * FROM nothing")
    # The server's own message would show a cell.
    message = refusal(query="SELECT patient_id::int FROM events")
    assert "refused to read it (InvalidTextRepresentation)" in message
    assert "P000001" not in message


def test_a_missing_column_is_said_as_for_a_file(trial):
    connection = sqlite3.connect(trial / "trial.db")
    connection.execute("ALTER TABLE patients RENAME COLUMN lactate TO lactat")
    connection.close()
    with pytest.raises(DataError) as caught:
        load_cohort(trial)
    assert [str(problem) for problem in caught.value.problems] == [
        "IL7_DATABASE: patients: lactate: column is missing. Did you mean 'lactat'? Mend the study file or the table."
    ]


def test_duplicate_patients_and_unknown_arms_are_said_as_for_a_file(trial):
    connection = sqlite3.connect(trial / "trial.db")
    connection.execute("UPDATE patients SET arm = 'other' WHERE rowid <= 2")
    connection.execute("INSERT INTO patients SELECT * FROM patients WHERE rowid = 9")
    connection.commit()
    connection.close()
    with pytest.raises(DataError) as caught:
        load_cohort(trial)
    assert [problem[:2] + problem[3:4] for problem in caught.value.problems[:2]] == [
        ("IL7_DATABASE: patients", "patient_id", 2),
        ("IL7_DATABASE: patients", "arm", 2),
    ]


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("", "environment variable IL7_DATABASE is not set. Set it to the database's URL."),
        ("correct-horse", "IL7_DATABASE holds no database URL"),
        ("postgresql+psycopg://il7:correct-horse@host:port/x", "IL7_DATABASE holds no database URL"),
        ("nosuch://il7:correct-horse@host/x", "IL7_DATABASE names no known kind of database"),
        ("sqlite:////nowhere/correct-horse.db", "IL7_DATABASE names a SQLite file that is not there"),
        ("sqlite://", "IL7_DATABASE names a SQLite file that is not there"),
    ],
)
def test_urls_that_lead_nowhere(monkeypatch, url, rule):
    monkeypatch.setenv(VARIABLE, url)
    assert f"IL7_DATABASE: events: {rule}" in refusal(table="events")


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "t.db"
    path.write_bytes(b"id,age\n" * 500)
    monkeypatch.setenv(VARIABLE, f"sqlite:///{path}")
    assert "the database refused to read it (DatabaseError)" in refusal(table="events")
    assert path.read_bytes() == b"id,age\n" * 500


def test_a_server_that_does_not_answer_or_lets_us_in(postgres, monkeypatch):
    for url in (
        postgres.replace(postgres_server.PASSWORD, f"{postgres_server.PASSWORD}-no"),
        postgres.replace("il7:", "stranger:"),
        "postgresql+psycopg://il7:correct-horse@127.0.0.1:1/x",
    ):
        monkeypatch.setenv(VARIABLE, url)
        message = refusal(table="events")
        assert "the database does not let us in, or does not answer. Check the server" in message
        assert "stranger" not in message


def test_a_driver_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setenv(VARIABLE, "postgresql+psycopg://il7:correct-horse@host/x")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    message = refusal(table="events")
    assert "the database's driver psycopg is not installed" in message
    assert "pip install 'il7ml[sql]'" in message
