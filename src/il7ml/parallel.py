"""One way to run many small tasks: in this process, in worker processes or on a cluster, with the same results.

Randomness is an argument of each task (see `spawn`), so that results do not depend on the number of workers.
"""

from __future__ import annotations

import os
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from il7ml.config import ExecutorConfig
from il7ml.errors import InputError
from il7ml.state import State

if TYPE_CHECKING:
    from il7ml.cluster import Cluster

Task = TypeVar("Task")
Result = TypeVar("Result")

_MANAGER = "ExecutorManagerThread"  # name of the thread that joblib's worker processes answer to
_CLUSTER: ContextVar[Cluster | None] = ContextVar("cluster", default=None)


class Progress(Protocol):
    """Receives (done, total) while tasks finish."""

    def __call__(self, done: int, total: int, /) -> None:
        """Take note that `done` of `total` tasks are finished."""


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def stream(seed: int, purpose: str) -> np.random.SeedSequence:
    """Return a seed for one purpose, independent of those for others.

    Examples
    --------
    >>> import numpy as np
    >>> first, second = (np.random.default_rng(stream(1, purpose)).random() for purpose in ("folds", "refits"))
    >>> bool(first == second)
    False
    """
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()),))


def spawn(seed: int | np.random.SeedSequence, count: int) -> list[np.random.SeedSequence]:
    """Return `count` independent seeds derived from one.

    Examples
    --------
    >>> import numpy as np
    >>> first, second = spawn(1, 2)
    >>> bool(np.random.default_rng(first).random() == np.random.default_rng(second).random())
    False
    """
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    # A fresh sequence, since spawning counts up a hidden number inside the one it is called on.
    return np.random.SeedSequence(root.entropy, spawn_key=root.spawn_key).spawn(count)


@contextmanager
def executor(config: ExecutorConfig) -> Iterator[None]:
    """Run the tasks of everything called within on the machines that a config names.

    Parameters
    ----------
    config : ExecutorConfig

    Raises
    ------
    InputError
        If the cluster cannot be used.

    Examples
    --------
    >>> with executor(ExecutorConfig()):
    ...     run_tasks(pow, [(2, 3), (3, 2)])
    [8, 9]
    """
    if config.address is None:
        yield
        return
    from il7ml.cluster import Cluster

    with Cluster(config.address) as cluster:
        token = _CLUSTER.set(cluster)
        try:
            yield
        finally:
            _CLUSTER.reset(token)


def run_tasks(
    function: Callable[..., Result],
    tasks: Sequence[tuple[Any, ...]],
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Result]:
    """Call `function(*task)` for each task and return the results in the order of the tasks.

    Parameters
    ----------
    function : callable
        A module-level function without side effects.
    tasks : sequence of tuple
        Arguments, one tuple a task.
    workers : int, default 1
        Worker processes; 1 stays in this process, 0 takes all available cores. Within an `executor` on a cluster the
        cluster's count instead.
    progress : callable, optional
        Called with (done, total) after each task.

    Returns
    -------
    list
        One result a task.

    Raises
    ------
    InputError
        If worker processes are ended from outside again and again, or the cluster is lost.

    Examples
    --------
    >>> run_tasks(pow, [(2, 3), (3, 2)])
    [8, 9]
    """
    results = []
    for result in iterate_tasks(function, tasks, workers or available_cores()):
        results.append(result)
        if progress is not None:
            progress(len(results), len(tasks))
    return results


def run_resumable(
    function: Callable[..., dict[str, NDArray[np.float64]]],
    tasks: Sequence[tuple[Any, ...]],
    state: State | None,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[dict[str, NDArray[np.float64]]]:
    """Do as `run_tasks`, but keep each finished task's arrays in `state` and take from there what is finished.

    Parameters
    ----------
    function, tasks, workers, progress
        As in `run_tasks`; the function returns arrays by name.
    state : State or None
        None keeps nothing.

    Returns
    -------
    list of dict
        One result a task.
    """
    if state is None:
        return run_tasks(function, tasks, workers=workers, progress=progress)
    found = {number: arrays for number in range(len(tasks)) if (arrays := state.load(f"{number:06d}")) is not None}
    open_tasks = [number for number in range(len(tasks)) if number not in found]
    if progress is not None and found:
        progress(len(found), len(tasks))
    results = iterate_tasks(function, [tasks[number] for number in open_tasks], workers or available_cores())
    for number, arrays in zip(open_tasks, results, strict=True):
        state.save(f"{number:06d}", arrays)
        found[number] = arrays
        if progress is not None:
            progress(len(found), len(tasks))
    return [found[number] for number in range(len(tasks))]


def iterate_tasks(function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], workers: int) -> Iterator[Result]:
    """Yield `function(*task)` for each task in their order, each as soon as it and those before it are done.

    Parameters
    ----------
    function, tasks
        As in `run_tasks`.
    workers : int
        Worker processes; 1 stays in this process.

    Examples
    --------
    >>> list(iterate_tasks(pow, [(2, 3), (3, 2)], 1))
    [8, 9]
    """
    cluster = _CLUSTER.get()
    if len(tasks) < 2 or (cluster is None and workers == 1):
        return (function(*task) for task in tasks)
    return _local_results(function, tasks, workers) if cluster is None else cluster.results(function, tasks)


def _local_results(function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], workers: int) -> Iterator[Result]:
    from concurrent.futures.process import BrokenProcessPool

    from joblib import Parallel, delayed

    done, before = 0, -1
    while done < len(tasks):
        pool = Parallel(n_jobs=min(workers, len(tasks)), return_as="generator")
        results = pool(delayed(function)(*task) for task in tasks[done:])
        try:
            for result in results:
                yield result
                done += 1
        except BrokenProcessPool:
            # What the ended workers had is computed again, unless nothing was finished since the last time.
            if done == before:
                raise InputError(
                    "worker processes were ended from outside, twice at the same place (too little memory?). "
                    "Set fewer workers and run again; what is finished is kept."
                ) from None
            before = done
        finally:
            with warnings.catch_warnings(), _dying_quietly():
                # joblib would tell whoever stops half-way that work is lost.
                warnings.filterwarnings("ignore", category=UserWarning, module="joblib")
                results.close()


@contextmanager
def _dying_quietly() -> Iterator[None]:
    """Say nothing of errors in joblib's thread, which may look for tasks that were just taken back."""
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs, /) -> None:
        if args.thread is None or args.thread.name != _MANAGER:
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
