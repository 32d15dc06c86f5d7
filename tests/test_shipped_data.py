"""The data sets in ``data/`` hold what their publications and READMEs say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from il7ml import texts
from il7ml.checking import check
from il7ml.config import RunConfig
from il7ml.data.loading import load_cohort
from il7ml.data.simulator import il7_study
from il7ml.data.study import load_study
from il7ml.endpoints.outcome import learning_outcome
from il7ml.features.columns import DERIVED
from il7ml.features.selection import select_variables

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"


@pytest.fixture(scope="module")
def cgd():
    return load_cohort(DATA / "cgd")


@pytest.fixture(scope="module")
def actg():
    return load_cohort(DATA / "actg175")


def by_arm(cohort, value):
    return [value[cohort.treatment == arm] for arm in (0, 1)]


# International CGD Cooperative Study Group, N Engl J Med 1991;324:509-16, doi 10.1056/NEJM199102213240801; the numbers
# of first infections (14 of 63 and 30 of 65) and of infections (20 and 56) are in its abstract.
def test_cgd_has_the_published_numbers(cgd):
    assert cgd.flow == (128, 0, 128, 65, 63)
    assert not cgd.study.simulated
    assert [arm.sum() for arm in by_arm(cgd, cgd.outcomes["any_infection"].value)] == [30, 14]
    assert [arm.sum() for arm in by_arm(cgd, cgd.outcomes["infections"].value)] == [56, 20]
    assert len(set(cgd.site)) == 13
    np.testing.assert_array_equal(cgd.propensity, 0.5)


def test_the_two_files_of_cgd_agree(cgd):
    wide = pd.read_csv(DATA / "cgd" / "cgd0.csv").set_index("id")
    long = pd.read_csv(DATA / "cgd" / "cgd.csv")
    infections = long[long["status"] == 1].sort_values(["id", "tstop"])
    times = wide.filter(like="etime").melt(ignore_index=False).dropna().reset_index().sort_values(["id", "value"])
    assert len(times) == len(infections) == 76
    assert times["id"].tolist() == infections["id"].tolist()
    assert times["value"].tolist() == infections["tstop"].tolist()
    people = long.groupby("id").first()
    assert people.index.tolist() == wide.index.tolist()
    arms = {"placebo": 0, "rIFN-g": 1}
    assert people["treat"].map(arms).tolist() == wide["treat"].tolist() == cgd.treatment.tolist()
    assert people["sex"].tolist() == cgd.baseline["sex"].tolist()
    for name in ("age", "height", "weight"):
        assert people[name].tolist() == wide[name].tolist() == cgd.baseline[name].tolist()
    np.testing.assert_array_equal(people["steroids"], cgd.baseline["corticosteroid_at_randomisation"])
    np.testing.assert_array_equal(people["propylac"], cgd.baseline["prophylactic_antibiotics"])
    inheritance = people["inherit"].map({"X-linked": "x_linked", "autosomal": "autosomal"})
    assert inheritance.tolist() == cgd.baseline["inheritance"].tolist()
    hospital = people["hos.cat"].map(
        {
            "US:NIH": "us_nih",
            "US:other": "us_other",
            "Europe:Amsterdam": "europe_amsterdam",
            "Europe:other": "europe_other",
        }
    )
    assert hospital.tolist() == cgd.baseline["hospital_category"].tolist()
    # Follow-up goes from one infection to the next without a gap.
    assert (long["tstart"].to_numpy()[1:] == long["tstop"].to_numpy()[:-1])[long["enum"].to_numpy()[1:] > 1].all()
    # One number a site in one file is one name in the other.
    sites = pd.DataFrame({"name": people["center"], "number": wide["center"]}).drop_duplicates()
    assert len(sites) == sites["name"].nunique() == sites["number"].nunique() == 13


def test_cgds_exposure_is_the_follow_up_in_years(cgd):
    wide = pd.read_csv(DATA / "cgd" / "cgd0.csv")
    np.testing.assert_allclose(learning_outcome(cgd, "infections").exposure, wide["futime"] / 365.25)


def test_actg_has_the_published_numbers(actg):
    assert actg.flow == (2139, 0, 2139, 532, 1607)
    assert not actg.study.simulated
    np.testing.assert_array_equal(actg.propensity, 0.75)


def test_actg_has_198_patients_censored_before_day_730(actg):
    outcome = learning_outcome(actg, "event_day730")
    raw = pd.read_csv(DATA / "actg175" / "actg175.csv")
    lost = (raw["cens"] == 0) & (raw["days"] < 730)
    assert outcome.unknown == lost.sum() == 198
    np.testing.assert_array_equal(outcome.weight == 0, lost)
    np.testing.assert_array_equal(outcome.y, (raw["cens"] == 1) & (raw["days"] <= 730))
    # What each arm's weights stand for is that arm.
    for arm, size in ((0, 532), (1, 1607)):
        assert outcome.weight[actg.treatment == arm].sum() == pytest.approx(size)


def test_actgs_effect_on_the_cd4_count_is_what_statsmodels_finds(actg):
    value = actg.outcomes["cd420"].value
    control, treated = by_arm(actg, value)
    assert treated.mean() - control.mean() == pytest.approx(46.81, abs=0.005)
    design = sm.add_constant(np.column_stack([actg.treatment, actg.baseline["cd4_count"] * 1000]))
    fitted = sm.OLS(value, design).fit()
    assert fitted.params[1] == pytest.approx(49.38, abs=0.005)
    assert fitted.bse[1] == pytest.approx(5.78, abs=0.005)
    assert fitted.get_robustcov_results("HC3").bse[1] == pytest.approx(5.29, abs=0.005)


def test_actg_keeps_out_of_the_features_what_came_later(actg):
    later = set(actg.variables) - set(actg.baseline_variables)
    assert {actg.study.column_of(name) for name in later} == {"cd420", "cd496", "cd820", "offtrt", "r"}


def test_the_simulated_trial_is_marked_wherever_it_shows():
    cohort = load_cohort(DATA / "il7_trial")
    assert cohort.study.simulated
    assert "(simulated)" in cohort.study.title
    assert "simulated" in cohort.study.source.lower()
    assert "simulated" in repr(cohort)
    assert check(DATA / "il7_trial").startswith(f"{texts.SIMULATED}\n")
    lines = (DATA / "il7_trial" / "study.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# Simulated patients.")
    assert "simulated" in (DATA / "il7_trial" / "README.md").read_text(encoding="utf-8").lower()


def test_the_simulated_trial_has_the_sizes_of_the_real_one():
    cohort = load_cohort(DATA / "il7_trial")
    assert len(cohort) == 109
    assert pd.Series(cohort.site).value_counts().to_dict() == {
        "uk": 35,
        "france_belgium": 34,
        "us": 26,
        "us_oncology": 10,
        "brazil": 4,
    }
    assert cohort.study.endpoints == il7_study().endpoints
    assert set(cohort.study.variables) <= set(il7_study().variables)


def test_the_example_patient_is_described_in_the_dictionarys_words():
    patient = json.loads((DATA / "il7_trial" / "patient.json").read_text(encoding="utf-8"))
    study = load_study(DATA / "il7_trial")
    known = study.mapped
    for name, value in patient.items():
        if name == "patient_id":
            continue
        variable = known[name]
        assert variable.is_baseline
        if variable.kind == "categorical":
            assert value in variable.levels
        elif variable.kind == "continuous":
            assert variable.plausible[0] <= value <= variable.plausible[1]
            low, high = study.eligibility.get(name, (None, None))
            assert low is None or value >= low
            assert high is None or value <= high
        else:
            assert value in (0, 1)


@pytest.mark.parametrize("name", ["cgd", "actg175", "il7_trial"])
def test_configs_name_studies_endpoints_and_features_that_are_there(name):
    config = RunConfig.from_file(ROOT / "configs" / f"{name}.yaml")
    cohort = load_cohort(config.study)
    assert learning_outcome(cohort, config.endpoint).events > 0
    chosen = select_variables(cohort.study, config.features)
    assert set(chosen) - set(DERIVED) <= set(cohort.baseline.columns)
    assert set(cohort.study.modifiers) <= set(chosen)


@pytest.mark.parametrize("name", ["cgd", "actg175", "il7_trial"])
def test_every_endpoint_can_be_learned(name):
    cohort = load_cohort(DATA / name)
    for endpoint in cohort.outcomes:
        assert learning_outcome(cohort, endpoint).events > 0
