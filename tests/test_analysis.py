"""The analysis of the shipped trials against published and R numbers (shared with the endpoint routines' own tests)."""

from __future__ import annotations

from pathlib import Path

import pytest

from il7ml.analysis import analyze
from il7ml.config import RunConfig
from il7ml.data.simulator import simulate_trial

CONFIGS = Path(__file__).parents[1] / "configs"
COLUMNS = ["endpoint", "method", "scale", "estimate", "std_error", "low", "high", "p_value", "n", "events"]


def table(name):
    return analyze(CONFIGS / f"{name}.yaml").table


def row(frame, endpoint, scale, place=0):
    return frame[(frame["endpoint"] == endpoint) & (frame["scale"] == scale)].iloc[place]


def test_cgd_gives_the_published_infections():
    frame = table("cgd")
    assert list(frame.columns) == COLUMNS
    first = row(frame, "any_infection", "difference")
    assert first["estimate"] == pytest.approx(14 / 63 - 30 / 65)
    assert (first["n"], first["events"]) == (128, 44)
    assert row(frame, "any_infection", "number_needed")["estimate"] == pytest.approx(1 / (30 / 65 - 14 / 63))
    rate = row(frame, "infections", "rate_ratio")
    assert rate["estimate"] == pytest.approx(0.349, abs=5e-4)
    assert (rate["low"], rate["high"]) == (pytest.approx(0.187, abs=1e-3), pytest.approx(0.650, abs=1e-3))
    negative_binomial = frame[frame["method"].str.contains("egative binomial")].iloc[0]
    assert negative_binomial["estimate"] == pytest.approx(0.357, abs=5e-4)
    assert rate["events"] == 76
    # R's survival: Cox for the first infection, log-rank test, Andersen-Gill with the robust error by patient.
    hazard = row(frame, "any_infection", "hazard_ratio")
    assert (hazard["estimate"], hazard["std_error"]) == (
        pytest.approx(0.3349, abs=5e-5),
        pytest.approx(0.3348, abs=5e-5),
    )
    assert row(frame, "any_infection", "chi_square")["estimate"] == pytest.approx(11.7, abs=0.05)
    recurrent = frame[frame["method"].str.startswith("Andersen-Gill")].iloc[0]
    assert recurrent["estimate"] == pytest.approx(0.3344, abs=5e-5)
    assert recurrent["std_error"] == pytest.approx(0.3119, abs=5e-5)


def test_actg175_gives_the_reference_numbers():
    frame = table("actg175")
    hazard = row(frame, "event_day730", "hazard_ratio")
    assert hazard["estimate"] == pytest.approx(0.5350, abs=5e-5)
    assert hazard["std_error"] == pytest.approx(0.0921, abs=5e-5)
    unadjusted, adjusted = (row(frame, "cd420", "difference", place) for place in (0, 1))
    assert unadjusted["estimate"] == pytest.approx(46.81, abs=5e-3)
    assert adjusted["estimate"] == pytest.approx(49.38, abs=5e-3)
    assert adjusted["std_error"] == pytest.approx(5.29, abs=5e-3)


def test_simulated_patients_are_said_to_be_so():
    cohort, _ = simulate_trial(200, seed=4)
    config = RunConfig(study="unused.yaml", endpoint="infection_day30", analysis={"covariates": ("age", "sex")})
    found = analyze(config, cohort=cohort)
    assert found.to_text().startswith("Simulated patients: demonstration only")
    assert set(found.table["endpoint"]) == set(cohort.outcomes)
    assert found.table["p_value"].between(0, 1).all()
    methods = set(found.table.loc[found.table["endpoint"] == "infection_day30", "method"])
    assert {"Aalen-Johansen", "Cox, cause-specific", "log-rank test"} <= methods
