from __future__ import annotations

import numpy as np
import pytest
from statsmodels.duration.survfunc import CumIncidenceRight, SurvfuncRight

from il7ml.data.loading import load_cohort
from il7ml.endpoints.outcome import censoring_weights, learning_outcome
from il7ml.errors import InputError

ONE = np.zeros(400, dtype=np.int8)


def drawn(seed=1, n=400, *, ties=False, kinds=2):
    """Return times and kinds (0 censored, 1 event, 2 competing event) of n patients."""
    rng = np.random.default_rng(seed)
    causes = rng.exponential([40.0, 30.0, 60.0][:kinds], size=(n, kinds))
    time, kind = causes.min(axis=1), causes.argmin(axis=1)
    kind[time.argmax()] = 0  # statsmodels divides by zero where the last patient has an event
    return np.ceil(time / 3) if ties else time, kind


def uncensored_before(at, time, censored):
    """statsmodels' Kaplan-Meier curve of censoring, just before each of `at`."""
    curve = SurvfuncRight(time, censored.astype(int))
    steps = np.concatenate([[1.0], curve.surv_prob])
    return steps[np.searchsorted(curve.surv_times, at, side="left")]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("horizon", [5.0, 20.0])
def test_censoring_weights_agree_with_kaplan_meier_in_statsmodels(ties, horizon):
    time, kind = drawn(ties=ties)
    censored = kind == 0
    weight = censoring_weights(time, censored, horizon, ONE)
    # statsmodels has no order within ties: events are moved a hair before the censorings.
    expected = 1 / uncensored_before(np.minimum(time, horizon), time - 1e-9 * ~censored, censored)
    lost = censored & (time < horizon)
    assert 20 < lost.sum() < 200
    np.testing.assert_array_equal(weight[lost], 0)
    np.testing.assert_allclose(weight[~lost], expected[~lost], rtol=1e-12)


def test_weighted_events_are_kaplan_meiers_risk():
    time, kind = drawn(seed=2)
    weight = censoring_weights(time, kind == 0, 20.0, ONE)
    curve = SurvfuncRight(time, (kind == 1).astype(int))
    risk = 1 - curve.surv_prob[np.searchsorted(curve.surv_times, 20.0, side="right") - 1]
    assert np.sum(weight * (kind == 1) * (time <= 20.0)) / 400 == pytest.approx(risk, rel=1e-12)
    assert weight.sum() == pytest.approx(400)


def test_weighted_events_are_aalen_and_johansens_incidence_beside_a_competing_event():
    time, kind = drawn(seed=3, kinds=3)
    weight = censoring_weights(time, kind == 0, 15.0, ONE)
    curve = CumIncidenceRight(time, kind)
    incidence = curve.cinc[0][np.searchsorted(curve.times, 15.0, side="right") - 1]
    assert np.sum(weight * (kind == 1) * (time <= 15.0)) / 400 == pytest.approx(incidence, rel=1e-9)


def test_censoring_is_estimated_in_each_arm_by_hand():
    time = np.array([2.0, 3.0, 4.0, 9.0, 1.0, 5.0, 5.0, 9.0])
    censored = np.array([True, False, True, True, False, True, False, True])
    arm = np.array([0, 0, 0, 0, 1, 1, 1, 1], dtype=np.int8)
    # Arm 0: of 4 one is censored on day 2 (3/4), of 2 one on day 4 (3/8).
    # Arm 1: on day 5 the event comes first; then of 2 one is censored (1/2).
    expected = [0, 4 / 3, 0, 8 / 3, 1, 0, 1, 2]
    np.testing.assert_allclose(censoring_weights(time, censored, 6.0, arm), expected)
    np.testing.assert_allclose(censoring_weights(time, censored, 6.0, 1 - arm), expected)


def test_without_censoring_all_weights_are_one():
    time = np.arange(1.0, 401)
    np.testing.assert_array_equal(censoring_weights(time, np.zeros(400, dtype=bool), 100.0, ONE), np.ones(400))


def test_a_patient_censored_on_the_day_itself_is_known():
    time, censored = np.array([5.0, 5.0, 7.0, 8.0]), np.array([True, False, False, True])
    np.testing.assert_array_equal(censoring_weights(time, censored, 5.0, ONE[:4]), np.ones(4))


@pytest.mark.parametrize("last", [50.0, 5.0])
def test_too_short_follow_up_is_refused(last):
    time = np.array([*np.linspace(1, 4, 39), last])
    censored = np.ones(40, dtype=bool)
    with pytest.raises(InputError, match="fewer than 5% of an arm are followed up to day 30"):
        censoring_weights(time, censored, 30.0, ONE[:40])


def outcome_of(small_study, name):
    return learning_outcome(load_cohort(small_study.write()), name)


def test_a_binary_outcome_passes_as_it_is(small_study):
    outcome = outcome_of(small_study, "infection_day30")
    np.testing.assert_array_equal(outcome.y, small_study.patients["infected"])
    np.testing.assert_array_equal(outcome.weight, np.ones(60))
    assert (outcome.kind, outcome.horizon, outcome.unknown, outcome.exposure) == ("binary", 30.0, 0, None)
    assert outcome.events == small_study.patients["infected"].sum()
    assert (outcome.title, outcome.harmful) == ("Infection by day 30", True)


def test_a_count_comes_with_its_exposure(small_study):
    outcome = outcome_of(small_study, "infections")
    np.testing.assert_array_equal(outcome.y, small_study.patients["infections"])
    np.testing.assert_allclose(outcome.exposure, small_study.patients["days_at_risk"] / 1000)
    assert (outcome.kind, outcome.unit) == ("count", "1,000 days")
    assert outcome.events == small_study.patients["infections"].sum()


def test_a_time_becomes_an_event_by_the_day_with_weights(small_study):
    patients = small_study.patients
    outcome = outcome_of(small_study, "survival")
    died, days = patients["died"].to_numpy() == 1, patients["days"].to_numpy()
    np.testing.assert_array_equal(outcome.y, died & (days <= 60))
    np.testing.assert_array_equal(outcome.weight == 0, ~died & (days < 60))
    assert outcome.kind == "binary"
    assert outcome.unknown == (~died & (days < 60)).sum() > 0
    for arm in ("placebo", "drug"):
        rows = (patients["arm"] == arm).to_numpy()
        known = rows & (outcome.weight > 0)
        free = uncensored_before(np.minimum(days, 60.0)[known], days[rows] - 1e-9 * died[rows], ~died[rows])
        np.testing.assert_allclose(outcome.weight[known], 1 / free)


def test_a_competing_event_counts_as_none_and_is_no_censoring(small_study):
    small_study.patients["died"] = np.arange(60) % 3
    small_study.raw["endpoints"]["survival"]["competing_value"] = 2
    outcome = outcome_of(small_study, "survival")
    competing = np.arange(60) % 3 == 2
    assert not outcome.y[competing].any()
    assert (outcome.weight[competing] >= 1).all()


def test_unknown_outcomes_are_weighted_by_the_share_known_in_their_arm(small_study):
    small_study.raw["endpoints"]["sofa_day7"]["missing"] = "weight"
    small_study.patients["sofa7"] = small_study.patients["sofa7"].astype(float)
    small_study.patients.loc[[0, 2, 4, 6, 8, 1], "sofa7"] = np.nan  # 5 of Placebo's 30, 1 of Drug's
    outcome = outcome_of(small_study, "sofa_day7")
    gone = [0, 1, 2, 4, 6, 8]
    expected = np.where(small_study.patients["arm"] == "placebo", 30 / 25, 30 / 29)
    expected[gone] = 0
    np.testing.assert_allclose(outcome.weight, expected)
    assert not outcome.y[gone].any()
    assert (outcome.unknown, outcome.events, outcome.kind) == (6, 54, "continuous")


@pytest.mark.parametrize(
    ("endpoint", "column", "value", "message"),
    [
        ("infected", "infected", 0, "endpoint 'infected': no events in arm Drug"),
        ("infected", "infected", 1, "endpoint 'infected': all patients of arm Drug have the event"),
        ("infections", "infections", 0, "endpoint 'infections': no events in arm Drug"),
        ("sofa_day7", "sofa7", 4, "endpoint 'sofa_day7': no variation in arm Drug"),
        ("survival", "days", 70, "endpoint 'survival': no events in arm Drug"),
    ],
)
def test_outcomes_that_do_not_vary_in_an_arm_are_refused(small_study, endpoint, column, value, message):
    small_study.patients.loc[small_study.patients["arm"] == "drug", column] = value
    with pytest.raises(InputError, match=message):
        outcome_of(small_study, endpoint)


def test_a_time_without_a_day_gives_no_risk(small_study):
    small_study.raw["endpoints"]["survival"]["by_day"] = None
    with pytest.raises(InputError, match=r"endpoint 'survival' is a time to event without by_day.*Set by_day"):
        outcome_of(small_study, "survival")


def test_an_unknown_endpoint_names_the_nearest(small_study):
    with pytest.raises(InputError, match=r"has no endpoint 'infection_day3'. Did you mean 'infection_day30'\?"):
        outcome_of(small_study, "infection_day3")
