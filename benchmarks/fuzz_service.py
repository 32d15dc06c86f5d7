"""Ask the service what nobody should: malformed bodies, headers, paths, sizes, nesting, text and numbers.

Every answer is held against what the service promises: no status of 500 or more, a complete answer, no traceback,
strict JSON, no value of the request in an error, and neither values nor identifiers in the log. Half of the requests
are good ones spoilt in ways that are listed here, heads included; for the other half hypothesis chooses the bodies:

    python benchmarks/fuzz_service.py --model RUN --requests 10000 --seed 0
"""

from __future__ import annotations

import argparse
import json
import logging
import select
import socket
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import hypothesis.strategies as st
import numpy as np
import uvicorn

from il7ml.app.current_model import CurrentModel
from il7ml.app.examples import example_patient
from il7ml.app.service import create_app
from il7ml.app.serving import configure, listen

#: Stand in values and identifiers, and must not come back in an error nor go into the log.
SECRET_NUMBER = 73154731
SECRET_TEXT = "SECRETZQX"
_SECONDS = 30.0
_PATIENCE = 2.0
_PATHS = ("/predict", "/predict", "/predict", "/predict/batch", "/", "/compare")
_OTHER_PATHS = (
    "/healthz", "/readyz", "/metrics", "/openapi.json", "/style.css", "/docs", "//predict", "/predict/", "/%2e%2e/%00",
    "/" + "a" * 5000, "/predict?age=" + str(SECRET_NUMBER), "/é", "*", "http://other.example/predict", "/\x7f",
)  # fmt: skip
_METHODS = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "post", "A" * 300, "P OST", "")
_TYPES = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "other": "multipart/form-data; boundary=x",
}
_ODD_TEXT = (
    "", " ", "\x00", "\ud800", "\u202e", "\ufeff", "e\u0301" * 50, "\N{PILE OF POO}" * 100, "٣", "１２", "NaN", "inf",
    "1e400", "-0", "0x1F", "1_000", "1,5", "<script>alert(1)</script>", "{{ 7 * 7 }}", "%s%n", "'; DROP TABLE x; --",
    "../../etc/passwd", "\r\nSet-Cookie: a=b", "x" * 100_000,
)  # fmt: skip
_ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 0.5, 2, 1e308, -1e308, 5e-324, 10**30, 10**400, [], {}, [[]], {"a": {"b": []}}, [None],
    SECRET_NUMBER, -SECRET_NUMBER, SECRET_TEXT, [SECRET_TEXT], {SECRET_TEXT: SECRET_NUMBER}, f"{SECRET_NUMBER}",
)  # fmt: skip
_HEADERS = (
    ("Host", "attacker.example"), ("Host", ""), ("Host", "localhost\x00"), ("Content-Length", "-1"),
    ("Content-Length", "99999999999999999999"), ("Content-Length", "1e3"), ("Transfer-Encoding", "gzip"),
    ("Transfer-Encoding", "chunked"), ("Expect", "100-continue"), ("Upgrade", "websocket"), ("Accept", "\xff\xfe"),
    ("Sec-Fetch-Site", "cross-site"), ("Authorization", "Basic ****"), ("Authorization", "Bearer " + SECRET_TEXT),
    ("Cookie", "a=" + "b" * 9000), ("X-" + "a" * 9000, "1"), ("X-Forwarded-For", SECRET_TEXT), ("Range", "bytes=0-"),
    ("Content-Encoding", "gzip"), ("Content-Type", "application/json; charset=utf-16"), ("Content-Type", "\x00"),
    ("Bad Name", "1"), ("", "1"), ("Connection", "keep-alive, upgrade"), ("Accept-Encoding", "gzip;q=NaN"),
)  # fmt: skip


class Answer(NamedTuple):
    """What came back: status 0 where the connection was closed without one."""

    status: int
    kind: str
    body: bytes


def requests(patient: dict[str, Any], count: int, rng: np.random.Generator) -> Iterator[bytes]:
    """Yield requests as they go over the wire.

    Parameters
    ----------
    patient : dict
        A good record, which is then spoilt.
    count : int
    rng : Generator
    """
    for _ in range(count):
        kind, body = _pick(rng, (_spoilt_record, _spoilt_json, _spoilt_batch, _spoilt_form, _noise))(patient, rng)
        path = _pick(rng, {"json": _PATHS[:4], "form": _PATHS[4:], "other": _PATHS}[kind])
        method, headers = "POST", [("Host", "127.0.0.1"), ("Content-Type", _TYPES[kind])]
        if rng.random() < 0.1:
            path = _pick(rng, _OTHER_PATHS)
        if rng.random() < 0.05:
            method = _pick(rng, _METHODS)
        headers.append(("Content-Length", str(len(body))))
        if rng.random() < 0.2:
            name, value = _pick(rng, _HEADERS)
            headers = [each for each in headers if each[0] != name or rng.random() < 0.2] + [(name, value)]
        if rng.random() < 0.02:
            headers += [("X-Many", str(k)) for k in range(2000)]
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
        yield head.encode("utf-8", "surrogatepass") + b"Connection: close\r\n\r\n" + body


def _pick(rng: np.random.Generator, among: Iterable[Any]) -> Any:
    found = list(among)
    return found[rng.integers(len(found))]


def _spoil(patient: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return the record with one to three odd values, names or gaps."""
    record: dict[str, Any] = {**patient, "patient_id": SECRET_TEXT}
    for _ in range(rng.integers(1, 4)):
        name = _pick(rng, [*record, "age ", "", "__class__", "neutrophil_lymphocyte_ratio", "unknown"])
        record[name] = _pick(rng, (*_ODD_VALUES, *_ODD_TEXT))
        if rng.random() < 0.1:
            del record[name]
    return record


def _spoilt_record(patient: dict[str, Any], rng: np.random.Generator) -> tuple[str, bytes]:
    return "json", json.dumps(_spoil(patient, rng)).encode()


def _spoilt_json(patient: dict[str, Any], rng: np.random.Generator) -> tuple[str, bytes]:
    """Return JSON cut off, with bytes changed, nested deeply, with constants that are none, or a key twice."""
    text = json.dumps({**patient, "patient_id": SECRET_TEXT}).encode()
    deep = int(rng.integers(1, 200_000))
    changed = bytearray(text)
    for place in rng.integers(len(text), size=rng.integers(1, 6)):
        changed[place] = rng.integers(256)
    odd = (
        text[: rng.integers(len(text))], bytes(changed), b"[" * deep, b'{"a":' * deep, b"[" * deep + b"]" * deep,
        b'{"age": NaN}', b'{"age": -Infinity}', b'{"age": 1e999}', b'{"age": 1, "age": %d}' % SECRET_NUMBER,
        b'{"age": ' + b"7" * int(rng.integers(1, 6000)) + b"}", b"\xff\xfe" + text, text.decode().encode("utf-16"),
        b"\xef\xbb\xbf" + text, text + text, b"", b"null", b"%d" % SECRET_NUMBER, b'"' + SECRET_TEXT.encode() + b'"',
    )  # fmt: skip
    return "json", _pick(rng, odd)


def _spoilt_batch(patient: dict[str, Any], rng: np.random.Generator) -> tuple[str, bytes]:
    rows = [_pick(rng, (_spoil(patient, rng), *_ODD_VALUES)) for _ in range(rng.integers(0, 6))]
    body = _pick(rng, ({"patients": rows}, {"patients": rows, "more": 1}, rows, {"patients": {"0": rows}}))
    return "json", json.dumps(body).encode()


def _spoilt_form(patient: dict[str, Any], rng: np.random.Generator) -> tuple[str, bytes]:
    fields = [(name, str(value)) for name, value in patient.items()]
    for _ in range(rng.integers(1, 4)):
        name = _pick(
            rng, [*patient, "absolute_lymphocyte_count__unit", "but__absolute_lymphocyte_count", "but__x", "x"]
        )
        fields = [field for field in fields if field[0] != name or rng.random() < 0.1]
        fields.append((name, str(_pick(rng, (*_ODD_VALUES[:12], *_ODD_TEXT)))))
    text = urllib.parse.urlencode(fields, errors="surrogatepass").encode()
    return "form", _pick(
        rng, (text, text, text, text[: rng.integers(len(text))], text.replace(b"=", b"%"), b"&" * 3000)
    )


def _noise(_: dict[str, Any], rng: np.random.Generator) -> tuple[str, bytes]:
    sizes = (0, 1, 50, 5000, 2**20 + 1) if rng.random() < 0.05 else (0, 1, 50, 500)
    return _pick(rng, _TYPES), rng.bytes(int(_pick(rng, sizes)))


def send(port: int, request: bytes) -> Answer:
    """Send a request and return the answer; one that waits for more than came is told that no more will come.

    Raises
    ------
    TimeoutError
        If the answer is not complete after 30 seconds.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection, suppress(ConnectionError):
        # A refusal can come, and the connection go, while the rest of a body is still on its way.
        connection.sendall(request)
        if not select.select([connection], [], [], _PATIENCE)[0]:
            connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(2**16):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return Answer(int(lines[0].split()[1]) if lines[0] else 0, headers.get("content-type", ""), body)


def faults(answer: Answer) -> list[str]:
    """Return what is wrong with an answer; it never holds more than its kind."""
    found = []
    if answer.status >= 500:
        found.append(f"status {answer.status}")
    if b"Traceback" in answer.body:
        found.append("traceback")
    if answer.kind.startswith("application/json") and answer.body:
        try:
            json.loads(answer.body, parse_constant=_refuse)
        except ValueError:
            found.append("not strict JSON")
        if answer.status >= 400 and (SECRET_TEXT.encode() in answer.body or b"%d" % SECRET_NUMBER in answer.body):
            found.append("value repeated")
    if b"<script" in answer.body:
        found.append("markup of the request in the page")
    return found


def _refuse(_: str) -> None:
    raise ValueError


def bodies(patient: dict[str, Any]) -> st.SearchStrategy[tuple[str, bytes]]:
    """Return a strategy for paths and bodies: any JSON, records with any values, batches and forms."""
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(_ODD_VALUES)
    anything = st.recursive(leaf, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
    name = st.sampled_from([*patient, "patient_id"])
    # Most values stay right, so that predictions, too, are asked for with numbers at the ends of what is possible.
    changed = st.dictionaries(name, st.floats(-1, 130) | anything, max_size=3)
    record = changed.map(lambda changes: {**patient, **changes}) | st.dictionaries(name | st.text(), anything)
    batch = st.fixed_dictionaries({"patients": st.lists(record | anything, max_size=8)})
    field = st.tuples(name, st.floats(-1, 130).map(str) | st.text(st.characters(exclude_categories=["Cs"])))
    form = st.lists(field, max_size=3).map(
        lambda fields: urllib.parse.urlencode({**{key: str(patient[key]) for key in patient}, **dict(fields)}).encode()
    )
    return st.one_of(
        st.tuples(st.just("/predict"), (record | anything).map(_as_json)),
        st.tuples(st.just("/predict/batch"), (batch | anything).map(_as_json)),
        st.tuples(st.sampled_from(["/", "/compare"]), form | st.binary()),
    )


def _as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def explore(port: int, patient: dict[str, Any], count: int, seed: int) -> tuple[Counter[int], list[str]]:
    """Let hypothesis choose `count` bodies; return how often each status came, and the simplest body of each fault."""
    statuses: Counter[int] = Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(bodies(patient))
    def ask(chosen: tuple[str, bytes]) -> None:
        path, body = chosen
        kind = _TYPES["json" if path.startswith("/predict") else "form"]
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        answer = send(port, head.encode() + b"Connection: close\r\n\r\n" + body)
        statuses[answer.status] += 1
        wrong = faults(answer) or ([] if answer.status else ["no answer"])
        assert not wrong, f"{path} {body!r}: {', '.join(wrong)}"

    try:
        ask()
    except AssertionError as error:
        return statuses, [str(error)]
    return statuses, []


def fuzz(port: int, patient: dict[str, Any], count: int, rng: np.random.Generator) -> tuple[Counter[int], list[str]]:
    """Send `count` requests; return how often each status came, and every fault with the request's number."""
    statuses: Counter[int] = Counter()
    found: list[str] = []
    for number, request in enumerate(requests(patient, count, rng)):
        answer = send(port, request)
        statuses[answer.status] += 1
        found += [f"request {number}: {fault}" for fault in faults(answer)]
    return statuses, found


class Log(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record as it would be written, with the traceback that it brings along."""
        self.text += logging.Formatter().format(record) + "\n"


@contextmanager
def served(current: CurrentModel) -> Iterator[tuple[int, Log]]:
    """Serve until the block ends; yields port and log."""
    log = Log()
    for name in ("il7ml", "uvicorn"):
        logging.getLogger(name).addHandler(log)
        logging.getLogger(name).setLevel(logging.INFO)
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(configure(create_app(current)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            _wait_until(lambda: server.started)
            yield listening.getsockname()[1], log
        finally:
            server.should_exit = True
            thread.join()
            for name in ("il7ml", "uvicorn"):
                logging.getLogger(name).removeHandler(log)


def _wait_until(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(0.02)


def main() -> None:
    """Fuzz, and end with 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="champion", help="as for il7ml serve")
    parser.add_argument("--requests", type=int, default=10_000, help="of each kind: spoilt over the wire, hypothesis's")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    current = CurrentModel(Path(given.model) if Path(given.model).is_dir() else given.model)
    begun = time.perf_counter()
    with served(current) as (port, log):
        patient = example_patient(current.state.predictor)
        statuses, found = fuzz(port, patient, given.requests, np.random.default_rng(given.seed))
        chosen, more = explore(port, patient, given.requests, given.seed)
    statuses, found = statuses + chosen, found + more
    found += [f"{secret!r} in the log" for secret in (SECRET_TEXT, str(SECRET_NUMBER)) if secret in log.text]
    found += ["traceback in the log"] * ("Traceback" in log.text)
    print(f"{sum(statuses.values())} requests in {time.perf_counter() - begun:.0f} s; answers by status (0: none):")
    print(", ".join(f"{status}: {count}" for status, count in sorted(statuses.items())))
    print("\n".join(found) or "No promise was broken.")
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
