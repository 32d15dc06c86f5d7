"""What happened after randomisation: by hand on a small trial, and against the routines called directly."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.small_course import small_course

from il7ml.analysis.course import baseline_of, compare_course, final_of, others_than, rule_met, visits_of
from il7ml.analysis.findings import Findings, Task
from il7ml.endpoints.cox import hazard_ratio
from il7ml.endpoints.proportions import unadjusted_risks
from il7ml.endpoints.repeated import repeated_measures
from il7ml.endpoints.result import to_frame

COUNT = "absolute_lymphocyte_count"


def task_of(cohort, covariates=()):
    return Task(cohort, cohort.baseline[list(covariates)] if covariates else None, 0.95)


def compared(cohort, covariates=()):
    findings = Findings()
    compare_course(task_of(cohort, covariates), cohort.course, findings)
    return findings


def only(trial, *parts):
    """Leave nothing in the course but the parts named, and deaths."""
    for part in {"measurements", "stays", "adverse_events", "rules"} - set(parts):
        trial.course.pop(part)
    if "measurements" in parts and "rules" not in parts:
        trial.course["measurements"] = {COUNT: trial.course["measurements"][COUNT]}
    return trial


def rows_of(findings, endpoint):
    return [each for each in findings.results if each.endpoint == endpoint]


@pytest.fixture(scope="module")
def cohort():
    return small_course().load()


@pytest.fixture(scope="module")
def findings(cohort):
    return compared(cohort, ("age", COUNT))


def final_by_hand(trial, place, by_day=30):
    """Return one patient's last count in 10^9/L after day 0, by the day and discharge."""
    own = trial.labs.loc[trial.where(trial.labs, "lymphocytes", place)].sort_values("day")
    left = trial.events.loc[trial.where(trial.events, "discharge", place), "day"]
    end = min([by_day, *left])
    own = own[(own["day"] > 0) & (own["day"] <= end)]
    return own["value"].iloc[-1] / 1000 if len(own) else np.nan


def test_the_final_value_is_the_last_by_discharge(cohort):
    trial = small_course()
    expected = [final_by_hand(trial, place) for place in range(80)]
    np.testing.assert_allclose(final_of(cohort.course.measurements[COUNT], cohort.course), expected)
    # The rule matters here: some patients were measured after discharge, too.
    assert (visits_of(cohort.course.measurements[COUNT], cohort.course)[:, -1] != expected).sum() > 5


def test_the_final_value_ends_with_the_stated_day():
    trial = small_course()
    trial.course["measurements"][COUNT]["by_day"] = 5
    course = trial.load().course
    expected = [final_by_hand(trial, place, by_day=5) for place in range(80)]
    np.testing.assert_allclose(final_of(course.measurements[COUNT], course), expected)


def test_baseline_is_day_0_and_else_the_baseline_variable():
    trial = only(small_course(), "measurements")
    trial.set_labs("lymphocytes", 0, {0: 310, 3: 400}, "cells/uL")
    trial.set_labs("lymphocytes", 1, {3: 400}, "cells/uL")
    trial.set_labs("lymphocytes", 2, {3: 400}, "cells/uL")
    trial.patients.loc[[1, 2], "alc"] = [270, np.nan]
    cohort = trial.load()
    found = baseline_of(COUNT, cohort.course.measurements[COUNT], task_of(cohort))
    assert found[:2].tolist() == pytest.approx([0.31, 0.27])
    assert np.isnan(found[2])


def test_the_measurements_own_baseline_is_adjusted_for_once(cohort):
    assert list(others_than(COUNT, task_of(cohort, ("age", COUNT)))) == ["age"]
    assert others_than(COUNT, task_of(cohort, (COUNT,))) is None
    assert others_than(COUNT, task_of(cohort)) is None


def test_one_comparison_of_last_values_where_only_their_baseline_is_adjusted_for():
    cohort = only(small_course(), "measurements").load()
    assert len(rows_of(compared(cohort, (COUNT,)), f"{COUNT}_final")) == 1
    assert len(rows_of(compared(cohort, ("age",)), f"{COUNT}_final")) == 2


def test_the_ratio_of_last_values_is_that_of_a_regression(cohort, findings):
    # Ordinary least squares of logarithms by statsmodels, with HC3 errors.
    import statsmodels.api as sm

    trial = small_course()
    final = np.log([final_by_hand(trial, place) for place in range(80)])
    before = np.log(trial.patients["alc"].to_numpy() / 1000)
    known = ~np.isnan(final)
    design = sm.add_constant(np.column_stack([cohort.treatment, before])[known])
    fit = sm.OLS(final[known], design).fit(cov_type="HC3")
    plain, adjusted = rows_of(findings, f"{COUNT}_final")
    assert plain.estimate == pytest.approx(np.exp(fit.params[1]))
    assert plain.std_error == pytest.approx(fit.bse[1])
    assert plain.n == known.sum()
    age = trial.patients["age"].to_numpy(float)[known]
    wider = sm.OLS(final[known], np.column_stack([design, age])).fit(cov_type="HC3")
    assert adjusted.estimate == pytest.approx(np.exp(wider.params[1]))
    assert adjusted.method.endswith(", adjusted")
    line = findings.lines[f"{COUNT}_final"]
    assert line.result == adjusted
    arms = [np.exp(np.nanmean(final[cohort.treatment == arm])) for arm in (0, 1)]
    assert line.control.startswith(f"{arms[0]:.3g} (")
    assert line.treated.startswith(f"{arms[1]:.3g} (")
    assert not line.harmful


def test_visits_are_those_of_the_mixed_model(cohort, findings):
    measured = cohort.course.measurements["c_reactive_protein"]
    values = visits_of(measured, cohort.course)
    expected = repeated_measures(values, (3, 7, 14), measured.baseline, cohort.treatment, endpoint="c_reactive_protein")
    found = [each for each in findings.results if each.endpoint.startswith("c_reactive_protein_")]
    assert [each[2:] for each in found] == [each[2:] for each in expected.effects]
    assert [each.endpoint for each in found] == [
        f"c_reactive_protein_{end}" for end in ("day3", "day7", "day14", "average")
    ]
    pd.testing.assert_frame_equal(findings.tables["visits_c_reactive_protein"], expected.means)
    assert findings.lines["c_reactive_protein_average"].result == found[-1]


def test_only_what_recovers_is_adjusted_and_has_last_values(findings):
    endpoints = {each.endpoint for each in findings.results}
    assert {f"{COUNT}_final", f"{COUNT}_recovery"} <= endpoints
    assert not {"ferritin_final", "ferritin_recovery"} & endpoints
    assert len(rows_of(findings, f"{COUNT}_day7")) == 2
    assert len(rows_of(findings, "ferritin_day7")) == 1


def test_recovery_is_looked_at_only_from_below_the_threshold():
    trial = only(small_course(), "measurements")
    trial.labs.loc[trial.where(trial.labs, "lymphocytes"), "value"] *= 0.5
    trial.patients["alc"] *= 0.5
    trial.set_labs("lymphocytes", 0, {0: 1000, 3: 1200}, "cells/uL")  # starts at it
    trial.set_labs("lymphocytes", 1, {0: 999, 3: 990, 7: 1000}, "cells/uL")  # reaches it on day 7
    trial.set_labs("lymphocytes", 3, {0: 400, 14: 1500}, "cells/uL")  # reaches it after discharge
    trial.events.loc[trial.where(trial.events, "discharge", 3), "day"] = 13
    trial.events.loc[trial.where(trial.events, "discharge", 1), "day"] = 20
    trial.patients.loc[[1, 3], "hospital_days"] = [20, 13]
    found = compared(trial.load())
    before = trial.labs.loc[trial.where(trial.labs, "lymphocytes")].query("day == 0").set_index("patient_id")["value"]
    starts_below = trial.patients["patient_id"].map(before) < 1000
    control, treated = (found.lines[f"{COUNT}_recovery"].control, found.lines[f"{COUNT}_recovery"].treated)
    sizes = [int((starts_below & (trial.patients["arm"] == arm)).sum()) for arm in ("placebo", "drug")]
    assert sizes[0] < 40
    assert control.split()[0].endswith(f"/{sizes[0]}")
    assert treated.split()[0].endswith(f"/{sizes[1]}")
    assert int(treated.split("/")[0]) == sum(recovers_by_hand(trial, place) for place in range(1, 80, 2))
    assert recovers_by_hand(trial, 1)
    assert not recovers_by_hand(trial, 3)


def recovers_by_hand(trial, place):
    own = trial.labs.loc[trial.where(trial.labs, "lymphocytes", place)]
    start = own.loc[own["day"] == 0, "value"]
    ends = trial.events.loc[trial.where(trial.events, "discharge", place), "day"].tolist()
    ends += trial.events.loc[trial.where(trial.events, "death", place), "day"].tolist()
    end = min([30, trial.patients["follow_up"].iloc[place], *ends])
    later = own[(own["day"] > 0) & (own["day"] <= end)]
    return bool((start < 1000).all() and (later["value"] >= 1000).any())


def test_recovery_competes_with_discharge_and_death(cohort, findings):
    trial = small_course()
    line = findings.lines[f"{COUNT}_recovery"]
    recovered = [recovers_by_hand(trial, place) for place in range(80)]
    assert int(line.control.split("/")[0]) == sum(recovered[::2])
    assert int(line.treated.split("/")[0]) == sum(recovered[1::2])
    # Everyone is observed to recovery, discharge, death or day 30, so incidence at the end is a plain share.
    curve = findings.tables[f"incidence_{COUNT}_recovery"].query("cause == 1")
    below = [not start >= 1000 for start in trial.patients["alc"]]
    for arm, name in enumerate(("control", "treated")):
        expected = sum(recovered[arm::2]) / sum(below[arm::2])
        assert curve.loc[curve["arm"] == name, "incidence"].iloc[-1] == pytest.approx(expected)


def test_quartiles_by_day(cohort, findings):
    table = findings.tables["course"]
    assert set(table["day"]) == {0, 3, 7, 14}
    trial = small_course()
    rows = trial.labs.loc[trial.where(trial.labs, "ferritin")].merge(trial.patients[["patient_id", "arm"]])
    for day in (0, 3, 7, 14):
        expected = rows.loc[(rows["day"] == day) & (rows["arm"] == "drug"), "value"]
        found = table[(table["measurement"] == "Ferritin") & (table["arm"] == "treated") & (table["day"] == day)].iloc[
            0
        ]
        assert found["n"] == len(expected)
        quartiles = np.quantile(expected, [0.25, 0.5, 0.75])
        assert found[["q1", "median", "q3"]].tolist() == pytest.approx(quartiles.tolist())
    markers = table[table["measurement"] == "C-reactive protein"]
    assert set(markers["unit"]) == {"mg/L"}


def mean_days(trial, days):
    """Return treated minus control of one number a patient."""
    treated = trial.patients["arm"] == "drug"
    return float(np.mean(days[treated]) - np.mean(days[~treated]))


def test_stays_with_death(cohort, findings):
    trial = small_course()
    death = trial.patients["patient_id"].map(
        trial.events[trial.events["kind"] == "death"].set_index("patient_id")["day"]
    )
    hospital, ventilated = trial.patients["hospital_days"], trial.patients["ventilation_days"]
    # All who die here die in hospital: their stay counts as the longest.
    stay = np.where(death.notna(), 30, np.minimum(hospital, 30))
    free = np.where(death <= 28, 0, np.maximum(28 - ventilated, 0))
    home = np.where(death.notna(), 0, np.maximum(30 - hospital, 0))
    for name, days in (("hospital", stay), ("ventilator_free", free), ("at_home", home)):
        difference, ranks = rows_of(findings, name)
        assert difference.estimate == pytest.approx(mean_days(trial, days))
        assert (difference.scale, ranks.scale) == ("difference", "probability")
        assert findings.lines[name].result == difference
    observed = rows_of(findings, "hospital_observed")[0]
    assert observed.estimate == pytest.approx(mean_days(trial, np.minimum(hospital, 30)))
    assert [findings.lines[name].harmful for name in ("hospital", "ventilator_free", "at_home")] == [True, False, False]


def test_death_after_the_stay_does_not_lengthen_it():
    trial = only(small_course(), "stays")
    before = compared(trial.load())
    home = int(np.flatnonzero(trial.patients["hospital_days"] < 20)[0])
    trial.let_die(home, trial.patients.loc[home, "hospital_days"] + 4)
    after = compared(trial.load())
    assert rows_of(after, "hospital") == rows_of(before, "hospital")
    assert rows_of(after, "ventilator_free") != rows_of(before, "ventilator_free")
    assert rows_of(after, "at_home") != rows_of(before, "at_home")


def test_mortality(cohort, findings):
    course, arm = cohort.course, cohort.treatment
    died = (~np.isnan(course.death)).astype(int)
    expected = hazard_ratio(course.follow_up, died, arm, endpoint="death")
    assert expected in findings.results
    line = findings.lines["death"]
    assert line.control == f"{died[arm == 0].sum()}/40 ({100 * died[arm == 0].mean():.0f} %)"
    # Nobody is lost before the last death by day 30 here but one patient; Kaplan-Meier by statsmodels.
    from statsmodels.duration.survfunc import SurvfuncRight

    for day in (30, 60):
        risk = []
        for number in (0, 1):
            curve = SurvfuncRight(course.follow_up[arm == number], died[arm == number])
            risk.append(1 - curve.surv_prob[curve.surv_times <= day][-1])
        found = [
            each for each in findings.results if each.endpoint.startswith("mortality") and f"{day}" in each.endpoint
        ]
        difference = next(each for each in found if each.scale == "difference")
        assert difference.estimate == pytest.approx(risk[1] - risk[0])
    assert set(findings.tables["survival"]["day"]) == {30, 60}


def test_time_to_death_is_the_same_where_follow_up_is_given_as_the_last_possible_day():
    trial = only(small_course())
    expected = compared(trial.load())
    died = trial.patients["patient_id"].isin(trial.events.loc[trial.where(trial.events, "death"), "patient_id"])
    trial.patients.loc[died, "follow_up"] = 90.0
    assert to_frame(compared(trial.load()).results).equals(to_frame(expected.results))


def test_a_trial_without_deaths_says_so():
    trial = only(small_course())
    trial.drop_events("death")
    found = compared(trial.load())
    assert found.lines["death"].result is None
    assert any(note.startswith("Not compared - death, hazards") for note in found.notes)


def test_a_day_that_nobody_reached_is_noted():
    trial = only(small_course())
    trial.course["mortality_days"] = [30, 400]
    found = compared(trial.load())
    assert any("400" in note for note in found.notes)
    assert any(each.endpoint.startswith("mortality") for each in found.results)


def test_adverse_events_by_hand(cohort, findings):
    trial = small_course()
    rows = trial.events[trial.events["kind"] == "adverse_event"].merge(trial.patients[["patient_id", "arm"]])
    days = np.minimum(trial.patients["follow_up"], 30).groupby(trial.patients["arm"]).sum()
    per_100 = {arm: 100 * (rows["arm"] == arm).sum() / days[arm] for arm in ("drug", "placebo")}
    rate = next(each for each in rows_of(findings, "adverse_event") if each.scale == "rate_ratio")
    assert rate.estimate == pytest.approx(per_100["drug"] / per_100["placebo"])
    assert findings.lines["adverse_event"].result == rate
    assert f"({per_100['placebo']:.3g} per 100 days)" in findings.lines["adverse_event"].control
    serious = rows[rows["detail"].str.endswith("|1")].groupby("arm")["patient_id"].nunique()
    ratio = findings.lines["serious_adverse_event"].result
    assert ratio.estimate == pytest.approx(serious["drug"] / serious["placebo"])
    assert findings.lines["serious_adverse_event"].treated.startswith(f"{serious['drug']}/40 ")
    assert {"adverse_event_rash", "adverse_event_fever"} <= set(findings.tables["adverse_events"]["endpoint"])


def test_adverse_events_after_the_stated_day_do_not_count():
    trial = only(small_course(), "adverse_events")
    before = compared(trial.load()).tables["adverse_events"]
    trial.add_events("adverse_event", {0: 31, 6: 45}, "rash|2|0")
    pd.testing.assert_frame_equal(compared(trial.load()).tables["adverse_events"], before)
    trial.add_events("adverse_event", {0: 30}, "rash|2|0")
    after = compared(trial.load()).tables["adverse_events"]
    assert after["events"].iloc[0] == before["events"].iloc[0] + 1


def test_a_trial_without_adverse_events_has_a_line_without_an_effect():
    trial = only(small_course(), "adverse_events")
    trial.drop_events("adverse_event")
    line = compared(trial.load()).lines["serious_adverse_event"]
    assert line.control == "0/40 (0 %)"
    assert line.result is None or np.isnan(line.result.estimate)


STORMS = {
    # Limits: C-reactive protein 20 mg/dL, ferritin 3,000 ng/mL, interleukin-6 200 pg/mL; two of them on one day.
    "two on one day": ({"crp": {7: 21}, "ferritin": {7: 3001}}, True),
    "all three on one day": ({"crp": {3: 30}, "ferritin": {3: 9000}, "il6": {3: 900}}, True),
    "one only": ({"crp": {3: 30, 7: 30, 14: 30}}, False),
    "on different days": ({"crp": {3: 30}, "ferritin": {7: 9000}, "il6": {14: 900}}, False),
    "at the limits": ({"crp": {7: 20}, "ferritin": {7: 3000}, "il6": {7: 200}}, False),
    "before treatment": ({"crp": {0: 30}, "ferritin": {0: 9000}}, False),
    "on the last day": ({"il6": {30: 201}, "ferritin": {30: 9000}}, True),
    "after the last day": ({"il6": {31: 201}, "ferritin": {31: 9000}}, False),
}


def calm(trial):
    """Set all markers low."""
    for analyte, low in (("crp", 5.0), ("ferritin", 300.0), ("il6", 20.0)):
        trial.labs.loc[trial.where(trial.labs, analyte), "value"] = low
    return trial


UNITS = {"crp": "mg/dL", "ferritin": "ng/mL", "il6": "pg/mL"}


def test_the_rule_is_met_by_two_of_three_on_one_day():
    trial = calm(small_course())
    survivors = [place for place in range(80) if place % 7 != 2]
    for place, (markers, _) in zip(survivors, STORMS.values(), strict=False):
        for analyte, values in markers.items():
            trial.set_labs(analyte, place, values, UNITS[analyte])
    # The same marker twice on a day is one marker.
    last = survivors[len(STORMS)]
    double = pd.DataFrame([(trial.ids(last)[0], 7, "crp", 30.0, "mg/dL")] * 2, columns=trial.labs.columns)
    trial.labs = pd.concat([trial.labs, double], ignore_index=True)
    course = trial.load().course
    met = rule_met(course.spec.rules["storm"], course)
    names = dict(zip(survivors, STORMS, strict=False))
    assert {names[place] for place in np.flatnonzero(met)} == {name for name, (_, storm) in STORMS.items() if storm}


def test_one_marker_is_enough_where_the_rule_says_so():
    trial = calm(small_course())
    trial.course["rules"]["storm"]["at_least"] = 1
    trial.set_labs("crp", 3, {3: 20.1}, "mg/dL")
    trial.set_labs("il6", 4, {3: 201}, "pg/mL")
    course = trial.load().course
    assert np.flatnonzero(rule_met(course.spec.rules["storm"], course)).tolist() == [3, 4]


def test_the_rule_is_compared_as_a_risk():
    trial = calm(small_course())
    trial.course["stays"] = {}
    for place in (0, 4, 6, 8, 10, 1, 3):
        trial.set_labs("crp", place, {7: 40}, "mg/dL")
        trial.set_labs("il6", place, {7: 400}, "pg/mL")
    cohort = trial.load()
    found = compared(cohort)
    met = np.isin(np.arange(80), (0, 4, 6, 8, 10, 1, 3)).astype(float)
    expected = unadjusted_risks(met, cohort.treatment, endpoint="storm")
    assert rows_of(found, "storm")[:3] == expected
    line = found.lines["storm"]
    assert (line.control, line.treated) == ("5/40 (12 %)", "2/40 (5 %)")
    assert line.result.estimate == pytest.approx(2 / 5)
    needed = next(each for each in rows_of(found, "storm") if each.scale == "number_needed")
    assert needed.estimate == pytest.approx(1 / (5 / 40 - 2 / 40))


def test_the_rule_is_the_same_in_another_unit():
    trial = small_course()
    trial.course["rules"]["storm"]["above"] = {"c_reactive_protein": 15, "ferritin": 1300, "interleukin_6": 120}
    course = trial.load().course
    first = rule_met(course.spec.rules["storm"], course)
    assert 5 < first.sum() < 75
    rows = trial.where(trial.labs, "crp")
    trial.labs.loc[rows, "value"] *= 10
    trial.labs.loc[rows, "unit"] = "mg/L"
    trial.course["measurements"]["c_reactive_protein"]["unit"] = "mg/L"
    trial.course["rules"]["storm"]["above"]["c_reactive_protein"] = 150
    again = trial.load().course
    assert rule_met(again.spec.rules["storm"], again).tolist() == first.tolist()


def test_counts_in_another_unit_give_the_same_results():
    trial = only(small_course(), "measurements")
    first = to_frame(compared(trial.load(), ("age",)).results)
    rows = trial.where(trial.labs, "lymphocytes")
    trial.labs["value"] = trial.labs["value"].astype(float)
    trial.labs.loc[rows, "value"] /= 1000
    trial.labs.loc[rows, "unit"] = "10^9/L"
    trial.course["measurements"][COUNT] |= {"unit": "10^9/L", "threshold": 1}
    again = to_frame(compared(trial.load(), ("age",)).results)
    pd.testing.assert_frame_equal(again, first, rtol=1e-6)


def test_rows_in_another_order_change_nothing():
    trial = only(small_course(), "measurements", "adverse_events")
    first = to_frame(compared(trial.load()).results)
    generator = np.random.default_rng(2)
    trial.labs = trial.labs.sample(frac=1, random_state=generator)
    trial.events = trial.events.sample(frac=1, random_state=generator)
    pd.testing.assert_frame_equal(to_frame(compared(trial.load()).results), first, rtol=1e-9)


def test_the_effect_in_subgroups_of_the_last_value_comes_from_one_model(cohort, findings):
    from il7ml.endpoints.final_ratio import final_ratio_by_subgroup

    groups = np.array(["a", "b"] * 2 + ["b", "a"] * 38, dtype=object)
    groups[[5, 9]] = None
    known = np.array([group is not None for group in groups])
    measured = cohort.course.measurements[COUNT]
    expected = final_ratio_by_subgroup(
        final_of(measured, cohort.course)[known],
        measured.baseline[known],
        cohort.treatment[known],
        groups[known],
        modifier="letter",
        endpoint=f"{COUNT}_final",
    )
    found = findings.lines[f"{COUNT}_final"].by_subgroup("letter", groups)
    for each, other in zip(found, expected, strict=True):
        assert each.effect.estimate == pytest.approx(other.effect.estimate)
        assert each.interaction_p == pytest.approx(other.interaction_p)


def test_a_measurement_without_a_visit_is_noted_and_the_others_go_on():
    trial = only(small_course(), "measurements", "rules")
    rows = trial.where(trial.labs, "ferritin")
    trial.labs = trial.labs.drop(index=[row for row in rows if trial.labs.loc[row, "day"] > 0])
    trial.course["measurements"]["ferritin"]["schedule"] = [90]
    found = compared(trial.load())
    assert found.lines["ferritin_average"].result is None
    assert found.lines["ferritin_average"].control == "-"
    assert any(note.startswith("Not compared - ferritin, visits") for note in found.notes)
    assert found.lines[f"{COUNT}_average"].result is not None


def test_patients_lost_before_the_last_day_are_said():
    trial = only(small_course())
    course, outcomes = trial.load().course, trial.load().outcomes
    staying = (outcomes["infected"].value == 0) & np.isnan(course.death) & ~(course.discharge <= 30)
    places = np.flatnonzero(staying)[:3]
    assert not [note for note in compared(trial.load()).notes if "count as none" in note]
    trial.patients.loc[places, "follow_up"] = 20
    notes = [note for note in compared(trial.load()).notes if "count as none" in note]
    assert [note.partition(":")[0] for note in notes] == ["infected", "infections"]
    assert all("follow-up of 3 patients ends" in note for note in notes)


def test_adverse_events_that_do_not_count_are_said():
    trial = only(small_course(), "adverse_events")
    before = compared(trial.load())
    assert not [note for note in before.notes if note.startswith("Adverse events after day")]
    trial.add_events("adverse_event", {0: 31, 1: 45}, detail="fever|2|0")
    after = compared(trial.load())
    assert after.notes[-1] == "Adverse events after day 30 or the end of the patient's follow-up do not count: 2."
    assert after.tables["adverse_events"].equals(before.tables["adverse_events"])


@pytest.mark.parametrize("part", ["recovery", "average"])
def test_recovery_and_visits_are_compared_in_subgroups(cohort, findings, part):
    rows = cohort.baseline["sex"].to_numpy() == "female"
    (inside,) = findings.lines[f"{COUNT}_{part}"].in_subgroup(rows)
    (everyone,) = findings.lines[f"{COUNT}_{part}"].in_subgroup(np.ones(rows.size, dtype=bool))
    unadjusted = rows_of(findings, f"{COUNT}_{part}")
    assert everyone.estimate in [pytest.approx(each.estimate) for each in unadjusted]
    trial = small_course()
    women = trial.patients.index[trial.patients["sex"] == "f"]
    trial.patients = trial.patients.loc[women].reset_index(drop=True)
    for name in ("labs", "events"):
        frame = getattr(trial, name)
        setattr(trial, name, frame[frame["patient_id"].isin(trial.patients["patient_id"])])
    del trial.raw["variables"]["sex"]  # of women alone it would be refused
    alone = compared(trial.load())
    assert inside.estimate in [pytest.approx(each.estimate) for each in rows_of(alone, f"{COUNT}_{part}")]


def test_nobody_below_the_threshold_is_noted():
    trial = only(small_course(), "measurements")
    trial.course["measurements"][COUNT]["threshold"] = 10
    found = compared(trial.load())
    assert found.lines[f"{COUNT}_recovery"].result is None
    assert any(note.startswith(f"Not compared - {COUNT}_recovery") for note in found.notes)
    assert f"incidence_{COUNT}_recovery" not in found.tables
