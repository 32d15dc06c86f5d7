import signal

import numpy as np
import pytest
from tests.tracking.logged_runs import ITEMS, all_runs, client, logged
from tests.tracking.other_processes import killed_at_every_call, killed_at_times, start, train
from tests.trained_store import address, empty_store

from il7ml.bundle import load_bundle
from il7ml.tracking.items import Metric, Param
from il7ml.tracking.opening import end_abandoned, open_store
from il7ml.tracking.registry import bundle_of
from il7ml.tracking.store import RegisteredModel, open_run

PARAMS = {item.name: item.value for item in ITEMS if isinstance(item, Param)}
METRICS = {item.name: item.value for item in ITEMS if isinstance(item, Metric)}
COMPLETE = {"config.yaml", "summary.md", "tables", "figures"}

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed by signal")


def look_through(uri):
    """Open the store and return its parents' states; whatever is registered must be complete."""
    found = open_store(uri)
    runs = all_runs(uri)
    assert "RUNNING" not in {run.info.status for run in runs.values()}
    for version in found.search_model_versions():
        run = runs[version.run_id]
        assert run.info.status == "FINISHED"
        assert run.data.params == PARAMS
        assert run.data.metrics == METRICS
        assert {entry.path for entry in found.list_artifacts(version.run_id)} == COMPLETE
        assert str(found.get_logged_model(version.source.removeprefix("models:/")).status) == "READY"
    for experiment in found.search_experiments():
        models = found.search_logged_models([experiment.experiment_id])
        assert "PENDING" not in {str(model.status) for model in models}
    return sorted(run.info.status for run in runs.values() if run.info.run_name == "a run")


def load_all(uri):
    for version in client(uri).search_model_versions():
        load_bundle(bundle_of(uri, RegisteredModel(version.name, str(version.version))))


def ended(process):
    process.join(120)
    return process.exitcode


def test_a_training_that_is_killed_at_any_call_leaves_no_half_model(uri, tmp_path):
    assert ended(start(killed_at_every_call, empty_store(tmp_path / "warm"), uri)) == 0
    states = look_through(uri)
    # Killed before the last call, which says that it is finished, a run is complete; the one after was not killed.
    killed = len(states) - 2
    assert killed > 10
    assert states == ["FINISHED"] * 2 + ["KILLED"] * killed
    versions = client(uri).search_model_versions()
    assert sorted(int(version.version) for version in versions) == [1, 2]
    load_all(uri)


def test_a_training_that_is_killed_at_any_time_leaves_no_half_model(uri, tmp_path):
    shares = np.random.default_rng(3).uniform(0.05, 1.5, 12)
    assert ended(start(killed_at_times, empty_store(tmp_path / "warm"), uri, shares)) == 0
    states = look_through(uri)
    assert "KILLED" in states
    assert "FINISHED" in states
    load_all(uri)


def test_three_trainings_make_and_fill_one_store_at_once(tmp_path):
    uri = address(tmp_path / "new")
    processes = [start(train, uri, 2) for _ in range(3)]
    assert [ended(process) for process in processes] == [0, 0, 0]
    assert look_through(uri) == 6 * ["FINISHED"]
    assert sorted(int(version.version) for version in client(uri).search_model_versions()) == [1, 2, 3, 4, 5, 6]
    load_all(uri)


def test_a_run_of_a_living_process_stays_open(uri):
    with open_run(uri, "trials", "a run", {}) as run:
        open_store(uri)
        assert all_runs(uri)[run.run_id].info.status == "RUNNING"
    assert all_runs(uri)[run.run_id].info.status == "FINISHED"


@pytest.mark.parametrize("tags", [{}, {"il7ml.host": "elsewhere", "il7ml.pid": "1", "il7ml.process_started": "then"}])
def test_of_a_run_from_elsewhere_nothing_is_known(uri, tags):
    found = client(uri)
    run = found.create_run(found.create_experiment("trials"), tags=tags)
    assert end_abandoned(open_store(uri)) == []
    assert all_runs(uri)[run.info.run_id].info.status == "RUNNING"


def test_an_empty_store_has_nothing_to_close(uri):
    logged(uri)
    assert end_abandoned(client(uri)) == []
