"""How well bootstraps use a second worker: joblib and Dask, against the ideal of the same run.

``python benchmarks/parallel.py``. Whole pipelines are refitted to bootstrap samples of a real trial of 128 patients.
One and two workers take turns, so that other load meets both alike, and the shortest time of several rounds counts. As
control, two processes that share nothing do half the work each: what they lose is the machine's doing. Efficiency is
the time of one worker divided by twice that of two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
from distributed import LocalCluster

from il7ml.config import ExecutorConfig, RunConfig
from il7ml.models.resampled import resample
from il7ml.parallel import executor
from il7ml.training import Prepared, prepare

CONFIG = Path(__file__).parents[1] / "configs" / "cgd.yaml"


@cache
def trial() -> Prepared:
    """Return the trial, read once a process."""
    return prepare(RunConfig.from_file(CONFIG))


def bootstraps(count: int, workers: int = 1) -> None:
    """Refit the config's models to bootstrap samples."""
    resample(trial().sample, trial().setting, models=trial().config.models, bootstrap=count, workers=workers)


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    count = arguments.bootstrap
    with ExitStack() as stack:
        pools = {n: stack.enter_context(get_context("spawn").Pool(n)) for n in (1, 2)}
        clusters = {
            n: stack.enter_context(
                LocalCluster(n_workers=n, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0")
            )
            for n in (1, 2)
        }

        def shared_nothing(n: int) -> None:
            pools[n].map(bootstraps, [count // n] * n, chunksize=1)

        def local(n: int) -> None:
            bootstraps(count, n)

        def dask(n: int) -> None:
            with executor(ExecutorConfig(kind="dask", address=clusters[n].scheduler_address)):
                bootstraps(count)

        ways = {"two processes that share nothing": shared_nothing, "joblib": local, "Dask": dask}
        for work in ways.values():
            for n in (1, 2):
                work(n)  # imports, on all workers
        rows = {}
        for name, work in ways.items():
            rounds = [(seconds(partial(work, 1)), seconds(partial(work, 2))) for _ in range(arguments.rounds)]
            one, two = (min(times) for times in zip(*rounds, strict=True))
            rows[name] = {"1 worker, s": one, "2 workers, s": two, "efficiency": one / (2 * two)}
    table = pd.DataFrame(rows).T
    table["of the control's"] = table["efficiency"] / table["efficiency"].iloc[0]
    print(table.round(2).to_string())


if __name__ == "__main__":
    main()
