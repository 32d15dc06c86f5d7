from concurrent.futures import ThreadPoolExecutor

from tests.app.running import running
from tests.small_bundles import PATIENT

from il7ml.app import rate
from il7ml.app.rate import RateLimit


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_client_gets_the_burst_and_then_the_rate():
    clock = Clock()
    limit = RateLimit(5.0, clock)
    allowed = 0
    for _ in range(1000):  # ten seconds in steps of 10 ms
        allowed += not limit.wait("192.0.2.1")
        clock.now += 0.01
    assert allowed == 2 * 5 + 10 * 5 - 1  # the token of the last 10 ms has not been asked for


def test_whoever_waits_as_told_is_answered():
    clock = Clock()
    limit = RateLimit(0.1, clock)
    assert limit.wait("a") == 0
    seconds = limit.wait("a")
    assert seconds == 10
    clock.now += seconds - 0.5
    assert limit.wait("a") == 1
    clock.now += 0.5
    assert limit.wait("a") == 0


def test_clients_do_not_share_a_bucket_but_the_addresses_of_one_network_do():
    limit = RateLimit(0.5, Clock())
    assert [limit.wait(f"192.0.2.{k}") for k in range(4)] == [0, 0, 0, 0]
    assert limit.wait("192.0.2.1") == 2
    assert limit.wait("2001:db8:0:1::1") == 0
    assert limit.wait("2001:db8:0:1:ffff::2%eth0") == 2
    assert limit.wait("2001:db8:0:2::1") == 0


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(rate, "_CLIENTS", 100)
    limit = RateLimit(1.0, Clock())
    for k in range(1000):
        limit.wait(str(k))
    assert len(limit._buckets) == 100
    assert limit.wait("999") == 0


def test_over_the_rate_a_client_is_told_when_to_ask_again(current):
    with running(current, rate=1.0) as service:
        replies = [service.post("/predict", PATIENT) for _ in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        assert replies[2].headers["retry-after"] == "1"
        assert replies[2].headers["cache-control"] == "no-store"
        assert replies[2].json() == {"detail": "too many requests. Ask again in 1 s; several patients go in one batch."}
        assert [service.get(path).status for path in ("/healthz", "/readyz") * 5] == [200] * 10


def test_a_token_cannot_be_guessed_fast(current):
    with running(current, rate=0.01, token="a-token-of-twenty-six-signs") as service:
        replies = [service.get("/metrics", Authorization=f"Bearer guess-{k}") for k in range(2)]
    assert [reply.status for reply in replies] == [401, 429]


def test_of_many_at_once_no_more_are_answered_than_one_after_the_other(current):
    with running(current, rate=0.001) as service, ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: service.get("/style.css").status, range(40)))
    assert sorted(statuses) == [200] + [429] * 39
