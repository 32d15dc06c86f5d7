"""Train small with several Python interpreters and compare metrics and predictions with this one's, to 1e-9.

``python -m tests.versions PYTHON ...``; each interpreter's environment has the packages of requirements.lock.
"""

import json
import os
import subprocess
import sys

import numpy as np
from tests.trained_store import PROJECT, real_config

from il7ml.predictor import Predictor
from il7ml.training import fit, prepare

_LARGEST = 1e-9


def numbers():
    """Return the metrics of a small training and its predictions of the training's patients, by name."""
    prepared = prepare(real_config("models=[prevalence, logistic, xgboost]"))
    result = fit(prepared)
    metrics = {
        f"{name} {part}": getattr(estimate, part)
        for name, estimate in result.metrics.items()
        for part in ("value", "low", "high")
    }
    answers = Predictor(result.bundle).predict_table(prepared.cohort.baseline).select_dtypes("number")
    predicted = {f"{name} {row}": value for name in answers for row, value in enumerate(answers[name])}
    return {name: np.nan if value is None else float(value) for name, value in {**metrics, **predicted}.items()}


def numbers_of(python):
    """Return what `numbers` gives in another interpreter."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT / "src"), str(PROJECT)])}
    code = "import json; from tests.versions import numbers; print(json.dumps(numbers()))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def largest_difference(here, there):
    """Return the largest absolute difference; infinite where names or gaps are not the same.

    Examples
    --------
    >>> largest_difference({"a": 1.0, "b": float("nan")}, {"a": 1.5, "b": float("nan")})
    0.5
    >>> largest_difference({"a": 1.0}, {"a": float("nan")})
    inf
    """
    if here.keys() != there.keys():
        return np.inf
    first, second = (np.array([found[name] for name in sorted(here)]) for found in (here, there))
    if not np.array_equal(np.isnan(first), np.isnan(second)):
        return np.inf
    return float(np.nanmax(np.abs(first - second)))


def main():
    here = numbers_of(sys.executable)
    differences = {python: largest_difference(here, numbers_of(python)) for python in sys.argv[1:]}
    for python, difference in differences.items():
        print(f"{python}: {len(here)} numbers, largest difference {difference:.1e}")
    return 0 if max(differences.values(), default=0.0) <= _LARGEST else 1


if __name__ == "__main__":
    sys.exit(main())
