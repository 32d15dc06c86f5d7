import numpy as np
import pytest

from il7ml.endpoints.kaplan_meier import mortality, survival_on_day
from il7ml.errors import InputError


@pytest.mark.parametrize(
    ("day", "control", "treated"),
    [
        (180, (0.719, 0.617, 0.838), (0.888, 0.814, 0.970)),
        (270, (0.608, 0.496, 0.746), (0.796, 0.699, 0.907)),
    ],
)
def test_free_of_infection_as_in_r(cgd, day, control, treated):
    found = survival_on_day(cgd["time"], cgd["event"], cgd["treat"], day)
    assert [(round(s.estimate, 3), round(s.low, 3), round(s.high, 3)) for s in found] == [control, treated]
    assert [s.at_risk for s in found] == [int(((cgd["time"] >= day) & (cgd["treat"] == arm)).sum()) for arm in (0, 1)]


def test_without_an_event_there_is_no_interval_and_the_upper_limit_stops_at_1():
    control, treated = survival_on_day([5, 5, 5, 5, 2, 5], [0, 0, 0, 0, 1, 0], [0, 0, 1, 1, 1, 1], 4)
    assert control.estimate == 1
    assert np.isnan([control.low, control.high]).all()
    assert treated.high == 1
    assert treated.low == pytest.approx(0.75 / np.exp(1.959964 * np.sqrt(0.75 * 0.25 / 4) / 0.75), rel=1e-6)


def test_mortality_by_days_is_a_difference_of_proportions_while_all_are_followed():
    time, died = np.array([10, 40, 90, 90, 20, 25, 70, 90]), [1, 1, 0, 0, 1, 1, 1, 0]
    results = mortality(time, died, [1, 1, 1, 1, 0, 0, 0, 0])
    differences = {result.endpoint: result.estimate for result in results if result.scale == "difference"}
    assert differences == pytest.approx(
        {"death_day30": 1 / 4 - 2 / 4, "death_day60": 0.0, "death_day90": 2 / 4 - 3 / 4}
    )
    assert [result.events for result in results if result.scale == "ratio"] == [3, 4, 5]
    assert {result.method for result in results} == {"Kaplan-Meier"}


def test_days_beyond_follow_up_are_refused():
    with pytest.raises(InputError, match="120 is beyond the follow-up"):
        mortality([10, 90, 20, 90], [1, 0, 1, 0], [1, 1, 0, 0], days=(30, 120))
    with pytest.raises(InputError, match="1 lower"):
        mortality([-10, 90, 20, 90], [1, 0, 1, 0], [1, 1, 0, 0])
