"""Time a prediction: one patient with reasons and intervals, and a table against XGBoost's own prediction of its trees.

Models are trained on simulated patients and kept in benchmarks/results/models; each has 50 refits. "Raw" is
`Booster.inplace_predict` of the model's trees and those of its refits, on a matrix that is ready, in the same process;
calls alternate. CPU time for tables, wall-clock time for single patients.

    python benchmarks/prediction.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from xgboost import DMatrix

from il7ml.bundle import FORMAT, Bundle, load_bundle, save_bundle
from il7ml.config import RunConfig
from il7ml.data.simulator import simulate_trial
from il7ml.features.columns import to_columns
from il7ml.models.fitted import FittedTrees
from il7ml.predictor import Predictor
from il7ml.training import fit, prepare

KEPT = Path(__file__).parent / "results" / "models"
SEED = 60000
TRAINED_ON = 2000
MODELS = ("logistic", "xgboost", "stack")
SETTINGS = {
    "study": Path("simulated"),
    "endpoint": "infection_day30",
    "seed": SEED,
    "acknowledge_small_sample": True,
    "validation": {"folds": 2, "repeats": 1, "refits": 10, "bootstrap": 50},
    "effect": {"learners": ["effect_model"], "repeats": 1, "permutations": 200},
}


def trained(model: str, folder: Path = KEPT) -> Path:
    """Return the folder of a bundle whose risk model is the one asked for; it is trained where there is none yet."""
    place = folder / f"{FORMAT}-{model}"
    if place.exists():
        return place
    cohort, _ = simulate_trial(TRAINED_ON, SEED)
    result = fit(prepare(RunConfig.model_validate({**SETTINGS, "models": ["prevalence", model]}), cohort))
    if result.selected != model:
        raise SystemExit(f"the event rate was chosen in place of {model}; take another SEED")
    save_bundle(result.bundle, place)
    return place


def at_level(bundle: Bundle, evidence: str) -> Predictor:
    """Return a predictor that answers as if the training had come to this level of evidence."""
    return Predictor(Bundle(**{**vars(bundle), "card": bundle.card.model_copy(update={"evidence": evidence})}))


def one_patient(predictor: Predictor, patients: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    """Return the milliseconds that each patient took, after a first one."""
    predictor.predict(patients[0])
    times = []
    for patient in patients:
        start = time.perf_counter()
        predictor.predict(patient)
        times.append(1000 * (time.perf_counter() - start))
    return np.array(times)


def cpu_seconds(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    """Return the median CPU seconds of each call, taken in turn."""
    times = np.empty((repeats, len(calls)))
    for row in times:
        for place, call in enumerate(calls):
            start = time.process_time()
            call()
            row[place] = time.process_time() - start
    return [float(value) for value in np.median(times, axis=0)]


def raw_prediction(bundle: Bundle, table: pd.DataFrame) -> Callable[[], object]:
    """Return a call that predicts with all trees of a bundle and does nothing else."""
    models = [model for model in (bundle.risk, *bundle.refits.models) if isinstance(model, FittedTrees)]
    columns = to_columns(table, {name: entry.variable for name, entry in bundle.card.variables.items()})
    matrix = models[0].design.matrix(columns, len(table))
    return lambda: [model.booster.inplace_predict(matrix, predict_type="margin") for model in models]


def contributions(bundle: Bundle, table: pd.DataFrame) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a call for XGBoost's contributions, on a matrix that is ready, and one for the reasons made from them."""
    columns = to_columns(table, {name: entry.variable for name, entry in bundle.card.variables.items()})
    model = bundle.risk
    assert isinstance(model, FittedTrees)
    matrix = DMatrix(model.design.matrix(columns, len(table)))
    return (
        lambda: model.booster.predict(matrix, pred_contribs=True),
        lambda: model.contributions(columns, len(table)),
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=300, help="asked about one by one")
    parser.add_argument("--rows", type=int, default=50_000, help="of the table")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, help="whose single patients are timed")
    options = parser.parse_args()
    table = simulate_trial(options.rows, SEED + 1)[0].baseline
    complete = table.dropna()
    print("| model | evidence | complete: median, 99th percentile (ms) | three values missing |")
    print("| --- | --- | --- | --- |")
    for model in options.models:
        bundle = load_bundle(trained(model))
        inputs = [name for name in bundle.card.variables if name in table]
        known = complete[inputs].head(options.patients)
        required = [name for name in inputs if bundle.card.variables[name].required]
        gaps = known.drop(columns=[name for name in inputs if name not in required][:3])
        for evidence in ("none", "credible"):
            predictor = at_level(bundle, evidence)
            cells = []
            for frame in (known, gaps):
                times = one_patient(
                    predictor, [dict(zip(map(str, frame), row, strict=True)) for row in frame.itertuples(index=False)]
                )
                cells.append(f"{np.median(times):.1f}, {np.quantile(times, 0.99):.1f}")
            print(f"| {model} | {evidence} | {' | '.join(cells)} |")
    trees = load_bundle(trained("xgboost"))
    inputs = [name for name in trees.card.variables if name in table]
    print(f"\n| {options.rows} patients | CPU seconds | to raw |\n| --- | --- | --- |")
    filled = complete.sample(options.rows, replace=True, random_state=SEED, ignore_index=True)
    predictor = at_level(trees, "none")
    calls = [
        raw_prediction(trees, filled),
        lambda: predictor.predict_table(filled),
        raw_prediction(trees, table),
        lambda: predictor.predict_table(table),
    ]
    raw, whole, raw_gaps, whole_gaps = cpu_seconds(calls, options.repeats)
    share = float(table[inputs].isna().any(axis=1).mean())
    print(f"| raw XGBoost, complete records | {raw:.2f} | 1 |")
    print(f"| risks, benefit, intervals, warnings | {whole:.2f} | {whole / raw:.2f} |")
    print(f"| raw XGBoost, {share:.0%} of records with gaps | {raw_gaps:.2f} | 1 |")
    print(f"| risks, benefit, intervals, warnings | {whole_gaps:.2f} | {whole_gaps / raw_gaps:.2f} |")

    some = filled.head(options.rows // 10)
    its, ours = cpu_seconds(list(contributions(trees, some)), options.repeats)
    own = table.head(options.rows // 10)
    predictor = at_level(trees, "credible")
    raw_few, whole_few = cpu_seconds([raw_prediction(trees, own), lambda: predictor.predict_table(own)], 1)
    print(f"| raw XGBoost, {len(own)} patients, {share:.0%} with gaps | {raw_few:.2f} | 1 |")
    print(f"| with everybody's own effect (evidence level credible) | {whole_few:.2f} | {whole_few / raw_few:.2f} |")
    print(f"| `pred_contribs`, {len(some)} patients | {its:.2f} | 1 |")
    print(f"| reasons, {len(some)} patients | {ours:.2f} | {ours / its:.2f} |")


if __name__ == "__main__":
    main()
