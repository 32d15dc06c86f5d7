import math
from dataclasses import replace
from functools import cache

import pandas as pd
import pytest
from tests.report.reading import check_page
from tests.report.test_page import EVIL, png
from tests.small_bundles import make, with_card

from il7ml import texts
from il7ml.bundle import Estimate
from il7ml.config import RunConfig
from il7ml.report.training import training_report
from il7ml.report.training_words import training_limits, training_words
from il7ml.result import Candidate, TrainingResult

METRICS = {
    "auroc": Estimate(value=0.62, low=0.5, high=0.71),
    "brier_corrected": Estimate(value=0.212, low=0.185, high=0.242),
    "calibration_intercept": Estimate(value=0.0004, low=-0.425, high=0.328),
    "ate": Estimate(value=-0.246, low=-0.419, high=-0.074),
    "heterogeneity_p": Estimate(value=0.905, low=0.873, high=0.93),
}
TABLES = {
    "risk_selection": pd.DataFrame(
        {"model": ["prevalence"], "loss": [0.613], "difference": [0.0], "within_one_se": [True]}
    ),
    "calibration_summary": pd.DataFrame({"metric": ["ici"], "estimate": [0.031]}),
    "decision_curve": pd.DataFrame(
        {"strategy": ["treat none"], "threshold": [0.1], "net_benefit": [0.0], "low": [math.nan], "high": [math.nan]}
    ),
    "average_effect": pd.DataFrame(
        {"scale": ["ratio"], "estimate": [0.48], "std_error": [0.29], "low": [0.27], "high": [0.84],
         "p_value": [0.0101], "method": ["adjusted (AIPW)"]}
    ),
    "effects_by_risk": pd.DataFrame(
        {"group": [1], "n": [27], "ranking": [0.4], "effect": [-0.31], "low": [-0.68], "high": [0.06],
         "untreated": [0.53], "treated": [0.22]}
    ),
    "number_needed_to_treat": pd.DataFrame({"estimate": [4.0], "low": [2.4], "high": [13.1], "text": ["NNTB 4.0"]}),
    "heterogeneity_modifiers": pd.DataFrame({"modifier": ["age"], "t": [0.42], "p_value": [0.681], "p_holm": [0.813]}),
    "best_linear_predictor": pd.DataFrame(
        {"term": ["slope"], "estimate": [-2.6], "low": [-7.3], "high": [2.2], "learner": ["effect_model"]}
    ),
    "shap_effect": pd.DataFrame(
        {"rank": [1], "variable": ["age"], "label": ["Age"], "unit": ["years"], "group": ["demographic"],
         "mean_abs_shap": [0.013], "direction": [-1.0], "scale": ["difference in risk"],
         "note": ["exploratory: no credible heterogeneity"]}
    ),
    "shap_effect_beeswarm": pd.DataFrame(
        {"variable": ["age"], "label": ["Age"], "place": [0.0], "level": [""], "n": [12], "mean_shap": [0.02],
         "scale": ["difference in risk"], "note": ["exploratory: no credible heterogeneity"]}
    ),
    "shap_risk": pd.DataFrame(
        {"rank": [1], "rank_low": [1], "rank_high": [6], "variable": ["age"], "label": ["Age"], "unit": ["years"],
         "group": ["demographic"], "mean_abs_shap": [0.21], "low": [0.0], "high": [0.43], "same_direction": [0.9],
         "direction": [1.0], "correlated_with": [""], "scale": ["log odds"], "note": [""]}
    ),
    "sample_size": pd.DataFrame({"criterion": ["shrinkage"], "required": [1862], "n": [109], "met": [False]}),
    "missing_data": pd.DataFrame(
        {"variable": ["Age", "APACHE II score"], "control": [7, 30], "treated": [6, 31], "share": [0.119, 0.56]}
    ),
    "surprise": pd.DataFrame({"a": [1]}),
}  # fmt: skip


@cache
def result():
    return TrainingResult(
        config=RunConfig(study="study.yaml", endpoint="outcome", seed=7),
        study="invented",
        title="A trial",
        simulated=True,
        endpoint="outcome",
        endpoint_title="Infection by day 30",
        estimand="At least one infection by day 30.",
        kind="binary",
        data_digest="cd34" * 16,
        counts={"n": 160, "n_control": 80, "n_treated": 80, "events": 60, "features": 7},
        selected="prevalence",
        selection_reason="Event rate alone has the smallest out-of-fold loss.",
        evidence="none",
        evidence_reason="No evidence that the relative effect differs: P = 0.905.",
        sample_size="too small: 160 patients with 60 events, 1862 needed.",
        metrics=METRICS,
        candidates=(
            Candidate("prevalence", {"auroc": METRICS["auroc"]}, True),
            Candidate("xgboost", {"log_loss": Estimate(value=0.67, low=0.58, high=0.77)}, False),
        ),
        tables=TABLES,
        figures=dict.fromkeys(("calibration", "decision_curve", "shap_effect_beeswarm", "novel"), png()),
        bundle=make().bundle,
        example={},
        notes=(texts.SIMULATED, "No lymphocyte count among the features."),
    )


@pytest.fixture(scope="module")
def page():
    return check_page(training_report(result()))


def test_verdicts_come_first_and_open_items_last(page):
    assert page.text_of("h2") == [
        "Verdicts",
        "In plain words",
        "Risk model",
        "Calibration",
        "Decision curve",
        "Effect of the treatment",
        "Evidence of individual differences",
        "Explanations",
        "Sample size",
        "Missing data",
        "Further tables and figures",
        "The model",
        "Reporting items (TRIPOD+AI)",
        "Effects in individual patients (PATH)",
        "Risk of bias (PROBAST+AI)",
        "Limits",
        "Notes",
        "Intended use",
        "How to repeat this",
    ]
    verdicts = [
        text
        for element, text in zip(page.elements, page.texts, strict=True)
        if element.attributes.get("class") == "verdict-value"
    ]
    assert verdicts == ["none", "too small", "Event rate alone"]
    assert result().evidence_reason in page.text.replace("\u00a0", " ")


def test_the_notice_says_trained_on_simulated_patients(page):
    assert page.text.startswith(f"Skip to the content {texts.SIMULATED}")
    assert page.text.count(texts.SIMULATED) == 1  # not again among the notes
    assert texts.SIMULATED not in training_report(replace(result(), simulated=False, notes=()))


def test_figures_of_the_risk_model_and_of_the_effect_stand_apart(page):
    assert page.rows("Figures of the delivered model (Event rate alone), its choice included")[1:] == [
        ["AUROC", "0.62 (0.50 to 0.71)"],
        ["Brier score, corrected for optimism", "0.21 (0.18 to 0.24)"],
        ["Calibration intercept", "0.00 (-0.42 to 0.33)"],
    ]
    assert page.rows("Effect, covariate-adjusted")[1:] == [
        ["Average effect, treated minus untreated", "-0.25 (-0.42 to -0.07)"]
    ]
    assert page.rows("Figures behind the verdict")[1:] == [["P of the heterogeneity test", "0.91 (0.87 to 0.93)"]]


def test_candidates_stand_side_by_side(page):
    assert page.rows("Candidates, with 95 % CI") == [
        ["Model", "AUROC", "Log loss", "Chosen"],
        ["Event rate alone", "0.62 (0.50 to 0.71)", "-", "yes"],
        ["XGBoost", "-", "0.67 (0.58 to 0.77)", "no"],
    ]


def test_tables_are_in_words(page):
    assert page.rows("Pre-specified modifiers") == [
        ["Modifier", "t statistic", "P", "P, Holm"],
        ["Age", "0.42", "0.681", "0.813"],
    ]
    assert page.rows("Calibration of estimated individual effects")[1] == [
        "slope", "-2.60 (-7.30 to 2.20)", "Effect model",
    ]  # fmt: skip
    assert page.rows("Number needed to treat") == [["Estimate"], ["NNTB 4.0"]]
    assert page.rows("Patients needed")[1] == ["shrinkage", "1,862", "109", "no"]
    assert page.rows("Surprise") == [["A"], ["1"]]


def test_an_explanation_carries_its_caveat_in_table_and_figure(page):
    assert "Importance for the estimated individual effect (exploratory: no credible heterogeneity)" in page.text_of(
        "caption"
    )
    [alt] = [image.attributes["alt"] for image in page.of("img") if "low and high values" in image.attributes["alt"]]
    assert "individual effect (exploratory: no credible heterogeneity)." in alt


def test_importance_has_its_interval_and_rank_limits_in_one_cell(page):
    text = page.text.replace("\u00a0", " ")
    assert "0.21 (0.00 to 0.43)" in text
    assert "1 (1 to 6)" in text


def test_the_model_is_described_by_its_card(page):
    rows = page.rows("Predictors that the model may be given")
    assert [row[0] for row in rows[1:]] == [entry.variable.term for entry in result().bundle.card.variables.values()]
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["Respiratory support"] == ["-", "oxygen, non invasive, invasive", "no"]
    assert by_name["Diabetes"] == ["-", "yes, no", "no"]
    assert by_name["Age"][0] == "years"
    assert by_name["Age"][2] == "yes"


def test_items_are_filled_from_the_run_and_open_ones_listed(page):
    tripod, path = page.rows("Reporting items"), page.rows("Items on individual effects")
    text = page.text
    for said in (
        "Age 25 to 80 years; Absolute lymphocyte count up to 1 10^9/L.",
        "Too small: 160 patients with 60 events, 1862 needed.",
        "In 1 variable, at most 12 % of one.",
        "5-fold cross-validation of the whole pipeline, 10 times.",
        "1 tested, with Holm's adjustment: Age.",
        "external validation is missing",
    ):
        assert said in text.replace("\u00a0", " "), said
    assert [row[0] for row in tripod if row[1] == "open"] == [
        "Performance elsewhere",
        "Fairness",
        "Patient and public involvement",
        "Protocol, registration, ethics, funding, conflicts of interest",
    ]
    assert [row[0] for row in path if row[1] == "open"] == [
        "Prior evidence, and whether differences matter to patients"
    ]


def test_concerns_about_bias_are_named(page):
    items = {row[0]: row[1:] for row in page.rows("Items on bias")}
    assert items["Participants: source"][0] == "concern"  # simulated
    assert items["Analysis: enough patients"] == ["concern", "Too small: 160 patients with 60 events, 1862 needed."]
    assert items["Predictors: none knows the outcome"][0] == "reported"
    assert items["Validation in other patients"][0] == "open"
    flow = pd.DataFrame({"rows": [170], "other_arms": [4], "analysed": [160], "control": [80], "treated": [80]})
    audit = pd.DataFrame({"variable": ["age", "sex"], "warning": ["AUROC of 0.99 by itself", math.nan]})
    worse = replace(result(), simulated=False, tables={"flow": flow, "leakage_audit": audit})
    found = {row[0]: row[1:] for row in check_page(training_report(worse)).rows("Items on bias")}
    assert found["Participants: source"] == ["reported", "Randomised trial, both arms."]
    assert found["Predictors: none knows the outcome"] == ["concern", "By itself too good to be true: Age."]
    assert found["Analysis: all patients"] == ["concern", "6 of those in the tables were not analysed."]


@pytest.mark.parametrize(
    ("value", "low", "high", "said", "is_unsure"),
    [
        (-0.246, -0.419, -0.074, "25 fewer in 100 patients had the outcome with Drug than with Placebo", False),
        (-0.1, -0.3, 0.1, "(95 % CI 30 fewer to 10 more)", True),
        (
            0.21,
            0.1,
            0.32,
            "21 more in 100 patients had the outcome with Drug than with Placebo (95 % CI 10 to 32",
            False,
        ),
    ],
)
def test_the_average_effect_in_plain_words(value, low, high, said, is_unsure):
    average = Estimate(value=value, low=low, high=high)
    card = with_card(result().bundle, average_effect=average, control_label="Placebo", treated_label="Drug")
    sentences = " ".join(training_words(replace(result(), bundle=card)))
    assert said in sentences
    assert ("No effect at all is compatible with the data." in sentences) == is_unsure
    assert "160 simulated patients: 80 with Drug, 80 with Placebo. 60 events: Infection by day 30." in sentences
    assert "all patients of an arm are given the same prediction" in sentences


def test_a_model_and_its_credibility_in_plain_words():
    chosen = replace(result(), selected="logistic", evidence="credible")
    sentences = " ".join(training_words(chosen))
    assert "62 % of pairs (AUROC 0.62 (0.50 to 0.71); 50 % is chance)" in sentences
    assert "credibly differs" in sentences
    assert not any("does not mean that there are none" in limit for limit in training_limits(chosen))
    assert any("does not mean that there are none" in limit for limit in training_limits(result()))


def test_small_groups_are_counted_not_listed():
    table = pd.DataFrame(
        {"characteristic": ["sex", "site", "site"], "group": ["female", "a", "b"], "n": [24.0, math.nan, math.nan],
         "events": [7.0, math.nan, math.nan], "metric": ["observed_expected"] * 3,
         "estimate": [0.9, math.nan, math.nan], "low": [0.5, math.nan, math.nan], "high": [1.6, math.nan, math.nan],
         "hidden": [False, True, True]}
    )  # fmt: skip
    page = check_page(training_report(replace(result(), tables={"risk_by_group": table})))
    assert page.rows("Figures by group of patients")[1:] == [
        ["Sex", "female", "24", "7", "Observed to expected", "0.90 (0.50 to 1.60)"]
    ]
    assert "Groups of fewer than ten patients are not shown: 2 by site." in page.text


def test_complete_data_are_said_to_be_complete():
    table = pd.DataFrame({"variable": [], "control": [], "treated": [], "share": []})
    assert "No value is missing." in check_page(training_report(replace(result(), tables={"missing_data": table}))).text


def test_what_is_not_known_is_open():
    bare = replace(
        result(), tables={}, figures={}, candidates=(), bundle=with_card(result().bundle, eligibility={}), metrics={}
    )
    page = check_page(training_report(bare))
    by_name = {row[0]: row[1:] for row in page.rows("Reporting items")}
    assert by_name["Eligibility"] == ["open", "Not stated."]
    assert by_name["Missing data"] == ["reported", "None among the predictors."]
    assert "Few effect modifiers, stated beforehand open None was stated." in page.text


def test_labels_from_a_study_file_are_escaped():
    card = {"control_label": EVIL, "treated_label": EVIL, "model_name": EVIL}
    evil = replace(
        result(),
        title=EVIL,
        endpoint_title=EVIL,
        estimand=EVIL,
        evidence_reason=EVIL,
        bundle=with_card(result().bundle, **card),
        notes=(EVIL,),
        tables={EVIL: pd.DataFrame({EVIL: [EVIL]})},
    )
    check_page(training_report(evil))
