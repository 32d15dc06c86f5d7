"""Trainings in processes of their own, which can be killed.

They are forked from a server that has imported everything once. The forks of a fork write into a store that their
parent never opened, since an open SQLite file must not be carried over a fork.
"""

import functools
import multiprocessing
import os
import signal
import time
from multiprocessing import forkserver
from pathlib import Path

import mlflow.pyfunc
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
from mlflow import MlflowClient
from tests.tracking.logged_runs import logged, scored

#: What a training or a sweep asks of the store, in whatever order.
_CALLS = (
    "create_run",
    "log_batch",
    "log_inputs",
    "log_artifacts",
    "create_logged_model",
    "log_model_artifacts",
    "log_outputs",
    "finalize_logged_model",
    "create_registered_model",
    "create_model_version",
    "set_terminated",
    "set_tag",
    "update_run",
    "delete_run",
)


@functools.cache
def context():
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([__name__, "tests.commands"])
    _preload()
    return found


def _preload():
    """Start the server with this project on its path, which it does not take over by itself before Python 3.13."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), before]))
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def start(function, *arguments):
    process = context().Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def train(uri, times=1):
    for _ in range(times):
        logged(uri)


def killed_at_every_call(warm, uri, work=logged):
    """Do the work in forks, each of which is killed one call to the store later, until one comes through."""
    work(warm)
    call, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        call += 1
        code = _in_fork(functools.partial(_work_until, work, uri, call))
    assert code == 0


def killed_at_times(warm, uri, shares):
    """Train in forks that are killed after these shares of the time that a training takes."""
    logged(warm)
    begin = time.perf_counter()
    assert _in_fork(functools.partial(train, uri)) == 0
    whole = time.perf_counter() - begin
    for share in shares:
        _in_fork(functools.partial(train, uri, 100), whole * share)


def _in_fork(function, kill_after=None):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _work_until(work, uri, call):
    """Do the work; the process is killed just before its `call`-th call to the store."""
    seen = 0

    def counted(method):
        @functools.wraps(method)
        def run(*arguments, **named):
            nonlocal seen
            seen += 1
            if seen == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*arguments, **named)

        return run

    for name in _CALLS:
        setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
    work(uri)


# Made before the fork, so that no child has to.
scored()
