from __future__ import annotations

import pandas as pd
import pytest
import yaml

from il7ml.data.loading import load_cohort
from il7ml.data.simulator import il7_study, simulate_trial, write_trial
from il7ml.data.study import load_study
from il7ml.errors import InputError


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_template_is_marked_simulated_and_bears_the_fixed_endpoints():
    study = il7_study()
    assert study.simulated
    assert "simulated" in study.title
    assert set(study.endpoints) == {
        "infection_day30",
        "death_day30",
        "infection_or_death_day30",
        "infections",
        "infections_at_risk",
    }
    assert study.modifiers == ("antiviral_at_randomisation", "absolute_lymphocyte_count")


@pytest.mark.parametrize("n", [20, 37, 109])
def test_cohort_and_truth_have_the_same_patients(n):
    cohort, truth = simulate_trial(n, seed=n)
    assert len(cohort) == len(truth.table) == n
    assert cohort.study.simulated
    assert truth.scenario == "published"
    # What happens in the arm that the patient is in is what the trial saw.
    seen = truth.table["infection_treated"].where(cohort.treatment == 1, truth.table["infection_untreated"])
    assert cohort.outcomes["infection_day30"].value.tolist() == seen.tolist()


def test_truth_is_no_part_of_the_cohort():
    cohort, truth = simulate_trial(40, seed=1)
    assert not set(truth.table.columns) - {"patient_id"} & set(cohort.values.columns)
    assert not any(name.endswith(("_treated", "_untreated", "_effect")) for name in cohort.variables)


def test_seed_decides():
    first, again, other = (simulate_trial(40, seed=seed)[0].digest for seed in (5, 5, 6))
    assert first == again != other


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_written_trials_read_back_as_the_cohort(tmp_path, format):
    out, apart = tmp_path / "a" / "trial", tmp_path / "truth"
    written = write_trial(60, 3, "null", out, format=format, truth=apart)
    assert sorted(written) == sorted(
        [out / f"{name}.{format}" for name in ("patients", "labs", "events")]
        + [out / "study.yaml", apart / f"truth.{format}"]
    )
    assert sorted(files(tmp_path)) == sorted(path.relative_to(tmp_path).as_posix() for path in written)
    cohort, truth = simulate_trial(60, 3, "null")
    assert load_cohort(out).digest == cohort.digest
    read = (pd.read_csv if format == "csv" else pd.read_parquet)(apart / f"truth.{format}")
    pd.testing.assert_frame_equal(read, truth.table, check_dtype=False)


def test_the_written_study_file_says_that_the_patients_are_simulated(tmp_path):
    write_trial(40, 1, "published", tmp_path)
    assert (tmp_path / "study.yaml").read_text(encoding="utf-8").startswith("# Simulated patients.")
    assert load_study(tmp_path).simulated


def test_variables_that_never_vary_are_left_out(tmp_path):
    # In 20 patients some comorbidity is absent for all.
    write_trial(20, 4, "published", tmp_path, format="csv")
    raw = yaml.safe_load((tmp_path / "study.yaml").read_text(encoding="utf-8"))
    patients = pd.read_csv(tmp_path / "patients.csv")
    constant = {name for name in il7_study().variables if patients[name].nunique() < 2}
    assert constant
    assert set(raw["variables"]) == set(il7_study().variables) - constant
    assert len(load_cohort(tmp_path)) == 20


@pytest.mark.parametrize(
    ("n", "seed", "scenario", "message"),
    [
        (19, 0, "published", "n: expected at least 20 patients, got 19"),
        (40, -1, "published", "seed: expected a number from 0, got -1"),
        (40, 0, "publisht", r"scenario 'publisht' is not known. Did you mean 'published'\?"),
        (40, 0, "none.yaml", "scenario none.yaml cannot be read"),
    ],
)
def test_unusable_requests_are_refused_and_write_nothing(tmp_path, n, seed, scenario, message):
    with pytest.raises(InputError, match=message):
        simulate_trial(n, seed, scenario)
    with pytest.raises(InputError, match=message):
        write_trial(n, seed, scenario, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_truth_does_not_lie_among_the_tables(tmp_path):
    with pytest.raises(InputError, match="--truth: expected another folder than --out"):
        write_trial(40, 0, "published", tmp_path / "x", truth=tmp_path / "y" / ".." / "x")
    assert not list(tmp_path.iterdir())


def test_a_trial_may_be_written_again_but_no_other_study_is_overwritten(small_study, tmp_path):
    out = tmp_path / "out"
    write_trial(40, 1, "published", out, format="csv")
    first = files(out)
    write_trial(40, 2, "published", out, format="csv")
    assert files(out).keys() == first.keys()
    assert files(out) != first
    before = files(small_study.folder)
    with pytest.raises(InputError, match="trial holds another study's files, which would be lost"):
        write_trial(40, 1, "published", small_study.folder, format="csv")
    (small_study.folder / "study.yaml").unlink()
    del before["study.yaml"]
    with pytest.raises(InputError, match="holds another study's files"):
        write_trial(40, 1, "published", small_study.folder, format="csv")
    assert files(small_study.folder) == before


@pytest.mark.parametrize("truth", [False, True])
def test_places_that_cannot_be_written_get_no_half_trial(tmp_path, truth):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    places = [tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)]
    for place in places:
        out, apart = (tmp_path / "out", place) if truth else (place, None)
        with pytest.raises(InputError, match=r"cannot be written: .* Choose another place"):
            write_trial(40, 1, "published", out, truth=apart)
        assert list(files(tmp_path)) == ["file"]


def test_an_earlier_trial_stays_whole_when_writing_fails(tmp_path):
    out = tmp_path / "out"
    write_trial(40, 1, "published", out)
    before = files(out)
    (tmp_path / "truth").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        write_trial(40, 2, "published", out, truth=tmp_path / "truth")
    assert files(out) == before
