"""Simulated power against closed forms and exact enumeration; each trial's test against the trial's own analysis."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import binom, binomtest, norm, ttest_ind
from statsmodels.stats.power import TTestIndPower

from il7ml import power as planned
from il7ml.analysis import compare
from il7ml.config import RunConfig
from il7ml.data.generator import simulate_tables
from il7ml.data.loading import load_cohort
from il7ml.data.scenario import load_scenario
from il7ml.data.simulator import il7_study
from il7ml.endpoints.proportions import unadjusted_risks
from il7ml.endpoints.subgroups import heterogeneity_p
from il7ml.errors import InputError
from il7ml.planning import Finding, find_size, probit_line, simulate_power
from il7ml.power import SimulatedTrial, endpoint_names, power, sample_size

FAR = 4.0  # standard errors; a correct simulation goes beyond in one of 16,000 comparisons

# ---- trials with a known power --------------------------------------------------------------------------------------


def two_normal_means(n, seed, *, effect=0.5):
    """Two arms of n / 2 patients, means `effect` standard deviations apart, compared by Student's t."""
    values = np.random.default_rng(seed).normal(size=(2, n // 2))
    p_value = ttest_ind(values[1] + effect, values[0]).pvalue
    return Finding(float(p_value), float(values[1].mean() + effect - values[0].mean()))


def two_risks(n, seed, *, risks=(0.5, 0.28)):
    """Two arms of n / 2 patients, compared by the risk ratio as binary endpoints are."""
    happened = np.random.default_rng(seed).random((2, n // 2)) < np.array(risks)[:, None]
    arm = np.repeat([0, 1], n // 2)
    result = unadjusted_risks(happened.ravel(), arm, endpoint="infection")[1]
    return Finding(result.p_value, np.log(result.estimate))


def exact_risk_ratio_power(per_arm, risks, alpha=0.05):
    """Sum the probability of all tables whose Wald test of the log risk ratio is significant."""
    events = np.arange(1, per_arm)
    control, treated = np.meshgrid(events, events, indexing="ij")
    error = np.sqrt(1 / control + 1 / treated - 2 / per_arm)
    significant = 2 * norm.sf(np.abs(np.log(treated / control)) / error) < alpha
    chance = np.outer(binom.pmf(events, per_arm, risks[0]), binom.pmf(events, per_arm, risks[1]))
    return float(chance[significant].sum())


def drawn_statistic(n, seed, *, shift=0.2):
    """A normal test statistic whose mean is `shift` for each root of a patient."""
    z = np.random.default_rng(seed).normal(shift * np.sqrt(n))
    return Finding(float(2 * norm.sf(abs(z))), z)


def size_by_formula(target, shift=0.2, alpha=0.05):
    return ((norm.ppf(1 - alpha / 2) + norm.ppf(target)) / shift) ** 2


def assert_power(row, expected):
    assert abs(row["power"] - expected) < FAR * np.sqrt(expected * (1 - expected) / row["trials"])


# ---- the engine -----------------------------------------------------------------------------------------------------


def test_the_power_of_a_t_test_is_that_of_the_noncentral_t():
    table = simulate_power(two_normal_means, [40, 80, 160], 400).table
    for row in table.to_dict("records"):
        assert_power(row, TTestIndPower().power(0.5, row["n"] / 2, 0.05))
        assert abs(row["mean_estimate"] - 0.5) < FAR * np.sqrt(4 / row["n"] / row["trials"])


def test_the_power_of_a_risk_ratio_is_that_of_all_tables():
    table = simulate_power(two_risks, [60, 110, 200], 1500).table
    for row in table.to_dict("records"):
        assert_power(row, exact_risk_ratio_power(row["n"] // 2, (0.5, 0.28)))


def test_monte_carlo_error_and_limits_are_those_of_a_share():
    row = simulate_power(drawn_statistic, [150], 400).table.iloc[0]
    count = int(row["significant"])
    assert row["std_error"] == pytest.approx(np.sqrt(count / 400 * (1 - count / 400) / 400))
    low, high = binomtest(count, 400).proportion_ci(method="wilson")
    assert (row["low"], row["high"]) == pytest.approx((low, high))


def sometimes_without_events(n, seed):
    draw = np.random.default_rng(seed).random()
    if draw < 0.3:
        raise InputError("no events in an arm")
    return Finding(0.001, 1.0)


def test_trials_that_cannot_be_analysed_count_as_not_significant():
    simulated = simulate_power(sometimes_without_events, [20], 500)
    row = simulated.table.iloc[0]
    assert row["failed"] == simulated.problems["no events in an arm"]
    assert row["significant"] + row["failed"] == 500
    assert_power(row, 0.7)
    assert row["mean_estimate"] == 1.0


def test_workers_sizes_and_trials_leave_a_trial_as_it_is():
    def drawn(n, seed):  # within a function, so that worker processes need not import this file
        p_value, z = np.random.default_rng(seed).random(2)
        return Finding(float(p_value), float(z))

    alone = simulate_power(drawn, [100], 50).table
    beside = simulate_power(drawn, [60, 100, 200], 50, workers=2).table
    pd.testing.assert_frame_equal(beside[beside["n"] == 100].reset_index(drop=True), alone)
    more = simulate_power(drawn, [100], 80, alpha=0.5).table
    assert more["significant"].item() - simulate_power(drawn, [100], 50, alpha=0.5).table[
        "significant"
    ].item() in range(31)
    other = simulate_power(drawn, [100], 50, seed=1).table
    assert other["mean_estimate"].item() != alone["mean_estimate"].item()


def test_the_probit_line_is_the_generalised_linear_models():
    table = pd.DataFrame({"n": [60, 100, 160], "trials": [400, 500, 450], "significant": [130, 260, 330]})
    outcome = np.column_stack([table["significant"] + 0.5, table["trials"] - table["significant"] + 0.5])
    family = sm.families.Binomial(link=sm.families.links.Probit())
    fit = sm.GLM(outcome, sm.add_constant(np.sqrt(table["n"])), family=family).fit()
    coefficients, covariance = probit_line(table)
    np.testing.assert_allclose(coefficients, fit.params, rtol=1e-6)
    np.testing.assert_allclose(covariance, fit.cov_params(), rtol=1e-4)


@pytest.mark.parametrize("target", [0.5, 0.8, 0.95])
def test_the_size_is_that_of_the_formula(target):
    size, simulated = find_size(drawn_statistic, target, trials=1000, smallest=20, largest=5000)
    expected = size_by_formula(target)
    assert abs(size.n / expected - 1) < 0.08
    assert size.low < size.n < size.high
    assert simulated.table["n"].is_monotonic_increasing


def test_the_interval_of_the_size_covers():
    expected = size_by_formula(0.8)
    sizes = [find_size(drawn_statistic, 0.8, trials=60, smallest=20, largest=5000, seed=seed)[0] for seed in range(15)]
    covered = sum(size.low <= expected <= size.high for size in sizes)
    assert binomtest(covered, 15, 0.95).pvalue > 0.001


def test_a_strong_effect_needs_the_smallest_size():
    def strong(n, seed):
        return drawn_statistic(n, seed, shift=3.0)

    size, _ = find_size(strong, 0.8, trials=50, smallest=20, largest=5000)
    assert size == (20, 20, 20)


def test_a_target_that_is_out_of_reach_is_said():
    def nothing(n, seed):
        return drawn_statistic(n, seed, shift=0.0)

    with pytest.raises(InputError, match=r"0\.8 is not reached with 300 patients"):
        find_size(nothing, 0.8, trials=50, smallest=20, largest=300)


# ---- each trial is tested as the analysis does ----------------------------------------------------------------------

COVARIATES = ("age", "sofa_score", "corticosteroid_at_randomisation")


ANALYSED = tuple(name for name in endpoint_names() if not name.startswith("cd"))


@pytest.fixture(scope="module")
def trial():
    """One simulated trial as tables, and its analysis."""
    tables, study = simulate_tables(150, 11), il7_study()
    # Rare variables may not vary at this size, and other measurements would only take time.
    names = {*COVARIATES, "antiviral_at_randomisation", "absolute_lymphocyte_count"}
    course = study.course
    measured = {name: spec for name, spec in course.measurements.items() if name == "absolute_lymphocyte_count"}
    study = study.model_copy(
        update={
            "variables": {name: entry for name, entry in study.variables.items() if name in names},
            "eligibility": {},
            "course": course.model_copy(update={"measurements": measured, "rules": {}, "adverse_events": None}),
        }
    )
    cohort = load_cohort(study, {"patients": tables.patients, "labs": tables.labs, "events": tables.events})
    settings = {
        "covariates": COVARIATES,
        "imputations": 0,
        "order": ANALYSED,
        "subgroups": {"antiviral_at_randomisation": (), "absolute_lymphocyte_count": ()},
    }
    return tables, compare(RunConfig(study="study.yaml", endpoint="infections", analysis=settings), cohort)


def finding_of(tables, endpoint, **changes):
    study = il7_study()
    return SimulatedTrial(study, "published", endpoint, planned._kinds(study)[endpoint], **changes).test(tables)


@pytest.mark.parametrize("endpoint", ANALYSED)
def test_the_overall_test_is_the_analysis(trial, endpoint):
    tables, analysis = trial
    adjusted = analysis.headline.set_index("endpoint").loc[endpoint]
    rows = analysis.table[(analysis.table["endpoint"] == endpoint) & (analysis.table["scale"] == adjusted["scale"])]
    for covariates, row in (((), rows.iloc[0]), (COVARIATES, adjusted)):
        found = finding_of(tables, endpoint, covariates=covariates)
        assert found.p_value == pytest.approx(row["p_value"], rel=1e-8)
        assert np.exp(found.estimate) == pytest.approx(row["estimate"], rel=1e-8)
    assert rows.iloc[0]["p_value"] != adjusted["p_value"]


def test_the_negative_binomial_test_is_the_analysis():
    tables = simulate_tables(150, 11)
    found = finding_of(tables, "infections", negative_binomial=True)
    events, arm = tables.events, (tables.patients["arm"] == "il7").to_numpy(dtype=float)
    counted = events[events["kind"] == "infection"]["patient_id"].value_counts()
    counts = counted.reindex(tables.patients["patient_id"], fill_value=0).to_numpy()
    fit = sm.NegativeBinomial(counts, sm.add_constant(arm)).fit(disp=False)
    assert found.p_value == pytest.approx(fit.pvalues[1], rel=1e-3)
    assert found.estimate == pytest.approx(fit.params[1], rel=1e-4)


@pytest.mark.parametrize("endpoint", ["infections", "infection_day30", "death", "absolute_lymphocyte_count_final"])
def test_the_test_between_subgroups_is_the_analysis(trial, endpoint):
    tables, analysis = trial
    found = finding_of(tables, endpoint, modifier="antiviral_at_randomisation")
    rows = analysis.subgroups[analysis.subgroups["endpoint"] == endpoint]
    rows = rows[rows["scale"].isin(["ratio", "rate_ratio", "hazard_ratio"])].set_index("subgroup")
    assert len(rows) == 2
    assert found.p_value == pytest.approx(rows["interaction_p"].iloc[0], rel=1e-8)
    assert np.exp(found.estimate) == pytest.approx(rows["estimate"]["yes"] / rows["estimate"]["no"], rel=1e-8)


@pytest.mark.parametrize("endpoint", ["infections", "infection_day30", "death"])
def test_the_test_of_a_number_is_the_analysis(trial, endpoint):
    tables, analysis = trial
    found = finding_of(tables, endpoint, modifier="absolute_lymphocyte_count")
    row = analysis.tables["interactions"].set_index("endpoint").loc[endpoint]
    assert row["per"] == "doubling"
    assert found.p_value == pytest.approx(row["p_value"], rel=1e-8)
    assert np.exp(found.estimate) == pytest.approx(row["estimate"], rel=1e-8)


def test_recovery_between_subgroups_is_cochrans_q_of_those_below_the_threshold(trial):
    tables, _ = trial
    found = finding_of(tables, "absolute_lymphocyte_count_recovery", modifier="antiviral_at_randomisation")
    parts = []
    for value in (0, 1):
        chosen = tables.patients[tables.patients["antiviral_at_randomisation"] == value]
        ids = set(chosen["patient_id"])
        some = tables._replace(
            patients=chosen.reset_index(drop=True),
            labs=tables.labs[tables.labs["patient_id"].isin(ids)],
            events=tables.events[tables.events["patient_id"].isin(ids)],
        )
        patients = planned._as_patients(il7_study(), some)
        trial_of = SimulatedTrial(il7_study(), "published", "absolute_lymphocyte_count_recovery", "recovery")
        parts.append(trial_of._comparison(patients).overall(None))
    assert found.p_value == pytest.approx(heterogeneity_p(parts), rel=1e-8)
    assert np.exp(found.estimate) == pytest.approx(parts[1].estimate / parts[0].estimate, rel=1e-8)


# ---- planning from the simulator ------------------------------------------------------------------------------------


def test_without_an_effect_power_is_alpha():
    # A high alpha, so that few trials suffice to tell it from the power that an effect gives.
    row = power("infections", 109, scenario="null", trials=70, alpha=0.3, workers=1).table.iloc[0]
    assert binomtest(int(row["significant"]), 70, 0.3).pvalue > 0.001
    assert abs(np.log(row["mean_estimate"])) < 0.2


def test_the_power_of_infection_by_day_30_is_that_of_the_true_risks():
    truth = simulate_tables(5_000, 5, "patients").truth
    risks = [truth[f"infection_day30_{arm}"].mean() for arm in ("untreated", "treated")]
    row = power("infection_day30", 110, scenario="patients", trials=70, workers=1).table.iloc[0]
    assert_power(row, exact_risk_ratio_power(55, risks))


def test_a_curve_says_what_it_rests_on():
    curve = power("death_day30", 20, modifier="antiviral_during_treatment", trials=10, workers=1)
    text = curve.to_text()
    assert text.startswith("Simulated patients")
    assert "scenario published" in text
    assert "known only after randomisation" in text
    failed = int(curve.table["failed"].iloc[0])
    assert failed > 0  # twenty patients in four groups: some have no deaths
    assert f"{failed} of 10 trials could not be analysed and count as not significant" in text


def test_files_are_written(tmp_path):
    curve = power("infections", [40], trials=10, workers=1, out=tmp_path / "plan")
    written = pd.read_csv(tmp_path / "plan" / "power.csv")
    assert written["n"].tolist() == [40]
    assert written["power"].tolist() == pytest.approx(curve.table["power"].tolist())
    assert (tmp_path / "plan" / "power.png").read_bytes().startswith(b"\x89PNG")


def test_a_scenario_of_ones_own_is_read_once_and_used(tmp_path):
    change = {"effect": {"infection": {"value": 0.05, "status": "assumed", "source": "a test"}}}
    mine = {"description": "Hardly any infection", "effect_modification": "None", "changes": change}
    path = tmp_path / "strong.yaml"
    path.write_text(
        "description: Hardly any infection\neffect_modification: None\nchanges:\n  effect:\n"
        "    infection: {value: 0.05, status: assumed, source: a test}\n"
    )
    by_file = power("infections", 109, scenario=path, trials=10, workers=1)
    by_mapping = power("infections", 109, scenario=mine, trials=10, workers=1)
    assert by_file.scenario == "strong"
    pd.testing.assert_frame_equal(by_file.table, by_mapping.table)
    assert by_file.table["mean_estimate"].item() < 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"endpoint": "infection"}, "endpoint: trials cannot be planned for 'infection'. Did you mean 'infections'"),
        ({"modifier": "antiviral"}, "modifier: simulated trials have no variable 'antiviral'"),
        ({"covariates": ["hospital_days"]}, "covariates: 'hospital_days' is not a baseline variable"),
        ({"covariates": ["antiviral_during_treatment"]}, "is not a baseline variable"),
        ({"covariates": ["age"], "modifier": "sex"}, "interactions are tested unadjusted"),
        ({"endpoint": "cd4_count_final", "modifier": "age"}, "'age' is a number"),
        ({"endpoint": "death", "negative_binomial": True}, "expected a number of events"),
        ({"scenario": "publishd"}, "scenario 'publishd' is not known. Did you mean 'published'"),
        ({"n": 19}, "n: expected numbers of patients, each at least 20; got 19"),
        ({"n": []}, "got none"),
        ({"trials": 9}, "trials: expected at least 10, got 9"),
        ({"alpha": 0.0}, "alpha: expected a number above 0 and below 1"),
        ({"alpha": 1.0}, "alpha: expected a number above 0 and below 1"),
        ({"alpha": float("nan")}, "alpha: expected a number above 0 and below 1"),
        ({"seed": -1}, "seed: expected a number from 0"),
        ({"workers": -1}, "workers: expected a number from 0"),
    ],
)
def test_what_cannot_be_planned_is_refused(arguments, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        power(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_power": 0.05}, "target_power: expected a number above alpha"),
        ({"target_power": 1.0}, "target_power"),
        ({"largest": 30}, "largest: expected at least 40"),
    ],
)
def test_sizes_that_cannot_be_sought_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        sample_size(**arguments)


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Choose another place"):
        power("infections", 30, trials=10, workers=1, out=tmp_path / "file" / "plan")


def test_when_no_trial_can_be_analysed_the_reason_is_given():
    study = il7_study()
    empty = simulate_power(lambda n, seed: Finding(np.nan, np.nan, "no events"), [20], 10)
    with pytest.raises(InputError, match=r"No trial could be analysed\. Most often: no events"):
        planned._curve(SimulatedTrial(study, "null", "infections", "count"), load_scenario("null"), empty, 0.05, 0)
