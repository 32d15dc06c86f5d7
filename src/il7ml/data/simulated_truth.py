"""The truth about simulated patients: expected outcomes given baseline, in either arm, without simulation noise.

A patient's course is a Markov chain by day (in hospital without or after an infection, discharged, dead) given two
things that are not in the baseline: the gamma frailty and whether the count is still below 1.0 on day 7. The chain is
run exactly; over the frailty it is integrated by generalised Gauss-Laguerre quadrature, over persistent lymphopenia by
its probability, which has a closed form.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, roots_genlaguerre

from il7ml.data.scenario import PERSISTENCE_DAY, WINDOW, Trial
from il7ml.data.simulated_hazards import COUNT_DAYS, LYMPHOPENIA, PatientParameters, TimeCourse

Floats = NDArray[np.float64]

# Enough for an error below 1e-6 even where the expected number of infections is 10.
_NODES = 12


class Expected(NamedTuple):
    """Expected outcomes of n patients in one arm, given baseline.

    Attributes
    ----------
    infection_day30 : ndarray of shape (n,)
        Probability of at least one infection by day 30, before discharge or death.
    infection_rate : ndarray of shape (n,)
        Expected number of infections in the 30-day window.
    death_day30 : ndarray of shape (n,)
        Probability of death by day 30, also after discharge.
    final_log_count : ndarray of shape (n,)
        Expected natural log of the underlying lymphocyte count (10^9/L) on the last day of the window: day 30,
        discharge or death, whichever is first.
    """

    infection_day30: Floats
    infection_rate: Floats
    death_day30: Floats
    final_log_count: Floats


class _Chain(NamedTuple):
    """One run of the chain; `left` and `died` are probabilities by day 0 to 30, shape (31, n)."""

    infected: Floats
    infections: Floats
    dead: Floats
    left: Floats
    died: Floats


def expect(count: Floats, parameters: PatientParameters, trial: Trial, times: TimeCourse, treated: bool) -> Expected:
    """Return the expected outcomes of patients who all are in one arm.

    Parameters
    ----------
    count : ndarray of shape (n,)
        Lymphocyte count at baseline, 10^9/L.
    parameters : PatientParameters
        Of that arm.
    trial : Trial
    times : TimeCourse
    treated : bool

    Returns
    -------
    Expected
    """
    growth = times.growth[int(treated)]
    share = np.stack([1 - parameters.antiviral, parameters.antiviral])
    bound = (np.log(LYMPHOPENIA / count) - growth[:, PERSISTENCE_DAY, None]) / times.spread[PERSISTENCE_DAY]
    below, density = ndtr(bound), np.exp(-(bound**2) / 2) / np.sqrt(2 * np.pi)
    chains = [_run(parameters, persistent, trial, times) for persistent in (False, True)]
    weights = [share * (1 - below), share * below]
    # Mean of the recovery score times probability, in patients above and below the bound.
    recovery = [(share * density).sum(axis=0), -(share * density).sum(axis=0)]
    infected, infections, dead, final = np.zeros((4, count.size))
    for chain, weight, score in zip(chains, weights, recovery, strict=True):
        total = weight.sum(axis=0)
        infected += total * chain.infected
        infections += total * chain.infections
        dead += total * chain.dead
        final += (weight * (growth @ chain.left)).sum(axis=0)
        final += score * (times.spread @ chain.left) + total * (times.before_death @ chain.died)
    return Expected(infected, infections, dead, np.log(count) + final)


def _run(parameters: PatientParameters, persistent: bool, trial: Trial, times: TimeCourse) -> _Chain:
    """Run the chain over 30 days, given whether lymphopenia persists on day 7."""
    shape = 1 / trial.infection.frailty_variance.value
    nodes, weights = roots_genlaguerre(_NODES, shape - 1)
    rate, weights = (nodes / shape)[:, None] * parameters.infection, weights / weights.sum()
    n = parameters.infection.size
    # Probability of not having been sent home yet, by day, in a patient who does not die.
    days = np.log(np.maximum(COUNT_DAYS, 1e-9))[:, None]
    staying = ndtr((parameters.log_hospital_stay - days) / trial.stay.hospital.sigma)
    without, after = np.ones((_NODES, n)), np.zeros((_NODES, n))
    infected, infections, home, died_at_home = np.zeros((4, n))
    left, died = np.zeros((COUNT_DAYS.size, n)), np.zeros((COUNT_DAYS.size, n))
    for day in range(1, WINDOW + 1):
        late = trial.infection.persistent_lymphopenia.value if persistent and day > PERSISTENCE_DAY else 0.0
        risk = -np.expm1(-rate * (times.infection[day - 1] * np.exp(late)))
        new = without * risk
        infected += weights @ new
        infections += weights @ (new + after * risk)
        hazard = parameters.death * times.death[day - 1]
        survive, survive_after = np.exp(-hazard), np.exp(-trial.death.after_infection.value * hazard)
        # The first infection raises the hazard from the next day on.
        died[day] = (weights @ without) * (1 - survive) + (weights @ after) * (1 - survive_after)
        without, after = (without - new) * survive, after * survive_after + new * survive
        lost = home * -np.expm1(-trial.death.after_discharge.value * hazard)
        stay = staying[day] / staying[day - 1]
        leaving = (weights @ (without + after)) * (1 - stay)
        home, died_at_home = home - lost + leaving, died_at_home + lost
        left[day] = leaving + died[day]
        without, after = without * stay, after * stay
    left[-1] += weights @ (without + after)
    return _Chain(infected, infections, died.sum(axis=0) + died_at_home, left, died)
