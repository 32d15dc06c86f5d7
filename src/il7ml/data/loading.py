"""From a study file and its tables to a validated cohort; all problems are collected and reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.data.cohort import Cohort, Flow, Observed
from il7ml.data.course import Course
from il7ml.data.course_reading import read_course
from il7ml.data.days import count_days
from il7ml.data.joining import join_columns
from il7ml.data.outcomes import Patients, observe
from il7ml.data.projection import named_columns
from il7ml.data.sources import as_code, as_codes
from il7ml.data.study import PATIENTS, Study, VariableMap, load_study
from il7ml.data.tables import (
    NOT_A_NUMBER,
    NUMBER_REMEDY,
    clean_table,
    codes,
    column_hint,
    numbers,
    read_study_table,
    texts,
)
from il7ml.errors import DataError, Problem, nearest
from il7ml.schema import Variable

Floats = NDArray[np.float64]

SMALLEST_COHORT = 20
FEW_REMEDY = "Bring more patients together; models cannot be judged on fewer."
ALL_MISSING = "all values are missing"
CONSTANT = "constant: all known values are the same"
DUPLICATE = "duplicate patient: one row a patient is expected"


def load_cohort(
    study: Study | str | Path, tables: Mapping[str, pd.DataFrame] | None = None, *, course: bool = True
) -> Cohort:
    """Read a study's tables and check them.

    Parameters
    ----------
    study : Study or path
        A parsed study, or the path of a study file.
    tables : mapping of str to DataFrame, optional
        Tables by name, instead of the files that the study names. They are left as they are.
    course : bool
        Whether to read what happened after randomisation as well. Models do not need it, and measurements are by far
        the longest table.

    Returns
    -------
    Cohort

    Raises
    ------
    InputError
        If the study file itself is wrong.
    DataError
        Listing everything that is wrong with the tables: file, column, rule, number of rows, remedy; no values.
    """
    if not isinstance(study, Study):
        study = load_study(study)
    problems: list[Problem] = []
    frames: dict[str, pd.DataFrame] = {}
    check_days(study, problems)
    columns = named_columns(study, course=course)
    for name in [name for name in study.tables if name in columns]:
        spec = study.tables[name]
        frame: pd.DataFrame | None
        if tables is None:
            site = (study.site,) if study.site is not None and name == PATIENTS else ()
            frame = read_study_table(study.folder, spec, problems, site, columns[name])
        elif name in tables:
            frame = clean_table(tables[name], spec, problems)
        else:
            frame = None
            problems.append(Problem(name, "", "the table was not given", 0, "Pass it by this name."))
        if frame is not None:
            frames[name] = count_days(frame, spec, problems)
    if PATIENTS in frames:
        frames[PATIENTS] = join_columns(study, frames, columns, problems)
    cohort = Loader(study, frames, problems, course).cohort() if PATIENTS in frames else None
    if problems or cohort is None:
        raise DataError(each_once(problems))
    return cohort


def check_days(study: Study, problems: list[Problem]) -> None:
    """Note columns under study_days or dates that nothing uses: with a name misspelt, days would be off by one."""
    for table, columns in named_columns(study).items():
        spec = study.tables[table]
        for name in sorted({*spec.study_days, *spec.dates} - columns):
            rule = "stands under study_days or dates, but nothing in the study uses it"
            problems.append(Problem(spec.place, name, rule, 0, column_hint(name, sorted(columns))))


def each_once(problems: list[Problem]) -> list[Problem]:
    """Return each fault once, with its largest number of rows: several endpoints may stumble over the same one."""
    found: dict[tuple[str, str, str], Problem] = {}
    for problem in problems:
        key = (problem.file, problem.column, problem.rule)
        if key not in found or problem.rows > found[key].rows:
            found[key] = problem
    return list(found.values())


class Loader:
    """Checks one set of tables; every method notes what is wrong and goes on, so that all faults come at once.

    Parameters
    ----------
    study : Study
    frames : dict of str to DataFrame
        Clean tables with days counted and columns joined.
    problems : list of Problem
        Faults are added to it.
    course : bool
        Whether the course is read.
    part : bool, default False
        Whether these are some of the patients only, of whom nothing can be demanded that holds for all together: enough
        patients, both arms, values that differ.

    Attributes
    ----------
    rows : ndarray of int
        After `cohort`: which rows of the patients table are those of the contrast's two arms.
    """

    def __init__(
        self,
        study: Study,
        frames: dict[str, pd.DataFrame],
        problems: list[Problem],
        course: bool,
        part: bool = False,
    ) -> None:
        self.study = study
        self.course = study.course if course else None
        self.frames = frames
        self.problems = problems
        self.part = part
        self.file = study.tables[PATIENTS].place
        self.table = frames[PATIENTS]
        self.rows = np.arange(len(self.table))

    def cohort(self) -> Cohort | None:
        """Return the cohort; None when something is wrong."""
        before = len(self.table)
        if not self._is_readable():
            return None
        has_ids = self._check_ids()
        arm = self._arm()
        if arm is not None:
            self.rows = np.flatnonzero(arm >= 0)
            self.table = self.table[arm >= 0].reset_index(drop=True)
            arm = arm[arm >= 0]
            if self.part and not arm.size:
                return None
        if len(self.table) < SMALLEST_COHORT and not self.part:
            self._note(
                "",
                f"{len(self.table)} patients in the two arms, at least {SMALLEST_COHORT} are needed",
                0,
                FEW_REMEDY,
            )
        values = {name: self._variable(name, variable) for name, variable in self.study.mapped.items()}
        propensity = self._propensity()
        site = self._site()
        outcomes, course = self._after(arm) if has_ids and arm is not None else ({}, None)
        if self.problems or arm is None or propensity is None:
            return None
        treated = int(arm.sum())
        return Cohort(
            study=self.study,
            treatment=arm.astype(np.int8),
            propensity=propensity,
            site=site,
            outcomes=outcomes,
            flow=Flow(before, before - arm.size, arm.size, arm.size - treated, treated),
            course=course,
            _values=pd.DataFrame(values),
        )

    def _note(self, column: str, rule: str, rows: int, remedy: str, file: str | None = None) -> None:
        self.problems.append(Problem(file or self.file, column, rule, rows, remedy))

    def _is_readable(self) -> bool:
        """Note what makes every further rule pointless: no rows, or a header that is none."""
        study = self.study
        expected = {study.tables[PATIENTS].key, study.arms.column, *map(study.column_of, study.variables)}
        if expected.isdisjoint(self.table.columns):
            remedy = "Check that the first row holds the columns' names."
            self._note("", "none of the study's columns is in the table", 0, remedy)
        elif self.table.empty:
            self._note("", "the table has no rows", 0, "Export it again.")
        else:
            return True
        return False

    def _column(self, name: str) -> pd.Series | None:
        if name in self.table.columns:
            return self.table[name]
        if name in self.study.joined:
            return None  # noted where it was to be joined
        self._note(name, "column is missing", 0, column_hint(name, self.table.columns))
        return None

    def _check_ids(self) -> bool:
        """Check the identifiers of all rows, also of arms left out; return whether there are any."""
        key = self.study.tables[PATIENTS].key
        column = self._column(key)
        if column is None:
            return False
        ids = texts(column)
        missing = int(sum(value is None for value in ids))
        if missing:
            self._note(key, "patient identifier is missing", missing, "Fill it in.")
        repeated = pd.Series(ids).dropna().duplicated(keep=False)
        if repeated.any():
            self._note(key, DUPLICATE, int(repeated.sum()), "Keep one row each.")
        return True

    def _arm(self) -> NDArray[np.intp] | None:
        """Return 0 (control), 1 (treated) or -1 (another arm) a row; None if no row tells."""
        arms = self.study.arms
        column = self._column(arms.column)
        if column is None:
            return None
        cells = codes(column)
        number_of = {code: number for number, spec in enumerate((arms.control, arms.treated)) for code in spec.values}
        arm = np.array([-1 if cell is None else number_of.get(cell, -1) for cell in cells], dtype=np.intp)
        expected = ", ".join(number_of)
        if (arm < 0).all() and not self.part:
            rule = f"no patient of the contrast's two arms (expected {expected})"
            self._note(arms.column, rule, 0, "Mend arms in the study file, or the table.")
            return None
        missing = sum(cell is None for cell in cells)
        if missing:
            self._note(arms.column, "arm is missing", missing, "Every randomised patient has an arm; fill it in.")
        others = int((arm < 0).sum()) - missing
        if others and arms.other_arms == "refuse":
            remedy = "Name the arms in the study file, or set arms.other_arms: exclude."
            self._note(arms.column, f"arm is none of the contrast's ({expected})", others, remedy)
        for number, spec in enumerate((arms.control, arms.treated)):
            if not (arm == number).any() and not self.part:
                rule = f"one arm only: no patient of arm {spec.label}"
                self._note(arms.column, rule, 0, f"Expected {' or '.join(spec.values)}. Two arms are needed.")
        return arm

    def _variable(self, name: str, variable: Variable) -> pd.Series | None:
        mapping = self.study.map_of(name)
        column = mapping.column or name
        series = self._column(column)
        if series is None:
            return None
        if variable.kind == "categorical":
            result = self._categorical(column, series, variable, mapping)
        elif variable.kind == "binary":
            result = self._binary(column, series, mapping)
        else:
            result = self._continuous(name, column, series, variable, mapping)
        if result is not None and variable.is_baseline and not self.part:
            self._check_informative(name, column, series, result)
        return result

    def _check_informative(self, name: str, column: str, series: pd.Series, values: pd.Series) -> None:
        remedy = f"Take {name} out of the study file's variables."
        if series.isna().all():
            self._note(column, ALL_MISSING, 0, remedy)
        elif len(values.dropna().unique()) == 1:
            self._note(column, CONSTANT, 0, remedy)

    def _categorical(
        self, column: str, series: pd.Series, variable: Variable, mapping: VariableMap
    ) -> pd.Series | None:
        cells = codes(series)
        levels = {as_code(raw): level for raw, level in mapping.levels.items()}
        levels = levels or {as_code(level): level for level in variable.levels}
        if wrong := sorted(set(levels.values()) - set(variable.levels)):
            hint = nearest(wrong[0], variable.levels).strip()
            self._note(column, f"level {wrong[0]!r} is not one of the variable's", 0, f"{hint} Mend the study file.")
            return None
        unknown = sum(cell is not None and cell not in levels for cell in cells)
        if unknown:
            expected = ", ".join(levels)
            self._note(column, f"unknown category (expected {expected})", unknown, "Map it under levels, or mend it.")
            return None
        return pd.Series([None if cell is None else levels[cell] for cell in cells], dtype=object)

    def _binary(self, column: str, series: pd.Series, mapping: VariableMap) -> pd.Series | None:
        cells = codes(series)
        present, absent = as_codes(mapping.present), as_codes(mapping.absent)
        unknown = sum(cell is not None and cell not in (*present, *absent) for cell in cells)
        if unknown:
            expected = f"expected {', '.join(present)} for yes and {', '.join(absent)} for no"
            self._note(column, f"neither yes nor no ({expected})", unknown, "Set present and absent, or mend it.")
            return None
        return pd.Series([np.nan if cell is None else float(cell in present) for cell in cells], dtype=float)

    def _continuous(
        self, name: str, column: str, series: pd.Series, variable: Variable, mapping: VariableMap
    ) -> pd.Series | None:
        if variable.unit and mapping.unit is None:
            choices = ", ".join(variable.units)
            self._note(column, f"no unit is stated (one of {choices})", 0, f"Set variables.{name}.unit.")
            return None
        if mapping.unit not in (None, variable.unit, *variable.accepted_units):
            remedy = f"Set variables.{name}.unit to one of {', '.join(variable.units)}."
            remedy = remedy if variable.units else f"Leave variables.{name}.unit out."
            self._note(column, f"unit {mapping.unit!r} is not known", 0, remedy)
            return None
        values, wrong = numbers(series)
        if wrong.any():
            self._note(column, NOT_A_NUMBER, int(wrong.sum()), NUMBER_REMEDY)
        other = variable.other_unit(values, mapping.unit)
        values = values * variable.factor(mapping.unit, name)
        if other is not None:
            rule = f"values make no sense in {mapping.unit}, they look like {other}"
            self._note(column, rule, 0, f"Set variables.{name}.unit: {other}.")
        elif variable.possible is not None:
            low, high = variable.possible
            impossible = int(((values < low) | (values > high)).sum())
            if impossible:
                rule = f"impossible value (expected {low:g} to {high:g} {variable.unit})".replace(" )", ")")
                self._note(column, rule, impossible, "Mend it, or set it missing.")
        return pd.Series(values)

    def _propensity(self) -> Floats | None:
        allocation = self.study.allocation
        if allocation.probability is not None:
            return np.full(len(self.table), allocation.probability)
        column = self._column(str(allocation.stratum))
        if column is None:
            return None
        cells = codes(column)
        probabilities = {as_code(stratum): probability for stratum, probability in allocation.by_stratum.items()}
        unknown = sum(cell not in probabilities for cell in cells)
        if unknown:
            remedy = "Add it under allocation.by_stratum, or mend the table."
            self._note(str(allocation.stratum), "stratum is missing or has no allocation probability", unknown, remedy)
            return None
        return np.array([probabilities[cell] for cell in cells])

    def _site(self) -> NDArray[np.object_] | None:
        if self.study.site is None:
            return None
        column = self._column(self.study.site)
        if column is None:
            return None
        cells = texts(column)
        missing = int(sum(cell is None for cell in cells))
        if missing:
            self._note(self.study.site, "site is missing", missing, "Fill it in.")
        return cells

    def _after(self, arm: NDArray[np.intp]) -> tuple[dict[str, Observed], Course | None]:
        ids = texts(self.table[self.study.tables[PATIENTS].key])
        patients = Patients(self.study, self.file, self.table, ids, arm, self.frames, self.problems, self.part)
        found = {name: observe(name, endpoint, patients) for name, endpoint in self.study.endpoints.items()}
        course = None if self.course is None else read_course(self.course, patients)
        return {name: observed for name, observed in found.items() if observed is not None}, course
