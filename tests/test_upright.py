"""A command that is interrupted or cannot write: one message, its exit code, nothing half written."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pandas as pd
import pytest
from tests.commands import AT_A_TERMINAL, run
from tests.trained_store import FAST, PROJECT, address, empty_store, trained

from il7ml.tracking import check_store, relocate_store

pytestmark = pytest.mark.slow

CONFIG = PROJECT / "configs" / "cgd.yaml"
PATIENTS = 2000


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of patients whose answers take more than the largest file that tests allow."""
    folder = tmp_path_factory.mktemp("patients")
    frame = pd.DataFrame([trained().real.result.example] * PATIENTS)
    frame.to_csv(folder / "patients.csv", index=False)
    return folder / "patients.csv"


@pytest.fixture
def uri(tmp_path):
    return empty_store(tmp_path)


@pytest.fixture
def store(tmp_path):
    """A copy of the store with trained models."""
    made = trained()
    shutil.copytree(made.folder / "mlruns", tmp_path / "mlruns")
    uri = address(tmp_path)
    relocate_store(uri)
    return uri


def arguments_of(command, uri, out, table):
    """Return a command that writes, with where its output goes."""
    made = trained()
    sets = [part for setting in (*FAST, f"tracking.uri={uri}") for part in ("--set", setting)]
    return {
        "train": ["train", CONFIG, *sets],
        "analyze": ["analyze", CONFIG, "--out", out, *sets],
        "predict": ["predict", "--uri", uri, "--model", made.real.run_id, "--in", table, "--out", out / "answers.csv"],
        "simulate": ["simulate", "--n", 500, "--out", out],
        "report": ["report", made.real.run_id, "--uri", uri, "--out", out / "report.html"],
        "promote": ["promote", made.real.run_id, "--uri", uri],
        "power": ["power", "--trials", 10, "--n", 40, "--endpoint", "infection_day30", "--out", out, "--workers", 1],
    }[command]


def visible(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def lines(text):
    """Return what was said apart from progress."""
    return [line for line in text.splitlines() if not line.endswith(" %")]


WRITERS = ["analyze", "predict", "simulate", "report", "power"]


@pytest.mark.parametrize("command", WRITERS)
def test_a_full_disk(store, tmp_path, table, command):
    out = tmp_path / "out"
    out.mkdir()
    # The store's own files are larger; analyze fails there, the others at their output.
    ended = run(arguments_of(command, store, out, table), tmp_path / "said", largest_file=2_000)
    assert ended.code == 2, ended
    assert len(lines(ended.err)) == 1, ended.err
    assert ended.err.rstrip().endswith(("Choose another place.", "or set tracking.uri.")), ended.err
    assert visible(out) == []


@pytest.mark.parametrize("largest", [2_000, 100_000])
def test_a_disk_that_is_full_while_training(uri, tmp_path, table, largest):
    ended = run(arguments_of("train", uri, tmp_path, table), tmp_path / "said", largest_file=largest)
    assert ended.code == 2, ended
    assert len(lines(ended.err)) == 1, ended.err
    found = check_store(uri)
    assert found["ok"].all()
    assert "model" not in set(found["part"])


@pytest.mark.parametrize("command", ["train", "promote"])
def test_a_store_locked_by_another_process(store, tmp_path, table, command):
    with closing(sqlite3.connect(tmp_path / "mlruns" / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        ended = run(arguments_of(command, store, tmp_path, table), tmp_path / "said")
    assert ended.code == 2
    assert len(lines(ended.err)) == 1
    assert "another process keeps it locked" in ended.err
    assert check_store(store)["ok"].all()


@pytest.fixture
def read_only(tmp_path):
    """A folder that may only be read, whoever asks."""
    folder = tmp_path / "locked"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    # Permissions do not bind the administrator; a mount that is read-only does.
    mounted = [["mount", "--bind", folder, folder], ["mount", "-o", "remount,ro,bind", folder]]
    if shutil.which("mount") is None or any(
        subprocess.run(each, capture_output=True, check=False).returncode for each in mounted
    ):
        pytest.skip("the administrator may write everywhere, and no read-only mount can be made here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("command", WRITERS)
def test_a_folder_that_may_only_be_read(store, tmp_path, table, read_only, command):
    ended = run(arguments_of(command, store, read_only, table), tmp_path / "said")
    assert ended.code == 2, ended
    assert len(lines(ended.err)) == 1, ended.err
    assert "cannot be written" in ended.err
    assert visible(read_only) == []


def test_a_store_in_a_folder_that_may_only_be_read(tmp_path, table, read_only):
    ended = run(arguments_of("train", f"sqlite:///{read_only}/mlflow.db", tmp_path, table), tmp_path / "said")
    assert ended.code == 2
    assert len(lines(ended.err)) == 1
    assert "cannot be written (Read-only file system)" in ended.err or "Permission denied" in ended.err


@pytest.mark.parametrize("command", ["train", "analyze", "predict", "simulate", "report", "promote"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_control_c(store, tmp_path, table, command, share, durations):
    out = tmp_path / "out"
    out.mkdir()
    after = share * durations(command, store)
    ended = run(arguments_of(command, store, out, table), tmp_path / "said", after=after, send=signal.SIGINT)
    assert ended.code in (130, 0), ended
    if ended.code == 130:
        assert lines(ended.err) == ["il7ml: interrupted. Nothing was left half written."]
        assert visible(out) == []
    assert check_store(store)["ok"].all()


def test_control_c_while_worker_processes_run(uri, tmp_path, table):
    arguments = [*arguments_of("train", uri, tmp_path, table), "--set", "workers=2", "--set", "validation.repeats=100"]
    command = [sys.executable, "-c", AT_A_TERMINAL, *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as job:
        assert job.stderr is not None
        assert job.stderr.readline() == "cross-validation: 25 %\n"
        os.killpg(job.pid, signal.SIGINT)
        out, err = job.communicate(timeout=60)
    assert job.returncode == 130
    assert (out, lines(err)) == ("", ["il7ml: interrupted. Nothing was left half written."])
    assert check_store(uri)["ok"].all()


@pytest.fixture(scope="module")
def durations(tmp_path_factory, table):
    """Return how many seconds a command takes when nobody disturbs it, looked at once."""
    known = {}

    def of(command, uri):
        if command not in known:
            folder = tmp_path_factory.mktemp("undisturbed")
            known[command] = run(arguments_of(command, uri, folder / "out", table), folder / "said").seconds
        return known[command]

    return of
