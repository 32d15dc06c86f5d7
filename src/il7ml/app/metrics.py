"""Counters in Prometheus' text format (version 0.0.4): numbers of requests and answers, never what was asked.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping

from il7ml.app.current_model import ModelState

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Labels = Mapping[str, str]


class Metrics:
    """Counts of one service. Safe to use from several threads.

    Examples
    --------
    >>> metrics = Metrics()
    >>> metrics.count_answers(["ok", "error", "ok"])
    >>> metrics.answers["ok"]
    2
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets: Counter[tuple[str, float]] = Counter()
        self._seconds: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.reloads = 0

    def count_request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a finished request; `path` is one of the service's own, so that the labels stay few."""
        with self._lock:
            self._requests[method, path, status] += 1
            for bound in _BOUNDS:
                self._buckets[path, bound] += seconds <= bound
            self._buckets[path, float("inf")] += 1
            # Seconds are summed as whole microseconds, in which addition is exact.
            self._seconds[path] += round(1e6 * seconds)

    def count_answers(self, statuses: Iterable[str]) -> None:
        """Count answers by status (``ok``, ``out_of_scope``, ``error``)."""
        with self._lock:
            self.answers.update(statuses)

    def count_reload(self) -> None:
        """Count a change of the model."""
        with self._lock:
            self.reloads += 1

    def to_text(self, state: ModelState) -> str:
        """Return everything in the text format, with the model that answers now."""
        model = state.predictor.describe()
        labels = {name: str(model[name] or "") for name in ("name", "version", "digest", "data")}
        with self._lock:
            lines = [
                *_family("il7ml_requests_total", "counter", "Requests by method, path and HTTP status."),
                *(
                    _sample("il7ml_requests_total", {"method": method, "path": path, "status": str(status)}, count)
                    for (method, path, status), count in sorted(self._requests.items())
                ),
                *_family("il7ml_request_seconds", "histogram", "Seconds from request to answer by path."),
                *self._histogram(),
                *_family("il7ml_answers_total", "counter", "Patients answered for, by status."),
                *(
                    _sample("il7ml_answers_total", {"status": status}, self.answers[status])
                    for status in ("ok", "out_of_scope", "error")
                ),
                *_family("il7ml_model_reloads_total", "counter", "Changes of the model since the start."),
                _sample("il7ml_model_reloads_total", {}, self.reloads),
            ]
        lines += [
            *_family("il7ml_model_info", "gauge", "The model that answers."),
            _sample("il7ml_model_info", labels, 1),
            *_family("il7ml_model_loaded_timestamp_seconds", "gauge", "When the model was loaded."),
            _sample("il7ml_model_loaded_timestamp_seconds", {}, f"{state.loaded.timestamp():.3f}"),
            *_family("il7ml_store_usable", "gauge", "Whether the tracking store and the model it names can be used."),
            _sample("il7ml_store_usable", {}, int(state.refused_since is None)),
        ]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name = "il7ml_request_seconds"
        lines = []
        for path in sorted(self._seconds):
            for bound in (*_BOUNDS, float("inf")):
                shown = "+Inf" if bound == float("inf") else f"{bound:g}"
                lines.append(_sample(f"{name}_bucket", {"path": path, "le": shown}, self._buckets[path, bound]))
            lines.append(_sample(f"{name}_sum", {"path": path}, f"{self._seconds[path] / 1e6:.6f}"))
            lines.append(_sample(f"{name}_count", {"path": path}, self._buckets[path, float("inf")]))
        return lines


def _family(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _sample(name: str, labels: Labels, value: int | str) -> str:
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
