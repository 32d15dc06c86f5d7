from __future__ import annotations

import mlflow
import numpy as np
import pandas as pd
import pytest

from il7ml.comparing import compare_runs
from il7ml.config import RunConfig
from il7ml.data.loading import load_cohort
from il7ml.errors import InputError
from il7ml.evaluation import compare_models
from il7ml.models.crossfit import cross_validate
from il7ml.training import prepare, retrain, train

QUICK = {
    "validation": {"folds": 2, "repeats": 2, "bootstrap": 50, "refits": 10},
    "effect": {"learners": ["effect_model"], "permutations": 200},
    "refits": 10,
    "workers": 1,
}


@pytest.fixture
def trained(small_study, tmp_path):
    """Return a function that trains in a store of its own and gives the run's id, and the store's address."""
    uri = f"sqlite:///{tmp_path}/store/mlflow.db"

    def run(**settings):
        config = RunConfig.from_file(small_study.config(**QUICK, tracking={"uri": uri}, **settings))
        return train(config).run_id

    return run, uri


def test_two_trainings_are_compared_on_the_same_patients_and_tracked(trained, small_study):
    run, uri = trained
    first, second = run(models=["prevalence"], seed=1), run(models=["prevalence"], seed=2)
    (found,) = compare_runs(first, second, uri=uri)
    predictions = []
    for seed in (1, 2):
        config = RunConfig.from_file(small_study.config(**QUICK, models=["prevalence"], seed=seed))
        prepared = prepare(config, load_cohort(small_study.folder))
        parts = cross_validate(prepared.sample, prepared.setting, models=["prevalence"], folds=2, repeats=2, seed=seed)
        predictions.append(parts.factual("prevalence", prepared.sample.treatment))
    expected = compare_models(prepared.sample.y, *predictions, prepared.setting.outcome)
    pd.testing.assert_frame_equal(found.table, expected)
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    logged = client.get_run(found.run_id)
    assert logged.info.status == "FINISHED"
    row = expected.set_index("metric").loc["log_loss"]
    assert logged.data.metrics["log_loss_difference"] == pytest.approx(row["difference"])
    assert {entry.path for entry in client.list_artifacts(found.run_id)} >= {"tables", "figures", "comparison.txt"}
    assert [entry.path for entry in client.list_artifacts(found.run_id, "figures")] == ["figures/comparison.png"]


def test_a_run_and_itself_do_not_differ(trained):
    run, uri = trained
    one = run(models=["prevalence"])
    found = compare_runs(one, one, one, uri=uri)
    assert len({each.run_id for each in found}) == 2  # each of the others with the first
    for each in found:
        np.testing.assert_array_equal(each.table["difference"], 0)


def test_other_data_or_another_endpoint_are_refused(trained, small_study):
    run, uri = trained
    first = run(models=["prevalence"], endpoint="infected")
    other_endpoint = run(models=["prevalence"], endpoint="sofa_day7")
    with pytest.raises(InputError, match="different endpoints"):
        compare_runs(first, other_endpoint, uri=uri)
    small_study.patients.loc[0, "age"] += 1
    small_study.write()
    with pytest.raises(InputError, match="have changed since"):
        compare_runs(first, first, uri=uri)
    with pytest.raises(InputError, match="changed since"):
        retrain(first, uri=uri)
    other_data = run(models=["prevalence"], endpoint="infected")
    with pytest.raises(InputError, match="saw different data"):
        compare_runs(first, other_data, uri=uri)


def test_training_from_a_run_gives_identical_metrics(trained):
    run, uri = trained
    first = run(models=["prevalence", "logistic"])
    again = retrain(first, uri=uri)
    assert again.differing == {}
    assert again.run.run_id != first


def test_unknown_runs_are_named(trained):
    run, uri = trained
    first = run(models=["prevalence"])
    with pytest.raises(InputError, match="not in the store"):
        compare_runs(first, "0" * 32, uri=uri)
