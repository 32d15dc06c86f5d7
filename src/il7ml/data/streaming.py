"""A study of more patients than memory holds: partitioned Parquet, checked part by part with the rules of `loading`.

The layout: the patients table is a folder of Parquet files, and so is every other table that is needed, with files of
the same names; all rows of a patient lie in files of one name. `il7ml simulate` writes it. What is kept in memory is a
few numbers a patient, and a random sample of the patients with everything.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.data.cohort import Cohort, Flow, Observed
from il7ml.data.days import count_days
from il7ml.data.joining import join_columns
from il7ml.data.loading import (
    ALL_MISSING,
    CONSTANT,
    DUPLICATE,
    FEW_REMEDY,
    SMALLEST_COHORT,
    Loader,
    check_days,
    each_once,
    load_cohort,
)
from il7ml.data.partitions import parquet_files
from il7ml.data.projection import named_columns
from il7ml.data.sources import TableSpec
from il7ml.data.study import PATIENTS, Study
from il7ml.data.tables import read_study_table, texts
from il7ml.errors import DataError, InputError, Problem

Numbers = NDArray[np.uint64]
Problems = dict[tuple[str, str, str], Problem]

_ALL = 2**64 - 1


class StreamedStudy(NamedTuple):
    """What is kept of a study in memory.

    Attributes
    ----------
    everybody : Cohort
        All patients' arms and outcomes, without baseline values, sites and course.
    sample : Cohort
        Some of them, drawn at random, complete.
    rows : ndarray of int of shape (sample,)
        Where those stand among everybody.
    number : ndarray of uint64 of shape (n,)
        A random number for each patient, from seed and identifier: how the tables are cut does not change it.
    """

    everybody: Cohort
    sample: Cohort
    rows: NDArray[np.intp]
    number: Numbers


def count_partitioned_rows(study: Study) -> int:
    """Return the number of the patients table's rows; 0 where it is no folder of Parquet files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = study.tables[PATIENTS].path
    if path is None or not (study.folder / path).is_dir():
        return 0
    try:
        return sum(pq.ParquetFile(file).metadata.num_rows for file in parquet_files(study.folder / path))
    except (pa.ArrowException, OSError, InputError):
        return 0  # whoever reads the table says what is wrong with it


def stream_study(study: Study, keep: Callable[[Cohort], None], *, sample: int, seed: int) -> StreamedStudy:
    """Read and check a study part by part.

    Parameters
    ----------
    study : Study
    keep : callable
        Called with the cohort of each part, in the order of the files' names: for what is to be kept of baseline
        values.
    sample : int
        How many patients are to be in the sample, on average.
    seed : int
        Of the patients' random numbers.

    Returns
    -------
    StreamedStudy

    Raises
    ------
    InputError
        If the tables are not partitioned alike.
    DataError
        With the problems of all parts together, as `load_cohort` lists them.
    """
    columns = named_columns(study, course=False)
    names = _layout(study, sorted(columns))
    share = sample / max(count_partitioned_rows(study), 1)
    reader = _Reader(study, columns, int(share * _ALL) if share < 1 else _ALL, f"{seed:016d}"[-16:], keep)
    for name in names:
        reader.read(name)
    return reader.whole()


def _layout(study: Study, tables: list[str]) -> list[str]:
    """Return the names of the parts, which are those of the patients table's files."""
    found: dict[str, list[str]] = {}
    for table in tables:
        spec = study.tables[table]
        folder = None if spec.path is None else study.folder / spec.path
        if folder is None or not folder.is_dir():
            raise InputError(
                f"{spec.place}: a study that is read part by part needs table {table!r} as a folder of Parquet files, "
                "one for each file of the patients table. Partition it, or raise streaming.above."
            )
        found[table] = [file.relative_to(folder).as_posix() for file in parquet_files(folder)]
    names = found[PATIENTS]
    if any("=" in Path(name).parent.as_posix() for name in names):
        raise InputError(
            f"{study.tables[PATIENTS].place}: folders called column=value are not read part by part. "
            "Write that column into the files."
        )
    for table, others in found.items():
        if others != names:
            only = sorted(set(names) ^ set(others))[0]
            raise InputError(
                f"{study.tables[table].place}: its files are not called as those of the patients table ({only} is in "
                "one of the two only). Partition both alike: all rows of a patient in files of one name."
            )
    return names


class _Reader:
    """Takes the parts one after the other; faults are added up, and from the first on nothing more is kept."""

    def __init__(
        self, study: Study, columns: dict[str, set[str]], limit: int, key: str, keep: Callable[[Cohort], None]
    ) -> None:
        self.study, self.columns, self.keep = study, columns, keep
        self.limit, self.key = np.uint64(limit), key
        self.problems: Problems = {}
        self.parts: list[Cohort] = []
        self.numbers: list[Numbers] = []
        self.everyone: list[Numbers] = []  # those of arms left out, too
        self.sampled: dict[str, list[pd.DataFrame]] = {name: [] for name in columns}
        self.seen: dict[str, list[object]] = {name: [] for name in study.mapped}
        self.found_rows = 0
        only_days: list[Problem] = []
        check_days(study, only_days)
        self._note(only_days)

    def read(self, name: str) -> None:
        problems: list[Problem] = []
        specs = {
            table: spec.model_copy(update={"path": f"{spec.path}/{name}"}) if table in self.columns else spec
            for table, spec in self.study.tables.items()
        }
        study = self.study.model_copy(update={"tables": specs})
        site = (study.site,) if study.site is not None else ()
        raw = {
            table: frame
            for table, used in self.columns.items()
            if (
                frame := read_study_table(study.folder, specs[table], problems, site if table == PATIENTS else (), used)
            )
            is not None
        }
        if PATIENTS in raw and len(raw[PATIENTS]):
            self._check(study, raw, problems)
        self._note([problem._replace(file=self._place(problem.file, specs)) for problem in each_once(problems)])

    def _check(self, study: Study, raw: dict[str, pd.DataFrame], problems: list[Problem]) -> None:
        frames = {table: count_days(frame, study.tables[table], problems) for table, frame in raw.items()}
        frames[PATIENTS] = join_columns(study, frames, self.columns, problems)
        loader = Loader(study, frames, problems, course=False, part=True)
        cohort = loader.cohort()
        self.found_rows += len(raw[PATIENTS])
        keys = {table: study.tables[table].key for table in raw}
        drawn = {table: self._number(frame[keys[table]]) for table, frame in raw.items() if keys[table] in frame}
        self.everyone.append(drawn.get(PATIENTS, np.empty(0, dtype=np.uint64)))
        if cohort is None or self.problems:
            return
        self.numbers.append(drawn[PATIENTS][loader.rows])
        self.parts.append(_without_values(cohort))
        self._look_at(cohort.baseline)
        for table, frame in raw.items():
            self.sampled[table].append(frame[drawn[table] <= self.limit])
        self.keep(cohort)

    def whole(self) -> StreamedStudy:
        """Return what was read, or list what is wrong with it."""
        file, key = self.study.tables[PATIENTS].place, self.study.tables[PATIENTS].key
        arms = np.concatenate([part.treatment for part in self.parts]) if self.parts else np.empty(0, dtype=np.int8)
        everyone = np.concatenate(self.everyone) if self.everyone else np.empty(0, dtype=np.uint64)
        if not self.problems:
            if repeated := everyone.size - np.unique(everyone).size:
                self._note([Problem(file, key, DUPLICATE, repeated, "Keep one row each.")])
            self._check_arms(arms)
            self._check_values()
        if self.problems:
            raise DataError(list(self.problems.values()))
        number = np.concatenate(self.numbers)
        treated = int(arms.sum())
        flow = Flow(self.found_rows, self.found_rows - arms.size, arms.size, arms.size - treated, treated)
        everybody = Cohort(
            study=self.study,
            treatment=arms,
            propensity=np.concatenate([part.propensity for part in self.parts]),
            site=None,
            outcomes={name: _joined([part.outcomes[name] for part in self.parts]) for name in self.study.endpoints},
            flow=flow,
            _values=pd.DataFrame(),
        )
        tables = {name: pd.concat(frames, ignore_index=True) for name, frames in self.sampled.items()}
        sample = load_cohort(self.study, tables, course=False)
        return StreamedStudy(everybody, sample, np.flatnonzero(number <= self.limit), number)

    def _check_arms(self, arms: NDArray[np.int8]) -> None:
        file, spec = self.study.tables[PATIENTS].place, self.study.arms
        if arms.size < SMALLEST_COHORT:
            rule = f"{arms.size} patients in the two arms, at least {SMALLEST_COHORT} are needed"
            self._note([Problem(file, "", rule, 0, FEW_REMEDY)])
        for number, arm in enumerate((spec.control, spec.treated)):
            if not (arms == number).any():
                remedy = f"Expected {' or '.join(arm.values)}. Two arms are needed."
                self._note([Problem(file, spec.column, f"one arm only: no patient of arm {arm.label}", 0, remedy)])

    def _look_at(self, baseline: pd.DataFrame) -> None:
        """Note up to two different values of each variable: whether it differs at all."""
        for name, series in baseline.items():
            seen = self.seen[str(name)]
            if len(seen) < 2:
                self.seen[str(name)] = list(dict.fromkeys([*seen, *series.dropna().unique()[:2]]))[:2]

    def _check_values(self) -> None:
        file = self.study.tables[PATIENTS].place
        for name, variable in self.study.mapped.items():
            if variable.is_baseline and len(self.seen[name]) < 2:
                rule = CONSTANT if self.seen[name] else ALL_MISSING
                remedy = f"Take {name} out of the study file's variables."
                self._note([Problem(file, self.study.column_of(name), rule, 0, remedy)])

    def _number(self, ids: pd.Series) -> Numbers:
        """Return a random number for each identifier, 0 where it is missing."""
        place, different = pd.factorize(texts(ids))
        hashed = pd.util.hash_array(np.asarray(different, dtype=object), hash_key=self.key, categorize=False)
        return np.append(hashed, np.uint64(0))[place]

    def _place(self, file: str, specs: dict[str, TableSpec]) -> str:
        """Return a table's place, for a problem in one of its files."""
        return next((self.study.tables[name].place for name, spec in specs.items() if spec.place == file), file)

    def _note(self, problems: list[Problem]) -> None:
        for problem in problems:
            key = (problem.file, problem.column, problem.rule)
            rows = problem.rows + (self.problems[key].rows if key in self.problems else 0)
            self.problems[key] = problem._replace(rows=rows)


def _without_values(cohort: Cohort) -> Cohort:
    """Return arms and outcomes alone; when events happened is left out."""
    return Cohort(
        study=cohort.study,
        treatment=cohort.treatment,
        propensity=cohort.propensity,
        site=None,
        outcomes={name: observed._replace(timeline=None) for name, observed in cohort.outcomes.items()},
        flow=cohort.flow,
        _values=pd.DataFrame(),
    )


def _joined(parts: list[Observed]) -> Observed:
    def together(name: str) -> NDArray[np.float64] | None:
        arrays = [getattr(part, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays)

    return Observed(
        parts[0].spec, np.concatenate([part.value for part in parts]), together("time"), together("exposure")
    )
