"""The built wheel, without the source tree, runs the command line and predicts from a bundle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True)
    [path] = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(wheel: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # The wheel's folder comes before the editable install, and the current folder is not the project's.
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from il7ml.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, str(wheel), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ})


def test_the_wheel_holds_the_data_files_and_nothing_from_outside(wheel: Path) -> None:
    names = {str(path.relative_to(wheel)) for path in wheel.rglob("*") if path.is_file()}
    assert {
        "il7ml/py.typed",
        "il7ml/dictionary.yaml",
        "il7ml/data/il7_study.yaml",
        "il7ml/report/templates/page.html.j2",
    } <= names
    assert all(name.startswith(("il7ml/", "il7ml-")) for name in names)


def test_help_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    done = run(wheel, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "predict" in done.stdout


@pytest.mark.slow
def test_the_wheel_trains_on_a_simulated_trial_and_predicts_from_the_bundle_folder(wheel: Path, tmp_path: Path) -> None:
    done = run(wheel, "simulate", "--n", "60", "--seed", "3", "--out", "trial", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "config.yaml").write_text(
        "study: trial/study.yaml\nendpoint: infection_day30\nfeatures: {include: [age, absolute_lymphocyte_count]}\n"
        "models: [prevalence, logistic]\nvalidation: {repeats: 1, bootstrap: 50, refits: 10}\nrefits: 10\n"
        "effect: {learners: [effect_model], repeats: 1, permutations: 200}\n"
        f"tracking: {{uri: 'sqlite:///{tmp_path}/store/mlflow.db'}}\n",
        encoding="utf-8",
    )
    done = run(wheel, "train", "config.yaml", "--set", "workers=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [manifest] = (tmp_path / "store").rglob("manifest.json")
    (tmp_path / "patient.json").write_text('{"age": 60, "absolute_lymphocyte_count": 0.5}', encoding="utf-8")
    arguments = ["--model", str(manifest.parent), "--patient", "patient.json", "--format", "json"]
    done = run(wheel, "predict", *arguments, cwd=tmp_path)
    # The pre-specified modifiers are required only where they are features.
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert 0 < answer["risk_treated"] < 1
    assert answer["notice"].startswith("Trained on simulated patients")
