"""The command line from a config to an answer, with the exit codes that scripts rely on."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from io import BytesIO, TextIOWrapper

import pandas as pd
import pytest
from tests.trained_store import FAST, PROJECT, address, empty_store, trained

from il7ml import texts
from il7ml.cli import main
from il7ml.tracking import resolve_model

PATIENT = PROJECT / "data" / "il7_trial" / "patient.json"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store():
    made = trained()
    assert main(["promote", made.simulated_run, "--uri", made.uri]) == 0
    return made


def il7ml(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def patient(**changes):
    return {**json.loads(PATIENT.read_text(encoding="utf-8")), **changes}


def test_train_prints_the_run_id_last_and_the_verdicts_before(store):
    lines = store.simulated_output.strip().splitlines()
    assert re.fullmatch(r"[0-9a-f]{32}", lines[-1])
    assert lines[-2] == "model il7_trial-infection_day30 version 1"
    assert f"**{texts.SIMULATED}**" in lines
    assert any(line.startswith("- Heterogeneity of the effect: **") for line in lines)
    assert any(line.startswith("| ate | ") for line in lines)


def test_promote_says_who_is_champion(store, capsys):
    code, out, _ = il7ml(capsys, "promote", store.simulated_run, "--uri", store.uri)
    assert (code, out) == (0, "champion: il7_trial-infection_day30 version 1\n")


def test_the_champion_answers_for_the_example_patient(store, capsys):
    code, out, err = il7ml(capsys, "predict", "--uri", store.uri, "--patient", PATIENT)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == texts.SIMULATED
    assert any(line.startswith("  benefit") for line in lines)
    assert any("number needed to treat" in line for line in lines)
    assert lines[-1] == texts.INTENDED_USE


def test_the_answer_as_json_has_the_fixed_keys(store, capsys):
    code, out, _ = il7ml(capsys, "predict", "--uri", store.uri, "--patient", PATIENT, "--format", "json")
    answer = json.loads(out)
    assert code == 0
    keys = {f"{name}{end}" for name in ("risk_untreated", "risk_treated", "benefit") for end in ("", "_low", "_high")}
    assert keys | {"patient_id", "evidence", "status", "warnings"} <= set(answer)
    assert answer["notice"] == texts.SIMULATED
    assert answer["benefit"] == pytest.approx(answer["risk_untreated"] - answer["risk_treated"])
    assert answer["model"]["version"] == "1"


@pytest.mark.parametrize("form", ["run", "alias", "version", "folder"])
def test_every_way_to_name_a_model_gives_the_same_answer(store, capsys, form):
    name = "models:/il7_trial-infection_day30"
    model = {
        "run": store.simulated_run,
        "alias": f"{name}@champion",
        "version": f"{name}/1",
        "folder": resolve_model("champion", store.uri).folder,
    }[form]
    ask = ("predict", "--uri", store.uri, "--patient", PATIENT, "--format", "json")
    answers = [json.loads(il7ml(capsys, *ask, *more)[1]) for more in ((), ("--model", model))]
    for answer in answers:
        answer["model"].pop("version")
    assert answers[0] == answers[1]


def test_a_table_gets_a_status_for_each_row(store, capsys, tmp_path):
    rows = [patient(patient_id="a"), patient(patient_id="b", age=300), patient(patient_id="c", age=85)]
    pd.DataFrame(rows).to_csv(tmp_path / "in.csv", index=False)
    code, out, _ = il7ml(
        capsys, "predict", "--uri", store.uri, "--in", tmp_path / "in.csv", "--out", tmp_path / "out.parquet"
    )
    assert code == 0
    assert out.splitlines()[0] == texts.SIMULATED
    answers = pd.read_parquet(tmp_path / "out.parquet")
    assert answers["patient_id"].tolist() == ["a", "b", "c"]
    assert answers["status"].tolist() == ["ok", "error", "out_of_scope"]
    assert (answers["notice"] == texts.SIMULATED).all()
    single = json.loads(il7ml(capsys, "predict", "--uri", store.uri, "--patient", PATIENT, "--format", "json")[1])
    assert answers.loc[0, "benefit"] == pytest.approx(single["benefit"])


def test_a_patient_from_standard_input(store, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(PATIENT.read_bytes())))
    code, out, _ = il7ml(capsys, "predict", "--uri", store.uri, "--patient", "-")
    assert code == 0
    assert out == il7ml(capsys, "predict", "--uri", store.uri, "--patient", PATIENT)[1]


# Exit codes, each with one clear message and no traceback.


def expect(capsys, code, message, *arguments):
    found, out, err = il7ml(capsys, *arguments)
    assert found == code
    assert message in err
    assert err.startswith("il7ml: ")
    assert "Traceback" not in err
    assert out == ""
    return err


def test_bad_input_is_exit_code_2(store, capsys, tmp_path):
    path = tmp_path / "patient.json"
    ask = ("predict", "--uri", store.uri, "--patient", path)
    for change, message in (
        ({"age": 4711}, "age: impossible value"),
        ({"absolute_lymphocyte_count": 4711}, "Did you mean cells/uL?"),
        ({"agee": 4711}, "Did you mean 'age'?"),
        ({"respiratory_support": "4711"}, "expected one of"),
    ):
        path.write_text(json.dumps(patient(**change)))
        assert "4711" not in expect(capsys, 2, message, *ask)
    path.write_text("{")
    expect(capsys, 2, "not valid JSON", *ask)
    path.write_text("[1]")
    expect(capsys, 2, "expected one JSON object", *ask)
    expect(capsys, 2, "cannot be read", "predict", "--uri", store.uri, "--patient", tmp_path / "nowhere.json")
    expect(capsys, 2, "go together", "predict", "--in", path)
    expect(
        capsys, 2, "is not in the store", "predict", "--uri", store.uri, "--model", "models:/x@y", "--patient", PATIENT
    )
    expect(capsys, 2, "no tracking store at", "predict", "--uri", address(tmp_path), "--patient", PATIENT)
    expect(capsys, 2, "expected sqlite:///", "predict", "--uri", "mlruns", "--patient", PATIENT)


def test_a_bad_config_is_exit_code_2(capsys, tmp_path):
    config = PROJECT / "configs" / "cgd.yaml"
    train = ("train", config, "--set")
    expect(capsys, 2, "Did you mean 'validation'?", *train, "validatoin.folds=3")
    expect(capsys, 2, "tracking.uri: expected sqlite:///", *train, f"tracking.uri={tmp_path}")
    expect(capsys, 2, "no endpoint 'infection'", *train, "endpoint=infection")
    expect(capsys, 2, "known only after randomisation", *train, "features.include=[age, follow_up_days]")
    expect(capsys, 2, "cannot be read", "train", tmp_path / "nowhere.yaml")
    assert list(tmp_path.iterdir()) == []


def test_out_of_scope_is_exit_code_3_with_the_untreated_risk(store, capsys, tmp_path):
    path = tmp_path / "patient.json"
    path.write_text(json.dumps(patient(age=85)))
    code, out, err = il7ml(capsys, "predict", "--uri", store.uri, "--patient", path, "--format", "json")
    answer = json.loads(out)
    assert (code, err) == (3, "")
    assert answer["status"] == "out_of_scope"
    assert answer["benefit"] is None
    assert answer["risk_untreated"] is not None
    assert answer["notice"] == texts.SIMULATED


def test_an_altered_bundle_in_the_store_is_exit_code_4(capsys, tmp_path, store):
    folder = tmp_path / "bundle"
    shutil.copytree(resolve_model("champion", store.uri).folder, folder)
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    (folder / "card.json").write_text(json.dumps({**card, "simulated": False}), encoding="utf-8")
    expect(capsys, 4, "card.json was altered", "predict", "--model", folder, "--patient", PATIENT)


def test_the_whole_road_from_a_folder_of_the_users_own(tmp_path, monkeypatch, capsys):
    """Simulate, train, promote and predict outside the project; the store is the one of the current folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    empty_store(tmp_path)
    (tmp_path / "run.yaml").write_text("study: trial/study.yaml\nendpoint: infection_or_death_day30\nseed: 1\n")
    (tmp_path / "patient.json").write_text(json.dumps({"age": 62, "absolute_lymphocyte_count": 0.46}))
    assert il7ml(capsys, "simulate", "--n", 60, "--seed", 3, "--out", "trial", "--format", "csv")[0] == 0
    settings = (
        *FAST,
        "models=[prevalence, lymphocyte]",
        "effect.learners=[effect_model]",
        "features.include=[age, absolute_lymphocyte_count]",
    )
    code, out, err = il7ml(capsys, "train", "run.yaml", *(part for setting in settings for part in ("--set", setting)))
    assert code == 0
    assert "cross-validation: 100 %" in err
    assert il7ml(capsys, "promote", out.split()[-1])[0] == 0
    assert {path.name for path in (tmp_path / "mlruns").iterdir()} == {"mlflow.db", "artifacts"}
    command = [sys.executable, "-m", "il7ml", "predict", "--patient", "patient.json"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith(texts.SIMULATED)
    assert answer.stdout == il7ml(capsys, "predict", "--patient", "patient.json")[1]


def test_the_demonstration_goes_the_same_road(store, monkeypatch, capsys):
    """Its trainings are replaced by those of the store, which differ in the resampling only."""
    started = []

    def trained_before(config, *, steps, root):
        started.append(config)
        simulated = config.study.parent.name == "il7_trial"
        return dataclasses.replace(store.real, run_id=store.simulated_run) if simulated else store.real

    monkeypatch.setattr("il7ml.training.train", trained_before)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    monkeypatch.chdir(PROJECT)
    code, out, _ = il7ml(capsys, "demo", "--fast")
    assert code == 0
    commands = [line for line in out.splitlines() if line.startswith("$ ")]
    assert commands == [
        "$ il7ml train configs/cgd.yaml",
        f"$ il7ml promote {store.real.run_id}",
        "$ il7ml train configs/il7_trial.yaml",
        f"$ il7ml promote {store.simulated_run}",
        "$ il7ml predict --patient data/il7_trial/patient.json",
    ]
    assert [config.validation.repeats for config in started] == [2, 2]
    assert texts.SIMULATED in out.split(commands[-1])[1].splitlines()
    assert "heterogeneity: none" in out


def test_the_demonstration_needs_the_projects_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    expect(capsys, 2, "Run it in the project's folder", "demo")
