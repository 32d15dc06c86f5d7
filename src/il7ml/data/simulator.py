"""Simulated IL-7 trials as cohorts, with the truth beside them, and as files that read like a real trial's."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
import yaml

from il7ml.data.cohort import Cohort
from il7ml.data.generator import SimulatedTables, simulate_tables, write_partitions
from il7ml.data.loading import SMALLEST_COHORT, load_cohort
from il7ml.data.study import Study, parse_study
from il7ml.data.tables import write_files
from il7ml.errors import InputError

#: Patients up to which a table is one file.
LARGEST_FILE = 100_000
_HEADER = "# Simulated patients."


class Truth(NamedTuple):
    """What no real trial shows: each simulated patient's true risks and effects.

    Attributes
    ----------
    table : DataFrame of shape (n, k)
        One row a patient, in the cohort's order; columns as documented in `generator.simulate_tables`.
    scenario : str
    """

    table: pd.DataFrame
    scenario: str


def simulate_trial(n: int = 109, seed: int = 0, scenario: str = "published") -> tuple[Cohort, Truth]:
    """Simulate an IL-7 trial.

    Parameters
    ----------
    n : int
        Patients, at least 20.
    seed : int
    scenario : str
        ``published``, ``patients``, ``null``, ``strong_modifier``, or the path of a parameter file.

    Returns
    -------
    Cohort
    Truth
        Never part of the cohort.

    Raises
    ------
    InputError
        If n is too small or the scenario unknown.

    Examples
    --------
    >>> cohort, truth = simulate_trial(109, seed=1)
    >>> len(cohort), len(truth.table), cohort.study.simulated
    (109, 109, True)
    """
    tables = _simulated(n, seed, scenario)
    frames = {"patients": tables.patients, "labs": tables.labs, "events": tables.events}
    return load_cohort(_study_of(tables.patients, ".csv"), frames), Truth(tables.truth, scenario)


def write_trial(
    n: int,
    seed: int,
    scenario: str,
    out: Path,
    *,
    format: Literal["parquet", "csv"] = "parquet",
    truth: Path | None = None,
) -> list[Path]:
    """Write a simulated trial's tables and study file to `out`, and the truth to another folder.

    Above 100,000 patients Parquet tables become folders of partitions, written one after the other with bounded memory.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        If a folder cannot be written or holds another study's files, or the truth would lie among the trial's tables.
        Then no file is written.
    """
    if truth is not None and truth.resolve() == out.resolve():
        raise InputError("--truth: expected another folder than --out. The truth is kept apart from the cohort.")
    if n > LARGEST_FILE and format == "parquet":
        return _write_partitioned(n, seed, scenario, out, truth)
    tables = _simulated(n, seed, scenario)
    files: dict[Path, pd.DataFrame | str] = {
        out / f"{name}.{format}": getattr(tables, name) for name in ("patients", "labs", "events")
    }
    files[out / "study.yaml"] = _study_text(tables.patients, f".{format}")
    if _holds_another_study(out, list(files)):
        raise InputError(f"{out} holds another study's files, which would be lost. Choose another folder.")
    if truth is not None:
        files[truth / f"truth.{format}"] = tables.truth
    write_files(files)
    return list(files)


def _write_partitioned(n: int, seed: int, scenario: str, out: Path, truth: Path | None) -> list[Path]:
    files = write_partitions(n, seed, scenario, out, truth=truth)
    first = pd.read_parquet(files[0])
    write_files({out / "study.yaml": _study_text(first, "")})
    return [*files, out / "study.yaml"]


def il7_study() -> Study:
    """Return the study definition of simulated IL-7 trials."""
    return parse_study(_template(), Path(), "il7_study.yaml")


def _holds_another_study(folder: Path, files: list[Path]) -> bool:
    """Return whether one of the files is there already, in a folder whose study file was not written here."""
    try:
        if not any(path.exists() for path in files):
            return False
        return not (folder / "study.yaml").read_text(encoding="utf-8").startswith(_HEADER)
    except (FileNotFoundError, UnicodeDecodeError):
        return True
    except OSError:  # a name that is too long, for example: writing says so
        return False


def _simulated(n: int, seed: int, scenario: str) -> SimulatedTables:
    if n < SMALLEST_COHORT:
        raise InputError(f"n: expected at least {SMALLEST_COHORT} patients, got {n}.")
    if seed < 0:
        raise InputError(f"seed: expected a number from 0, got {seed}.")
    return simulate_tables(n, seed, scenario)


def _template() -> dict[str, Any]:
    text = resources.files("il7ml.data").joinpath("il7_study.yaml").read_text(encoding="utf-8")
    raw: dict[str, Any] = yaml.safe_load(text)
    return raw


def _fitted(patients: pd.DataFrame, ending: str) -> dict[str, Any]:
    """Return the study definition for these patients: a variable that never varies here (a rare one) is left out."""
    raw = _template()
    varying = {name for name in raw["variables"] if len(patients[name].dropna().unique()) > 1}
    raw["variables"] = {name: entry for name, entry in raw["variables"].items() if name in varying}
    raw["left_out"] = {
        name: "it does not vary among these patients" for name in _template()["variables"] if name not in varying
    }
    raw["modifiers"] = [name for name in raw["modifiers"] if name in varying]
    raw["eligibility"] = {name: limits for name, limits in raw["eligibility"].items() if name in varying}
    for spec in raw["tables"].values():
        spec["path"] = f"{Path(spec['path']).stem}{ending}"
    return raw


def _study_of(patients: pd.DataFrame, ending: str) -> Study:
    return parse_study(_fitted(patients, ending), Path(), "il7_study.yaml")


def _study_text(patients: pd.DataFrame, ending: str) -> str:
    body = yaml.safe_dump(_fitted(patients, ending), sort_keys=False, allow_unicode=True, width=118)
    return f"{_HEADER} Read with: il7ml check study.yaml\n{body}"
