import math

import pytest
from tests.tracking.logged_runs import scored

from il7ml.bundle import Estimate
from il7ml.tracking.contract import objections

CARD = scored().card


def with_variable(name, *, required=None, **changes):
    entry = CARD.variables[name]
    update = {"variable": entry.variable.model_copy(update=changes)}
    if required is not None:
        update["required"] = required
    return CARD.model_copy(update={"variables": {**CARD.variables, name: entry.model_copy(update=update)}})


def without(name):
    return CARD.model_copy(update={"variables": {key: CARD.variables[key] for key in CARD.variables if key != name}})


def validated(**values):
    return {name: Estimate(value=value, low=value, high=value) for name, value in values.items()}


def changed(**entries):
    return CARD.model_copy(update=entries)


def test_the_same_card_meets_no_objection():
    assert objections(CARD, CARD) == []


def test_what_does_not_touch_the_contract_may_differ():
    other = changed(risk_model="xgboost", n=500, seed=3, evidence="credible", theta=0.5, study_title="New title")
    assert objections(other, CARD) == []


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"endpoint": "death"}, "another endpoint"),
        ({"horizon": 60.0}, "another horizon"),
        ({"unit": "1,000 days"}, "another unit of the outcome"),
        ({"harmful": False}, "another direction of harm"),
        ({"treated_label": "IL-2"}, "another treated arm"),
        ({"control_label": "Usual care"}, "another control arm"),
        ({"simulated": True}, "another kind of data (simulated or real)"),
        ({"kind": "count"}, "another kind of outcome"),
    ],
)
def test_another_question_is_named(entries, words):
    assert objections(changed(**entries), CARD) == [words]


def test_variables_must_be_the_same_ones():
    assert objections(without("diabetes"), CARD) == ["it does not know diabetes"]
    assert objections(CARD, without("diabetes")) == ["it asks for diabetes, which the champion does not know"]


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (with_variable("age", unit="months"), "age has another unit"),
        (with_variable("respiratory_support", levels=("oxygen", "invasive")), "respiratory_support has other levels"),
        (with_variable("diabetes", kind="continuous"), "diabetes has another kind"),
        (with_variable("diabetes", required=True), "it cannot do without diabetes, as the champion can"),
    ],
)
def test_variables_must_mean_the_same(card, words):
    assert objections(card, CARD) == [words]


def test_a_variable_may_become_optional():
    assert objections(with_variable("age", required=False), CARD) == []


@pytest.mark.parametrize("kind", ["binary", "count", "continuous"])
def test_a_smaller_or_equal_loss_wins_on_the_same_data(kind):
    champion = scored(0.6, kind).card
    assert objections(scored(0.6 + 1e-12, kind).card, champion) == []
    assert objections(scored(0.5, kind).card, champion) == []
    (words,) = objections(scored(0.60001, kind).card, champion)
    assert words.endswith("is 0.60001, the champion's 0.6 (on the same data)")


def test_on_other_data_the_share_explained_is_compared():
    # With half the events the log loss is smaller, which says nothing about the model.
    champion = changed(validation=validated(log_loss=0.6, scaled_brier=0.10), data_digest="1" * 64)
    assert objections(changed(validation=validated(log_loss=0.4, scaled_brier=0.12)), champion) == []
    assert objections(changed(validation=validated(log_loss=0.7, scaled_brier=0.10)), champion) == []
    (words,) = objections(changed(validation=validated(log_loss=0.4, scaled_brier=0.05)), champion)
    assert words == "its validated scaled_brier is 0.05, the champion's 0.1 (each on its own data)"


def test_what_was_not_validated_cannot_be_compared():
    bare = changed(validation={})
    for pair in ((bare, CARD), (CARD, bare)):
        assert objections(*pair) == ["without a validated log_loss of both they cannot be compared"]
    (words,) = objections(changed(validation=validated(log_loss=math.nan)), CARD)
    assert "nan" in words
