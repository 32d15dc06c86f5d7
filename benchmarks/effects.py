"""Judge effect estimators in worlds whose individual effects are known.

Each trial gives one row on disk under benchmarks/results/; a second call adds only what is missing. The table compares
the root mean square error of the individual effect on 2,000 new patients with that of giving everybody the difference
in means of the same trial, and says how many new patients' effects the 95 % intervals cover.

    python benchmarks/effects.py --n 109 --worlds constant linear step complex --seeds 10000-10059
    python benchmarks/effects.py --estimators effect_model dr_learner t_learner --n 500 2000 --seeds 10000-10019
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from il7ml.evaluation.effects import unadjusted_effect
from il7ml.models.dr_learner import DRLearner
from il7ml.models.effect_model import EffectModel
from il7ml.models.t_learner import TLearner
from worlds import MAIN, WORLDS, Trial, World

Floats = NDArray[np.float64]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NEW_PATIENTS = 2000
BOOTSTRAP = 2000
#: What the numbers depend on: rows of other versions are kept apart by the hash of these files.
_SOURCES = (
    "benchmarks/worlds.py",
    *(
        f"src/il7ml/models/{name}.py"
        for name in (
            "effect_model",
            "fitted_effect",
            "score_posterior",
            "shapes",
            "learned_effect",
            "nuisance",
            "average_prior",
            "glm",
            "risk",
        )
    ),
)

ESTIMATORS: dict[str, Callable[[World], Any]] = {
    "effect_model": lambda world: EffectModel(world.outcome),
    "effect_model_prespecified": lambda world: EffectModel(
        world.outcome, modifiers=("log_lymphocyte_count", "antiviral")
    ),
    "dr_learner": lambda world: DRLearner(world.outcome),
    "t_learner": lambda world: TLearner(world.outcome),
}


def judge(estimator: str, world: str, n: int, seed: int) -> dict[str, Any]:
    """Return the row of one trial."""
    population = WORLDS[world]
    rng = np.random.default_rng([seed, n])
    trial, new = population.draw(n, rng), population.draw(NEW_PATIENTS, rng)
    start = time.process_time()
    model = ESTIMATORS[estimator](population).fit(
        trial.X, trial.y, trial.treatment, propensity=trial.propensity, exposure=trial.exposure
    )
    seconds = time.process_time() - start
    low, high = model.predict_interval(new.X)
    reference = _mean_difference(population, trial)
    average = _true_average(world)
    return {
        "estimator": estimator,
        "world": world,
        "n": n,
        "seed": seed,
        "rmse": _rmse(model.predict(new.X), new.effect),
        "rmse_reference": _rmse(np.full(NEW_PATIENTS, reference), new.effect),
        "covered": float(((low <= new.effect) & (new.effect <= high)).mean()),
        "width": float((high - low).mean()),
        "ate_error": model.ate_ - average,
        "reference_error": reference - average,
        "ate_covered": float(model.ate_interval_[0] <= average <= model.ate_interval_[1]),
        "cpu_seconds": seconds,
    }


@cache
def _true_average(world: str) -> float:
    return float(WORLDS[world].draw(1_000_000, np.random.default_rng(0)).effect.mean())


def _rmse(estimate: Floats, truth: Floats) -> float:
    return float(np.sqrt(np.mean((estimate - truth) ** 2)))


def _mean_difference(world: World, trial: Trial) -> float:
    # The allocation's inverse probability makes the reference unbiased where it differs between strata.
    weight = np.where(trial.treatment == 1, 1 / trial.propensity, 1 / (1 - trial.propensity))
    table = unadjusted_effect(trial.y, trial.treatment, world.outcome, weight=weight, exposure=trial.exposure)
    return float(table.loc[table["scale"] == "difference", "estimate"].to_numpy()[0])


def collect(
    estimators: Sequence[str], worlds: Sequence[str], sizes: Sequence[int], seeds: Sequence[int]
) -> pd.DataFrame:
    """Return the rows asked for; those that stand on disk are not computed again."""
    digest = hashlib.sha256(b"".join((ROOT / source).read_bytes() for source in _SOURCES)).hexdigest()[:12]
    path = RESULTS / f"effects-{digest}.csv"
    RESULTS.mkdir(parents=True, exist_ok=True)
    keys = ["estimator", "world", "n", "seed"]
    done = set(map(tuple, pd.read_csv(path)[keys].to_numpy().tolist())) if path.exists() else set()
    # Seeds outermost: an interrupted run has some trials of every world.
    wanted = [(e, w, n, s) for n in sizes for s in seeds for w in worlds for e in estimators]
    for task in tqdm([task for task in wanted if task not in done], unit="trial"):
        pd.DataFrame([judge(*task)]).to_csv(path, mode="a", header=not path.exists(), index=False)
    rows: pd.DataFrame = pd.read_csv(path)
    return rows.set_index(keys).loc[wanted].reset_index()


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each size, estimator and world, and the mean over the worlds with a bootstrap interval."""
    lines = []
    for (n, estimator), cell in rows.groupby(["n", "estimator"], sort=False):
        parts = dict(list(cell.groupby("world", sort=False)))
        draws = {world: _ratio_draws(part) for world, part in parts.items()}
        for world, part in parts.items():
            lines.append(_line(n, estimator, world, part, draws[world]))
        if len(parts) > 1:
            mean = np.mean(list(draws.values()), axis=0)
            lines.append([n, estimator, "mean", f"{cell['seed'].nunique()}", _interval(mean), "", "", "", "", ""])
    names = ["n", "estimator", "world", "trials", "ratio", "coverage", "width"]
    return pd.DataFrame(lines, columns=[*names, "average: variance ratio", "average: coverage", "CPU s"])


def _ratio_draws(part: pd.DataFrame) -> Floats:
    """Return the ratio of mean errors, then its bootstrap draws over paired seeds."""
    pair = part[["rmse", "rmse_reference"]].to_numpy()
    drawn = np.random.default_rng(0).integers(0, len(pair), (BOOTSTRAP, len(pair)))
    means = np.vstack([pair.mean(axis=0)[None], pair[drawn].mean(axis=1)])
    return np.asarray(means[:, 0] / means[:, 1])


def _interval(draws: Floats) -> str:
    low, high = np.quantile(draws[1:], [0.025, 0.975])
    return f"{draws[0]:.2f} ({low:.2f} to {high:.2f})"


def _line(n: Any, estimator: Any, world: Any, part: pd.DataFrame, draws: Floats) -> list[Any]:
    variance = (part["ate_error"] ** 2).mean() / (part["reference_error"] ** 2).mean()
    numbers = [part["covered"].mean(), part["width"].mean(), variance, part["ate_covered"].mean()]
    texts = [f"{value:.2f}" if k else f"{value:.3f}" for k, value in enumerate(numbers)]
    return [n, estimator, world, f"{len(part)}", _interval(draws), *texts, f"{part['cpu_seconds'].mean():.2g}"]


def as_markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    lines: Iterable[list[Any]] = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[109])
    parser.add_argument("--worlds", nargs="+", default=list(MAIN), choices=list(WORLDS))
    parser.add_argument(
        "--seeds", type=_seeds, default=_seeds("10000-10059"), help="FIRST-LAST; below 1,000 development"
    )
    parser.add_argument("--estimators", nargs="+", default=["effect_model"], choices=list(ESTIMATORS))
    options = parser.parse_args()
    print(as_markdown(summarise(collect(options.estimators, options.worlds, options.n, options.seeds))))


if __name__ == "__main__":
    main()
