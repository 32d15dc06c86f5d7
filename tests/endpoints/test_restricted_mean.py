import numpy as np
import pytest

from il7ml.endpoints.restricted_mean import restricted_mean, restricted_mean_effect
from il7ml.errors import InputError


def test_infection_free_days_as_in_r(cgd):
    for arm, days, error, year in ((0, 225.94, 13.27, 250.13), (1, 273.26, 7.51, 323.45)):
        rows = cgd["treat"] == arm
        found = restricted_mean(cgd["time"][rows], cgd["event"][rows], 300)
        assert (round(found[0], 2), round(found[1], 2)) == (days, error)
        assert round(restricted_mean(cgd["time"][rows], cgd["event"][rows], 365)[0], 2) == year


def test_the_difference_joins_both_arms(cgd):
    difference, ratio = restricted_mean_effect(cgd["time"], cgd["event"], cgd["treat"], 300, endpoint="infection")
    assert difference.estimate == pytest.approx(273.26 - 225.94, abs=0.01)
    assert difference.std_error == pytest.approx(np.hypot(13.27, 7.51), abs=0.01)
    assert ratio.estimate == pytest.approx(273.26 / 225.94, rel=1e-4)
    assert ratio.std_error == pytest.approx(np.hypot(13.27 / 225.94, 7.51 / 273.26), rel=1e-3)


def test_with_competing_events_and_complete_follow_up_it_is_a_plain_mean():
    rng = np.random.default_rng(8)
    time, status = rng.integers(1, 31, 60), rng.integers(1, 3, 60)
    # Free of infection to the horizon unless infected before: discharged and dead patients count as free.
    free = np.where(status == 1, np.minimum(time, 25), 25)
    days, error = restricted_mean(time, status, 25)
    assert days == pytest.approx(free.mean())
    assert error == pytest.approx(free.std() / np.sqrt(60))


def test_censoring_is_allowed_for():
    rng = np.random.default_rng(9)
    infection, discharge, censoring = rng.exponential([[40], [25], [60]], (3, 20_000))
    first = np.minimum(infection, discharge)
    time, status = np.minimum(first, censoring), np.where(first > censoring, 0, np.where(infection < discharge, 1, 2))
    days, error = restricted_mean(time, status, 30)
    rate = 1 / 40 + 1 / 25
    lost = 1 / 40 / rate * (30 - (1 - np.exp(-30 * rate)) / rate)
    assert abs(days - (30 - lost)) < 3 * error


def test_a_horizon_beyond_follow_up_is_refused():
    with pytest.raises(InputError, match="40 is beyond the follow-up of an arm, which ends on day 30"):
        restricted_mean_effect([3, 30, 5, 30], [1, 0, 1, 0], [1, 1, 0, 0], 40, endpoint="infection")
    with pytest.raises(InputError, match="no events in the treated arm"):
        restricted_mean_effect([3, 30, 5, 30], [0, 0, 1, 0], [1, 1, 0, 0], 30, endpoint="infection")


@pytest.mark.parametrize(("time", "horizon"), [([3, 30], 0), ([3, 30], -5), ([], 30)])
def test_a_horizon_is_positive_and_there_are_patients(time, horizon):
    with pytest.raises(InputError, match="expected patients and a positive horizon"):
        restricted_mean(time, np.ones(len(time)), horizon)
