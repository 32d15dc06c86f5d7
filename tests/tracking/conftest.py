import pytest
from tests.tracking.logged_runs import IMPATIENT
from tests.trained_store import empty_store


@pytest.fixture
def uri(tmp_path):
    return empty_store(tmp_path)


@pytest.fixture
def no_default(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(autouse=True)
def no_retries(monkeypatch):
    for name, value in IMPATIENT.items():
        monkeypatch.setenv(name, value)
