"""What a simulated trial writes down: laboratory values by visit, events, and what patients are known for later."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from il7ml.data.hazards import INVASIVE, Drivers
from il7ml.data.scenario import LAST_DAY, WINDOW, MarkerCurve, Trial
from il7ml.data.simulated_baseline import Baseline
from il7ml.data.simulated_course import NEVER, Course, Luck
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
#: Kinds of events, in the order in which they happen within a day.
EVENT_KINDS = ("infection", "adverse_event", "discharge", "death")

_FATAL_EVENT = "respiratory_failure|5|1"


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
    missing[:, :, 1:3] |= missing[:, :, :1] | ~t_cell_days[:, :, None]
    for place, name in enumerate(ANALYTES[3:], start=3):
        values[:, :, place] = _marker(name, baseline.values[name], day, course, trial, rng)
    for place, name in enumerate(ANALYTES):
        digits, high = trial.baseline[name].digits, trial.baseline[name].high
        values[:, :, place] = np.round(np.clip(values[:, :, place], 10.0 ** -float(digits), high), digits)
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
    chance: Floats = rng.random(missing.shape)
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


def draw_events(
    ids: pd.Index, treated: Bools, course: Course, follow_up: Ints, trial: Trial, rng: np.random.Generator
) -> pd.DataFrame:
    """Draw adverse events and types of infections, and list all events, sorted by patient and day.

    Parameters
    ----------
    ids : Index of length n
    treated : ndarray of shape (n,)
    course : Course
        In the arm allocated.
    follow_up : ndarray of shape (n,)
        Last day with known status.
    trial : Trial
    rng : Generator

    Returns
    -------
    DataFrame
        ``patient_id, kind, day, detail``.
    """
    patient, place = np.nonzero(course.infected)
    types = trial.infection.types.values
    shares = np.array(list(types.values()))
    kind_of_infection = pd.Index(list(types)).take(rng.choice(shares.size, patient.size, p=shares / shares.sum()))
    infections = _rows(patient, place + 1, "infection", kind_of_infection)
    adverse = _adverse_events(treated, course, trial, rng)
    home = np.flatnonzero(course.discharge <= LAST_DAY)
    discharges = _rows(home, course.discharge[home], "discharge", pd.Index(["alive"]).repeat(home.size))
    dead = np.flatnonzero(course.death <= np.minimum(follow_up, LAST_DAY))
    where = pd.Index(["after_discharge", "in_hospital"]).take((course.discharge[dead] == NEVER).astype(int))
    deaths = _rows(dead, course.death[dead], "death", where)
    events = pd.concat([infections, adverse, discharges, deaths], ignore_index=True)
    order = np.lexsort((events["kind"], events["day"], events["row"]))
    events = events.iloc[order].reset_index(drop=True)
    return pd.DataFrame(
        {
            "patient_id": ids.take(events["row"].to_numpy()),
            "kind": pd.Index(EVENT_KINDS).take(events["kind"].to_numpy()),
            "day": events["day"],
            "detail": events["detail"],
        }
    )


def _rows(patient: Ints, day: Ints, kind: str, detail: pd.Index) -> pd.DataFrame:
    code = np.full(patient.size, EVENT_KINDS.index(kind))
    return pd.DataFrame({"row": patient, "day": day.astype(np.int64), "kind": code, "detail": detail})


def _adverse_events(treated: Bools, course: Course, trial: Trial, rng: np.random.Generator) -> pd.DataFrame:
    """Draw adverse events while in hospital, by day 30; a death in that time is one of grade 5."""
    spec = trial.adverse_events
    course_of_rate = spec.time_course.at(np.arange(1, WINDOW + 1))
    cumulative = np.concatenate([[0.0], np.cumsum(course_of_rate / course_of_rate.sum())])
    reached = cumulative[np.minimum(course.end, WINDOW)]
    ratio = np.where(treated, trial.effect.adverse_events.value, 1.0)
    shape = 1 / spec.frailty_variance.value
    number = rng.poisson(spec.rate.value * ratio * rng.gamma(shape, 1 / shape, treated.size) * reached)
    patient = np.repeat(np.arange(treated.size), number)
    day = np.searchsorted(cumulative, rng.random(patient.size) * reached[patient], side="left")
    grades = np.array(list(spec.grades.values.values()))
    grade = rng.choice(grades.size, patient.size, p=grades / grades.sum())
    serious = rng.random(patient.size) < np.array(list(spec.serious.values.values()))[grade]
    terms = np.array(list(spec.terms.values.values()))
    term = rng.choice(terms.size, patient.size, p=terms / terms.sum())
    details = pd.Index([f"{name}|{g}|{s}" for name in spec.terms.values for g in spec.grades.values for s in (0, 1)])
    detail = details.take((term * grades.size + grade) * 2 + serious)
    fatal = np.flatnonzero(course.dies_in_window)
    return _rows(
        np.concatenate([patient, fatal]),
        np.concatenate([np.maximum(day, 1), course.death[fatal]]),
        "adverse_event",
        detail.append(pd.Index([_FATAL_EVENT]).repeat(fatal.size)),
    )


def draw_stays(
    baseline: Baseline, drivers: Drivers, course: Course, luck: Luck, trial: Trial, rng: np.random.Generator
) -> dict[str, Ints]:
    """Return what is known about the patients only later, by column; drivers and course are of the arm allocated."""
    stay, end = trial.stay, course.end
    icu_score = stay.correlation.value * luck.stay + np.sqrt(1 - stay.correlation.value**2) * luck.icu_stay
    icu = np.minimum(np.ceil(np.exp(drivers.log_icu_stay + stay.icu.sigma * icu_score)), end)
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
