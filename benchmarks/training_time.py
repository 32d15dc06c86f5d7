"""Time a whole training of the default settings: 109 patients, 10 x 5 folds, 200 bootstrap samples, tracked.

For each number of workers a training runs in a process of its own, in one store that the first of them makes. Printed
are wall seconds, CPU seconds of the process and its workers, and which share of the wall time was spent outside reading
and fitting: on the report and the tracking store. A busy machine makes wall seconds longer; the load is printed, too.

    python benchmarks/training_time.py
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from il7ml import training
from il7ml.config import RunConfig
from risk import as_markdown

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "il7_trial.yaml"
WORKERS = (1, 2)


def train_once(workers: int, store: Path) -> dict[str, float]:
    """Train and return the wall seconds of the whole and of its computation."""
    settings = [f"workers={workers}", f"tracking.uri=sqlite:///{store / 'mlflow.db'}"]
    config = RunConfig.from_file(CONFIG, settings)
    computed, fit, prepare = [], training.fit, training.prepare

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments, **options)
            computed.append(time.perf_counter() - start)
            return result

        return run

    training.fit, training.prepare = timed(fit), timed(prepare)
    start = time.perf_counter()
    training.train(config, root=CONFIG.parent)
    return {"wall": time.perf_counter() - start, "computed": sum(computed)}


def measure(workers: int, store: Path) -> dict[str, object]:
    """Return the line of one number of workers."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, __file__, "--only", str(workers), "--store", str(store)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = json.loads(answer.stdout.splitlines()[-1])
    return {
        "workers": workers,
        "wall s": f"{seconds['wall']:.0f}",
        "CPU s": f"{after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.0f}",
        "report and tracking, wall s": f"{seconds['wall'] - seconds['computed']:.1f}",
        "their share": f"{100 * (1 - seconds['computed'] / seconds['wall']):.0f} %",
        "load of the machine": f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS))
    parser.add_argument("--only", type=int, help="used inside: train once and print the seconds as JSON")
    parser.add_argument("--store", type=Path, help="used inside")
    options = parser.parse_args()
    if options.only is not None:
        print(json.dumps(train_once(options.only, options.store)))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(as_markdown(pd.DataFrame([measure(workers, Path(folder)) for workers in options.workers])))


if __name__ == "__main__":
    main()
