import logging
import sqlite3
from contextlib import closing

import mlflow
import pytest
from tests.small_bundles import PATIENT
from tests.tracking.logged_runs import EXAMPLE, ITEMS, all_runs, client, scored
from tests.tracking.servers import Gate, free_port, tracking_server
from tests.trained_store import empty_store

from il7ml.bundle import load_bundle
from il7ml.errors import InputError
from il7ml.predictor import Predictor
from il7ml.tracking import delivery
from il7ml.tracking.delivery import push_runs
from il7ml.tracking.items import Child, Metric, Param, Text
from il7ml.tracking.promotion import promote
from il7ml.tracking.registry import resolve_model
from il7ml.tracking.store import Run, open_run

PARAMS = {item.name: item.value for item in ITEMS if isinstance(item, Param)}
METRICS = {item.name: item.value for item in ITEMS if isinstance(item, Metric)}
FILES = {"config.yaml", "summary.md", "tables", "figures"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with tracking_server(empty_store(folder), folder / "files") as port:
        yield port


@pytest.fixture
def gate(server):
    found = Gate(server)
    found.open()
    yield found
    found.shut()


@pytest.fixture
def project(tmp_path):
    """A project with a store of its own, which need not be made first."""
    return tmp_path, empty_store(tmp_path)


def train(uri, project, name, before_model=lambda: None):
    with open_run(uri, "trials", name, {"study": "trial"}, root=project) as run:
        run.log(ITEMS)
        before_model()
        registered = run.log_model(scored(), name, EXAMPLE, "What it is.")
    return run.run_id, registered


def on_server(uri, name):
    """Return the runs of a name on the server, deleted ones aside."""
    return [run for run in all_runs(uri).values() if run.info.run_name == name]


def assert_complete(uri, run):
    """Hold a run on the server against what a training logs."""
    found = client(uri)
    assert run.info.status == "FINISHED"
    assert run.data.params == PARAMS
    assert run.data.metrics == METRICS
    assert run.data.tags["study"] == "trial"
    assert run.data.tags["verdict.heterogeneity"] == "none"
    assert not {"il7ml.server", "il7ml.begun_on_server"} & set(run.data.tags)
    assert {entry.path for entry in found.list_artifacts(run.info.run_id)} == FILES
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("trial", "d" * 36)
    children = found.search_runs([run.info.experiment_id], f"tags.mlflow.parentRunId = '{run.info.run_id}'")
    assert [(child.info.run_name, child.info.status) for child in children] == [("candidate logistic", "FINISHED")]
    assert children[0].data.metrics == {"brier": 0.2}
    (version,) = found.search_model_versions(f"run_id='{run.info.run_id}'")
    assert version.description == "What it is."
    bundle = load_bundle(resolve_model(f"models:/{version.name}/{version.version}", uri).folder)
    assert bundle.card == scored().card
    assert Predictor(bundle).predict(PATIENT).untreated == Predictor(scored()).predict(PATIENT).untreated


def test_a_run_on_a_server_that_answers_is_there_at_once(gate, project):
    run_id, registered = train(gate.uri, project[0], "present")
    assert [run.info.run_id for run in on_server(gate.uri, "present")] == [run_id]
    assert_complete(gate.uri, on_server(gate.uri, "present")[0])
    assert registered == ("present", "1")
    assert push_runs(root=project[0]) == []


def test_a_server_that_is_away_from_the_start(gate, project, caplog):
    folder, local = project
    gate.shut()
    with caplog.at_level(logging.WARNING, "il7ml"):
        run_id, registered = train(gate.uri, folder, "away")
    assert [record.getMessage() for record in caplog.records] == [
        f"tracking server {gate.uri}: cannot be used (it does not answer). The run is kept in "
        f"{folder}/mlruns/mlflow.db; deliver it later: il7ml store push"
    ]
    run = all_runs(local)[run_id]
    assert run.data.tags["il7ml.server"] == gate.uri
    assert resolve_model(run_id, local).version == registered.version == "1"
    with pytest.raises(InputError, match=r"does not answer\. What is not delivered stays"):
        push_runs(root=folder)

    gate.open()
    (done,) = push_runs(root=folder)
    assert (done.local_run, done.server) == (run_id, gate.uri)
    (copy,) = on_server(gate.uri, "away")
    assert copy.info.run_id == done.server_run
    assert_complete(gate.uri, copy)
    assert (copy.info.start_time, copy.info.end_time) == (run.info.start_time, run.info.end_time)

    # Again, and again by someone who does not know that it was delivered: nothing twice.
    assert push_runs(root=folder) == []
    client(local).delete_tag(run_id, delivery.DELIVERED)
    assert push_runs(root=folder) == [done]
    assert [run.info.run_id for run in on_server(gate.uri, "away")] == [done.server_run]
    assert len(client(gate.uri).search_model_versions("name='away'")) == 1


def test_children_of_children_are_delivered_with_their_files(gate, project):
    folder, _ = project
    gate.shut()
    inner = Child("inner", (Metric("brier", 0.3),))
    with open_run(gate.uri, "trials", "nested", {}, root=folder) as run:
        run.log([Child("outer", (Text("summary.md", "outer"), inner))])
    gate.open()
    (done,) = push_runs(root=folder)
    parents = {}
    for name in ("inner", "outer"):
        (copy,) = on_server(gate.uri, name)
        assert copy.info.status == "FINISHED"
        parents[name] = copy.data.tags["mlflow.parentRunId"]
    (outer,) = on_server(gate.uri, "outer")
    assert parents == {"inner": outer.info.run_id, "outer": done.server_run}
    assert [entry.path for entry in client(gate.uri).list_artifacts(outer.info.run_id)] == ["summary.md"]


def test_a_server_that_goes_away_before_the_model_is_logged(gate, project, caplog):
    folder, local = project
    with caplog.at_level(logging.WARNING, "il7ml"):
        run_id, _ = train(gate.uri, folder, "leaves", before_model=gate.shut)
    assert len(caplog.records) == 1
    assert "The run is kept in" in caplog.text
    run = all_runs(local)[run_id]
    assert run.info.status == "FINISHED"
    assert run.data.metrics == METRICS
    gate.open()
    (begun,) = on_server(gate.uri, "leaves")
    assert begun.info.run_id == run.data.tags["il7ml.begun_on_server"] != run_id
    (done,) = push_runs(root=folder)
    (copy,) = on_server(gate.uri, "leaves")
    assert copy.info.run_id == done.server_run != begun.info.run_id
    assert_complete(gate.uri, copy)


def test_a_server_that_goes_away_at_the_very_end_has_the_run_already(gate, project, monkeypatch):
    folder, local = project
    end = Run.end

    def shut_and_end(run, status):
        gate.shut()
        end(run, status)

    monkeypatch.setattr(Run, "end", shut_and_end)
    run_id, _ = train(gate.uri, folder, "almost")
    monkeypatch.undo()
    gate.open()
    begun = all_runs(local)[run_id].data.tags["il7ml.begun_on_server"]
    (done,) = push_runs(root=folder)
    assert done.server_run == begun
    (copy,) = on_server(gate.uri, "almost")
    assert_complete(gate.uri, copy)
    assert len(client(gate.uri).search_model_versions("name='almost'")) == 1


@pytest.mark.parametrize("step", ["create_run", "log_model_artifacts", "create_model_version", "set_tag"])
def test_a_delivery_that_is_broken_off_is_done_again(gate, project, monkeypatch, step):
    folder, _ = project
    gate.shut()
    run_id, _ = train(gate.uri, folder, f"broken at {step}")
    gate.open()
    kept, original = [], getattr(mlflow.MlflowClient, step)

    def stop_after(self, *arguments, **named):
        kept.append(original(self, *arguments, **named))
        raise KeyboardInterrupt

    monkeypatch.setattr(mlflow.MlflowClient, step, stop_after)
    with pytest.raises(KeyboardInterrupt):
        push_runs(root=folder)
    monkeypatch.undo()
    assert len(kept) == 1
    (done,) = push_runs(root=folder)
    assert done.local_run == run_id
    (copy,) = on_server(gate.uri, f"broken at {step}")
    assert copy.info.run_id == done.server_run
    assert_complete(gate.uri, copy)
    assert len(client(gate.uri).search_model_versions(f"name='broken at {step}'")) == 1


def test_runs_that_failed_are_delivered_as_failed(gate, project):
    def failing():
        with open_run(gate.uri, "trials", "fails", {}, root=project[0]) as run:
            run.log([Metric("auroc", 0.5)])
            raise ValueError("stopped")

    gate.shut()
    with pytest.raises(ValueError, match="stopped"):
        failing()
    gate.open()
    assert len(push_runs(root=project[0])) == 1
    assert [run.info.status for run in on_server(gate.uri, "fails")] == ["FAILED"]


def test_who_only_looks_is_told_that_the_server_is_away():
    uri = f"http://ann:secret@127.0.0.1:{free_port()}"
    for look in (resolve_model, promote):
        with pytest.raises(InputError, match=r"does not answer\. Try again later") as caught:
            look("champion", uri)
        assert "secret" not in str(caught.value)


def test_one_delivery_at_a_time(project):
    folder, _ = project
    with closing(sqlite3.connect(folder / "mlruns" / "push.lock", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match="under way already"):
            push_runs(root=folder)
    assert push_runs(root=folder) == []


def test_where_a_delivery_goes(project):
    with pytest.raises(InputError, match="expected a server's address"):
        push_runs("sqlite:////data/mlflow.db", root=project[0])


def test_a_password_in_the_address_is_neither_stored_nor_said(project, caplog):
    folder, local = project
    uri = f"http://ann:secret@127.0.0.1:{free_port()}"
    with caplog.at_level(logging.WARNING, "il7ml"), open_run(uri, "trials", "a run", {}, root=folder) as run:
        run.log([])
    assert "secret" not in caplog.text
    assert "secret" not in str(all_runs(local)[run.run_id].data.tags)
    with pytest.raises(InputError) as caught:
        push_runs(uri, root=folder)
    assert "secret" not in str(caught.value)
