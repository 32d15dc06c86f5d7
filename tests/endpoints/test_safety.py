import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from il7ml.endpoints.rates import poisson_rates
from il7ml.endpoints.safety import adverse_events
from il7ml.errors import InputError

ARM = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
DAYS = np.array([10, 20, 30, 30, 10, 30, 15, 30, 25, 20]) / 100
EVENTS = pd.DataFrame(
    [
        (0, "fever", 1, 0),
        (0, "fever", 2, 0),
        (1, "rash", 3, 1),
        (5, "fever", 2, 0),
        (6, "rash", 4, 1),
        (6, "rash", 3, 0),
        (7, "fever", 1, 0),
        (8, "pneumothorax", 4, 1),
    ],
    columns=["patient", "term", "grade", "serious"],
)


@pytest.fixture(scope="module")
def found():
    return adverse_events(EVENTS, ARM, DAYS)


def test_patients_and_events_are_counted_by_arm_and_kind(found):
    counts = found.counts.set_index(["endpoint", "arm"])
    expected = {
        "adverse_event": ((4, 5), (2, 3)),
        "serious_adverse_event": ((2, 2), (1, 1)),
        "adverse_event_grade2_or_above": ((3, 4), (2, 2)),
        "adverse_event_grade3_or_above": ((2, 3), (1, 1)),
        "adverse_event_grade4_or_above": ((2, 2), (0, 0)),
        "adverse_event_fever": ((2, 2), (1, 2)),
        "adverse_event_pneumothorax": ((1, 1), (0, 0)),
        "adverse_event_rash": ((1, 2), (1, 1)),
    }
    assert list(found.counts["endpoint"].unique()) == list(expected)
    for kind, arms in expected.items():
        for arm, numbers in zip(("control", "treated"), arms, strict=True):
            assert tuple(counts.loc[(kind, arm), ["patients", "events"]]) == numbers
    assert counts.loc[("adverse_event", "control"), "percent"] == pytest.approx(80)
    assert counts.loc[("adverse_event", "control"), "rate"] == pytest.approx(5 / 1.2)


def test_differences_have_newcombes_interval_and_fishers_p_value(found):
    difference = found.effects[0]
    assert difference.estimate == pytest.approx(2 / 5 - 4 / 5)
    expected = confint_proportions_2indep(2, 5, 4, 5, method="newcomb", compare="diff")
    assert (difference.low, difference.high) == pytest.approx(expected)
    # Newcombe's method by its definition: each limit joins the Wilson limits of the arms.
    (low1, high1), (low0, high0) = (stats.binomtest(k, 5).proportion_ci(method="wilson") for k in (2, 4))
    assert difference.low == pytest.approx(-0.4 - np.hypot(0.4 - low1, high0 - 0.8))
    assert difference.high == pytest.approx(-0.4 + np.hypot(high1 - 0.4, 0.8 - low0))
    assert difference.p_value == pytest.approx(stats.fisher_exact([[2, 3], [4, 1]]).pvalue)


def test_rates_allow_for_several_events_of_a_patient(found):
    number = np.bincount(EVENTS["patient"], minlength=10)
    reference = poisson_rates(number, ARM, endpoint="adverse_event", exposure=DAYS)[0]
    rate = next(result for result in found.effects if result.scale == "rate_ratio")
    assert rate.estimate == pytest.approx((3 / 1.0) / (5 / 1.2))
    assert (rate.std_error, rate.p_value) == pytest.approx((reference.std_error, reference.p_value))


def test_without_events_in_an_arm_only_the_difference_is_known(found):
    results = [result for result in found.effects if result.endpoint == "adverse_event_pneumothorax"]
    assert [np.isnan(result.estimate) for result in results] == [False, True, True]
    assert np.isfinite([results[0].low, results[0].high, results[0].p_value]).all()


def test_an_event_without_term_or_grade_counts_in_the_other_kinds():
    nameless = EVENTS.assign(term=[None, *EVENTS["term"][1:]], grade=[*EVENTS["grade"][:-1], np.nan])
    counts = adverse_events(nameless, ARM, DAYS).counts.groupby("endpoint")["events"].sum()
    assert (counts["adverse_event"], counts["adverse_event_fever"]) == (8, 3)
    assert (counts["serious_adverse_event"], counts["adverse_event_grade4_or_above"]) == (3, 1)
    assert set(counts.index[-3:]) == {"adverse_event_pneumothorax", "adverse_event_rash", "serious_adverse_event"}


def test_a_trial_without_adverse_events_is_a_table_of_zeros():
    none = adverse_events(EVENTS.iloc[:0], ARM, DAYS)
    assert none.counts["events"].sum() == 0
    assert none.effects[0].estimate == 0
    assert none.effects[0].p_value == pytest.approx(1)


@pytest.mark.parametrize(
    ("events", "exposure", "message"),
    [
        (EVENTS.rename(columns={"grade": "grades"}), DAYS, "column 'grade' is missing. Did you mean 'grades'"),
        (EVENTS.assign(patient=99), DAYS, "positions from 0 to 9 in every row; 8 rows"),
        (EVENTS.assign(serious=[None, *EVENTS["serious"][1:]]), DAYS, "for every event; 1 have neither"),
        (EVENTS.assign(serious="no"), DAYS, "serious: expected numbers"),
        (EVENTS.assign(grade="severe"), DAYS, "grade: expected numbers"),
        (EVENTS, np.zeros(10), "positive time at risk"),
    ],
)
def test_bad_input_is_refused(events, exposure, message):
    with pytest.raises(InputError, match=message):
        adverse_events(events, ARM, exposure)
