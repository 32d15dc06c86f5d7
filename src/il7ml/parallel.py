"""One way to run many small tasks: in this process or in worker processes, with the same results either way.

Randomness is an argument of each task (see `spawn`), so that results do not depend on the number of workers.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from il7ml.state import State

Task = TypeVar("Task")
Result = TypeVar("Result")


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
        Worker processes; 1 stays in this process, 0 takes all available cores.
    progress : callable, optional
        Called with (done, total) after each task.

    Returns
    -------
    list
        One result a task.

    Examples
    --------
    >>> run_tasks(pow, [(2, 3), (3, 2)])
    [8, 9]
    """
    results = []
    for result in _results(function, tasks, workers or available_cores()):
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
    results = _results(function, [tasks[number] for number in open_tasks], workers or available_cores())
    for number, arrays in zip(open_tasks, results, strict=True):
        state.save(f"{number:06d}", arrays)
        found[number] = arrays
        if progress is not None:
            progress(len(found), len(tasks))
    return [found[number] for number in range(len(tasks))]


def _results(function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]], workers: int) -> Iterator[Result]:
    if workers == 1 or len(tasks) < 2:
        for task in tasks:
            yield function(*task)
        return
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=min(workers, len(tasks)), return_as="generator")
    yield from pool(delayed(function)(*task) for task in tasks)
