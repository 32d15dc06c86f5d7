"""Kill commands at random moments, and look each time whether store, registry and outputs are as they should be.

``python -m tests.soak --points 200 --out FOLDER`` prints a table; a soak that was stopped goes on where it was.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from tests.commands import run
from tests.trained_store import FAST, PROJECT, address

from il7ml.predictor import load_predictor
from il7ml.tracking import check_store, config_of_run, promotion_history
from il7ml.tracking.store import PARENT

#: Of the points; a training has the most moments at which something could be left.
SHARES = {"train": 0.3, "analyze": 0.2, "predict": 0.15, "promote": 0.15, "sweep": 0.2}
_CONFIG = PROJECT / "configs" / "cgd.yaml"
#: Two candidates, in two worker processes.
_SWEEP = {"base": str(_CONFIG), "grid": {"models": [["prevalence", "logistic"], ["prevalence", "firth"]]}, "workers": 2}
_MODEL = "cgd-any_infection"
_PATIENTS = 5000
_HEADS = {
    "command": "command",
    "points": "points",
    "killed": "killed before its end",
    "store": "store and registry whole",
    "output": "nothing half written",
    "again": "run again: numbers of an undisturbed one",
}


class Point(NamedTuple):
    """What was found after one command was killed.

    Attributes
    ----------
    command : str
    number : int
    killed : bool
        False if it came to its end first.
    store, output, again : bool
        Whether database, registered models and champion were whole; every file of the output was absent or complete;
        and the same command, run to its end, gave the numbers of an undisturbed one.
    """

    command: str
    number: int
    killed: bool
    store: bool
    output: bool
    again: bool


class Soak:
    """A folder with a store of two models, a table of patients, and what undisturbed commands gave."""

    def __init__(self, folder, seed):
        self.folder, self.seed = folder.resolve(), seed
        self.uri, self.out = address(self.folder), self.folder / "out"
        self.expected, self.patients = self.folder / "expected", self.folder / "patients.csv"
        self.sweep = self.folder / "sweep.yaml"
        undisturbed = self.folder / "undisturbed.json"
        if not undisturbed.exists():
            undisturbed.write_text(json.dumps(self._undisturbed()))
        self.numbers, self.seconds = json.loads(undisturbed.read_text())

    def _undisturbed(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "mlruns").mkdir(parents=True)
        seconds = {}
        self.sweep.write_text(json.dumps(_SWEEP))
        ended = {"train": [self._complete("train", number) for number in (1, 2)][1]}
        ended["sweep"] = self._complete("sweep", -1)
        numbers = {command: self._numbers(command, each) for command, each in ended.items()}
        seconds |= {command: each.seconds for command, each in ended.items()}
        seconds["promote"] = self._complete("promote", 1).seconds
        inputs, rng = load_predictor(uri=self.uri).inputs, np.random.default_rng(self.seed)
        drawn = {
            name: rng.choice(entry.quantiles or entry.variable.levels or (0, 1), _PATIENTS)
            for name, entry in inputs.items()
        }
        pd.DataFrame(drawn).to_csv(self.patients, index=False)
        for command in ("analyze", "predict"):
            seconds[command] = self._complete(command, 1).seconds
        self.out.rename(self.expected)
        return numbers, seconds

    def point(self, command, number):
        """Kill a command at a moment of its own, and look."""
        rng = np.random.default_rng([self.seed, list(SHARES).index(command), number])
        shutil.rmtree(self.out, ignore_errors=True)
        # A little beyond the end, so that the last steps are met as well.
        ended = run(
            self._arguments(command, number), self.folder / "said", after=1.1 * rng.random() * self.seconds[command]
        )
        store, output = self._store_is_whole(), self._output_is_whole()
        if ended.code > 0:
            raise RuntimeError(f"{command} failed by itself: {ended.err}")
        return Point(command, number, ended.code < 0, store, output, self._again(command, number))

    def _arguments(self, command, number):
        settings = [part for setting in (*FAST, f"tracking.uri={self.uri}") for part in ("--set", setting)]
        return {
            "train": ["train", _CONFIG, *settings],
            # A complete sweep is not done again, so each has an experiment of its own.
            "sweep": ["sweep", self.sweep, *settings, "--set", f"tracking.experiment=sweep {number}"],
            "analyze": ["analyze", _CONFIG, "--out", self.out, *settings],
            "predict": [
                "predict",
                "--uri",
                self.uri,
                "--model",
                f"models:/{_MODEL}/1",
                "--in",
                self.patients,
                "--out",
                self.out / "answers.csv",
            ],
            "promote": ["promote", "--uri", self.uri, f"models:/{_MODEL}/{number % 2 + 1}"],
        }[command]

    def _complete(self, command, number):
        self.out.mkdir(exist_ok=True)
        ended = run(self._arguments(command, number), self.folder / "said")
        if ended.code != 0:
            raise RuntimeError(f"{command} failed: {ended.err}")
        return ended

    def _numbers(self, command, ended):
        """Return the metrics of a training, or those of every candidate of a sweep, of which none is there twice."""
        run = ended.out.splitlines()[-1]
        if command == "train":
            return config_of_run(run, self.uri).metrics
        client = MlflowClient(self.uri)
        children = client.search_runs([client.get_run(run).info.experiment_id], f"tags.`{PARENT}` = '{run}'")
        return sorted([child.info.run_name, child.data.metrics] for child in children)

    def _store_is_whole(self):
        found = check_store(self.uri)
        champion = found.loc[found["part"] == "champion", "finding"].item()
        history = promotion_history(_MODEL, self.uri)
        return bool(found["ok"].all()) and champion in ("version 1", "version 2") and len(history) > 0

    def _output_is_whole(self):
        made = [path for path in self.out.glob("*") if not path.name.startswith(".")]
        return all(path.read_bytes() == (self.expected / path.name).read_bytes() for path in made)

    def _again(self, command, number):
        ended = self._complete(command, number)
        if not self._store_is_whole():
            return False
        if command in self.numbers:
            return self._numbers(command, ended) == self.numbers[command]
        if command == "promote":
            found = check_store(self.uri)
            return found.loc[found["part"] == "champion", "finding"].item() == f"version {number % 2 + 1}"
        names = {
            path.name for path in self.expected.iterdir() if (path.name == "answers.csv") == (command == "predict")
        }
        return self._output_is_whole() and names <= {path.name for path in self.out.iterdir()}


def soak(folder, points, seed=0):
    """Return what was found at all points, those of an earlier call with the same folder included."""
    here = Soak(folder, seed)
    record = here.folder / "points.jsonl"
    known = [Point(**json.loads(line)) for line in record.read_text().splitlines()] if record.exists() else []
    done = {(point.command, point.number) for point in known}
    for command, share in SHARES.items():
        for number in range(round(share * points)):
            if (command, number) in done:
                continue
            known.append(here.point(command, number))
            with record.open("a") as file:
                file.write(json.dumps(known[-1]._asdict()) + "\n")
            print(*known[-1], file=sys.stderr, flush=True)
    return pd.DataFrame(known)


def table(found):
    """Return the counts by command, as Markdown."""
    rows = [list(_HEADS.values()), ["---"] * len(_HEADS)]
    for command, each in found.groupby("command", sort=False):
        counts = [each[name].sum() for name in ("killed", "store", "output", "again")]
        rows.append([command, len(each), *counts])
    rows.append(["all", len(found), *(found[name].sum() for name in ("killed", "store", "output", "again"))])
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("soak"), help="folder, removed by hand")
    arguments = parser.parse_args()
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    found = soak(arguments.out, arguments.points, arguments.seed)
    print(table(found))
    return 0 if found[["store", "output", "again"]].all(axis=None) else 1


if __name__ == "__main__":
    sys.exit(main())
