"""Judge effect estimators, ours and other libraries', in worlds whose individual effects are known.

Each trial gives one row in benchmarks/results/effects.csv; a second call adds only what is missing. The tables compare
the root mean square error of the individual effect on 2,000 new patients with that of giving everybody the difference
in means of the same trial, and say how many new patients' effects the 95 % intervals cover.

    python benchmarks/effects.py --n 109 --seeds 50000-50059
    python benchmarks/effects.py --n 500 --estimators effect_model bcf --peers-python .venv-peers/bin/python

Other libraries' estimators run in a process of their own environment (benchmarks/peers-requirements.txt).
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from effects_tables import as_markdown, beside_best_peer, each_cell, intervals, ratios
from il7ml.evaluation.effects import unadjusted_effect
from il7ml.models.dr_learner import DRLearner
from il7ml.models.effect_model import EffectModel
from il7ml.models.t_learner import TLearner
from peer_process import PEERS, Answer, PeerProcess
from worlds import MAIN, WORLDS, Trial, World

Floats = NDArray[np.float64]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "effects.csv"
NEW_PATIENTS = 2000
KEYS = ["estimator", "version", "world", "n", "seed"]

_MODELS = (
    "average_prior",
    "dr_learner",
    "effect_learner",
    "effect_model",
    "fitted_effect",
    "folds",
    "glm",
    "learned_effect",
    "nuisance",
    "risk",
    "score_posterior",
    "shapes",
    "t_learner",
)
#: What the numbers depend on: rows of other versions stay in the file and are not counted.
_OURS = (
    "benchmarks/worlds.py",
    "src/il7ml/evaluation/effects.py",
    *(f"src/il7ml/models/{name}.py" for name in _MODELS),
)
_THEIRS = ("benchmarks/worlds.py", "benchmarks/peers.py")

ESTIMATORS: dict[str, Callable[[World], Any]] = {
    "effect_model": lambda world: EffectModel(world.outcome),
    "effect_model_prespecified": lambda world: EffectModel(
        world.outcome, modifiers=("log_lymphocyte_count", "antiviral")
    ),
    "dr_learner": lambda world: DRLearner(world.outcome),
    "t_learner": lambda world: TLearner(world.outcome),
}


def judge(estimator: str, world: str, n: int, seed: int, peers: PeerProcess | None) -> dict[str, Any]:
    """Return what one trial shows."""
    population = WORLDS[world]
    rng = np.random.default_rng([seed, n])
    trial, new = population.draw(n, rng), population.draw(NEW_PATIENTS, rng)
    answer = peers.ask(estimator, trial, new, seed) if peers else _fit(ESTIMATORS[estimator](population), trial, new)
    reference = _mean_difference(population, trial)
    average = _true_average(world)
    return {
        "rmse": _rmse(answer.effect, new.effect),
        "rmse_reference": _rmse(np.full(NEW_PATIENTS, reference), new.effect),
        "covered": _covered(answer.low, answer.high, new.effect),
        "width": float((answer.high - answer.low).mean()),
        "ate_error": answer.average - average,
        "reference_error": reference - average,
        "ate_covered": _covered(answer.average_low, answer.average_high, average),
        "cpu_seconds": answer.cpu_seconds,
    }


def _fit(model: Any, trial: Trial, new: Trial) -> Answer:
    start = time.process_time()
    model.fit(trial.X, trial.y, trial.treatment, propensity=trial.propensity, exposure=trial.exposure)
    effect = model.predict(new.X)
    low, high = model.predict_interval(new.X)
    seconds = time.process_time() - start
    average_low, average_high = model.ate_interval_
    return Answer(effect, low, high, model.ate_, average_low, average_high, seconds)


@cache
def _true_average(world: str) -> float:
    return float(WORLDS[world].draw(1_000_000, np.random.default_rng(0)).effect.mean())


def _rmse(estimate: Floats, truth: Floats) -> float:
    return float(np.sqrt(np.mean((estimate - truth) ** 2)))


def _covered(low: ArrayLike, high: ArrayLike, truth: ArrayLike) -> float:
    """Return the share of truths between the limits, NaN where there are no limits."""
    if np.isnan(low).any():
        return float("nan")
    return float(np.mean((np.asarray(low) <= truth) & (truth <= np.asarray(high))))


def _mean_difference(world: World, trial: Trial) -> float:
    # The allocation's inverse probability makes the reference unbiased where it differs between strata.
    weight = np.where(trial.treatment == 1, 1 / trial.propensity, 1 / (1 - trial.propensity))
    table = unadjusted_effect(trial.y, trial.treatment, world.outcome, weight=weight, exposure=trial.exposure)
    return float(table.loc[table["scale"] == "difference", "estimate"].to_numpy()[0])


def collect(
    estimators: Sequence[str],
    worlds: Sequence[str],
    sizes: Sequence[int],
    seeds: Sequence[int],
    peers: PeerProcess | None,
) -> pd.DataFrame:
    """Return the rows asked for; those that stand on disk are not computed again."""
    ours, theirs = _digest(_OURS), _digest(_THEIRS)
    version = {name: f"{peers.version(name)} {theirs}" if peers and name in PEERS else ours for name in estimators}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    done = set(map(tuple, pd.read_csv(RESULTS)[KEYS].to_numpy().tolist())) if RESULTS.exists() else set()
    # Seeds outermost: an interrupted run has some trials of every world.
    wanted = [(e, version[e], w, n, s) for n in sizes for s in seeds for w in worlds for e in estimators]
    for task in tqdm([task for task in wanted if task not in done], unit="trial"):
        name, _, world, n, seed = task
        row = dict(zip(KEYS, task, strict=True)) | judge(name, world, n, seed, peers if name in PEERS else None)
        pd.DataFrame([row]).to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False)
    rows: pd.DataFrame = pd.read_csv(RESULTS)
    return rows.set_index(KEYS).loc[wanted].reset_index()


def _digest(sources: Sequence[str]) -> str:
    return hashlib.sha256(b"".join((ROOT / source).read_bytes() for source in sources)).hexdigest()[:12]


def _seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[109])
    parser.add_argument("--worlds", nargs="+", default=list(MAIN), choices=list(WORLDS))
    parser.add_argument(
        "--seeds", type=_seeds, default=_seeds("50000-50059"), help="FIRST-LAST; below 1,000 development"
    )
    parser.add_argument("--estimators", nargs="+", default=["effect_model"], choices=[*ESTIMATORS, *PEERS])
    parser.add_argument("--peers-python", type=Path, help="interpreter of the environment of the other libraries")
    options = parser.parse_args()
    asked = [name for name in options.estimators if name in PEERS]
    if asked and not options.peers_python:
        parser.error(f"{asked[0]} needs --peers-python, an environment with benchmarks/peers-requirements.txt")
    others = [name for name in options.worlds if WORLDS[name].outcome != "binary" or WORLDS[name].missing]
    if asked and others:
        parser.error(f"{asked[0]} takes complete covariates and a yes-or-no outcome, not the world {others[0]}")
    with PeerProcess(options.peers_python) if asked else nullcontext() as peers:
        absent = [name for name in asked if peers and peers.version(name) is None]
        for name in absent:
            print(f"{name}: not installed in the environment, left out", file=sys.stderr)
        names = [name for name in options.estimators if name not in absent]
        rows = collect(names, options.worlds, options.n, options.seeds, peers)
    for table in (each_cell(rows), ratios(rows), intervals(rows), beside_best_peer(rows, list(PEERS))):
        print(as_markdown(table), end="\n\n")


if __name__ == "__main__":
    main()
