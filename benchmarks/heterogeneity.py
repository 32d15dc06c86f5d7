"""Measure the size of the heterogeneity test: how often it rejects in trials where one odds ratio holds for all.

Simulated trials of 109 patients with ten correlated covariates, four of them pre-specified modifiers, one of these
missing in a tenth of the patients. As in a training, the risk without treatment is the out-of-fold prediction of the
penalised logistic regression; here from one repeat of five folds and with one penalty, which is eight times as fast.

Rows, one a trial, are kept in benchmarks/results/heterogeneity.csv and a second call adds only what is missing.

    python benchmarks/heterogeneity.py --trials 1000
"""

from __future__ import annotations

import argparse
import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binomtest
from tqdm import tqdm

from il7ml.evaluation import heterogeneity_test, judge, relative_effect_residual
from il7ml.family import BINARY
from il7ml.features.columns import infer_variables, to_columns
from il7ml.features.design import LinearDesign
from il7ml.models.folds import outcome_strata, stratified_folds
from il7ml.models.risk import LinearRiskModel
from il7ml.schema import Variable

Floats = NDArray[np.float64]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "heterogeneity.csv"
#: What the numbers depend on: rows of other versions stay in the file and are not counted.
_SOURCES = (
    "benchmarks/heterogeneity.py",
    "src/il7ml/evaluation/heterogeneity.py",
    "src/il7ml/evaluation/weighted_glm.py",
    "src/il7ml/features/design.py",
    "src/il7ml/models/folds.py",
    "src/il7ml/models/glm.py",
    "src/il7ml/models/risk.py",
)

PATIENTS = 109
#: Share with the outcome without treatment, and the log odds ratio of treatment.
WORLDS = [(base, theta) for base in (0.1, 0.3, 0.5) for theta in (0.0, -0.8)]
LEVELS = (0.01, 0.05, 0.10)
FOLDS = 5
PERMUTATIONS = 499
PENALTY = 0.3
MISSING = 0.1

_CORRELATION = 0.3
_CONTINUOUS = ("lymphocytes", "age", "sofa", "crp", "creatinine", "neutrophils", "body_mass_index")
#: Binary covariates and their prevalence.
_BINARY = {"antiviral": 0.55, "ventilated": 0.45, "diabetes": 0.3}
#: Log odds ratio of each covariate (a standard deviation, or yes against no).
_PROGNOSTIC = {"lymphocytes": -0.3, "age": 0.2, "sofa": 0.4, "crp": 0.2, "ventilated": 0.8, "diabetes": 0.3}
MODIFIERS = ("lymphocytes", "age", "antiviral", "ventilated")
_WITH_GAPS = "lymphocytes"


def covariates(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw n patients: normal covariates with one correlation, the binary ones cut from further normal ones."""
    names = [*_CONTINUOUS, *_BINARY]
    common = rng.normal(size=(n, 1))
    normal = np.sqrt(_CORRELATION) * common + np.sqrt(1 - _CORRELATION) * rng.normal(size=(n, len(names)))
    frame = pd.DataFrame(normal, columns=names)
    for name, share in _BINARY.items():
        frame[name] = frame[name] < np.quantile(frame[name], share)
    return frame


def prognosis(frame: pd.DataFrame) -> Floats:
    """Return the linear predictor without intercept and treatment, shape (n,)."""
    names = list(_PROGNOSTIC)
    return np.asarray(frame[names].to_numpy(dtype=float) @ np.array([_PROGNOSTIC[name] for name in names]))


@cache
def intercept(base: float) -> float:
    """Return the intercept with which the share `base` of all patients has the outcome without treatment."""
    linear = prognosis(covariates(200_000, np.random.default_rng(0)))
    return float(brentq(lambda start: float(expit(start + linear).mean()) - base, -10, 10))


def trial_p_values(base: float, theta: float, seed: int) -> tuple[float, float, float]:
    """Return a simulated trial's omnibus P, and the modifiers' smallest P without and with Holm's adjustment."""
    rng = np.random.default_rng([seed, WORLDS.index((base, theta))])
    frame = covariates(PATIENTS, rng)
    arm = rng.permutation(np.arange(PATIENTS) % 2)
    y = (rng.random(PATIENTS) < expit(intercept(base) + prognosis(frame) + theta * arm)).astype(float)
    frame.loc[rng.random(PATIENTS) < MISSING, _WITH_GAPS] = np.nan
    variables = infer_variables(frame)
    untreated = _out_of_fold_risk(frame, variables, y, arm, rng)
    columns = to_columns(frame, variables)
    matrix = LinearDesign.learn(columns, variables).matrix(columns, PATIENTS)
    test = heterogeneity_test(
        relative_effect_residual(y, arm, 0.5, untreated, "binary"),
        {name: frame[name].to_numpy(dtype=float) for name in MODIFIERS},
        BINARY.link(untreated),
        matrix,
        permutations=PERMUTATIONS,
        rng=rng,
    )
    return test.p_value, float(test.modifiers["p_value"].min()), float(test.modifiers["p_holm"].min())


def _out_of_fold_risk(
    frame: pd.DataFrame, variables: dict[str, Variable], y: Floats, arm: NDArray[np.int_], rng: np.random.Generator
) -> Floats:
    fold = stratified_folds(outcome_strata(y, arm.astype(np.int8), "binary"), FOLDS, rng)
    risk = np.empty(PATIENTS)
    for held in range(FOLDS):
        inside = fold != held
        model = LinearRiskModel("binary", variables=variables, penalties=(PENALTY,))
        risk[~inside] = model.fit(frame[inside], y[inside], arm[inside]).predict(frame[~inside])
    return risk


def collect(trials: int) -> pd.DataFrame:
    """Return the rows of the first `trials` trials of each world; those that stand on disk are not computed again."""
    version = hashlib.sha256(b"".join((ROOT / source).read_bytes() for source in _SOURCES)).hexdigest()[:12]
    keys = ["version", "base_rate", "theta", "seed"]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    done = set(map(tuple, pd.read_csv(RESULTS)[keys].to_numpy().tolist())) if RESULTS.exists() else set()
    # Seeds outermost: a run that is stopped has as many trials of every world.
    wanted = [(version, *world, seed) for seed in range(trials) for world in WORLDS]
    for task in tqdm([task for task in wanted if task not in done], unit="trial"):
        row = pd.DataFrame([[*task, *trial_p_values(*task[1:])]], columns=[*keys, "omnibus", "modifier", "holm"])
        row.to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False)
    rows: pd.DataFrame = pd.read_csv(RESULTS)
    return rows.set_index(keys).loc[wanted].reset_index()


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line a world: the share of trials that reject at each level, with 95 % Wilson intervals."""
    lines = []
    for (base, theta), world in rows.groupby(["base_rate", "theta"], sort=False):
        # Without a slope no verdict is credible, so what is not "none" has met the rule of "suggestive".
        suggestive = [
            judge(omnibus, holm, modifier, np.nan).level != "none"
            for omnibus, modifier, holm in world[["omnibus", "modifier", "holm"]].to_numpy()
        ]
        events = [world["omnibus"] <= level for level in LEVELS] + [pd.Series(suggestive)]
        lines.append(
            [f"{base:g}", f"{theta:g}", str(len(world)), *(share(int(event.sum()), len(world)) for event in events)]
        )
    levels = [f"P <= {level:.2f}" for level in LEVELS]
    return pd.DataFrame(lines, columns=["base rate", "log odds ratio", "trials", *levels, "suggestive"])


def share(count: int, n: int) -> str:
    """Return a share with its Monte-Carlo interval as text."""
    interval = binomtest(count, n).proportion_ci(method="wilson")
    return f"{count / n:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def as_markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    lines = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="simulated trials of each kind")
    print(as_markdown(summarise(collect(parser.parse_args().trials))))


if __name__ == "__main__":
    main()
