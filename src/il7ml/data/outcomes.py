"""Endpoints as the tables show them: columns and event rows to one value a patient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.data.cohort import Observed
from il7ml.data.study import (
    BinaryEndpoint,
    ContinuousEndpoint,
    CountEndpoint,
    Endpoint,
    EventSource,
    Study,
    TimeToEventEndpoint,
    as_texts,
)
from il7ml.data.tables import numbers, texts
from il7ml.errors import Problem, nearest

Floats = NDArray[np.float64]


class Patients(NamedTuple):
    """What the endpoints are read from: the analysed rows of the patients table, and the other tables."""

    study: Study
    file: str
    table: pd.DataFrame
    ids: NDArray[np.object_]
    arm: NDArray[np.intp]
    frames: dict[str, pd.DataFrame]
    problems: list[Problem]

    def note(self, column: str, rule: str, rows: int, remedy: str, file: str | None = None) -> None:
        """Add a problem."""
        self.problems.append(Problem(file or self.file, column, rule, rows, remedy))

    def column(self, name: str, frame: pd.DataFrame | None = None, file: str | None = None) -> pd.Series | None:
        """Return a column, or note that it is missing."""
        frame = self.table if frame is None else frame
        if name in frame.columns:
            return frame[name]
        hint = nearest(name, frame.columns).strip()
        self.note(name, "column is missing", 0, f"{hint} Mend the study file or the table.".strip(), file)
        return None


def observe(name: str, endpoint: Endpoint, patients: Patients) -> Observed | None:
    """Return an endpoint's observed values; problems are noted and give None."""
    if isinstance(endpoint, BinaryEndpoint):
        value = _binary(name, endpoint, patients)
        return None if value is None else Observed(endpoint, value)
    if isinstance(endpoint, CountEndpoint):
        return _count(endpoint, patients)
    if isinstance(endpoint, ContinuousEndpoint):
        value = _number(endpoint.column, patients)
        if value is None:
            return None
        _check_missing(name, endpoint.column, value, endpoint.missing, patients)
        return Observed(endpoint, value)
    return _time_to_event(endpoint, patients)


def _binary(name: str, endpoint: BinaryEndpoint, patients: Patients) -> Floats | None:
    if endpoint.events is not None:
        counted = _count_events(endpoint.events, endpoint.by_day, endpoint.until, patients)
        return None if counted is None else (counted > 0).astype(float)
    column = patients.column(str(endpoint.column))
    if column is None:
        return None
    cells = texts(column)
    happened = as_texts(endpoint.event)
    value = np.array([np.nan if cell is None else float(cell in happened) for cell in cells])
    if len({cell for cell in cells if cell is not None}) > 2:
        patients.note(str(endpoint.column), "more than two values in a binary outcome", 0, "Use another endpoint kind.")
    _check_missing(name, str(endpoint.column), value, endpoint.missing, patients)
    return value


def _count(endpoint: CountEndpoint, patients: Patients) -> Observed | None:
    if endpoint.events is not None:
        value = _count_events(endpoint.events, endpoint.by_day, endpoint.until, patients)
    else:
        value = _number(str(endpoint.column), patients)
        if value is not None:
            _refuse(str(endpoint.column), np.isnan(value), "outcome is missing", "Fill it in.", patients)
            wrong = (value < 0) | (value != np.round(value))
            _refuse(str(endpoint.column), wrong & ~np.isnan(value), "not a number of events", "Mend it.", patients)
    if isinstance(endpoint.exposure, str):
        exposure = _number(endpoint.exposure, patients)
        if exposure is not None:
            bad = ~(exposure > 0)
            _refuse(endpoint.exposure, bad, "time at risk is missing or not positive", "Mend it.", patients)
    else:
        exposure = np.full(len(patients.table), float(endpoint.exposure))
    if value is None or exposure is None:
        return None
    return Observed(endpoint, value, exposure=exposure / endpoint.per)


def _time_to_event(endpoint: TimeToEventEndpoint, patients: Patients) -> Observed | None:
    time, column = _number(endpoint.time, patients), patients.column(endpoint.event)
    if time is None or column is None:
        return None
    _refuse(endpoint.time, ~(time >= 0), "time is missing or negative", "Mend it.", patients)
    cells = texts(column)
    _refuse(endpoint.event, np.array([cell is None for cell in cells]), "outcome is missing", "Fill it in.", patients)
    value = np.isin(cells.astype(str), as_texts(endpoint.event_value)).astype(float)
    if endpoint.competing_value is not None:
        value[np.isin(cells.astype(str), as_texts(endpoint.competing_value))] = 2.0
    return Observed(endpoint, value, time=time)


def _number(name: str, patients: Patients) -> Floats | None:
    column = patients.column(name)
    if column is None:
        return None
    values, wrong = numbers(column)
    if wrong:
        patients.note(name, "not a number", wrong, "Mend it, or list the code under the table's missing.")
    return values


def _check_missing(name: str, column: str, value: Floats, rule: str, patients: Patients) -> None:
    missing = np.isnan(value)
    if not missing.any():
        return
    if rule == "refuse":
        remedy = f"Complete it, or set endpoints.{name}.missing: weight."
        _refuse(column, missing, "outcome is missing", remedy, patients)
    elif any(missing[patients.arm == arm].all() for arm in (0, 1)):
        patients.note(column, "outcome is missing for a whole arm", int(missing.sum()), "Complete it.")


def _refuse(column: str, rows: NDArray[np.bool_], rule: str, remedy: str, patients: Patients) -> None:
    if rows.any():
        patients.note(column, rule, int(rows.sum()), remedy)


def _count_events(
    source: EventSource, by_day: float | None, until: tuple[EventSource, ...], patients: Patients
) -> Floats | None:
    """Return the number of events a patient, those after `by_day` or after the first `until` event not counted."""
    events = _event_rows(source, patients)
    ends = [_event_rows(end, patients) for end in until]
    if events is None or any(end is None for end in ends):
        return None
    rows, days = events
    last = np.full(len(patients.table), np.inf if by_day is None else by_day)
    for end in ends:
        if end is not None:
            np.minimum.at(last, end[0], end[1])
    counts = np.zeros(len(patients.table))
    np.add.at(counts, rows[days <= last[rows]], 1.0)
    return counts


def _event_rows(source: EventSource, patients: Patients) -> tuple[NDArray[np.intp], Floats] | None:
    """Return the patient's position and the day of each event row that belongs to an analysed patient."""
    frame, spec = patients.frames.get(source.table), patients.study.tables[source.table]
    if frame is None:
        return None
    key = patients.column(spec.key, frame, spec.path)
    day = patients.column(source.day, frame, spec.path)
    conditions = {name: patients.column(name, frame, spec.path) for name in source.where}
    if key is None or day is None or any(column is None for column in conditions.values()):
        return None
    chosen = np.ones(len(frame), dtype=bool)
    for name, column in conditions.items():
        chosen &= np.isin(texts(frame[name] if column is None else column).astype(str), as_texts(source.where[name]))
    position = pd.Index(patients.ids).get_indexer(pd.Index(texts(key[chosen])))
    days, wrong = numbers(day[chosen])
    known = patients.frames["patients"][patients.study.tables["patients"].key]
    strangers = int((pd.Index(texts(known)).get_indexer(pd.Index(texts(key[chosen]))) < 0).sum())
    if strangers:
        patients.note(spec.key, "event of a patient who is not in the patients table", strangers, "Mend it.", spec.path)
    late = int((np.isnan(days) | (days < 0)).sum())
    if late or wrong:
        patients.note(source.day, "day of an event is missing or negative", late, "Mend it.", spec.path)
    keep = (position >= 0) & ~np.isnan(days)
    return position[keep].astype(np.intp), days[keep]
