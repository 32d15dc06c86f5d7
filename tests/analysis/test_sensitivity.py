from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.small_course import small_course

from il7ml.analysis.course import baseline_of, final_of, visits_of
from il7ml.analysis.findings import Findings, Task
from il7ml.analysis.sensitivity import sensitivity
from il7ml.endpoints.ancova import ancova
from il7ml.endpoints.cox import hazard_ratio
from il7ml.endpoints.final_ratio import final_ratio
from il7ml.endpoints.imputation import imputed_final_ratio
from il7ml.endpoints.proportions import adjusted_risks
from il7ml.endpoints.rates import poisson_rates

COUNT = "absolute_lymphocyte_count"
IMPUTED = "missing last values imputed 4 times"


def analysed(cohort, covariates=(), imputations=0, seed=1):
    findings = Findings()
    task = Task(cohort, cohort.baseline[list(covariates)] if covariates else None, 0.95)
    table = sensitivity(task, findings, imputations=imputations, generator=np.random.default_rng(seed))
    return table, findings


@pytest.fixture(scope="module")
def cohort():
    return small_course().load()


def site_terms(trial):
    """Return indicators by hand: the four patients of centre west stand as small sites."""
    centre = trial.patients["centre"].replace("west", "small sites")
    return pd.DataFrame({name: (centre == name).astype(float) for name in ("small sites", "south")})


def test_sites_are_terms_and_small_ones_are_taken_together(cohort):
    table, findings = analysed(cohort)
    assert set(table["analysis"]) == {"sites as terms", "stratified by site"}
    arm, terms = cohort.treatment, site_terms(small_course())
    expected = [
        *adjusted_risks(cohort.outcomes["infected"].value, arm, terms, endpoint="infected"),
        *poisson_rates(
            cohort.outcomes["infections"].value,
            arm,
            endpoint="infections",
            exposure=cohort.outcomes["infections"].exposure,
            covariates=terms,
        ),
        ancova(cohort.outcomes["sofa"].value, arm, endpoint="sofa", covariates=terms),
        final_ratio(
            final_of(cohort.course.measurements[COUNT], cohort.course),
            baseline_of(COUNT, cohort.course.measurements[COUNT], Task(cohort, None, 0.95)),
            arm,
            endpoint=f"{COUNT}_final",
            covariates=terms,
        ),
    ]
    found = table[table["analysis"] == "sites as terms"]
    assert found["endpoint"].tolist() == [each.endpoint for each in expected]
    assert found["scale"].tolist() == [each.scale for each in expected]
    assert found["estimate"].tolist() == pytest.approx([each.estimate for each in expected])
    assert found["p_value"].tolist() == pytest.approx([each.p_value for each in expected])
    assert findings.notes == []


def test_hazards_are_stratified_by_site(cohort):
    table, _ = analysed(cohort, ("age",))
    relapse = cohort.outcomes["relapse"]
    centre = small_course().patients["centre"].replace("west", "small sites")
    expected = hazard_ratio(
        relapse.time,
        relapse.value,
        cohort.treatment,
        endpoint="relapse",
        covariates=cohort.baseline[["age"]],
        strata=centre,
    )
    row = table[table["analysis"] == "stratified by site"].iloc[0]
    assert row["estimate"] == pytest.approx(expected.estimate)
    assert row["p_value"] == pytest.approx(expected.p_value)
    unstratified = hazard_ratio(
        relapse.time, relapse.value, cohort.treatment, endpoint="relapse", covariates=cohort.baseline[["age"]]
    )
    assert row["estimate"] != pytest.approx(unstratified.estimate)


def test_covariates_stand_beside_the_sites(cohort):
    table, _ = analysed(cohort, ("age",))
    covariates = pd.concat([cohort.baseline[["age"]], site_terms(small_course())], axis=1)
    expected = ancova(cohort.outcomes["sofa"].value, cohort.treatment, endpoint="sofa", covariates=covariates)
    assert table.loc[table["endpoint"] == "sofa", "estimate"].iloc[0] == pytest.approx(expected.estimate)


@pytest.mark.parametrize("sites", ["one", "none"])
def test_a_single_site_is_said(sites):
    trial = small_course()
    trial.patients["centre"] = "south"
    if sites == "none":
        del trial.raw["site"]
    table, findings = analysed(trial.load())
    assert len(table) == 0
    assert findings.notes == ["One site, or none stated: no analysis by site."]


def test_sites_that_are_all_small_are_one():
    trial = small_course()
    trial.patients["centre"] = [f"site{k // 4}" for k in range(80)]
    table, findings = analysed(trial.load())
    assert len(table) == 0
    assert findings.notes == ["One site, or none stated: no analysis by site."]


def test_what_cannot_be_compared_by_site_is_noted():
    trial = small_course()
    trial.drop_events("infection", *range(1, 80, 2))
    table, findings = analysed(trial.load())
    assert set(table["endpoint"]) == {"sofa", "relapse", f"{COUNT}_final"}
    assert table.loc[table["endpoint"] == "sofa", "analysis"].tolist() == ["sites as terms"]
    assert [note.partition(":")[0] for note in findings.notes] == [
        "Not compared - infected, by site",
        "Not compared - infections, by site",
    ]


def test_the_seed_decides_imputations_and_nothing_else(cohort):
    first, again, other = (analysed(cohort, imputations=4, seed=seed)[0] for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    by_site = first["analysis"] != IMPUTED
    pd.testing.assert_frame_equal(first[by_site], other[by_site])
    assert first.loc[~by_site, "estimate"].iloc[0] != other.loc[~by_site, "estimate"].iloc[0]


def test_missing_last_values_are_imputed_from_baseline_and_visits(cohort):
    table, _ = analysed(cohort, ("age", COUNT), imputations=4, seed=9)
    row = table[table["analysis"] == IMPUTED].iloc[0]
    course, measured = cohort.course, cohort.course.measurements[COUNT]
    visits = pd.DataFrame(np.log(visits_of(measured, course)), columns=["a", "b", "c"])
    assert (visits.notna().mean() > 0.5).all()
    expected = imputed_final_ratio(
        final_of(measured, course),
        measured.baseline,
        cohort.treatment,
        np.random.default_rng(9),
        endpoint=f"{COUNT}_final",
        auxiliary=visits,
        covariates=cohort.baseline[["age"]],
        imputations=4,
    )
    assert row["endpoint"] == f"{COUNT}_final"
    assert row["estimate"] == pytest.approx(expected.estimate)
    assert row["std_error"] == pytest.approx(expected.std_error)
    assert row["n"] == 80
    assert np.isnan(final_of(measured, course)).any()


def test_visits_that_most_patients_missed_do_not_help_to_impute():
    trial = small_course()
    late = trial.labs[(trial.labs["day"] == 14) & (trial.labs["analyte"] == "lymphocytes")].index
    trial.labs = trial.labs.drop(index=late[: len(late) - 3])
    table, findings = analysed(trial.load(), imputations=4)
    assert (table["analysis"] == IMPUTED).sum() == 1
    assert findings.notes == []


def test_no_imputations_where_none_are_asked_for(cohort):
    table, _ = analysed(cohort, imputations=0)
    assert not table["analysis"].str.contains("imputed").any()
