"""How often one client may ask: a token bucket for each, in memory."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

_SECONDS = 2.0  # a client who was quiet may ask this long at once what he may ask on average
_CLIENTS = 10_000  # buckets kept; the one unused for longest goes first


class RateLimit:
    """Token buckets by client. Used from one thread, the event loop's.

    A bucket fills with `rate` tokens a second up to two seconds' worth, and a request takes one.

    Parameters
    ----------
    rate : float
        Requests a second that one client may make on average, above 0.
    clock : callable
        Seconds from any beginning; never goes back.

    Examples
    --------
    >>> limit = RateLimit(1.0, clock=lambda: 0.0)
    >>> [limit.wait("192.0.2.1") for _ in range(3)]
    [0, 0, 1]
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._most = max(1.0, _SECONDS * rate)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> int:
        """Count a request and return 0, or do not count it and return after how many seconds to ask again."""
        now, key = self._clock(), _network(client)
        tokens, before = self._buckets.get(key, (self._most, now))
        tokens = min(self._most, tokens + self._rate * (now - before))
        # What is short of a whole token by rounding alone is one.
        lacking = 1.0 - tokens
        allowed = lacking < 1e-9
        self._buckets[key] = (tokens - 1.0 if allowed else tokens, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        return 0 if allowed else math.ceil(lacking / self._rate)


def _network(client: str) -> str:
    """Return the address, for IPv6 the /64 network, of which one client may have all addresses."""
    if ":" not in client:
        return client
    try:
        return str(ipaddress.IPv6Network((client.partition("%")[0], 64), strict=False))
    except ValueError:
        return client
