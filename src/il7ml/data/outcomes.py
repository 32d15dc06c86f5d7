"""Endpoints as the tables show them: columns and event rows to one value a patient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.data.cohort import Observed, Timeline
from il7ml.data.sources import EventSource, Values, as_codes
from il7ml.data.study import (
    PATIENTS,
    BinaryEndpoint,
    ContinuousEndpoint,
    CountEndpoint,
    Endpoint,
    Study,
    TimeToEventEndpoint,
)
from il7ml.data.tables import NOT_A_NUMBER, NUMBER_REMEDY, codes, column_hint, numbers, texts
from il7ml.errors import Problem

Floats = NDArray[np.float64]


class Patients(NamedTuple):
    """What the endpoints are read from: the analysed rows of the patients table, and the other tables.

    `part` says that these are some of the patients only, who may all lack an outcome.
    """

    study: Study
    file: str
    table: pd.DataFrame
    ids: NDArray[np.object_]
    arm: NDArray[np.intp]
    frames: dict[str, pd.DataFrame]
    problems: list[Problem]
    part: bool = False

    def note(self, column: str, rule: str, rows: int, remedy: str, file: str | None = None) -> None:
        """Add a problem."""
        self.problems.append(Problem(file or self.file, column, rule, rows, remedy))

    def column(self, name: str, frame: pd.DataFrame | None = None, file: str | None = None) -> pd.Series | None:
        """Return a column, or note that it is missing."""
        frame = self.table if frame is None else frame
        if name in frame.columns:
            return frame[name]
        if frame is self.table and name in self.study.joined:
            return None  # noted where it was to be joined
        self.note(name, "column is missing", 0, column_hint(name, frame.columns), file)
        return None


def observe(name: str, endpoint: Endpoint, patients: Patients) -> Observed | None:
    """Return an endpoint's observed values; problems are noted and give None."""
    if isinstance(endpoint, BinaryEndpoint):
        if endpoint.events is not None:
            timeline = _timeline(endpoint, endpoint.events, patients)
            return None if timeline is None else Observed(endpoint, _any(timeline), timeline=timeline)
        value = _binary(name, endpoint, patients)
        return None if value is None else Observed(endpoint, value)
    if isinstance(endpoint, CountEndpoint):
        return _count(endpoint, patients)
    if isinstance(endpoint, ContinuousEndpoint):
        read = read_number(endpoint.column, patients)
        if read is None:
            return None
        _check_missing(name, endpoint.column, read.missing, endpoint.missing, patients)
        return Observed(endpoint, read.values)
    return _time_to_event(name, endpoint, patients)


def _binary(name: str, endpoint: BinaryEndpoint, patients: Patients) -> Floats | None:
    column = patients.column(str(endpoint.column))
    if column is None:
        return None
    cells = codes(column)
    missing = np.array([cell is None for cell in cells])
    happened = _among(cells, endpoint.event)
    different = len(set(cells[~missing]))
    if different > 2:
        patients.note(str(endpoint.column), "more than two values in a binary outcome", 0, "Use another endpoint kind.")
    elif different == 2 and not happened.any():
        rule = f"neither of the two values means the event (expected {', '.join(as_codes(endpoint.event))})"
        patients.note(str(endpoint.column), rule, 0, f"Set endpoints.{name}.event.")
    _check_missing(name, str(endpoint.column), missing, endpoint.missing, patients)
    return np.where(missing, np.nan, happened.astype(float))


def _count(endpoint: CountEndpoint, patients: Patients) -> Observed | None:
    timeline = None
    if endpoint.events is not None:
        timeline = _timeline(endpoint, endpoint.events, patients)
        value = None if timeline is None else _counts(timeline)
    else:
        value = _event_counts(endpoint, patients)
    exposure: Floats | None
    if endpoint.at_risk:
        exposure = None if timeline is None else timeline.last
        if exposure is not None and (short := int((exposure <= 0).sum())):
            patients.note("", "no day at risk: follow-up ends on day 0", short, "Count the day as 0.5.")
    elif isinstance(endpoint.exposure, str):
        read = read_number(endpoint.exposure, patients)
        exposure = None if read is None else read.values
        if read is not None:
            bad = read.missing | (read.values <= 0)
            _refuse(endpoint.exposure, bad, "time at risk is missing or not positive", "Mend it.", patients)
    else:
        exposure = np.full(len(patients.table), float(endpoint.exposure))
    if value is None or exposure is None:
        return None
    return Observed(endpoint, value, exposure=exposure / endpoint.per, timeline=timeline)


def _event_counts(endpoint: CountEndpoint, patients: Patients) -> Floats | None:
    column = str(endpoint.column)
    read = read_number(column, patients)
    if read is None:
        return None
    _refuse(column, read.missing, "outcome is missing", "Fill it in.", patients)
    wrong = (read.values < 0) | (read.values != np.round(read.values))
    _refuse(column, wrong & ~np.isnan(read.values), "not a number of events", "Expected 0, 1, 2, ...", patients)
    return read.values


def _time_to_event(name: str, endpoint: TimeToEventEndpoint, patients: Patients) -> Observed | None:
    time, column = read_number(endpoint.time, patients), patients.column(endpoint.event)
    if time is None or column is None:
        return None
    _refuse(endpoint.time, time.missing | (time.values < 0), "time is missing or negative", "Mend it.", patients)
    cells = codes(column)
    missing = np.array([cell is None for cell in cells])
    _refuse(endpoint.event, missing, "outcome is missing", "Fill it in.", patients)
    value = np.where(_among(cells, endpoint.event_value), 1.0, 0.0)
    value[_among(cells, endpoint.competing_value)] = 2.0
    unknown = (value == 0) & ~missing & ~_among(cells, endpoint.censored_value)
    expected = ", ".join(as_codes(endpoint.event_value) + as_codes(endpoint.censored_value))
    rule = f"neither event nor censored (expected {expected})"
    remedy = f"Set event_value, censored_value and competing_value of endpoints.{name}."
    _refuse(endpoint.event, unknown, rule, remedy, patients)
    return Observed(endpoint, value, time=time.values)


def _among(cells: NDArray[np.object_], values: Values | None) -> NDArray[np.bool_]:
    wanted = set() if values is None else set(as_codes(values))
    return np.array([cell is not None and cell in wanted for cell in cells], dtype=bool)


class Numbers(NamedTuple):
    """A column as numbers, NaN where it has none, and where it is empty."""

    values: Floats
    missing: NDArray[np.bool_]


def read_number(name: str, patients: Patients) -> Numbers | None:
    """Return a column of the patients table as numbers; None, noted, where it is missing."""
    column = patients.column(name)
    if column is None:
        return None
    values, wrong = numbers(column)
    if wrong.any():
        patients.note(name, NOT_A_NUMBER, int(wrong.sum()), NUMBER_REMEDY)
    return Numbers(values, column.isna().to_numpy())


def _check_missing(name: str, column: str, missing: NDArray[np.bool_], rule: str, patients: Patients) -> None:
    if not missing.any():
        return
    if rule == "refuse":
        remedy = f"Complete it, or set endpoints.{name}.missing: weight."
        _refuse(column, missing, "outcome is missing", remedy, patients)
    elif not patients.part and any(missing[patients.arm == arm].all() for arm in (0, 1)):
        patients.note(column, "outcome is missing for a whole arm", int(missing.sum()), "Complete it.")


def _refuse(column: str, rows: NDArray[np.bool_], rule: str, remedy: str, patients: Patients) -> None:
    if rows.any():
        patients.note(column, rule, int(rows.sum()), remedy)


def _counts(timeline: Timeline) -> Floats:
    return np.bincount(timeline.patient, minlength=timeline.last.size).astype(float)


def _any(timeline: Timeline) -> Floats:
    return (_counts(timeline) > 0).astype(float)


def _timeline(endpoint: BinaryEndpoint | CountEndpoint, source: EventSource, patients: Patients) -> Timeline | None:
    """Return each patient's events, those after `by_day` or after the first `until` event not counted."""
    events = _event_rows(source, patients)
    ends = [_event_rows(end, patients) for end in endpoint.until]
    if events is None or any(end is None for end in ends):
        return None
    rows, days = events
    limit = np.full(len(patients.table), np.inf if endpoint.by_day is None else endpoint.by_day)
    if endpoint.follow_up is not None:
        read = read_number(endpoint.follow_up, patients)
        if read is None:
            return None
        bad = read.missing | ~(read.values > 0)
        _refuse(endpoint.follow_up, bad, "follow-up is missing or not positive", "Mend it.", patients)
        limit = np.where(bad, np.inf, read.values)
        late = days > limit[rows]
        if late.any():
            place = patients.study.tables[source.table].place
            patients.note(source.day, "event after the patient's follow-up", int(late.sum()), "Mend it.", place)
    last = limit.copy()
    for end in ends:
        if end is not None:
            np.minimum.at(last, end[0], end[1])
    counted = days <= last[rows]
    return Timeline(rows[counted], days[counted], last, last < limit)


def day_of(source: EventSource, patients: Patients) -> Floats | None:
    """Return the day of each patient's first such event, NaN where none; problems are noted and give None."""
    rows = _event_rows(source, patients)
    if rows is None:
        return None
    first = np.full(len(patients.table), np.inf)
    np.minimum.at(first, *rows)
    return np.where(np.isinf(first), np.nan, first)


def chosen_rows(
    frame: pd.DataFrame, where: Mapping[str, Values], patients: Patients, file: str
) -> NDArray[np.bool_] | None:
    """Return which rows of a table meet all conditions; None, noted, where a column is missing."""
    chosen = np.ones(len(frame), dtype=bool)
    columns = {name: patients.column(name, frame, file) for name in where}
    for name, column in columns.items():
        if column is None:
            return None
        # Long tables have few different codes: each is compared once.
        numbers_of, different = pd.factorize(column)
        wanted = _among(codes(pd.Series(different)), where[name])
        chosen &= np.append(wanted, False)[numbers_of]
    return chosen


def positions(key: pd.Series, patients: Patients, table: str) -> NDArray[np.intp]:
    """Return each row's patient by position, -1 for patients of arms left out; strangers are noted."""
    spec = patients.study.tables[table]
    # Long tables hold each patient many times: each is looked up once.
    row, different = pd.factorize(key.astype(object))
    ids = np.array([*texts(pd.Series(different, dtype=object)), None], dtype=object)
    place = _places(ids, patients.ids)[row]
    if (place < 0).any():
        # Patients of arms left out have events, too.
        everybody = texts(patients.frames[PATIENTS][patients.study.tables[PATIENTS].key])
        strangers = int((_places(ids, everybody)[row] < 0).sum())
        if strangers:
            rule = "event of a patient who is not in the patients table"
            patients.note(spec.key, rule, strangers, "Mend it.", spec.place)
    return place


def _places(ids: NDArray[np.object_], known: NDArray[np.object_]) -> NDArray[np.intp]:
    """Return where each identifier stands among the known ones, -1 where it does not or is missing."""
    index = pd.Index(known, dtype=object)
    first = np.flatnonzero(~index.duplicated())
    found = index[first].get_indexer(pd.Index(ids, dtype=object))
    is_known = (found >= 0) & ~pd.isna(ids)
    return np.where(is_known, first[found], -1)


def _event_rows(source: EventSource, patients: Patients) -> tuple[NDArray[np.intp], Floats] | None:
    """Return the patient's position and the day of each event row that belongs to an analysed patient."""
    frame, spec = patients.frames.get(source.table), patients.study.tables[source.table]
    if frame is None:
        return None
    key = patients.column(spec.key, frame, spec.place)
    day = patients.column(source.day, frame, spec.place)
    chosen = chosen_rows(frame, source.where, patients, spec.place)
    if key is None or day is None or chosen is None:
        return None
    position = positions(key[chosen], patients, source.table)
    days, wrong = numbers(day[chosen])
    if wrong.any():
        patients.note(source.day, NOT_A_NUMBER, int(wrong.sum()), NUMBER_REMEDY, spec.place)
    bad = ~wrong & ~(days >= 0)
    if bad.any():
        patients.note(source.day, "day of an event is missing or negative", int(bad.sum()), "Mend it.", spec.place)
    keep = (position >= 0) & ~np.isnan(days)
    return position[keep], days[keep]
