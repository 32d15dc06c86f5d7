import numpy as np
import pandas as pd
import pytest
from statsmodels.duration.survfunc import CumIncidenceRight

from il7ml.endpoints.competing import incidence_by_day
from il7ml.endpoints.pseudo_observations import pseudo_observation_effect, pseudo_observations
from il7ml.errors import InputError


def drawn(n=80, seed=10):
    rng = np.random.default_rng(seed)
    causes = rng.exponential([25.0, 30.0, 40.0], size=(n, 3))
    time, status = np.ceil(causes.min(axis=1)), (causes.argmin(axis=1) + 1) % 3
    last = time.argsort()[-3:]
    status[last] = 0  # statsmodels divides by 0 where nobody is left
    return time, status


def incidence_of(time, status, day):
    curve = CumIncidenceRight(time, status)
    return curve.cinc[0][np.searchsorted(curve.times, day, side="right") - 1]


def test_they_are_the_jackknife_of_the_cumulative_incidence():
    time, status = drawn()
    whole = incidence_of(time, status, 20)
    others = np.arange(80)
    expected = [80 * whole - 79 * incidence_of(time[others != k], status[others != k], 20) for k in range(80)]
    np.testing.assert_allclose(pseudo_observations(time, status, 20), expected, atol=1e-10)


def test_without_censoring_they_say_who_had_the_event():
    time, status = np.array([3, 9, 9, 12, 30, 30]), np.array([1, 2, 1, 1, 0, 0])
    np.testing.assert_allclose(pseudo_observations(time, status, 10), [1, 0, 1, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(pseudo_observations(time, status, 30), [1, 0, 1, 1, 0, 0], atol=1e-12)


def test_the_unadjusted_effect_is_close_to_that_of_the_curves(cgd):
    found = pseudo_observation_effect(cgd["time"], cgd["event"], cgd["treat"], 270, endpoint="infection")
    curves = incidence_by_day(cgd["time"], cgd["event"], cgd["treat"], 270, endpoint="infection")
    for pseudo, curve in zip(found, curves, strict=True):
        assert pseudo.estimate == pytest.approx(curve.estimate, rel=1e-6)
        assert pseudo.std_error == pytest.approx(curve.std_error, rel=0.02)
        assert pseudo[-2:] == curve[-2:]


def test_adjusted_effects_find_the_truth_under_censoring_that_differs_between_arms():
    rng = np.random.default_rng(11)
    n = 6000
    arm, x = np.arange(n) % 2, rng.normal(size=n)
    infection = rng.exponential(40 * np.exp(0.5 * arm - 0.8 * x))
    discharge, censoring = rng.exponential(50, n), rng.exponential(np.where(arm == 1, 40, 120))
    first = np.minimum(infection, discharge)
    time = np.minimum(first, censoring)
    status = np.where(first > censoring, 0, np.where(infection < discharge, 1, 2))
    draws = np.exp(0.8 * rng.normal(size=400_000)) / 40
    risk = [(h / (h + 1 / 50) * -np.expm1(-20 * (h + 1 / 50))).mean() for h in (draws, draws * np.exp(-0.5))]
    covariates = pd.DataFrame({"x": x})
    difference, ratio = pseudo_observation_effect(time, status, arm, 20, endpoint="infection", covariates=covariates)
    assert abs(difference.estimate - (risk[1] - risk[0])) < 3 * difference.std_error
    assert abs(np.log(ratio.estimate / (risk[1] / risk[0]))) < 3 * ratio.std_error
    crude = pseudo_observation_effect(time, status, arm, 20, endpoint="infection")[0]
    assert difference.std_error < 0.97 * crude.std_error
    assert difference.method == "pseudo-observations, adjusted"


@pytest.mark.parametrize(
    ("time", "status", "day", "message"),
    [
        ([3, 4, 10, 30], [1, 0, 1, 1], 20, "beyond the follow-up of an arm"),
        ([3, 30, 30, 30], [1, 0, 1, 1], 20, "no events in the control arm"),
        ([-3, 30, 30, 30], [1, 0, 1, 1], 30, "1 lower"),
    ],
)
def test_bad_input_is_refused(time, status, day, message):
    with pytest.raises(InputError, match=message):
        pseudo_observation_effect(time, status, [1, 1, 0, 0], day, endpoint="infection")


def test_an_arm_of_one_patient_has_no_jackknife():
    with pytest.raises(InputError, match="at least two patients"):
        pseudo_observations([3], [1], 2)


def test_arms_in_which_all_have_the_event_cannot_be_compared():
    with pytest.raises(InputError, match="all patients have the event by day 20"):
        pseudo_observation_effect([3, 7, 9, 12, 5, 8], [1] * 6, [1, 1, 1, 0, 0, 0], 20, endpoint="infection")
