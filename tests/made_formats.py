"""The script that writes one simulated trial in each format, as a module, and what its cohorts are compared by."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("make_formats", ROOT / "data" / "formats" / "make.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


def assert_same_cohort(one, other):
    """Hold two cohorts of one study file, read from different places, against each other."""
    assert one.digest == other.digest
    pd.testing.assert_frame_equal(one.values, other.values, check_dtype=False)
    np.testing.assert_array_equal(one.treatment, other.treatment)
    assert list(one.site) == list(other.site)
    for name, observed in one.outcomes.items():
        for mine, its in zip(observed[1:4], other.outcomes[name][1:4], strict=True):
            assert (mine is None) == (its is None)
            np.testing.assert_array_equal(np.asarray(mine, dtype=float), np.asarray(its, dtype=float))


def assert_same_course(one, other):
    """Hold what happened after randomisation against each other, for what both studies describe."""
    for name in ("death", "discharge", "follow_up"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name, measured in one.measurements.items():
        for mine, its in zip(sorted_rows(measured), sorted_rows(other.measurements[name]), strict=True):
            np.testing.assert_array_equal(mine, its)
    order = ["patient", "day", "term", "grade", "serious"]
    pd.testing.assert_frame_equal(
        one.adverse_events[order].sort_values(order, ignore_index=True),
        other.adverse_events[order].sort_values(order, ignore_index=True),
        check_dtype=False,
    )


def sorted_rows(measured):
    order = np.lexsort((measured.day, measured.patient))
    return measured.patient[order], measured.day[order], measured.value[order]
