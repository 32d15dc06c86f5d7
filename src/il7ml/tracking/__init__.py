"""Tracking: a pure stream of what to log, and one writer that knows MLflow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "open_run": "il7ml.tracking.store",
    "promote": "il7ml.tracking.store",
    "resolve_model": "il7ml.tracking.store",
    "resolve_uri": "il7ml.tracking.location",
    "ui_command": "il7ml.tracking.location",
    "run_items": "il7ml.tracking.items",
    "summary": "il7ml.tracking.items",
}

__all__ = ["open_run", "promote", "resolve_model", "resolve_uri", "run_items", "summary", "ui_command"]

if TYPE_CHECKING:
    from il7ml.tracking.items import run_items, summary
    from il7ml.tracking.location import resolve_uri, ui_command
    from il7ml.tracking.store import open_run, promote, resolve_model


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
