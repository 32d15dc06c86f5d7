"""Risk training on a registry from Parquet on disk, against raw XGBoost in external memory in the same run.

    python benchmarks/registry.py                    # 5,000,000 patients x 30 variables, 20 files
    python benchmarks/registry.py --training         # the whole training as well: run, report, bundle

Both sides fit the same trees to the same patients: the fixed settings of the candidate `xgboost` beside a main effect
of the arm. Raw XGBoost reads the files in a `DataIter` and knows what the columns are. il7ml reads them through the
study file with all checks, which is part of its time. Each side is a process of its own; times are those of the
process, imports included, and memory is its peak.
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
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

VARIABLES = [f"x{number:02d}" for number in range(30)]
FILES = 20
SEED = 5
HELD_OUT = 100_000


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=5_000_000)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--training", action="store_true", help="run il7ml train as well")
    parser.add_argument("--folder", type=Path, help="keep the tables here, and use them if they are there")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options.folder, options.threads)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "study.yaml").exists():
            write_registry(folder, options.n)
        sides = ["raw XGBoost", "il7ml", *(["il7ml train"] if options.training else [])]
        rows = {side: run_side(side, folder, options.threads) for side in sides}
    table = pd.DataFrame(rows).T
    first = np.array(table.pop("risks").loc["raw XGBoost"])
    second = np.array(rows["il7ml"]["risks"])
    table = table.astype(float)
    table.loc["il7ml / raw"] = table.loc["il7ml"] / table.loc["raw XGBoost"]
    print(table.round(2).to_string())
    print(f"largest difference of {first.size} predicted risks: {np.abs(first - second).max():.1e}")


def run_side(side: str, folder: Path, threads: int) -> dict[str, Any]:
    """Run one side in a process of its own and return its time, CPU time, peak memory and some predictions."""
    start = time.perf_counter()
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder), "--threads", str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {"time, s": time.perf_counter() - start, **found}


def used(risks: np.ndarray) -> dict[str, Any]:
    """Return what this process has used so far, and predictions."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "CPU, s": usage.ru_utime + usage.ru_stime,
        "peak memory, GB": usage.ru_maxrss / 2**20,
        "risks": risks.tolist(),
    }


def write_registry(folder: Path, n: int) -> None:
    """Write a randomised registry: 30 measurements, of which one in three matters and one in five has gaps."""
    (folder / "patients").mkdir(parents=True)
    seeds = np.random.SeedSequence(SEED).spawn(FILES)
    for number, (seed, part) in enumerate(zip(seeds, np.array_split(np.arange(n), FILES), strict=True)):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(part.size, len(VARIABLES)))
        arm = rng.integers(0, 2, part.size)
        eta = -1.5 + 0.3 * X[:, :10].sum(axis=1) / 2 + 0.3 * np.maximum(X[:, 0], 0) * X[:, 1] - 0.4 * arm
        y = rng.random(part.size) < 1 / (1 + np.exp(-eta))
        X[:, ::5][rng.random((part.size, 6)) < 0.1] = np.nan
        columns = {"id": part, "arm": arm, "event": y.astype(np.int8)}
        columns |= {name: X[:, place].round(3) for place, name in enumerate(VARIABLES)}
        pq.write_table(pa.table(columns), folder / "patients" / f"part-{number:05d}.parquet")
    variable = {"possible": [-10, 10], "known": "before_randomisation", "role": "other"}
    study = {
        "name": "registry",
        "title": "A simulated registry",
        "simulated": True,
        "tables": {"patients": {"path": "patients", "key": "id"}},
        "arms": {
            "column": "arm",
            "control": {"value": 0, "label": "Control"},
            "treated": {"value": 1, "label": "Treated"},
        },
        "allocation": {"probability": 0.5},
        "define": {name: {"term": f"Measurement {name}", **variable} for name in VARIABLES},
        "variables": dict.fromkeys(VARIABLES),
        "endpoints": {"event": {"kind": "binary", "title": "Event", "estimand": "Any event.", "column": "event"}},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")


def raw(folder: Path, threads: int) -> dict[str, Any]:
    """Train with XGBoost alone."""
    import xgboost

    files = sorted((folder / "patients").glob("*.parquet"))
    outcomes = pd.concat([pd.read_parquet(file, columns=["arm", "event"]) for file in files])
    rates = outcomes.groupby("arm")["event"].mean()
    margin = np.log((rates / (1 - rates)).to_numpy())

    class Parts(xgboost.DataIter):  # type: ignore[misc]
        def __init__(self, cache: str) -> None:
            self.place = 0
            super().__init__(cache_prefix=cache)

        def next(self, input_data: Any) -> bool:
            if self.place == len(files):
                return False
            part = pq.read_table(files[self.place]).to_pandas()
            input_data(
                data=part[VARIABLES].to_numpy(dtype=np.float32),
                label=part["event"].to_numpy(),
                base_margin=margin[part["arm"].to_numpy()],
            )
            self.place += 1
            return True

        def reset(self) -> None:
            self.place = 0

    with tempfile.TemporaryDirectory(dir=folder) as cache:
        data = xgboost.ExtMemQuantileDMatrix(Parts(str(Path(cache) / "raw")), nthread=threads)
        settings = {
            "objective": "binary:logistic",
            "base_score": 0.5,
            "max_depth": 2,
            "eta": 0.05,
            "lambda": 10.0,
            "tree_method": "hist",
            "nthread": threads,
        }
        booster = xgboost.train(settings, data, num_boost_round=200)
        del data
    first = pq.read_table(files[0]).to_pandas().head(HELD_OUT)
    score = booster.inplace_predict(first[VARIABLES].to_numpy(dtype=np.float32), predict_type="margin")
    return used(1 / (1 + np.exp(-score - margin[0])))


def il7ml(folder: Path, threads: int) -> dict[str, Any]:
    """Train the candidate `xgboost` on all patients through the study file."""
    from il7ml.config import RunConfig
    from il7ml.data.study import load_study
    from il7ml.features.selection import select_variables
    from il7ml.models.catalog import Setting
    from il7ml.models.streamed import fit_streamed
    from il7ml.streaming import read_whole

    config = RunConfig(study=folder / "study.yaml", endpoint="event", streaming={"above": 0})
    study = load_study(config.study)
    variables = select_variables(study, config.features)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        whole, _ = read_whole(study, config, Path(scratch))
        everybody = whole.patients._replace(groups=whole.patients.groups[:1])
        setting = Setting("binary", variables, None, harmful=True)
        model = fit_streamed("xgboost", everybody, setting, threads=threads, scratch=Path(scratch))
        n = min(HELD_OUT, len(pq.read_table(sorted((folder / "patients").glob("*.parquet"))[0], columns=["id"])))
        linear = model.fitted.linear_predictor(whole.patients.columns.rows(0, n), n)
    return used(1 / (1 + np.exp(-linear)))


def training(folder: Path, threads: int) -> dict[str, Any]:
    """Run the whole training with its defaults, halved once."""
    from il7ml.config import RunConfig
    from il7ml.training import train

    with tempfile.TemporaryDirectory(dir=folder) as store:
        config = RunConfig(
            study=folder / "study.yaml",
            endpoint="event",
            workers=threads,
            validation={"repeats": 1},
            tracking={"uri": f"sqlite:///{store}/mlflow.db"},
        )
        train(config, root=folder)
    return used(np.empty(0))


SIDES = {"raw XGBoost": raw, "il7ml": il7ml, "il7ml train": training}

if __name__ == "__main__":
    main()
