"""Starting the service: addresses, the log and uvicorn."""

from __future__ import annotations

import logging
import math
import os
import socket
from contextlib import suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from il7ml.app.connection import PatientConnection
from il7ml.app.current_model import CurrentModel
from il7ml.app.security import check_address, find_token
from il7ml.app.service import create_app
from il7ml.errors import InputError

_CONNECTIONS = 64  # more at once are answered 503
_SHUTDOWN_SECONDS = 10
_LARGEST_PORT = 65_535


class WithoutTraceback(logging.Filter):
    """Leaves an unexpected error's kind in the log and takes its text away, which may hold a patient's values.

    Examples
    --------
    >>> record = logging.makeLogRecord({"msg": "failed", "exc_info": (ValueError, ValueError("age 62"), None)})
    >>> WithoutTraceback().filter(record), record.getMessage()
    (True, 'failed (ValueError)')
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record and keep it."""
        if record.exc_info and record.exc_info[0] is not None:
            record.msg = f"{record.getMessage().strip()} ({record.exc_info[0].__name__})"
            record.args, record.exc_info, record.exc_text = (), None, None
        return True


def serve(
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    token_file: Path | None = None,
    rate: float = 20.0,
    model: str = "champion",
    uri: str | None = None,
) -> None:
    """Serve until interrupted.

    Parameters
    ----------
    host : str
        Address to listen on. Any but a loopback address needs a token.
    port : int
    token_file : Path, optional
        File with the token that callers must send; without one the environment variable IL7ML_TOKEN is looked at.
    rate : float
        Requests a second that one client may make on average; 0 sets no limit.
    model, uri : str, optional
        As for `load_predictor`; the model is loaded again when the store names another one.

    Raises
    ------
    InputError
        If address or rate cannot be used, the token is missing or unfit, or the model is not known.
    BundleRefusedError
        If the model was altered or is of another version.
    """
    if not 0 <= rate < math.inf:
        raise InputError(f"--rate {rate:g}: expected requests a second, or 0 for no limit. Example: --rate 20")
    token = find_token(token_file, os.environ)
    check_address(host, token)
    listening = listen(host, port)
    with listening:
        server = uvicorn.Server(configure(create_app(CurrentModel(model, uri), token=token, rate=rate)))
        _log_to_stderr()
        shown = f"[{host}]" if ":" in host else host
        logging.getLogger("il7ml.app").info("http://%s:%d (stop with Ctrl-C)", shown, listening.getsockname()[1])
        with suppress(KeyboardInterrupt):  # uvicorn raises it again once all requests are answered
            server.run(sockets=[listening])


def configure(app: FastAPI) -> uvicorn.Config:
    """Return how uvicorn runs the service: no access log, no headers believed that a caller could invent."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http=PatientConnection,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises
    ------
    InputError
        If the address is in use or not this machine's.
    """
    remedy = "Choose another port or host."
    if not 0 <= port <= _LARGEST_PORT:
        raise InputError(f"--port {port}: expected a number up to {_LARGEST_PORT}. {remedy}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: cannot be listened on ({error.strerror}). {remedy}") from None
    # Inherited by connections. asyncio sets it only where a socket names its protocol, which this one does not; without
    # it an answer's body waits 40 ms for the client to acknowledge the head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.addFilter(WithoutTraceback())
    for name in ("il7ml", "uvicorn"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
