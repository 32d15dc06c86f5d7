import numpy as np
import pandas as pd
import pytest
from statsmodels.duration.hazard_regression import PHReg

from il7ml.endpoints.cox import hazard_ratio, log_rank_test
from il7ml.errors import InputError


def digits(result):
    return round(float(np.log(result.estimate)), 4), round(result.std_error, 4)


def test_first_infection_as_in_r(cgd):
    crude = hazard_ratio(cgd["time"], cgd["event"], cgd["treat"], endpoint="first_infection")
    assert digits(crude) == (-1.0940, 0.3348)
    assert (round(crude.estimate, 4), round(crude.low, 3), round(crude.high, 3)) == (0.3349, 0.174, 0.645)
    assert (crude.n, crude.events, crude.method) == (128, 44, "Cox")


def test_adjusted_and_stratified_as_in_r(cgd):
    covariates = cgd[["age", "steroids", "propylac", "inherit"]]
    adjusted = hazard_ratio(cgd["time"], cgd["event"], cgd["treat"], endpoint="first_infection", covariates=covariates)
    assert digits(adjusted) == (-1.1284, 0.3417)
    assert round(adjusted.estimate, 4) == 0.3236
    strata = cgd["hos.cat"]
    stratified = hazard_ratio(cgd["time"], cgd["event"], cgd["treat"], endpoint="first_infection", strata=strata)
    assert digits(stratified) == (-1.1279, 0.3367)
    assert stratified.method == "Cox, stratified"


@pytest.mark.parametrize(
    ("arm", "coefficient", "ratio", "error", "z"),
    [
        (1, -0.7037, 0.4947, 0.1235, -5.70),
        (2, -0.6402, 0.5272, 0.1213, -5.28),
        (3, -0.5283, 0.5896, 0.1156, -4.57),
        (None, -0.6255, 0.5350, 0.0921, -6.79),
    ],
)
def test_actg175_as_in_r(actg175, arm, coefficient, ratio, error, z):
    rows = actg175 if arm is None else actg175[actg175["arms"].isin([0, arm])]
    result = hazard_ratio(rows["days"], rows["cens"], (rows["arms"] > 0).astype(int), endpoint="aids_or_death")
    assert digits(result) == (coefficient, error)
    assert round(result.estimate, 4) == ratio
    assert round(np.log(result.estimate) / result.std_error, 2) == z


def test_log_rank_as_in_r(cgd):
    test = log_rank_test(cgd["time"], cgd["event"], cgd["treat"], endpoint="first_infection")
    assert round(test.estimate, 1) == 11.7
    assert round(test.p_value, 4) == 0.0006
    assert np.isnan([test.std_error, test.low, test.high]).all()


def test_stratified_log_rank_sums_observed_minus_expected_over_strata():
    rng = np.random.default_rng(4)
    n = 80
    time, event, arm, site = np.ceil(rng.exponential(10, n)), rng.random(n) < 0.7, np.arange(n) % 2, np.arange(n) % 3
    excess = variance = 0.0
    for stratum in range(3):
        rows = site == stratum
        for day in np.unique(time[rows & event]):
            at_risk = rows & (time >= day)
            deaths, total = (rows & event & (time == day)).sum(), at_risk.sum()
            share = (at_risk & (arm == 1)).sum() / total
            excess += (rows & event & (time == day) & (arm == 1)).sum() - deaths * share
            variance += deaths * share * (1 - share) * (total - deaths) / max(total - 1, 1)
    test = log_rank_test(time, event, arm, endpoint="death", strata=site)
    assert test.estimate == pytest.approx(excess**2 / variance)
    assert test.method == "log-rank test, stratified"


@pytest.mark.parametrize("analyse", [hazard_ratio, log_rank_test])
@pytest.mark.parametrize(
    ("time", "event", "strata", "message"),
    [
        ([3, -1, 2, 5], [1, 1, 1, 1], None, "time: expected values of at least 0; 1 lower"),
        ([3, 1, 2, 5], [0, 0, 0, 0], None, "no events in the control arm"),
        ([3, 1, 2, 5], [0, 0, 1, 1], None, "no events in the treated arm"),
        ([3, 1, 2, 5], [1, 1, 1, 1], ["uk"] * 4, "expected at least two"),
        ([3, 1, 2, 5], [1, 2, 1, 1], None, "event: expected 1"),
    ],
)
def test_bad_input_is_refused(analyse, time, event, strata, message):
    with pytest.raises(InputError, match=message):
        analyse(time, event, [1, 1, 0, 0], endpoint="death", strata=strata)


def test_a_site_without_events_does_not_stand_in_the_way():
    rng = np.random.default_rng(12)
    n = 120
    arm, age, site = np.arange(n) % 2, rng.normal(size=n), np.arange(n) % 5
    time, event = np.ceil(rng.exponential(20 * np.exp(-0.4 * age))), (rng.random(n) < 0.6) & (site != 4)
    covariates = pd.DataFrame({"age": age, "site": site.astype(str)})
    result = hazard_ratio(time, event, arm, endpoint="infection", covariates=covariates)
    design = np.column_stack([arm, age, *(site == each for each in range(1, 5))]).astype(float)
    # The coefficient of the site is at -20 on its way to minus infinity: the others no longer move.
    model = PHReg(time, design[:, :5], event, offset=-20 * design[:, 5], ties="efron").fit()
    assert np.log(result.estimate) == pytest.approx(model.params[0], abs=1e-5)
    assert result.std_error == pytest.approx(model.bse[0], rel=1e-4)
    assert result.n == n


def test_events_that_fall_into_strata_of_one_arm_allow_no_test():
    with pytest.raises(InputError, match="while patients of both arms were at risk"):
        log_rank_test([3, 1, 2, 5], [1, 1, 1, 1], [1, 1, 0, 0], endpoint="death", strata=["uk", "uk", "fr", "fr"])


def test_arms_without_overlap_have_no_hazard_ratio():
    time = np.repeat([1.0, 20.0], 30)
    with pytest.raises(InputError, match="not estimable"):
        hazard_ratio(time, np.ones(60), time > 10, endpoint="death")
