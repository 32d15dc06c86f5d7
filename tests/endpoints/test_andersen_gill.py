import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.duration.hazard_regression import PHReg

from il7ml.endpoints.andersen_gill import CountingProcess, counting_process, recurrent_rate_ratio
from il7ml.endpoints.cox import hazard_ratio
from il7ml.endpoints.partial_likelihood import fit_partial_likelihood
from il7ml.errors import InputError


def as_process(cgd, intervals):
    position = pd.Index(cgd["id"]).get_indexer(intervals["id"])
    columns = (intervals[name].to_numpy(dtype=float) for name in ("tstart", "tstop", "status"))
    return CountingProcess(position, *columns)


def test_all_infections_as_in_r(cgd, cgd_intervals):
    process = as_process(cgd, cgd_intervals)
    result = recurrent_rate_ratio(process, cgd["treat"], endpoint="infections")
    assert round(float(np.log(result.estimate)), 4) == -1.0953
    assert round(result.estimate, 4) == 0.3344
    assert round(result.std_error, 4) == 0.3119
    assert (result.n, result.events) == (128, 76)
    treated = cgd["treat"].to_numpy(dtype=float)[process.patient, None]
    naive = fit_partial_likelihood(treated, process.stop, process.event, process.start)
    assert round(float(np.sqrt(naive.covariance[0, 0])), 4) == 0.2610


def test_patients_less_coefficients_enlarge_the_adjusted_error(cgd, cgd_intervals):
    process, covariates = as_process(cgd, cgd_intervals), cgd[["age", "propylac"]]
    result = recurrent_rate_ratio(process, cgd["treat"], endpoint="infections", covariates=covariates)
    design = np.column_stack([cgd["treat"], covariates]).astype(float)[process.patient]
    fit = fit_partial_likelihood(design, process.stop, process.event, process.start)
    influence = pd.DataFrame(fit.score_residuals @ fit.covariance).groupby(process.patient).sum()[0]
    # 128 patients, 3 coefficients: with the arm alone the factor is 1, and the error is R's.
    assert result.std_error == pytest.approx(np.sqrt((influence**2).sum() * 127 / 125))
    assert np.log(result.high / result.estimate) / result.std_error == pytest.approx(stats.t.ppf(0.975, 125))


def test_follow_up_cut_at_infections_gives_the_published_intervals(cgd, cgd_intervals):
    infections = cgd_intervals[cgd_intervals["status"] == 1]
    patient = pd.Index(cgd["id"]).get_indexer(infections["id"])
    shuffled = np.random.default_rng(1).permutation(len(infections))
    process = counting_process(patient[shuffled], infections["tstop"].to_numpy()[shuffled], cgd["futime"])
    for ours, theirs in zip(process, as_process(cgd, cgd_intervals), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_with_one_event_at_most_it_is_the_cox_model(cgd):
    infected = np.flatnonzero(cgd["event"])
    process = counting_process(infected, cgd["time"].to_numpy()[infected], cgd["time"])
    covariates = cgd[["age", "propylac"]]
    recurrent = recurrent_rate_ratio(process, cgd["treat"], endpoint="first", covariates=covariates)
    first = hazard_ratio(cgd["time"], cgd["event"], cgd["treat"], endpoint="first", covariates=covariates)
    assert recurrent.estimate == pytest.approx(first.estimate)
    assert recurrent.method == "Andersen-Gill, adjusted, robust by patient"
    strata = cgd["hos.cat"]
    recurrent = recurrent_rate_ratio(process, cgd["treat"], endpoint="first", strata=strata)
    first = hazard_ratio(cgd["time"], cgd["event"], cgd["treat"], endpoint="first", strata=strata)
    assert recurrent.estimate == pytest.approx(first.estimate)


def test_events_of_one_patient_on_one_day_have_that_days_risk_set():
    process = counting_process([0, 0, 1], [5, 5, 5], [5, 8])
    assert process.patient.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(process.stop, [4.999, 5, 5, 8])
    np.testing.assert_allclose(process.start, [0, 4.999, 0, 5])
    assert process.event.tolist() == [1, 1, 1, 0]


def test_a_patient_without_events_has_one_interval():
    process = counting_process([], [], [30.0, 12.0])
    assert (process.start.tolist(), process.stop.tolist(), process.event.tolist()) == ([0, 0], [30, 12], [0, 0])


@pytest.mark.parametrize(
    ("patient", "day", "follow_up", "message"),
    [
        ([0], [31], [30, 30], "1 lie after the patient's last day at risk"),
        ([0], [0], [30, 30], "1 are on or before it"),
        ([0], [-2], [30, 30], "1 are on or before it"),
        ([2], [3], [30, 30], "positions from 0 to 1"),
        ([0.5], [3], [30, 30], "positions from 0 to 1"),
        ([np.nan], [3], [30, 30], "positions from 0 to 1"),
        ([0], [3], [30, 0], "expected positive days"),
    ],
)
def test_events_outside_follow_up_are_refused(patient, day, follow_up, message):
    with pytest.raises(InputError, match=message):
        counting_process(patient, day, follow_up)


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        ([0, 5, 0], [5, 5, 9], "1 others came"),
        ([0, 4, 0], [5, 9, 9], "1 intervals overlap"),
        ([-1, 5, 0], [5, 9, 9], "1 others came"),
    ],
)
def test_intervals_that_make_no_sense_are_refused(start, stop, message):
    process = CountingProcess(np.array([0, 0, 1]), np.array(start, float), np.array(stop, float), np.ones(3))
    with pytest.raises(InputError, match=message):
        recurrent_rate_ratio(process, [1, 0], endpoint="infections")


def test_intervals_of_unknown_patients_are_refused():
    process = counting_process([0], [3], [30, 30, 30])
    with pytest.raises(InputError, match="intervals of patients 0 to 1"):
        recurrent_rate_ratio(process, [1, 0], endpoint="infections")


def test_an_arm_without_events_and_a_single_site_are_refused():
    process = counting_process([0, 1], [3, 5], [30, 30, 30, 30])
    with pytest.raises(InputError, match="no events in the control arm"):
        recurrent_rate_ratio(process, [1, 1, 0, 0], endpoint="infections")
    with pytest.raises(InputError, match="at least two"):
        recurrent_rate_ratio(process, [1, 0, 1, 0], endpoint="infections", strata=["uk"] * 4)


def test_several_events_just_after_randomisation_stay_after_it():
    process = counting_process([0, 0, 0], [0.001, 0.001, 0.001], [30.0])
    assert (process.start >= 0).all()
    assert (process.stop > process.start).all()
    assert process.event.sum() == 3


def test_a_site_without_events_does_not_stand_in_the_way():
    rng = np.random.default_rng(4)
    site, arm = np.arange(80) % 4, np.arange(80) // 4 % 2
    patient = rng.choice(np.flatnonzero(site < 3), 60)
    process = counting_process(patient, rng.integers(1, 31, 60), np.full(80, 30.0))
    covariates = pd.DataFrame({"site": site.astype(str)})
    result = recurrent_rate_ratio(process, arm, endpoint="infections", covariates=covariates)
    design = np.column_stack([arm, site == 1, site == 2])[process.patient].astype(float)
    # The coefficient of the site is at -20 on its way to minus infinity: the others no longer move.
    offset = -20.0 * (site == 3)[process.patient]
    entry = process.start + 0.0005  # statsmodels counts the entry day in the risk set
    model = PHReg(process.stop, design, process.event, entry=entry, offset=offset, ties="efron").fit()
    assert np.log(result.estimate) == pytest.approx(model.params[0], abs=1e-5)
    assert (result.n, result.events) == (80, 60)
