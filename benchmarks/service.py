"""Load the service over loopback: times, throughput and memory with several clients at once, beside MLflow's server.

Starts `il7ml serve` without a rate limit, asks it with one connection a client, each sending its next request when the
answer to the last has come, and prints a Markdown table. "Processor" is the server's processor time a request, which
depends less on what else the machine does. The patient is the model's own invented example:

    python benchmarks/service.py --model RUN                              # one or two minutes
    python benchmarks/service.py --model RUN --mlflow models:/NAME/1      # and `mlflow models serve`, two minutes more
    python benchmarks/service.py --model RUN --soak 50000                 # memory of the server as requests go by
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_JSON = {"Content-Type": "application/json"}
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_START_SECONDS = 120.0


class Call(NamedTuple):
    """A request that is sent again and again."""

    label: str
    method: str
    path: str
    body: bytes
    headers: dict[str, str]


class Server(NamedTuple):
    """A server that runs."""

    port: int
    process: int

    def cpu_seconds(self) -> float:
        """Return the processor's time that it and its children have used."""
        ticks = 0
        for process in (self.process, *children(self.process)):
            # The command's name stands in brackets and may hold anything; user and system time are fields 14 and 15.
            fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Return its resident memory in MiB."""
        lines = Path(f"/proc/{self.process}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


class Load(NamedTuple):
    """What came of a load: seconds of the clock and of the server's processor, times of requests in milliseconds."""

    requests: int
    seconds: float
    cpu_seconds: float
    p50: float
    p99: float


def load(server: Server, call: Call, clients: int, requests: int) -> Load:
    """Send `requests` requests from `clients` clients. Any answer but 200 is an error."""
    each = requests // clients
    times: list[list[float]] = [[] for _ in range(clients)]
    failures: list[int] = []
    together = threading.Barrier(clients + 1)

    def ask(mine: list[float]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        together.wait()
        for _ in range(each):
            begun = time.perf_counter()
            connection.request(call.method, call.path, call.body or None, call.headers)
            answer = connection.getresponse()
            answer.read()
            mine.append(1e3 * (time.perf_counter() - begun))
            if answer.status != HTTPStatus.OK:
                failures.append(answer.status)
        connection.close()

    threads = [threading.Thread(target=ask, args=(mine,)) for mine in times]
    for thread in threads:
        thread.start()
    together.wait()
    begun, cpu = time.perf_counter(), server.cpu_seconds()
    for thread in threads:
        thread.join()
    seconds, cpu = time.perf_counter() - begun, server.cpu_seconds() - cpu
    if failures:
        raise SystemExit(f"{len(failures)} requests were answered {sorted(set(failures))}.")
    p50, p99 = np.quantile(np.concatenate(times), [0.5, 0.99])
    return Load(each * clients, seconds, cpu, float(p50), float(p99))


def children(process: int) -> list[int]:
    """Return the processes that a process has started, and those that these have."""
    direct = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    return [found for child in map(int, direct) for found in (child, *children(child))]


@contextmanager
def started(command: Sequence[str], port: int, health: str) -> Iterator[Server]:
    """Run a server until the block ends."""
    # MLflow looks for its server's command on the path, and ends leaving it behind unless the whole group is told.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"},
        start_new_session=True,
    ) as process:
        try:
            end = time.monotonic() + _START_SECONDS
            while status(port, health) != HTTPStatus.OK:
                if process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"did not start: {' '.join(command)}")
                time.sleep(0.2)
            yield Server(port, process.pid)
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def status(port: int, path: str) -> int:
    """Return the status of a path, 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def example(port: int) -> dict[str, Any]:
    """Return the example patient that the service describes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/openapi.json")
    document = json.load(connection.getresponse())
    connection.close()
    body = document["paths"]["/predict"]["post"]["requestBody"]
    found: dict[str, Any] = body["content"]["application/json"]["example"]
    return found


def calls(patient: dict[str, Any]) -> list[Call]:
    """Return what is asked: the API with and without gaps, a batch, and the pages."""
    gaps = {name: value for name, value in patient.items() if name in ("age", "absolute_lymphocyte_count")}
    form = urllib.parse.urlencode(patient).encode()
    batch = {"patients": [patient] * 10}
    return [
        Call("`POST /predict`", "POST", "/predict", json.dumps(patient).encode(), _JSON),
        Call("`POST /predict`, all optional values missing", "POST", "/predict", json.dumps(gaps).encode(), _JSON),
        Call("`POST /predict/batch`, 10 patients", "POST", "/predict/batch", json.dumps(batch).encode(), _JSON),
        Call("page with the form", "GET", "/", b"", {}),
        Call("page with an answer", "POST", "/", form, _FORM),
        Call("page with the comparison", "POST", "/compare", form, _FORM),
    ]


def measure(server: Server, call: Call, clients: Sequence[int], requests: int) -> None:
    """Warm up, and print a row of the table for each number of clients."""
    load(server, call, max(clients), 5 * max(clients))
    for count in clients:
        found = load(server, call, count, requests)
        figures = (found.requests / found.seconds, found.p50, found.p99, 1e3 * found.cpu_seconds / found.requests)
        print(f"| {call.label} | {count} | {' | '.join(f'{figure:.1f}' for figure in figures)} |", flush=True)


def main() -> None:
    """Run the load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="champion", help="as for il7ml serve")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--requests", type=int, default=400, help="for each row of the table (default 400)")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--mlflow", metavar="MODEL", help="models:/NAME/VERSION, served by MLflow in the same run")
    parser.add_argument("--soak", type=int, default=0, metavar="N", help="then N requests, memory printed ten times")
    given = parser.parse_args()
    serve = [sys.executable, "-m", "il7ml", "serve", "--port", str(given.port), "--rate", "0", "--model", given.model]
    print("| request | clients | requests a second | p50, ms | p99, ms | processor, ms |\n|---|---|---|---|---|---|")
    with started(serve, given.port, "/readyz") as server:
        patient = example(given.port)
        for call in calls(patient):
            measure(server, call, given.clients, given.requests)
        for k in range(11 if given.soak else 0):
            if k:
                load(server, calls(patient)[0], 8, given.soak // 10)
            print(f"{k * (given.soak // 10)} requests: {server.memory():.1f} MiB", flush=True)
    if given.mlflow:
        command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--workers", "1"]
        command += ["--model-uri", given.mlflow, "--port", str(given.port)]
        record = {name: value for name, value in patient.items() if name != "patient_id"}
        body = json.dumps({"dataframe_records": [record]}).encode()
        call = Call("`mlflow models serve`, one row", "POST", "/invocations", body, _JSON)
        with started(command, given.port, "/ping") as server:
            measure(server, call, given.clients, given.requests)


if __name__ == "__main__":
    main()
