"""Events of simulated patients: infections with their type, adverse events, discharge, death."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.data.scenario import LAST_DAY, WINDOW, Trial
from il7ml.data.simulated_course import NEVER, Course

Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

#: Kinds of events, in the order in which they are listed within a day.
EVENT_KINDS = ("infection", "adverse_event", "discharge", "death")

_FATAL_EVENT = "respiratory_failure|5|1"


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
