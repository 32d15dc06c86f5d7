"""A short run of benchmarks/fuzz_service.py, and proof that it would find each kind of broken promise."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from tests.app.running import wait_until
from tests.small_bundles import PATIENT

from il7ml.predictor import Predictor


@pytest.fixture(scope="module")
def fuzzing():
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    yield import_module("fuzz_service")
    sys.path.remove(folder)


def test_nothing_that_comes_breaks_a_promise(fuzzing, current):
    with fuzzing.served(current) as (port, log):
        statuses, found = fuzzing.fuzz(port, PATIENT, 400, np.random.default_rng(1))
    assert found == []
    assert {200, 400, 404, 405, 413, 415, 422} <= set(statuses)
    for secret in (fuzzing.SECRET_TEXT, str(fuzzing.SECRET_NUMBER), "Traceback"):
        assert secret not in log.text
    assert "path=/predict caller=127.0.0.1" in log.text


def test_nothing_that_hypothesis_thinks_of_breaks_a_promise(fuzzing, current):
    with fuzzing.served(current) as (port, log):
        statuses, found = fuzzing.explore(port, PATIENT, 150, 1)
    assert found == []
    assert {200, 422} <= set(statuses)
    assert "Traceback" not in log.text


def test_hypothesis_finds_a_broken_promise(fuzzing, current, monkeypatch):
    whole = Predictor.predict

    def fail(self, patient):
        if patient.get("age", PATIENT["age"]) != PATIENT["age"]:
            raise ZeroDivisionError
        return whole(self, patient)

    monkeypatch.setattr(Predictor, "predict", fail)
    with fuzzing.served(current) as (port, _):
        _, [fault] = fuzzing.explore(port, PATIENT, 300, 1)
    assert fault.endswith(": status 500")
    assert "age" in fault


@pytest.mark.parametrize("message", ["age SECRETZQX", "age 73154731"])
def test_a_broken_promise_is_found(fuzzing, current, monkeypatch, message):
    def fail(*_):
        raise ZeroDivisionError(message)

    monkeypatch.setattr(Predictor, "predict", fail)
    with fuzzing.served(current) as (port, log):
        _, found = fuzzing.fuzz(port, PATIENT, 60, np.random.default_rng(1))
        wait_until(lambda: message in log.text)
    assert any(fault.endswith("status 500") for fault in found)


@pytest.mark.parametrize(
    ("status", "kind", "body", "fault"),
    [
        (200, "application/json", b'{"risk": NaN}', "not strict JSON"),
        (422, "application/json", b'{"detail": "SECRETZQX"}', "value repeated"),
        (422, "application/json", b'{"detail": "73154731"}', "value repeated"),
        (200, "text/html", b"<p>Traceback (most recent call last)", "traceback"),
        (200, "text/html", b"<script>alert(1)</script>", "markup of the request in the page"),
    ],
)
def test_each_kind_of_fault_is_told(fuzzing, status, kind, body, fault):
    assert fuzzing.faults(fuzzing.Answer(status, kind, body)) == [fault]
    assert fuzzing.faults(fuzzing.Answer(200, "application/json", b'{"patient_id": "SECRETZQX"}')) == []


def test_a_client_that_goes_away_is_no_fault_of_ours(fuzzing, current):
    head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    with fuzzing.served(current) as (port, log):
        assert fuzzing.send(port, head.encode()).status == 0
        wait_until(lambda: "path=/predict caller=127.0.0.1 refused=400" in log.text)
    assert "Traceback" not in log.text
