"""Tracking: a pure stream of what to log, and one file that knows MLflow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "check_store": "il7ml.tracking.upkeep",
    "comparison_items": "il7ml.tracking.items",
    "config_of_run": "il7ml.tracking.record",
    "metric_items": "il7ml.tracking.items",
    "find_sweep": "il7ml.tracking.sweep",
    "open_run": "il7ml.tracking.store",
    "promote": "il7ml.tracking.promotion",
    "promotion_history": "il7ml.tracking.promotion",
    "push_runs": "il7ml.tracking.delivery",
    "relocate_store": "il7ml.tracking.relocation",
    "reopen_run": "il7ml.tracking.store",
    "report_of_run": "il7ml.tracking.record",
    "resolve_model": "il7ml.tracking.registry",
    "resolve_uri": "il7ml.tracking.location",
    "database_of": "il7ml.tracking.location",
    "rollback": "il7ml.tracking.promotion",
    "run_items": "il7ml.tracking.items",
    "summary": "il7ml.tracking.items",
    "sweep_items": "il7ml.tracking.sweep",
    "trial_items": "il7ml.tracking.items",
    "ui_command": "il7ml.tracking.location",
}

__all__ = [
    "check_store",
    "comparison_items",
    "config_of_run",
    "database_of",
    "find_sweep",
    "metric_items",
    "open_run",
    "promote",
    "promotion_history",
    "push_runs",
    "relocate_store",
    "reopen_run",
    "report_of_run",
    "resolve_model",
    "resolve_uri",
    "rollback",
    "run_items",
    "summary",
    "sweep_items",
    "trial_items",
    "ui_command",
]

if TYPE_CHECKING:
    from il7ml.tracking.delivery import push_runs
    from il7ml.tracking.items import comparison_items, metric_items, run_items, summary, trial_items
    from il7ml.tracking.location import database_of, resolve_uri, ui_command
    from il7ml.tracking.promotion import promote, promotion_history, rollback
    from il7ml.tracking.record import config_of_run, report_of_run
    from il7ml.tracking.registry import resolve_model
    from il7ml.tracking.relocation import relocate_store
    from il7ml.tracking.store import open_run, reopen_run
    from il7ml.tracking.sweep import find_sweep, sweep_items
    from il7ml.tracking.upkeep import check_store


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
