"""What a run recorded about itself that is needed to repeat it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from il7ml.errors import InputError
from il7ml.tracking.location import resolve_uri
from il7ml.tracking.mlflow_client import or_none, store_errors
from il7ml.tracking.opening import open_store

_CONFIG = "config.yaml"
REPORT = "report.html"


class RunRecord(NamedTuple):
    """What is needed to repeat a run.

    Attributes
    ----------
    run_id : str
    command : str
        What made it: ``il7ml train`` or ``il7ml analyze``.
    config : str
        Its complete configuration (YAML).
    data_digest : str
        SHA-256 of the data it used.
    metrics : dict of str to float
        What came out, for a comparison.
    risk_model : str
        The chosen model's name; empty for an analysis.
    """

    run_id: str
    command: str
    config: str
    data_digest: str
    metrics: dict[str, float]
    risk_model: str = ""


def config_of_run(run: str, uri: str | None = None) -> RunRecord:
    """Return a finished run's configuration and the digest of its data.

    Parameters
    ----------
    run : str
        Run id.
    uri : str, optional

    Raises
    ------
    InputError
        If the store or run is not known, or the run did not finish.
    """
    uri = resolve_uri(uri)
    client = open_store(uri, must_exist=True)
    with store_errors(uri):
        found = _run(client, run)
        tags = found.data.tags
        files = {entry.path for entry in client.list_artifacts(run)}
        if found.info.status != "FINISHED" or _CONFIG not in files or "data_digest" not in tags:
            raise InputError(
                f"run {run!r}: expected a finished training or analysis with its {_CONFIG}, "
                f"found one that is {found.info.status.lower()}. Name another."
            )
        with tempfile.TemporaryDirectory() as folder:
            text = Path(client.download_artifacts(run, _CONFIG, folder)).read_text(encoding="utf-8")
    return RunRecord(
        run,
        tags.get("mlflow.source.name", ""),
        text,
        tags["data_digest"],
        dict(found.data.metrics),
        tags.get("risk_model", ""),
    )


def report_of_run(run: str, uri: str | None = None) -> str:
    """Return the HTML report that a finished run logged.

    Parameters
    ----------
    run : str
        Run id.
    uri : str, optional

    Raises
    ------
    InputError
        If the store or run is not known, or the run has no report.
    """
    uri = resolve_uri(uri)
    client = open_store(uri, must_exist=True)
    with store_errors(uri):
        _run(client, run)
        if all(each.path != REPORT for each in client.list_artifacts(run)):
            raise InputError(
                f"run {run!r} has no report: it did not finish, or is no training or analysis (but a candidate, a "
                "comparison or a sweep). Name another."
            )
        with tempfile.TemporaryDirectory() as folder:
            return Path(client.download_artifacts(run, REPORT, folder)).read_text(encoding="utf-8")


def _run(client: Any, run: str) -> Any:
    found = or_none(client.get_run, run)
    if found is None:
        raise InputError(f"run {run!r} is not in the store. Look for its id: il7ml ui.")
    return found
