from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr, ttest_ind
from sklearn.metrics import roc_auc_score

from il7ml.data import generator
from il7ml.data.generator import SimulatedTables, simulate_tables, write_partitions
from il7ml.data.scenario import load_scenario
from il7ml.errors import InputError
from il7ml.schema import load_dictionary

Floats = NDArray[np.float64]

LARGE = 20_000
#: Distance in standard errors that a correct simulator exceeds in one of 16,000 comparisons.
FAR = 4.0


@cache
def trial(scenario: str = "published", n: int = LARGE) -> SimulatedTables:
    return simulate_tables(n, seed=2, scenario=scenario)


def per_patient(tables: SimulatedTables, kind: str) -> Floats:
    events = tables.events
    counts = events.loc[events["kind"] == kind, "patient_id"].value_counts()
    return counts.reindex(tables.patients["patient_id"], fill_value=0).to_numpy(dtype=float)


def day_of(tables: SimulatedTables, kind: str) -> Floats:
    events = tables.events
    days = events.loc[events["kind"] == kind].set_index("patient_id")["day"]
    return days.reindex(tables.patients["patient_id"]).to_numpy(dtype=float, na_value=np.inf)


def treated(tables: SimulatedTables) -> NDArray[np.bool_]:
    return (tables.patients["arm"] == "il7").to_numpy()


def final_log_count(tables: SimulatedTables) -> Floats:
    labs = tables.labs
    counts = labs[(labs["analyte"] == "absolute_lymphocyte_count") & (labs["day"] > 0)]
    last = counts.drop_duplicates("patient_id", keep="last").set_index("patient_id")["value"]
    return np.log(last.reindex(tables.patients["patient_id"]).to_numpy(dtype=float))


def assert_log_ratio(first: Floats, second: Floats, ratio: float) -> None:
    """Assert that the ratio of means, first to second, is compatible with `ratio`."""
    relative = [values.std() / values.mean() / np.sqrt(values.size) for values in (first, second)]
    assert abs(np.log(first.mean() / second.mean() / ratio)) < FAR * np.hypot(*relative)


def assert_share(values: Any, share: float) -> None:
    values = np.asarray(values, dtype=float)
    assert abs(values.mean() - share) < FAR * np.sqrt(share * (1 - share) / values.size)


# ---- form -----------------------------------------------------------------------------------------------------------


def test_columns_are_the_fixed_ones() -> None:
    tables = trial()
    assert list(tables.patients.columns[:3]) == ["patient_id", "cohort", "arm"]
    assert list(tables.labs.columns) == ["patient_id", "day", "analyte", "value", "unit"]
    assert list(tables.events.columns) == ["patient_id", "kind", "day", "detail"]
    assert set(tables.events["kind"]) == {"infection", "death", "discharge", "adverse_event"}
    later = {"doses_given", "icu_days", "hospital_days", "ventilation_days", "follow_up_days"}
    assert set(tables.patients.columns[3:]) - later <= set(load_dictionary())
    assert not set(tables.patients.columns[1:]) & set(tables.truth.columns)
    assert tables.patients["patient_id"].tolist() == tables.truth["patient_id"].tolist()
    assert tables.patients["patient_id"].iloc[[0, -1]].tolist() == ["P000001", "P020000"]


def test_values_are_possible_and_levels_known() -> None:
    patients, dictionary = trial().patients, load_dictionary()
    for name in patients.columns.intersection(list(dictionary)):
        variable, known = dictionary[name], patients[name].dropna()
        if variable.kind == "categorical":
            assert set(known) == set(variable.levels)
        elif variable.kind == "binary":
            assert set(known) == {0, 1}
        else:
            assert variable.possible is not None
            assert known.between(*variable.possible).all()
    units = trial().labs[["analyte", "unit"]].drop_duplicates()
    assert {name: dictionary[name].unit for name in units["analyte"]} == dict(units.to_numpy().tolist())


def test_values_are_rounded_as_laboratories_report() -> None:
    patients, labs = trial().patients, trial().labs
    for name, digits in {"absolute_lymphocyte_count": 2, "lactate": 1, "procalcitonin": 2, "ferritin": 0}.items():
        known = patients[name].dropna()
        np.testing.assert_array_equal(known, known.round(digits))
    counts = labs.loc[labs["analyte"] == "absolute_lymphocyte_count", "value"]
    np.testing.assert_array_equal(counts, counts.round(2))


# ---- trial ----------------------------------------------------------------------------------------------------------


def test_cohorts_of_the_trial_have_the_published_sizes() -> None:
    sizes = simulate_tables(109, seed=3).patients["cohort"].value_counts().to_dict()
    assert sizes == {"uk": 35, "france_belgium": 34, "us": 26, "us_oncology": 10, "brazil": 4}
    for name, size in sizes.items():
        assert_share(trial().patients["cohort"] == name, size / 109)


def test_allocation_is_one_to_one_in_blocks_within_cohorts() -> None:
    patients = simulate_tables(109, seed=4).patients
    for _, cohort in patients.groupby("cohort"):
        il7 = (cohort["arm"] == "il7").to_numpy()
        for end in range(4, il7.size + 1, 4):
            assert il7[end - 4 : end].sum() == 2


def test_patients_are_eligible() -> None:
    patients = trial().patients
    assert patients["age"].between(25, 80).all()
    assert patients["absolute_lymphocyte_count"].dropna().le(1.0).all()
    oncology = patients["cohort"] == "us_oncology"
    assert patients["active_cancer"].eq(oncology.astype(int)).all()
    national = patients["cohort"].isin(["uk", "france_belgium"])
    assert patients["planned_doses"].eq(np.where(national, 5, 7)).all()


@pytest.mark.parametrize(
    ("name", "quartiles"),
    [
        ("absolute_lymphocyte_count", (0.44, 0.60, 0.77)),
        ("sofa_score", (3, 5, 8)),
        ("apache_ii_score", (10, 13, 17)),
        ("c_reactive_protein", (120 * np.exp(-0.6745 * 0.73), 120, 120 * np.exp(0.6745 * 0.73))),
        ("ferritin", (1100 * np.exp(-0.6745 * 0.87), 1100, 1100 * np.exp(0.6745 * 0.87))),
        ("pao2_fio2_ratio", (130 * np.exp(-0.6745 * 0.42), 130, 130 * np.exp(0.6745 * 0.42))),
    ],
)
def test_quartiles_are_those_of_comparable_cohorts(name: str, quartiles: tuple[float, ...]) -> None:
    seen = trial().patients[name].astype(float).quantile([0.25, 0.5, 0.75])
    np.testing.assert_allclose(seen, quartiles, rtol=0.03)


@pytest.mark.parametrize(
    ("pair", "correlation"),
    [
        (("absolute_lymphocyte_count", "cd8_count"), 0.80),
        (("c_reactive_protein", "procalcitonin"), 0.45),
        (("sofa_score", "creatinine"), 0.45),
        (("sofa_score", "pao2_fio2_ratio"), -0.40),
        (("absolute_lymphocyte_count", "neutrophil_count"), 0.05),
    ],
)
def test_correlations(pair: tuple[str, str], correlation: float) -> None:
    known = trial().patients[list(pair)].astype(float).dropna()
    # Spearman's coefficient of a Gaussian copula with correlation r is 6 / pi * arcsin(r / 2).
    expected = 6 / np.pi * np.arcsin(correlation / 2)
    # Rounding to whole points and the limit on T cells move it a little.
    assert spearmanr(*known.to_numpy().T).statistic == pytest.approx(expected, abs=0.02 + FAR / np.sqrt(len(known)))


def test_respiratory_support_follows_cohort_and_severity() -> None:
    patients = trial().patients
    invasive = patients["respiratory_support"] == "invasive"
    assert_share(invasive[patients["cohort"] == "france_belgium"], 0.05)
    assert_share(invasive, (35 * 0.63 + 34 * 0.05 + 26 * 0.64 + 14 * 0.60) / 109)
    sofa = patients["sofa_score"].astype(float)
    assert sofa[invasive].mean() > sofa[~invasive].mean() + 1


@pytest.mark.parametrize(("name", "share"), [("interleukin_6", 0.25), ("sofa_score", 0.14), ("cd4_count", 0.20)])
def test_missing_baseline_values(name: str, share: float) -> None:
    patients = trial().patients
    assert_share(patients[name].isna(), share)
    assert patients["cd8_count"].isna().equals(patients["cd4_count"].isna())


# ---- consistency ----------------------------------------------------------------------------------------------------


def test_nothing_happens_after_death_and_no_infection_after_discharge() -> None:
    tables = trial()
    ids = pd.Index(tables.patients["patient_id"])
    death, discharge = day_of(tables, "death"), day_of(tables, "discharge")
    events = tables.events
    row, day = ids.get_indexer(events["patient_id"]), events["day"].to_numpy()
    assert (day <= death[row]).all()
    in_hospital = events["kind"].isin(["infection", "adverse_event"]).to_numpy()
    assert (day <= discharge[row])[in_hospital].all()
    assert (day > 0).all()
    assert day[in_hospital].max() == 30
    assert day.max() <= 90
    assert (death != discharge)[np.isfinite(death)].all()
    labs = tables.labs
    row, day = ids.get_indexer(labs["patient_id"]), labs["day"].to_numpy()
    assert (day < death[row]).all()
    assert (day <= discharge[row]).all()
    assert day.min() == 0
    assert day.max() == 30


def test_one_death_one_discharge_and_one_infection_a_day() -> None:
    events = trial().events
    once = events[events["kind"].isin(["death", "discharge"])]
    assert not once.duplicated(["patient_id", "kind"]).any()
    assert not events[events["kind"] == "infection"].duplicated(["patient_id", "day"]).any()
    assert not trial().labs.duplicated(["patient_id", "day", "analyte"]).any()


def test_tables_are_sorted_by_patient_and_day() -> None:
    for table in (trial().labs, trial().events):
        keys = table[["patient_id", "day"]]
        assert keys.equals(keys.sort_values(["patient_id", "day"], kind="stable"))


def test_stays_agree_with_events() -> None:
    tables = trial()
    patients = tables.patients.select_dtypes("number").astype(float)
    death, discharge = day_of(tables, "death"), day_of(tables, "discharge")
    end = np.minimum(np.minimum(death, discharge), 90)
    np.testing.assert_array_equal(patients["hospital_days"], end)
    assert (patients["ventilation_days"] <= patients["icu_days"]).all()
    assert patients["icu_days"].between(1, patients["hospital_days"]).all()
    assert patients["doses_given"].between(1, patients["planned_doses"]).all()
    invasive = (tables.patients["respiratory_support"] == "invasive").to_numpy()
    assert (patients["ventilation_days"][invasive] > 0).all()
    assert (patients["antiviral_during_treatment"] >= patients["antiviral_at_randomisation"]).all()


def test_follow_up_ends_with_death_or_after_day_30() -> None:
    tables = trial()
    follow_up = tables.patients["follow_up_days"].to_numpy(dtype=float)
    death = day_of(tables, "death")
    dead = np.isfinite(death)
    np.testing.assert_array_equal(follow_up[dead], death[dead])
    assert (follow_up[~dead] > 30).all()
    assert follow_up.max() == 90
    assert 0 < np.mean(follow_up[~dead] < 90) < 0.1


def test_adverse_events_have_term_grade_and_seriousness() -> None:
    events = trial().events
    parts = events.loc[events["kind"] == "adverse_event", "detail"].str.split("|", expand=True)
    assert set(parts[1]) == {"1", "2", "3", "4", "5"}
    assert set(parts[2]) == {"0", "1"}
    assert (parts.loc[parts[1] == "5", 2] == "1").all()
    death, discharge = day_of(trial(), "death"), day_of(trial(), "discharge")
    assert (parts[1] == "5").sum() == ((death <= 30) & (death < discharge)).sum()


def test_day_0_repeats_the_baseline() -> None:
    tables = trial()
    for name in ("absolute_lymphocyte_count", "cd4_count", "c_reactive_protein", "pao2_fio2_ratio"):
        labs = tables.labs[(tables.labs["analyte"] == name) & (tables.labs["day"] == 0)]
        baseline = tables.patients[["patient_id", name]].dropna()
        assert labs["patient_id"].tolist() == baseline["patient_id"].tolist()
        np.testing.assert_array_equal(labs["value"], baseline[name])


def test_t_cells_are_part_of_the_lymphocytes() -> None:
    wide = trial().labs.pivot_table(index=["patient_id", "day"], columns="analyte", values="value")
    wide = wide[["absolute_lymphocyte_count", "cd4_count", "cd8_count"]].dropna()
    assert (wide["cd4_count"] + wide["cd8_count"] <= wide["absolute_lymphocyte_count"] + 0.006).all()


def test_follow_up_is_missing_not_at_random() -> None:
    # Within a visit, who is measured had the lower count the visit before.
    labs = trial().labs
    counts = labs[labs["analyte"] == "absolute_lymphocyte_count"].pivot_table(
        index="patient_id", columns="day", values="value"
    )
    stays = day_of(trial(), "discharge") > 14
    stays &= day_of(trial(), "death") > 14
    counts = counts.reindex(trial().patients["patient_id"])[stays]
    before, measured = counts[10], counts[14].notna()
    assert before[measured].mean() < before[~measured].mean()
    assert ttest_ind(np.log(before[measured].dropna()), np.log(before[~measured].dropna())).pvalue < 0.001


# ---- randomness -----------------------------------------------------------------------------------------------------


def test_same_seed_same_tables_and_another_seed_others() -> None:
    first, second, other = (simulate_tables(200, seed) for seed in (5, 5, 6))
    for name in SimulatedTables._fields:
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))
        assert not getattr(first, name).equals(getattr(other, name))


def test_scenarios_share_the_baseline() -> None:
    columns = [
        name for name in trial().patients if load_dictionary().get(name, None) and name != "antiviral_during_treatment"
    ]
    pd.testing.assert_frame_equal(trial().patients[columns], trial("null").patients[columns])


def test_partitions_hold_the_same_patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "BLOCK", 100)
    whole = simulate_tables(450, 7)
    written = write_partitions(450, 7, "published", tmp_path / "trial", rows=200, truth=tmp_path / "truth")
    assert len(written) == 4 * 3
    for name in SimulatedTables._fields:
        folder = tmp_path / ("truth" if name == "truth" else "trial") / name
        pd.testing.assert_frame_equal(pd.read_parquet(folder), getattr(whole, name))
        first = pd.read_parquet(folder / "part-00000.parquet")
        assert set(first["patient_id"]) <= set(whole.patients["patient_id"][:200])
    with pytest.raises(InputError, match="not empty"):
        write_partitions(450, 7, "published", tmp_path / "trial")
    with pytest.raises(InputError, match="another folder"):
        write_partitions(450, 7, "published", tmp_path / "new", truth=tmp_path / "new")


@pytest.mark.parametrize(("n", "seed"), [(0, 1), (10, -1)])
def test_impossible_numbers_are_refused(n: int, seed: int) -> None:
    with pytest.raises(InputError, match="expected"):
        simulate_tables(n, seed)


@pytest.mark.parametrize("n", [1, 2, 20])
def test_small_trials(n: int) -> None:
    assert len(simulate_tables(n, 1).patients) == n


# ---- truth ----------------------------------------------------------------------------------------------------------


def test_null_has_no_effect_on_anything() -> None:
    tables = trial("null")
    truth = tables.truth
    for name in ("infection_day30", "infection_rate", "death_day30", "final_log_count"):
        assert (truth[f"{name}_effect"] == 0).all()
    assert truth["infection_untreated"].equals(truth["infection_treated"])
    arm = treated(tables)
    patients = tables.patients
    for outcome in (
        per_patient(tables, "adverse_event"),
        per_patient(tables, "infection"),
        *(patients[name].to_numpy(dtype=float) for name in ("icu_days", "ventilation_days", "hospital_days")),
        patients["antiviral_during_treatment"].to_numpy(dtype=float),
    ):
        assert_log_ratio(outcome[arm], outcome[~arm], 1.0)
    final = final_log_count(tables)
    assert abs(ttest_ind(final[arm], final[~arm], nan_policy="omit").statistic) < FAR


@pytest.mark.parametrize("scenario", ["published", "strong_modifier"])
def test_events_are_the_potential_outcome_of_the_arm(scenario: str) -> None:
    tables = trial(scenario)
    potential = np.where(treated(tables), tables.truth["infection_treated"], tables.truth["infection_untreated"])
    np.testing.assert_array_equal(per_patient(tables, "infection") > 0, potential == 1)


def test_true_effects_are_those_that_the_scenarios_state() -> None:
    published, strong = trial().truth, trial("strong_modifier").truth
    patients = trial().patients
    antiviral = patients["antiviral_at_randomisation"].to_numpy(dtype=int)
    count = np.exp(published["final_log_count_effect"].to_numpy())
    assert count[antiviral == 1].mean() == pytest.approx(1.0, abs=0.03)
    assert count[antiviral == 0].mean() == pytest.approx(1.43, abs=0.06)
    ratio = {
        name: truth["infection_rate_treated"] / truth["infection_rate_untreated"]
        for name, truth in (("published", published), ("strong", strong))
    }
    assert ratio["published"].between(0.45, 0.70).all()
    low = (patients["absolute_lymphocyte_count"] < 0.5).to_numpy()
    helped, other = (low & (antiviral == 0)), (~low & (antiviral == 1))
    assert ratio["strong"][helped].mean() < 0.35
    assert ratio["strong"][other].mean() > 0.85


# ---- calibration ----------------------------------------------------------------------------------------------------


def test_infections_per_patient() -> None:
    tables = trial()
    counts, arm = per_patient(tables, "infection"), treated(trial())
    assert_log_ratio(counts[arm], counts[~arm], 0.56)
    for mean, values in ((0.93, counts[~arm]), (0.52, counts[arm])):
        assert abs(values.mean() - mean) < FAR * values.std() / np.sqrt(values.size)
        # Moments of a negative binomial distribution: variance = mean + mean^2 / k.
        k = values.mean() ** 2 / (values.var() - values.mean())
        assert 1.5 < k < 2.4


def test_patients_with_an_infection_in_the_other_reading() -> None:
    infected, arm = per_patient(trial("patients"), "infection") > 0, treated(trial("patients"))
    assert_share(infected[~arm], 0.535)
    assert_share(infected[arm], 0.30)


def test_final_count_ratios() -> None:
    tables = trial()
    final, arm = final_log_count(tables), treated(tables)
    antiviral = tables.patients["antiviral_during_treatment"].to_numpy(dtype=int)
    for ratio, group in ((1.43, antiviral == 0), (1.0, antiviral == 1)):
        first, second = (final[side & group & np.isfinite(final)] for side in (arm, ~arm))
        error = np.hypot(first.std() / np.sqrt(first.size), second.std() / np.sqrt(second.size))
        assert abs(first.mean() - second.mean() - np.log(ratio)) < FAR * error


def test_predictability_of_infection_from_baseline() -> None:
    truth = trial().truth
    assert 0.65 < roc_auc_score(truth["infection_untreated"], truth["infection_day30_untreated"]) < 0.72


def test_mortality_stays_and_adverse_events() -> None:
    tables = trial()
    arm, death = treated(tables), day_of(tables, "death")
    assert_share(death[~arm] <= 30, 0.27)
    assert_share(death[arm] <= 30, 0.245)
    assert 0.30 < np.mean(death[~arm] <= 90) < 0.34
    survivors = death > 90
    hospital = tables.patients["hospital_days"].to_numpy(dtype=float)
    assert np.median(hospital[~arm & survivors]) == pytest.approx(25, abs=1)
    assert np.median(hospital[arm & survivors]) == pytest.approx(21, abs=1)
    adverse = per_patient(tables, "adverse_event")
    assert adverse[~arm].mean() == pytest.approx(6.0, rel=0.03)
    assert adverse[arm].mean() == pytest.approx(4.5, rel=0.03)


def test_infection_raises_the_hazard_of_death() -> None:
    def mortality(ratio: float) -> float:
        change = {"death": {"after_infection": {"value": ratio, "status": "assumed", "source": "a test"}}}
        scenario = {"description": "x", "effect_modification": "x", "changes": change}
        return float(simulate_tables(4000, 3, scenario).truth["death_day30_untreated"].mean())

    assert load_scenario("published").trial.death.after_infection.value == 1.5
    assert mortality(1.0) < mortality(1.5) - 0.02


def test_overall_count_difference_is_mostly_not_significant() -> None:
    trials, significant = 60, 0
    for seed in range(trials):
        tables = simulate_tables(109, seed)
        final, arm = final_log_count(tables), treated(tables)
        significant += ttest_ind(final[arm], final[~arm], nan_policy="omit").pvalue < 0.05
    # At least 70 % of trials, less three Monte-Carlo standard errors.
    assert 1 - significant / trials > 0.70 - 3 * np.sqrt(0.7 * 0.3 / trials)
