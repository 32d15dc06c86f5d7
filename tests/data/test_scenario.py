from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml

from il7ml.data.scenario import MEASURED, TERMS, load_scenario, scenario_names
from il7ml.data.simulated_hazards import _TERMS
from il7ml.errors import InputError
from il7ml.schema import load_dictionary

MINE = {"description": "Mine", "effect_modification": "None"}


def changed(**changes: Any) -> dict[str, Any]:
    return {**MINE, "changes": changes}


def stated(**values: Any) -> dict[str, Any]:
    return {**values, "status": "assumed", "source": "a test"}


def test_every_scenario_says_what_its_effect_modification_is() -> None:
    assert scenario_names() == ("published", "patients", "null", "strong_modifier")
    for name in scenario_names():
        assert len(load_scenario(name).effect_modification) > 20


def test_names_agree_with_the_dictionary_and_the_predictors() -> None:
    assert set(MEASURED) <= set(load_dictionary())
    assert set(TERMS) == set(_TERMS)


def test_published_numbers_of_the_registry() -> None:
    trial = load_scenario("published").trial
    assert trial.allocation.cohorts.values == {"uk": 35, "france_belgium": 34, "us": 26, "us_oncology": 10, "brazil": 4}
    assert trial.allocation.cohorts.status == "published"
    assert (trial.eligibility.age.low, trial.eligibility.age.high) == (25, 80)
    assert trial.eligibility.absolute_lymphocyte_count.high == 1.0
    assert trial.allocation.planned_doses.values["uk"] == 5
    assert trial.allocation.planned_doses.values["us"] == 7


def test_effect_modification_of_the_strong_modifier_is_as_stated() -> None:
    effect = load_scenario("strong_modifier").trial.effect
    assert effect.infection.value == 0.375
    assert np.exp(effect.infection_modifiers.values["antiviral"]) == pytest.approx(2.2, abs=0.01)
    assert np.exp(effect.infection_modifiers.values["log2_lymphocyte_count"]) == pytest.approx(2.0, abs=0.01)


def test_correlation_matrix_holds_the_pairs_of_the_file() -> None:
    matrix = load_scenario("published").trial.correlations.matrix()
    place = {name: number for number, name in enumerate(MEASURED)}
    assert matrix[place["absolute_lymphocyte_count"], place["cd4_count"]] == 0.90
    assert matrix[place["procalcitonin"], place["creatinine"]] == 0.35
    assert matrix[place["d_dimer"], place["age"]] == 0.0
    np.testing.assert_array_equal(matrix, matrix.T)


def test_a_file_changes_only_what_it_names(tmp_path: Any) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(changed(infection={"log_rate": stated(values={"diabetes": 0.5})})), encoding="utf-8")
    mine, base = load_scenario(path), load_scenario("published")
    assert mine.name == "mine"
    assert mine.trial.infection.log_rate.values["diabetes"] == 0.5
    assert mine.trial.infection.log_rate.values["male"] == base.trial.infection.log_rate.values["male"]
    assert mine.trial.death == base.trial.death


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ("publishd", "Did you mean 'published'?"),
        (changed(infecton={}), "Did you mean 'infection'?"),
        (changed(effect={"infection": {"value": 0.5}}), "'status' is missing"),
        (changed(effect={"infection": stated(value=-1)}), "effect.infection.value"),
        (changed(effect={"infection": 0.5}), "expected keys with values, got float"),
        (changed(effect={"infection_modifiers": stated(values={"ages": 1.0})}), "not a known name"),
        (changed(correlations=stated(values={"age": {"cd4_count": 0.99}})), "not positive definite"),
        (changed(lymphocytes={"before_death": stated(day=[3, 10], values=[1.0, 0.5])}), "before day 7"),
        (changed(allocation={"block_size": stated(value=3)}), "must be even"),
        ({"description": "x", "changes": {}}, "'effect_modification' is missing"),
    ],
)
def test_a_wrong_scenario_is_refused_with_the_remedy(scenario: Any, message: str) -> None:
    with pytest.raises(InputError, match=r".") as caught:
        load_scenario(scenario)
    assert message in str(caught.value)
