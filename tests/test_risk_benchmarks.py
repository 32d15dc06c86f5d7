"""What the risk benchmarks compute beside the library: splits of real tables, paired differences."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def risk_real() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield import_module("risk_real")
    sys.path.remove(str(ROOT / "benchmarks"))


def test_no_patient_is_judged_by_a_model_that_knows_him(risk_real: ModuleType) -> None:
    sample = risk_real.load("actg175").sample
    judged = []
    for fold in range(risk_real.FOLDS):
        learned, held = risk_real.split(risk_real.Task("actg175", 109, 3, fold), sample)
        assert not set(learned) & set(held)
        judged.extend(held)
    drawn, outside = risk_real.split(risk_real.Task("actg175", 109, 3, risk_real.OUTSIDE), sample)
    assert sorted(judged) == drawn.tolist()
    assert len(drawn) == 109
    assert sorted([*drawn, *outside]) == list(range(sample.y.size))


def losses(risk_real: ModuleType, n: int, gaps: list[float], weight: list[float], seed: list[int]) -> pd.DataFrame:
    base = dict.fromkeys(risk_real.BASELINES, 0.5)
    return pd.DataFrame(
        {"n": n, "seed": seed, "patient": [0, 1, 0, 1], "weight": weight, "selected": 0.5 + np.array(gaps), **base}
    )


def test_repeats_of_a_whole_table_are_averaged_before_the_error(risk_real: ModuleType) -> None:
    rows = losses(risk_real, 0, [0.1, 0.3, 0.3, 0.1], [1.0, 1.0, 1.0, 1.0], [0, 0, 1, 1])
    first = risk_real.differences(rows).iloc[0]
    assert first["difference"] == pytest.approx(0.2)
    assert first["std_error"] == pytest.approx(0.0, abs=1e-12)
    rows = losses(risk_real, 0, [0.1, 0.3, 0.1, 0.3], [1.0, 1.0, 1.0, 1.0], [0, 0, 1, 1])
    assert risk_real.differences(rows).iloc[0]["std_error"] == pytest.approx(0.1)  # SD 0.1414 / sqrt(2)


def test_subsets_count_alike_and_weights_within_them(risk_real: ModuleType) -> None:
    rows = losses(risk_real, 109, [0.1, 0.3, 0.5, 0.5], [3.0, 1.0, 1.0, 1.0], [0, 0, 1, 1])
    first = risk_real.differences(rows).iloc[0]
    assert first["difference"] == pytest.approx((0.15 + 0.5) / 2)
    assert first["std_error"] == pytest.approx(np.std([0.15, 0.5], ddof=1) / np.sqrt(2))


def test_the_slope_of_a_constant_prediction_is_left_out(risk_real: ModuleType) -> None:
    risk = import_module("risk")
    cell = pd.DataFrame({"chosen": ["logistic", "prevalence", "xgboost"], "delivered_true_slope": [0.8, 50.0, 1.2]})
    assert risk._median(risk._slopes(cell, risk.DELIVERED)) == "1.00"
    assert risk._median(risk._slopes(cell[1:2], risk.DELIVERED)) == "-"
