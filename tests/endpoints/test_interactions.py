import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from il7ml.endpoints.interactions import binary_interaction, count_interaction, hazard_interaction
from il7ml.errors import InputError


@pytest.mark.parametrize(
    ("name", "value", "coefficient", "p_value"),
    [("age", None, 0.0211, 0.558), ("inherit", 1, -0.3728, 0.582), ("propylac", 1, -0.2600, 0.776)],
)
def test_first_infection_as_in_r(cgd, name, value, coefficient, p_value):
    modifier = cgd[name] if value is None else cgd[name] == value
    result = hazard_interaction(cgd["time"], cgd["event"], cgd["treat"], modifier, endpoint="first_infection")
    assert round(float(np.log(result.estimate)), 4) == coefficient
    assert round(result.p_value, 3) == p_value
    assert (result.scale, result.events) == ("hazard_ratio", 44)


def test_three_patients_on_steroids_tell_nothing(cgd):
    with pytest.raises(InputError, match="not estimable"):
        hazard_interaction(cgd["time"], cgd["event"], cgd["treat"], cgd["steroids"] == 1, endpoint="first_infection")


def products(cgd):
    return np.column_stack([np.ones(128), cgd["treat"], cgd["age"], cgd["treat"] * cgd["age"], cgd["propylac"]])


def test_odds_are_those_of_logistic_regression(cgd):
    reference = sm.Logit(cgd["event"], products(cgd)).fit(disp=False)
    result = binary_interaction(
        cgd["event"], cgd["treat"], cgd["age"], endpoint="infection", covariates=cgd[["propylac"]]
    )
    assert np.log(result.estimate) == pytest.approx(reference.params.iloc[3], rel=1e-5)
    assert result.std_error == pytest.approx(reference.bse.iloc[3], rel=1e-5)
    assert result.p_value == pytest.approx(reference.pvalues.iloc[3], rel=1e-4)


def test_rates_are_those_of_poisson_regression_with_the_sandwich(cgd):
    model = sm.GLM(cgd["infections"], products(cgd), family=sm.families.Poisson(), exposure=cgd["futime"])
    reference = model.fit(cov_type="HC0")
    result = count_interaction(
        cgd["infections"],
        cgd["treat"],
        cgd["age"],
        endpoint="infections",
        exposure=cgd["futime"],
        covariates=cgd[["propylac"]],
    )
    assert np.log(result.estimate) == pytest.approx(reference.params.iloc[3], rel=1e-4)
    assert result.std_error == pytest.approx(reference.bse.iloc[3], rel=1e-4)
    assert (result.scale, result.events) == ("rate_ratio", 76)


@pytest.mark.parametrize(
    ("y", "modifier", "message"),
    [
        ([0, 1, 1, 0, 0, 1, 0, 1], [5] * 8, "modifier: expected values that differ"),
        ([0, 1, 1, 0, 0, 1, 0, 1], [5, np.nan, 1, 2, 3, 4, 5, 6], "1 are missing"),
        ([0, 0, 0, 0, 0, 1, 0, 1], range(8), "no events in the treated arm"),
        ([0, 1, 1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0, 1, 1], "no events, or nothing else, in an arm"),
    ],
)
def test_bad_input_is_refused(y, modifier, message):
    with pytest.raises(InputError, match=message):
        binary_interaction(y, [1, 1, 1, 1, 0, 0, 0, 0], modifier, endpoint="infection")


def test_a_value_without_events_in_an_arm_has_no_rate_ratio():
    with pytest.raises(InputError, match="no events, or nothing else, in an arm"):
        count_interaction([0, 0, 1, 2, 3, 1, 2, 1], [1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1] * 2, endpoint="infections")


def test_covariates_do_not_stand_in_for_the_modifier(cgd):
    with pytest.raises(InputError, match="not estimable"):
        hazard_interaction(
            cgd["time"],
            cgd["event"],
            cgd["treat"],
            cgd["age"],
            endpoint="first_infection",
            covariates=pd.DataFrame({"months": 12 * cgd["age"]}),
        )


def test_a_site_without_events_does_not_stand_in_the_way():
    rng = np.random.default_rng(5)
    n = 160
    arm, age, site = np.arange(n) % 2, rng.normal(size=n), np.arange(n) // 2 % 4
    events = rng.poisson(np.exp(-0.5 * arm + 0.3 * age)) * (site < 3)
    covariates = pd.DataFrame({"site": site.astype(str)})
    design = np.column_stack([np.ones(n), arm, age, arm * age, *(site == each for each in (1, 2, 3))]).astype(float)
    for analyse, y, family, cov_type in (
        (binary_interaction, (events > 0).astype(int), sm.families.Binomial(), "nonrobust"),
        (count_interaction, events, sm.families.Poisson(), "HC0"),
    ):
        reference = sm.GLM(y, design, family=family).fit(cov_type=cov_type, tol=1e-12, maxiter=30)
        result = analyse(y, arm, age, endpoint="infections", covariates=covariates)
        assert np.log(result.estimate) == pytest.approx(reference.params[3], abs=1e-6)
        assert result.std_error == pytest.approx(reference.bse[3], rel=1e-5)
