"""Opening a store: connect, then close the runs that ended processes have left open."""

from __future__ import annotations

from typing import Any

from il7ml.errors import InputError
from il7ml.tracking.location import is_server, without_password
from il7ml.tracking.mlflow_client import StoreError, connect, server_answers, store_errors
from il7ml.tracking.process import ProcessMark, is_gone, this_process

HOST, PID, STARTED = "il7ml.host", "il7ml.pid", "il7ml.process_started"
_PAGE = 1000


def process_tags() -> dict[str, str]:
    """Return the tags by which the process that writes a run is found again."""
    mark = this_process()
    return {HOST: mark.host, PID: mark.pid, STARTED: mark.started}


def open_store(uri: str, must_exist: bool = False) -> Any:
    """Return a client for a store in which no run of an ended process of this host is still called running.

    Parameters
    ----------
    uri : str
        Resolved tracking URI (see `resolve_uri`).
    must_exist : bool, default False
        Refuse instead of making a store.

    Raises
    ------
    InputError
        If the store is not there, or cannot be used.
    """
    if is_server(uri) and not server_answers(uri):
        raise InputError(
            f"tracking server {without_password(uri)}: does not answer. Try again later, or name another store: --uri."
        )
    client = connect(uri, must_exist)
    try:
        with store_errors(uri):
            end_abandoned(client)
    except StoreError:
        # Who may only read the store is not kept from reading it; whoever writes meets the error again.
        pass
    return client


def end_abandoned(client: Any) -> list[str]:
    """Close every run whose process on this host has ended, and return their ids.

    Registration is the last that a training does: an abandoned run whose model is registered is complete and becomes
    FINISHED, every other KILLED. What was logged as its model stays unregistered, as FAILED if its files are not all
    there.
    """
    here = this_process()
    experiments = [entry.experiment_id for entry in client.search_experiments()]
    if not experiments:
        return []
    running = client.search_runs(
        experiments, f"attributes.status = 'RUNNING' and tags.`{HOST}` = '{here.host}'", max_results=_PAGE
    )
    ended = []
    for run in running:
        tags, run_id = run.data.tags, run.info.run_id
        if not is_gone(ProcessMark(tags[HOST], tags.get(PID, ""), tags.get(STARTED, ""))):
            continue
        # Read again: now that the process has ended, what it wrote last is final.
        if client.get_run(run_id).info.status != "RUNNING":
            continue
        complete = bool(client.search_model_versions(f"run_id='{run_id}'"))
        for model in client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'"):
            if str(model.status) == "PENDING":
                client.finalize_logged_model(model.model_id, "FAILED")
        client.set_terminated(run_id, "FINISHED" if complete else "KILLED")
        ended.append(run_id)
    return ended
