"""Time a default training of 109 patients, whole process, against the same steps written by hand (by_hand.py).

Processes take turns, so that other load meets all alike; each round has a store of its own. CPU seconds include worker
processes, and the shortest of several rounds counts. The steps by hand run in the environment of `make peers`.

    python benchmarks/training.py --peers-python .venv-peers/bin/python

`--profile` trains once under cProfile instead, and prints the CPU seconds and the share of each step.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import NamedTuple

import numpy as np
import pandas as pd

from il7ml.training import train

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "il7_trial.yaml"
#: Steps of a training by the function that does each; what is left is imports, reading and the rest.
STEPS = {
    "cross-validation": "cross_validate",
    "bootstrap of the pipeline": "resample",
    "learning curve": "losses_by_size",
    "assessment of risk models": "assess_risk",
    "corrected figures": "validate_models",
    "groups, sites, audits": "_further_validation",
    "assessment of effects": "assess_effect",
    "final models and refits": "fit_final_risk",
    "final effect model": "fit_final_effect",
    "bundle": "_bundle",
    "explanations": "_explanations",
    "report": "training_report",
    "logging": "log",
    "model into the store": "log_model",
}


class Spent(NamedTuple):
    """What a process took, its children included: wall-clock seconds, CPU seconds, and its own peak memory in GB."""

    wall: float
    cpu: float
    memory: float


def spent(command: Sequence[str | Path]) -> Spent:
    """Run a process to its end.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    start = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = Popen([str(part) for part in command], stdout=DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with exit code {process.returncode}; its error stands above")
    return Spent(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20)


def commands(python: Path, store: Path) -> dict[str, list[str | Path]]:
    """Return what is compared; each writes into a folder of its own."""
    ours: list[str | Path] = [sys.executable, "-m", "il7ml", "train", CONFIG]

    def into(folder: str, workers: int) -> list[str | Path]:
        return [*ours, "--set", f"tracking.uri=sqlite:///{store / folder}/mlflow.db", "--set", f"workers={workers}"]

    by_hand = Path(__file__).with_name("by_hand.py")
    return {
        "by hand": [python, "-W", "ignore", by_hand, ROOT / "data" / "il7_trial", store / "by hand"],
        "il7ml, one process": into("one", 1),
        "il7ml, two workers": into("two", 2),
    }


def compare(python: Path, rounds: int) -> pd.DataFrame:
    """Return the shortest times, a row a command."""
    found: dict[str, list[Spent]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, command in commands(python, Path(folder)).items():
                for place in ("by hand", "one", "two"):
                    (Path(folder) / place).mkdir(exist_ok=True)
                found.setdefault(name, []).append(spent(command))
    table = pd.DataFrame({name: np.min(each, axis=0) for name, each in found.items()}, index=list(Spent._fields)).T
    cpu = table["cpu"].to_numpy()
    return table.assign(to_by_hand=cpu / cpu[0])


def profile() -> pd.DataFrame:
    """Return the share of each step in one training within this process."""
    with tempfile.TemporaryDirectory() as folder:
        from il7ml.config import RunConfig

        config = RunConfig.from_file(CONFIG, [f"tracking.uri=sqlite:///{folder}/mlflow.db", "workers=1"])
        profiler = cProfile.Profile(time.process_time)
        profiler.runcall(train, config, root=Path(folder))
    stats = pstats.Stats(profiler)
    called = stats.stats  # type: ignore[attr-defined]
    whole = stats.total_tt  # type: ignore[attr-defined]
    seconds = {
        step: max((entry[3] for (file, _, name), entry in called.items() if name == function and "il7ml" in file))
        for step, function in STEPS.items()
    }
    seconds["imports, reading, the rest"] = whole - sum(seconds.values())
    return pd.DataFrame({"seconds": seconds, "share": {step: each / whole for step, each in seconds.items()}})


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", type=Path, default=ROOT / ".venv-peers" / "bin" / "python")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    print((profile() if options.profile else compare(options.peers_python, options.rounds)).round(2).to_string())


if __name__ == "__main__":
    main()
