"""A made-up trial with all that can happen after randomisation, small enough to be worked through by hand."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from il7ml.config import RunConfig
from il7ml.data.cohort import Cohort
from il7ml.data.loading import load_cohort
from il7ml.data.study import Study, parse_study

ENDS = [{"table": "events", "day": "day", "where": {"kind": ["discharge", "death"]}}]
INFECTION = {"table": "events", "day": "day", "where": {"kind": "infection"}}
COUNT = {
    "title": "Lymphocytes",
    "table": "labs",
    "day": "day",
    "value": "value",
    "where": {"analyte": "lymphocytes"},
    "unit": "cells/uL",
    "unit_column": "unit",
    "schedule": [3, 7, 14],
    "recovery": True,
    "threshold": 1000,
    "harmful": False,
}
MARKER = {"table": "labs", "day": "day", "value": "value", "schedule": [3, 7, 14]}

STUDY: dict[str, Any] = {
    "name": "small_course",
    "title": "A small trial",
    "tables": {name: {"path": f"{name}.csv", "key": "patient_id"} for name in ("patients", "labs", "events")},
    "arms": {
        "column": "arm",
        "control": {"value": "placebo", "label": "Placebo"},
        "treated": {"value": "drug", "label": "Drug"},
    },
    "allocation": {"probability": 0.5},
    "site": "centre",
    "variables": {
        "age": {"unit": "years"},
        "sex": {"levels": {"f": "female", "m": "male"}},
        "absolute_lymphocyte_count": {"column": "alc", "unit": "cells/uL"},
        "respiratory_support": None,
        "corticosteroid_at_randomisation": {"column": "steroid"},
        "antiviral_during_treatment": {"column": "antiviral"},
    },
    "modifiers": ["corticosteroid_at_randomisation"],
    "endpoints": {
        "infected": {
            "kind": "binary",
            "title": "Infection by day 30",
            "estimand": "At least one infection by day 30, discharge or death.",
            "events": INFECTION,
            "by_day": 30,
            "until": ENDS,
        },
        "infections": {
            "kind": "count",
            "title": "Infections",
            "estimand": "Infections per 100 hospital days.",
            "events": INFECTION,
            "by_day": 30,
            "until": ENDS,
            "at_risk": True,
            "per": 100,
            "unit": "100 hospital days",
        },
        "sofa": {"kind": "continuous", "title": "SOFA on day 7", "estimand": "Mean.", "column": "sofa7"},
        "relapse": {
            "kind": "time_to_event",
            "title": "Relapse",
            "estimand": "Relapse by day 60.",
            "time": "relapse_day",
            "event": "relapsed",
            "by_day": 60,
        },
    },
    "course": {
        "death": {"table": "events", "day": "day", "where": {"kind": "death"}},
        "discharge": {"table": "events", "day": "day", "where": {"kind": "discharge"}},
        "follow_up": "follow_up",
        "mortality_days": [30, 60],
        "doses": "doses",
        "measurements": {
            "absolute_lymphocyte_count": COUNT,
            "c_reactive_protein": {
                **MARKER,
                "title": "C-reactive protein",
                "where": {"analyte": "crp"},
                "unit": "mg/dL",
            },
            "interleukin_6": {**MARKER, "title": "Interleukin-6", "where": {"analyte": "il6"}, "unit": "pg/mL"},
            "ferritin": {**MARKER, "title": "Ferritin", "where": {"analyte": "ferritin"}, "unit": "ng/mL"},
        },
        "stays": {
            "hospital": {"title": "Days in hospital", "column": "hospital_days", "compare": "stay", "horizon": 30},
            "ventilator_free": {
                "title": "Ventilator-free days",
                "column": "ventilation_days",
                "compare": "free_days",
                "horizon": 28,
            },
            "at_home": {
                "title": "Days alive and out of hospital",
                "column": "hospital_days",
                "compare": "alive_out_of_hospital",
                "horizon": 30,
            },
        },
        "adverse_events": {
            "events": {"table": "events", "day": "day", "where": {"kind": "adverse_event"}},
            "split": {"column": "detail", "separator": "|", "into": ["term", "grade", "serious"]},
        },
        "rules": {
            "storm": {
                "title": "Cytokine storm",
                "estimand": "Two of three on one day.",
                "above": {"c_reactive_protein": 20, "ferritin": 3000, "interleukin_6": 200},
                "at_least": 2,
            }
        },
    },
}


@dataclass
class SmallCourse:
    """A trial of 80 patients in two arms, to be changed and then read."""

    raw: dict[str, Any]
    patients: pd.DataFrame
    labs: pd.DataFrame
    events: pd.DataFrame

    @property
    def course(self) -> dict[str, Any]:
        """What the study file says of the time after randomisation."""
        found: dict[str, Any] = self.raw["course"]
        return found

    def ids(self, *places: int) -> list[str]:
        """Return the identifiers of patients by position."""
        return [str(one) for one in self.patients["patient_id"].iloc[list(places)]]

    def where(self, frame: pd.DataFrame, kind: str, *places: int) -> pd.Index:
        """Return the index of the rows of one kind or analyte, of all patients or those at the given positions."""
        column = "kind" if "kind" in frame.columns else "analyte"
        rows = frame[column] == kind
        if places:
            rows &= frame["patient_id"].isin(self.ids(*places))
        return frame.index[rows]

    def add_events(self, kind: str, days: dict[int, float], detail: str | None = None) -> None:
        """Add one event to each patient given by position."""
        rows = [(self.ids(place)[0], kind, day, detail) for place, day in days.items()]
        self.events = pd.concat([self.events, pd.DataFrame(rows, columns=self.events.columns)], ignore_index=True)

    def let_die(self, place: int, day: float) -> None:
        """Let a patient die on a day: follow-up, stays and measurements end by then."""
        self.add_events("death", {place: day})
        self.patients.loc[place, "follow_up"] = day
        for column in ("hospital_days", "ventilation_days"):
            self.patients.loc[place, column] = min(day, float(self.patients.loc[place, column]))
        late = (self.labs["patient_id"] == self.ids(place)[0]) & (self.labs["day"] > day)
        self.labs = self.labs[~late]

    def drop_events(self, kind: str, *places: int) -> None:
        """Take events of one kind away, from all patients or those given."""
        self.events = self.events.drop(index=self.where(self.events, kind, *places)).reset_index(drop=True)

    def set_labs(self, analyte: str, place: int, values: dict[float, float], unit: str) -> None:
        """Replace one patient's measurements of one analyte."""
        kept = self.labs.drop(index=self.where(self.labs, analyte, place))
        rows = [(self.ids(place)[0], day, analyte, value, unit) for day, value in values.items()]
        self.labs = pd.concat([kept, pd.DataFrame(rows, columns=kept.columns)], ignore_index=True)

    def study(self) -> Study:
        """Return the parsed study file."""
        return parse_study(self.raw, Path("folder"))

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables by name."""
        return {"patients": self.patients, "labs": self.labs, "events": self.events}

    def load(self) -> Cohort:
        """Read the tables."""
        return load_cohort(self.study(), self.tables())

    def write(self, folder: Path) -> Path:
        """Write study file and tables, and return the study file's path."""
        folder.mkdir(exist_ok=True)
        path = folder / "study.yaml"
        path.write_text(yaml.safe_dump(self.raw, sort_keys=False), encoding="utf-8")
        for name, frame in self.tables().items():
            frame.to_csv(folder / f"{name}.csv", index=False)
        return path


def config(endpoint: str = "infected", **analysis: Any) -> RunConfig:
    """Return a config of the small trial's analysis, without imputations unless they are asked for."""
    return RunConfig(study=Path("unused.yaml"), endpoint=endpoint, analysis={"imputations": 0, **analysis})


def small_course() -> SmallCourse:
    """Return the trial; treatment raises lymphocytes by about a third and makes infections rarer."""
    rng = np.random.default_rng(11)
    n = 80
    number = np.arange(n)
    treated = number % 2 == 1
    death = np.where(number % 7 == 2, 5.0 + number % 23, np.nan)
    discharge = np.where(np.isnan(death), 8.0 + (number * 5) % 31, np.nan)
    home = np.fmin(death, discharge)
    lost = np.where(number % 19 == 4, 25.0 + number % 40, 90.0)
    before = rng.lognormal(np.log(600), 0.35, n).round()
    patients = pd.DataFrame(
        {
            "patient_id": [f"Q{7000 + 13 * k}" for k in number],
            "centre": np.select([number % 20 == 0, number % 3 == 0], ["west", "north"], "south"),
            "arm": np.where(treated, "drug", "placebo"),
            "age": rng.integers(25, 80, n),
            "sex": np.where(rng.random(n) < 0.4, "f", "m"),
            "alc": before,
            "respiratory_support": rng.choice(["oxygen", "non_invasive", "invasive"], n),
            "steroid": (rng.random(n) < 0.6).astype(int),
            "antiviral": (rng.random(n) < 0.5).astype(int),
            "sofa7": rng.integers(0, 15, n).astype(float),
            "relapse_day": rng.integers(2, 91, n),
            "relapsed": (rng.random(n) < 0.4).astype(int),
            "follow_up": np.where(np.isnan(death), lost, death),
            "doses": np.where(number % 16 == 5, 0, 4),
            "hospital_days": home,
            "ventilation_days": np.floor(home * rng.random(n) * 0.8),
        }
    )
    patients["follow_up"] = np.maximum(patients["follow_up"], home)
    return SmallCourse(
        copy.deepcopy(STUDY),
        patients,
        _labs(patients, death, treated, rng),
        _events(patients, death, discharge, treated, rng),
    )


def _labs(patients: pd.DataFrame, death: np.ndarray, treated: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    rows: list[tuple[object, ...]] = []
    for place, patient in enumerate(patients.itertuples()):
        level = np.log(float(str(patient.alc)))
        marker, other, third = rng.lognormal([2.3, 4.5, 7.0], 0.6)
        for day in (0, 3, 7, 14):
            if day > death[place] or (day and rng.random() < 0.1):
                continue
            count = np.exp(level + (0.02 + 0.03 * treated[place]) * day + rng.normal(0, 0.15 * (day > 0)))
            rows.append((patient.patient_id, day, "lymphocytes", round(count), "cells/uL"))
            rows += [
                (patient.patient_id, day, name, round(scale * np.exp(-0.04 * day + rng.normal(0, 0.4)), 1), unit)
                for name, scale, unit in (
                    ("crp", marker, "mg/dL"),
                    ("il6", other, "pg/mL"),
                    ("ferritin", third, "ng/mL"),
                )
            ]
    return pd.DataFrame(rows, columns=["patient_id", "day", "analyte", "value", "unit"])


def _events(
    patients: pd.DataFrame, death: np.ndarray, discharge: np.ndarray, treated: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    rows: list[tuple[object, ...]] = []
    for place, one in enumerate(patients["patient_id"]):
        end = np.fmin(death[place], discharge[place])
        for day in sorted(rng.integers(1, 30, rng.poisson(0.5 if treated[place] else 1.2))):
            if day <= end:
                rows.append((one, "infection", day, "lung"))
        for day in sorted(rng.integers(1, 20, rng.poisson(0.8))):
            if day <= end:
                grade = int(rng.integers(1, 5))
                rows.append((one, "adverse_event", day, f"{rng.choice(['rash', 'fever'])}|{grade}|{int(grade > 2)}"))
        if not np.isnan(death[place]):
            rows.append((one, "death", death[place], None))
        if not np.isnan(discharge[place]):
            rows.append((one, "discharge", discharge[place], None))
    return pd.DataFrame(rows, columns=["patient_id", "kind", "day", "detail"])
