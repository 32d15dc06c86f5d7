"""From tables to what happened after randomisation; every fault becomes a problem."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.data.course import Course, Measured
from il7ml.data.course_spec import AdverseEventSpec, CourseSpec, MeasurementSpec
from il7ml.data.outcomes import Patients, chosen_rows, day_of, positions, read_number
from il7ml.data.sources import as_code, as_codes
from il7ml.data.tables import NOT_A_NUMBER, NUMBER_REMEDY, codes, numbers

Floats = NDArray[np.float64]


def read_course(spec: CourseSpec, patients: Patients) -> Course | None:
    """Return what happened after randomisation; problems are noted and give None."""
    before = len(patients.problems)
    death, discharge = day_of(spec.death, patients), day_of(spec.discharge, patients)
    follow_up = _follow_up(spec, patients, death)
    doses = None
    if spec.doses is not None:
        doses = _days(spec.doses, "number of doses is negative", patients)
    measurements = {name: _measured(name, each, patients, death) for name, each in spec.measurements.items()}
    stays = {name: _stay(each.column, patients, death) for name, each in spec.stays.items()}
    adverse = None if spec.adverse_events is None else _adverse_events(spec.adverse_events, patients)
    if len(patients.problems) > before or death is None or discharge is None or follow_up is None:
        return None
    return Course(
        spec,
        death,
        discharge,
        follow_up,
        doses,
        {name: measured for name, measured in measurements.items() if measured is not None},
        {name: days for name, days in stays.items() if days is not None},
        adverse,
    )


def _days(column: str, rule: str, patients: Patients) -> Floats | None:
    read = read_number(column, patients)
    if read is None:
        return None
    if wrong := int((read.values < 0).sum()):
        patients.note(column, rule, wrong, "Mend it.")
    return read.values


def _follow_up(spec: CourseSpec, patients: Patients, death: Floats | None) -> Floats | None:
    column = spec.follow_up
    days = _days(column, "follow-up is negative", patients)
    if days is None:
        return None
    if missing := int(np.isnan(days).sum()):
        patients.note(column, "follow-up is missing", missing, "Fill it in.")
    if death is not None and (late := int((death > days).sum())):
        patients.note(column, "death after the patient's follow-up", late, "Follow-up ends with death, not before it.")
    # A column of planned or last possible days goes on after death.
    return days if death is None else np.fmin(days, death)


def _stay(column: str, patients: Patients, death: Floats | None) -> Floats | None:
    days = _days(column, "number of days is negative", patients)
    if days is not None and death is not None and (long := int((days > death).sum())):
        patients.note(column, "more days than the patient lived", long, "Mend the days or the dates of death.")
    return days


def _measured(name: str, spec: MeasurementSpec, patients: Patients, death: Floats | None) -> Measured | None:
    frame, table = patients.frames.get(spec.table), patients.study.tables[spec.table]
    if frame is None:
        return None
    chosen = chosen_rows(frame, spec.where, patients, table.place)
    key, day, value = (patients.column(column, frame, table.place) for column in (table.key, spec.day, spec.value))
    if chosen is None or key is None or day is None or value is None:
        return None
    if not chosen.any():
        where = f"course.measurements.{name}.where"
        patients.note(spec.value, f"no row is a measurement of {name}", 0, f"Mend {where}.", table.place)
        return None
    unit, factor = _unit(name, spec, patients)
    if factor is None:
        return None
    if spec.unit_column is not None:
        stated = patients.column(spec.unit_column, frame, table.place)
        if stated is None:
            return None
        kinds = stated[chosen].dropna().unique()
        if wrong := [kind for kind in kinds if as_code(kind) != as_code(spec.unit)]:
            rows = int(stated[chosen].isin(wrong).sum())
            rule = f"measurements of {name} in another unit than {spec.unit!r}"
            patients.note(spec.unit_column, rule, rows, "Convert them, or set the unit.", table.place)
            return None
    position = positions(key[chosen], patients, spec.table)
    days, bad_day = numbers(day[chosen])
    values, bad_value = numbers(value[chosen])
    if bad_day.any():
        patients.note(spec.day, NOT_A_NUMBER, int(bad_day.sum()), NUMBER_REMEDY, table.place)
    if bad_value.any():
        patients.note(spec.value, NOT_A_NUMBER, int(bad_value.sum()), NUMBER_REMEDY, table.place)
    known = (position >= 0) & ~np.isnan(values)
    if early := int((known & ~bad_day & ~(days >= 0)).sum()):
        patients.note(spec.day, "day of a measurement is missing or negative", early, "Mend it.", table.place)
    if low := int((known & (values <= 0)).sum()):
        rule = f"measurements of {name} that are not above 0, so that ratios have no meaning"
        patients.note(spec.value, rule, low, "Give the limit of detection, or leave them empty.", table.place)
    known &= ~np.isnan(days)
    position, days, values = position[known], days[known], values[known] * factor
    if death is not None and (late := int((days > death[position]).sum())):
        patients.note(spec.day, "measurement after the patient's death", late, "Mend the dates.", table.place)
    _check_possible(name, spec, values, patients)
    if not low:
        position, days, values = _one_a_day(position, days, values)
    baseline = np.full(len(patients.table), np.nan)
    baseline[position[days == 0]] = values[days == 0]
    return Measured(spec, unit, position, days, values, factor, baseline)


def _one_a_day(position: NDArray[np.intp], days: Floats, values: Floats) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Return the measurements with those of one patient and day as their geometric mean, so that no order matters."""
    rows = pd.DataFrame({"patient": position, "day": days, "value": values})
    same = rows.duplicated(["patient", "day"], keep=False)
    if not same.any():
        return position, days, values
    # Sorted, so that rounding does not depend on the order of rows either.
    several = rows[same].sort_values("value")
    several["value"] = np.log(several["value"])
    rows.loc[same, "value"] = np.exp(several.groupby(["patient", "day"])["value"].transform("mean"))
    rows = rows.drop_duplicates(["patient", "day"])
    return rows["patient"].to_numpy(), rows["day"].to_numpy(), rows["value"].to_numpy()


def _unit(name: str, spec: MeasurementSpec, patients: Patients) -> tuple[str, float | None]:
    """Return the unit that values are turned into, and the factor; None where the unit is not known."""
    variable = patients.study.dictionary.get(name)
    if variable is None or not variable.unit:
        return spec.unit, 1.0
    if spec.unit not in variable.units:
        found = f"unit {spec.unit!r} of measurement {name} is not known" if spec.unit else f"no unit for {name}"
        remedy = f"Set course.measurements.{name}.unit to one of {', '.join(variable.units)}."
        patients.note(spec.value, found, 0, remedy, patients.study.tables[spec.table].place)
        return spec.unit, None
    return variable.unit, variable.factor(spec.unit, name)


def _check_possible(name: str, spec: MeasurementSpec, values: Floats, patients: Patients) -> None:
    variable = patients.study.dictionary.get(name)
    if variable is None or variable.possible is None:
        return
    place = patients.study.tables[spec.table].place
    declared = spec.unit or None
    other = variable.other_unit(values / variable.factor(declared, name), declared) if variable.unit else None
    low, high = variable.possible
    if other is not None:
        rule = f"measurements of {name} make no sense in {spec.unit}, they look like {other}"
        patients.note(spec.value, rule, 0, f"Set course.measurements.{name}.unit: {other}.", place)
    elif impossible := int(((values < low) | (values > high)).sum()):
        rule = f"impossible measurement of {name} (expected {low:g} to {high:g} {variable.unit})".replace(" )", ")")
        patients.note(spec.value, rule, impossible, "Mend it, or leave it empty.", place)


def _adverse_events(spec: AdverseEventSpec, patients: Patients) -> pd.DataFrame | None:
    source = spec.events
    frame, table = patients.frames.get(source.table), patients.study.tables[source.table]
    if frame is None:
        return None
    chosen = chosen_rows(frame, source.where, patients, table.place)
    key, day = patients.column(table.key, frame, table.place), patients.column(source.day, frame, table.place)
    if chosen is None or key is None or day is None:
        return None
    rows = frame[chosen]
    if spec.split is not None:
        whole = patients.column(spec.split.column, frame, table.place)
        if whole is None:
            return None
        parts = [str(cell).split(spec.split.separator) for cell in whole[chosen].astype(object).fillna("")]
        wanted = len(spec.split.into)
        if wrong_parts := sum(len(found) != wanted for found in parts):
            rule = f"adverse events whose {spec.split.column} does not have {wanted} parts"
            remedy = "Mend them, or course.adverse_events.split."
            patients.note(spec.split.column, rule, wrong_parts, remedy, table.place)
            return None
        cells = [[part.strip() or None for part in found] for found in parts]
        rows = pd.DataFrame(cells, columns=list(spec.split.into), dtype=object)
    term, grade, serious = (
        patients.column(column, rows, table.place) for column in (spec.term, spec.grade, spec.serious)
    )
    if term is None or grade is None or serious is None:
        return None
    days, wrong_day = numbers(day[chosen])
    if bad := int((wrong_day | ~(days >= 0)).sum()):
        patients.note(
            source.day, "day of an adverse event is missing, negative or not a number", bad, "Mend it.", table.place
        )
    found = {"patient": positions(key[chosen], patients, source.table), "day": days}
    found["grade"], wrong = numbers(grade)
    if wrong.any():
        patients.note(spec.grade, NOT_A_NUMBER, int(wrong.sum()), NUMBER_REMEDY, table.place)
    marks = codes(serious)
    present, absent = as_codes(spec.present), as_codes(spec.absent)
    found["serious"] = np.array([float(mark in present) for mark in marks])
    if (odd := np.array([mark not in (*present, *absent) for mark in marks], dtype=bool)).any():
        rule = f"adverse events that are neither serious ({', '.join(present)}) nor not ({', '.join(absent)})"
        patients.note(spec.serious, rule, int(odd.sum()), "Complete them.", table.place)
    result = pd.DataFrame({**found, "term": term.to_numpy()})
    return result[result["patient"] >= 0].reset_index(drop=True)
