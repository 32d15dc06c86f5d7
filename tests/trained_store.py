"""Tracking stores for tests: an empty one to copy, and one with both demonstration models trained small, made once."""

import atexit
import shutil
import tempfile
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from il7ml.cli import main
from il7ml.config import RunConfig
from il7ml.result import TrainedRun
from il7ml.tracking.store import open_run
from il7ml.training import train

PROJECT = Path(__file__).parents[1]
FAST = (
    "validation.folds=3",
    "validation.repeats=1",
    "validation.bootstrap=50",
    "validation.refits=10",
    "effect.permutations=200",
    "refits=10",
    "workers=1",
)


class Store(NamedTuple):
    """A store with the real trial's model from Python and the simulated trial's from the command line."""

    uri: str
    folder: Path
    real: TrainedRun
    simulated_run: str
    simulated_output: str


def address(folder: Path) -> str:
    """Return the tracking URI of the store in a project's folder."""
    return f"sqlite:///{folder}/mlruns/mlflow.db"


def empty_store(folder: Path) -> str:
    """Put an empty store into the folder and return its URI; copying is ten times faster than making one."""
    (folder / "mlruns").mkdir(parents=True, exist_ok=True)
    shutil.copy(_template() / "mlruns" / "mlflow.db", folder / "mlruns" / "mlflow.db")
    return address(folder)


def real_config(*settings: str) -> RunConfig:
    """Return the config of the real trial (chronic granulomatous disease) with small resampling."""
    return RunConfig.from_file(PROJECT / "configs" / "cgd.yaml", (*FAST, *settings))


@cache
def trained() -> Store:
    """Train both models into one store, once a test run."""
    folder = _temporary()
    uri = empty_store(folder)
    run = train(real_config(f"tracking.uri={uri}"), root=folder)
    settings = (*FAST, "models=[prevalence, lymphocyte, logistic]", f"tracking.uri={uri}")
    output = StringIO()
    with redirect_stdout(output):
        arguments = [part for setting in settings for part in ("--set", setting)]
        code = main(["train", str(PROJECT / "configs" / "il7_trial.yaml"), *arguments])
    assert code == 0
    return Store(uri, folder, run, output.getvalue().strip().splitlines()[-1], output.getvalue())


@cache
def _template() -> Path:
    folder = _temporary()
    (folder / "mlruns").mkdir()
    with open_run(address(folder), "made first", "made first", {}) as run:
        run.log([])
    return folder


def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="il7ml-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
