import functools
from pathlib import Path
from unittest import mock

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.entities import ViewType
from tests.quick_sweeps import GRID, LOSSES, asked, base_config, loss, quick, swept
from tests.tracking.logged_runs import all_runs, client
from tests.tracking.other_processes import killed_at_every_call, start
from tests.trained_store import PROJECT, empty_store

from il7ml import sweeping, texts
from il7ml.cli import main
from il7ml.config import RunConfig
from il7ml.errors import InputError
from il7ml.sweep_config import SweepConfig
from il7ml.sweeping import sweep
from il7ml.tracking import config_of_run, find_sweep
from il7ml.tracking.store import open_run
from il7ml.tracking.sweep import CANDIDATE, SWEEP

EXPERIMENT = "small"


@pytest.fixture
def base(small_study):
    return base_config(small_study)


@pytest.fixture
def uri(tmp_path):
    return empty_store(tmp_path / "store")


@pytest.fixture
def log(tmp_path):
    return tmp_path / "asked.txt"


def runs_of(uri):
    """Return the sweeps and candidates of a store."""
    runs = [run for run in all_runs(uri).values() if {SWEEP, CANDIDATE} & set(run.data.tags)]
    return [run for run in runs if SWEEP in run.data.tags], [run for run in runs if CANDIDATE in run.data.tags]


def test_candidates_are_complete_children_of_one_run(base, uri, log):
    found = swept(uri, base, log)
    (parent,), candidates = runs_of(uri)
    assert parent.info.run_id == found.run_id
    assert parent.info.status == "FINISHED"
    assert parent.data.params["candidates"] == "3"
    assert parent.data.metrics["best_log_loss_corrected"] == LOSSES[11]
    assert texts.OPTIMISTIC_BEST in parent.data.tags["mlflow.note.content"]
    (data,) = parent.inputs.dataset_inputs
    assert parent.data.tags["data_digest"].startswith(data.dataset.digest)
    names = {run.info.run_name: run for run in candidates}
    assert set(names) == {"refits=10", "refits=11", "refits=12"}
    for run in candidates:
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == found.run_id
        assert run.data.metrics["log_loss_corrected"] == loss(int(run.data.params["refits"])).value
        files = {entry.path for entry in client(uri).list_artifacts(run.info.run_id)}
        assert {"config.yaml", "report.html", "tables", "figures"} <= files
    folder = Path(client(uri).download_artifacts(found.run_id, ""))
    assert {path.name for path in folder.iterdir()} == {"summary.md", "sweep.yaml", "base.yaml", "tables", "figures"}
    written = pd.read_csv(folder / "tables" / "candidates.csv")
    pd.testing.assert_frame_equal(written, found.table, check_dtype=False, rtol=1e-12)
    assert (folder / "figures" / "candidates.png").read_bytes().startswith(b"\x89PNG")


def test_the_best_is_named_with_a_warning(base, uri, log):
    found = swept(uri, base, log)
    assert found.table["refits"].tolist() == [10, 11, 12]
    assert found.ranked["refits"].tolist() == [11, 12, 10]
    assert found.best == ("refits=11",)
    text = found.to_text()
    assert "smaller is better" in text
    assert f"Best: refits=11. {texts.OPTIMISTIC_BEST}" in text
    assert "0.61 (0.51 to 0.71)" in text


def test_equals_are_best_together(base, uri, log):
    found = swept(uri, base, log, grid={"refits": (12, 11)}, metric="brier")
    assert found.best == ("refits=12", "refits=11")
    assert "Best, equally: refits=12; refits=11." in found.to_text()


def test_larger_is_better_where_it_is(base, uri, log):
    found = swept(uri, base, log, metric="scaled_brier", grid=GRID)
    assert found.larger_is_better
    assert "larger is better" in found.rule


def test_nothing_is_registered_and_a_candidate_can_be_trained_again(base, uri, log):
    found = swept(uri, base, log)
    assert client(uri).search_registered_models() == []
    record = config_of_run(found.ranked["run_id"][0], uri)
    assert record.command == "il7ml train"
    assert RunConfig.model_validate(yaml.safe_load(record.config)).refits == 11


def test_keys_that_decide_how_candidates_are_measured_have_no_best(base, uri, log):
    found = swept(uri, base, log, grid={"seed": (1, 2)})
    assert found.best == ()
    assert "seed decides how candidates are measured" in found.to_text()
    (parent,), _ = runs_of(uri)
    assert not [name for name in parent.data.metrics if name.startswith("best")]


def test_a_sweep_that_failed_goes_on_where_it_stopped(base, uri, log, tmp_path):
    whole = swept(empty_store(tmp_path / "other"), base, tmp_path / "other.txt")
    with quick(log):
        pretend = sweeping.fit

        def fails(prepared, *rest):
            if prepared.config.refits == 12:
                raise KeyboardInterrupt
            return pretend(prepared, *rest)

        with mock.patch.object(sweeping, "fit", fails), pytest.raises(KeyboardInterrupt):
            sweep(SweepConfig(base=base, grid=GRID, workers=1), overrides=[f"tracking.uri={uri}"])
    (parent,), candidates = runs_of(uri)
    assert parent.info.status == "KILLED"
    before = {run.info.run_id for run in candidates}
    assert len(before) == 2
    found = swept(uri, base, log)
    assert asked(log) == [10, 11, 12]
    assert found.run_id == parent.info.run_id
    assert before < set(found.table["run_id"])
    assert client(uri).get_run(found.run_id).info.status == "FINISHED"
    pd.testing.assert_frame_equal(found.table.drop(columns="run_id"), whole.table.drop(columns="run_id"))

    # Once more: nothing is left to do.
    again = swept(uri, base, log)
    pd.testing.assert_frame_equal(again.table, found.table)
    assert asked(log) == [10, 11, 12]
    assert len(runs_of(uri)[0]) == 1


def test_another_grid_other_data_or_settings_are_another_sweep(base, uri, log, small_study):
    one = {"refits": (10,)}
    seen = [swept(uri, base, log, grid=one).run_id, swept(uri, base, log, grid={"refits": (11,)}).run_id]
    seen.append(swept(uri, base_config(small_study, seed=1), log, grid=one).run_id)
    small_study.patients.loc[0, "age"] += 1
    small_study.write()
    seen.append(swept(uri, base_config(small_study), log, grid=one).run_id)
    assert len(set(seen)) == 4


def test_a_sweep_that_is_under_way_is_not_begun_again(base, uri, log):
    found = swept(uri, base, log)
    key = client(uri).get_run(found.run_id).data.tags[SWEEP]
    client(uri).delete_run(found.run_id)
    with open_run(uri, EXPERIMENT, "the same sweep", {SWEEP: key}), pytest.raises(InputError, match="is under way"):
        swept(uri, base, log)


def test_a_search_is_taken_up_with_the_same_proposals(base, uri, log, tmp_path):
    pytest.importorskip("optuna")
    search = {"ranges": {"refits": {"low": 10, "high": 50}}, "trials": 7, "seed": 4}
    other = tmp_path / "other.txt"
    whole = swept(empty_store(tmp_path / "other"), base, other, search=search)
    assert 4 < len(whole.table) <= 7
    assert asked(other) == whole.table["refits"].tolist()  # what is proposed twice is trained once
    with quick(log):
        pretend = sweeping.fit

        def fails(prepared, *rest):
            if len(asked(log)) == 5:
                raise OSError("the machine went down")
            return pretend(prepared, *rest)

        with mock.patch.object(sweeping, "fit", fails), pytest.raises(OSError, match="went down"):
            sweep(SweepConfig(base=base, search=search, workers=1), overrides=[f"tracking.uri={uri}"])
    found = swept(uri, base, log, search=search)
    assert asked(log) == asked(other)
    pd.testing.assert_frame_equal(found.table.drop(columns="run_id"), whole.table.drop(columns="run_id"))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"tuning.metod": ["grid"]}, r"candidate metod=grid: unknown key 'tuning.metod'\. Did you mean 'method'"),
        ({"refits": [10, 5]}, "candidate refits=5: key 'refits': input should be greater than or equal to 10"),
        ({"seed.part": [1]}, "'seed' holds a value, not further keys"),
        ({"features.exclude": [["agee"]]}, r"candidate exclude=agee: .*agee"),
        ({"models": [["logistic"]]}, "must contain 'prevalence'"),
        ({"tuning": [{"method": "grid"}], "tuning.method": ["grid", "none"], "tuning.trials": [5]}, None),
        (
            {"refits": [10], "explanation.rows": [50, 50.0]},
            "come to the same training .they differ in nothing that counts",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(base, uri, log, grid, message):
    if message is None:
        assert len(swept(uri, base, log, grid=grid).table) == 2
        return
    with pytest.raises(InputError, match=message):
        swept(uri, base, log, grid=grid)
    assert asked(log) == []
    assert runs_of(uri) == ([], [])


def test_models_that_the_data_do_not_allow_make_no_further_candidate(base, uri, log):
    grid = {"models": [["prevalence", "logistic"], ["prevalence", "logistic", "xgboost"]]}
    with pytest.raises(InputError, match=r"come to the same training \(Sample size .* xgboost took no part"):
        swept(uri, base, log, grid=grid)


def test_a_figure_that_does_not_compare_is_refused(base, uri, log):
    with pytest.raises(InputError, match=r"metric: 'calibration_slope' does not compare candidates.*auroc"):
        swept(uri, base, log, grid=GRID, metric="calibration_slope")


def test_limits_of_a_search_are_tried_before_anything_runs(base, uri, log):
    search = {"ranges": {"refits": {"low": 10, "high": 60}}}
    with pytest.raises(InputError, match="candidate refits=60: key 'refits': input should be less than or equal to 50"):
        swept(uri, base, log, search=search)


def test_the_command_prints_the_run_last_and_refuses_with_one_message(base, uri, log, tmp_path, capsys):
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({"base": str(base), "grid": {"refits": [10, 11]}, "workers": 1}), encoding="utf-8")
    command = ["sweep", str(path), "--set", f"tracking.uri={uri}"]
    with quick(log):
        assert main(command) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1] == runs_of(uri)[0][0].info.run_id
        path.write_text(yaml.safe_dump({"base": str(base), "grid": {"refit": [10]}}), encoding="utf-8")
        assert main(command) == 2
    assert capsys.readouterr().err == "il7ml: candidate refit=10: unknown key 'refit'. Did you mean 'refits'?\n"


def test_the_shipped_sweep_has_six_candidates():
    config = SweepConfig.from_file(PROJECT / "configs" / "sweep_il7_trial.yaml")
    plan = sweeping._plan(config, RunConfig.from_file(config.base))
    assert len({each.key for each in plan.grid}) == len({each.name for each in plan.grid}) == 6


def test_there_is_nothing_to_find_in_no_store(tmp_path):
    assert find_sweep(f"sqlite:///{tmp_path}/none/mlflow.db", "small", "key") is None
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_sweep_that_is_killed_at_any_call_ends_with_the_same_numbers(base, uri, log, tmp_path):
    warm = empty_store(tmp_path / "warm")
    process = start(killed_at_every_call, warm, uri, functools.partial(swept, base=base, log=log))
    process.join(170)
    assert process.exitcode == 0
    assert len(asked(log)) > 6  # three undisturbed, three and those that were killed
    (parent,), candidates = runs_of(uri)
    assert {run.info.status for run in all_runs(uri).values()} == {"FINISHED"}
    assert parent.info.status == "FINISHED"
    undisturbed = {run.data.tags[CANDIDATE]: run.data.metrics for run in runs_of(warm)[1]}
    assert {run.data.tags[CANDIDATE]: run.data.metrics for run in candidates} == undisturbed
    assert len(candidates) == 3
    # What was cleared away had not been complete: no candidate was trained again that was.
    place = [parent.info.experiment_id]
    deleted = client(uri).search_runs(place, run_view_type=ViewType.DELETED_ONLY)
    assert "FINISHED" not in {run.info.status for run in deleted if CANDIDATE in run.data.tags}
    tables = [
        pd.read_csv(
            mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/tables/candidates.csv", tracking_uri=at)
        )
        for at in (warm, uri)
        for run in runs_of(at)[0]
    ]
    pd.testing.assert_frame_equal(*(table.drop(columns="run_id") for table in tables))


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(base, tmp_path):
    found = [
        sweep(
            SweepConfig(base=base, grid={"refits": [10, 11]}, workers=workers),
            overrides=[f"tracking.uri={empty_store(tmp_path / str(workers))}"],
        )
        for workers in (1, 2)
    ]
    tables = [each.table.drop(columns="run_id") for each in found]
    np.testing.assert_array_equal(tables[0].columns, tables[1].columns)
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert list(tmp_path.rglob("state/*")) == []  # finished tasks are cleared away
