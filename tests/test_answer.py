import dataclasses
import json

import pytest

from il7ml import texts
from il7ml.answer import Beside, Interval, Prediction, Reason, answer_columns

MODEL = {
    "name": "trial-infection",
    "version": "3",
    "digest": "0123456789abcdef" * 4,
    "data": "real",
    "training_patients": 109,
    "training_events": 40,
}
ANSWER = Prediction(
    patient_id="P1",
    status="ok",
    measure="risk",
    unit="",
    untreated=Interval(0.5, 0.4, 0.6),
    treated=Interval(0.3, 0.2, 0.45),
    benefit=Interval(0.2, 0.05, 0.35),
    individual_benefit=None,
    evidence="none",
    evidence_sentence=texts.EVIDENCE["none"],
    reasons=(Reason("age", "Age", 62.0, "years", "raises", 0.4, 0.097),),
    reasons_sentence=texts.REASONS,
    beside=(Beside("Death by day 30", Interval(0.25, 0.15, 0.4), Interval(0.2, 0.1, 0.35), Interval(0.05, -0.1, 0.2)),),
    imputed=("ferritin",),
    warnings=("Missing, and imputed: Ferritin.",),
    notice="",
    intended_use=texts.INTENDED_USE,
    outcome="Infection by day 30",
    arms=("Placebo", "IL-7"),
    model=MODEL,
)


def changed(**changes):
    return dataclasses.replace(ANSWER, **changes)


def test_the_json_form_has_the_fixed_names_and_survives_json():
    answer = ANSWER.to_dict()
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    for name, value in (("risk_untreated", 0.5), ("risk_treated", 0.3), ("benefit", 0.2)):
        assert answer[name] == value
        assert answer[f"{name}_low"] < value < answer[f"{name}_high"]
    assert answer["patient_id"] == "P1"
    assert answer["evidence"] == "none"
    assert answer["status"] == "ok"
    assert answer["warnings"] == list(ANSWER.warnings)
    assert answer["reasons"][0]["variable"] == "age"
    assert answer["intended_use"] == texts.INTENDED_USE
    assert answer["individual_benefit"] is None
    assert answer["beside"][0]["untreated"] == {"value": 0.25, "low": 0.15, "high": 0.4}


def test_an_answer_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ANSWER.status = "ok"


def test_properties_give_the_headline_numbers():
    assert (ANSWER.risk_untreated, ANSWER.risk_treated) == (0.5, 0.3)
    assert changed(treated=None).risk_treated is None


@pytest.mark.parametrize(
    ("changes", "need"),
    [
        ({}, 5.0),
        ({"benefit": Interval(0.0, -0.1, 0.1)}, None),
        ({"benefit": Interval(-0.2, -0.3, 0.1)}, None),
        ({"benefit": None}, None),
        ({"measure": "rate"}, None),
        ({"measure": "mean"}, None),
    ],
)
def test_number_needed_to_treat_is_the_inverse_of_a_benefit_in_risk(changes, need):
    answer = changed(**changes)
    assert answer.number_needed_to_treat == need
    assert answer.to_dict()["number_needed_to_treat"] == need
    assert ("number needed to treat" in answer.to_text()) == (need is not None)


def test_text_of_a_risk():
    assert ANSWER.to_text().splitlines() == [
        "Infection by day 30 (patient P1)",
        "  with Placebo            50.0 (40.0 to 60.0) %",
        "  with IL-7               30.0 (20.0 to 45.0) %",
        "  benefit                 20.0 (5.0 to 35.0) percentage points",
        "  number needed to treat  5.0",
        texts.EVIDENCE["none"],
        texts.REASONS,
        "  Age 62 years raises it (+9.7 percentage points)",
        "In the whole trial, not for this patient alone:",
        "  Death by day 30: with Placebo 25.0 (15.0 to 40.0) %, with IL-7 20.0 (10.0 to 35.0) %, "
        "benefit 5.0 (-10.0 to 20.0) percentage points",
        "! Missing, and imputed: Ferritin.",
        "Model trial-infection version 3 (0123456789ab), trained on 109 real patients with 40 events.",
        texts.INTENDED_USE,
    ]


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        ({"auroc": (0.694, 0.6, 0.755), "brier": (0.2, 0.1, 0.3)}, "Cross-validated: AUROC 0.69 (0.60 to 0.76)."),
        ({"r2": (-0.01, -0.2, 0.1), "calibration_slope": (1, 0.5, 1.5)},
         "Cross-validated: R2 -0.01 (-0.20 to 0.10), calibration slope 1.00 (0.50 to 1.50)."),
        ({}, "40 events."),
    ],
)  # fmt: skip
def test_validation_stands_behind_the_model(figures, sentence):
    validation = {name: dict(zip(("value", "low", "high"), parts, strict=True)) for name, parts in figures.items()}
    origin = changed(model={**MODEL, "validation": validation}).to_text().splitlines()[-2]
    assert origin.startswith("Model trial-infection")
    assert origin.endswith(sentence)


def test_text_of_a_rate_and_of_a_mean():
    rate = changed(
        measure="rate",
        unit="patient-year",
        beside=(),
        untreated=Interval(1.5, 1.25, 1.75),
        treated=Interval(0.5, 0.25, 0.75),
        benefit=Interval(1.0, 0.5, 1.5),
    ).to_text()
    assert "with Placebo            1.5 (1.25 to 1.75) per patient-year" in rate
    assert "benefit                 1 (0.5 to 1.5) per patient-year" in rate
    assert "%" not in rate
    mean = changed(
        measure="mean",
        unit="cells/uL",
        untreated=Interval(1350.2, 1200.4, 1500.6),
        treated=Interval(1400.0, 1200.0, 1600.0),
        benefit=Interval(49.8, 20.0, 80.0),
        model={**MODEL, "version": None},
    ).to_text()
    assert "with Placebo            1350 (1200 to 1501) cells/uL" in mean
    assert "benefit                 49.8 (20 to 80) cells/uL" in mean
    assert "Model trial-infection (0123456789ab), trained on 109 real patients." in mean


def test_out_of_scope_says_nothing_of_the_treatment():
    answer = changed(
        status="out_of_scope", treated=None, benefit=None, beside=(), warnings=("Outside: no benefit is given.",)
    )
    text = answer.to_text()
    assert "with IL-7" not in text
    assert "  benefit" not in text
    assert texts.EVIDENCE["none"] not in text
    assert "! Outside: no benefit is given." in text
    row = answer.to_dict()
    for name in ("risk_treated", "benefit"):
        assert [row[f"{name}{end}"] for end in ("", "_low", "_high")] == [None, None, None]


def test_the_exploratory_estimate_stands_beside_the_headline():
    answer = changed(evidence="suggestive", individual_benefit=Interval(0.31, 0.1, 0.5))
    assert "individual estimate, exploratory  31.0 (10.0 to 50.0) percentage points" in answer.to_text()
    assert answer.to_dict()["individual_benefit"] == 0.31


def test_the_notice_comes_first_in_text_and_json():
    answer = changed(notice=texts.SIMULATED)
    assert answer.to_text().splitlines()[0] == texts.SIMULATED
    assert next(iter(answer.to_dict().items())) == ("notice", texts.SIMULATED)
    assert "notice" not in ANSWER.to_dict()


@pytest.mark.parametrize(
    ("value", "unit", "points", "measure", "sentence"),
    [
        (None, "years", -0.02, "risk", "Age missing lowers it (-2.0 percentage points)"),
        ("invasive", "", 0.2, "risk", "Age invasive lowers it (+20.0 percentage points)"),
        (1350.0, "ng/mL", 0.123, "rate", "Age 1350 ng/mL lowers it (+0.123)"),
        (0.04567, "10^9/L", -12345.6, "mean", "Age 0.0457 10^9/L lowers it (-12346)"),
    ],
)
def test_a_reason_in_words(value, unit, points, measure, sentence):
    assert Reason("age", "Age", value, unit, "lowers", -0.4, points).sentence(measure) == sentence


@pytest.mark.parametrize("measure", ["risk", "rate", "mean"])
@pytest.mark.parametrize("simulated", [True, False])
def test_a_tables_columns_are_those_of_the_json_form(measure, simulated):
    columns = answer_columns(measure, simulated)
    answer = changed(measure=measure, notice=texts.SIMULATED if simulated else "").to_dict()
    assert next(iter(columns)) == ("notice" if simulated else "patient_id")
    beyond = {"message", "model_digest"}
    assert set(columns) - beyond <= set(answer)
    assert all(kind is float for name, kind in columns.items() if name.startswith((measure, "benefit")))
    assert {f"{measure}_treated", f"{measure}_untreated_high", "benefit_low"} <= set(columns)


def test_an_identifier_cannot_command_the_terminal():
    text = changed(patient_id="\ud800é\x1b[31m\u202e").to_text()
    assert "(patient \\ud800é\\x1b[31m\\u202e)" in text
    assert text.encode("utf-8")
