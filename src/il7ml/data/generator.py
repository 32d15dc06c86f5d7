"""Simulated IL-7 trials: patients, laboratory values and events as a trial has them, and the truth apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from il7ml.data.scenario import MEASURED, Trial, load_scenario
from il7ml.data.simulated_baseline import COUNTED, Baseline, draw_baseline
from il7ml.data.simulated_course import Course, draw_random_numbers, simulate_course
from il7ml.data.simulated_events import draw_events
from il7ml.data.simulated_hazards import PatientParameters, patient_parameters, time_course
from il7ml.data.simulated_labs import draw_labs
from il7ml.data.simulated_stays import draw_stays
from il7ml.data.simulated_truth import Expected, expect
from il7ml.errors import InputError
from il7ml.parallel import spawn
from il7ml.schema import load_dictionary

Bools = NDArray[np.bool_]
Arm = TypeVar("Arm", Course, PatientParameters)

#: Patients are drawn in blocks of this many, each with its own seed: memory stays bounded, and a partitioned trial
#: holds the same patients as one made at once.
BLOCK = 10_000

_BASELINE_COLUMNS = (
    "age",
    "sex",
    "body_mass_index",
    "vaccinated",
    "diabetes",
    "hypertension",
    "chronic_lung_disease",
    "chronic_kidney_disease",
    "chronic_heart_disease",
    "immunosuppression",
    "active_cancer",
    "sofa_score",
    "apache_ii_score",
    "pao2_fio2_ratio",
    "respiratory_support",
    "lactate",
    "absolute_lymphocyte_count",
    "cd4_count",
    "cd8_count",
    "c_reactive_protein",
    "ferritin",
    "interleukin_6",
    "procalcitonin",
    "neutrophil_count",
    "lactate_dehydrogenase",
    "d_dimer",
    "platelet_count",
    "creatinine",
    "corticosteroid_at_randomisation",
    "antiviral_at_randomisation",
    "anti_il6_or_jak_at_randomisation",
    "planned_doses",
    "days_from_admission",
)


class SimulatedTables(NamedTuple):
    """A simulated trial.

    Attributes
    ----------
    patients : DataFrame
        One row a patient: ``patient_id, cohort, arm``, baseline, and what is known only later.
    labs : DataFrame
        ``patient_id, day, analyte, value, unit``.
    events : DataFrame
        ``patient_id, kind, day, detail``.
    truth : DataFrame
        One row a patient, never to be joined to the others for analysis. For each of ``infection_day30``,
        ``infection_rate``, ``death_day30`` and ``final_log_count``: ``_untreated``, ``_treated`` and ``_effect``
        (treated minus untreated), expectations given baseline as `simulated_truth.Expected` defines them; and the
        potential outcomes ``infection_untreated`` and ``infection_treated`` (any infection by day 30) under common
        random numbers.
    """

    patients: pd.DataFrame
    labs: pd.DataFrame
    events: pd.DataFrame
    truth: pd.DataFrame


def simulate_tables(n: int, seed: int, scenario: str | Path | Mapping[str, Any] = "published") -> SimulatedTables:
    """Simulate an IL-7 trial as tables.

    Parameters
    ----------
    n : int
        Patients. With 109 the five cohorts have the trial's own sizes.
    seed : int
        The only source of randomness; the same n, seed and scenario give the same tables.
    scenario : str, Path or mapping
        As in `load_scenario`.

    Returns
    -------
    SimulatedTables

    Raises
    ------
    InputError
        If n is below 1, the seed negative, or the scenario unknown or wrong.

    Examples
    --------
    >>> tables = simulate_tables(109, seed=1)
    >>> tables.patients["cohort"].value_counts().to_dict()
    {'uk': 35, 'france_belgium': 34, 'us': 26, 'us_oncology': 10, 'brazil': 4}
    """
    blocks = list(_blocks(n, seed, load_scenario(scenario).trial))
    return SimulatedTables(*(pd.concat(parts, ignore_index=True) for parts in zip(*blocks, strict=True)))


def write_partitions(
    n: int,
    seed: int,
    scenario: str | Path | Mapping[str, Any],
    folder: Path,
    *,
    rows: int = 100_000,
    truth: Path | None = None,
) -> list[Path]:
    """Simulate a trial of any size straight into partitioned Parquet, with bounded memory.

    The tables are those of `simulate_tables` with the same n, seed and scenario, cut by patients: all rows of a patient
    lie in the partition of one number. ``pandas.read_parquet(folder / "patients")`` reads all partitions.

    Parameters
    ----------
    n, seed, scenario
        As in `simulate_tables`.
    folder : Path
        Gets the folders ``patients``, ``labs`` and ``events`` with files ``part-00000.parquet``, ...
    rows : int, default 100,000
        Patients a partition, rounded up to whole blocks of 10,000.
    truth : Path, optional
        Another folder, which gets the folder ``truth``; without it the truth is not kept.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        As `simulate_tables`; or if rows is below 1, a folder is not empty or cannot be written, or the truth would lie
        beside the trial's tables.
    """
    if rows < 1:
        raise InputError(f"rows: expected at least 1 patient a partition, got {rows}.")
    if truth is not None and truth.resolve() == folder.resolve():
        raise InputError("truth: expected another folder than the trial's. The truth is kept apart from the cohort.")
    blocks = _blocks(n, seed, load_scenario(scenario).trial)
    places = {name: folder / name for name in ("patients", "labs", "events")}
    if truth is not None:
        places["truth"] = truth / "truth"
    size = -(-rows // BLOCK)
    written: list[Path] = []
    try:
        for place in places.values():
            place.mkdir(parents=True, exist_ok=True)
            if any(place.iterdir()):
                raise InputError(f"{place} is not empty; partitions of two trials must not mix. Choose another folder.")
        for number in range(-(-n // (size * BLOCK))):
            files = {name: place / f"part-{number:05d}.parquet" for name, place in places.items()}
            written += files.values()
            _write_part(islice(blocks, size), files)
    except BaseException as error:
        for file in written:  # some of a trial's patients would pass for all of them
            file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = error.strerror or type(error).__name__
            raise InputError(f"{folder} cannot be written: {reason}. Choose another folder.") from None
        raise
    return written


def _write_part(blocks: Iterable[SimulatedTables], files: Mapping[str, Path]) -> None:
    """Write one partition, a block at a time, so that no more than one block is held in memory."""
    writers: dict[str, pq.ParquetWriter] = {}
    with ExitStack() as stack:
        for block in blocks:
            for name, file in files.items():
                table = pa.Table.from_pandas(getattr(block, name), preserve_index=False)
                if name not in writers:
                    writers[name] = stack.enter_context(pq.ParquetWriter(file, table.schema))
                writers[name].write_table(table)


def _blocks(n: int, seed: int, trial: Trial) -> Iterator[SimulatedTables]:
    """Check the numbers, and return the blocks one after the other."""
    if n < 1:
        raise InputError(f"n: expected at least 1 patient, got {n}.")
    if seed < 0:
        raise InputError(f"seed: expected a number from 0, got {seed}.")
    starts = range(0, n, BLOCK)
    seeds = spawn(seed, len(starts))
    return (_block(first, min(BLOCK, n - first), own, trial) for first, own in zip(starts, seeds, strict=True))


def _block(start: int, n: int, seed: np.random.SeedSequence, trial: Trial) -> SimulatedTables:
    # A stream for each part, so that a change in one leaves the others as they are.
    baseline_rng, course_rng, missing_rng, stay_rng, lab_rng, event_rng = map(np.random.default_rng, spawn(seed, 6))
    ids = pd.Index([f"P{number:06d}" for number in range(start + 1, start + n + 1)])
    baseline = draw_baseline(n, trial, baseline_rng)
    times, numbers = time_course(trial), draw_random_numbers(n, trial, course_rng)
    count = baseline.values["absolute_lymphocyte_count"]
    by_arm = [patient_parameters(baseline, trial, treated) for treated in (False, True)]
    courses = [simulate_course(count, by_arm[arm], numbers, trial, times, bool(arm)) for arm in (0, 1)]
    expected = [expect(count, by_arm[arm], trial, times, bool(arm)) for arm in (0, 1)]
    course = _allocated(courses, baseline.treated)
    known = _known(n, trial, missing_rng)
    later = draw_stays(baseline, _allocated(by_arm, baseline.treated), course, numbers, trial, stay_rng)
    return SimulatedTables(
        _patients(ids, baseline, known, later, trial),
        draw_labs(ids, baseline, known, course, numbers.recovery, trial, lab_rng),
        draw_events(ids, baseline.treated, course, later["follow_up_days"], trial, event_rng),
        _truth(ids, expected, courses),
    )


def _allocated(by_arm: list[Arm], treated: Bools) -> Arm:
    """Take each patient's values from the arm allocated."""
    placebo, il7 = by_arm
    rows = (np.where(treated[:, None] if a.ndim > 1 else treated, b, a) for a, b in zip(placebo, il7, strict=True))
    return type(placebo)(*rows)


def _known(n: int, trial: Trial, rng: np.random.Generator) -> dict[str, Bools]:
    """Draw which baseline values are known."""
    known: dict[str, Bools] = {name: rng.random(n) >= share for name, share in trial.baseline_missing.values.items()}
    known["cd8_count"] = known["cd4_count"]
    return known


def _patients(
    ids: pd.Index, baseline: Baseline, known: dict[str, Bools], later: dict[str, NDArray[np.intp]], trial: Trial
) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "patient_id": ids,
        "cohort": pd.Index(list(trial.allocation.cohorts.values)).take(baseline.cohort),
        "arm": pd.Index(["placebo", "il7"]).take(baseline.treated.astype(int)),
    }
    for name in _BASELINE_COLUMNS:
        if name == "sex":
            columns[name] = pd.Index(["female", "male"]).take(baseline.values["male"].astype(int))
        elif name == "respiratory_support":
            columns[name] = pd.Index(load_dictionary()[name].levels).take(baseline.support)
        elif name in MEASURED and name not in COUNTED:
            columns[name] = (
                np.where(known[name], baseline.values[name], np.nan) if name in known else baseline.values[name]
            )
        else:
            missing = ~known[name] if name in known else np.zeros(ids.size, dtype=bool)
            columns[name] = pd.arrays.IntegerArray(baseline.values[name].astype(np.int64), missing)
    for name, values in later.items():
        columns[name] = pd.array(values, dtype="Int64")
    return pd.DataFrame(columns)


def _truth(ids: pd.Index, expected: list[Expected], courses: list[Course]) -> pd.DataFrame:
    columns: dict[str, Any] = {"patient_id": ids}
    for name in Expected._fields:
        untreated, treated = (getattr(arm, name) for arm in expected)
        columns |= {f"{name}_untreated": untreated, f"{name}_treated": treated, f"{name}_effect": treated - untreated}
    for name, course in zip(("infection_untreated", "infection_treated"), courses, strict=True):
        columns[name] = course.infected.any(axis=1).astype(np.int64)
    return pd.DataFrame(columns)
