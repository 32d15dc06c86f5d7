import numpy as np
import pytest
from statsmodels.duration.survfunc import CumIncidenceRight, SurvfuncRight

from il7ml.endpoints.competing import (
    cause_specific_hazard_ratio,
    cumulative_incidence,
    incidence_by_day,
    numbers_at_risk,
)
from il7ml.endpoints.cox import hazard_ratio
from il7ml.errors import InputError


def drawn(n=200, seed=6):
    rng = np.random.default_rng(seed)
    causes = rng.exponential([25.0, 30.0, 60.0], size=(n, 3))
    time, status = np.ceil(causes.min(axis=1)), (causes.argmin(axis=1) + 1) % 3
    arm = np.arange(n) % 2
    for each in (0, 1):
        status[np.flatnonzero(arm == each)[time[arm == each].argmax()]] = 0
    return time, status, arm


def test_curves_are_those_of_statsmodels_arm_by_arm():
    time, status, arm = drawn()
    curves = cumulative_incidence(time, status, arm)
    assert set(zip(curves["arm"], curves["cause"], strict=True)) == {
        (a, c) for a in ("control", "treated") for c in (1, 2)
    }
    for name, code in (("control", 0), ("treated", 1)):
        reference = CumIncidenceRight(time[arm == code], status[arm == code])
        for cause in (1, 2):
            curve = curves[(curves["arm"] == name) & (curves["cause"] == cause)]
            assert curve.iloc[0][["day", "incidence", "std_error", "at_risk"]].tolist() == [0, 0, 0, 100]
            position = np.searchsorted(reference.times, curve["day"].iloc[1:])
            np.testing.assert_allclose(curve["incidence"].iloc[1:], reference.cinc[cause - 1][position])
            np.testing.assert_allclose(curve["std_error"].iloc[1:], reference.cinc_se[cause - 1][position], atol=1e-9)


def test_limits_are_symmetric_on_the_log_log_scale():
    curve = cumulative_incidence(*drawn()).query("arm == 'treated' and cause == 1 and incidence > 0")
    middle = np.log(-np.log(curve["incidence"]))
    half = 1.959964 * curve["std_error"] / (curve["incidence"] * -np.log(curve["incidence"]))
    np.testing.assert_allclose(np.log(-np.log(curve["low"])), middle + half, rtol=1e-6)
    np.testing.assert_allclose(np.log(-np.log(curve["high"])), middle - half, rtol=1e-6)


def test_with_one_cause_the_curve_is_one_minus_kaplan_meier(cgd):
    curve = cumulative_incidence(cgd["time"], cgd["event"], cgd["treat"]).query("arm == 'control' and day > 0")
    rows = cgd["treat"] == 0
    reference = SurvfuncRight(cgd["time"][rows], cgd["event"][rows])
    np.testing.assert_allclose(curve["incidence"], 1 - reference.surv_prob)
    np.testing.assert_allclose(curve["std_error"], reference.surv_prob_se)


def test_numbers_at_risk_count_who_is_still_followed_just_before_a_day():
    table = numbers_at_risk([5, 10, 10, 3], [1, 1, 0, 0], [0, 5, 10, 11])
    assert table[table["arm"] == "treated"]["at_risk"].tolist() == [2, 2, 1, 0]
    assert table[table["arm"] == "control"]["at_risk"].tolist() == [2, 1, 1, 0]


def test_incidence_by_a_day_differs_as_proportions_do_without_censoring():
    time, status = [2, 9, 30, 30, 4, 6, 8, 30], [1, 2, 0, 0, 1, 1, 2, 0]
    difference, ratio = incidence_by_day(time, status, [1, 1, 1, 1, 0, 0, 0, 0], 30, endpoint="infection")
    assert difference.estimate == pytest.approx(1 / 4 - 2 / 4)
    assert difference.std_error == pytest.approx(np.sqrt(1 / 4 * 3 / 4 / 4 + 1 / 4 / 4))
    assert ratio.estimate == pytest.approx(0.5)
    assert difference.method == "Aalen-Johansen"
    assert (difference.n, difference.events) == (8, 3)


def test_the_cause_specific_hazard_ratio_censors_competing_events():
    time, status, arm = drawn()
    ours = cause_specific_hazard_ratio(time, status, arm, endpoint="infection")
    theirs = hazard_ratio(time, (status == 1).astype(int), arm, endpoint="infection")
    assert ours[2:] == theirs[2:]


@pytest.mark.parametrize(
    ("time", "status", "message"),
    [
        ([3, 4, 30, 30], [2, 0, 1, 1], "no events in the treated arm"),
        ([3, 4, 30, 30], [0, 0, 0, 0], "no events in the control arm"),
        ([-3, 4, 30, 30], [1, 1, 1, 1], "at least 0; 1 lower"),
        ([3, 4, 30, 30], [1, 0, 1, 1], "beyond the follow-up of an arm"),
        ([3, 4, 30, 30], [1, 1.5, 1, 1], "status: expected 0"),
    ],
)
def test_bad_input_is_refused(time, status, message):
    with pytest.raises(InputError, match=message):
        incidence_by_day(time, status, [1, 1, 0, 0], 30, endpoint="infection")


def test_causes_may_have_any_numbers():
    time, status, arm = drawn()
    renamed = np.array([0, 1, 10**9])[status]
    curves, reference = cumulative_incidence(time, renamed, arm), cumulative_incidence(time, status, arm)
    assert set(curves["cause"]) == {1, 10**9}
    np.testing.assert_array_equal(curves["incidence"], reference["incidence"])
