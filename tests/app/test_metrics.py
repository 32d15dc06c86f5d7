import re

from il7ml.app.metrics import Metrics

SAMPLE = re.compile(r'^([a-z_0-9]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (\S+)$')


def parse(text):
    """Return samples by name and labels; fails on what Prometheus' text format does not allow."""
    assert text.endswith("\n")
    types, samples = {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            name, kind = line.removeprefix("# TYPE ").split(" ")
            assert name not in types
            types[name] = kind
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        assert name in types or types[family] == "histogram"
        key = (name, *sorted(re.findall(r'([a-z]+)="((?:[^"\\]|\\.)*)"', labels or "")))
        assert key not in samples
        samples[key] = float(value)
    return samples


def test_the_text_can_be_read_and_adds_up(current):
    metrics = Metrics()
    seconds = [0.004, 0.02, 0.02, 0.3, 60.0]
    for second in seconds:
        metrics.count_request("POST", "/predict", 200, second)
    metrics.count_request("GET", "other", 404, 0.001)
    metrics.count_answers(["ok", "ok", "error"])
    samples = parse(metrics.to_text(current.state))
    path = ("path", "/predict")
    below = {le: sum(second <= float(le) for second in seconds) for le in ("0.005", "0.025", "0.5", "10", "+Inf")}
    for le, count in below.items():
        assert samples["il7ml_request_seconds_bucket", ("le", le), path] == count
    assert samples["il7ml_request_seconds_sum", path] == sum(seconds)
    assert samples["il7ml_request_seconds_count", path] == 5
    assert samples["il7ml_requests_total", ("method", "GET"), ("path", "other"), ("status", "404")] == 1
    assert samples["il7ml_answers_total", ("status", "ok")] == 2
    assert samples["il7ml_answers_total", ("status", "out_of_scope")] == 0
    assert samples["il7ml_store_usable",] == 1


def test_the_services_own_text_can_be_read(service):
    reply = service.get("/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert ("il7ml_model_loaded_timestamp_seconds",) in parse(reply.text)
