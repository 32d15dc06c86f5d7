import sys
from pathlib import Path

import pytest

from il7ml.errors import InputError
from il7ml.tracking.location import (
    database_of,
    is_server,
    local_uri,
    project_root,
    resolve_uri,
    ui_command,
    without_password,
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project" / "configs" / "deep").mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").write_text("")
    return tmp_path / "project"


def test_the_project_is_found_from_any_folder_in_it(project):
    for start in (project, project / "configs", project / "configs" / "deep"):
        assert project_root(start) == project


def test_a_store_marks_a_project_too(tmp_path):
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "inside").mkdir()
    assert project_root(tmp_path / "inside") == tmp_path


def test_a_file_named_mlruns_marks_none(project):
    (project / "configs" / "mlruns").write_text("")
    assert project_root(project / "configs") == project


def test_without_a_project_the_source_tree_is_taken(tmp_path):
    assert project_root(tmp_path) == Path(__file__).parents[2]


def test_the_current_folder_decides_nothing_inside_a_project(project, tmp_path, monkeypatch):
    expected = f"sqlite:///{project}/mlruns/mlflow.db"
    for folder in (project, project / "configs" / "deep", tmp_path):
        monkeypatch.chdir(folder)
        assert resolve_uri(start=project / "configs") == expected
    monkeypatch.chdir(project / "configs")
    assert resolve_uri() == expected
    assert resolve_uri("sqlite:///mlruns/mlflow.db") == expected


def test_an_absolute_path_and_a_server_stay(project):
    assert resolve_uri("sqlite:////data/store.db", project) == "sqlite:////data/store.db"
    assert resolve_uri("https://mlflow.example.org", project) == "https://mlflow.example.org"


def test_the_environment_is_the_default_only(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    assert resolve_uri(start=project) == "https://mlflow.example.org"
    assert resolve_uri("sqlite:///mlruns/mlflow.db", project) == f"sqlite:///{project}/mlruns/mlflow.db"


@pytest.mark.parametrize("uri", ["mlruns", "/data/mlruns/", "./mlruns", "mlruns/mlflow.db"])
def test_a_plain_path_is_refused_with_the_address_to_write(uri):
    with pytest.raises(InputError) as caught:
        resolve_uri(uri)
    text = str(caught.value)
    assert text.startswith(f"tracking.uri: expected sqlite:///path/mlflow.db or a server's address, got {uri!r}.")
    assert text.endswith(f"For a store in that folder: sqlite:///{uri.rstrip('/')}/mlflow.db")


def test_the_database_of_an_address():
    assert database_of("sqlite:////data/store.db") == Path("/data/store.db")
    assert database_of("https://mlflow.example.org") is None


def test_the_projects_own_store_whatever_the_environment_names(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    assert local_uri(project / "configs") == f"sqlite:///{project}/mlruns/mlflow.db"


@pytest.mark.parametrize(
    ("uri", "server", "shown"),
    [
        ("http://127.0.0.1:5000", True, "http://127.0.0.1:5000"),
        ("https://ann:secret@mlflow.example.org/team", True, "https://mlflow.example.org/team"),
        ("https://ann:s@cret@mlflow.example.org", True, "https://mlflow.example.org"),
        ("sqlite:////data/store.db", False, "sqlite:////data/store.db"),
        ("postgresql://ann:secret@db/mlflow", False, "postgresql://db/mlflow"),
    ],
)
def test_servers_and_passwords(uri, server, shown):
    assert is_server(uri) is server
    assert without_password(uri) == shown


def test_the_pages_are_served_by_one_worker_without_jobs_or_telemetry(monkeypatch):
    monkeypatch.setenv("KEPT", "yes")
    command, environment = ui_command("sqlite:////data/store.db", "127.0.0.1", 5001)
    assert command[:4] == [sys.executable, "-m", "mlflow", "ui"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options == {
        "--backend-store-uri": "sqlite:////data/store.db",
        "--host": "127.0.0.1",
        "--port": "5001",
        "--workers": "1",
    }
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["KEPT"] == "yes"
