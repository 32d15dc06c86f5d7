import shutil
import sqlite3
from contextlib import closing

import mlflow
import pytest
from tests.small_bundles import PATIENT, make
from tests.tracking.logged_runs import ITEMS, all_runs, client, files, logged
from tests.trained_store import address, empty_store

from il7ml.errors import InputError
from il7ml.predictor import load_predictor
from il7ml.tracking import relocation
from il7ml.tracking.items import Metric
from il7ml.tracking.promotion import promote
from il7ml.tracking.registry import resolve_model
from il7ml.tracking.relocation import relocate_store
from il7ml.tracking.store import open_run
from il7ml.tracking.upkeep import check_store

HOME = "alter Ort, Größe 10 %"


@pytest.fixture
def home(tmp_path):
    """A project with a champion, in a folder whose name has to be escaped."""
    folder = tmp_path / HOME
    promote(logged(empty_store(folder))[0], address(folder))
    return folder


def dump(folder):
    with closing(sqlite3.connect(folder / "mlruns" / "mlflow.db")) as connection:
        return list(connection.iterdump())


def test_a_moved_store_works_in_its_new_place(home, tmp_path):
    expected = load_predictor(uri=address(home)).predict(PATIENT)
    before = dump(home)
    new = tmp_path / "neuer Ort"
    home.rename(new)
    uri = address(new)
    with pytest.raises(InputError, match="il7ml store relocate"):
        resolve_model(uri=uri)
    done = relocate_store(uri)
    assert done.before == ((home / "mlruns" / "artifacts").as_uri(),)
    assert done.after == str(new / "mlruns" / "artifacts")
    assert done.changed > 0
    assert load_predictor(uri=uri).predict(PATIENT) == expected
    # Also for MLflow's own reader, and for the files of runs.
    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model("models:/model@champion")
    assert len(model.predict(make().sample.X.head(3))) == 3
    parent = next(run for run in all_runs(uri).values() if "study" in run.data.tags)
    table = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/tables/table_one.csv")
    assert table.startswith("variable")
    assert check_store(uri)["ok"].all()
    # What is trained next lies in the new place.
    run_id, _ = logged(uri)
    assert (new / "mlruns" / "artifacts" / run_id / "artifacts" / "summary.md").is_file()
    assert not home.exists()
    # Nothing is left of the old place, and the backup is the database as it was.
    assert not any(HOME in line or "alter%20Ort" in line for line in dump(new))
    with closing(sqlite3.connect(done.backup)) as connection:
        assert list(connection.iterdump()) == before


def test_a_store_in_its_place_is_left_alone(home):
    before = dump(home)
    assert relocate_store(address(home)) == ((), str(home / "mlruns" / "artifacts"), 0, None)
    assert dump(home) == before
    assert files(home / "mlruns") >= {"mlflow.db"}
    assert not list((home / "mlruns").glob("*relocation*"))


def test_a_copy_becomes_independent_of_the_original(home, tmp_path):
    before = dump(home)
    shutil.copytree(home, tmp_path / "copy")
    uri = address(tmp_path / "copy")
    relocate_store(uri)
    assert resolve_model(uri=uri).folder.is_relative_to(tmp_path / "copy")
    assert dump(home) == before


def test_twice_moved_with_a_run_in_between(home, tmp_path):
    for place in ("second", "third"):
        home = home.rename(tmp_path / place)
        relocate_store(address(home))
        logged(address(home))
    assert check_store(address(home))["ok"].all()
    assert relocate_store(address(home)).changed == 0


def test_files_that_lie_elsewhere_on_purpose_stay_there(home, tmp_path):
    uri, disk = address(home), (tmp_path / "disk" / "artifacts").as_uri()
    client(uri).create_experiment("large", artifact_location=disk)
    with open_run(uri, "large", "a run", {}) as run:
        run.log(ITEMS)
    home = home.rename(tmp_path / "new")
    assert len(relocate_store(address(home)).before) == 1
    assert all_runs(address(home))[run.run_id].info.artifact_uri == f"{disk}/{run.run_id}/artifacts"


def test_all_or_nothing(home, tmp_path):
    home = home.rename(tmp_path / "new")
    with closing(sqlite3.connect(home / "mlruns" / "mlflow.db")) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE UPDATE ON model_versions BEGIN SELECT RAISE(ABORT, 'no space'); END"
        )
    before = dump(home)
    with pytest.raises(InputError, match=r"cannot be changed \(IntegrityError: no space\)"):
        relocate_store(address(home))
    assert dump(home) == before


def test_a_store_in_use_is_not_changed(home, tmp_path, monkeypatch):
    monkeypatch.setattr(relocation, "_WAIT_SECONDS", 0)
    home = home.rename(tmp_path / "new")
    with closing(sqlite3.connect(home / "mlruns" / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match=r"database is locked.*Close what uses it"):
            relocate_store(address(home))
    assert relocate_store(address(home)).changed > 0


def test_what_cannot_be_relocated(tmp_path):
    with pytest.raises(InputError, match="expected an SQLite store"):
        relocate_store("http://127.0.0.1:5000")
    with pytest.raises(InputError, match="no tracking store at"):
        relocate_store(address(tmp_path))
    uri = empty_store(tmp_path)
    with pytest.raises(InputError, match=r"is not there\. Move the folder there, too"):
        relocate_store(uri)
    (tmp_path / "mlruns" / "artifacts").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_text("no database " * 1000)
    with pytest.raises(InputError, match="cannot be changed"):
        relocate_store(uri)


def test_metrics_are_untouched(home, tmp_path):
    runs = {run_id: run.data.metrics for run_id, run in all_runs(address(home)).items()}
    assert {item.name for item in ITEMS if isinstance(item, Metric)} <= set().union(*runs.values())
    home = home.rename(tmp_path / "new")
    relocate_store(address(home))
    assert {run_id: run.data.metrics for run_id, run in all_runs(address(home)).items()} == runs
