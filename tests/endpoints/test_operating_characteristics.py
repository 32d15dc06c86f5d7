"""Type I error and interval coverage at the size of the trial, in short; `benchmarks/endpoints.py` is the full study.

Trials of 109 patients are drawn from one large simulated population, which costs far less than simulating each. Where
IL-7 does nothing they are allocated anew; where it works they keep their arm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from il7ml.data.generator import simulate_tables
from il7ml.endpoints.andersen_gill import CountingProcess, counting_process, recurrent_rate_ratio
from il7ml.endpoints.final_ratio import final_ratio
from il7ml.endpoints.proportions import adjusted_risks, unadjusted_risks
from il7ml.endpoints.rates import negative_binomial_rates, poisson_rates
from il7ml.endpoints.repeated import repeated_measures
from il7ml.endpoints.result import RATIOS, EndpointResult
from il7ml.endpoints.visits import last_value, visit_matrix

POPULATION, PATIENTS = 10_000, 109
VISITS = (7, 14, 30)
COVARIATES = ["age", "sofa_score", "absolute_lymphocyte_count", "antiviral_at_randomisation"]


class Patients(NamedTuple):
    arm: np.ndarray
    covariates: pd.DataFrame
    infections: np.ndarray
    days: np.ndarray
    event_patient: np.ndarray
    event_day: np.ndarray
    baseline: np.ndarray
    final: np.ndarray
    visits: np.ndarray
    truth: pd.DataFrame

    def draw(self, rng: np.random.Generator) -> Patients:
        """Return a trial: patients drawn at random, in their own arms."""
        rows = rng.choice(POPULATION, PATIENTS, replace=False)
        place = np.full(POPULATION, -1)
        place[rows] = np.arange(PATIENTS)
        chosen = place[self.event_patient] >= 0
        return self._replace(
            arm=self.arm[rows],
            covariates=self.covariates.iloc[rows].reset_index(drop=True),
            infections=self.infections[rows],
            days=self.days[rows],
            event_patient=place[self.event_patient[chosen]],
            event_day=self.event_day[chosen],
            baseline=self.baseline[rows],
            final=self.final[rows],
            visits=self.visits[rows],
        )

    @property
    def process(self) -> CountingProcess:
        return counting_process(self.event_patient, self.event_day, self.days)


@cache
def population(scenario: str) -> Patients:
    tables = simulate_tables(POPULATION, 20_250_204, scenario)
    ids = pd.Index(tables.patients["patient_id"])
    ends = np.full((2, POPULATION), np.nan)
    for row, kind in zip(ends, ("discharge", "death"), strict=True):
        events = tables.events[tables.events["kind"] == kind]
        row[ids.get_indexer(events["patient_id"])] = events["day"]
    discharge, death = ends
    infections = tables.events[tables.events["kind"] == "infection"]
    who = ids.get_indexer(infections["patient_id"])
    counts = tables.labs[tables.labs["analyte"] == "absolute_lymphocyte_count"]
    measured = ids.get_indexer(counts["patient_id"]), counts["day"].to_numpy(), counts["value"].to_numpy()
    return Patients(
        arm=(tables.patients["arm"] == "il7").to_numpy().astype(int),
        covariates=tables.patients[COVARIATES],
        infections=np.bincount(who, minlength=POPULATION),
        days=np.fmin(np.fmin(discharge, death), 30),
        event_patient=who,
        event_day=infections["day"].to_numpy(),
        baseline=tables.patients["absolute_lymphocyte_count"].to_numpy(dtype=float, na_value=np.nan),
        final=last_value(*measured, patients=POPULATION, discharge=discharge, death=death),
        visits=visit_matrix(*measured, VISITS, patients=POPULATION, death=death),
        truth=tables.truth,
    )


def others(trial: Patients) -> pd.DataFrame:
    return trial.covariates.drop(columns="absolute_lymphocyte_count")


def infected(trial: Patients) -> np.ndarray:
    return (trial.infections > 0).astype(float)


def per_1000_days(trial: Patients) -> dict:
    return {"exposure": trial.days / 1000, "endpoint": "infections"}


ANALYSES: dict[str, Callable] = {
    "risks": lambda t: unadjusted_risks(infected(t), t.arm, endpoint="infection"),
    "risks, adjusted": lambda t: adjusted_risks(infected(t), t.arm, t.covariates, endpoint="infection"),
    "Poisson": lambda t: poisson_rates(t.infections, t.arm, endpoint="infections"),
    "Poisson, adjusted": lambda t: poisson_rates(t.infections, t.arm, endpoint="infections", covariates=t.covariates),
    "Poisson, days": lambda t: poisson_rates(t.infections, t.arm, **per_1000_days(t)),
    "negative binomial": lambda t: [negative_binomial_rates(t.infections, t.arm, endpoint="infections")],
    "Andersen-Gill": lambda t: [recurrent_rate_ratio(t.process, t.arm, endpoint="infections")],
    "final": lambda t: [final_ratio(t.final, t.baseline, t.arm, endpoint="count")],
    "final, adjusted": lambda t: [final_ratio(t.final, t.baseline, t.arm, endpoint="count", covariates=others(t))],
    "MMRM": lambda t: repeated_measures(t.visits, VISITS, t.baseline, t.arm, endpoint="count").effects,
}
#: Fewer trials where one costs more.
TRIALS = {"risks, adjusted": 250, "negative binomial": 150, "Andersen-Gill": 200, "MMRM": 100}


@cache
def trials(name: str, scenario: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return estimate, half the interval's length and P value on the scale of the test, shape (trials, scales)."""
    patients, rng = population(scenario), np.random.default_rng(1)
    rows = []
    for _ in range(TRIALS.get(name, 300)):
        trial = patients.draw(rng)
        if scenario == "null":
            trial = trial._replace(arm=rng.permutation(np.arange(PATIENTS) % 2))
        rows.append([_numbers(result) for result in ANALYSES[name](trial)])
    estimate, half, p_value = np.moveaxis(np.array(rows), 2, 0)
    return estimate, half, p_value


def _numbers(result: EndpointResult) -> tuple[float, float, float]:
    log = np.log if result.scale in RATIOS else float
    return log(result.estimate), (log(result.high) - log(result.low)) / 2, result.p_value


def compatible(happened: np.ndarray, probability: float) -> np.ndarray:
    """Return whether each column's number of events lies in the central 99.9 % of the binomial distribution."""
    low, high = binom.interval(0.999, len(happened), probability)
    number = happened.sum(axis=0)
    return (low <= number) & (number <= high)


@pytest.mark.parametrize("name", ANALYSES)
def test_the_type_one_error_is_compatible_with_5_percent(name):
    estimate, half, p_value = trials(name, "null")
    assert compatible(p_value < 0.05, 0.05).all()
    # Interval and P value say the same, and the intervals are as long as the estimates vary: a standard deviation has
    # a Monte-Carlo error of 1 / sqrt(2 trials), 7 % at most.
    assert ((p_value < 0.05) == (np.abs(estimate) > half)).all()
    assert half.mean(axis=0) / 1.96 / estimate.std(axis=0) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("name", ANALYSES)
def test_errors_that_are_a_third_too_small_would_be_seen(name):
    estimate, half, _ = trials(name, "null")
    assert not compatible(np.abs(estimate) > half / 1.5, 0.05).any()


def true_effects() -> dict[str, list[float]]:
    """Return true marginal effects of the scenario `published`, on the scale of the test."""
    patients = population("published")
    truth = patients.truth
    risk, rate = (
        np.array([truth[f"{name}_{arm}"].mean() for arm in ("untreated", "treated")])
        for name in ("infection_day30", "infection_rate")
    )
    risks = [np.diff(scale)[0] for scale in (risk, np.log(risk), np.log(risk / (1 - risk)))]
    rates = [np.diff(np.log(rate))[0], np.diff(rate)[0]]
    logs = np.log(patients.final)
    final = [np.nanmean(logs[patients.arm == 1]) - np.nanmean(logs[patients.arm == 0])]
    return {"risks": risks, "risks, adjusted": risks, "Poisson": rates, "Poisson, adjusted": rates, "final": final}


@pytest.mark.parametrize("name", ["risks", "risks, adjusted", "Poisson", "Poisson, adjusted", "final"])
def test_intervals_cover_the_truth_where_treatment_works(name):
    estimate, half, p_value = trials(name, "published")
    deviation = estimate - true_effects()[name]
    assert compatible(np.abs(deviation) <= half, 0.95).all()
    # The mean over trials has the Monte-Carlo error of the trials and of the population that all are drawn from.
    error = np.sqrt(1 / len(estimate) + PATIENTS / POPULATION)
    assert (np.abs(deviation.mean(axis=0)) < 3 * error * estimate.std(axis=0)).all()
    assert (p_value < 0.05).mean() > 0.15  # the truth is far from 0: intervals around 0 would not cover it
