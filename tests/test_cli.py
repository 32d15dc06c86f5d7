from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from il7ml import __version__, texts
from il7ml.cli import main
from il7ml.config import RunConfig
from il7ml.data.loading import load_cohort
from il7ml.errors import BundleRefusedError, DataError, InputError
from il7ml.progress import report
from il7ml.training import prepare

ROOT = Path(__file__).parents[1]


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(capsys, *arguments, code=2):
    """Run a command that must be refused with one message on standard error, and return the message."""
    assert main([str(argument) for argument in arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("il7ml: ")
    assert len(re.findall("^il7ml: ", err, re.MULTILINE)) == 1
    assert "Traceback" not in err
    return err.removeprefix("il7ml: ").removesuffix("\n")


# --- Bad data: the same message from Python, `check` and `train` -----------------------------------------------------

SECRET = 87654.25  # a patient's value that no message may show


def wrong_unit(study):
    study.raw["variables"]["absolute_lymphocyte_count"]["unit"] = "10^9/L"


def impossible_value(study):
    study.patients["age"] = study.patients["age"].astype(float)
    study.patients.loc[3, "age"] = SECRET


def one_arm_only(study):
    study.patients["arm"] = "placebo"


def constant_feature(study):
    study.patients["crp"] = SECRET / 100


def all_missing_feature(study):
    study.patients["crp"] = np.nan


def duplicate_patient(study):
    study.patients = pd.concat([study.patients, study.patients.iloc[[4]]])


def outcome_missing(study):
    study.patients["infected"] = study.patients["infected"].astype(float)
    study.patients.loc[[1, 2], "infected"] = np.nan


def missing_column(study):
    study.patients = study.patients.rename(columns={"alc": "acl"})


def too_few(study):
    study.patients = study.patients.iloc[:19].assign(crp=np.arange(19) + 20.0)
    study.events = study.events[study.events["patient_id"].isin(study.patients["patient_id"])]


def stranger(study):
    study.events.loc[0, "patient_id"] = "Q9999"


DATA_FAULTS = {
    wrong_unit: "patients.csv: alc: values make no sense in 10^9/L, they look like cells/uL. "
    "Set variables.absolute_lymphocyte_count.unit: cells/uL.",
    impossible_value: "patients.csv: age: impossible value (expected 0 to 120 years) (1 row). "
    "Mend it, or set it missing.",
    one_arm_only: "patients.csv: arm: one arm only: no patient of arm Drug. Expected drug. Two arms are needed.",
    constant_feature: "patients.csv: crp: constant: all known values are the same. "
    "Take c_reactive_protein out of the study file's variables.",
    all_missing_feature: "patients.csv: crp: all values are missing. "
    "Take c_reactive_protein out of the study file's variables.",
    duplicate_patient: "patients.csv: patient_id: duplicate patient: one row a patient is expected (2 rows). "
    "Keep one row each.",
    outcome_missing: "patients.csv: infected: outcome is missing (2 rows). "
    "Complete it, or set endpoints.infected.missing: weight.",
    missing_column: "patients.csv: alc: column is missing. Did you mean 'acl'? Mend the study file or the table.",
    too_few: "patients.csv: 19 patients in the two arms, at least 20 are needed. "
    "Bring more patients together; models cannot be judged on fewer.",
    stranger: "events.csv: patient_id: event of a patient who is not in the patients table (1 row). Mend it.",
}


@pytest.mark.parametrize("fault", DATA_FAULTS, ids=lambda fault: fault.__name__)
def test_bad_data_gives_one_message_everywhere_and_writes_nothing(small_study, capsys, fault):
    fault(small_study)
    path = small_study.write()
    config = small_study.config()
    before = tree(small_study.folder)
    with pytest.raises(DataError) as from_load:
        load_cohort(path)
    with pytest.raises(DataError) as from_prepare:
        prepare(RunConfig.from_file(config))
    message = f"1 problem in the data:\n  - {DATA_FAULTS[fault]}"
    assert str(from_load.value) == str(from_prepare.value) == message
    assert refused(capsys, "check", path) == message
    assert refused(capsys, "check", small_study.folder) == message
    assert refused(capsys, "train", config) == message
    assert tree(small_study.folder) == before
    assert not any(identifier in message for identifier in [*small_study.patients["patient_id"], "Q9999", "87654"])


def test_missing_tables_are_named(small_study, capsys):
    config = small_study.config()
    (small_study.folder / "patients.csv").unlink()
    message = refused(capsys, "train", config)
    place = small_study.folder / "patients.csv"
    assert message == f"1 problem in the data:\n  - patients.csv: no such file ({place}). Check the path."
    assert refused(capsys, "check", small_study.folder) == message


def test_several_problems_are_listed_line_by_line(small_study, capsys):
    impossible_value(small_study)
    outcome_missing(small_study)
    message = refused(capsys, "check", small_study.write())
    assert message.split("\n") == [
        "2 problems in the data:",
        f"  - {DATA_FAULTS[impossible_value]}",
        f"  - {DATA_FAULTS[outcome_missing]}",
    ]


# --- Bad requests: the same message from Python and `train` ----------------------------------------------------------


def no_events(study):
    study.patients["infected"] = 0


def all_events(study):
    study.patients["infected"] = 1


def nothing(study):
    pass


REQUEST_FAULTS = [
    (no_events, {}, "endpoint 'infected': no events in arm Placebo, so neither risk nor effect can be estimated. "),
    (all_events, {}, "endpoint 'infected': all patients of arm Placebo have the event, so nothing can be predicted. "),
    (nothing, {"sed": 1}, "run.yaml: unknown key 'sed'. Did you mean 'seed'?"),
    (nothing, {"validation": {"fold": 3}}, "run.yaml: unknown key 'validation.fold'. Did you mean 'folds'?"),
    (nothing, {"models": ["prevalence", "logistik"]}, "run.yaml: key 'models.1': input should be 'prevalence', "),
    (nothing, {"study": "stduy.yaml"}, "stduy.yaml cannot be read: No such file or directory. Check the path."),
    (nothing, {"endpoint": "infectd"}, "study small has no endpoint 'infectd'. Did you mean 'infected'?"),
    (nothing, {"features": {"include": ["aeg"]}}, "study small has no variable 'aeg'. Did you mean 'age'?"),
    (
        nothing,
        {"features": {"include": ["age", "c_reactive_protein_day7"]}},
        "features.include: c_reactive_protein_day7 (C-reactive protein on day 7) is known only after randomisation, ",
    ),
    (
        nothing,
        {"features": {"include": ["age", "crp7"]}},
        "features.include: crp7 (C-reactive protein on day 7) is known only after randomisation, so it cannot ",
    ),
    (nothing, {"features": {"include": ["infected"]}}, "features.include: study small has no variable 'infected'."),
]


@pytest.mark.parametrize(("change", "keys", "message"), REQUEST_FAULTS, ids=range(len(REQUEST_FAULTS)))
def test_bad_requests_give_one_message_and_write_nothing(small_study, capsys, change, keys, message):
    change(small_study)
    small_study.write()
    config = small_study.config(**keys)
    before = tree(small_study.folder)
    with pytest.raises(InputError) as caught:
        prepare(RunConfig.from_file(config))
    assert message in str(caught.value)
    assert refused(capsys, "train", config) == str(caught.value)
    assert tree(small_study.folder) == before
    assert not any(identifier in str(caught.value) for identifier in small_study.patients["patient_id"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sed=1", "run.yaml: unknown key 'sed'. Did you mean 'seed'?"),
        ("seed", "--set expects key=value, got 'seed'. Example: --set validation.folds=5"),
        ("features.include=[crp7]", "features.include: crp7 (C-reactive protein on day 7) is known only after"),
        ("endpoint=none", "study small has no endpoint 'none'. Known: "),
    ],
)
def test_settings_are_checked_like_the_file(small_study, capsys, override, message):
    config = small_study.config()
    before = tree(small_study.folder)
    assert message in refused(capsys, "train", config, "--set", override)
    assert tree(small_study.folder) == before


def test_a_config_that_is_not_there_is_refused(tmp_path, capsys):
    message = refused(capsys, "train", tmp_path / "none.yaml")
    assert message == f"config {tmp_path / 'none.yaml'} cannot be read: No such file or directory. Check the path."


# --- Strange files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "patients.csv: the file is empty. Expected a header and rows."),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "patients.csv: it is not UTF-8 text."),
        (b"PK\x03\x04\x00\x00\x00", "patients.csv: none of the study's columns is in the table."),
        (b"patient_id;arm;age\nZebulon;drug;41,5\n", "patients.csv: the fields are separated by semicolons"),
        (b"patient_id,arm,age,age\nZebulon,drug,41,41\n", "patients.csv: columns 3 and 4 have the same name."),
        (b"patient_id,arm\nZebulon,drug,41\n", "patients.csv: rows with fewer or more fields than the header's 2"),
        (b"Zebulon,drug,41\nHabakuk,placebo,57\n", "patients.csv: none of the study's columns is in the table."),
        (b"patient_id,arm\n", "patients.csv: the table has no rows. Export it again."),
    ],
)
def test_strange_tables_give_one_message_without_a_patient(small_study, capsys, content, message):
    (small_study.folder / "patients.csv").write_bytes(content)
    found = refused(capsys, "check", small_study.folder)
    assert found.startswith(f"1 problem in the data:\n  - {message}")
    assert found.count("\n") == 1
    assert "Zebulon" not in found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected keys with values, found nothing"),
        (b"- name\n", "expected keys with values, found list"),
        (b"name: x\n\ttitle: y\n", "is not valid YAML (line 2)"),
        (b"\xff\xfe\x00", "it is not UTF-8 text"),
    ],
)
def test_strange_study_files_give_one_message(small_study, capsys, content, message):
    (small_study.folder / "study.yaml").write_bytes(content)
    assert message in refused(capsys, "check", small_study.folder)


def test_places_that_hold_no_study_give_one_message(tmp_path, capsys):
    assert "No such file" in refused(capsys, "check", tmp_path)
    assert "No such file" in refused(capsys, "check", tmp_path / "none")
    assert "File name too long" in refused(capsys, "check", tmp_path / ("x" * 300))
    (tmp_path / "study.yaml").mkdir()
    assert "Is a directory" in refused(capsys, "check", tmp_path)


# --- What each command does ------------------------------------------------------------------------------------------


def test_check_prints_the_description(small_study, capsys):
    assert main(["check", str(small_study.folder)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("A small trial\n60 patients in the table")
    assert err == ""


def test_simulate_says_so_and_names_what_it_wrote(tmp_path, capsys):
    out, truth = tmp_path / "trial", tmp_path / "truth"
    assert main(["simulate", "--n", "40", "--out", str(out), "--truth", str(truth), "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Simulated patients: demonstration only, not for any patient."
    assert lines[1:] == [str(out / f"{name}.csv") for name in ("patients", "labs", "events")] + [
        str(out / "study.yaml"),
        str(truth / "truth.csv"),
    ]
    assert main(["check", str(out)]) == 0
    assert capsys.readouterr().out.startswith(texts.SIMULATED)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n", "19"], "n: expected at least 20 patients, got 19."),
        (["--seed", "-1"], "seed: expected a number from 0, got -1."),
        (["--scenario", "publisht"], "scenario 'publisht' is not known. Did you mean 'published'?"),
        (["--truth", "out"], "--truth: expected another folder than --out."),
    ],
)
def test_simulate_refuses_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, "simulate", "--out", "out", *arguments)
    assert not list(tmp_path.iterdir())


def test_analyze_compares_every_endpoint_and_writes_the_table(small_study, tmp_path, capsys):
    assert main(["analyze", str(small_study.config()), "--out", str(tmp_path / "results")]) == 0
    table = pd.read_csv(tmp_path / "results" / "endpoints.csv")
    assert set(table["endpoint"]) == set(small_study.raw["endpoints"])
    assert "Drug (30) against Placebo (30)" in capsys.readouterr().out


def test_analyze_refuses_a_covariate_that_is_not_known_at_baseline(small_study, tmp_path, capsys):
    path = small_study.config(analysis={"covariates": ["c_reactive_protein_day7"]})
    assert "no baseline variable 'c_reactive_protein_day7'" in refused(
        capsys, "analyze", path, "--out", tmp_path / "results"
    )
    assert not (tmp_path / "results").exists()


class Predictor:
    """Stands for a loaded model: answers what the patient says."""

    simulated = True
    notice = texts.SIMULATED

    def predict(self, patient):
        return SimpleNamespace(
            status=patient.get("status", "ok"), to_dict=lambda: patient, to_text=lambda: f"{texts.SIMULATED}\n{patient}"
        )

    def predict_file(self, source, target):
        return {"ok": 3, "error": 1}


@pytest.fixture
def models(monkeypatch):
    """Put the stand-in in the place of every model, and return the names that were asked for."""
    asked = []

    def load(model, uri=None):
        asked.append((model, uri))
        return Predictor()

    monkeypatch.setattr("il7ml.predictor.load_predictor", load)
    return asked


def test_predict_asks_the_champion_by_default(tmp_path, capsys, models):
    path = tmp_path / "patient.json"
    path.write_text('{"age": 61, "name": "ä"}', encoding="utf-8")
    assert main(["predict", "--patient", str(path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"age": 61, "name": "ä"}
    assert main(["predict", "--model", "a/folder", "--uri", "sqlite:///x.db", "--patient", str(path)]) == 0
    assert capsys.readouterr().out.startswith(texts.SIMULATED)
    assert models == [("champion", None), ("a/folder", "sqlite:///x.db")]


def test_predict_reads_standard_input_and_says_out_of_scope_by_its_code(monkeypatch, capsys, models):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"status": "out_of_scope"}')))
    assert main(["predict", "--patient", "-"]) == 3
    assert "out_of_scope" in capsys.readouterr().out


def test_predict_of_a_table_counts_the_answers(capsys, models):
    assert main(["predict", "--in", "in.csv", "--out", "out.csv"]) == 0
    assert capsys.readouterr().out == f"{texts.SIMULATED}\n3 ok, 1 error -> out.csv\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not valid JSON in UTF-8. Expected an object of variables and values."),
        (b'{"age": NaN}', "NaN and infinity are not JSON. Leave a missing value out, or give null."),
        (b'{"age": 61, "age": 62}', "a key stands twice in one JSON object. Keep one."),
        (b'{"patient_id": {"age": 61}}', "patient_id: expected text or a whole number, got an object."),
        (b"[" * 100_000, "not valid JSON"),
        (b"[1, 2]", "expected one JSON object of variables and values, got an array."),
        (b"null", "expected one JSON object of variables and values, got null."),
        (b"", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON in UTF-8"),
    ],
)
def test_patients_that_cannot_be_read_are_refused(tmp_path, capsys, models, content, message):
    path = tmp_path / "patient.json"
    path.write_bytes(content)
    assert message in refused(capsys, "predict", "--patient", path)


def test_patients_that_are_not_there_are_refused(tmp_path, capsys, models):
    assert "cannot be read (No such file or directory)" in refused(capsys, "predict", "--patient", tmp_path / "none")
    assert "cannot be read (Is a directory)" in refused(capsys, "predict", "--patient", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --patient FILE.json, --in TABLE with --out TABLE, and --interactive"),
        (["--patient", "a", "--in", "b", "--out", "c"], "give one of --patient FILE.json, --in TABLE"),
        (["--patient", "a", "--interactive"], "give one of --patient FILE.json, --in TABLE"),
        (["--in", "b"], "--in TABLE and --out TABLE go together"),
        (["--patient", "a", "--out", "c"], "--in TABLE and --out TABLE go together"),
    ],
)
def test_predict_needs_a_patient_or_a_table(capsys, arguments, message):
    assert message in refused(capsys, "predict", *arguments)


# --- Exit codes ------------------------------------------------------------------------------------------------------


def failing_check(monkeypatch, error):
    def check(study):
        raise error

    monkeypatch.setattr("il7ml.checking.check", check)


def test_a_refused_bundle_has_its_own_code(monkeypatch, capsys):
    failing_check(monkeypatch, BundleRefusedError("altered"))
    assert refused(capsys, "check", "x", code=4) == "altered"


def test_an_unexpected_failure_is_our_fault_and_shows_no_value(monkeypatch, capsys):
    monkeypatch.delenv("IL7ML_DEBUG", raising=False)
    failing_check(monkeypatch, KeyError("Zebulon"))
    message = refused(capsys, "check", "x", code=1)
    assert message.startswith("failed unexpectedly (KeyError). This is a fault of il7ml")
    assert "Zebulon" not in message
    monkeypatch.setenv("IL7ML_DEBUG", "1")
    with pytest.raises(KeyError):
        main(["check", "x"])


def test_an_interruption_is_said(monkeypatch, capsys):
    failing_check(monkeypatch, KeyboardInterrupt())
    assert refused(capsys, "check", "x", code=130).startswith("interrupted")


@pytest.mark.parametrize("arguments", [[], ["chek"], ["check"], ["simulate"], ["simulate", "--n", "x", "--out", "y"]])
def test_wrong_usage_has_exit_code_2(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: il7ml" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"il7ml {__version__}\n"


def test_a_reader_that_leaves_is_no_failure(small_study):
    # Python's own buffering, as in a shell's pipe.
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-m", "il7ml", "check", str(small_study.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(timeout=60) == 0
    assert err == b""


# --- Help ------------------------------------------------------------------------------------------------------------

_HELP = """
import contextlib, io, json, re, sys
from il7ml.cli import main

def asked(*arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main([*arguments, "--help"])
    return out.getvalue()

pages = {"": asked()}
pages |= {name: asked(name) for name in re.findall(r"^    ([a-z]+)", pages[""], re.MULTILINE)}
print(json.dumps({"pages": pages, "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def help_pages():
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100"}
    done = subprocess.run([sys.executable, "-c", _HELP], capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout)


def test_help_shows_every_command_with_a_runnable_example(help_pages):
    pages = help_pages["pages"]
    assert set(pages) >= {"check", "simulate", "train", "analyze", "predict", "promote", "ui"}
    assert "il7ml check data/il7_trial/study.yaml" in pages.pop("")
    for name, page in pages.items():
        assert re.search(rf"^Example: il7ml {name}\b", page, re.MULTILINE), name


def test_examples_are_understood(help_pages, monkeypatch):
    monkeypatch.chdir(ROOT)
    calls = []
    for name in filter(None, help_pages["pages"]):
        if name != "store":  # has commands of its own
            monkeypatch.setattr(f"il7ml.cli._{name}", lambda arguments: calls.append(arguments) or 0)
    monkeypatch.setattr("il7ml.cli._store_check", lambda arguments: calls.append(arguments) or 0)
    examples = re.findall(r"^Example: il7ml (.+)$", "\n".join(help_pages["pages"].values()), re.MULTILINE)
    for example in examples:
        assert main(shlex.split(example)) == 0
    assert len(calls) == len(examples) >= 7
    for arguments in calls:
        for name in ("study", "config", "patient"):
            path = getattr(arguments, name, None)
            assert path is None or Path(path).exists()


def test_help_loads_nothing_heavy(help_pages):
    roots = {name.partition(".")[0] for name in help_pages["modules"]}
    heavy = {"pandas", "numpy", "scipy", "sklearn", "mlflow", "pydantic", "yaml", "xgboost", "shap", "matplotlib"}
    assert not roots & heavy


# --- Progress --------------------------------------------------------------------------------------------------------


def test_progress_is_a_line_every_quarter_without_a_terminal(capsys):
    with report("folds") as progress:
        for done in range(1, 11):
            progress(done, 10)
    assert capsys.readouterr().err == "folds: 30 %\nfolds: 50 %\nfolds: 80 %\nfolds: 100 %\n"


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    with report("folds") as progress:
        progress(1, 2)
        progress(2, 2)
    assert "folds:  50%|" in terminal.getvalue()
    assert "folds: 100%|" in terminal.getvalue()


def test_shipped_configs_can_be_asked_for_what_is_known_only_later(capsys, tmp_path):
    """The trap of each real trial: a column known only after randomisation."""
    store = f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    for name, column in (("cgd", "futime"), ("actg175", "cd420"), ("actg175", "offtrt")):
        config = ROOT / "configs" / f"{name}.yaml"
        message = refused(capsys, "train", config, "--set", store, "--set", f"features.include=[age, {column}]")
        assert f"features.include: {column} (" in message
        assert "is known only after randomisation" in message
        later = yaml.safe_load((ROOT / "data" / name / "study.yaml").read_text(encoding="utf-8"))["variables"]
        canonical = next(key for key, entry in later.items() if entry and entry.get("column") == column)
        message = refused(capsys, "train", config, "--set", store, "--set", f"features.include=[age, {canonical}]")
        assert f"features.include: {canonical} (" in message
    assert not list(tmp_path.iterdir())
