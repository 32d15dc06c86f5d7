import json
import os
import platform

import mlflow
import numpy as np
import pandas as pd
import pytest
from tests.small_bundles import make
from tests.tracking.logged_runs import EXAMPLE, ITEMS, all_runs, client, files, logged
from tests.trained_store import address

from il7ml.errors import InputError
from il7ml.tracking.items import Child, Metric, Param, Table, Tag, Text
from il7ml.tracking.store import open_run, reopen_run

TABLE = next(item.frame for item in ITEMS if isinstance(item, Table))


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
    assert files(folder) == {"config.yaml", "summary.md", "tables/table_one.csv", "figures/roc.png"}
    assert (folder / "summary.md").read_text(encoding="utf-8") == "Größe: 10 µm\n"
    assert (folder / "figures" / "roc.png").read_bytes() == b"\x89PNG picture"
    assert pd.read_csv(folder / "tables" / "table_one.csv").equals(TABLE)
    assert registered == ("model", "1")


def test_a_candidate_is_a_finished_child(uri):
    run_id, _ = logged(uri)
    experiment = client(uri).get_experiment_by_name("trials")
    children = client(uri).search_runs([experiment.experiment_id], f"tags.mlflow.parentRunId = '{run_id}'")
    assert [(child.info.run_name, child.info.status) for child in children] == [("candidate logistic", "FINISHED")]
    assert children[0].data.metrics == {"brier": 0.2}
    assert children[0].data.params == {"risk_model": "logistic"}
    assert children[0].data.tags["selected"] == "true"


NESTED = Child(
    "first",
    (Metric("brier", 0.25), Text("summary.md", "first"), Child("inner", (Metric("brier", 0.3),))),
    started=1_700_000_000_000,
)


def test_children_have_files_and_children_of_their_own(uri):
    with open_run(uri, "trials", "a sweep", {}) as run:
        run.log([NESTED])
        (child,) = run.children()
    runs = all_runs(uri)
    assert child.metrics == {"brier": 0.25}
    assert runs[child.run_id].info.start_time == 1_700_000_000_000
    assert [entry.path for entry in client(uri).list_artifacts(child.run_id)] == ["summary.md"]
    (inner,) = [each for each in runs.values() if each.info.run_name == "inner"]
    assert inner.data.tags["mlflow.parentRunId"] == child.run_id
    assert {each.info.status for each in runs.values()} == {"FINISHED"}


def test_a_run_that_ended_early_goes_on_with_its_complete_children(uri):
    def interrupted():
        with open_run(uri, "trials", "a sweep", {}) as run:
            ids.append(run.run_id)
            run.log([NESTED])
            run.log([Child("second", (Metric("brier", 0.1), Child("inner of second", ()), *broken()))])

    def broken():
        yield Child("unwritten", (Tag("x" * 300, "a tag's name may not be so long"),))

    ids = []
    with pytest.raises(InputError):
        interrupted()
    states = {each.info.run_name: each.info.status for each in all_runs(uri).values()}
    assert states["second"] == states["unwritten"] == states["a sweep"] == "FAILED"
    with reopen_run(uri, ids[0]) as run:
        assert run.run_id == ids[0]
        assert client(uri).get_run(run.run_id).info.status == "RUNNING"
        assert [child.metrics for child in run.children()] == [{"brier": 0.25}]
        run.log([Child("second", (Metric("brier", 0.1),))])
    names = sorted(each.info.run_name for each in all_runs(uri).values())
    assert names == ["a sweep", "first", "inner", "made first", "second"]
    assert {each.info.status for each in all_runs(uri).values()} == {"FINISHED"}


def test_everything_lies_beside_the_database(uri, tmp_path):
    logged(uri)
    assert {path.name for path in tmp_path.iterdir()} == {"mlruns"}
    assert {path.name for path in (tmp_path / "mlruns").iterdir()} == {"mlflow.db", "artifacts"}


def test_a_store_is_made_where_there_is_none(tmp_path):
    uri = address(tmp_path / "new")
    with open_run(uri, "trials", "a run", {}) as run:
        run.log([Metric("auroc", 0.5)])
    assert client(uri).get_run(run.run_id).data.metrics == {"auroc": 0.5}


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


# What a run says about itself.


def test_the_data_are_named_without_a_row(uri):
    run_id, _ = logged(uri)
    (entry,) = client(uri).get_run(run_id).inputs.dataset_inputs
    assert entry.dataset.name == "trial"
    assert entry.dataset.digest == "d" * 36
    columns = json.loads(entry.dataset.schema)["mlflow_colspec"]
    assert [(column["name"], column["type"]) for column in columns] == [("age", "double"), ("sex", "string")]
    assert json.loads(entry.dataset.profile) == {"num_rows": 109}
    assert json.loads(entry.dataset.source) == {"study": "trial", "sha256": "d" * 64}
    assert {tag.key: tag.value for tag in entry.tags} == {"mlflow.data.context": "training"}


def test_every_run_names_its_process(uri):
    logged(uri)
    for run in all_runs(uri).values():
        assert run.data.tags["il7ml.pid"] == str(os.getpid())
        assert run.data.tags["il7ml.host"].startswith(platform.node())
        assert run.data.tags["il7ml.process_started"]


def test_the_model_has_the_runs_parameters_and_metrics(uri):
    run_id, registered = logged(uri)
    version = client(uri).get_model_version(*registered)
    model = client(uri).get_logged_model(version.source.removeprefix("models:/"))
    assert str(model.status) == "READY"
    assert model.source_run_id == run_id
    assert model.params == {"seed": "7"}
    assert {metric.key: metric.value for metric in model.metrics} == {"auroc": 0.7, "auroc_low": 0.6}
    assert [output.model_id for output in client(uri).get_run(run_id).outputs.model_outputs] == [model.model_id]


def test_more_than_a_store_takes_at_once(uri):
    many = [Param(f"p{k}", str(k)) for k in range(130)] + [Metric(f"m{k}", float(k)) for k in range(1200)]
    with open_run(uri, "trials", "a run", {}) as run:
        run.log(many)
    data = client(uri).get_run(run.run_id).data
    assert data.params == {f"p{k}": str(k) for k in range(130)}
    assert data.metrics == {f"m{k}": float(k) for k in range(1200)}


def test_two_runs_can_be_open_at_once(uri):
    with open_run(uri, "trials", "outer", {}) as outer, open_run(uri, "trials", "inner", {}) as inner:
        outer.log([Metric("auroc", 0.6)])
        inner.log([Metric("auroc", 0.8)])
        outer.log_model(make().bundle, "outer", EXAMPLE)
    runs = all_runs(uri)
    assert {runs[run.run_id].info.run_name: runs[run.run_id].data.metrics["auroc"] for run in (outer, inner)} == {
        "outer": 0.6,
        "inner": 0.8,
    }
    assert client(uri).get_model_version("outer", "1").run_id == outer.run_id
