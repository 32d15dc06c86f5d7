"""Laboratory values of simulated patients, by visit: measured with noise, and missing not at random."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from il7ml.data.scenario import WINDOW, MarkerCurve, Trial
from il7ml.data.simulated_baseline import Baseline
from il7ml.data.simulated_course import Course
from il7ml.schema import load_dictionary

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

ANALYTES = (
    "absolute_lymphocyte_count",
    "cd4_count",
    "cd8_count",
    "c_reactive_protein",
    "interleukin_6",
    "ferritin",
    "pao2_fio2_ratio",
)


def draw_labs(
    ids: pd.Index,
    baseline: Baseline,
    known: dict[str, Bools],
    course: Course,
    recovery: Floats,
    trial: Trial,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Draw the laboratory values of the trial, sorted by patient, day and analyte.

    Parameters
    ----------
    ids : Index of length n
    baseline : Baseline
    known : dict of str to ndarray of shape (n,)
        Which baseline values are not missing; day 0 repeats those.
    course : Course
        In the arm allocated.
    recovery : ndarray of shape (n,)
        Score of the patient's recovery, on which it depends what is measured.
    trial : Trial
    rng : Generator

    Returns
    -------
    DataFrame
        ``patient_id, day, analyte, value, unit``.
    """
    day, taken = _visits(course, trial)
    values = np.empty((*day.shape, len(ANALYTES)))
    missing = _missing(day, known, recovery, trial, rng)
    growth = np.take_along_axis(course.growth, day, axis=1)
    follow_up = day > 0
    count = baseline.values["absolute_lymphocyte_count"][:, None]
    noise = trial.lymphocytes.within_patient.value * rng.standard_normal(day.shape) * follow_up
    measured = count * np.exp(growth + noise)
    values[:, :, 0] = measured
    for place, name in enumerate(ANALYTES[1:3], start=1):
        share = (trial.lymphocytes.t_cells.values[name] - 1) * growth
        share = share + trial.lymphocytes.t_cell_noise.value * rng.standard_normal(day.shape) * follow_up
        values[:, :, place] = baseline.values[name][:, None] * np.exp(growth + noise + share)
    excess = np.maximum(values[:, :, 1:3].sum(axis=2) / (trial.lymphocytes.largest_t_cell_share.value * measured), 1.0)
    values[:, :, 1:3] /= np.where(follow_up, excess, 1.0)[:, :, None]
    t_cell_days = np.isin(day, trial.visits.t_cell_days.values) | (day == course.discharge[:, None])
    # After baseline T cells are counted as a share of the lymphocytes.
    missing[:, :, 1:3] |= ((missing[:, :, 0] & follow_up) | ~t_cell_days)[:, :, None]
    for place, name in enumerate(ANALYTES[3:], start=3):
        values[:, :, place] = _marker(name, baseline.values[name], day, course, trial, rng)
    for place, name in enumerate(ANALYTES):
        spec = trial.baseline[name]
        low = max(10.0 ** -float(spec.digits), spec.low or 0.0)
        values[:, :, place] = np.round(np.clip(values[:, :, place], low, spec.high), spec.digits)
    patient, visit, analyte = np.nonzero(taken[:, :, None] & ~missing)
    units = load_dictionary()
    return pd.DataFrame(
        {
            "patient_id": ids.take(patient),
            "day": day[patient, visit].astype(np.int64),
            "analyte": pd.Index(ANALYTES).take(analyte),
            "value": values[patient, visit, analyte],
            "unit": pd.Index([units[name].unit for name in ANALYTES]).take(analyte),
        }
    )


def _visits(course: Course, trial: Trial) -> tuple[Ints, Bools]:
    """Return days of visits in ascending order, and whether the visit took place; shapes (n, v)."""
    fixed = np.broadcast_to(trial.visits.days.values, (course.death.size, len(trial.visits.days.values)))
    leaves = (course.discharge <= WINDOW)[:, None]
    last = np.where(leaves, course.discharge[:, None], 0)
    day = np.concatenate([fixed, last], axis=1).astype(np.intp)
    in_hospital = (fixed < course.discharge[:, None]) & (fixed < course.death[:, None])
    taken = np.concatenate([in_hospital, leaves], axis=1)
    order = np.argsort(day, axis=1, kind="stable")
    return np.take_along_axis(day, order, axis=1), np.take_along_axis(taken, order, axis=1)


def _missing(day: Ints, known: dict[str, Bools], recovery: Floats, trial: Trial, rng: np.random.Generator) -> Bools:
    """Return which values are missing although the visit took place; who recovers is measured less."""
    missing = np.empty((*day.shape, len(ANALYTES)), dtype=bool)
    spread = trial.lymphocytes.between_patients.at(day) / trial.lymphocytes.between_patients.values[-1]
    log_odds = trial.visits.missing_log_odds.value * recovery[:, None] * spread
    chance = rng.random((*day.shape, len(ANALYTES)))
    for place, name in enumerate(ANALYTES):
        probability = trial.visits.missing.values["cd4_count" if name == "cd8_count" else name]
        # CD4 and CD8 come from one measurement, so they share the draw.
        draw = chance[:, :, 1 if name == "cd8_count" else place]
        gone = draw < expit(logit(probability) + log_odds)
        missing[:, :, place] = np.where(day == 0, ~known[name][:, None], gone)
    return missing


def _marker(name: str, start: Floats, day: Ints, course: Course, trial: Trial, rng: np.random.Generator) -> Floats:
    """Draw one marker at all visits; it moves after infections and before death."""
    spec: MarkerCurve = getattr(trial.markers, name)
    lasting = round(trial.markers.lasting_days.value)
    infected = np.concatenate([np.zeros((len(day), 1)), np.cumsum(course.infected, axis=1)], axis=1)
    recent = np.take_along_axis(infected, day, axis=1) - np.take_along_axis(
        infected, np.maximum(day - lasting, 0), axis=1
    )
    dying = course.death[:, None] - day <= lasting
    log_value = spec.log_growth(day) + np.log(spec.infection) * (recent > 0) + np.log(spec.dying) * dying
    log_value = (log_value + spec.noise * rng.standard_normal(day.shape)) * (day > 0)
    return np.asarray(start[:, None] * np.exp(log_value))
