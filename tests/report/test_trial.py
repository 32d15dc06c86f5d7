import math
from dataclasses import replace

import pandas as pd
import pytest
from tests.report.reading import check_page
from tests.report.test_page import EVIL, png

from il7ml import __version__, texts
from il7ml.config import RunConfig
from il7ml.report.trial import trial_report
from il7ml.report.words import trial_words
from il7ml.trial_result import TrialResult

HEADLINE = pd.DataFrame(
    {
        "endpoint": ["infection", "days", "rash"],
        "title": ["Infection by day 30", "Days in intensive care", "Rash"],
        "kind": ["binary", "days", "binary"],
        "measure": ["risk", "mean", "risk"],
        "unit": ["", "days", ""],
        "harmful": [True, True, True],
        "control": ["26/55 (47 %)", "20.7 (SD 9.67)", "0/55 (0 %)"],
        "treated": ["12/54 (22 %)", "16.2 (SD 9.88)", "0/54 (0 %)"],
        "method": ["g-computation, logistic", "difference in means, Welch", ""],
        "scale": ["ratio", "difference", "difference"],
        "estimate": [0.484, -4.45, math.nan],
        "low": [0.274, -8.16, math.nan],
        "high": [0.854, -0.737, math.nan],
        "p_value": [0.0123, 0.0193, math.nan],
        "p_hierarchical": [0.0123, 0.0193, math.nan],
        "p_holm": [0.0246, 0.0246, math.nan],
        "p_benjamini_hochberg": [0.0193, 0.0193, math.nan],
        "n": pd.array([109, 109, 0], dtype="Int64"),
        "events": pd.array([38, None, None], dtype="Int64"),
    }
)
TABLE = pd.DataFrame(
    {
        "endpoint": ["infection", "days", "infection", "lymphocytes_day7", "mortality_day60", "stay_observed"],
        "method": ["g-computation, logistic", "Wilcoxon", "g-computation, logistic", "MMRM", "Kaplan-Meier", "Welch"],
        "scale": ["ratio", "probability", "number_needed", "ratio", "difference", "difference"],
        "estimate": [0.484, 0.37, -23.8, 1.2, 0.04, math.nan],
        "std_error": [0.29, 0.05, math.nan, 0.1, 0.08, math.nan],
        "low": [0.274, 0.27, 7.8, 1.0, -0.13, math.nan],
        "high": [0.854, 0.47, -4.7, 1.44, 0.21, math.nan],
        "p_value": [0.0123, 0.0178, 0.6, 0.05, 0.0000004, math.nan],
        "n": pd.array([109] * 6, dtype="Int64"),
        "events": pd.array([38, None, 38, None, 37, None], dtype="Int64"),
    }
)
SUBGROUPS = pd.DataFrame(
    {
        "modifier": ["antiviral"] * 4,
        "label": ["Antiviral during treatment"] * 4,
        "protected": [False] * 4,
        "subgroup": ["no", "yes"] * 2,
        "endpoint": ["infection"] * 4,
        "method": ["unadjusted"] * 4,
        "scale": ["difference", "difference", "ratio", "ratio"],
        "estimate": [-0.3, -0.2, 0.45, math.nan],
        "std_error": [0.1] * 4,
        "low": [-0.5, -0.4, 0.22, math.nan],
        "high": [-0.1, 0.0, 0.93, math.nan],
        "p_value": [math.nan] * 4,
        "n": pd.array([55, 54] * 2, dtype="Int64"),
        "events": pd.array([22, 16] * 2, dtype="Int64"),
        "interaction_p": [0.547, 0.547, 0.887, 0.887],
    }
)
TABLES = {
    "flow": pd.DataFrame(
        {
            "step": ["In the tables", "Randomised"],
            "control": pd.array([None, 55], dtype="Int64"),
            "treated": pd.array([None, 54], dtype="Int64"),
            "total": pd.array([109, 109], dtype="Int64"),
        }
    ),
    "table_one": pd.DataFrame(
        {
            "variable": ["Age (years)", "Respiratory support", "Respiratory support"],
            "level": ["", "oxygen", "non_invasive"],
            "control": ["60 [53-67]", "18/55 (33 %)", "37/55 (67 %)"],
            "treated": ["61 [54-67]", "16/54 (30 %)", "38/54 (70 %)"],
            "standardised_difference": [-0.038, 0.069, math.nan],
        }
    ),
    "missing_data": pd.DataFrame({"variable": ["SOFA score"], "control": [7], "treated": [6], "share": [13 / 109]}),
    "incidence_infection": pd.DataFrame(
        {"arm": ["control", "treated"], "cause": [1, 1], "day": [2.0, 2.0], "incidence": [0.036, 0.02],
         "std_error": [0.02, 0.02], "low": [0.007, 0.001], "high": [0.111, 0.1], "at_risk": [54, 54]}
    ),
    "adverse_events": pd.DataFrame(
        {"endpoint": ["adverse_event", "serious_adverse_event", "adverse_event_grade3_or_above", "adverse_event_rash"],
         "arm": ["control"] * 4, "n": [55] * 4, "patients": [54, 19, 30, 6],
         "percent": [100 * patients / 55 for patients in (54, 19, 30, 6)],
         "events": [305, 22, 38, 7], "rate": [22.5, 1.62, 2.8, 0.52]}
    ),
    "visits_lymphocytes": pd.DataFrame(
        {"arm": ["control"], "day": [7.0], "mean": [0.75], "low": [0.67], "high": [0.84], "n": [50]}
    ),
    "novel_table": pd.DataFrame({"some_thing": ["x"], "met": [True]}),
}  # fmt: skip
FIGURES = dict.fromkeys(("endpoints", "subgroups_infection", "incidence_infection", "adverse_events", "novel"), png())
RESULT = TrialResult(
    config=RunConfig(study="study.yaml", endpoint="infection", seed=20250204, analysis={"covariates": ["age"]}),
    study="il7_trial",
    title="IL-7 in lymphopenia",
    simulated=True,
    control_label="Placebo",
    treated_label="IL-7",
    n_control=55,
    n_treated=54,
    data_digest="ab12" * 16,
    table=TABLE,
    headline=HEADLINE,
    subgroups=SUBGROUPS,
    tables=TABLES,
    figures=FIGURES,
    words=trial_words(HEADLINE, SUBGROUPS, "Placebo", "IL-7", table=TABLE),
    notes=("Rash was not compared.",),
)


@pytest.fixture(scope="module")
def page():
    return check_page(trial_report(RESULT))


def test_the_report_reads_from_words_to_how_it_was_had(page):
    assert page.text_of("h2") == [
        "Results in words",
        "Endpoints",
        "Subgroups",
        "Course",
        "All results",
        "Safety",
        "Patients",
        "Missing data",
        "Further tables and figures",
        "Notes",
        "Methods",
        "Intended use",
        "How to repeat this",
    ]
    assert "IL-7 (54) against Placebo (55)" in page.text
    for sentence in RESULT.words:
        assert sentence in page.text


def test_the_notice_of_simulated_patients_comes_first(page):
    assert page.text_of("body")[0].startswith(f"Skip to the content {texts.SIMULATED_DATA}")
    assert texts.SIMULATED_DATA not in trial_report(replace(RESULT, simulated=False))


def test_endpoints_stand_with_arms_effect_and_p_values(page):
    head, order, infection, days, outside, rash = page.rows("Endpoints at a glance")
    assert head[1:3] == ["IL-7 (n = 54)", "Placebo (n = 55)"]
    assert order == ["In the stated order"]
    assert infection == [
        "Infection by day 30", "12/54 (22 %)", "26/55 (47 %)", "risk ratio", "0.48 (0.27 to 0.85)", "0.0123", "0.0123",
        "0.0246", "0.0193",
    ]  # fmt: skip
    assert days[3:5] == ["difference in means, days", "-4.45 (-8.16 to -0.74)"]
    assert outside == ["Outside the stated order, exploratory"]
    assert rash[3:] == ["", "not estimable", "-", "-", "-", "-"]


def test_a_risk_difference_is_in_percentage_points():
    headline = HEADLINE.assign(scale="difference", measure="risk", estimate=-0.241, low=-0.41, high=-0.07)
    rows = check_page(trial_report(replace(RESULT, headline=headline))).rows("Endpoints at a glance")
    assert rows[2][3:5] == ["risk difference, percentage points", "-24.1 (-41.0 to -7.0)"]


def test_subgroups_have_one_p_value_a_modifier(page):
    head, modifier, no, yes = page.rows("Subgroups: Infection by day 30, risk ratio")
    assert head == ["Subgroup", "Patients", "Events", "Estimate (95 % CI)"]
    assert modifier == [
        "Antiviral during treatment: P for interaction 0.887 - known after randomisation, not protected by it"
    ]
    assert no == ["no", "55", "22", "0.45 (0.22 to 0.93)"]
    assert yes == ["yes", "54", "16", "not estimable"]


def test_all_results_are_named_and_stand_together(page):
    rows = page.rows("Every endpoint by every method")
    assert [row[0] for row in rows if len(row) == 1] == [
        "Infection by day 30",
        "Days in intensive care",
        "Lymphocytes, day 7",
        "Death by day 60",
        "Stay, as observed",
    ]
    assert rows[2] == ["g-computation, logistic", "ratio", "0.48 (0.27 to 0.85)", "0.0123", "109", "38"]
    assert rows[3][1:3] == ["number needed to treat", "-23.8 (7.8 to infinity, -infinity to -4.7)"]
    assert rows[5] == ["Wilcoxon", "probability of the higher value", "0.37 (0.27 to 0.47)", "0.0178", "109", "-"]
    assert rows[9][2:4] == ["0.04 (-0.13 to 0.21)", "< 0.001"]
    assert rows[11][2:] == ["not estimable", "-", "109", "-"]


def test_baseline_has_levels_under_their_variable_and_no_p_values(page):
    rows = page.rows("Baseline by arm")
    assert rows == [
        ["Characteristic", "Placebo", "IL-7", "Standardised difference"],
        ["Age (years)", "60 [53-67]", "61 [54-67]", "-0.038"],
        ["Respiratory support"],
        ["oxygen", "18/55 (33 %)", "16/54 (30 %)", "0.069"],
        ["non invasive", "37/55 (67 %)", "38/54 (70 %)", "-"],
    ]


def test_safety_flow_and_missing_data(page):
    assert page.rows("Adverse events by arm")[1:] == [
        ["Any adverse event", "Placebo", "55", "54", "98 %", "305", "22.5"],
        ["Any serious adverse event", "Placebo", "55", "19", "35 %", "22", "1.62"],
        ["Grade 3 or above", "Placebo", "55", "30", "55 %", "38", "2.80"],
        ["Rash", "Placebo", "55", "6", "11 %", "7", "0.52"],
    ]
    assert page.rows("Flow of patients")[1:] == [
        ["In the tables", "-", "-", "109"],
        ["Randomised", "55", "54", "109"],
    ]
    assert page.rows("Patients without a value")[1:] == [["SOFA score", "7", "6", "12 %"]]


def test_every_table_and_figure_is_shown_unknown_ones_too(page):
    captions = page.text_of("caption")
    assert "Cumulative incidence by day: Infection by day 30" in captions
    assert "Geometric mean by arm and day, adjusted for baseline: Lymphocytes" in captions
    assert page.rows("Novel table") == [["Some thing", "Met"], ["x", "yes"]]
    assert [image.attributes["alt"] for image in page.of("img")] == [
        "Figure: Effect on each endpoint, with interval. Its numbers stand in a table of this report.",
        "Figure: Effect in each subgroup: Infection by day 30. Its numbers stand in a table of this report.",
        "Figure: Cumulative incidence by day: Infection by day 30. Its numbers stand in a table of this report.",
        "Figure: Adverse events by arm; rates are per 100 days at risk. Its numbers stand in a table of this report.",
        "Figure: Novel.",
    ]


def test_what_is_needed_to_repeat_it_is_there(page):
    facts = page.text_of("dt", "dd")
    known = dict(zip(facts[::2], facts[1::2], strict=True))
    assert known == {
        "Study": "il7_trial",
        "Patients": "simulated",
        "Data digest (SHA-256)": "ab12" * 16,
        "Seed": "20250204",
        "il7ml version": __version__,
    }
    assert "covariates: - age" in page.text_of("pre")[0]
    assert "adjusted for age" in page.text
    assert texts.INTENDED_USE in page.text
    assert "Rash was not compared." in page.text
    assert "Tracked run" in trial_report(replace(RESULT, run_id="1f"))


def test_a_figure_of_subgroups_without_a_table_is_shown():
    page = check_page(trial_report(replace(RESULT, figures={"subgroups_days": png()})))
    assert page.of("img")[0].attributes["alt"].startswith("Figure: Effect in each subgroup: Days in intensive care.")


def test_an_analysis_of_endpoints_alone_has_a_report():
    bare = replace(RESULT, subgroups=SUBGROUPS.head(0), tables={}, figures={}, notes=(), words=())
    page = check_page(trial_report(bare))
    assert page.text_of("h2") == ["Endpoints", "All results", "Methods", "Intended use", "How to repeat this"]


def test_long_tables_are_cut_and_say_so():
    long = pd.DataFrame({"day": [float(day) for day in range(1000)], "value": 1.5})
    page = check_page(trial_report(replace(RESULT, tables={"long": long})))
    assert len(page.rows("Long")) == 401
    assert "The first 400 of 1,000 rows; all are in the table's CSV file." in page.text


def test_labels_from_a_study_file_are_escaped():
    evil = replace(
        RESULT,
        title=EVIL,
        control_label=EVIL,
        treated_label=EVIL,
        headline=HEADLINE.assign(title=EVIL, control=EVIL),
        subgroups=SUBGROUPS.assign(label=EVIL, subgroup=EVIL),
        words=(EVIL,),
        notes=(EVIL,),
        tables={EVIL: pd.DataFrame({EVIL: [EVIL]})},
        figures={EVIL: png()},
    )
    check_page(trial_report(evil))
