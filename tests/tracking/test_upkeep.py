import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from tests.tracking.logged_runs import client, logged, scored
from tests.trained_store import address

from il7ml.errors import InputError
from il7ml.tracking.promotion import promote
from il7ml.tracking.registry import resolve_model
from il7ml.tracking.upkeep import check_store


def found(uri):
    table = check_store(uri)
    return {(row.part, row.name): (row.ok, row.finding) for row in table.itertuples(index=False)}


def test_a_healthy_store(uri):
    for name in ("first", "second"):
        logged(uri, scored(), name)
    promote("models:/first/1", uri)
    table = found(uri)
    assert table["database", "mlflow.db"] == (True, "whole")
    assert table["experiment", "trials"] == (True, "4 finished")
    assert table["model", "first version 1"] == table["model", "second version 1"] == (True, "loads")
    assert table["champion", "first"] == (True, "version 1")
    assert table["champion", "second"] == (True, "none")


def test_files_that_are_gone(uri, tmp_path):
    logged(uri)
    (tmp_path / "mlruns" / "artifacts").rename(tmp_path / "elsewhere")
    table = found(uri)
    assert table["experiment", "trials"][0] is False
    assert "the files of 1 are not where the store says" in table["experiment", "trials"][1]
    assert table["model", "model version 1"][0] is False
    assert "il7ml store relocate" in table["model", "model version 1"][1]


def test_a_model_that_was_altered(uri):
    logged(uri), logged(uri)
    card = resolve_model("models:/model/1", uri).folder / "card.json"
    card.write_text(card.read_text(encoding="utf-8").replace("Invented", "Improved"), encoding="utf-8")
    table = found(uri)
    assert table["model", "model version 1"][0] is False
    assert "card.json was altered" in table["model", "model version 1"][1]
    assert table["model", "model version 2"] == (True, "loads")


def test_a_champion_that_is_not_there(uri, tmp_path):
    logged(uri)
    promote("models:/model/1", uri)
    with closing(sqlite3.connect(tmp_path / "mlruns" / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE registered_model_aliases SET version = 9")
    ok, finding = found(uri)["champion", "model"]
    assert not ok
    assert finding == "version 9, which is not there. Promote another: il7ml promote RUN."


def test_a_run_whose_process_is_not_known(uri):
    experiment = client(uri).create_experiment("older")
    client(uri).create_run(experiment)
    ok, finding = found(uri)["experiment", "older"]
    assert not ok
    assert "of 1 running it is not known by which process" in finding


def test_a_damaged_database(uri, tmp_path):
    logged(uri)
    database = tmp_path / "mlruns" / "mlflow.db"
    content = bytearray(database.read_bytes())
    for place in range(8 * 4096, len(content), 4096):
        content[place : place + 200] = bytes(200)
    database.write_bytes(bytes(content))
    table = check_store(uri)
    assert list(table["part"]) == ["database"]
    assert not table["ok"].any()
    assert "Restore it from a backup" in table["finding"][0]
    database.write_text("no database " * 1000)
    assert not check_store(uri)["ok"].any()


def test_a_transaction_that_was_cut_off_is_taken_back(uri, tmp_path):
    """A process that is killed between writing pages and removing the journal leaves both."""
    logged(uri)
    database = tmp_path / "mlruns" / "mlflow.db"
    cut_off = [
        "import os, signal, sqlite3, sys",
        "connection = sqlite3.connect(sys.argv[1])",
        "connection.execute('PRAGMA cache_size = 1')",  # so that pages are written before the end
        "connection.execute('BEGIN')",
        "connection.execute('CREATE TABLE filler (x)')",
        "connection.executemany('INSERT INTO filler VALUES (?)', [('x' * 4000,)] * 500)",
        "connection.execute('UPDATE runs SET name = ?', ('y' * 200,))",
        "os.kill(os.getpid(), signal.SIGKILL)",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(cut_off), str(database)], check=False)
    assert database.with_name("mlflow.db-journal").stat().st_size > 0
    assert found(uri)["database", "mlflow.db"] == (True, "whole")
    assert not database.with_name("mlflow.db-journal").exists()


def test_no_store(tmp_path):
    with pytest.raises(InputError, match="no tracking store at"):
        check_store(address(tmp_path))
    assert list(tmp_path.iterdir()) == []
