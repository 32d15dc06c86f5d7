"""The true expectations against a day-by-day re-simulation of the same patients, and against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from il7ml.data.scenario import Trial, load_scenario
from il7ml.data.simulated_baseline import Baseline, draw_baseline
from il7ml.data.simulated_course import draw_random_numbers, simulate_course
from il7ml.data.simulated_hazards import patient_parameters, time_course
from il7ml.data.simulated_truth import Expected, expect

Floats = NDArray[np.float64]

PATIENTS, REPEATS = 8, 20_000


def resimulate(baseline: Baseline, trial: Trial, treated: bool, rng: np.random.Generator) -> Floats:
    """Walk each copy of a patient through the days, one draw a day and process; shape (4, patients, copies)."""
    times, arm = time_course(trial), patient_parameters(baseline, trial, treated)
    shape = (baseline.support.size, REPEATS)

    def column(values: Floats) -> Floats:
        return np.broadcast_to(values[:, None], shape)

    recovery = rng.standard_normal(shape)
    frailty = rng.gamma(1 / trial.infection.frailty_variance.value, trial.infection.frailty_variance.value, shape)
    antiviral = (rng.random(shape) < column(arm.antiviral)).astype(int)
    log_stay = column(arm.log_hospital_stay) + trial.stay.hospital.sigma * rng.standard_normal(shape)
    log_count = column(np.log(baseline.values["absolute_lymphocyte_count"]))
    growth = times.growth[int(treated)]
    persistent = log_count + growth[antiviral, 7] + times.spread[7] * recovery < 0
    in_hospital, infected, dead = np.ones(shape, bool), np.zeros(shape, bool), np.zeros(shape, bool)
    infections, final_day, died_in_hospital = np.zeros(shape), np.full(shape, 30), np.zeros(shape, bool)
    for day in range(1, 31):
        factor = np.exp(trial.infection.persistent_lymphopenia.value * (persistent & (day > 7)))
        rate = frailty * column(arm.infection) * times.infection[day - 1] * factor
        new = in_hospital & (rng.random(shape) < 1 - np.exp(-rate))
        infections += new
        ratio = np.where(infected, trial.death.after_infection.value, 1.0)
        ratio = np.where(in_hospital, ratio, trial.death.after_discharge.value)
        hazard = column(arm.death) * times.death[day - 1] * ratio
        dies = ~dead & (rng.random(shape) < 1 - np.exp(-hazard))
        leaves = in_hospital & ~dies & (log_stay <= np.log(day))
        final_day[in_hospital & (dies | leaves)] = day
        died_in_hospital |= in_hospital & dies
        dead |= dies
        infected |= new
        in_hospital &= ~dies & ~leaves
    final = log_count + growth[antiviral, final_day] + times.spread[final_day] * recovery
    final += died_in_hospital * times.before_death[final_day]
    return np.stack([infections > 0, infections, dead, final])


@pytest.mark.parametrize("treated", [False, True])
def test_expectations_agree_with_resimulated_patients(treated: bool) -> None:
    trial, rng = load_scenario("strong_modifier").trial, np.random.default_rng(11)
    baseline = draw_baseline(PATIENTS, trial, rng)
    count = baseline.values["absolute_lymphocyte_count"]
    expected = np.stack(expect(count, patient_parameters(baseline, trial, treated), trial, time_course(trial), treated))
    copies = resimulate(baseline, trial, treated, rng)
    error = copies.std(axis=2) / np.sqrt(REPEATS)
    z = (copies.mean(axis=2) - expected) / error
    # 32 comparisons: |z| above 4 has a chance of 0.2 %, a mean square above 2 of less than 0.1 %.
    assert np.abs(z).max() < 4
    assert np.mean(z**2) < 2


@pytest.mark.parametrize("treated", [False, True])
def test_fast_courses_agree_with_expectations(treated: bool) -> None:
    trial, rng, n = load_scenario("published").trial, np.random.default_rng(3), 20_000
    baseline, times, numbers = draw_baseline(n, trial, rng), time_course(trial), draw_random_numbers(n, trial, rng)
    arm, count = patient_parameters(baseline, trial, treated), baseline.values["absolute_lymphocyte_count"]
    course = simulate_course(count, arm, numbers, trial, times, treated)
    expected = expect(count, arm, trial, times, treated)
    last = np.minimum(course.end, 30)
    observed = Expected(
        course.infected.any(axis=1).astype(float),
        course.infected.sum(axis=1).astype(float),
        (course.death <= 30).astype(float),
        np.log(count) + course.growth[np.arange(n), last],
    )
    for seen, true in zip(observed, expected, strict=True):
        difference = seen - true
        assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(n)
        # Calibrated at both ends too: patients of high and of low expectation.
        for part in np.array_split(np.argsort(true), 4):
            assert abs(difference[part].mean()) < 4 * difference[part].std() / np.sqrt(part.size)


def undisturbed() -> Trial:
    """Return a trial in which nobody dies or goes home, and persistent lymphopenia does nothing."""

    def stated(**values: Any) -> dict[str, Any]:
        return {**values, "status": "assumed", "source": "a test"}

    changes = {
        "death": {"hazard": stated(value=1e-12)},
        "stay": {"hospital": stated(median=1e9, sigma=0.1)},
        "infection": {"persistent_lymphopenia": stated(value=0.0), "frailty_variance": stated(value=0.4)},
    }
    return load_scenario({"description": "x", "effect_modification": "x", "changes": changes}).trial


def test_without_death_and_discharge_infections_are_gamma_poisson() -> None:
    trial = undisturbed()
    baseline = draw_baseline(50, trial, np.random.default_rng(0))
    arm, times = patient_parameters(baseline, trial, False), time_course(trial)
    expected = expect(baseline.values["absolute_lymphocyte_count"], arm, trial, times, False)
    variance = 0.4
    # Laplace transform of the gamma distribution, and of each day's share since a day has at most one infection.
    np.testing.assert_allclose(
        expected.infection_day30, 1 - (1 + variance * arm.infection) ** (-1 / variance), rtol=0, atol=1e-7
    )
    daily = 1 - (1 + variance * arm.infection[:, None] * times.infection) ** (-1 / variance)
    np.testing.assert_allclose(expected.infection_rate, daily.sum(axis=1), rtol=0, atol=1e-7)
    np.testing.assert_allclose(expected.death_day30, 0, atol=1e-9)


def test_without_death_and_discharge_the_final_count_is_that_of_day_30() -> None:
    trial = undisturbed()
    baseline = draw_baseline(50, trial, np.random.default_rng(0))
    count, arm, times = (
        baseline.values["absolute_lymphocyte_count"],
        patient_parameters(baseline, trial, True),
        time_course(trial),
    )
    expected = expect(count, arm, trial, times, True)
    without, with_antiviral = times.growth[1, :, 30]
    growth = (1 - arm.antiviral) * without + arm.antiviral * with_antiviral
    np.testing.assert_allclose(expected.final_log_count, np.log(count) + growth, atol=1e-9)


def test_death_alone_follows_its_cumulative_hazard() -> None:
    changes = {
        "infection": {"rate": {"value": 1e-12, "status": "assumed", "source": "a test"}},
        "stay": {"hospital": {"median": 1e9, "sigma": 0.1, "status": "assumed", "source": "a test"}},
    }
    trial = load_scenario({"description": "x", "effect_modification": "x", "changes": changes}).trial
    baseline = draw_baseline(50, trial, np.random.default_rng(0))
    arm = patient_parameters(baseline, trial, False)
    expected = expect(baseline.values["absolute_lymphocyte_count"], arm, trial, time_course(trial), False)
    course = np.interp(np.arange(1, 31), trial.death.time_course.day, trial.death.time_course.values)
    cumulative = arm.death * trial.death.hazard.value * course.sum()
    np.testing.assert_allclose(expected.death_day30, 1 - np.exp(-cumulative), atol=1e-9)
