import json
import logging
import re
import socket
import urllib.parse

import numpy as np
import pytest
from tests.app.running import model_of, running
from tests.json_schema import problems
from tests.small_bundles import PATIENT, assert_alike, make, with_card

from il7ml import texts
from il7ml.app.records import MAX_PATIENTS
from il7ml.app.security import MAX_BODY
from il7ml.predictor import Predictor

FORM = urllib.parse.urlencode({name: str(value) for name, value in PATIENT.items()})

# One patient.


def test_the_answer_is_the_predictors(service, current):
    given = service.post("/predict", {**PATIENT, "patient_id": "A1"})
    expected = current.state.predictor.predict({**PATIENT, "patient_id": "A1"}).to_dict()
    assert given.status == 200
    assert given.headers["content-type"] == "application/json"
    assert given.json() == json.loads(json.dumps(expected))


def test_out_of_scope_is_an_answer_without_benefit(service):
    answer = service.post("/predict", {**PATIENT, "age": 85}).json()
    assert answer["status"] == "out_of_scope"
    assert answer["benefit"] is None


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({**PATIENT, "absolute_lymphocyte_count": 731}, "Did you mean cells/uL?"),
        ({**PATIENT, "age": 731}, "age: impossible value. Expected 0 to 120 (years)."),
        ({**PATIENT, "respiratory_support": "k731"}, "expected one of oxygen, non_invasive, invasive"),
        ({**PATIENT, "agee": 731}, "unknown field 'agee'. Did you mean 'age'?"),
        ({**PATIENT, "age": None}, "required field missing: age"),
        ({**PATIENT, "age": {"731": 731}}, "age: expected a number, got dict"),
        ({**PATIENT, "patient_id": [731]}, "patient_id: expected text or a whole number, got an array."),
        ([731], "expected one JSON object of variables and values, got an array."),
        (b"731", "expected one JSON object of variables and values, got a number."),
        (b'{"age": NaN}', "NaN and infinity are not JSON."),
        (b'{"age": -Infinity}', "NaN and infinity are not JSON."),
        (b'{"age": 731, "age": 62}', "a key stands twice"),
        (b'{"age": 731', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"age": ' + b"7" * 5000 + b"}", "not valid JSON"),
        (b'{"age": 1e999}', "required field missing"),
        (b'{"age": "\xff731"}', "not valid JSON in UTF-8"),
        (b"", "not valid JSON"),
    ],
)
def test_wrong_input_is_refused_in_words_that_repeat_no_value(service, record, message):
    reply = service.post("/predict", record)
    assert reply.status == 422
    assert list(reply.json()) == ["detail"]
    assert message in reply.json()["detail"]
    assert "731" not in reply.text


def test_a_text_of_any_signs_comes_back_as_it_was(service):
    given = service.post("/predict", json.dumps({**PATIENT, "patient_id": "\ud800é\u202e\x00"}).encode())
    assert given.status == 200
    assert given.json()["patient_id"] == "\ud800é\u202e\x00"


# Several.


def test_a_batch_keeps_order_and_a_wrong_row_spoils_no_other(service, current):
    rows = [
        {**PATIENT, "patient_id": 7},
        {**PATIENT, "patient_id": "b", "age": 300},
        None,
        {**PATIENT, "age": 85},
        {**PATIENT, "patient_id": {}},
        PATIENT,
    ]
    answers = service.post("/predict/batch", {"patients": rows}).json()["answers"]
    assert [answer["status"] for answer in answers] == ["ok", "error", "error", "out_of_scope", "error", "ok"]
    assert [answer["patient_id"] for answer in answers] == ["7", "b", None, None, None, None]
    assert answers[1]["message"] == "age: impossible value. Expected 0 to 120 (years)."
    assert_alike(answers[-1], json.loads(json.dumps(current.state.predictor.predict(PATIENT).to_dict())))


@pytest.mark.parametrize("body", [{}, {"patients": {}}, {"patients": [], "more": 1}, {"patient": []}])
def test_a_batch_of_another_form_is_refused(service, body):
    reply = service.post("/predict/batch", body)
    assert (reply.status, reply.json()["detail"][:26]) == (422, 'expected {"patients": [{..')


def test_a_batch_that_is_too_long_is_refused(service):
    reply = service.post("/predict/batch", {"patients": [0] * (MAX_PATIENTS + 1)})
    assert reply.status == 422
    assert f"at most {MAX_PATIENTS}" in reply.json()["detail"]
    assert service.post("/predict/batch", {"patients": [0] * MAX_PATIENTS}).status == 200


# Limits.


def test_a_large_body_is_refused_whether_its_length_is_told_or_not(service):
    assert service.post("/predict", b" " * (MAX_BODY + 1)).status == 413
    chunks = (b" " * 2**16 for _ in range(MAX_BODY // 2**16 + 1))
    headers = {"Content-Type": "application/json"}
    assert service.ask("POST", "/predict", chunks, headers, encode_chunked=True).status == 413
    assert service.post("/predict", b" " * MAX_BODY).status == 422


def test_a_body_that_does_not_end_is_given_up(service, monkeypatch):
    monkeypatch.setattr("il7ml.app.security._BODY_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        head = (
            "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_another_type_of_body_is_refused(service, kind):
    reply = service.post("/predict", PATIENT, **{"Content-Type": kind})
    assert (reply.status, reply.json()["detail"]) == (415, "Content-Type: expected application/json; another came.")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/predict", 405), ("GET", "/docs", 404), ("GET", "/../../etc/passwd", 404), ("PUT", "/", 405)],
)
def test_what_is_not_there_is_refused_in_the_same_form(service, method, path, status):
    reply = service.ask(method, path)
    assert reply.status == status
    assert list(reply.json()) == ["detail"]


# Simulated patients are said first, everywhere.


def test_every_answer_of_a_simulated_model_begins_with_it(simulated_service):
    ask = simulated_service
    replies = [
        ask.post("/predict", PATIENT),
        ask.post("/predict", {"age": 300}),
        ask.post("/predict/batch", {"patients": [PATIENT, {"age": 300}]}),
        ask.post("/predict", b" " * (MAX_BODY + 1)),
        ask.get("/nowhere"),
        ask.get("/readyz"),
        ask.get("/", Host="elsewhere.example"),
    ]
    assert [reply.status for reply in replies] == [200, 422, 200, 413, 404, 200, 400]
    for reply in replies:
        assert next(iter(reply.json().items())) == ("notice", texts.SIMULATED)
    for row in replies[2].json()["answers"]:
        assert next(iter(row.items())) == ("notice", texts.SIMULATED)
    assert ask.get("/openapi.json").json()["info"]["description"].startswith(texts.SIMULATED)


# The description.


def test_the_examples_of_the_description_run_as_written(service):
    paths = service.get("/openapi.json").json()["paths"]
    for path in ("/predict", "/predict/batch"):
        post = paths[path]["post"]
        example = post["requestBody"]["content"]["application/json"]["example"]
        reply = service.post(path, example)
        assert reply.status == 200
        assert reply.json() == post["responses"]["200"]["content"]["application/json"]["example"]


def test_the_description_names_every_variable_with_unit_and_range(service, current):
    document = service.get("/openapi.json").json()
    schema = document["components"]["schemas"]["Patient"]
    assert set(schema["properties"]) == {"patient_id", *current.state.predictor.inputs}
    assert schema["required"] == ["age", "absolute_lymphocyte_count"]
    count = schema["properties"]["absolute_lymphocyte_count"]
    assert "10^9/L" in count["description"]
    assert (count["minimum"], count["maximum"]) == (0, 50)
    assert schema["properties"]["respiratory_support"]["enum"] == ["oxygen", "non_invasive", "invasive", None]
    assert set(document["paths"]) == {"/predict", "/predict/batch", "/healthz", "/readyz", "/metrics"}


def test_every_reference_of_the_description_leads_somewhere(service):
    text = service.get("/openapi.json").text
    known = json.loads(text)["components"]["schemas"]
    found = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert found
    assert found <= set(known)


@pytest.mark.parametrize("kind", ["binary", "count", "continuous"])
def test_answers_of_each_kind_have_the_described_keys(tmp_path, kind):
    with running(model_of(make(kind).bundle, tmp_path)) as service:
        schema = service.get("/openapi.json").json()["components"]["schemas"]["Answer"]
        answer = service.post("/predict", PATIENT).json()
    assert list(answer) == schema["required"] == list(schema["properties"])
    assert problems(answer, schema) == []


def test_examples_fit_their_schemas(service, simulated_service):
    for each in (service, simulated_service):
        document = each.get("/openapi.json").json()
        schemas = document["components"]["schemas"]
        for path in ("/predict", "/predict/batch"):
            answer = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["example"]
            for row in answer.get("answers", [answer]):
                assert problems(row, schemas["RefusedRow" if row["status"] == "error" else "Answer"]) == []
        body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
        assert problems(body, schemas["Patient"]) == []


# Operation.


def test_health_and_readiness(service, current):
    assert service.get("/healthz").json() == {"status": "ok"}
    answer = service.get("/readyz").json()
    assert answer["status"] == "ready"
    assert answer["model"]["digest"] == current.state.predictor.bundle.digest
    assert answer["store"] == "not used: the model is a folder"


def test_counters_count_and_hold_nothing_of_patients(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    secret = {**PATIENT, "patient_id": "SECRET-ID", "age": 61.73}
    with running(model_of(make().bundle, tmp_path)) as service:
        service.post("/predict", secret)
        service.post("/predict", {**secret, "age": 617.3})
        service.post("/predict/batch", {"patients": [secret, {**secret, "age": 85}, {}]})
        service.send_form(FORM + "&patient_id=SECRET-ID")
        service.get("/SECRET-ID?age=61.73")
        text = service.get("/metrics").text
    assert 'il7ml_answers_total{status="ok"} 3\n' in text
    assert 'il7ml_answers_total{status="out_of_scope"} 1\n' in text
    assert 'il7ml_answers_total{status="error"} 2\n' in text
    assert 'il7ml_requests_total{method="POST",path="/predict",status="422"} 1\n' in text
    assert 'il7ml_requests_total{method="GET",path="other",status="404"} 1\n' in text
    for place in (text, caplog.text):
        assert "SECRET" not in place
        assert not re.search(r"(?<![\w.])(61\.73|617)\b", place)  # digests and clocks may hold the digits
    assert "path=/predict/batch caller=127.0.0.1" in caplog.text
    assert "error=1 ok=1 out_of_scope=1" in caplog.text


def test_our_own_fault_tells_nothing_of_the_patient(tmp_path, caplog, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("age 61.73")

    with running(model_of(make().bundle, tmp_path)) as service:
        monkeypatch.setattr(Predictor, "predict", fail)
        reply = service.post("/predict", PATIENT)
        counted = service.get("/metrics").text
    assert reply.status == 500
    assert reply.json() == {"detail": "failed unexpectedly. This is a fault of il7ml, not of the input."}
    assert 'path="/predict",status="500"} 1\n' in counted
    assert "failed unexpectedly (ZeroDivisionError)" in caplog.text


def test_the_same_patient_asked_by_many_at_once_gets_the_same_answer(service, current):
    from concurrent.futures import ThreadPoolExecutor

    ages = [30 + k % 40 for k in range(40)]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda age: service.post("/predict", {**PATIENT, "age": age}).json(), ages))
    expected = [current.state.predictor.predict({**PATIENT, "age": age}).benefit.value for age in ages]
    assert [reply["benefit"] for reply in replies] == expected


def test_nothing_that_comes_makes_it_fail(service):
    rng = np.random.default_rng(0)
    values = [None, True, "", "x", -1, 1e308, 0, 0.5, [], {}, [[]], "\u0000", "０", 10**30, "1e3", "nan", "inf", 2]
    names = [*PATIENT, "patient_id", "", "age ", "neutrophil_lymphocyte_ratio", "sex", "__class__"]
    for _ in range(300):
        record = dict(PATIENT)
        for _ in range(rng.integers(1, 4)):
            record[names[rng.integers(len(names))]] = values[rng.integers(len(values))]
        reply = service.post("/predict", record)
        assert reply.status in (200, 422)
        reply.json()
    for _ in range(100):
        body = rng.bytes(int(rng.integers(0, 60)))
        assert service.post("/predict", body).status == 422
        assert service.send_form(body).status == 422


def test_a_simulated_count_model_is_served_too(tmp_path):
    bundle = with_card(make("count").bundle, simulated=True)
    with running(model_of(bundle, tmp_path)) as service:
        answer = service.post("/predict", PATIENT).json()
    assert answer["rate_untreated"] > 0
