import numpy as np
import pytest
from statsmodels.duration.survfunc import CumIncidenceRight

from il7ml.endpoints.aalen_johansen import incidence, risk_table
from il7ml.errors import InputError


def drawn(n=150, seed=3):
    rng = np.random.default_rng(seed)
    causes = rng.exponential([25.0, 30.0, 40.0], size=(n, 3))
    time, status = np.ceil(causes.min(axis=1)), (causes.argmin(axis=1) + 1) % 3
    status[time.argmax()] = 0  # statsmodels has no error once nobody is left
    return time, status


@pytest.mark.parametrize("cause", [1, 2])
def test_incidence_and_error_are_those_of_statsmodels(cause):
    time, status = drawn()
    table = risk_table(time, status, cause)
    reference = CumIncidenceRight(time, status)
    for day in (3, 10, 25, 50):
        position = np.searchsorted(reference.times, day, side="right") - 1
        value, error = incidence(table, day)
        assert value == pytest.approx(reference.cinc[cause - 1][position])
        assert error == pytest.approx(reference.cinc_se[cause - 1][position])


def test_without_censoring_it_is_a_proportion_with_binomial_error_even_when_nobody_is_left():
    time, status = np.array([1, 2, 2, 4, 5, 6, 7, 9.0]), np.array([1, 2, 1, 1, 2, 2, 1, 2])
    value, error = incidence(risk_table(time, status), 20)
    assert value == pytest.approx(0.5)
    assert error == pytest.approx(np.sqrt(0.25 / 8))


def test_a_day_beyond_follow_up_is_refused_unless_all_have_had_an_event():
    with pytest.raises(InputError, match="30 is beyond the follow-up of an arm, which ends on day 9"):
        incidence(risk_table(np.array([3.0, 9.0]), np.array([1, 0])), 30)
    assert incidence(risk_table(np.array([3.0, 9.0]), np.array([1, 2])), 30)[0] == 0.5


def test_without_any_event_the_incidence_is_0():
    assert incidence(risk_table(np.array([3.0, 9.0]), np.array([0, 0])), 5) == (0.0, 0.0)
