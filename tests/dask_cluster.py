"""A Dask cluster of processes on this machine, which can be killed one by one."""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).parents[1]
_SECONDS = 60


class Processes:
    """A scheduler and workers of one thread each, bound to this machine."""

    def __init__(self, folder):
        self.address = f"tcp://127.0.0.1:{_free_port()}"
        self.workers = []
        self._folder = folder
        # A task that ends two workers is taken for the culprit; Dask's own patience is two more.
        self._environment = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1", "OMP_NUM_THREADS": "1"}
        self.scheduler = self._start("dask_scheduler", "--port", self.address.rpartition(":")[2], "--host", "127.0.0.1")

    def add_worker(self, source=PROJECT / "src"):
        """Start a worker without a nanny that would start it again; its il7ml is that of `source`."""
        arguments = (self.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny")
        self.workers.append(
            self._start("dask_worker", *arguments, "--local-directory", str(self._folder), source=source)
        )
        return self.workers[-1]

    def listens(self):
        """Return whether the scheduler takes connections."""
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", int(self.address.rpartition(":")[2]))) == 0

    def have_workers(self, count):
        """Start as many workers as are missing."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < count:
            self.add_worker()

    def close(self):
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()

    def _start(self, program, *arguments, source=PROJECT / "src"):
        command = [sys.executable, "-m", f"distributed.cli.{program}", *arguments, "--no-dashboard"]
        environment = {**os.environ, **self._environment, "PYTHONPATH": f"{source}{os.pathsep}{PROJECT}"}
        with (self._folder / "log").open("a") as log:
            return subprocess.Popen(command, env=environment, cwd=self._folder, stdout=log, stderr=log)


@contextmanager
def processes(folder):
    """Yield a cluster without workers, and end it."""
    cluster = Processes(folder)
    try:
        assert wait_until(cluster.listens)
        yield cluster
    finally:
        cluster.close()


def wait_until(condition):
    """Wait until something is true, and return whether it became so."""
    end = time.monotonic() + _SECONDS
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
