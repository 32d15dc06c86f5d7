"""A training on tables in parts against the same patients in memory."""

import json
from contextlib import contextmanager

import mlflow
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from tests.models.test_device import has_gpu

from il7ml.cli import main
from il7ml.comparing import compare_runs
from il7ml.config import RunConfig
from il7ml.data.generator import simulate_tables
from il7ml.data.simulator import write_trial
from il7ml.data.study import load_study
from il7ml.errors import InputError
from il7ml.models import streamed_trees
from il7ml.models.final import fit_whole
from il7ml.predictor import Predictor
from il7ml.state import State
from il7ml.streaming import is_streamed, learn_whole, read_whole, scratch_folder
from il7ml.tracking import resolve_model
from il7ml.tracking.process import this_process
from il7ml.training import prepare, retrain, train

N = 900
QUICK = {
    "endpoint": "infection_day30",
    "beside": ["death_day30"],
    "features": {"include": ["age", "sofa_score", "respiratory_support", "absolute_lymphocyte_count", "ferritin"]},
    "acknowledge_small_sample": True,
    "validation": {"repeats": 2, "bootstrap": 50, "refits": 10},
    "effect": {"learners": ["effect_model"], "permutations": 200, "repeats": 1},
    "explanation": {"rows": 10},
    "workers": 1,
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """Return a folder with a simulated trial at once (`whole`) and cut into 3 and 5 parts."""
    folder = tmp_path_factory.mktemp("registry")
    write_trial(N, 4, "published", folder / "whole")
    text = (folder / "whole" / "study.yaml").read_text()
    tables = simulate_tables(N, 4)
    for parts in (3, 5):
        for number, ids in enumerate(np.array_split(tables.patients["patient_id"], parts)):
            for name in ("patients", "events"):
                table = getattr(tables, name)
                (folder / f"{parts}" / name).mkdir(parents=True, exist_ok=True)
                file = folder / f"{parts}" / name / f"part-{number}.parquet"
                table[table["patient_id"].isin(ids)].to_parquet(file, index=False)
        (folder / f"{parts}" / "study.yaml").write_text(text.replace(".parquet", ""))
    return folder


def config(registry, parts, store, **settings):
    tracking = {"uri": f"sqlite:///{store}/mlflow.db"}
    everything = {**QUICK, "streaming": {"above": 100, "sample": 500}, "tracking": tracking, **settings}
    return RunConfig(study=registry / parts / "study.yaml", **everything)


@pytest.fixture(scope="module")
def trained(registry, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    return train(config(registry, "3", store)), store


@contextmanager
def reading(registry, parts, store, **settings):
    """Give what a training of tables in parts begins with, and what it does with all patients."""
    wanted = config(registry, parts, store, **settings)
    with scratch_folder(store / "streamed") as scratch:
        whole, sample = read_whole(load_study(wanted.study), wanted, scratch)
        prepared = prepare(wanted, sample, whole)

        def learn(state=None):
            return learn_whole(whole, prepared.setting, prepared.config, threads=wanted.workers, state=state)

        yield whole, learn


def same(one, other):
    assert one.selection.name == other.selection.name
    pd.testing.assert_frame_equal(one.figures, other.figures, check_exact=True)
    pd.testing.assert_frame_equal(one.adjusted, other.adjusted, check_exact=True)
    np.testing.assert_array_equal(one.scores.effect, other.scores.effect)
    for name, predicted in one.out_of_fold.untreated.items():
        np.testing.assert_array_equal(predicted, other.out_of_fold.untreated[name])


def test_parts_and_workers_change_nothing(registry, tmp_path):
    found = []
    for parts, workers in (("3", 1), ("5", 2)):
        with reading(registry, parts, tmp_path, workers=workers) as (whole, learn):
            found.append((whole.digest, whole.rows.tolist(), learn()))
    assert found[0][:2] == found[1][:2]
    same(found[0][2], found[1][2])


@pytest.mark.slow
def test_what_all_patients_say_is_what_they_say_in_memory(registry, trained):
    streamed = trained[0].result
    whole = prepare(config(registry, "whole", registry / "none"))
    assert streamed.counts["n"] == N
    assert streamed.counts["events"] == whole.outcome.events
    assert streamed.sample_size == whole.size.text
    y, arm = whole.outcome.y, whole.cohort.treatment
    unadjusted = streamed.tables["average_effect"].query("method == 'unadjusted' and scale == 'difference'")
    assert unadjusted["estimate"].item() == pytest.approx(y[arm == 1].mean() - y[arm == 0].mean())
    # The adjustment differs by the folds only.
    error = unadjusted["std_error"].item()
    assert streamed.metrics["ate"].value == pytest.approx(unadjusted["estimate"].item(), abs=1.5 * error)
    assert streamed.metrics["ate"].high - streamed.metrics["ate"].low < 2.05 * 1.96 * error
    # The final model is that of the patients in memory.
    model = fit_whole(streamed.selected, whole.sample, whole.setting)
    bundle = streamed.bundle
    np.testing.assert_allclose(
        bundle.risk.linear_predictor(whole.columns, N), model.fitted_.linear_predictor(whole.columns, N), atol=1e-4
    )
    assert (bundle.card.n, bundle.card.events) == (N, whole.outcome.events)
    beside = bundle.card.beside[0]
    died = whole.cohort.outcomes["death_day30"].value
    assert beside.treated.value == pytest.approx(died[arm == 1].mean())


@pytest.mark.slow
def test_predictions_carry_the_average_effect_of_all(registry, trained):
    result, bundle = trained[0].result, trained[0].result.bundle
    whole = prepare(config(registry, "whole", registry / "none"))
    linear = bundle.risk.linear_predictor(whole.columns, N)
    carried = (expit(linear + bundle.card.theta) - expit(linear)).mean()
    assert carried == pytest.approx(result.metrics["ate"].value, abs=1e-6)
    spread = [
        (expit(each.linear_predictor(whole.columns, N) + theta) - expit(linear)).mean()
        for each, theta in zip(bundle.refits.models, bundle.refits.theta, strict=True)
    ]
    error = (result.metrics["ate"].high - result.metrics["ate"].low) / (2 * 1.96)
    assert len(spread) == 4
    assert 0 < np.std(spread, ddof=1) < 3 * error
    answers = Predictor(bundle).predict_table(whole.cohort.baseline)
    known = whole.cohort.baseline["absolute_lymphocyte_count"].notna()
    assert (answers["status"] == np.where(known, "ok", "error")).all()


@pytest.mark.slow
def test_the_figures_are_those_of_all_and_their_intervals_the_samples_narrowed(trained):
    table = trained[0].result.tables["risk_metrics"].set_index(["model", "metric"])
    row = table.loc[("logistic", "auroc")]
    # Hanley and McNeil's standard error of an area, from all patients.
    area, events = row["estimate"], trained[0].result.counts["events"]
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (events - 1) * (q1 - area**2) + (N - events - 1) * (q2 - area**2)
    error = np.sqrt(variance / (events * (N - events)))
    assert (row["high"] - row["low"]) / (2 * 1.96) == pytest.approx(error, rel=0.35)


@pytest.mark.slow
def test_the_run_says_what_was_not_done_and_can_be_used(trained):
    run, store = trained
    (note,) = [note for note in run.result.notes if note.startswith("Trained part by part on 900 patients")]
    assert "Not done at this size" in note
    assert not {"risk_corrected", "learning_curve"} & set(run.result.tables)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow.db")
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert resolve_model(run.run_id, f"sqlite:///{store}/mlflow.db").folder.is_dir()
    assert not list(store.glob("streamed/*"))
    assert not (store / "state").exists()
    assert not retrain(run.run_id, uri=f"sqlite:///{store}/mlflow.db").differing
    with pytest.raises(InputError, match="was trained part by part"):
        compare_runs(run.run_id, run.run_id, uri=f"sqlite:///{store}/mlflow.db")


class Killed(BaseException):
    """Stands for the process's end."""


def test_a_killed_training_takes_up_the_trees_that_are_finished(registry, tmp_path, monkeypatch):
    fitted, fit_trees = [], streamed_trees._train

    def killed(*arguments):
        if len(fitted) == 3:
            raise Killed
        fitted.append(1)
        return fit_trees(*arguments)

    with reading(registry, "3", tmp_path) as (_, learn):
        undisturbed = learn()
    state = State(tmp_path / "state" / "run")
    with monkeypatch.context() as patch:
        patch.setattr(streamed_trees, "_train", killed)
        with pytest.raises(Killed), reading(registry, "3", tmp_path) as (_, learn):
            learn(state)
    assert len(list(state.folder.glob("streamed xgboost/*.npz"))) == 3
    assert not (tmp_path / "streamed").exists()
    monkeypatch.setattr(streamed_trees, "_train", counted := Counted(fit_trees))
    with reading(registry, "3", tmp_path) as (_, learn):
        same(learn(state), undisturbed)
    assert counted.calls == 2


class Counted:
    """A function that counts its calls."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.function(*arguments)


def test_what_a_killed_training_left_on_disk_is_removed_by_the_next(tmp_path):
    mine = this_process()
    for name, mark in (("columns-gone", mine._replace(started="0")), ("columns-other", mine)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "process.json").write_text(json.dumps(mark))
    with scratch_folder(tmp_path) as folder:
        assert {path.name for path in tmp_path.iterdir()} == {"columns-other", folder.name}
    assert {path.name for path in tmp_path.iterdir()} == {"columns-other"}


def test_few_rows_and_single_files_are_read_at_once(registry, tmp_path):
    for parts, above, expected in (("3", 100, True), ("3", N, False), ("whole", 0, False)):
        settings = config(registry, parts, tmp_path, streaming={"above": above})
        assert is_streamed(settings, load_study(settings.study)) is expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"models": ["prevalence", "stack"]}, "models: stack cannot be trained part by part"),
        ({"tuning": {"method": "grid"}}, "tuning.method: grid cannot search part by part"),
    ],
)
def test_what_cannot_be_done_part_by_part_is_refused_before_anything_is_read(registry, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        train(config(registry, "3", tmp_path, **settings))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", [["--set", "device=cuda"], ["--set", "models=[prevalence, firth]"]])
@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_the_command_line_says_so_in_one_line(registry, tmp_path, order, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(config(registry, "3", tmp_path).to_yaml())
    assert main(["train", str(tmp_path / "run.yaml"), *order]) == 2
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert "Traceback" not in error
