from __future__ import annotations

import numpy as np
import pytest
from tests.small_course import small_course

from il7ml.analysis.findings import Findings, Task
from il7ml.analysis.outcomes import compare_outcomes
from il7ml.analysis.subgroups import compare_subgroups
from il7ml.endpoints.interactions import binary_interaction, count_interaction, hazard_interaction
from il7ml.endpoints.proportions import unadjusted_risks
from il7ml.endpoints.rates import poisson_rates
from il7ml.endpoints.subgroups import subgroup_effects
from il7ml.errors import InputError

COUNT = "absolute_lymphocyte_count"


def analysed(cohort):
    findings, task = Findings(), Task(cohort, None, 0.95)
    compare_outcomes(task, findings)
    return task, findings


@pytest.fixture(scope="module")
def cohort():
    trial = small_course()
    trial.patients.loc[[0, 1, 2], "sex"] = None
    trial.patients["age"] = trial.patients["age"].astype(float)
    trial.patients.loc[[3, 4], "age"] = np.nan
    trial.patients.loc[5:8, "age"] = [50.0, 65.0, 49.0, 64.0]
    trial.patients.loc[[7, 9, 12], "alc"] = np.nan
    trial.patients.loc[20, "alc"] = 0
    trial.patients.loc[[10, 11], "antiviral"] = None
    return trial.load()


@pytest.fixture
def analysis(cohort):
    return analysed(cohort)


def names(frame, endpoint="infected", scale="ratio"):
    return frame.loc[(frame["endpoint"] == endpoint) & (frame["scale"] == scale), "subgroup"].tolist()


def test_cut_points_belong_to_the_group_above(cohort, analysis):
    frame = compare_subgroups(*analysis, {"age": (50, 65)}, ["infected"])
    assert names(frame) == ["below 50 years", "50 to below 65 years", "65 years and above"]
    age, arm = cohort.baseline["age"].to_numpy(float), cohort.treatment
    infected = cohort.outcomes["infected"].value
    chosen = frame[frame["scale"] == "difference"]
    for name, rows in zip(chosen["subgroup"], (age < 50, (age >= 50) & (age < 65), age >= 65), strict=True):
        row = chosen[chosen["subgroup"] == name].iloc[0]
        expected = unadjusted_risks(infected[rows], arm[rows], endpoint="infected")[0]
        assert row["n"] == rows.sum()
        assert row["estimate"] == pytest.approx(expected.estimate)
        assert (row["low"], row["high"]) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert chosen["n"].sum() == 78  # two ages are not known


def test_there_is_one_p_value_for_the_subgroups_and_none_for_each(cohort, analysis):
    frame = compare_subgroups(*analysis, {"age": (50, 65)}, ["infections"])
    age, observed = cohort.baseline["age"].to_numpy(float), cohort.outcomes["infections"]
    groups = np.select([age < 50, age < 65, age >= 65], ["a", "b", "c"], "").astype(object)
    groups[groups == ""] = None

    def rates(rows):
        return poisson_rates(
            observed.value[rows], cohort.treatment[rows], endpoint="infections", exposure=observed.exposure[rows]
        )

    expected = subgroup_effects("age", groups, rates, endpoint="infections")
    assert frame["interaction_p"].tolist() == pytest.approx([each.interaction_p for each in expected])
    assert frame["estimate"].tolist() == pytest.approx([each.effect.estimate for each in expected])
    assert frame["p_value"].isna().all()


def test_a_subgroup_that_cannot_be_analysed_is_said(cohort, analysis):
    lowest = np.nanmin(cohort.baseline["age"].to_numpy(float))
    frame = compare_subgroups(*analysis, {"age": (lowest + 0.5, 50)}, ["infected"])
    unknown = set(frame.loc[frame["estimate"].isna(), "subgroup"])
    assert unknown == {f"below {lowest + 0.5:g} years"}
    (note,) = (each for each in analysis[1].notes if each.startswith("Not compared - subgroups of age, infected"))
    assert unknown.pop() in note
    assert "is of the other subgroups" in note


def test_categories_stand_in_the_order_of_the_dictionary(analysis):
    frame = compare_subgroups(*analysis, {"respiratory_support": ()}, ["infected"])
    # Not alphabetical; underscores are for programs.
    assert names(frame) == ["oxygen", "non invasive", "invasive"]
    assert set(frame["label"]) == {"Respiratory support"}


def test_yes_and_no(cohort, analysis):
    frame = compare_subgroups(*analysis, {"corticosteroid_at_randomisation": ()}, ["infected"])
    assert names(frame) == ["no", "yes"]
    steroid = cohort.baseline["corticosteroid_at_randomisation"].to_numpy(float)
    sizes = frame.loc[frame["scale"] == "ratio", "n"].tolist()
    assert sizes == [(steroid == 0).sum(), (steroid == 1).sum()]


def test_patients_of_unknown_subgroup_are_left_out(analysis):
    frame = compare_subgroups(*analysis, {"sex": ()}, ["infected"])
    assert names(frame) == ["female", "male"]
    assert frame.loc[frame["scale"] == "ratio", "n"].sum() == 77


def test_only_what_is_known_before_randomisation_is_protected(analysis):
    frame = compare_subgroups(*analysis, {"sex": (), "antiviral_during_treatment": ()}, ["infected"])
    protected = frame.groupby("modifier")["protected"].unique()
    assert protected["sex"].tolist() == [True]
    assert protected["antiviral_during_treatment"].tolist() == [False]


def test_rows_by_modifier_and_endpoint_in_the_stated_order(analysis):
    frame = compare_subgroups(*analysis, {"sex": (), "age": (50,)}, ["relapse", "infected"])
    pairs = frame[["modifier", "endpoint"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["sex", "relapse"], ["sex", "infected"], ["age", "relapse"], ["age", "infected"]]
    first = ["modifier", "label", "protected", "subgroup", "endpoint", "method", "scale", "estimate", "std_error"]
    assert list(frame.columns) == [*first, "low", "high", "p_value", "n", "events", "interaction_p"]


def test_many_cut_points_keep_their_order(analysis):
    frame = compare_subgroups(*analysis, {"age": tuple(range(28, 80, 4))}, ["sofa"])
    shown = names(frame, "sofa", "difference")
    starts = [int(name.split()[0]) for name in shown[1:]]
    assert len(shown) > 10
    assert starts == sorted(starts)


def test_a_number_on_the_linear_scale_changes_the_effect_by_its_unit(cohort, analysis):
    task, findings = analysis
    frame = compare_subgroups(task, findings, {"age": ()}, ["infected", "relapse"])
    assert len(frame) == 0
    table = findings.tables["interactions"].set_index("endpoint")
    age = cohort.baseline["age"].to_numpy(float)
    age = np.where(np.isnan(age), np.nanmean(age), age)
    arm = cohort.treatment
    expected = binary_interaction(cohort.outcomes["infected"].value, arm, age, endpoint="infected")
    assert table.loc["infected", "estimate"] == pytest.approx(expected.estimate)
    assert table.loc["infected", "p_value"] == pytest.approx(expected.p_value)
    relapse = cohort.outcomes["relapse"]
    hazard = hazard_interaction(relapse.time, relapse.value, arm, age, endpoint="relapse")
    assert table.loc["relapse", "estimate"] == pytest.approx(hazard.estimate)
    assert table["per"].tolist() == ["years", "years"]


def test_a_number_on_the_log_scale_changes_the_effect_by_doublings(cohort, analysis):
    task, findings = analysis
    compare_subgroups(task, findings, {COUNT: ()}, ["infections"])
    row = findings.tables["interactions"].iloc[0]
    assert (row["modifier"], row["per"], row["endpoint"]) == (COUNT, "doubling", "infections")
    # By hand: 0 counts as half the lowest, a missing value as the mean of the logarithms.
    count = cohort.baseline[COUNT].to_numpy(float)
    lowest = np.nanmin(count[count > 0])
    logs = np.log2(np.where(count == 0, lowest / 2, count))
    logs[np.isnan(logs)] = np.nanmean(logs)
    observed = cohort.outcomes["infections"]
    expected = count_interaction(
        observed.value, cohort.treatment, logs, endpoint="infections", exposure=observed.exposure
    )
    assert row["estimate"] == pytest.approx(expected.estimate)
    assert row["p_value"] == pytest.approx(expected.p_value)


def test_what_has_no_model_with_a_number_is_noted(analysis):
    task, findings = analysis
    compare_subgroups(task, findings, {"age": ()}, ["sofa", "infected"])
    assert findings.tables["interactions"]["endpoint"].tolist() == ["infected"]
    assert [note for note in findings.notes if note.startswith("Not compared - interaction with age, sofa: ")]


def test_endpoints_without_subgroup_comparison_are_noted(analysis):
    task, findings = analysis
    findings.lines["sofa"] = findings.lines["sofa"]._replace(in_subgroup=None)
    frame = compare_subgroups(task, findings, {"sex": ()}, ["sofa"])
    assert len(frame) == 0
    assert [note for note in findings.notes if note.startswith("Not compared - subgroups of sex, sofa: ")]


def test_a_later_number_that_nobody_has_is_noted():
    trial = small_course()
    trial.raw["define"] = {
        "marker_day7": {
            "term": "Marker on day 7",
            "unit": "mg/L",
            "possible": [0, 1500],
            "known": "after_randomisation",
            "role": "inflammation",
            "scale": "log",
        }
    }
    trial.raw["variables"]["marker_day7"] = {"unit": "mg/L"}
    trial.patients["marker_day7"] = np.nan
    task, findings = analysed(trial.load())
    compare_subgroups(task, findings, {"marker_day7": ()}, ["infected"])
    assert len(findings.tables["interactions"]) == 0
    assert any("interaction with marker_day7, infected" in note for note in findings.notes)


def test_a_subgroup_without_events_is_shown_and_not_tested():
    trial = small_course()
    women = np.flatnonzero((trial.patients["sex"] == "f") & (trial.patients["arm"] == "drug"))
    trial.drop_events("infection", *women)
    task, findings = analysed(trial.load())
    frame = compare_subgroups(task, findings, {"sex": ()}, ["infected"]).set_index("subgroup")
    assert frame.loc["female", "estimate"].isna().all()
    assert frame.loc["male", "estimate"].notna().all()
    assert frame["interaction_p"].isna().all()


def test_one_subgroup_is_none(analysis):
    task, findings = analysis
    assert len(compare_subgroups(task, findings, {"age": (120,)}, ["infected"])) == 0
    assert any("expected at least two subgroups" in note for note in findings.notes)


def test_without_modifiers_the_tables_are_empty(analysis):
    task, findings = analysis
    frame = compare_subgroups(task, findings, {}, ["infected"])
    assert len(frame) == len(findings.tables["interactions"]) == 0
    assert "interaction_p" in frame.columns


@pytest.mark.parametrize(
    ("cuts", "message"),
    [
        ({"agee": ()}, r"analysis.subgroups: study small_course has no variable 'agee'. Did you mean 'age'\?"),
        ({"age": (65, 50)}, "analysis.subgroups.age: expected cut points in increasing order"),
        ({"age": (50, 50)}, "analysis.subgroups.age: expected cut points in increasing order"),
        ({"sex": (1,)}, r"analysis.subgroups.sex: cut points are for numbers; it has categories. Leave it empty: \[\]"),
        ({"corticosteroid_at_randomisation": (0.5,)}, "cut points are for numbers"),
    ],
)
def test_subgroups_that_cannot_be_made_are_refused(analysis, cuts, message):
    with pytest.raises(InputError, match=message):
        compare_subgroups(*analysis, cuts, ["infected"])
