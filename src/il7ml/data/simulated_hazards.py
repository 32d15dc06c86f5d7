"""What drives a simulated patient's course in either arm: hazards of infection and death, stays, lymphocyte growth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from il7ml.data.scenario import LAST_DAY, WINDOW, Trial
from il7ml.data.simulated_baseline import Baseline

Floats = NDArray[np.float64]

#: Position of invasive ventilation among the levels of respiratory support.
INVASIVE = 2
#: Days on which counts are followed, 0 to 30.
COUNT_DAYS = np.arange(WINDOW + 1)
#: Count below which a patient is lymphopenic, 10^9/L.
LYMPHOPENIA = 1.0
#: Body mass index from which a patient is obese, kg/m2.
OBESITY = 30.0

Values = Mapping[str, Floats]


class TimeCourse(NamedTuple):
    """What is common to all patients.

    Attributes
    ----------
    infection : ndarray of shape (30,)
        Share of the 30-day infection rate on day 1, 2, ...
    death : ndarray of shape (90,)
        Daily hazard of death of a typical patient in hospital on day 1, 2, ...
    growth : ndarray of shape (2, 2, 31)
        Log growth of the count since day 0, by arm (placebo, IL-7), antiviral (no, yes) and day.
    spread : ndarray of shape (31,)
        Log-SD of recovery between patients by day.
    before_death : ndarray of shape (31,)
        Log factor of the count in patients who die in hospital by day 30.
    """

    infection: Floats
    death: Floats
    growth: Floats
    spread: Floats
    before_death: Floats


class PatientParameters(NamedTuple):
    """What differs between patients, for one arm.

    Attributes
    ----------
    infection : ndarray of shape (n,)
        Expected infections in 30 days in hospital, without frailty and persistent lymphopenia.
    death : ndarray of shape (n,)
        Hazard of death relative to a typical untreated patient.
    log_hospital_stay, log_icu_stay : ndarray of shape (n,)
        Log of the median stay in days.
    antiviral : ndarray of shape (n,)
        Probability of an antiviral during treatment.
    """

    infection: Floats
    death: Floats
    log_hospital_stay: Floats
    log_icu_stay: Floats
    antiviral: Floats


def _yes(name: str) -> Callable[[Values, Trial], Floats]:
    return lambda values, trial: values[name]


def _above_median(name: str, step: float) -> Callable[[Values, Trial], Floats]:
    return lambda values, trial: (values[name] - trial.baseline[name].median) / step


def _log2(name: str) -> Callable[[Values, Trial], Floats]:
    return lambda values, trial: np.log2(values[name] / trial.baseline[name].median)


def _per_sd(name: str) -> Callable[[Values, Trial], Floats]:
    return lambda values, trial: np.log(values[name] / trial.baseline[name].median) / trial.baseline[name].sigma


def _log2_count(values: Values, trial: Trial) -> Floats:
    # The marginal's median is that before the cut at 1.0; the curves start at the eligible patients' median.
    return np.log2(values["absolute_lymphocyte_count"] / trial.lymphocytes.placebo_without_antiviral.values[0])


_TERMS: dict[str, Callable[[Values, Trial], Floats]] = {
    "age_per_10_years": _above_median("age", 10.0),
    "male": _yes("male"),
    "obesity": lambda values, trial: (values["body_mass_index"] >= OBESITY).astype(float),
    "diabetes": _yes("diabetes"),
    "chronic_kidney_disease": _yes("chronic_kidney_disease"),
    "immunosuppression": _yes("immunosuppression"),
    "active_cancer": _yes("active_cancer"),
    "sofa_per_point": _above_median("sofa_score", 1.0),
    "invasive_ventilation": _yes("invasive_ventilation"),
    "corticosteroid": _yes("corticosteroid_at_randomisation"),
    "antiviral": _yes("antiviral_at_randomisation"),
    "anti_il6_or_jak": _yes("anti_il6_or_jak_at_randomisation"),
    "c_reactive_protein_per_sd": _per_sd("c_reactive_protein"),
    "procalcitonin_per_sd": _per_sd("procalcitonin"),
    "ferritin_per_sd": _per_sd("ferritin"),
    "log2_lymphocyte_count": _log2_count,
    "log2_lactate": _log2("lactate"),
    "log2_pao2_fio2_ratio": _log2("pao2_fio2_ratio"),
}


def time_course(trial: Trial) -> TimeCourse:
    """Return what is common to all patients."""
    infection = trial.infection.time_course.at(np.arange(1, WINDOW + 1))
    curves = trial.lymphocytes
    placebo = [curves.placebo_without_antiviral, curves.placebo_with_antiviral]
    il7 = [curves.il7_without_antiviral, curves.il7_with_antiviral]
    untreated = np.array([curve.log_growth(COUNT_DAYS) for curve in placebo])
    treated = untreated + curves.effect_scale.value * (
        np.array([curve.log_growth(COUNT_DAYS) for curve in il7]) - untreated
    )
    return TimeCourse(
        infection=infection / infection.sum(),
        death=trial.death.hazard.value * trial.death.time_course.at(np.arange(1, LAST_DAY + 1)),
        growth=np.stack([untreated, treated]),
        spread=curves.between_patients.at(COUNT_DAYS),
        before_death=curves.before_death.log_growth(COUNT_DAYS),
    )


def patient_parameters(baseline: Baseline, trial: Trial, treated: bool) -> PatientParameters:
    """Return what differs between patients, had they all been in one arm.

    Parameters
    ----------
    baseline : Baseline
    trial : Trial
    treated : bool
        Whether in the IL-7 arm.

    Returns
    -------
    PatientParameters
    """
    values = {**baseline.values, "invasive_ventilation": (baseline.support == INVASIVE).astype(float)}

    def predictor(coefficients: Mapping[str, float]) -> Floats:
        total = np.zeros(baseline.support.size)
        for term, coefficient in coefficients.items():
            total += coefficient * _TERMS[term](values, trial)
        return total

    infection = np.log(trial.infection.rate.value) + predictor(trial.infection.log_rate.values)
    death = predictor(trial.death.log_hazard.values)
    stay = predictor(trial.stay.log_stay.values)
    hospital, icu = np.log(trial.stay.hospital.median) + stay, np.log(trial.stay.icu.median) + stay
    late = predictor({"sofa_per_point": trial.late_antiviral.log_odds_sofa_per_point.value})
    late = late + logit(trial.late_antiviral.probability.value)
    if treated:
        effect = trial.effect
        infection = infection + np.log(effect.infection.value) + predictor(effect.infection_modifiers.values)
        death = death + np.log(effect.death.value)
        hospital, icu = hospital + np.log(effect.hospital_stay.value), icu + np.log(effect.icu_stay.value)
        late = late + np.log(effect.late_antiviral.value)
    antiviral = np.where(values["antiviral_at_randomisation"] == 1, 1.0, expit(late))
    return PatientParameters(np.exp(infection), np.exp(death), hospital, icu, antiviral)
