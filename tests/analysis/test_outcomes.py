"""The study's endpoints: shipped trials against published and R numbers, a small one against the routines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact
from statsmodels.duration.survfunc import SurvfuncRight
from tests.small_course import small_course

from il7ml.analysis.findings import Findings, Task
from il7ml.analysis.outcomes import compare_outcomes, mean_and_spread
from il7ml.config import RunConfig
from il7ml.data.loading import load_cohort
from il7ml.endpoints.ancova import ancova
from il7ml.endpoints.cox import hazard_ratio
from il7ml.endpoints.interactions import binary_interaction
from il7ml.endpoints.proportions import adjusted_risks, unadjusted_risks
from il7ml.endpoints.rates import poisson_rates
from il7ml.endpoints.result import to_frame

CONFIGS = Path(__file__).parents[2] / "configs"


def compared(cohort, covariates=(), level=0.95):
    findings = Findings()
    table = cohort.baseline[list(covariates)] if covariates else None
    compare_outcomes(Task(cohort, table, level), findings)
    return findings


def shipped(name):
    config = RunConfig.from_file(CONFIGS / f"{name}.yaml")
    return to_frame(compared(load_cohort(config.study), config.analysis.covariates).results)


def row(frame, endpoint, scale, place=0):
    return frame[(frame["endpoint"] == endpoint) & (frame["scale"] == scale)].iloc[place]


def notes_on(findings, endpoint):
    return [note for note in findings.notes if note.startswith(f"Not compared - {endpoint},")]


def test_cgd_gives_the_published_infections():
    frame = shipped("cgd")
    first = row(frame, "any_infection", "difference")
    assert first["estimate"] == pytest.approx(14 / 63 - 30 / 65)
    assert (first["n"], first["events"]) == (128, 44)
    assert row(frame, "any_infection", "number_needed")["estimate"] == pytest.approx(1 / (30 / 65 - 14 / 63))
    rate = row(frame, "infections", "rate_ratio")
    assert rate["estimate"] == pytest.approx(0.349, abs=5e-4)
    assert (rate["low"], rate["high"]) == (pytest.approx(0.187, abs=1e-3), pytest.approx(0.650, abs=1e-3))
    negative_binomial = frame[frame["method"].str.contains("egative binomial")].iloc[0]
    assert negative_binomial["estimate"] == pytest.approx(0.357, abs=5e-4)
    assert rate["events"] == 76
    # R's survival: Cox for the first infection, log-rank test, Andersen-Gill with the robust error by patient.
    hazard = row(frame, "any_infection", "hazard_ratio")
    assert (hazard["estimate"], hazard["std_error"]) == (
        pytest.approx(0.3349, abs=5e-5),
        pytest.approx(0.3348, abs=5e-5),
    )
    assert row(frame, "any_infection", "chi_square")["estimate"] == pytest.approx(11.7, abs=0.05)
    recurrent = frame[frame["method"].str.startswith("Andersen-Gill")].iloc[0]
    assert recurrent["estimate"] == pytest.approx(0.3344, abs=5e-5)
    assert recurrent["std_error"] == pytest.approx(0.3119, abs=5e-5)


def test_actg175_gives_the_reference_numbers():
    frame = shipped("actg175")
    hazard = row(frame, "event_day730", "hazard_ratio")
    assert hazard["estimate"] == pytest.approx(0.5350, abs=5e-5)
    assert hazard["std_error"] == pytest.approx(0.0921, abs=5e-5)
    unadjusted, adjusted = (row(frame, "cd420", "difference", place) for place in (0, 1))
    assert unadjusted["estimate"] == pytest.approx(46.81, abs=5e-3)
    assert adjusted["estimate"] == pytest.approx(49.38, abs=5e-3)
    assert adjusted["std_error"] == pytest.approx(5.29, abs=5e-3)


def test_a_time_to_event_says_what_is_of_all_follow_up_and_what_of_the_day():
    cohort = load_cohort(RunConfig.from_file(CONFIGS / "actg175.yaml").study)
    line = compared(cohort).lines["event_day730"]
    for arm, text in ((0, line.control), (1, line.treated)):
        rows = cohort.treatment == arm
        value, time = cohort.outcomes["event_day730"].value[rows], cohort.outcomes["event_day730"].time[rows]
        curve = SurvfuncRight(time, value)
        risk = 1 - curve.surv_prob[curve.surv_times <= 730][-1]
        seen = f"{int(value.sum())}/{rows.sum()} ({100 * value.mean():.0f} %)"
        assert text == f"{seen} in all follow-up, {100 * risk:.0f} % by day 730"


@pytest.fixture(scope="module")
def cohort():
    return small_course().load()


@pytest.fixture(scope="module")
def findings(cohort):
    return compared(cohort, ("age", "sex"))


def test_infections_after_discharge_do_not_count():
    trial = small_course()
    before = trial.load()
    discharge = before.course.discharge
    quiet = np.flatnonzero((before.outcomes["infected"].value == 0) & (discharge < 20))[:5]
    trial.add_events("infection", {int(place): discharge[place] + 2 for place in quiet})
    after = trial.load()
    assert to_frame(compared(after).results).equals(to_frame(compared(before).results))
    trial.add_events("infection", {int(place): discharge[place] for place in quiet})
    counted = trial.load().outcomes["infected"].value.sum()
    assert counted == before.outcomes["infected"].value.sum() + 5


def test_arms_as_seen(cohort, findings):
    line = findings.lines["infected"]
    infected, arm = cohort.outcomes["infected"].value, cohort.treatment
    assert line.control == f"{int(infected[arm == 0].sum())}/40 ({100 * infected[arm == 0].mean():.0f} %)"
    assert line.treated == f"{int(infected[arm == 1].sum())}/40 ({100 * infected[arm == 1].mean():.0f} %)"
    rate = findings.lines["infections"]
    observed = cohort.outcomes["infections"]
    total, time = observed.value[arm == 0].sum(), observed.exposure[arm == 0].sum()
    assert rate.control == f"{int(total)} in 40 patients ({total / time:.3g} per 100 hospital days)"
    assert (rate.measure, rate.unit, rate.harmful) == ("rate", "100 hospital days", True)


def test_the_rate_is_per_hospital_days(cohort):
    trial = small_course()
    events = trial.events
    end = events[events["kind"].isin(["death", "discharge"])].groupby("patient_id")["day"].min()
    days = np.minimum(trial.patients["patient_id"].map(end), 30)
    np.testing.assert_allclose(cohort.outcomes["infections"].exposure, days / 100)


def test_the_headline_is_the_adjusted_comparison(cohort, findings):
    covariates, arm = cohort.baseline[["age", "sex"]], cohort.treatment
    infected, count = cohort.outcomes["infected"], cohort.outcomes["infections"]
    expected = adjusted_risks(infected.value, arm, covariates, endpoint="infected")
    assert findings.lines["infected"].result == next(each for each in expected if each.scale == "ratio")
    rates = poisson_rates(count.value, arm, endpoint="infections", exposure=count.exposure, covariates=covariates)
    assert findings.lines["infections"].result == next(each for each in rates if each.scale == "rate_ratio")
    sofa = ancova(cohort.outcomes["sofa"].value, arm, endpoint="sofa", covariates=covariates)
    assert findings.lines["sofa"].result == sofa
    relapse = cohort.outcomes["relapse"]
    hazard = hazard_ratio(relapse.time, relapse.value, arm, endpoint="relapse", covariates=covariates)
    shown = findings.lines["relapse"].result
    assert (shown.estimate, shown.p_value) == (pytest.approx(hazard.estimate), pytest.approx(hazard.p_value))


def test_without_covariates_the_headline_is_the_plain_comparison(cohort):
    found = compared(cohort)
    arm = cohort.treatment
    expected = unadjusted_risks(cohort.outcomes["infected"].value, arm, endpoint="infected")
    assert found.lines["infected"].result == expected[1]
    assert not any("adjusted" in each.method.replace("unadjusted", "") for each in found.results)


def test_the_level_reaches_every_interval(cohort):
    wide, narrow = (to_frame(compared(cohort, level=level).results) for level in (0.95, 0.8))
    known = (wide["high"] > wide["low"]) & np.isfinite(wide["high"])
    assert known.sum() > 15
    assert ((narrow["high"] - narrow["low"]) < (wide["high"] - wide["low"]))[known].all()


def test_the_first_infection_competes_with_discharge_and_death(cohort, findings):
    # By hand: nobody is censored before day 30, so incidence is the share with a first infection by each day.
    table = findings.tables["incidence_infected"]
    timeline, arm = cohort.outcomes["infected"].timeline, cohort.treatment
    first = np.full(80, np.inf)
    np.minimum.at(first, timeline.patient, timeline.day)
    for number, name in enumerate(("control", "treated")):
        curve = table[(table["arm"] == name) & (table["cause"] == 1)]
        for day, incidence in zip(curve["day"], curve["incidence"], strict=True):
            assert incidence == pytest.approx((first[arm == number] <= day).mean())
    assert set(table["cause"]) == {1, 2}
    at_risk = findings.tables["at_risk_infected"]
    assert at_risk.loc[at_risk["day"] == 0, "at_risk"].tolist() == [40, 40]


def test_event_rows_in_another_order_change_nothing(findings):
    trial = small_course()
    trial.events = trial.events.sample(frac=1, random_state=np.random.default_rng(5))
    again = to_frame(compared(trial.load(), ("age", "sex")).results)
    pd.testing.assert_frame_equal(again, to_frame(findings.results), rtol=1e-9)


def test_comparisons_among_some_patients_and_by_a_number(cohort, findings):
    rows = np.arange(80) < 50
    infected, arm = cohort.outcomes["infected"].value, cohort.treatment
    line = findings.lines["infected"]
    assert list(line.in_subgroup(rows)) == unadjusted_risks(infected[rows], arm[rows], endpoint="infected")
    age = cohort.baseline["age"].to_numpy(float)
    assert line.interaction(age) == binary_interaction(infected, arm, age, endpoint="infected")


def test_patients_without_an_outcome_are_left_out():
    trial = small_course()
    trial.raw["endpoints"]["sofa"]["missing"] = "weight"
    trial.patients.loc[[0, 1, 2], "sofa7"] = np.nan
    line = compared(trial.load()).lines["sofa"]
    known = trial.patients.loc[trial.patients["arm"] == "placebo", "sofa7"].dropna()
    assert line.result.n == 77
    assert line.control == f"{known.mean():.3g} (SD {known.std():.3g})"


@pytest.mark.parametrize(
    ("values", "text"), [([1.0, 3.0], "2 (SD 1.41)"), ([1.0, np.nan, 3.0], "2 (SD 1.41)"), ([1.0], "-"), ([], "-")]
)
def test_mean_and_spread(values, text):
    assert mean_and_spread(np.array(values)) == text


def test_no_events_in_an_arm_are_noted_and_the_others_go_on():
    trial = small_course()
    trial.drop_events("infection", *range(1, 80, 2))
    found = compared(trial.load(), ("age",))
    for endpoint in ("infected", "infections"):
        assert notes_on(found, endpoint)
        assert all("no events in the treated arm" in note for note in notes_on(found, endpoint))
    assert found.lines["infections"].result is None
    # A difference needs no events in both arms.
    exact = found.lines["infected"].result
    events = int(found.lines["infected"].control.split("/")[0])
    assert (exact.scale, exact.method) == ("difference", "Newcombe, Fisher")
    assert exact.estimate == pytest.approx(-events / 40)
    assert exact.p_value == pytest.approx(fisher_exact([[0, 40], [events, 40 - events]]).pvalue)
    assert found.lines["infected"].treated == "0/40 (0 %)"
    assert found.lines["sofa"].result is not None
    assert found.lines["relapse"].result is not None


def test_all_censored_is_noted_and_the_others_go_on():
    trial = small_course()
    trial.patients["relapsed"] = 0
    found = compared(trial.load())
    assert found.lines["relapse"].result is None
    assert found.lines["relapse"].control == "0/40 (0 %) in all follow-up, 0 % by day 60"
    assert len(notes_on(found, "relapse")) >= 2
    assert found.lines["infected"].result is not None


def test_an_outcome_that_does_not_vary_is_noted():
    trial = small_course()
    trial.patients["sofa7"] = 3.0
    found = compared(trial.load())
    assert found.lines["sofa"].result is None
    assert notes_on(found, "sofa")


def test_notes_hold_no_identifier():
    trial = small_course()
    trial.drop_events("infection")
    trial.patients["relapsed"] = 0
    notes = " ".join(compared(trial.load()).notes)
    assert notes
    assert not any(one in notes for one in trial.ids(*range(80)))
