from __future__ import annotations

import pytest

from il7ml.config import FeatureConfig
from il7ml.data.simulator import il7_study
from il7ml.data.study import load_study, parse_study
from il7ml.errors import InputError
from il7ml.features.columns import DERIVED
from il7ml.features.selection import select_variables

STUDY = il7_study()


def refusal(study, **wanted):
    with pytest.raises(InputError) as caught:
        select_variables(study, FeatureConfig(**wanted))
    return str(caught.value)


def test_by_default_everything_known_at_baseline_with_what_is_derived_from_it():
    chosen = select_variables(STUDY, FeatureConfig())
    known = [name for name, variable in STUDY.mapped.items() if variable.is_baseline]
    assert list(chosen) == [*known, *DERIVED]
    assert "antiviral_during_treatment" not in chosen


def test_order_is_the_studys_whatever_the_config_says():
    chosen = select_variables(STUDY, FeatureConfig(include=("sofa_score", "age", "age")))
    assert list(chosen) == ["age", "sofa_score"]
    assert chosen["age"] == STUDY.mapped["age"]


def test_excluded_variables_are_left_out():
    everything = select_variables(STUDY, FeatureConfig())
    chosen = select_variables(STUDY, FeatureConfig(exclude=("age", "cd4_cd8_ratio")))
    assert set(everything) - set(chosen) == {"age", "cd4_cd8_ratio"}
    assert list(select_variables(STUDY, FeatureConfig(include=("age", "sex"), exclude=("age",)))) == ["sex"]


def test_what_is_known_only_later_is_refused_by_name_and_by_column(small_study):
    study = load_study(small_study.folder)
    for name in ("c_reactive_protein_day7", "crp7"):
        assert refusal(study, include=("age", name)) == (
            f"features.include: {name} (C-reactive protein on day 7) is known only after randomisation, so it cannot "
            "be a feature. Take it out; a model that used it could not be asked about a new patient."
        )
        assert refusal(study, exclude=(name,)).startswith(f"features.exclude: {name} (C-reactive protein on day 7)")


def test_outcomes_are_no_variables(small_study):
    study = load_study(small_study.folder)
    for column in ("infected", "died", "sofa7", "arm", "patient_id"):
        assert f"features.include: study small has no variable '{column}'." in refusal(study, include=(column,))


def test_a_column_is_no_name_for_a_variable(small_study):
    assert refusal(load_study(small_study.folder), include=("alc",)) == (
        "features.include: alc is a column. Use the variable's name, absolute_lymphocyte_count."
    )


def test_unknown_variables_name_the_nearest():
    assert refusal(STUDY, include=("sofa_scor",)) == (
        "features.include: study il7_trial has no variable 'sofa_scor'. Did you mean 'sofa_score'?"
    )
    assert "features.exclude: study il7_trial has no variable 'agee'. Did you mean 'age'?" in refusal(
        STUDY, exclude=("agee",)
    )


@pytest.mark.parametrize("wanted", [{"include": ()}, {"include": ("age",), "exclude": ("age",)}])
def test_no_variable_left_is_refused(wanted):
    assert refusal(STUDY, **wanted).startswith("features: no variable is left")


def test_a_derived_feature_needs_its_sources():
    message = refusal(STUDY, include=("age", "neutrophil_lymphocyte_ratio"))
    assert "needs absolute_lymphocyte_count, neutrophil_count, which are left out. Include them" in message
    message = refusal(STUDY, exclude=("cd4_count",))
    assert "needs cd4_count, which is left out. Include it, or exclude the derived feature as well" in message
    names = ("absolute_lymphocyte_count", "neutrophil_count", "neutrophil_lymphocyte_ratio")
    assert set(select_variables(STUDY, FeatureConfig(include=names))) == set(names)


def test_what_the_study_leaves_out_is_skipped():
    study = il7_study()
    raw = study.model_dump(mode="json")
    raw["variables"].pop("chronic_kidney_disease")
    raw["left_out"] = {"chronic_kidney_disease": "it does not vary among these patients"}
    wanted = FeatureConfig(include=("age", "chronic_kidney_disease"))
    assert list(select_variables(parse_study(raw, study.folder), wanted)) == ["age"]
    with pytest.raises(InputError, match="has no variable 'chronic_kidney_disease'"):
        select_variables(parse_study({**raw, "left_out": {}}, study.folder), wanted)
