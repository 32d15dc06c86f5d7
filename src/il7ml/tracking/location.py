"""Where the tracking store lies: always under the project root, whatever the current folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from il7ml.config import TrackingConfig
from il7ml.errors import InputError

_SQLITE = "sqlite:///"


def project_root(start: Path | None = None) -> Path:
    """Return the folder that holds `mlruns/` or `pyproject.toml`, looking upwards from `start`.

    Without one, an il7ml that runs from its source tree takes that tree, and an installed one the current folder.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "mlruns").is_dir() or (folder / "pyproject.toml").is_file():
            return folder
    source = Path(__file__).resolve().parents[3]
    return source if (source / "pyproject.toml").is_file() else Path.cwd()


def resolve_uri(uri: str | None = None, start: Path | None = None) -> str:
    """Return the tracking URI with a relative SQLite path made absolute from the project root.

    Parameters
    ----------
    uri : str, optional
        By default the environment's ``MLFLOW_TRACKING_URI``, else the project's own store.
    start : Path, optional
        Folder from which the project root is looked for.

    Raises
    ------
    InputError
        If the URI is a plain path: MLflow has no file store any more.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or TrackingConfig().uri
    if uri.startswith(_SQLITE):
        path = Path(uri.removeprefix(_SQLITE))
        return f"{_SQLITE}{path if path.is_absolute() else project_root(start) / path}"
    if "://" not in uri:
        raise InputError(
            f"tracking.uri: expected sqlite:///path/mlflow.db or a server's address, got {uri!r}. "
            f"For a store in that folder: sqlite:///{uri.rstrip('/')}/mlflow.db"
        )
    return uri


def local_uri(start: Path | None = None) -> str:
    """Return the URI of the project's own store, whatever the environment names."""
    return resolve_uri(TrackingConfig().uri, start)


def database_of(uri: str) -> Path | None:
    """Return the SQLite file of a resolved URI; None for a server."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def is_server(uri: str) -> bool:
    """Return whether a tracking URI is a server's address.

    Examples
    --------
    >>> is_server("http://127.0.0.1:5000"), is_server("sqlite:////data/mlflow.db")
    (True, False)
    """
    return urlsplit(uri).scheme in ("http", "https")


def without_password(uri: str) -> str:
    """Return an address without the name and password that may stand in it.

    Examples
    --------
    >>> without_password("https://ann:secret@mlflow.example.org:5000/team")
    'https://mlflow.example.org:5000/team'
    """
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.netloc else uri


def ui_command(uri: str, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command that serves MLflow's pages over a store, and the environment it needs.

    One worker and no job runner: two processes instead of ten.
    """
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return command, {**os.environ, **quiet}
