"""Clients that send or take too slowly, over real connections; the limits are shortened."""

import logging
import socket
import time

import pytest
from tests.app.running import running, wait_until

from il7ml.app.connection import PatientConnection

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n"
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def hasty(current, monkeypatch):
    monkeypatch.setattr(PatientConnection, "request_seconds", 0.5)
    monkeypatch.setattr(PatientConnection, "answer_seconds", 0.5)
    with running(current) as found:
        yield found


def connect(service):
    return socket.create_connection(("127.0.0.1", service.port), timeout=20)


def read_all(client):
    found = b""
    while part := client.recv(65536):
        found += part
    return found


def drip(client, data):
    """Send a byte now and then until the service closes the connection; return what it answered."""
    client.settimeout(0.05)
    found, end = b"", time.monotonic() + 20
    for place in range(len(data)):
        assert time.monotonic() < end, "the connection was kept for 20 seconds"
        try:
            client.sendall(data[place : place + 1])
            part = client.recv(65536)
        except TimeoutError:
            continue
        except ConnectionError:
            return found
        if not part:
            return found
        found += part
    raise AssertionError("all was taken, however slowly")


@pytest.mark.parametrize("head", [b"P", HEAD, HEAD + b"X-Long: " + b"a" * 1000])
def test_a_head_that_does_not_end_is_answered_408(hasty, head):
    with connect(hasty) as client:
        client.sendall(head)
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b"Send it again.\n")


def test_a_head_that_drips_is_answered_408(hasty, caplog):
    with caplog.at_level(logging.INFO, logger="il7ml.app"), connect(hasty) as client:
        assert drip(client, HEAD + b"X-SECRET: " + b"a" * 400).startswith(b"HTTP/1.1 408 ")
    assert "path=unknown caller=127.0.0.1 refused=408" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_body_that_does_not_end_is_not_waited_for(hasty):
    with connect(hasty) as client:
        client.sendall(HEAD + b"\r\n{")
        read_all(client)
    wait_until(lambda: not hasty.server.server_state.connections)


def test_a_body_that_nobody_reads_does_not_hold_the_connection(hasty):
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
    with connect(hasty) as client:
        client.sendall(head)
        assert drip(client, b"a" * 400).startswith(b"HTTP/1.1 200 ")


def test_who_sends_nothing_is_not_waited_for(hasty):
    with connect(hasty) as client:
        assert read_all(client) == b""


def test_a_connection_that_is_used_again_is_kept(hasty):
    with connect(hasty) as client:
        for _ in range(4):
            client.sendall(WHOLE[:20])
            time.sleep(0.2)  # all four together take longer than one may
            client.sendall(WHOLE[20:])
            answer = b""
            while not answer.endswith(b"}"):
                answer += (part := client.recv(65536))
                assert part, "the connection was closed"
            assert answer.startswith(b"HTTP/1.1 200 ")


def test_who_takes_no_answer_is_not_waited_for(hasty):
    page = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(hasty) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(5)
        for _ in range(1000):  # more pages than the buffers of both sides hold
            try:
                client.sendall(page)
            except (TimeoutError, ConnectionError):
                break
        wait_until(lambda: not hasty.server.server_state.connections)
    assert hasty.get("/healthz").status == 200


def test_half_sent_requests_keep_nobody_out(hasty):
    clients = [connect(hasty) for _ in range(70)]  # more than the service has connections
    try:
        for client in clients:
            client.sendall(HEAD)
        wait_until(lambda: len(hasty.server.server_state.connections) >= 64)
        wait_until(lambda: not hasty.server.server_state.connections)
        assert hasty.get("/healthz").status == 200
    finally:
        for client in clients:
            client.close()
