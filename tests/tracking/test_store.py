import json
import os

import mlflow
import numpy as np
import pandas as pd
import pytest
from tests.small_bundles import PATIENT, make, with_card
from tests.trained_store import address, empty_store

from il7ml.bundle import load_bundle
from il7ml.errors import InputError
from il7ml.predictor import Predictor
from il7ml.tracking.items import Child, Metric, Param, Picture, Table, Tag, Text
from il7ml.tracking.store import open_run, promote, resolve_model

ITEMS = (
    Param("seed", "7"),
    Metric("auroc", 0.7),
    Metric("auroc_low", 0.6),
    Tag("verdict.heterogeneity", "none"),
    Text("summary.md", "Größe: 10 µm\n"),
    Table("table_one", pd.DataFrame({"variable": ["Age"], "control": [0.5]})),
    Picture("roc", b"\x89PNG picture"),
    Child("candidate logistic", (Param("risk_model", "logistic"), Metric("brier", 0.2), Tag("selected", "true"))),
)
EXAMPLE = {**PATIENT, "age": 60.0, "c_reactive_protein": 90.0, "diabetes": 0.0}


@pytest.fixture
def uri(tmp_path):
    return empty_store(tmp_path)


@pytest.fixture
def no_default(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def client(uri):
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def logged(uri, bundle=None, name="model", items=ITEMS):
    """Log a complete run with a model and return run id and registered model."""
    with open_run(uri, "trials", "a run", {"study": "trial"}) as run:
        run.log(items)
        return run.run_id, run.log_model(bundle or make().bundle, name, EXAMPLE)


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_holds_everything(uri, tmp_path):
    run_id, registered = logged(uri)
    run = client(uri).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "a run"
    assert run.data.params == {"seed": "7"}
    assert run.data.metrics == {"auroc": 0.7, "auroc_low": 0.6}
    assert {"study": "trial", "verdict.heterogeneity": "none"}.items() <= run.data.tags.items()
    assert mlflow.active_run() is None
    folder = tmp_path / "mlruns" / "artifacts" / run_id / "artifacts"
    assert files(folder) == {"summary.md", "tables/table_one.csv", "figures/roc.png"}
    assert (folder / "summary.md").read_text(encoding="utf-8") == "Größe: 10 µm\n"
    assert (folder / "figures" / "roc.png").read_bytes() == b"\x89PNG picture"
    assert pd.read_csv(folder / "tables" / "table_one.csv").equals(ITEMS[5].frame)
    assert registered == ("model", "1")


def test_a_candidate_is_a_finished_child(uri):
    run_id, _ = logged(uri)
    experiment = client(uri).get_experiment_by_name("trials")
    children = client(uri).search_runs([experiment.experiment_id], f"tags.mlflow.parentRunId = '{run_id}'")
    assert [(child.info.run_name, child.info.status) for child in children] == [("candidate logistic", "FINISHED")]
    assert children[0].data.metrics == {"brier": 0.2}
    assert children[0].data.params == {"risk_model": "logistic"}
    assert children[0].data.tags["selected"] == "true"


def test_everything_lies_beside_the_database(uri, tmp_path):
    logged(uri)
    assert {path.name for path in tmp_path.iterdir()} == {"mlruns"}
    assert {path.name for path in (tmp_path / "mlruns").iterdir()} == {"mlflow.db", "artifacts"}


def test_a_store_is_made_where_there_is_none(tmp_path):
    uri = address(tmp_path / "new")
    with open_run(uri, "trials", "a run", {}) as run:
        run.log([Metric("auroc", 0.5)])
    assert client(uri).get_run(run.run_id).data.metrics == {"auroc": 0.5}


# Models.


def test_the_bundle_comes_back_from_the_store(uri):
    run_id, registered = logged(uri)
    found = resolve_model(run_id, uri)
    assert found.version == registered.version == "1"
    loaded = load_bundle(found.folder)
    assert loaded.card == make().bundle.card
    assert Predictor(loaded).predict(PATIENT).untreated == Predictor(make().bundle).predict(PATIENT).untreated


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


def test_a_second_training_is_a_second_version(uri):
    first, second = logged(uri), logged(uri)
    assert [registered.version for _, registered in (first, second)] == ["1", "2"]
    assert resolve_model(first[0], uri).version == "1"
    assert resolve_model("models:/model/2", uri).version == "2"


# Runs that do not end well.


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError, "FAILED"),
        (InputError, "FAILED"),
        (OSError, "FAILED"),
        (SystemExit, "FAILED"),
        (KeyboardInterrupt, "KILLED"),
    ],
)
def test_a_run_that_ends_early_says_so_and_registers_nothing(uri, error, status):
    def interrupted():
        with open_run(uri, "trials", "a run", {}) as run:
            ids.append(run.run_id)
            run.log(ITEMS)
            raise error("stopped")

    ids = []
    with pytest.raises(error, match="stopped"):
        interrupted()
    run = client(uri).get_run(ids[0])
    assert run.info.status == status
    assert run.data.params == {"seed": "7"}
    assert client(uri).search_registered_models() == []
    assert mlflow.active_run() is None


def test_a_run_that_fails_while_the_model_is_logged_registers_nothing(uri, monkeypatch):
    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(InputError, match="No space left"), open_run(uri, "trials", "a run", {}) as run:
        run.log_model(make().bundle, "model", EXAMPLE)
    assert client(uri).get_run(run.run_id).info.status == "FAILED"
    assert client(uri).search_registered_models() == []


def test_a_child_that_cannot_be_written_fails_with_its_parent(uri):
    bad = Child("candidate", (Param("x" * 300, "1"),))
    with pytest.raises(InputError, match="cannot be used"), open_run(uri, "trials", "a run", {}) as run:
        run.log([bad])
    experiment = client(uri).get_experiment_by_name("trials").experiment_id
    assert {found.info.status for found in client(uri).search_runs([experiment])} == {"FAILED"}


# Promotion and finding.


def test_the_model_promoted_last_is_the_default(uri):
    first, second = logged(uri, name="first"), logged(uri, make("count").bundle, name="second")
    with pytest.raises(InputError, match=r"no model is champion yet.*il7ml promote RUN.*models:/first/1"):
        resolve_model("champion", uri)
    for run_id, registered in (first, second, first):
        assert promote(run_id, uri) == registered
        assert load_bundle(resolve_model("champion", uri).folder).card.kind == (
            "binary" if registered.name == "first" else "count"
        )
    # The other keeps its alias under its own name.
    assert load_bundle(resolve_model("models:/second@champion", uri).folder).card.kind == "count"


def test_promoting_a_version_goes_forth_and_back(uri):
    logged(uri), logged(uri)
    for version in ("2", "1"):
        assert promote(f"models:/model/{version}", uri).version == version
        assert resolve_model("models:/model@champion", uri).version == version
        assert resolve_model(uri=uri).version == version


@pytest.mark.parametrize(
    "model",
    ["nowhere", "0" * 32, "models:/nowhere/1", "models:/model/9", "models:/model@best", "models:/", "a' OR '1'='1"],
)
def test_an_unknown_model_is_an_input_error_that_names_the_known(uri, model):
    logged(uri)
    for find in (resolve_model, promote):
        with pytest.raises(InputError, match=r"Known: models:/model/1\."):
            find(model, uri)
    # What the message names can be had, by version before a promotion and by alias after it.
    assert resolve_model("models:/model/1", uri).version == "1"
    promote("models:/model/1", uri)
    with pytest.raises(InputError, match=r"Known: models:/model@champion\."):
        resolve_model("models:/nowhere/1", uri)
    assert resolve_model("models:/model@champion", uri).version == "1"


def test_a_run_without_a_model_cannot_be_promoted(uri):
    with open_run(uri, "trials", "a run", {}) as run:
        run.log([])
    with pytest.raises(InputError, match=r"neither a bundle folder nor a run with a model. Train one first."):
        promote(run.run_id, uri)


def test_a_store_that_was_moved_is_explained(uri, tmp_path):
    run_id, _ = logged(uri)
    (tmp_path / "mlruns" / "artifacts").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"files are not where the store says.*Was the folder moved\?"):
        resolve_model(run_id, uri)


# Stores that cannot be used.


def test_looking_for_a_model_makes_no_store(tmp_path):
    uri = address(tmp_path / "nowhere")
    for find in (resolve_model, promote):
        with pytest.raises(InputError, match="no tracking store at"):
            find("champion", uri)
    assert list(tmp_path.iterdir()) == []


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


def test_artifacts_that_cannot_be_written_fail_the_run(uri, tmp_path):
    (tmp_path / "mlruns" / "artifacts").write_text("")
    with pytest.raises(InputError, match="cannot be used"), open_run(uri, "trials", "a run", {}) as run:
        run.log(ITEMS)
    assert client(uri).get_run(run.run_id).info.status == "FAILED"


def test_a_deleted_experiment_is_explained(uri):
    logged(uri)
    client(uri).delete_experiment(client(uri).get_experiment_by_name("trials").experiment_id)
    with pytest.raises(InputError, match="experiment 'trials' was deleted"), open_run(uri, "trials", "a run", {}):
        pass


@pytest.mark.usefixtures("no_default")
def test_the_environment_is_left_alone(uri, monkeypatch):
    logged(uri)
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert "MLFLOW_REGISTRY_URI" not in os.environ
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    logged(uri)
    assert os.environ["MLFLOW_TRACKING_URI"] == "https://mlflow.example.org"
