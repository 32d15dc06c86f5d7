"""Hold the chosen risk model against usual ones in real patients, in folds that neither choice nor fit has seen.

In each outer fold the choice is made anew among the default candidates, by a cross-validation of the training part, and
the chosen model is fitted to that part. Tables: ACTG 175 (event by day 730, censoring weights), random subsets of it,
which are also judged in all patients outside them, and the interferon gamma trial in chronic granulomatous disease. A
row a patient and model fit is kept under benchmarks/results/; a second call adds only what is missing:

    python benchmarks/risk_real.py                              # about 10 minutes of one core
    python benchmarks/risk_real.py --subsets 109:80 500:20      # more subsets
"""

from __future__ import annotations

import argparse
import hashlib
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from il7ml.config import RiskModelName, RunConfig
from il7ml.family import BINARY
from il7ml.models.catalog import SIMPLICITY, RiskModel, make_risk_model
from il7ml.models.choice import choose_by_losses
from il7ml.models.crossfit import cross_validate
from il7ml.models.folds import outcome_strata, stratified_folds
from il7ml.models.risk import BoostedRiskModel
from il7ml.models.sample import Sample
from il7ml.training import Prepared, prepare
from risk import RESULTS, ROOT, as_markdown

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

#: What the numbers depend on: rows of other versions are kept apart by the hash of these files.
_SOURCES = (
    "src/il7ml/evaluation/selection.py",
    "src/il7ml/features/design.py",
    *(f"src/il7ml/models/{name}.py" for name in ("choice", "folds", "glm", "risk")),
    "data/actg175/study.yaml",
    "data/cgd/study.yaml",
)

FOLDS = 5
INNER_REPEATS = 5
#: The part of a subset's task that is judged in the patients outside it, after its folds.
OUTSIDE = FOLDS
CANDIDATES: tuple[RiskModelName, ...] = RunConfig.model_fields["models"].default
BASELINES = {
    "prevalence": "event rate of each arm",
    "logistic": "ridge logistic",
    "xgboost": "shallow XGBoost",
    "ridge_cv": "ridge logistic, scikit-learn",
    "xgboost_200": "shallow XGBoost, 200 rounds",
    "hist_gradient_boosting": "HistGradientBoosting",
}


class Task(NamedTuple):
    """One model-fitting part of a table: all patients (n = 0) or a random subset of n."""

    table: str
    n: int
    seed: int
    fold: int


@cache
def load(table: str) -> Prepared:
    """Return the patients of a shipped config."""
    return prepare(RunConfig.from_file(ROOT / "configs" / f"{table}.yaml"))


def split(task: Task, sample: Sample) -> tuple[Rows, Rows]:
    """Return the patients to learn from and those to judge in."""
    rng = np.random.default_rng([task.seed, task.n])
    every = np.arange(sample.y.size)
    drawn = np.sort(rng.choice(every, task.n, replace=False)) if task.n else every
    if task.fold == OUTSIDE:
        return drawn, np.setdiff1d(every, drawn)
    strata = outcome_strata(sample.y[drawn], sample.treatment[drawn], "binary")
    fold = stratified_folds(strata, FOLDS, rng)
    return drawn[fold != task.fold], drawn[fold == task.fold]


def judge(task: Task) -> pd.DataFrame:
    """Return the losses of the patients judged, a row each: patient, weight, chosen, a column a model."""
    prepared = load(task.table)
    sample, setting = prepared.sample, prepared.setting
    learned, judged = split(task, sample)
    train, test = sample.rows(learned), sample.rows(judged)
    order = [name for name in SIMPLICITY if name in CANDIDATES and (name != "lymphocyte" or setting.spline)]
    folded = cross_validate(train, setting, models=order, folds=FOLDS, repeats=INNER_REPEATS, seed=task.seed)
    losses: dict[str, Floats] = {name: BINARY.loss(train.y, folded.factual(name, train.treatment)) for name in order}
    chosen = choose_by_losses(losses, train.weight).name
    models: dict[str, RiskModel] = {name: make_risk_model(name, setting) for name in order}
    models["xgboost_200"] = BoostedRiskModel(variables=dict(setting.variables), harmful=setting.harmful)
    predicted: dict[str, Floats] = {}
    for name, model in models.items():
        model.fit(train.X, train.y, train.treatment, sample_weight=train.weight)
        predicted[name] = model.predict(test.X, test.treatment)
    predicted |= _by_scikit_learn(train, test)
    found = {name: BINARY.loss(test.y, risk) for name, risk in predicted.items()}
    return pd.DataFrame(
        {
            **task._asdict(),
            "patient": judged,
            "weight": test.weight,
            "chosen": chosen,
            "selected": found[chosen],
            **{name: found[name] for name in BASELINES},
        }
    )


def _by_scikit_learn(train: Sample, test: Sample) -> dict[str, Floats]:
    """Return the risks of models that know nothing of ours: dummy variables and the arm as one more column."""
    known = train.weight > 0
    both = pd.get_dummies(pd.concat([train.X, test.X], ignore_index=True), dtype=float).to_numpy()
    both = np.column_stack([both, np.concatenate([train.treatment, test.treatment])])
    learn, judged = both[: len(train.X)][known], both[len(train.X) :]
    y, weight = train.y[known], train.weight[known]
    ridge = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=10, cv=FOLDS, l1_ratios=(0.0,), scoring="neg_log_loss", max_iter=1000, use_legacy_attributes=False
        ),
    )
    boosted = HistGradientBoostingClassifier(random_state=0)
    return {
        "ridge_cv": ridge.fit(learn, y, logisticregressioncv__sample_weight=weight).predict_proba(judged)[:, 1],
        "hist_gradient_boosting": boosted.fit(learn, y, sample_weight=weight).predict_proba(judged)[:, 1],
    }


def collect(tasks: list[Task]) -> pd.DataFrame:
    """Return the rows asked for; those that stand on disk are not computed again."""
    digest = hashlib.sha256(b"".join((ROOT / source).read_bytes() for source in _SOURCES)).hexdigest()[:12]
    path = RESULTS / f"risk-real-{digest}.csv"
    RESULTS.mkdir(parents=True, exist_ok=True)
    keys = list(Task._fields)
    done = set(map(tuple, pd.read_csv(path)[keys].drop_duplicates().to_numpy().tolist())) if path.exists() else set()
    for task in tqdm([task for task in tasks if task not in done], unit="fit"):
        judge(task).to_csv(path, mode="a", header=not path.exists(), index=False)
    rows = pd.read_csv(path)
    return rows[pd.MultiIndex.from_frame(rows[keys]).isin(tasks)]


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean log loss of the chosen model minus each baseline's, with its standard error, a row a baseline.

    The standard error of a whole table is that over patients, whose repeats are averaged first; it takes the models as
    given. That of subsets is over subsets, so that other training patients count too.
    """
    lines = []
    for name in BASELINES:
        gap = (rows["selected"] - rows[name]).to_numpy()
        loss = float(np.average(rows[name], weights=rows["weight"]))
        if (rows["n"] == 0).all():
            patients = rows[["patient", "weight"]].assign(gap=gap).groupby("patient").mean()
            gaps, share = patients["gap"].to_numpy(), (patients["weight"] / patients["weight"].sum()).to_numpy()
        else:
            sums = rows[["seed", "weight"]].assign(gap=gap * rows["weight"]).groupby("seed").sum()
            gaps, share = (sums["gap"] / sums["weight"]).to_numpy(), np.full(len(sums), 1 / len(sums))
        mean = float(share @ gaps)
        # Of a mean of k equal shares this is the usual error, SD / sqrt(k).
        error = float(np.sqrt(share**2 @ (gaps - mean) ** 2 * gaps.size / (gaps.size - 1)))
        lines.append({"baseline": name, "loss": loss, "difference": mean, "std_error": error})
    return pd.DataFrame(lines)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each table, size and place of judgement: what was chosen, and the losses beside its own."""
    lines = []
    places = np.where(rows["fold"] == OUTSIDE, "outside", "held-out fold")
    for (table, n, place), cell in rows.groupby(["table", "n", places], sort=False):
        chosen = cell.drop_duplicates(["seed", "fold"])["chosen"]
        compared = differences(cell)
        lines.append(
            {
                "table": table,
                "n": n or cell["patient"].nunique(),
                "judged in": place,
                "draws": cell["seed"].nunique(),
                "chosen": ", ".join(
                    f"{name} {share:.0%}" for name, share in chosen.value_counts(normalize=True).items()
                ),
                "log loss": f"{np.average(cell['selected'], weights=cell['weight']):.4f}",
                **{
                    f"less {label}": f"{difference:+.4f} ({error:.4f})"
                    for label, difference, error in zip(
                        BASELINES.values(), compared["difference"], compared["std_error"], strict=True
                    )
                },
            }
        )
    return pd.DataFrame(lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", nargs="+", default=["cgd:5", "actg175:2"], help="TABLE:NUMBER of 5-fold splits")
    parser.add_argument("--subsets", nargs="+", default=["109:40", "500:8"], help="SIZE:NUMBER, of ACTG 175")
    options = parser.parse_args()
    whole = [(table, 0, int(count)) for table, count in (text.split(":") for text in options.repeats)]
    drawn = [("actg175", int(n), int(count)) for n, count in (text.split(":") for text in options.subsets)]
    tasks = [
        Task(table, n, seed, fold)
        for table, n, count in (*whole, *drawn)
        for seed in range(count)
        for fold in range(FOLDS + (n > 0))
    ]
    print(as_markdown(summarise(collect(tasks))))


if __name__ == "__main__":
    main()
