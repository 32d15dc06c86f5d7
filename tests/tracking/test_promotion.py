import getpass

import pytest
from tests.tracking import logged_runs
from tests.tracking.logged_runs import client, scored

from il7ml.bundle import load_bundle
from il7ml.errors import BundleRefusedError, InputError
from il7ml.tracking.promotion import promote, promotion_history, rollback
from il7ml.tracking.registry import resolve_model


def logged(uri, bundle=None, name="model"):
    """Log a run with nothing but a model."""
    return logged_runs.logged(uri, bundle, name, items=())


def test_the_model_promoted_last_is_the_default(uri):
    first, second = logged(uri, name="first"), logged(uri, scored(kind="count"), name="second")
    with pytest.raises(InputError, match=r"no model is champion yet.*il7ml promote RUN.*models:/first/1"):
        resolve_model("champion", uri)
    for run_id, registered in (first, second, first):
        assert promote(run_id, uri) == registered
        assert load_bundle(resolve_model("champion", uri).folder).card.kind == (
            "binary" if registered.name == "first" else "count"
        )
    # The other keeps its alias under its own name.
    assert load_bundle(resolve_model("models:/second@champion", uri).folder).card.kind == "count"


def test_promoting_a_version_goes_forth_and_back(uri):
    logged(uri), logged(uri)
    for version in ("2", "1"):
        assert promote(f"models:/model/{version}", uri).version == version
        assert resolve_model("models:/model@champion", uri).version == version
        assert resolve_model(uri=uri).version == version


# Champion and challenger.


def champion(uri, name="model"):
    return resolve_model(f"models:/{name}@champion", uri).version


def history(uri, name=None):
    table = promotion_history(name, uri)
    return [tuple(row) for row in table[["action", "before", "after", "reason"]].itertuples(index=False)]


def test_a_worse_challenger_is_refused_and_a_better_one_taken(uri):
    for loss in (0.60, 0.61, 0.59):
        logged(uri, scored(loss))
    promote("models:/model/1", uri)
    with pytest.raises(InputError) as caught:
        promote("models:/model/2", uri)
    assert str(caught.value) == (
        "model model version 2 cannot take the place of champion version 1: its validated log_loss is 0.61, the "
        "champion's 0.6 (on the same data). To promote it all the same: --force --reason '...'."
    )
    assert champion(uri) == "1"
    assert promote("models:/model/3", uri).version == champion(uri) == "3"
    assert history(uri) == [("promote", "", "1", ""), ("promote", "1", "3", "")]


def test_force_needs_a_reason_and_records_it(uri):
    for loss in (0.60, 0.61):
        logged(uri, scored(loss))
    promote("models:/model/1", uri)
    for reason in ("", "  "):
        with pytest.raises(InputError, match="expected a reason, got none"):
            promote("models:/model/2", uri, force=True, reason=reason)
    assert champion(uri) == "1"
    promote("models:/model/2", uri, force=True, reason="the first leaks")
    assert champion(uri) == "2"
    table = promotion_history("model", uri)
    assert history(uri) == [("promote", "", "1", ""), ("force", "1", "2", "the first leaks")]
    assert set(table["who"]) == {getpass.getuser()}
    assert list(table["when"]) == sorted(table["when"])
    # The history stands in the registered model's tags, where MLflow's pages show it.
    assert sum(key.startswith("il7ml.champion.") for key in client(uri).get_registered_model("model").tags) == 2


def test_an_unneeded_force_counts_as_a_promotion(uri):
    logged(uri)
    promote("models:/model/1", uri, force=True, reason="first")
    assert history(uri) == [("promote", "", "1", "first")]


def test_promoting_the_champion_again_changes_nothing(uri):
    logged(uri)
    for _ in range(2):
        promote("models:/model/1", uri)
    assert history(uri) == [("promote", "", "1", "")]


def test_rollback_goes_back_step_by_step(uri):
    for loss in (0.62, 0.61, 0.60, 0.59):
        logged(uri, scored(loss))
    for version in ("1", "2", "3"):
        promote(f"models:/model/{version}", uri)
    assert rollback(uri=uri, reason="worse in use").version == champion(uri) == "2"
    promote("models:/model/4", uri)
    assert [rollback("model", uri).version for _ in range(2)] == ["2", "1"]
    with pytest.raises(InputError, match="version 1 is the first champion"):
        rollback(uri=uri)
    assert champion(uri) == resolve_model(uri=uri).version == "1"
    assert history(uri)[3:] == [
        ("rollback", "3", "2", "worse in use"),
        ("promote", "2", "4", ""),
        ("rollback", "4", "2", ""),
        ("rollback", "2", "1", ""),
    ]


def test_a_champion_that_was_set_elsewhere_is_gone_back_to(uri):
    for loss in (0.62, 0.61, 0.60):
        logged(uri, scored(loss))
    client(uri).set_registered_model_alias("model", "champion", "1")
    promote("models:/model/2", uri)
    client(uri).set_registered_model_alias("model", "champion", "3")
    # Nothing is default but what was promoted here.
    assert [rollback("model", uri).version for _ in range(2)] == ["2", "1"]


def test_without_a_champion_there_is_no_way_back(uri):
    logged(uri)
    with pytest.raises(InputError, match="no model is champion yet"):
        rollback(uri=uri)
    with pytest.raises(InputError, match=r"'models:/model@champion' is not in the store"):
        rollback("model", uri)
    assert history(uri) == []
    with pytest.raises(InputError, match=r"no registered model 'nowhere'\. Known: model"):
        promotion_history("nowhere", uri)


def test_the_histories_of_two_names_do_not_mix(uri):
    for loss in (0.61, 0.60):
        logged(uri, scored(loss), "first")
        logged(uri, scored(loss), "second")
    for model in ("first/1", "second/1", "first/2", "second/2"):
        promote(f"models:/{model}", uri)
    assert rollback("first", uri) == ("first", "1")
    assert champion(uri, "second") == "2"
    # The default stays with the one that was promoted last.
    assert load_bundle(resolve_model(uri=uri).folder).card == scored(0.60).card
    assert len(history(uri)) == 5
    assert len(history(uri, "second")) == 2


def damage(uri, version):
    card = resolve_model(f"models:/model/{version}", uri).folder / "card.json"
    card.write_text(card.read_text(encoding="utf-8") + " ", encoding="utf-8")


def test_what_does_not_load_is_not_promoted(uri):
    for loss in (0.61, 0.60):
        logged(uri, scored(loss))
    promote("models:/model/1", uri)
    damage(uri, 2)
    for force in (False, True):
        with pytest.raises(BundleRefusedError):
            promote("models:/model/2", uri, force=force, reason="why not")
    assert champion(uri) == "1"


def test_what_does_not_load_is_not_gone_back_to(uri):
    for loss in (0.61, 0.60):
        logged(uri, scored(loss))
        promote("models:/model/1" if loss == 0.61 else "models:/model/2", uri)
    damage(uri, 1)
    with pytest.raises(BundleRefusedError):
        rollback(uri=uri)
    assert champion(uri) == "2"


def test_a_champion_that_does_not_load_gives_way_to_force_only(uri):
    for loss in (0.60, 0.59):
        logged(uri, scored(loss))
    promote("models:/model/1", uri)
    damage(uri, 1)
    with pytest.raises(InputError, match="the champion cannot be read"):
        promote("models:/model/2", uri)
    promote("models:/model/2", uri, force=True, reason="the old one is damaged")
    assert champion(uri) == "2"
