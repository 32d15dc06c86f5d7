"""A Dask cluster: the one file that knows Dask.

Whoever can reach a scheduler can run code on its workers: Dask's TLS, or an address of this machine only.
"""

from __future__ import annotations

import logging
import platform
import socket
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib import metadata
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from il7ml import __version__
from il7ml.errors import InputError

Result = TypeVar("Result")

#: What decides a number, or whether the machines understand each other.
_PACKAGES = ("distributed", "numpy", "pandas", "scipy", "scikit-learn", "xgboost", "statsmodels")
_CONNECT_SECONDS = 10
_PATIENCE_SECONDS = 60
_LOOK_SECONDS = 5
#: Arguments of several tasks from this size on travel once, not once a task.
_LARGE_BYTES = 10_000


class Sealed:
    """A value that Dask neither looks into nor shows in its logs: arguments of tasks hold patients."""

    def __init__(self, content: Any) -> None:
        self.content = content


class Cluster:
    """A connection to a Dask scheduler, to be used as a context.

    Parameters
    ----------
    address : str
        Of the scheduler: ``tcp://host:port``, or ``tls://host:port`` with the certificates of Dask's own configuration.

    Raises
    ------
    InputError
        On entering: if Dask is not installed, no scheduler answers, it has no workers, or they run other versions.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._open = ExitStack()
        self._client: Any = None

    def __enter__(self) -> Self:
        try:
            import dask
            from distributed import Client
        except ImportError:
            raise InputError(
                "executor: a Dask cluster needs Dask, which is not installed. Run pip install 'il7ml[dask]', or set "
                "executor.kind: local."
            ) from None
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what concerns the user is raised
        # Shared data travel with the tasks, not by scatter, so that they are still there when a worker is lost.
        self._open.enter_context(dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}))
        try:
            self._client = self._open.enter_context(self._connect(Client))
            self._check_versions()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # Closing the connection withdraws what has not been computed yet.
        self._open.close()

    def results(self, function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """Yield `function(*task)` for each task, in the order of the tasks; what a lost worker had is computed again.

        Raises
        ------
        InputError
            If the scheduler or all workers are gone, or a task ends the workers that take it.
        """
        large = {
            key: self._client.submit(_hold, Sealed(argument), pure=False)
            for key, argument in _large_shared(tasks).items()
        }
        futures = []
        for task in tasks:
            places = [place for place, argument in enumerate(task) if id(argument) in large]
            others = [None if place in places else argument for place, argument in enumerate(task)]
            held = [large[id(task[place])] for place in places]
            futures.append(self._client.submit(_call, Sealed((function, others, places)), *held, pure=False))
        futures.reverse()
        while futures:
            yield self._result(futures.pop())  # let go of, so that the cluster forgets what was collected

    def _result(self, future: Any) -> Any:
        from distributed import CancelledError
        from distributed.scheduler import KilledWorker

        had_workers = time.monotonic()
        while True:
            try:
                return future.result(timeout=_LOOK_SECONDS)
            except TimeoutError:
                if future.status == "error":  # the task's own
                    raise
                if self._has_workers():
                    had_workers = time.monotonic()
                elif time.monotonic() - had_workers > _PATIENCE_SECONDS:
                    raise InputError(f"{self._place}: all its workers are gone. Start some and run again.") from None
            except CancelledError:
                raise self._lost() from None
            except KilledWorker:
                raise InputError(
                    f"{self._place}: a task ended several workers, one after the other (too little memory?). "
                    "Give the workers more memory and run again."
                ) from None

    def _has_workers(self) -> bool:
        try:
            return bool(self._client.nthreads(callback_timeout=_LOOK_SECONDS))
        except TimeoutError:
            return False
        except OSError:
            raise self._lost() from None

    def _lost(self) -> InputError:
        return InputError(f"{self._place}: the connection is lost. Start the scheduler and run again.")

    def _connect(self, client: Any) -> Any:
        self._knock()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of other versions: `_check_versions` refuses them
                connected = client(self._address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, TypeError) as error:  # TypeError: no certificates
            raise self._no_scheduler(type(error).__name__) from None
        try:
            connected.wait_for_workers(1, timeout=_PATIENCE_SECONDS)
        except TimeoutError:
            connected.close()
            raise InputError(f"{self._place}: it has no workers. Start some (dask worker {self._address}).") from None
        return connected

    def _knock(self) -> None:
        """Refuse what is no address, or one where nobody listens, at once and without Dask's own many attempts."""
        try:
            parts = urlsplit(self._address)
            host, port = parts.hostname, parts.port
        except ValueError:  # a port that is no number
            host, port = None, None
        if host is None or port is None or parts.scheme not in ("tcp", "tls"):
            raise InputError(
                f"executor.address: expected tcp://host:port (or tls://host:port), got {self._address!r}. "
                "A Dask scheduler prints its address when it starts."
            )
        try:
            with socket.create_connection((host, port), timeout=_CONNECT_SECONDS) as connection:
                # A scheduler speaks first. Dask would wait for ever for a server of another kind to do so.
                spoke = parts.scheme == "tls" or connection.recv(1)
        except OSError as error:
            raise self._no_scheduler(error.strerror or type(error).__name__) from None
        if not spoke:
            raise self._no_scheduler("the connection was closed")

    def _no_scheduler(self, reason: str) -> InputError:
        return InputError(
            f"{self._place}: no scheduler answers ({reason}). Start one (dask scheduler --host 127.0.0.1), or set "
            "executor.kind: local."
        )

    @property
    def _place(self) -> str:
        return f"Dask cluster {self._address}"

    def _check_versions(self) -> None:
        """Refuse machines on which the same task could give other numbers, or cannot be read at all."""
        here = versions()
        try:
            # The scheduler takes the tasks apart as well.
            found = [self._client.run_on_scheduler(versions), *self._client.run(versions, on_error="return").values()]
        except ImportError as error:
            found = [error]
        if any(isinstance(there, BaseException) for there in found):
            raise InputError(
                f"{self._place}: il7ml cannot be imported on all its machines. Start scheduler and workers from the "
                "environment of this process."
            )
        differing = {name for there in found for name, version in here.items() if there[name] != version}
        if differing:
            theirs = {name: sorted({there[name] for there in found} - {here[name]}) for name in sorted(differing)}
            told = "; ".join(f"{name} {', '.join(found)} (here {here[name]})" for name, found in theirs.items())
            raise InputError(
                f"{self._place}: its machines run other versions, so that numbers could differ: {told}. "
                "Start scheduler and workers from the environment of this process."
            )


def versions() -> dict[str, str]:
    """Return the versions on the machine that this is called on."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"il7ml": __version__, "Python": python, **{name: metadata.version(name) for name in _PACKAGES}}


def _large_shared(tasks: Sequence[tuple[Any, ...]]) -> dict[int, Any]:
    """Return by identity the large arguments that several tasks have in common."""
    from dask.sizeof import sizeof

    times = Counter(id(argument) for task in tasks for argument in task)
    shared = {id(argument): argument for task in tasks for argument in task if times[id(argument)] > 1}
    return {key: argument for key, argument in shared.items() if sizeof(argument) >= _LARGE_BYTES}


def _hold(sealed: Sealed) -> Sealed:
    """Keep a value on the cluster; workers get it from each other."""
    return sealed


def _call(sealed: Sealed, *held: Sealed) -> Any:
    function, arguments, places = sealed.content
    for place, each in zip(places, held, strict=True):
        arguments[place] = each.content
    return function(*arguments)
