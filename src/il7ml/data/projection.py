"""Which tables and columns a study names: nothing else is read, so that wide tables cost what is used of them."""

from __future__ import annotations

from collections.abc import Iterable

from il7ml.data.sources import EventSource
from il7ml.data.study import (
    PATIENTS,
    BinaryEndpoint,
    ContinuousEndpoint,
    CountEndpoint,
    Study,
    TimeToEventEndpoint,
)


def named_columns(study: Study, *, course: bool = True) -> dict[str, set[str]]:
    """Return the columns that a study names, by table; tables that it does not need are left out.

    Parameters
    ----------
    study : Study
    course : bool
        Whether to include what is read only for the time after randomisation.

    Returns
    -------
    dict of str to set of str
        The names of joined columns are not among those of the patients table; their sources are among the other
        tables'.

    Examples
    --------
    >>> from il7ml.data.study import load_study
    >>> sorted(named_columns(load_study("data/il7_trial"), course=False)["events"])
    ['day', 'kind', 'patient_id']
    """
    patients = _of_patients(study)
    rows = _event_rows(study)
    if course and study.course is not None:
        spec = study.course
        patients |= {spec.follow_up, spec.doses, *(stay.column for stay in spec.stays.values())}
        rows += _of_events([spec.death, spec.discharge])
        for each in spec.measurements.values():
            measured: set[str | None] = {each.day, each.value, each.unit_column, *each.where}
            rows.append((each.table, measured))
        if spec.adverse_events is not None:
            adverse = spec.adverse_events
            parts: set[str | None] = {adverse.term, adverse.grade, adverse.serious}
            rows += _of_events([adverse.events])
            rows.append((adverse.events.table, {adverse.split.column} if adverse.split else parts))
    for name, joined in study.joined.items():
        if name in patients:
            rows.append((joined.table, {joined.column, *joined.where}))
    rows.append((PATIENTS, {name for name in patients if name not in study.joined}))
    found: dict[str, set[str]] = {}
    for table, columns in rows:
        found.setdefault(table, {study.tables[table].key}).update(name for name in columns if name is not None)
    for table, names in found.items():
        names |= {origin for name, origin in study.tables[table].dates.items() if name in names}
    return found


def _of_patients(study: Study) -> set[str | None]:
    found: set[str | None] = {study.arms.column, study.site, study.allocation.stratum}
    found |= {study.column_of(name) for name in study.variables}
    for endpoint in study.endpoints.values():
        if isinstance(endpoint, BinaryEndpoint | CountEndpoint):
            found |= {endpoint.column, endpoint.follow_up}
        if isinstance(endpoint, CountEndpoint) and isinstance(endpoint.exposure, str):
            found.add(endpoint.exposure)
        if isinstance(endpoint, ContinuousEndpoint):
            found.add(endpoint.column)
        if isinstance(endpoint, TimeToEventEndpoint):
            found |= {endpoint.time, endpoint.event}
    return found


def _event_rows(study: Study) -> list[tuple[str, set[str | None]]]:
    found: list[tuple[str, set[str | None]]] = []
    for endpoint in study.endpoints.values():
        if isinstance(endpoint, BinaryEndpoint | CountEndpoint):
            found += _of_events([*([endpoint.events] if endpoint.events else []), *endpoint.until])
    return found


def _of_events(sources: Iterable[EventSource]) -> list[tuple[str, set[str | None]]]:
    return [(source.table, {source.day, *source.where}) for source in sources]
