"""What the effect benchmarks compute beside the library: coverage, ratios of errors, and talk with another process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

ROOT = Path(__file__).parents[1]

# Answers as peers.py does: with the covariates' first column as effect, and no interval.
_ECHO = """
import sys
import numpy as np
print("econml=1.2 stochtree=0.3", flush=True)
for line in sys.stdin:
    name, seed, path = line.split(maxsplit=2)
    with np.load(path.strip()) as given:
        effect = given["new"][:, 0]
        share = given["treatment"].mean()
    none = np.full(len(effect), np.nan)
    np.savez(path.strip(), effect=effect, low=none, high=none, numbers=[share, np.nan, np.nan, int(seed)])
    print("done", flush=True)
"""


@pytest.fixture(scope="module", autouse=True)
def benchmarks() -> Iterator[None]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return import_module("effects_tables")


def rows(estimator: str, errors: list[float], seeds: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "estimator": estimator,
            "world": "step",
            "n": 109,
            "seed": seeds,
            "rmse": errors,
            "rmse_reference": 0.1,
            "covered": [1.0, *[0.9] * (len(seeds) - 1)],
            "width": 0.4,
            "ate_error": 0.01,
            "reference_error": [0.02, *[-0.02] * (len(seeds) - 1)],
            "ate_covered": [0.0, *[1.0] * (len(seeds) - 1)],
            "cpu_seconds": 2.0,
        }
    )


def test_a_line_gives_what_its_trials_say(tables: ModuleType) -> None:
    line = tables.each_cell(rows("effect_model", [0.08, 0.08, 0.08, 0.08], [1, 2, 3, 4])).iloc[0]
    assert line["ratio"] == "0.80 (0.80 to 0.80)"
    assert (line["coverage"], line["width"], line["CPU s"]) == ("0.925", "0.40", "2")
    assert line["average: variance ratio"] == "0.25"
    limits = binomtest(3, 4).proportion_ci(method="wilson")
    assert line["average: coverage"] == f"0.75 ({limits.low:.2f} to {limits.high:.2f})"


def test_what_a_peer_does_not_give_is_left_empty(tables: ModuleType) -> None:
    silent = rows("causalml_x_boosted", [0.2, 0.2], [1, 2])
    silent[["covered", "width", "ate_error", "ate_covered"]] = np.nan
    line = tables.each_cell(silent).iloc[0]
    assert line["ratio"].startswith("2.00")
    assert (line[["coverage", "width", "average: variance ratio", "average: coverage"]] == "").all()
    table = tables.intervals(pd.concat([silent, rows("bcf", [0.2, 0.2], [1, 2])]))
    assert table.to_numpy().tolist() == [[109, "bcf", "0.95 at 0.40", "2"]]


def test_the_best_peer_is_compared_on_common_trials(tables: ModuleType) -> None:
    ours = rows("effect_model", [0.06, 0.06, 0.90], [1, 2, 3])
    good, bad = rows("bcf", [0.08, 0.08], [1, 2]), rows("bcf_probit", [0.09, 0.09], [1, 2])
    table = tables.beside_best_peer(pd.concat([ours, good, bad]), ["bcf", "bcf_probit"])
    assert table[["best peer", "trials", "error / best peer's"]].to_numpy().tolist() == [
        ["bcf", 2, "0.75 (0.75 to 0.75)"]
    ]


def test_another_process_answers_of_the_same_patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer_process, worlds = import_module("peer_process"), import_module("worlds")
    worker = tmp_path / "worker.py"
    worker.write_text(_ECHO)
    monkeypatch.setattr(peer_process, "_WORKER", worker)
    rng = np.random.default_rng(0)
    trial, new = worlds.WORLDS["step"].draw(30, rng), worlds.WORLDS["step"].draw(20, rng)
    with peer_process.PeerProcess(Path(sys.executable)) as peers:
        assert peers.version("bcf") == "stochtree 0.3"
        assert peers.version("causalml_x_boosted") is None
        for seed in (7, 8):
            answer = peers.ask("bcf", trial, new, seed)
            assert answer.effect.tolist() == new.X.iloc[:, 0].tolist()
            assert answer.average == trial.treatment.mean()
            assert answer.cpu_seconds == seed
            assert np.isnan(answer.low).all()


def test_a_process_that_ends_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer_process = import_module("peer_process")
    worker = tmp_path / "worker.py"
    worker.write_text("")
    monkeypatch.setattr(peer_process, "_WORKER", worker)
    with pytest.raises(RuntimeError, match="ended"):
        peer_process.PeerProcess(Path(sys.executable))
