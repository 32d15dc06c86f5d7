"""What several test files share: a small trial on disk."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

ENDPOINTS: dict[str, Any] = {
    "infection_day30": {
        "kind": "binary",
        "title": "Infection by day 30",
        "estimand": "At least one infection by day 30 or death.",
        "events": {"table": "events", "day": "day", "where": {"kind": "infection"}},
        "by_day": 30,
        "until": [{"table": "events", "day": "day", "where": {"kind": "death"}}],
    },
    "infected": {"kind": "binary", "title": "Infected", "estimand": "Any infection.", "column": "infected"},
    "infections": {
        "kind": "count",
        "title": "Infections",
        "estimand": "Infections per 1,000 days at risk.",
        "column": "infections",
        "exposure": "days_at_risk",
        "per": 1000,
        "unit": "1,000 days",
    },
    "sofa_day7": {"kind": "continuous", "title": "SOFA on day 7", "estimand": "Mean SOFA on day 7.", "column": "sofa7"},
    "survival": {
        "kind": "time_to_event",
        "title": "Death by day 60",
        "estimand": "Death by day 60.",
        "time": "days",
        "event": "died",
        "by_day": 60,
    },
}

STUDY: dict[str, Any] = {
    "name": "small",
    "title": "A small trial",
    "source": "Made up",
    "tables": {
        "patients": {"path": "patients.csv", "key": "patient_id"},
        "events": {"path": "events.csv", "key": "patient_id"},
    },
    "arms": {
        "column": "arm",
        "control": {"value": "placebo", "label": "Placebo"},
        "treated": {"value": "drug", "label": "Drug"},
    },
    "allocation": {"probability": 0.5},
    "site": "centre",
    "define": {
        "c_reactive_protein_day7": {
            "term": "C-reactive protein on day 7",
            "unit": "mg/L",
            "possible": [0, 1500],
            "known": "after_randomisation",
            "role": "inflammation",
            "scale": "log",
        }
    },
    "variables": {
        "age": {"unit": "years"},
        "sex": {"levels": {"f": "female", "m": "male"}},
        "absolute_lymphocyte_count": {"column": "alc", "unit": "cells/uL"},
        "c_reactive_protein": {"column": "crp", "unit": "mg/L"},
        "corticosteroid_at_randomisation": {"column": "steroid", "present": "yes", "absent": "no"},
        "c_reactive_protein_day7": {"column": "crp7", "unit": "mg/L"},
    },
    "modifiers": ["age"],
    "eligibility": {"age": [18, 90]},
    "endpoints": ENDPOINTS,
}


def _patients(n: int) -> pd.DataFrame:
    """Return n patients, half of them in each arm; every outcome varies in both arms."""
    rng = np.random.default_rng(20)
    number = np.arange(n)
    infections = np.where(number % 5 < 2, 1 + number % 3 // 2, 0)
    return pd.DataFrame(
        {
            "patient_id": [f"Q{7000 + 13 * k}" for k in number],
            "centre": np.where(number % 4 == 0, "north", "south"),
            "arm": np.where(number % 2 == 0, "placebo", "drug"),
            "age": rng.integers(25, 80, n),
            "sex": np.where(rng.random(n) < 0.4, "f", "m"),
            "alc": rng.integers(150, 1000, n),
            "crp": np.where(number % 7 == 3, np.nan, rng.integers(20, 300, n)),
            "steroid": np.where(rng.random(n) < 0.6, "yes", "no"),
            "crp7": rng.integers(5, 200, n).astype(float),
            "infected": (infections > 0).astype(int),
            "infections": infections,
            "days_at_risk": rng.integers(5, 31, n),
            "sofa7": rng.integers(0, 15, n),
            "days": rng.integers(5, 91, n),
            "died": (number % 3 == 0).astype(int),
        }
    )


def _events(patients: pd.DataFrame) -> pd.DataFrame:
    """Return infections on day 4, 8, ..., and deaths on the last day."""
    rows = [
        (patient.patient_id, "infection", 4 * (k + 1))
        for patient in patients.itertuples()
        for k in range(patient.infections)
    ]
    rows += [(patient.patient_id, "death", patient.days) for patient in patients.itertuples() if patient.died]
    return pd.DataFrame(rows, columns=["patient_id", "kind", "day"])


@dataclass
class SmallStudy:
    """A trial of 60 patients in two arms, to be changed and written again.

    `write` puts ``study.yaml`` and the tables into `folder`; `config` a training config beside them.
    """

    folder: Path
    raw: dict[str, Any]
    patients: pd.DataFrame
    events: pd.DataFrame

    def write(self) -> Path:
        """Write all files and return the study file's path."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "study.yaml"
        path.write_text(yaml.safe_dump(self.raw, sort_keys=False, allow_unicode=True), encoding="utf-8")
        for name, frame in (("patients", self.patients), ("events", self.events)):
            frame.to_csv(self.folder / self.raw["tables"][name]["path"], index=False)
        return path

    def config(self, **keys: Any) -> Path:
        """Write a training config whose store lies in the same folder, and return its path."""
        path = self.folder / "run.yaml"
        store = {"uri": f"sqlite:///{self.folder}/mlruns/mlflow.db", "experiment": "small"}
        raw = {"study": "study.yaml", "endpoint": "infected", "tracking": store, **keys}
        path.write_text(yaml.safe_dump(raw), encoding="utf-8")
        return path


@pytest.fixture
def small_study(tmp_path: Path) -> SmallStudy:
    """Return a trial of 60 patients, written to a folder of its own."""
    patients = _patients(60)
    study = SmallStudy(tmp_path / "trial", copy.deepcopy(STUDY), patients, _events(patients))
    study.write()
    return study
