from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest

from il7ml.data.days import count_days
from il7ml.data.sources import TableSpec

DATES = TableSpec(path="t.csv", key="id", dates={"died": "randomised"})
SAS = TableSpec(path="t.XPT", key="id", dates={"died": "randomised"})


def days(spec, problems=None, **columns):
    found = problems if problems is not None else []
    frame = count_days(pd.DataFrame(columns), spec, found)
    assert problems is not None or not found, [str(problem) for problem in found]
    return frame


def test_study_days_have_no_day_0():
    spec = TableSpec(path="t.csv", key="id", study_days=("ADY",))
    # The day of randomisation is day 1, the day before is day -1 (CDISC SDTM and ADaM).
    frame = days(spec, ADY=[-2, -1, 1, 2, np.nan], other=[1, 1, 1, 1, 1])
    np.testing.assert_array_equal(frame["ADY"], [-2, -1, 0, 1, np.nan])
    assert frame["other"].tolist() == [1] * 5
    assert days(spec, ADY=["1", "2"])["ADY"].tolist() == [0, 1]


def test_a_study_day_0_is_a_problem_and_a_word_stays_for_its_user():
    spec = TableSpec(path="t.csv", key="id", study_days=("ADY",))
    problems = []
    days(spec, problems, ADY=[0, 1, 0.5])
    assert [(problem.column, problem.rows) for problem in problems] == [("ADY", 2)]
    assert days(spec, ADY=["one", "1"])["ADY"].tolist() == ["one", "1"]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (["2020-02-28", "2019-12-31"], ["2020-03-01", None]),
        (["2020-02-28 23:59", "2019-12-31T00:00:00"], ["2020-03-01", ""]),
        (pd.to_datetime(["2020-02-28 23:00", "2019-12-31 00:00"]), pd.to_datetime(["2020-03-01 01:00", None])),
        ([datetime.date(2020, 2, 28), datetime.date(2019, 12, 31)], [datetime.datetime(2020, 3, 1, 6), None]),
        (pd.to_datetime(["2020-02-28", "2019-12-31"]).tz_localize("Asia/Tokyo"), ["2020-03-01", None]),
    ],
    ids=["text", "text with time", "datetime64", "Python's dates", "with a zone"],
)
def test_dates_of_every_form_become_days(start, end):
    # 2020 was a leap year: 28 and 29 February, 1 March. Time of day does not count, as in CDISC's study days.
    end = [None if value == "" else value for value in end]
    np.testing.assert_array_equal(days(DATES, randomised=start, died=end)["died"], [2, np.nan])


def test_dates_of_sas_are_days_since_1960():
    # SAS documentation: 1 January 1960 is 0, the day before -1; 21 990 is 16 March 2020.
    assert (datetime.date(1960, 1, 1) + datetime.timedelta(21990)).isoformat() == "2020-03-16"
    assert days(SAS, randomised=[21990.0, 0.0], died=["2020-03-18", "1960-01-05"])["died"].tolist() == [2, 4]
    assert days(SAS, randomised=[-1.0], died=[1.0])["died"].tolist() == [2]


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (DATES, "2020-03"),
        (DATES, "2020-02-30"),
        (DATES, "01MAR2020"),
        (DATES, "03/01/2020"),
        (DATES, 21990.0),
        (SAS, 21990.0 * 86400),
        (SAS, "22MAR2020"),
    ],
)
def test_what_is_no_whole_date_is_counted_not_shown(spec, value):
    problems = []
    days(spec, problems, randomised=["2020-03-01"] * 2, died=[value, "2020-03-02"])
    assert [(problem.column, problem.rows) for problem in problems] == [("died", 1)]
    assert str(value) not in str(problems[0])


def test_a_date_needs_the_date_of_randomisation():
    problems = []
    days(DATES, problems, randomised=["2020-03-01", None, None], died=["2020-03-02", "2020-03-02", None])
    assert [str(problem) for problem in problems] == [
        "t.csv: randomised: died has a date, randomised has none (1 row). Fill it in."
    ]
    problems = []
    days(DATES, problems, randomized=["2020-03-01"], died=["2020-03-02"])
    assert [str(problem) for problem in problems] == [
        "t.csv: randomised: column is missing. Did you mean 'randomized'? Mend the study file or the table."
    ]
