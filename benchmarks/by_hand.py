"""The main steps of a training, as a careful user would write them with the usual libraries: the peer of training.py.

Two risk models, repeated cross-validation, Harrell's optimism, net benefit, effects of a causal forest, SHAP, MLflow.

    python benchmarks/by_hand.py data/il7_trial STORE
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import mlflow
import numpy as np
import pandas as pd
import shap
from econml.dml import CausalForestDML
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from xgboost import XGBClassifier

mpl.use("Agg")
from matplotlib import pyplot as plt

Floats = NDArray[np.float64]

SEED = 20250204
FOLDS, REPEATS, BOOTSTRAPS = 5, 10, 200
NUMERIC = [
    "age", "body_mass_index", "diabetes", "chronic_kidney_disease", "sofa_score", "absolute_lymphocyte_count",
    "neutrophil_count", "neutrophil_lymphocyte_ratio", "c_reactive_protein", "procalcitonin",
    "corticosteroid_at_randomisation", "antiviral_at_randomisation", "anti_il6_or_jak_at_randomisation", "treated",
]  # fmt: skip
CATEGORIES = ["sex", "respiratory_support"]
SKEWED = ["neutrophil_count", "neutrophil_lymphocyte_ratio", "c_reactive_protein", "procalcitonin"]
THRESHOLDS = np.linspace(0.05, 0.7, 27)


def read(folder: Path) -> tuple[pd.DataFrame, Floats]:
    """Return the features with the arm, and who had an infection by day 30, discharge or death."""
    patients, events = (pd.read_csv(folder / f"{name}.csv") for name in ("patients", "events"))
    first = events.pivot_table(index="patient_id", columns="kind", values="day", aggfunc="min")
    first = first.reindex(patients["patient_id"])
    last = first[["death", "discharge"]].min(axis=1).fillna(np.inf).clip(upper=30)
    outcome = np.asarray(first["infection"] <= last, dtype=float)
    patients["neutrophil_lymphocyte_ratio"] = patients["neutrophil_count"] / patients["absolute_lymphocyte_count"]
    patients["treated"] = (patients["arm"] == "il7").astype(float)
    patients[SKEWED] = np.log(patients[SKEWED])
    return patients[NUMERIC + CATEGORIES], outcome


def pipelines() -> dict[str, Any]:
    """Return the risk models with their preparation, so that all of it is done again in every fold."""

    def prepared(model: Any, *numeric: Any) -> Any:
        columns = ColumnTransformer(
            [
                ("numeric", make_pipeline(*numeric), NUMERIC),
                ("categories", OneHotEncoder(drop="first", handle_unknown="ignore"), CATEGORIES),
            ],
            sparse_threshold=0,
        )
        return make_pipeline(columns, model)

    ridge = LogisticRegressionCV(Cs=np.logspace(-3, 0, 5), cv=5, scoring="neg_log_loss", random_state=SEED)
    trees = XGBClassifier(n_estimators=200, max_depth=2, learning_rate=0.05, reg_lambda=10, n_jobs=1, random_state=SEED)
    return {
        "logistic": prepared(ridge, SimpleImputer(strategy="median"), StandardScaler()),
        "xgboost": prepared(trees, "passthrough"),
    }


def metrics(y: Floats, risk: Floats) -> dict[str, float]:
    """Return discrimination, overall error and calibration."""
    risk = np.clip(risk, 1e-6, 1 - 1e-6)
    linear = np.log(risk / (1 - risk))
    fitted = LogisticRegression(C=np.inf).fit(linear[:, None], y)
    return {
        "auroc": float(roc_auc_score(y, risk)),
        "brier": float(brier_score_loss(y, risk)),
        "log_loss": float(log_loss(y, risk)),
        "calibration_slope": float(fitted.coef_[0, 0]),
        "calibration_in_the_large": float(y.mean() - risk.mean()),
    }


def cross_validated(model: Any, X: pd.DataFrame, y: Floats) -> tuple[dict[str, float], Floats]:
    """Return average metrics over the repeats, and each patient's average out-of-fold risk."""
    risks = np.zeros((REPEATS, y.size))
    splits = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=REPEATS, random_state=SEED).split(X, y)
    for fold, (train, test) in enumerate(splits):
        fitted = clone(model).fit(X.iloc[train], y[train])
        risks[fold // FOLDS, test] = fitted.predict_proba(X.iloc[test])[:, 1]
    found = pd.DataFrame([metrics(y, risk) for risk in risks])
    return dict(found.mean()), risks.mean(axis=0)


def optimism_corrected(model: Any, X: pd.DataFrame, y: Floats, rng: np.random.Generator) -> dict[str, float]:
    """Return Harrell's corrected metrics with percentile intervals."""
    apparent = metrics(y, clone(model).fit(X, y).predict_proba(X)[:, 1])
    optimism: list[dict[str, float]] = []
    while len(optimism) < BOOTSTRAPS:
        rows = rng.integers(0, y.size, y.size)
        if np.bincount(y[rows].astype(int), minlength=2).min() < 5:
            continue
        fitted = clone(model).fit(X.iloc[rows], y[rows])
        inside = metrics(y[rows], fitted.predict_proba(X.iloc[rows])[:, 1])
        outside = metrics(y, fitted.predict_proba(X)[:, 1])
        optimism.append({name: inside[name] - outside[name] for name in inside})
    found: dict[str, float] = {}
    for name, value in apparent.items():
        corrected = value - np.array([each[name] for each in optimism])
        found[f"{name}_corrected"] = float(corrected.mean())
        found[f"{name}_corrected_low"], found[f"{name}_corrected_high"] = map(
            float, np.quantile(corrected, [0.025, 0.975])
        )
    return found


def net_benefit(y: Floats, risk: Floats) -> pd.DataFrame:
    """Return net benefit by threshold, beside treating all (Vickers and Elkin 2006)."""
    odds = THRESHOLDS / (1 - THRESHOLDS)
    acted = risk[:, None] >= THRESHOLDS
    model = (acted * y[:, None]).mean(axis=0) - (acted * (1 - y[:, None])).mean(axis=0) * odds
    return pd.DataFrame({"threshold": THRESHOLDS, "model": model, "all": y.mean() - (1 - y.mean()) * odds, "none": 0.0})


def effects(X: pd.DataFrame, y: Floats) -> tuple[dict[str, float], pd.DataFrame]:
    """Return the average effect, and individual ones, with intervals, from a causal forest."""
    numeric = X.drop(columns=["treated", *CATEGORIES])
    features = pd.concat([numeric.fillna(numeric.median()), pd.get_dummies(X[CATEGORIES], drop_first=True)], axis=1)
    penalties = np.logspace(-3, 0, 5)
    outcome = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=penalties, cv=5, scoring="neg_log_loss"))
    forest = CausalForestDML(
        model_y=outcome,
        model_t=DummyClassifier(strategy="prior"),
        discrete_outcome=True,
        discrete_treatment=True,
        n_estimators=500,
        cv=5,
        n_jobs=1,
        random_state=SEED,
    )
    matrix = features.to_numpy(dtype=float)
    forest.fit(y, X["treated"].to_numpy(), X=matrix)
    low, high = forest.effect_interval(matrix, alpha=0.05)
    limits = [float(np.ravel(limit)[0]) for limit in forest.ate_interval(matrix, alpha=0.05)]
    found = {"ate": float(np.ravel(forest.ate(matrix))[0]), "ate_low": limits[0], "ate_high": limits[1]}
    return found, pd.DataFrame(
        {"effect": np.ravel(forest.effect(matrix)), "low": np.ravel(low), "high": np.ravel(high)}
    )


def explained(model: Any, X: pd.DataFrame) -> Callable[[], None]:
    """Return a call that draws the SHAP summary of a fitted pipeline."""
    matrix, names = model[0].transform(X), model[0].get_feature_names_out()
    explainer = (
        shap.TreeExplainer(model[-1]) if hasattr(model[-1], "get_booster") else shap.LinearExplainer(model[-1], matrix)
    )
    return lambda: shap.summary_plot(explainer.shap_values(matrix), matrix, feature_names=names, show=False)


def calibration(y: Floats, risk: Floats) -> None:
    """Draw observed against predicted by fifths of risk."""
    fifth = pd.qcut(risk, 5, labels=False, duplicates="drop")
    points = pd.DataFrame({"risk": risk, "y": y, "fifth": fifth}).groupby("fifth").mean()
    plt.plot(points["risk"], points["y"], "o-")
    plt.plot([0, 1], [0, 1], "--")


def decision_curve(curve: pd.DataFrame) -> None:
    """Draw net benefit by threshold."""
    for name in ("model", "all", "none"):
        plt.plot(curve["threshold"], curve[name])


def log_figure(draw: Callable[[], object], name: str) -> None:
    """Log what a call draws."""
    figure = plt.figure()
    draw()
    mlflow.log_figure(plt.gcf(), name)
    plt.close("all")
    plt.close(figure)


def main() -> None:
    """Run all steps and log them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("store", type=Path)
    options = parser.parse_args()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    mlflow.set_tracking_uri(f"sqlite:///{options.store.resolve()}/mlflow.db")
    mlflow.create_experiment("by hand", artifact_location=(options.store.resolve() / "artifacts").as_uri())
    mlflow.set_experiment("by hand")
    X, y = read(options.study)
    rng = np.random.default_rng(SEED)
    with mlflow.start_run():
        mlflow.log_params({"n": y.size, "events": int(y.sum()), "folds": FOLDS, "repeats": REPEATS})
        for name, model in pipelines().items():
            with mlflow.start_run(run_name=name, nested=True):
                found, risk = cross_validated(model, X, y)
                mlflow.log_metrics({**found, **optimism_corrected(model, X, y, rng)})
                curve = net_benefit(y, risk)
                mlflow.log_table(curve, "net_benefit.json")
                log_figure(partial(decision_curve, curve), "net_benefit.png")
                log_figure(partial(calibration, y, risk), "calibration.png")
                fitted = clone(model).fit(X, y)
                log_figure(explained(fitted, X), "shap.png")
                # Given requirements spare a second process that would look for them.
                mlflow.sklearn.log_model(
                    fitted,
                    name="model",
                    serialization_format="cloudpickle",
                    pip_requirements=["scikit-learn", "xgboost"],
                )
        average, individual = effects(X, y)
        mlflow.log_metrics(average)
        mlflow.log_table(individual.describe().reset_index(), "effects.json")


if __name__ == "__main__":
    main()
