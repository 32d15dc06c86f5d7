"""Ask other libraries' estimators, which run in a process of another environment."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from worlds import Trial

Floats = NDArray[np.float64]

#: Estimator of benchmarks/peers.py and the package that it is from.
PEERS: dict[str, str] = {
    "econml_causal_forest": "econml",
    "econml_forest_dr": "econml",
    "econml_linear_dr": "econml",
    "econml_dr_lasso": "econml",
    "econml_dr_boosted": "econml",
    "causalml_x_boosted": "causalml",
    "bcf": "stochtree",
    "bcf_probit": "stochtree",
}

_WORKER = Path(__file__).with_name("peers.py")


class Answer(NamedTuple):
    """What an estimator says of new patients.

    Attributes
    ----------
    effect, low, high : ndarray of shape (n,)
        Individual effects with their 95 % limits, NaN where the estimator has none.
    average, average_low, average_high : float
        Average effect with its limits; NaN where the estimator has none.
    cpu_seconds : float
        Of learning and of the answer for the new patients.
    """

    effect: Floats
    low: Floats
    high: Floats
    average: float
    average_low: float
    average_high: float
    cpu_seconds: float


class PeerProcess:
    """A running peers.py; `python` is the interpreter of an environment that has the libraries."""

    def __init__(self, python: Path) -> None:
        self._process = subprocess.Popen(
            [python, _WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        installed = dict(part.split("=") for part in self._answer().split())
        self._versions = {name: installed.get(package) for name, package in PEERS.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def version(self, estimator: str) -> str | None:
        """Return package and version of an estimator, None if it is not installed."""
        found = self._versions[estimator]
        return found and f"{PEERS[estimator]} {found}"

    def ask(self, estimator: str, trial: Trial, new: Trial, seed: int) -> Answer:
        """Return what an estimator learns from a trial and says of new patients."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trial.npz"
            np.savez(
                path,
                X=trial.X.to_numpy(),
                y=trial.y,
                treatment=trial.treatment,
                propensity=trial.propensity,
                new=new.X.to_numpy(),
            )
            self._answer(f"{estimator} {seed} {path}\n")
            with np.load(path) as found:
                average, low, high, seconds = (float(value) for value in found["numbers"])
                return Answer(found["effect"], found["low"], found["high"], average, low, high, seconds)

    def _answer(self, request: str = "") -> str:
        """Send a request, if there is one, and wait for the answer."""
        given, got = self._process.stdin, self._process.stdout
        assert given is not None
        assert got is not None
        given.write(request)
        line = got.readline()
        if not line:
            self._process.communicate()
            raise RuntimeError("the process of the other libraries ended; its error stands above")
        return line
