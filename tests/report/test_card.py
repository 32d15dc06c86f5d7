from dataclasses import replace

import pytest
from tests.report.test_training import METRICS, result
from tests.small_bundles import make, with_card

from il7ml import texts
from il7ml.bundle import Estimate
from il7ml.report.card import LONGEST, model_card


def real():
    return replace(result(), simulated=False, notes=("No lymphocyte count among the features.",))


def test_it_says_what_for_whom_on_which_data_and_how_good():
    card = make().bundle.card
    text = model_card(real())
    for part in (
        "without and with treatment: Infection by day 30. At least one infection by day 30.",
        f"**Intended use.** {texts.INTENDED_USE}",
        "**Data: real patients.** A trial: ",
        f"{card.n} patients, {card.treated_label} {card.n_treated}",
        f"{card.events} events",
        "Digest cd34cd34cd34",
        texts.MODEL_LABELS["prevalence"],
        "effect: **none**",
        card.evidence_sentence,
        "too small: 160 patients with 60 events",
        "| AUROC | 0.62 (0.50 to 0.71) |",
        "| Average effect, treated minus untreated | -0.25 (-0.42 to -0.07) |",
        "- No lymphocyte count among the features.",
    ):
        assert part in text
    for entry in card.variables.values():
        assert entry.variable.term in text
    assert "imulated" not in text


def test_a_simulated_model_says_so_first_and_once():
    text = model_card(result())
    assert text.startswith(f"**{texts.SIMULATED}**\n")
    assert text.count(texts.SIMULATED) == 1
    assert "**Data: simulated patients.**" in text


def test_the_corrected_figure_stands_in_place_of_the_apparent_one():
    corrected = Estimate(value=0.55, low=0.4, high=0.66)
    text = model_card(replace(real(), metrics={**METRICS, "auroc_corrected": corrected}))
    assert "| AUROC, corrected for optimism | 0.55 (0.40 to 0.66) |" in text
    assert "0.62" not in text


def test_limits_of_eligibility_are_given():
    bundle = with_card(make().bundle, eligibility={"age": (18.0, None)})
    assert "Age from 18 years" in model_card(replace(real(), bundle=bundle))
    bundle = with_card(make().bundle, eligibility={})
    assert "eligibility not stated" in model_card(replace(real(), bundle=bundle))


@pytest.mark.parametrize("count", [3, 400])
def test_it_is_no_longer_than_a_registry_takes(count):
    text = model_card(replace(real(), notes=("A note of some length.",) * count))
    assert len(text) <= LONGEST
    assert text.endswith("…") == (count == 400)


def test_many_predictors_are_counted():
    bundle = make().bundle
    one = bundle.card.variables["age"]
    many = {f"age{number}": one.model_copy(update={"variable": one.variable}) for number in range(40)}
    text = model_card(replace(real(), bundle=with_card(bundle, variables=many, eligibility={})))
    assert "given 40 predictors" in text
    assert text.count("Age") == 25
    assert "and 15 more" in text
