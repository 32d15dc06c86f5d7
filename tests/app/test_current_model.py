import shutil

import pytest
from tests.app.running import model_of, running, wait_until
from tests.small_bundles import PATIENT, make
from tests.tracking.logged_runs import logged
from tests.trained_store import empty_store

from il7ml.app.current_model import CurrentModel
from il7ml.bundle import load_bundle
from il7ml.errors import InputError
from il7ml.tracking.promotion import promote
from il7ml.tracking.registry import resolve_model


@pytest.fixture
def store(tmp_path):
    """Return a store with two models, the first champion."""
    uri = empty_store(tmp_path)
    for model in ("logistic", "lymphocyte"):
        logged(uri, make(model=model).bundle, items=())
    promote("models:/model/1", uri)
    return uri


def make_second_champion(uri):
    promote("models:/model/2", uri, force=True, reason="a test")


def test_another_champion_takes_over_in_one_step(store):
    current = CurrentModel("champion", store)
    before = current.state
    assert not current.refresh()
    assert current.state.predictor is before.predictor
    make_second_champion(store)
    assert current.refresh()
    after = current.state
    assert (before.registered.version, after.registered.version) == ("1", "2")
    assert after.predictor.describe()["risk_model"] == "lymphocyte"
    assert after.predictor.describe()["version"] == "2"
    # What was begun with the first is finished with it.
    assert before.predictor.describe()["risk_model"] == "logistic"


def test_a_folder_is_loaded_once(tmp_path):
    current = model_of(make().bundle, tmp_path)
    shutil.rmtree(tmp_path / "bundle")
    assert not current.refresh()
    assert current.state.refused_since is None
    assert current.state.predictor.predict(PATIENT).status == "ok"


def test_a_fixed_version_stays(store):
    current = CurrentModel("models:/model/1", store)
    make_second_champion(store)
    assert not current.refresh()
    assert current.state.registered.version == "1"


def test_the_service_follows_and_serves_on_while_the_store_is_away(store, tmp_path):
    current = CurrentModel("champion", store)
    database = tmp_path / "mlruns" / "mlflow.db"
    away = database.with_suffix(".away")
    with running(current, poll_seconds=0.05) as service:
        assert service.get("/readyz").json()["store"] == "usable"
        answer = service.post("/predict", PATIENT).json()
        database.rename(away)
        wait_until(lambda: "cannot be used since" in service.get("/readyz").json()["store"])
        reply = service.get("/readyz")
        assert (reply.status, reply.json()["status"]) == (200, "ready")
        assert str(tmp_path) not in reply.text
        assert service.post("/predict", PATIENT).json() == answer
        assert "il7ml_store_usable 0\n" in service.get("/metrics").text
        away.rename(database)
        make_second_champion(store)
        wait_until(lambda: service.get("/readyz").json()["model"]["version"] == "2")
        assert service.get("/readyz").json()["store"] == "usable"
        assert service.post("/predict", PATIENT).json()["model"]["risk_model"] == "lymphocyte"
        wait_until(lambda: "il7ml_model_reloads_total 1\n" in service.get("/metrics").text)


def test_a_champion_that_was_altered_is_not_loaded(store, caplog):
    current = CurrentModel("champion", store)
    make_second_champion(store)
    folder = resolve_model("models:/model/2", store).folder
    assert load_bundle(folder).card.risk_model == "lymphocyte"
    card = folder / "card.json"
    card.write_bytes(card.read_bytes().replace(b"lymphocyte", b"lymphocyta", 1))
    for _ in range(2):
        assert not current.refresh()
    assert current.state.registered.version == "1"
    assert current.state.refused_since is not None
    assert caplog.text.count("the loaded model stays in use") == 1


def test_without_a_model_nothing_is_started(tmp_path):
    with pytest.raises(InputError, match="no model is champion yet"):
        CurrentModel("champion", empty_store(tmp_path))


def test_an_unexpected_end_of_following_makes_the_service_unready(store, monkeypatch, recwarn):
    def fail(_):
        raise ZeroDivisionError

    current = CurrentModel("champion", store)
    with running(current, poll_seconds=0.05) as service:
        monkeypatch.setattr(CurrentModel, "refresh", fail)
        wait_until(lambda: service.get("/readyz").status == 503)
        assert service.get("/healthz").status == 200
        assert service.post("/predict", PATIENT).status == 200
