"""Runs the service for tests: the real server on a port of its own, asked over real connections."""

import http.client
import json
import threading
import time
from contextlib import contextmanager
from typing import NamedTuple

import uvicorn

from il7ml.app.current_model import CurrentModel
from il7ml.app.service import create_app
from il7ml.app.serving import configure, listen
from il7ml.bundle import save_bundle


class Reply(NamedTuple):
    status: int
    headers: dict
    body: bytes

    @property
    def text(self):
        return self.body.decode("utf-8")

    def json(self):
        def refuse(constant):
            raise AssertionError(f"{constant} in an answer")

        return json.loads(self.text, parse_constant=refuse)


class Service(NamedTuple):
    """A service that runs."""

    port: int
    server: uvicorn.Server

    def ask(self, method, path, body=None, headers=None, **options):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {}, **options)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.ask("GET", path, headers=headers)

    def post(self, path, record, **headers):
        """Send JSON: a record, or bytes as they are."""
        body = record if isinstance(record, bytes) else json.dumps(record).encode()
        return self.ask("POST", path, body, {"Content-Type": "application/json", **headers})

    def send_form(self, body, path="/"):
        return self.ask("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})


@contextmanager
def running(current, **options):
    """Serve until the block ends."""
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(configure(create_app(current, **options)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield Service(listening.getsockname()[1], server)
        finally:
            server.should_exit = True
            thread.join(timeout=20)
            assert not thread.is_alive()


def wait_until(done):
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end, "waited 20 seconds in vain"
        time.sleep(0.02)


def model_of(bundle, folder):
    """Return the current model from a bundle folder."""
    save_bundle(bundle, folder / "bundle")
    return CurrentModel(folder / "bundle")
