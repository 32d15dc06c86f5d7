"""The course of simulated patients in one arm: infections, death, discharge, on a daily grid.

The same random numbers serve both arms, so that a patient's two potential courses differ by the treatment only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from il7ml.data.scenario import LAST_DAY, PERSISTENCE_DAY, WINDOW, Trial
from il7ml.data.simulated_hazards import LYMPHOPENIA, PatientParameters, TimeCourse

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

#: Day that stands for "not by the last day of follow-up".
NEVER = LAST_DAY + 1


class RandomNumbers(NamedTuple):
    """The random numbers behind a patient's course, shared by both arms.

    Attributes
    ----------
    frailty : ndarray of shape (n,)
        Gamma with mean 1: what makes some patients prone to infections beyond their baseline.
    infection : ndarray of shape (n, 30)
        Uniform; an infection happens on a day where it lies below the day's probability.
    death : ndarray of shape (n,)
        Unit exponential: the cumulative hazard at which the patient dies.
    recovery, stay, icu_stay : ndarray of shape (n,)
        Standard normal.
    antiviral : ndarray of shape (n,)
        Uniform.
    """

    frailty: Floats
    infection: Floats
    death: Floats
    recovery: Floats
    stay: Floats
    icu_stay: Floats
    antiviral: Floats


class Course(NamedTuple):
    """What happens to n patients in one arm; a day of 91 means not by day 90.

    Attributes
    ----------
    infected : ndarray of shape (n, 30)
        Whether a hospital-acquired infection begins on day 1, 2, ...
    death, discharge : ndarray of shape (n,)
        Days; a patient who dies in hospital is not discharged.
    antiviral : ndarray of shape (n,)
        Whether an antiviral is given during treatment.
    growth : ndarray of shape (n, 31)
        Log of the underlying lymphocyte count relative to day 0, by day.
    """

    infected: Bools
    death: Ints
    discharge: Ints
    antiviral: Bools
    growth: Floats

    @property
    def end(self) -> Ints:
        """Last day in hospital: of discharge or death, at most 90; shape (n,)."""
        return np.minimum(np.minimum(self.death, self.discharge), LAST_DAY)

    @property
    def dies_in_window(self) -> Bools:
        """Whether the patient dies in hospital by day 30; shape (n,)."""
        return (self.death < self.discharge) & (self.death <= WINDOW)


def draw_random_numbers(n: int, trial: Trial, rng: np.random.Generator) -> RandomNumbers:
    """Draw the random numbers of n courses."""
    shape = 1 / trial.infection.frailty_variance.value
    return RandomNumbers(
        frailty=rng.gamma(shape, 1 / shape, n),
        infection=rng.random((n, WINDOW)),
        death=rng.standard_exponential(n),
        recovery=rng.standard_normal(n),
        stay=rng.standard_normal(n),
        icu_stay=rng.standard_normal(n),
        antiviral=rng.random(n),
    )


def simulate_course(
    count: Floats, parameters: PatientParameters, numbers: RandomNumbers, trial: Trial, times: TimeCourse, treated: bool
) -> Course:
    """Return the courses of patients who all are in one arm.

    Parameters
    ----------
    count : ndarray of shape (n,)
        Lymphocyte count at baseline, 10^9/L.
    parameters : PatientParameters
        Of that arm.
    numbers : RandomNumbers
    trial : Trial
    times : TimeCourse
    treated : bool

    Returns
    -------
    Course
    """
    antiviral = numbers.antiviral < parameters.antiviral
    growth = times.growth[int(treated)][antiviral.astype(int)] + numbers.recovery[:, None] * times.spread
    persistent = count * np.exp(growth[:, PERSISTENCE_DAY]) < LYMPHOPENIA
    infected = _infections(persistent, parameters, numbers, trial, times)
    discharge = np.ceil(np.exp(parameters.log_hospital_stay + trial.stay.hospital.sigma * numbers.stay))
    discharge = np.clip(discharge, 1, NEVER).astype(np.intp)
    death = _death_days(_first_day(infected), discharge, numbers.death / parameters.death, trial, times)
    discharge = np.where(death <= discharge, NEVER, discharge)
    infected &= np.arange(1, WINDOW + 1) <= np.minimum(death, discharge)[:, None]
    course = Course(infected, death, discharge, antiviral, growth)
    growth += course.dies_in_window[:, None] * times.before_death
    return course


def _infections(
    persistent: Bools, parameters: PatientParameters, numbers: RandomNumbers, trial: Trial, times: TimeCourse
) -> Bools:
    """Return the days of infections, had all patients stayed in hospital."""
    late = np.arange(1, WINDOW + 1) > PERSISTENCE_DAY
    factor = np.exp(trial.infection.persistent_lymphopenia.value * (persistent[:, None] & late))
    hazard = (numbers.frailty * parameters.infection)[:, None] * times.infection * factor
    return np.asarray(numbers.infection < -np.expm1(-hazard))


def _first_day(infected: Bools) -> Ints:
    """Return the day of the first infection, 91 where there is none."""
    return np.where(infected.any(axis=1), infected.argmax(axis=1) + 1, NEVER)


def _death_days(first: Ints, discharge: Ints, threshold: Floats, trial: Trial, times: TimeCourse) -> Ints:
    """Return the day on which the cumulative hazard, in units of the patient's own, reaches the threshold."""
    hazard = np.concatenate([[0.0], np.cumsum(times.death)])
    ratio = trial.death.after_infection.value
    at_infection = np.concatenate([hazard, [np.inf]])[first]
    death = _reach(hazard, np.minimum(threshold, at_infection) + np.maximum(threshold - at_infection, 0.0) / ratio)
    leave = np.minimum(discharge, LAST_DAY)
    spent = np.minimum(hazard[leave], at_infection) + ratio * np.maximum(hazard[leave] - at_infection, 0.0)
    later = _reach(hazard, hazard[leave] + np.maximum(threshold - spent, 0.0) / trial.death.after_discharge.value)
    return np.where(death <= discharge, death, later)


def _reach(hazard: Floats, target: Floats) -> Ints:
    """Return the first day by which `hazard` (from day 0) has reached the target; 91 if it has not by day 90."""
    return np.searchsorted(hazard, target, side="left")
