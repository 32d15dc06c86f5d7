import logging
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from tests.app.running import model_of, running
from tests.small_bundles import make

from il7ml.app.serving import PunctualProtocol, WithoutTraceback, listen, serve
from il7ml.bundle import save_bundle
from il7ml.errors import InputError


def test_an_address_in_use_is_said():
    with listen("127.0.0.1", 0) as first, pytest.raises(InputError, match="cannot be listened on"):
        listen("127.0.0.1", first.getsockname()[1])


def test_answers_are_sent_at_once():
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_does_not_exist_is_said(port):
    with pytest.raises(InputError, match="Choose another port"):
        listen("127.0.0.1", port)


def test_an_open_address_without_a_token_is_not_served():
    with pytest.raises(InputError, match="a token is needed"):
        serve("0.0.0.0", 0)


def test_an_error_in_the_log_loses_its_text():
    try:
        raise ValueError("age 62")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed %s", ("here",), sys.exc_info())
    assert WithoutTraceback().filter(record)
    assert logging.Formatter().format(record) == "failed here (ValueError)"


def test_it_starts_answers_and_stops_on_interrupt(tmp_path):
    save_bundle(make().bundle, tmp_path / "bundle")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = f"from il7ml.app.serving import serve; serve(port={port}, model={str(tmp_path / 'bundle')!r})"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(port)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as reply:
                assert reply.status == 200
        finally:
            process.send_signal(2)
            log = process.communicate(timeout=20)[1]
    assert process.returncode == 0
    assert f"http://127.0.0.1:{port}" in log
    assert "Traceback" not in log


def wait_for(port):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("did not start")


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_a_rate_that_makes_no_sense_is_said(rate):
    with pytest.raises(InputError, match=r"--rate .*: expected requests a second"):
        serve(port=0, rate=rate)


# Half-sent requests, with a time limit of a tenth of a second.

WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def service(monkeypatch, tmp_path):
    monkeypatch.setattr(PunctualProtocol, "head_seconds", 0.1)
    with running(model_of(make().bundle, tmp_path)) as found:
        yield found


@pytest.mark.parametrize("begun", [b"", b"GET /hea", b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_head_that_does_not_come_to_its_end_is_not_waited_for(service, begun):
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(begun)
        assert connection.recv(1) == b""


def test_nor_is_the_next_one_on_a_connection_that_had_an_answer(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(WHOLE)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.sendall(WHOLE[:20])
        while connection.recv(4096):
            pass


def test_a_head_that_comes_in_pieces_in_time_is_answered(service, monkeypatch):
    monkeypatch.setattr(PunctualProtocol, "head_seconds", 20.0)
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        for part in (WHOLE[:9], WHOLE[9:30], WHOLE[30:]):
            connection.sendall(part)
            time.sleep(0.01)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_an_answer_that_takes_longer_than_a_head_may_is_given(service):
    # The body is waited for by another limit; the head's must not end the request meanwhile.
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head + b"{")
        time.sleep(0.5)
        connection.sendall(b"}")
        assert connection.recv(4096).startswith(b"HTTP/1.1 422")
