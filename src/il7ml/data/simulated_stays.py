"""Stays, ventilation, doses and follow-up of simulated patients: what the patients table holds beyond the baseline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from il7ml.data.scenario import LAST_DAY, WINDOW, Trial
from il7ml.data.simulated_baseline import Baseline
from il7ml.data.simulated_course import Course, RandomNumbers
from il7ml.data.simulated_hazards import INVASIVE, PatientParameters

Ints = NDArray[np.intp]


def draw_stays(
    baseline: Baseline,
    parameters: PatientParameters,
    course: Course,
    numbers: RandomNumbers,
    trial: Trial,
    rng: np.random.Generator,
) -> dict[str, Ints]:
    """Return the columns that are known only after randomisation.

    Parameters
    ----------
    baseline : Baseline
    parameters : PatientParameters
        In the arm allocated.
    course : Course
        In the arm allocated.
    numbers : RandomNumbers
    trial : Trial
    rng : Generator

    Returns
    -------
    dict of str to ndarray of shape (n,)
        ``antiviral_during_treatment``, ``doses_given``, ``icu_days``, ``hospital_days``, ``ventilation_days``,
        ``follow_up_days``.
    """
    stay, end = trial.stay, course.end
    icu_score = stay.correlation.value * numbers.stay + np.sqrt(1 - stay.correlation.value**2) * numbers.icu_stay
    icu = np.minimum(np.ceil(np.exp(parameters.log_icu_stay + stay.icu.sigma * icu_score)), end)
    ventilated = (baseline.support == INVASIVE) | (rng.random(end.size) < stay.late_intubation.value)
    share = np.where(
        course.dies_in_window, 1.0, rng.uniform(stay.ventilated_share.low, stay.ventilated_share.high, end.size)
    )
    dose_days = np.array(trial.allocation.dose_days.values)
    planned = np.arange(dose_days.size) < baseline.values["planned_doses"][:, None]
    lost = (rng.random(end.size) < trial.lost_to_follow_up.value) & (course.discharge <= LAST_DAY)
    first = np.maximum(end, WINDOW)
    lost_on = first + np.ceil(rng.random(end.size) * (LAST_DAY - first)).astype(np.intp)
    return {
        "antiviral_during_treatment": course.antiviral.astype(np.intp),
        "doses_given": (planned & (dose_days < end[:, None])).sum(axis=1),
        "icu_days": icu.astype(np.intp),
        "hospital_days": end,
        "ventilation_days": np.where(ventilated, np.ceil(share * icu), 0).astype(np.intp),
        "follow_up_days": np.minimum(np.minimum(course.death, LAST_DAY), np.where(lost, lost_on, LAST_DAY)),
    }
