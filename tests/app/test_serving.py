import logging
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from tests.small_bundles import make

from il7ml.app.serving import WithoutTraceback, listen, serve
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
