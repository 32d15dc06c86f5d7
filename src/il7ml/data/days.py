"""Study days and dates become days since randomisation, which is day 0."""

from __future__ import annotations

import datetime
import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.data.sources import TableSpec
from il7ml.data.tables import column_hint, numbers
from il7ml.errors import Problem

Floats = NDArray[np.float64]

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?")
# SAS counts days from 1 January 1960; beyond these (1850 and 2200) a number is no date of a trial, but seconds.
_SAS_EPOCH = datetime.date(1960, 1, 1).toordinal()
_SAS_RANGE = (datetime.date(1850, 1, 1).toordinal() - _SAS_EPOCH, datetime.date(2200, 1, 1).toordinal() - _SAS_EPOCH)


def count_days(frame: pd.DataFrame, spec: TableSpec, problems: list[Problem]) -> pd.DataFrame:
    """Return a table with its study days and dates as days since randomisation.

    Columns that the frame lacks are passed over; those in use are missed by their users.
    """
    days = {name: _from_study_days(name, frame[name], spec, problems) for name in spec.study_days if name in frame}
    for name, origin in spec.dates.items():
        if name in frame and origin not in frame:
            rule, remedy = "column is missing", column_hint(origin, frame.columns)
            problems.append(Problem(spec.place, origin, rule, 0, remedy))
        elif name in frame:
            days[name] = _from_dates(name, origin, frame, spec, problems)
    return frame.assign(**{name: pd.Series(values, index=frame.index) for name, values in days.items()})


def _from_study_days(name: str, series: pd.Series, spec: TableSpec, problems: list[Problem]) -> Floats | pd.Series:
    values, wrong = numbers(series)
    if wrong.any():
        return series  # said where the column is used
    if zeros := int(((values > -1) & (values < 1)).sum()):
        remedy = f"Days since randomisation need no study_days; else mend {name}."
        problems.append(Problem(spec.place, name, "study day 0, which CDISC does not have", zeros, remedy))
    return np.where(values > 0, values - 1, values)


def _from_dates(name: str, origin: str, frame: pd.DataFrame, spec: TableSpec, problems: list[Problem]) -> Floats:
    later, start = (_ordinals(column, frame[column], spec, problems) for column in (name, origin))
    if alone := int((frame[name].notna() & frame[origin].isna()).sum()):
        problems.append(Problem(spec.place, origin, f"{name} has a date, {origin} has none", alone, "Fill it in."))
    return later - start


def _ordinals(name: str, series: pd.Series, spec: TableSpec, problems: list[Problem]) -> Floats:
    """Return dates as numbers of days, NaN where missing or no date; the latter are noted."""
    is_sas = spec.path is not None and spec.path.lower().endswith((".xpt", ".sas7bdat"))
    place, different = pd.factorize(series)
    days = np.array([_ordinal(value, is_sas) for value in different.tolist()] + [np.nan], dtype=float)[place]
    if wrong := int((np.isnan(days) & (place >= 0)).sum()):
        expected = "numbers of days since 1960-01-01 or YYYY-MM-DD" if is_sas else "dates or YYYY-MM-DD"
        problems.append(Problem(spec.place, name, f"not a whole date (expected {expected})", wrong, "Mend it."))
    return days


def _ordinal(value: object, is_sas: bool) -> float:
    if isinstance(value, datetime.date):  # a Timestamp and a datetime are dates, too
        return value.toordinal()
    if isinstance(value, str) and _ISO.fullmatch(value.strip()):
        try:
            return datetime.date.fromisoformat(value.strip()[:10]).toordinal()
        except ValueError:
            return np.nan
    if is_sas and isinstance(value, int | float) and _SAS_RANGE[0] <= value <= _SAS_RANGE[1]:
        return float(np.floor(value)) + _SAS_EPOCH
    return np.nan
