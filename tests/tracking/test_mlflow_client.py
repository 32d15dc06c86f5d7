import json
import os
import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.store.tracking import sqlalchemy_store
from sqlalchemy import create_engine
from tests.small_bundles import make, with_card
from tests.tracking.logged_runs import EXAMPLE, logged
from tests.trained_store import address, empty_store

from il7ml.errors import InputError
from il7ml.predictor import Predictor
from il7ml.tracking.mlflow_client import _make_database, connect
from il7ml.tracking.promotion import promote
from il7ml.tracking.registry import resolve_model
from il7ml.tracking.store import open_run


@pytest.mark.parametrize("simulated", [False, True])
@pytest.mark.parametrize("kind", ["binary", "count"])
def test_mlflows_own_face_gives_the_same_answers_in_the_columns_it_promises(uri, kind, simulated):
    bundle = with_card(make(kind).bundle, simulated=simulated)
    _, registered = logged(uri, bundle)
    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model(f"models:/{registered.name}/{registered.version}")
    frame = make(kind).sample.X.head(5)
    answers = model.predict(frame)
    assert list(answers.columns) == model.metadata.signature.outputs.input_names()
    expected = Predictor(bundle).predict_table(frame)
    pd.testing.assert_frame_equal(answers.drop(columns="model_digest"), expected.drop(columns="model_digest"))


def test_the_signature_asks_for_what_is_required_only(uri):
    _, registered = logged(uri)
    info = mlflow.models.get_model_info(resolve_path(uri, registered))
    inputs = {spec.name: (spec.type.name, spec.required) for spec in info.signature.inputs}
    assert inputs == {
        "age": ("double", True),
        "absolute_lymphocyte_count": ("double", True),
        "neutrophil_count": ("double", False),
        "c_reactive_protein": ("double", False),
        "respiratory_support": ("string", False),
        "diabetes": ("double", False),
    }


def resolve_path(uri, registered):
    return str(resolve_model(f"models:/{registered.name}/{registered.version}", uri).folder.parents[1])


def test_the_example_is_the_synthetic_patient_and_is_accepted(uri):
    _, registered = logged(uri)
    path = f"{resolve_path(uri, registered)}/input_example.json"
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        example = json.load(file)
    record = dict(zip(example["columns"], example["data"][0], strict=True))
    assert record == EXAMPLE
    assert Predictor(make().bundle).predict(record).status == "ok"


# Stores that cannot be used.


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "mlruns").write_text("")
    with pytest.raises(InputError, match="cannot be written"), open_run(address(tmp_path), "trials", "a run", {}):
        pass


def test_a_folder_in_place_of_the_file(tmp_path):
    (tmp_path / "mlruns" / "mlflow.db").mkdir(parents=True)
    with pytest.raises(InputError, match="expected a readable file"), open_run(address(tmp_path), "t", "r", {}):
        pass
    with pytest.raises(InputError, match="expected a readable file"):
        resolve_model("champion", address(tmp_path))


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_text("no database " * 1000)
    with pytest.raises(InputError, match="cannot be used"), open_run(address(tmp_path), "trials", "a run", {}):
        pass
    with pytest.raises(InputError, match="cannot be used"):
        resolve_model("champion", address(tmp_path))


def test_a_place_where_nothing_can_be_made():
    with pytest.raises(InputError, match="cannot be written"), open_run("sqlite:////proc/x/mlflow.db", "t", "r", {}):
        pass


def test_a_read_only_store_can_be_read_and_not_written(uri, tmp_path):
    run_id, _ = logged(uri)
    database = tmp_path / "mlruns" / "mlflow.db"
    database.chmod(0o444)
    database.parent.chmod(0o555)
    if os.access(database, os.W_OK):
        pytest.skip("the administrator may write anything")
    try:
        assert resolve_model(run_id, uri).version == "1"
        with pytest.raises(InputError, match="cannot be written"), open_run(uri, "trials", "a run", {}):
            pass
        with pytest.raises(InputError, match="cannot be used"):
            promote(run_id, uri)
    finally:
        database.parent.chmod(0o755)


# Making a store.


def test_a_store_that_was_not_finished_is_not_there(tmp_path, monkeypatch):
    def interrupted(uri, _):
        Path(uri.removeprefix("sqlite:///")).write_bytes(b"half a database")
        raise KeyboardInterrupt

    monkeypatch.setattr(sqlalchemy_store, "SqlAlchemyStore", interrupted)
    with pytest.raises(KeyboardInterrupt):
        connect(address(tmp_path))
    assert list((tmp_path / "mlruns").iterdir()) == []


@pytest.mark.parametrize("error", [FileExistsError, PermissionError])
def test_a_store_is_put_in_place_where_another_was_faster_or_without_hard_links(tmp_path, monkeypatch, error):
    folder = tmp_path / "mlruns"

    class Made:
        """Stands for MLflow's store, whose making takes seconds; the database is a complete one."""

        def __init__(self, uri, _):
            shutil.copy(database, uri.removeprefix("sqlite:///"))
            self.engine = create_engine("sqlite://")

    def refuse(path, made):
        if error is FileExistsError:
            shutil.copy(made, path)
        raise error

    database = Path(empty_store(tmp_path / "template").removeprefix("sqlite:///"))
    whole = sqlalchemy_store.SqlAlchemyStore
    monkeypatch.setattr(sqlalchemy_store, "SqlAlchemyStore", Made)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    folder.mkdir()
    _make_database(folder / "mlflow.db")
    monkeypatch.setattr(sqlalchemy_store, "SqlAlchemyStore", whole)
    assert [path.name for path in folder.iterdir()] == ["mlflow.db"]
    assert connect(address(tmp_path), must_exist=True).search_registered_models() == []
