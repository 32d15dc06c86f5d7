"""Tasks on a real Dask cluster of processes, some of which are killed."""

import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.dask_cluster import PROJECT, processes, wait_until
from tests.trained_store import empty_store, real_config, trained

from il7ml.cli import main
from il7ml.cluster import Cluster, Sealed
from il7ml.config import ExecutorConfig, RunConfig
from il7ml.errors import InputError
from il7ml.parallel import executor, run_resumable, run_tasks, spawn
from il7ml.state import State
from il7ml.training import train

pytest.importorskip("distributed")


def draw(table, seed, folder=None, number=0):
    """Do some work; say that it was begun."""
    if folder is not None:
        (folder / f"{number} {os.getpid()}").touch()
        time.sleep(0.05)
    return {"mean": np.array([table.mean() + np.random.default_rng(seed).normal()])}


def fail(number):
    if number == 2:
        raise ValueError("task two")
    return number


def refuse(number):
    raise InputError("expected another task")


def end(its_worker):
    if its_worker:
        os.kill(os.getpid(), signal.SIGKILL)


def late(number):
    raise TimeoutError("the task's own")


def identity(table):
    return os.getpid(), id(table)


def on(cluster):
    return ExecutorConfig(kind="dask", address=cluster.address)


@pytest.fixture(scope="module")
def whole_cluster(tmp_path_factory):
    with processes(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture
def cluster(whole_cluster):
    whole_cluster.have_workers(2)
    return whole_cluster


@pytest.fixture
def own_cluster(tmp_path):
    with processes(tmp_path) as found:
        yield found


@pytest.fixture
def begun(tmp_path):
    (tmp_path / "begun").mkdir()
    return tmp_path / "begun"


def test_results_are_those_of_this_process_in_order(cluster):
    table = np.arange(10_000.0)
    tasks = [(table, seed) for seed in spawn(5, 12)]
    here, seen = run_tasks(draw, tasks), []
    with executor(on(cluster)):
        there = run_tasks(draw, tasks, progress=lambda done, total: seen.append((done, total)))
    assert [each["mean"].item() for each in there] == [each["mean"].item() for each in here]
    assert seen == [(done, 12) for done in range(1, 13)]


def test_tasks_run_on_the_workers_only_within_the_context(cluster):
    with executor(on(cluster)):
        there = set(run_tasks(os.getpid, [()] * 20))
    assert there == {worker.pid for worker in cluster.workers}
    assert set(run_tasks(os.getpid, [()] * 2)) == {os.getpid()}


def test_a_local_executor_inside_leaves_the_cluster_in_use(cluster):
    with executor(on(cluster)), executor(ExecutorConfig()):
        assert os.getpid() not in run_tasks(os.getpid, [()] * 4)


def test_large_shared_arguments_come_once_to_each_worker(cluster):
    table = np.zeros(100_000)
    with executor(on(cluster)):
        found = set(run_tasks(identity, [(table,)] * 40))
    assert len(found) == len({pid for pid, _ in found}) <= 2


@pytest.mark.parametrize(("function", "error"), [(fail, ValueError), (refuse, InputError), (late, TimeoutError)])
def test_an_error_in_a_task_reaches_the_caller(cluster, function, error):
    with pytest.raises(error, match=r"task two|another task|task's own"), executor(on(cluster)):
        run_tasks(function, [(1,), (2,), (3,)])
    with executor(on(cluster)):
        assert run_tasks(pow, [(2, 1), (2, 2)]) == [2, 4]


def test_arguments_do_not_show_in_logs():
    assert "63.5" not in repr(Sealed((fail, (63.5,))))


def test_a_killed_worker_changes_nothing(cluster, begun):
    table, seeds = np.arange(10_000.0), spawn(7, 40)
    killed = cluster.workers[0]

    def kill(done, _):
        # In the middle of a task, with results that nobody has collected and perhaps the only copy of the table.
        if done == 5:
            assert wait_until(lambda: any(path.name.endswith(f" {killed.pid}") for path in begun.iterdir()))
            killed.send_signal(signal.SIGKILL)
            killed.wait()

    with executor(on(cluster)):
        results = run_tasks(draw, [(table, seed, begun, number) for number, seed in enumerate(seeds)], progress=kill)
    assert [each["mean"].item() for each in results] == [draw(table, seed)["mean"].item() for seed in seeds]
    assert {path.name.split()[1] for path in begun.iterdir()} == {str(each.pid) for each in cluster.workers}


def test_all_workers_may_go_if_another_comes(cluster, begun):
    table, seeds = np.arange(10_000.0), spawn(7, 12)

    def replace(done, _):
        if done == 3:
            for worker in cluster.workers:
                worker.kill()
            cluster.add_worker()

    tasks = [(table, seed, begun, number) for number, seed in enumerate(seeds)]
    with executor(on(cluster)):
        results = run_tasks(draw, tasks, progress=replace)
    assert [each["mean"].item() for each in results] == [draw(table, seed)["mean"].item() for seed in seeds]


def test_a_task_that_ends_its_workers_is_said(cluster):
    message = r"ended several workers.*Give the workers more memory"
    with pytest.raises(InputError, match=message), executor(on(cluster)):
        run_tasks(end, [(True,), (False,)])


def test_workers_that_go_for_good_are_said(cluster, begun, monkeypatch):
    def kill(done, _):
        monkeypatch.setattr("il7ml.cluster._PATIENCE_SECONDS", 1)
        for worker in cluster.workers:
            worker.kill()

    with pytest.raises(InputError, match=r"all its workers are gone\. Start some"), executor(on(cluster)):
        run_tasks(draw, [(np.zeros(3), 1, begun, number) for number in range(50)], progress=kill)


def test_a_scheduler_that_goes_is_said_and_what_is_finished_is_kept(own_cluster, begun, tmp_path):
    own_cluster.add_worker()
    tasks = [(np.zeros(3), seed, begun, number) for number, seed in enumerate(spawn(7, 40))]

    def kill(done, _):
        if done == 3:
            own_cluster.scheduler.kill()

    with pytest.raises(InputError, match="the connection is lost"), executor(on(own_cluster)):
        run_resumable(draw, tasks, State(tmp_path / "state"), progress=kill)
    assert len(list((tmp_path / "state").iterdir())) >= 3


# What is refused before anything is computed.


def test_no_scheduler():
    with (
        pytest.raises(InputError, match=r"no scheduler answers \(.*executor\.kind: local"),
        Cluster("tcp://127.0.0.1:9"),
    ):
        pass


def test_something_else_listens(monkeypatch):
    monkeypatch.setattr("il7ml.cluster._CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(InputError, match="no scheduler answers"), Cluster(address):
            pass


@pytest.mark.parametrize("address", ["", "nonsense://x:1", "tcp://127.0.0.1:port", "127.0.0.1:8786", "tcp://host"])
def test_what_is_no_address(address):
    with pytest.raises(InputError, match=r"executor\.address: expected tcp://host:port"), Cluster(address):
        pass


@pytest.mark.parametrize("workers", ["none", "of another version", "without il7ml"])
def test_a_cluster_without_fit_workers_is_refused(own_cluster, tmp_path, monkeypatch, workers):
    if workers == "none":
        message = r"has no workers\. Start some \(dask worker tcp:"
        monkeypatch.setattr("il7ml.cluster._PATIENCE_SECONDS", 1)
    elif workers == "of another version":
        source = Path(shutil.copytree(PROJECT / "src", tmp_path / "src"))
        with (source / "il7ml" / "__init__.py").open("a", encoding="utf-8") as package:
            package.write('\n__version__ = "0.0.1"\n')
        own_cluster.add_worker(source)
        message = r"other versions.*: il7ml 0\.0\.1 \(here .*Start scheduler and workers"
    else:
        broken = tmp_path / "broken" / "il7ml"
        broken.mkdir(parents=True)
        (broken / "__init__.py").write_text("raise ImportError\n", encoding="utf-8")
        own_cluster.add_worker(broken.parent)
        message = "il7ml cannot be imported"
    with pytest.raises(InputError, match=message), Cluster(own_cluster.address):
        pass


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(InputError, match=r"il7ml\[dask\]"), executor(ExecutorConfig(kind="dask", address="tcp://x:1")):
        pass


# From the faces.


def test_a_config_needs_an_address_with_dask_and_none_without():
    for wrong in ({"kind": "dask"}, {"address": "tcp://127.0.0.1:8786"}):
        with pytest.raises(ValueError, match="needs the scheduler's address"):
            RunConfig(study="s.yaml", endpoint="e", executor=wrong)


def test_power_on_a_cluster_is_that_of_this_machine(cluster, capsys):
    arguments = ["power", "--endpoint", "infection_day30", "--n", "60", "--trials", "22", "--workers", "1"]
    assert main(arguments) == 0
    here = capsys.readouterr().out
    assert main([*arguments, "--scheduler", cluster.address]) == 0
    assert capsys.readouterr().out == here


@pytest.mark.slow
def test_a_training_on_a_cluster_is_that_of_this_machine(cluster, tmp_path):
    settings = {"kind": "dask", "address": cluster.address}
    config = real_config(f"executor={settings}", f"tracking.uri={empty_store(tmp_path)}")
    there = train(config, root=tmp_path).result
    assert there.metrics == trained().real.result.metrics
    assert "tcp://" not in there.config.to_yaml()


def test_power_without_a_scheduler_has_one_message(capsys):
    assert main(["power", "--trials", "20", "--scheduler", "tcp://127.0.0.1:9"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("il7ml: Dask cluster tcp://127.0.0.1:9: no scheduler answers")
    assert err.count("\n") == 1
