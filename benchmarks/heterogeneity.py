"""Measure how often the heterogeneity tests and the verdict find something: where nothing differs, and where it does.

Simulated trials of benchmarks/worlds.py. As in a training, the means of both arms are out-of-fold predictions of the
penalised logistic regression; here of one repeat of five folds. Each trial is tested with the lymphocyte count and
antiviral therapy as pre-specified modifiers, and blind, without any.

Rows, one a trial, are kept in benchmarks/results/heterogeneity.csv and a second call adds only what is missing.

    python benchmarks/heterogeneity.py --worlds constant odds_ratio --n 109 500 --seeds 50000-51999
    python benchmarks/heterogeneity.py --worlds linear step complex --n 109 500 2000 --seeds 50000-50399
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest
from tqdm import tqdm

from effects_tables import as_markdown
from il7ml.evaluation import (
    best_linear_predictor,
    difference_residual,
    doubly_robust_scores,
    heterogeneity_test,
    judge,
    relative_effect_residual,
)
from il7ml.family import BINARY
from il7ml.features.columns import infer_variables, to_columns
from il7ml.features.design import LinearDesign
from il7ml.models.catalog import Setting
from il7ml.models.crossfit import cross_validate
from il7ml.models.sample import Sample
from worlds import WORLDS

Floats = NDArray[np.float64]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "heterogeneity.csv"
#: What the numbers depend on: rows of other versions stay in the file and are not counted.
_SOURCES = (
    "benchmarks/heterogeneity.py",
    "benchmarks/worlds.py",
    *(f"src/il7ml/evaluation/{name}.py" for name in ("effects", "effect_calibration", "heterogeneity", "verdict")),
    *(
        f"src/il7ml/models/{name}.py"
        for name in ("catalog", "crossfit", "effect_model", "folds", "glm", "nuisance", "risk")
    ),
)
KEYS = ["version", "world", "n", "seed"]

LEVEL = 0.05
FOLDS = 5
PERMUTATIONS = 499
COUNT = "log_lymphocyte_count"
MODIFIERS = {"blind": (), "prespecified": (COUNT, "antiviral")}
#: Repeats of the effect learner behind the verdict's slope, as a training's default.
SLOPE_REPEATS = 5
#: The verdict is given where one effect fits all (so that it is an error) and patients are few. Elsewhere its slope
#: would cost most of the time.
ONE_EFFECT = ("constant", "odds_ratio", "none")
_VERDICT_TO = 200

POPULATIONS = WORLDS | {
    "odds_ratio_10%": replace(WORLDS["odds_ratio"], base=0.08),
    "odds_ratio_60%": replace(WORLDS["odds_ratio"], base=0.62),
    "odds_ratio_missing": replace(WORLDS["odds_ratio"], missing=0.25),
}


def judge_trial(world: str, n: int, seed: int) -> dict[str, Any]:
    """Return the P values of both hypotheses and the verdict of a simulated trial, blind and with modifiers."""
    rng = np.random.default_rng([seed, n])
    trial = POPULATIONS[world].draw(n, rng)
    setting = Setting("binary", infer_variables(trial.X), COUNT, harmful=True)
    sample = Sample(trial.X, trial.y, trial.treatment, trial.propensity, np.ones(n))
    means = cross_validate(sample, setting, models=("logistic",), folds=FOLDS, repeats=1, seed=seed)
    untreated, treated = means.untreated["logistic"][0], means.treated["logistic"][0]
    scores = doubly_robust_scores(trial.y, trial.treatment, trial.propensity, untreated, treated)
    nulls = {
        "odds_ratio": relative_effect_residual(trial.y, trial.treatment, trial.propensity, untreated, "binary"),
        "difference": difference_residual(scores.effect),
    }
    columns = to_columns(trial.X, setting.variables)
    matrix = LinearDesign.learn(columns, setting.variables).matrix(columns, n)
    row: dict[str, Any] = {}
    slope_low: float | None = None
    for how, modifiers in MODIFIERS.items():
        directed = {name: trial.X[name].to_numpy() for name in modifiers}
        tests = {
            null: heterogeneity_test(
                residual, directed, BINARY.link(untreated), matrix, permutations=PERMUTATIONS, rng=rng
            )
            for null, residual in nulls.items()
        }
        row |= {f"{null}_{how}": test.p_value for null, test in tests.items()}
        smallest = tests["odds_ratio"].modifiers[["p_value", "p_holm"]].min()
        p_values = (tests["odds_ratio"].p_value, float(smallest["p_holm"]), float(smallest["p_value"]))
        level = judge(*p_values, slope_low=np.inf).level if _judged(world, n) else ""
        if level == "credible":
            # Only now the slope decides, which the modifiers do not change.
            slope_low = _slope_low(sample, setting, scores.effect, seed) if slope_low is None else slope_low
            level = judge(*p_values, slope_low=slope_low).level
        row[f"verdict_{how}"] = level
    return row


def _judged(world: str, n: int) -> bool:
    return world.startswith(ONE_EFFECT) and n <= _VERDICT_TO


def _slope_low(sample: Sample, setting: Setting, scores: Floats, seed: int) -> float:
    """Return the lower limit of the cross-fitted slope of the effect learner."""
    found = cross_validate(
        sample,
        setting,
        models=(),
        learners=("effect_model",),
        folds=FOLDS,
        repeats=SLOPE_REPEATS,
        effect_repeats=SLOPE_REPEATS,
        seed=seed,
    )
    table = best_linear_predictor(scores, found.effects["effect_model"]).set_index("term")
    return float(table["low"]["slope"])


def collect(worlds: Sequence[str], sizes: Sequence[int], seeds: Sequence[int]) -> pd.DataFrame:
    """Return the rows asked for; those that stand on disk are not computed again."""
    version = hashlib.sha256(b"".join((ROOT / source).read_bytes() for source in _SOURCES)).hexdigest()[:12]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    done = set(map(tuple, pd.read_csv(RESULTS)[KEYS].to_numpy().tolist())) if RESULTS.exists() else set()
    # Seeds outermost: a run that is stopped has as many trials of every world.
    wanted = [(version, world, n, seed) for n in sizes for seed in seeds for world in worlds]
    for task in tqdm([task for task in wanted if task not in done], unit="trial"):
        row = pd.DataFrame([dict(zip(KEYS, task, strict=True)) | judge_trial(*task[1:])])
        row.to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False)
    rows: pd.DataFrame = pd.read_csv(RESULTS, keep_default_na=False)
    return rows.set_index(KEYS).loc[wanted].reset_index()


def rejections(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the share of trials in which each test rejects at 5 %, a line for each world and size."""
    tests = [f"{null}_{how}" for null in ("odds_ratio", "difference") for how in MODIFIERS]
    lines = [
        [world, n, len(part), *(_share(part[test] <= LEVEL) for test in tests)]
        for (world, n), part in rows.groupby(["world", "n"], sort=False)
    ]
    titles = [f"one {test.replace('_', ' ')}" for test in tests]
    return pd.DataFrame(lines, columns=["world", "n", "trials", *titles])


def verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how often each verdict was given, a line for each world, size, and with modifiers or not."""
    lines = [
        [
            world,
            n,
            how,
            len(part),
            *(_share(part[f"verdict_{how}"] == level) for level in ("none", "suggestive", "credible")),
        ]
        for (world, n), part in rows[list(map(_judged, rows["world"], rows["n"]))].groupby(["world", "n"], sort=False)
        for how in MODIFIERS
    ]
    return pd.DataFrame(lines, columns=["world", "n", "modifiers", "trials", "none", "suggestive", "credible"])


def _share(hits: pd.Series[bool]) -> str:
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return f"{hits.mean():.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    binary = [name for name, world in POPULATIONS.items() if world.outcome == "binary"]
    parser.add_argument("--worlds", nargs="+", default=["constant", "odds_ratio"], choices=binary)
    parser.add_argument("--n", type=int, nargs="+", default=[109])
    parser.add_argument("--seeds", type=_seeds, default=_seeds("50000-51999"), help="FIRST-LAST")
    options = parser.parse_args()
    rows = collect(options.worlds, options.n, options.seeds)
    print(as_markdown(rejections(rows)))
    if any(map(_judged, rows["world"], rows["n"])):
        print("", as_markdown(verdicts(rows)), sep="\n")


if __name__ == "__main__":
    main()
