import pytest
from tests.small_bundles import PATIENT, make
from tests.tracking.logged_runs import client, logged, scored
from tests.trained_store import address

from il7ml.bundle import load_bundle
from il7ml.errors import InputError
from il7ml.predictor import Predictor
from il7ml.tracking.promotion import promote
from il7ml.tracking.registry import resolve_model
from il7ml.tracking.store import open_run


def test_the_bundle_comes_back_from_the_store(uri):
    run_id, registered = logged(uri)
    found = resolve_model(run_id, uri)
    assert found.version == registered.version == "1"
    loaded = load_bundle(found.folder)
    assert loaded.card == scored().card
    assert Predictor(loaded).predict(PATIENT).untreated == Predictor(make().bundle).predict(PATIENT).untreated


def test_a_second_training_is_a_second_version(uri):
    first, second = logged(uri), logged(uri)
    assert [registered.version for _, registered in (first, second)] == ["1", "2"]
    assert resolve_model(first[0], uri).version == "1"
    assert resolve_model("models:/model/2", uri).version == "2"


@pytest.mark.parametrize(
    "model",
    ["nowhere", "0" * 32, "models:/nowhere/1", "models:/model/9", "models:/model@best", "models:/", "a' OR '1'='1"],
)
def test_an_unknown_model_is_an_input_error_that_names_the_known(uri, model):
    logged(uri)
    for find in (resolve_model, promote):
        with pytest.raises(InputError, match=r"Known: models:/model/1\."):
            find(model, uri)
    # What the message names can be had, by version before a promotion and by alias after it.
    assert resolve_model("models:/model/1", uri).version == "1"
    promote("models:/model/1", uri)
    with pytest.raises(InputError, match=r"Known: models:/model@champion\."):
        resolve_model("models:/nowhere/1", uri)
    assert resolve_model("models:/model@champion", uri).version == "1"


def test_a_run_without_a_model_cannot_be_promoted(uri):
    with open_run(uri, "trials", "a run", {}) as run:
        run.log([])
    with pytest.raises(InputError, match=r"neither a bundle folder nor a run with a model. Train one first."):
        promote(run.run_id, uri)


def test_a_store_that_was_moved_is_explained(uri, tmp_path):
    run_id, _ = logged(uri)
    (tmp_path / "mlruns" / "artifacts").rename(tmp_path / "elsewhere")
    with pytest.raises(
        InputError, match=r"files are not where the store says.*Was the folder moved\? Then: il7ml store relocate"
    ):
        resolve_model(run_id, uri)


def test_looking_for_a_model_makes_no_store(tmp_path):
    uri = address(tmp_path / "nowhere")
    for find in (resolve_model, promote):
        with pytest.raises(InputError, match="no tracking store at"):
            find("champion", uri)
    assert list(tmp_path.iterdir()) == []


def test_a_name_without_a_version_is_not_offered(uri):
    logged(uri)
    client(uri).create_registered_model("killed_while_it_registered")
    with pytest.raises(InputError, match=r"Known: models:/model/1\.$"):
        resolve_model("models:/killed_while_it_registered/1", uri)
