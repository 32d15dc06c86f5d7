"""Columns of the patients table that stand in other tables, such as a laboratory value before randomisation."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from il7ml.data.outcomes import Patients, chosen_rows, positions
from il7ml.data.sources import JoinedColumn
from il7ml.data.study import PATIENTS, Study
from il7ml.data.tables import texts
from il7ml.errors import Problem


def join_columns(
    study: Study, frames: dict[str, pd.DataFrame], tables: Collection[str], problems: list[Problem]
) -> pd.DataFrame:
    """Return the patients table with the joined columns whose tables are in use; problems are noted.

    Parameters
    ----------
    study : Study
    frames : dict of str to DataFrame
        The tables read; those that could not be read are missing, and have been noted.
    tables : collection of str
        Names of the tables in use.
    problems : list of Problem
    """
    table, spec = frames[PATIENTS], study.tables[PATIENTS]
    wanted = {name: joined for name, joined in study.joined.items() if joined.table in tables}
    if not wanted or spec.key not in table.columns:
        return table
    everybody = np.zeros(len(table), dtype=np.intp)
    patients = Patients(study, spec.place, table, texts(table[spec.key]), everybody, frames, problems)
    found = {name: _joined(name, joined, patients) for name, joined in wanted.items()}
    return table.assign(**{name: column for name, column in found.items() if column is not None})


def _joined(name: str, joined: JoinedColumn, patients: Patients) -> pd.Series | None:
    frame, spec = patients.frames.get(joined.table), patients.study.tables[joined.table]
    if frame is None:
        return None
    key = patients.column(spec.key, frame, spec.place)
    column = patients.column(joined.column, frame, spec.place)
    chosen = chosen_rows(frame, joined.where, patients, spec.place)
    if key is None or column is None or chosen is None:
        return None
    if not chosen.any():
        patients.note(joined.column, f"no row belongs to joined column {name!r}", 0, "Mend its where.", spec.place)
        return None
    place = positions(key[chosen], patients, joined.table)
    cells = pd.Series(column[chosen].to_numpy(), index=place)[place >= 0]
    if several := int(cells.index.duplicated(keep=False).sum()):
        rule = f"patients with more than one row for joined column {name!r}"
        patients.note(joined.column, rule, several, "Narrow its where to one row a patient.", spec.place)
        return None
    return cells.reindex(np.arange(len(patients.table)))
