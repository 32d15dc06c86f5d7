"""The patients' way through the trial, for the CONSORT diagram."""

from __future__ import annotations

import numpy as np
import pandas as pd

from il7ml.data.cohort import Cohort


def patient_flow(cohort: Cohort) -> pd.DataFrame:
    """Return how many patients there were at each step: step, control, treated, total.

    Steps before allocation have a total only. Everyone allocated is analysed as allocated.
    """
    flow, treated = cohort.flow, cohort.treatment == 1

    def by_arm(step: str, rows: np.ndarray) -> tuple[str, float, float, float]:
        return step, float((rows & ~treated).sum()), float((rows & treated).sum()), float(rows.sum())

    everyone = np.ones(treated.size, dtype=bool)
    steps = [("In the tables", np.nan, np.nan, float(flow.rows))]
    if flow.other_arms:
        steps.append(("In arms outside this contrast", np.nan, np.nan, float(flow.other_arms)))
    steps.append(by_arm("Randomised", everyone))
    course = cohort.course
    if course is not None:
        if course.doses is not None:
            steps.append(by_arm("Received at least one dose", course.doses > 0))
        day = course.spec.mortality_days[0]
        died = course.death <= day
        steps.append(by_arm(f"Died by day {day:g}", died))
        steps.append(by_arm(f"Lost to follow-up before day {day:g}", ~died & (course.follow_up < day)))
    steps.append(by_arm("Analysed as randomised", everyone))
    frame = pd.DataFrame(steps, columns=["step", "control", "treated", "total"])
    return frame.astype({"control": "Int64", "treated": "Int64", "total": "Int64"})
