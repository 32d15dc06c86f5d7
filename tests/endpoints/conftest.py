"""The trials that ship with the project, as the endpoints take them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="session")
def cgd():
    """Interferon gamma against placebo, a row a patient: time and event of the first infection, all infections."""
    frame = pd.read_csv(DATA / "cgd" / "cgd0.csv")
    days = [f"etime{number}" for number in range(1, 8)]
    return frame.assign(
        time=frame["etime1"].fillna(frame["futime"]),
        event=frame["etime1"].notna().astype(int),
        infections=frame[days].notna().sum(axis=1),
    )


@pytest.fixture(scope="session")
def cgd_intervals():
    """Its start-stop rows, a row an infection or end of follow-up."""
    return pd.read_csv(DATA / "cgd" / "cgd.csv")


@pytest.fixture(scope="session")
def actg175():
    return pd.read_csv(DATA / "actg175" / "actg175.csv")
