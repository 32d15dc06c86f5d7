"""Write one simulated trial in each format that il7ml reads: python data/formats/make.py OUT.

OUT/csv, OUT/adam (SAS transport files with CDISC's ADaM names; needs pyreadstat), OUT/sqlite and OUT/parquet, each with
its study.yaml. The last two are read with the variable IL7_DATABASE and as partitioned folders.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from il7ml.data.generator import SimulatedTables, simulate_tables
from il7ml.data.simulator import write_trial

FORMATS = Path(__file__).parent
PATIENTS, SEED = 200, 8
ARMS = {"placebo": "Placebo", "il7": "CYT107"}
LABORATORY = {
    "absolute_lymphocyte_count": ("LYM", "Lymphocytes (10^9/L)", 1.0, 4.0),
    "c_reactive_protein": ("CRP", "C-Reactive Protein (mg/L)", 0.0, 5.0),
}
TIMES = {"death": ("TTDEATH", "Time to Death (days)"), "discharge": ("TTDISCH", "Time to Discharge (days)")}


def write_adam(out: Path, tables: SimulatedTables) -> None:
    """Write ADSL, ADLB, ADAE and ADTTE as SAS transport files, version 5, with the study file beside them."""
    import pyreadstat

    out.mkdir(parents=True, exist_ok=True)
    for name, frame in adam_tables(tables).items():
        dates = {column: "DATE9" for column in frame if column.endswith("DT")}
        pyreadstat.write_xport(
            frame, out / f"{name}.xpt", table_name=name.upper(), file_format_version=5, variable_format=dates
        )
    shutil.copyfile(FORMATS / "adam.yaml", out / "study.yaml")


def adam_tables(tables: SimulatedTables) -> dict[str, pd.DataFrame]:
    """Return the trial with ADaM's names and conventions; dates are SAS's, days since 1960-01-01."""
    people = tables.patients
    subject = "IL7-" + people["patient_id"]
    # The days on which patients were randomised do not matter: any will do.
    start = pd.Series(22000.0 + np.arange(len(people)) % 300, index=people["patient_id"])
    yes_or_no = {0: "N", 1: "Y"}
    death = first_day(tables.events, "death")
    adsl = pd.DataFrame(
        {
            "STUDYID": "IL7",
            "USUBJID": subject,
            "SITEID": people["cohort"],
            "AGE": people["age"],
            "AGEU": "YEARS",
            "SEX": people["sex"].map({"female": "F", "male": "M"}),
            "BMIBL": people["body_mass_index"],
            "DIABFL": people["diabetes"].map(yes_or_no),
            "ANTIVFL": people["antiviral_at_randomisation"].map(yes_or_no),
            "TRT01P": people["arm"].map(ARMS),
            "TRT01PN": people["arm"].map({"placebo": 0, "il7": 1}),
            "RANDDT": start.to_numpy(),
            "LSTALVDT": start.to_numpy() + people["follow_up_days"],
            "DTHFL": people["patient_id"].isin(death.index).map({True: "Y", False: ""}),
        }
    )
    return {
        "adsl": adsl,
        "adlb": _laboratory(tables, start),
        "adae": _adverse_events(tables, start),
        "adtte": _times(tables, start),
    }


def first_day(events: pd.DataFrame, kind: str) -> pd.Series:
    """Return the day of each patient's first such event."""
    return events[events["kind"] == kind].groupby("patient_id")["day"].min()


def _laboratory(tables: SimulatedTables, start: pd.Series) -> pd.DataFrame:
    rows = tables.labs[tables.labs["analyte"].isin(list(LABORATORY))]
    code, name, low, high = (
        rows["analyte"].map({key: row[part] for key, row in LABORATORY.items()}) for part in range(4)
    )
    value = rows["value"]
    return pd.DataFrame(
        {
            "USUBJID": "IL7-" + rows["patient_id"],
            "PARAMCD": code,
            "PARAM": name,
            "AVAL": value,
            "ADT": rows["patient_id"].map(start) + rows["day"],
            "ADY": rows["day"] + 1.0,
            "ABLFL": (rows["day"] == 0).map({True: "Y", False: ""}),
            "ANRLO": low,
            "ANRHI": high,
            "ANRIND": np.select([value < low, value > high], ["LOW", "HIGH"], "NORMAL"),
        }
    )


def _adverse_events(tables: SimulatedTables, start: pd.Series) -> pd.DataFrame:
    rows = tables.events[tables.events["kind"].isin(["infection", "adverse_event"])]
    infection = rows["kind"] == "infection"
    parts = rows["detail"].str.split("|", expand=True)
    return pd.DataFrame(
        {
            "USUBJID": "IL7-" + rows["patient_id"],
            "AEDECOD": parts[0],
            "ACAT1": infection.map({True: "HOSPITAL-ACQUIRED INFECTION", False: "ADVERSE EVENT"}),
            "ASTDT": rows["patient_id"].map(start) + rows["day"],
            "ASTDY": rows["day"] + 1.0,
            "AETOXGR": parts[1].fillna(""),
            "AESER": parts[2].map({"1": "Y", "0": "N"}).fillna(""),
        }
    )


def _times(tables: SimulatedTables, start: pd.Series) -> pd.DataFrame:
    people = tables.patients
    found = []
    for kind, (code, name) in TIMES.items():
        day = people["patient_id"].map(first_day(tables.events, kind))
        began = start.to_numpy()
        end = began + day.fillna(people["follow_up_days"])
        found.append(
            pd.DataFrame(
                {
                    "USUBJID": "IL7-" + people["patient_id"],
                    "PARAMCD": code,
                    "PARAM": name,
                    "STARTDT": began,
                    "ADT": end,
                    "AVAL": end - began + 1,
                    "CNSR": day.isna().astype(float),
                }
            )
        )
    return pd.concat(found, ignore_index=True)


def write_sqlite(out: Path, tables: SimulatedTables) -> None:
    """Write the trial as a SQLite file; labs are read by a query."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "trial.db").unlink(missing_ok=True)
    connection = sqlite3.connect(out / "trial.db")
    for name in ("patients", "labs", "events"):
        getattr(tables, name).to_sql(name, connection, index=False)
    connection.close()
    spec = {"database": "IL7_DATABASE", "key": "patient_id"}
    labs = {**spec, "query": "SELECT patient_id, day, analyte, value, unit FROM labs WHERE value IS NOT NULL"}
    write_study(out, {"patients": {**spec, "table": "patients"}, "labs": labs, "events": {**spec, "table": "events"}})


def write_parquet(out: Path, tables: SimulatedTables) -> None:
    """Write the trial as folders of Parquet files, the patients in one folder a cohort."""
    for cohort, part in tables.patients.groupby("cohort"):
        folder = out / "patients" / f"cohort={cohort}"
        folder.mkdir(parents=True, exist_ok=True)
        part.drop(columns="cohort").to_parquet(folder / "part-0.parquet", index=False)
    for name in ("labs", "events"):
        (out / name).mkdir(exist_ok=True)
        frame = getattr(tables, name)
        for number, rows in enumerate(np.array_split(np.arange(len(frame)), 3)):
            frame.iloc[rows].to_parquet(out / name / f"part-{number}.parquet", index=False)
    write_study(out, {name: {"path": name, "key": "patient_id"} for name in ("patients", "labs", "events")})


def write_study(out: Path, places: dict[str, dict[str, str]]) -> None:
    """Write the study file of the simulated trial with other tables."""
    raw = yaml.safe_load((FORMATS.parent / "il7_trial" / "study.yaml").read_text(encoding="utf-8"))
    text = yaml.safe_dump({**raw, "tables": places}, sort_keys=False, allow_unicode=True)
    (out / "study.yaml").write_text(text, encoding="utf-8")


def main(out: Path) -> None:
    """Write all formats."""
    tables = simulate_tables(PATIENTS, SEED)
    write_trial(PATIENTS, SEED, "published", out=out / "csv", format="csv")
    write_adam(out / "adam", tables)
    write_sqlite(out / "sqlite", tables)
    write_parquet(out / "parquet", tables)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
