"""Runs as a training logs them, without the training."""

import mlflow
import pandas as pd
from tests.small_bundles import PATIENT, make, with_card

from il7ml.bundle import Estimate
from il7ml.tracking.items import Child, Dataset, Metric, Param, Picture, Table, Tag, Text
from il7ml.tracking.store import open_run

ITEMS = (
    Param("seed", "7"),
    Metric("auroc", 0.7),
    Metric("auroc_low", 0.6),
    Tag("mlflow.source.name", "il7ml train"),
    Tag("verdict.heterogeneity", "none"),
    Tag("data_digest", "d" * 64),
    Dataset("trial", "d" * 64, (("age", "double"), ("sex", "string")), 109, "training"),
    Text("config.yaml", "study: study.yaml\nendpoint: infected\n"),
    Text("summary.md", "Größe: 10 µm\n"),
    Table("table_one", pd.DataFrame({"variable": ["Age"], "control": [0.5]})),
    Picture("roc", b"\x89PNG picture"),
    Child("candidate logistic", (Param("risk_model", "logistic"), Metric("brier", 0.2), Tag("selected", "true"))),
)
EXAMPLE = {**PATIENT, "age": 60.0, "c_reactive_protein": 90.0, "diabetes": 0.0}
#: Retries that a test waits for, whatever the machine's own setting.
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
LOSSES = {"binary": "log_loss", "count": "poisson_deviance", "continuous": "rmse"}


def client(uri):
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def scored(loss=0.6, kind="binary", **card):
    """Return a bundle whose validated loss is given, with other entries in its card."""
    validation = {LOSSES[kind]: Estimate(value=loss, low=loss - 0.1, high=loss + 0.1)}
    return with_card(make(kind).bundle, **{"validation": validation, **card})


def logged(uri, bundle=None, name="model", items=ITEMS):
    """Log a complete run with a model and return run id and registered model."""
    with open_run(uri, "trials", "a run", {"study": "trial"}) as run:
        run.log(items)
        registered = run.log_model(bundle or scored(), name, EXAMPLE)
    return run.run_id, registered


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def all_runs(uri):
    """Return all runs that are not deleted, by id."""
    found = client(uri)
    experiments = [entry.experiment_id for entry in found.search_experiments()]
    return {run.info.run_id: run for run in found.search_runs(experiments)}
