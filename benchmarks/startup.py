"""Time how long commands take from a cold start, whole processes, against importing pandas and XGBoost.

Commands take turns, so that other load meets all alike. The shortest wall-clock time of several rounds counts; median
and CPU seconds stand beside it. Ratios are to `python -c "import pandas, xgboost"` of the same run. The models that
predict are trained on simulated patients first.

    python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from il7ml.bundle import Bundle, load_bundle
from il7ml.features.columns import DERIVED
from prediction import trained

PEER = "import pandas, xgboost"
#: Seconds below which a command is to stay, or times the peer's.
SECONDS = {"import il7ml": 0.15, "il7ml --help": 0.4}
RATIO = 1.3
MODELS = ("logistic", "xgboost")


def patient(bundle: Bundle) -> dict[str, float | str]:
    """Return a patient in the middle of the training patients."""
    values: dict[str, float | str] = {}
    for name, entry in bundle.card.variables.items():
        if name in DERIVED:
            continue
        if entry.quantiles:
            values[name] = entry.quantiles[len(entry.quantiles) // 2]
        else:
            levels = entry.variable.levels
            values[name] = levels[int(np.argmax(entry.shares))] if levels else float(np.argmax(entry.shares))
    return values


def seconds(command: Sequence[str]) -> tuple[float, float]:
    """Return how long a process takes, its start included: wall-clock and CPU seconds."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command} ended with exit code {process.returncode}; its error stands above")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime


def measure(commands: Mapping[str, Sequence[str]], rounds: int) -> pd.DataFrame:
    """Return shortest and median wall-clock seconds and least CPU seconds, a row a command, after a first round."""
    times = np.array([[seconds(command) for command in commands.values()] for _ in range(rounds + 1)][1:])
    wall, cpu = times[:, :, 0], times[:, :, 1]
    return pd.DataFrame(
        {"shortest": wall.min(axis=0), "median": np.median(wall, axis=0), "cpu": cpu.min(axis=0)}, index=list(commands)
    )


def as_markdown(found: pd.DataFrame) -> str:
    """Return the table with ratios to the peer and targets."""
    rows = [
        "| process | shortest, s | median, s | CPU s | to the imports: time, CPU | target |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    least = found.loc[PEER]
    for name, row in found.iterrows():
        target = f"< {SECONDS[str(name)]} s" if name in SECONDS else "" if name == PEER else f"< {RATIO} x"
        ratios = f"{row['shortest'] / least['shortest']:.2f}, {row['cpu'] / least['cpu']:.2f}"
        rows.append(
            f"| `{name}` | {row['shortest']:.2f} | {row['median']:.2f} | {row['cpu']:.2f} | {ratios} | {target} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    il7ml = [sys.executable, "-m", "il7ml"]
    commands = {
        PEER: [sys.executable, "-c", PEER],
        "import il7ml": [sys.executable, "-c", "import il7ml"],
        "il7ml --help": [*il7ml, "--help"],
    }
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            bundle = trained(model)
            record = Path(folder) / f"{model}.json"
            record.write_text(json.dumps(patient(load_bundle(bundle))), encoding="utf-8")
            commands[f"il7ml predict, {model}"] = [
                *il7ml, "predict", "--model", str(bundle), "--patient", str(record)
            ]  # fmt: skip
        print(as_markdown(measure(commands, options.rounds)))


if __name__ == "__main__":
    main()
