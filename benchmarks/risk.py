"""Judge corrected performance figures, calibration and choice of risk models where the truth is known.

True values are those of the model fitted to this very trial, in 100,000 new patients who are randomised like those of
the trial and predicted for the arm they are in. Beside the regression and the boosted trees stands what a training
delivers: the model that the rule chooses, with the headline figures, for which folds and refits choose anew. Each trial
gives one row on disk under benchmarks/results/; a second call adds only what is missing. The defaults take hours on one
core:

    python benchmarks/risk.py
    python benchmarks/risk.py --trials 20 6 1
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.ensemble import HistGradientBoostingClassifier
from tqdm import tqdm

from il7ml.config import RiskModelName
from il7ml.evaluation.corrected import corrected_metrics
from il7ml.evaluation.risk import risk_metrics
from il7ml.family import BINARY
from il7ml.features.columns import infer_variables
from il7ml.models.catalog import Setting, make_risk_model
from il7ml.models.choice import choose_by_losses
from il7ml.models.crossfit import cross_validate
from il7ml.models.resampled import resample
from il7ml.models.sample import Sample
from worlds import RISK, Trial

Floats = NDArray[np.float64]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
#: What the numbers depend on: rows of other versions are kept apart by the hash of these files.
_SOURCES = (
    "benchmarks/worlds.py",
    *(f"src/il7ml/evaluation/{name}.py" for name in ("corrected", "selection")),
    "src/il7ml/features/design.py",
    *(f"src/il7ml/models/{name}.py" for name in ("choice", "folds", "glm", "inner_folds", "risk")),
)

NEW_PATIENTS = 100_000
REFITS = 50
REPEATS = 5
BOOTSTRAP = 500
SIZES = (109, 500, 2000)
TRIALS = (200, 100, 40)
FIRST_SEED = 30000
CANDIDATES: tuple[RiskModelName, ...] = ("prevalence", "lymphocyte", "logistic", "xgboost")
#: What a training delivers: the chosen model, with figures for which folds and refits choose anew.
DELIVERED = "delivered"
JUDGED: dict[str, RiskModelName | None] = {"logistic": "logistic", "xgboost": "xgboost", DELIVERED: None}
BOOSTING = "hist_gradient_boosting"
_FIGURES = ("estimate", "low", "high", "apparent", "harrell", "harrell_low", "harrell_high", "out_of_bag")


def judge(world: str, n: int, seed: int) -> dict[str, Any]:
    """Return the row of one trial."""
    rng = np.random.default_rng([seed, n, list(RISK).index(world)])
    trial, new = RISK[world].draw(n, rng), RISK[world].draw(NEW_PATIENTS, rng)
    setting = Setting("binary", infer_variables(trial.X), "log_lymphocyte_count", harmful=True)
    sample = Sample(trial.X, trial.y, trial.treatment, trial.propensity, np.ones(n))
    row: dict[str, Any] = {"world": world, "n": n, "seed": seed, "events": int(trial.y.sum())}
    for name in CANDIDATES:
        model = make_risk_model(name, setting).fit(trial.X, trial.y, trial.treatment)
        row |= _true(name, new, np.where(new.treatment == 1, model.predict(new.X, 1), model.predict(new.X, 0)))
    boosting = HistGradientBoostingClassifier(random_state=0).fit(_with_arm(trial), trial.y)
    row |= _true(BOOSTING, new, boosting.predict_proba(_with_arm(new))[:, 1])
    folded = cross_validate(sample, setting, models=CANDIDATES, repeats=REPEATS, choose=True, seed=seed)
    losses = {name: BINARY.loss(trial.y, folded.factual(name, trial.treatment)) for name in CANDIDATES}
    chosen = choose_by_losses(losses).name
    resampled = resample(sample, setting, models=CANDIDATES, bootstrap=REFITS, choose=True, seed=seed)
    row |= {
        "chosen": chosen,
        "agreeing_folds": folded.choices()[chosen],
        "agreeing_refits": resampled.choices()[chosen],
    }
    row |= {f"{DELIVERED}_true_{figure}": row[f"{chosen}_true_{figure}"] for figure in ("auroc", "brier", "slope")}
    for judged, model_name in JUDGED.items():
        if model_name is None:
            refits, predicted = resampled.chosen(trial.treatment), folded.chosen(trial.treatment)
        else:
            refits, predicted = (
                resampled.refits(model_name, trial.treatment),
                folded.factual(model_name, trial.treatment),
            )
        table = corrected_metrics(
            trial.y,
            "binary",
            apparent=resampled.apparent(model_name or chosen, trial.treatment),
            refits=refits,
            counts=resampled.counts,
            out_of_fold=predicted,
            chosen_refits=resampled.refits(model_name or chosen, trial.treatment),
            bootstrap=BOOTSTRAP,
            rng=rng,
        ).set_index("metric")
        row |= {f"{judged}_{figure}": table.loc["auroc", figure] for figure in (*_FIGURES, "point_632_plus")}
        row |= {f"{judged}_brier_{figure}": table.loc["brier", figure] for figure in ("estimate", "low", "high")}
        fixed = risk_metrics(trial.y, predicted, "binary", bootstrap=BOOTSTRAP, rng=rng).set_index("metric")
        row |= {f"{judged}_fixed_{limit}": fixed.loc["auroc", limit] for limit in ("low", "high")}
    return row


def _true(name: str, new: Trial, predicted: Floats) -> dict[str, float]:
    # The estimates alone are wanted; one resample is the fewest that `risk_metrics` can draw.
    table = risk_metrics(new.y, predicted, "binary", bootstrap=1, rng=np.random.default_rng(0)).set_index("metric")
    metrics = {"auroc": "auroc", "brier": "brier", "calibration_slope": "slope"}
    values = table.loc[list(metrics), "estimate"].to_numpy(dtype=float)
    return {f"{name}_true_{short}": value for short, value in zip(metrics.values(), values.tolist(), strict=True)}


def _with_arm(trial: Trial) -> Floats:
    return np.column_stack([trial.X.to_numpy(dtype=float), trial.treatment])


def collect(worlds: Sequence[str], sizes: Sequence[int], trials: Sequence[int], first: int) -> pd.DataFrame:
    """Return the rows asked for; those that stand on disk are not computed again."""
    digest = hashlib.sha256(b"".join((ROOT / source).read_bytes() for source in _SOURCES)).hexdigest()[:12]
    path = RESULTS / f"risk-{digest}.csv"
    RESULTS.mkdir(parents=True, exist_ok=True)
    keys = ["world", "n", "seed"]
    done = set(map(tuple, pd.read_csv(path)[keys].to_numpy().tolist())) if path.exists() else set()
    wanted = [
        (world, n, first + trial)
        for n, count in zip(sizes, trials, strict=True)
        for trial in range(count)
        for world in worlds
    ]
    for task in tqdm([task for task in wanted if task not in done], unit="trial"):
        pd.DataFrame([judge(*task)]).to_csv(path, mode="a", header=not path.exists(), index=False)
    return pd.read_csv(path).set_index(keys).loc[wanted].reset_index()


def summarise_figures(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each size, world and model: errors of the figures, and how often the interval is right."""
    lines = []
    for (n, world), cell in rows.groupby(["n", "world"], sort=False):
        for name in JUDGED:
            truth = cell[f"{name}_true_auroc"]
            figures = {
                label: _mean(cell[f"{name}_{label}"] - truth)
                for label in ("estimate", "harrell", "out_of_bag", "point_632_plus")
            }
            lines.append(
                {
                    "n": n,
                    "world": world,
                    "model": name,
                    "trials": len(cell),
                    "true AUROC": f"{truth.mean():.3f}",
                    "reported": figures["estimate"],
                    "Harrell": figures["harrell"],
                    "out of bag": figures["out_of_bag"],
                    ".632+": figures["point_632_plus"],
                    "coverage": _coverage(truth, cell[f"{name}_low"], cell[f"{name}_high"]),
                    "fixed predictions": _coverage(truth, cell[f"{name}_fixed_low"], cell[f"{name}_fixed_high"]),
                    "Harrell's": _coverage(truth, cell[f"{name}_harrell_low"], cell[f"{name}_harrell_high"]),
                    "width": f"{(cell[f'{name}_high'] - cell[f'{name}_low']).mean():.2f}",
                    "true slope": _median(_slopes(cell, name)),
                }
            )
    return pd.DataFrame(lines)


def summarise_sizes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each size and model, all worlds together."""
    lines = []
    for n, cell in rows.groupby("n", sort=False):
        for name in JUDGED:
            truth, brier = cell[f"{name}_true_auroc"], cell[f"{name}_true_brier"]
            error = cell[f"{name}_estimate"] - truth
            lines.append(
                {
                    "n": n,
                    "model": name,
                    "trials": len(cell),
                    "reported - true": _mean(error),
                    "SD": f"{error.std():.3f}",
                    "coverage": _coverage(truth, cell[f"{name}_low"], cell[f"{name}_high"]),
                    "fixed predictions": _coverage(truth, cell[f"{name}_fixed_low"], cell[f"{name}_fixed_high"]),
                    "Brier: reported - true": _mean(cell[f"{name}_brier_estimate"] - brier),
                    "Brier: coverage": _coverage(brier, cell[f"{name}_brier_low"], cell[f"{name}_brier_high"]),
                }
            )
    return pd.DataFrame(lines)


def summarise_choice(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each size and world: what was chosen, its calibration, and what it costs in Brier score."""
    models = ("prevalence", "logistic", "xgboost", BOOSTING)
    lines = []
    for (n, world), cell in rows.groupby(["n", "world"], sort=False):
        brier = cell[[f"{name}_true_brier" for name in models]].set_axis(list(models), axis=1)
        own = cell[f"{DELIVERED}_true_brier"]
        best = brier.mean().idxmin()
        lines.append(
            {
                "n": n,
                "world": world,
                "trials": len(cell),
                "prevalence chosen": f"{(cell['chosen'] == 'prevalence').mean():.2f}",
                "XGBoost chosen": f"{(cell['chosen'] == 'xgboost').mean():.2f}",
                "folds that agree": f"{cell['agreeing_folds'].mean():.2f}",
                "refits that agree": f"{cell['agreeing_refits'].mean():.2f}",
                "median true slope": _median(_slopes(cell, DELIVERED)),
                "best": best,
                "Brier to best": _ratio(own, brier[best]),
                "to prevalence": _ratio(own, brier["prevalence"]),
                "XGBoost to best": f"{brier['xgboost'].mean() / brier[best].mean():.3f}",
                "HGB to best": f"{brier[BOOSTING].mean() / brier[best].mean():.3f}",
            }
        )
    return pd.DataFrame(lines)


def _slopes(cell: pd.DataFrame, name: str) -> pd.Series:
    """Return a model's true calibration slopes; a constant prediction has none."""
    return cell[f"{name}_true_slope"][(name != DELIVERED) | (cell["chosen"] != "prevalence")]


def _median(values: pd.Series) -> str:
    return f"{values.median():.2f}" if len(values) else "-"


def _mean(errors: pd.Series) -> str:
    return f"{errors.mean():+.3f} ({errors.std() / np.sqrt(len(errors)):.3f})"


def _coverage(truth: pd.Series, low: pd.Series, high: pd.Series) -> str:
    hits = int(truth.between(low, high).sum())
    limits = binomtest(hits, len(truth)).proportion_ci(method="wilson")
    return f"{100 * hits / len(truth):.0f} ({100 * limits.low:.0f} to {100 * limits.high:.0f})"


def _ratio(own: pd.Series, other: pd.Series) -> str:
    """Return the ratio of means with its standard error by the delta method over paired trials."""
    ratio = own.mean() / other.mean()
    error = (own - ratio * other).std() / np.sqrt(len(own)) / other.mean()
    return f"{ratio:.3f} ({error:.3f})"


def as_markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    lines: Iterable[list[Any]] = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--trials", type=int, nargs="+", default=list(TRIALS), help="one number a size")
    parser.add_argument("--worlds", nargs="+", default=["weak", "moderate", "strong"], choices=list(RISK))
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="below 50,000: seen by choices of the rule")
    options = parser.parse_args()
    rows = collect(options.worlds, options.n, options.trials, options.first_seed)
    for table in (summarise_figures(rows), summarise_sizes(rows), summarise_choice(rows)):
        print(f"{as_markdown(table)}\n")


if __name__ == "__main__":
    main()
