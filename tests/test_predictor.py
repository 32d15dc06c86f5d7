import dataclasses
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from tests.small_bundles import PATIENT, assert_alike, make, patients, with_card

import il7ml.predictor
from il7ml import texts
from il7ml.answer import Interval
from il7ml.bundle import CardBeside, Estimate, save_bundle
from il7ml.cli import main
from il7ml.errors import BundleRefusedError, InputError
from il7ml.features.columns import to_columns
from il7ml.predictor import Predictor, load_predictor, predict

KINDS = ["binary", "count", "continuous"]
MODELS = ["prevalence", "lymphocyte", "logistic", "xgboost"]
MEASURE = {"binary": "risk", "count": "rate", "continuous": "mean"}


def predictor(kind="binary", model="logistic", evidence="none", **options):
    return Predictor(with_card(make(kind, model, **options).bundle, evidence=evidence))


def wide(interval):
    return interval.high - interval.low


def numbers(answer):
    """Return the numbers of an answer by the names of a table's columns."""
    return {
        name: value
        for name, value in answer.to_dict().items()
        if name.startswith(("risk_", "rate_", "mean_", "benefit"))
    }


# Every row of "safe predict".


def test_a_value_in_another_unit_is_an_error_and_never_converted():
    with pytest.raises(InputError, match="Did you mean cells/uL") as caught:
        predictor().predict({**PATIENT, "absolute_lymphocyte_count": 700})
    assert "700" not in str(caught.value)


def test_the_canonical_unit_is_stated_by_the_model():
    entry = predictor().inputs["absolute_lymphocyte_count"]
    assert entry.variable.unit == "10^9/L"
    assert "neutrophil_lymphocyte_ratio" not in predictor().inputs


@pytest.mark.parametrize("fault", [{"age": 300}, {"age": -1}, {"neutrophil_count": -0.1}, {"c_reactive_protein": 1e9}])
def test_an_impossible_value_gives_an_error_and_no_number(fault):
    with pytest.raises(InputError, match="impossible value"):
        predictor().predict({**PATIENT, **fault})


def test_a_plausible_value_outside_the_training_range_is_flagged_and_the_range_shown():
    model = predictor()
    entry = model.inputs["neutrophil_count"]
    answer = model.predict({**PATIENT, "neutrophil_count": entry.high + 5})
    assert answer.status == "ok"
    expected = (
        f"Neutrophil count lies outside the training range ({entry.low:g} to {entry.high:g} 10^9/L): extrapolation."
    )
    assert expected in answer.warnings
    assert not any("extrapolation" in warning for warning in model.predict(PATIENT).warnings)


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({"age": 85}, "age"),
        ({"age": 20}, "age"),
        ({"absolute_lymphocyte_count": 1.2}, "absolute lymphocyte count"),
        ({"age": 85, "absolute_lymphocyte_count": 1.2}, "age, absolute lymphocyte count"),
    ],
)
def test_outside_eligibility_no_benefit_is_given(change, label):
    answer = predictor(evidence="suggestive").predict({**PATIENT, **change})
    assert answer.status == "out_of_scope"
    assert answer.treated is None
    assert answer.benefit is None
    assert answer.individual_benefit is None
    assert answer.number_needed_to_treat is None
    assert 0 < answer.untreated.value < 1
    assert answer.warnings[0] == f"Outside the trial's eligibility ({label}): no benefit is given."


@pytest.mark.parametrize("edge", [{"age": 25}, {"age": 80}, {"absolute_lymphocyte_count": 1.0}])
def test_the_limits_of_eligibility_belong_to_it(edge):
    assert predictor().predict({**PATIENT, **edge}).status == "ok"


def test_out_of_scope_is_exit_code_3(tmp_path, capsys):
    save_bundle(make().bundle, tmp_path / "bundle")
    (tmp_path / "patient.json").write_text(json.dumps({**PATIENT, "age": 85}))
    code = main(["predict", "--model", str(tmp_path / "bundle"), "--patient", str(tmp_path / "patient.json")])
    assert code == 3
    assert "no benefit is given" in capsys.readouterr().out


def test_a_missing_required_value_is_an_error():
    with pytest.raises(InputError, match="required field missing: age"):
        predictor().predict({name: value for name, value in PATIENT.items() if name != "age"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("evidence", ["none", "credible"])
@pytest.mark.parametrize("model", ["logistic", "xgboost"])
def test_a_missing_optional_value_is_imputed_listed_and_widens_the_interval(kind, evidence, model):
    one = predictor(kind, model, evidence)
    full, gap = one.predict(PATIENT), one.predict({**PATIENT, "respiratory_support": None, "diabetes": None})
    assert full.imputed == ()
    assert gap.imputed == ("respiratory_support", "diabetes")
    assert gap.warnings == (texts.IMPUTED.format(labels="Respiratory support, Diabetes"),)
    if model == "logistic":
        # Held against what the design puts into the gaps: the reference level and the median.
        median = make(kind).sample.X["diabetes"].median()
        filled = one.predict({**PATIENT, "respiratory_support": "oxygen", "diabetes": median})
        assert gap.untreated.value == pytest.approx(filled.untreated.value)
        assert wide(gap.untreated) > wide(filled.untreated)
        if (kind, evidence) == ("continuous", "none"):  # one difference for all, whatever the patient is like
            assert wide(gap.benefit) == pytest.approx(wide(filled.benefit))
        else:
            assert wide(gap.benefit) > wide(filled.benefit)


@pytest.mark.parametrize("name", ["neutrophil_count", "respiratory_support", "diabetes"])
def test_the_spread_of_what_is_missing_adds_to_the_models_own(name):
    # Variances add up: between refits with the gap filled, and between the values that the patient could have.
    made = make("continuous")
    one = Predictor(made.bundle)
    values = made.sample.X[name]
    fill = "oxygen" if name == "respiratory_support" else values.median()
    filled = one.predict({**PATIENT, name: fill}).untreated
    possible = [one.predict({**PATIENT, name: value}).untreated.value for value in values]
    half = wide(one.predict({**PATIENT, name: None}).untreated) / 2 / 1.959964
    expected = np.hypot(wide(filled) / 2 / 1.959964, np.std(possible, ddof=1))
    assert half == pytest.approx(expected, rel=0.02)


def test_a_gap_gives_the_same_answer_every_time():
    record = {"age": 62, "absolute_lymphocyte_count": 0.5}
    assert predictor().predict(record) == Predictor(make().bundle).predict(record)


def test_many_imputed_fields_stand_in_one_warning():
    answer = predictor().predict({"age": 62, "absolute_lymphocyte_count": 0.5})
    assert answer.imputed == ("neutrophil_count", "c_reactive_protein", "respiratory_support", "diabetes")
    labels = "Neutrophil count, C-reactive protein, Respiratory support, Diabetes"
    assert answer.warnings == (texts.IMPUTED.format(labels=labels),)


def test_a_missing_value_that_the_model_does_not_look_at_is_said_to_be_without_influence():
    model = predictor(model="lymphocyte")
    answer, full = model.predict({"age": 62, "absolute_lymphocyte_count": 0.5}), model.predict(PATIENT)
    labels = "Neutrophil count, C-reactive protein, Respiratory support, Diabetes"
    assert answer.warnings == (texts.WITHOUT_INFLUENCE.format(labels=labels),)
    assert numbers(answer) == numbers(full)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"respiratory_support": "4711"}, "expected one of oxygen, non_invasive, invasive"),
        ({"absolute_lymphocite_count": 4711}, "Did you mean 'absolute_lymphocyte_count'?"),
    ],
)
def test_an_unknown_category_or_field_is_named_and_its_value_not_repeated(fault, expected):
    with pytest.raises(InputError) as caught:
        predictor().predict({**PATIENT, **fault})
    assert expected in str(caught.value)
    assert "4711" not in str(caught.value)


def test_a_variable_that_the_model_does_not_use_is_noted():
    assert "Not used by this model: ferritin." in predictor().predict({**PATIENT, "ferritin": 800}).warnings


def test_an_unusual_combination_is_flagged():
    # Each value was seen in training; four extremes at once were not.
    inputs = predictor().inputs
    extreme = {name: inputs[name].high for name in ("age", "neutrophil_count", "c_reactive_protein")} | {
        "absolute_lymphocyte_count": inputs["absolute_lymphocyte_count"].low
    }
    warnings = predictor().predict({**PATIENT, **extreme}).warnings
    assert len(warnings) == 1
    assert warnings[0].startswith("Unusual combination of values: further from the training patients than ")
    assert re.search(r"than (98|99|100) % of them\.$", warnings[0])


def test_new_patients_like_those_of_the_training_are_unusual_at_the_expected_rate():
    table = predictor().predict_table(patients(2000, np.random.default_rng(99)))
    share = table["warnings"].str.contains("Unusual").mean()
    assert 0.005 < share < 0.06  # 2.5 % by definition, up to the noise of 160 training patients


@pytest.mark.parametrize("name", ["card.json", "designs.json", "arrays.npz"])
def test_a_changed_file_is_refused_with_exit_code_4(tmp_path, capsys, name):
    save_bundle(make().bundle, tmp_path / "bundle")
    (tmp_path / "patient.json").write_text(json.dumps(PATIENT))
    with (tmp_path / "bundle" / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(BundleRefusedError):
        load_predictor(tmp_path / "bundle")
    assert main(["predict", "--model", str(tmp_path / "bundle"), "--patient", str(tmp_path / "patient.json")]) == 4
    assert capsys.readouterr().out == ""


# Batches.


def faulty_table(n=40):
    table = patients(n, np.random.default_rng(5)).astype(object)
    table.insert(0, "patient_id", [f"P{row}" for row in range(n)])
    table.loc[3, "age"] = 300
    table.loc[7, "absolute_lymphocyte_count"] = 700
    table.loc[8, "age"] = 85
    table.loc[11, "respiratory_support"] = "ecmo"
    table.loc[12, "diabetes"] = None
    table.loc[20, "age"] = None
    return table


def test_a_batch_keeps_its_order_and_a_bad_row_spoils_no_other():
    table = faulty_table()
    answers = predictor().predict_table(table)
    assert answers["patient_id"].tolist() == table["patient_id"].tolist()
    status = dict.fromkeys(range(40), "ok") | dict.fromkeys((3, 7, 11, 20), "error") | {8: "out_of_scope"}
    assert answers["status"].tolist() == list(status.values())
    bad = answers["status"] == "error"
    columns = [name for name in answers if name.startswith(("risk", "benefit"))]
    assert answers.loc[bad, columns].isna().all(axis=None)
    assert (answers.loc[bad, "message"] != "").all()
    assert (answers.loc[~bad, "message"] == "").all()
    assert answers.loc[8, [name for name in columns if "untreated" not in name]].isna().all()
    good = predictor().predict_table(table.drop(index=[3, 7, 11, 20]))
    pd.testing.assert_frame_equal(answers[~bad].reset_index(drop=True), good.reset_index(drop=True))


@pytest.mark.parametrize(
    ("kind", "model", "evidence"),
    [
        ("binary", "logistic", "none"),
        ("binary", "xgboost", "suggestive"),
        ("count", "logistic", "credible"),
        ("count", "xgboost", "none"),
        ("continuous", "logistic", "suggestive"),
        ("continuous", "xgboost", "credible"),
    ],
)
def test_single_and_batch_give_the_same_answers(kind, model, evidence):
    # Patients with different gaps stand together, so that nobody's imputation may depend on the others'.
    one = predictor(kind, model, evidence, simulated=True)
    table = patients(12, np.random.default_rng(1)).astype(object)
    table.loc[0, "neutrophil_count"] = None
    table.loc[[0, 2], "respiratory_support"] = None
    table.loc[4, "age"] = 85
    table.insert(0, "patient_id", [f"P{row}" for row in range(12)])
    answers = one.predict_table(table)
    for row, record in enumerate(table.to_dict("records")):
        single = one.predict(record)
        assert answers.loc[row, "patient_id"] == single.patient_id
        assert answers.loc[row, "status"] == single.status
        assert answers.loc[row, "warnings"] == "; ".join(single.warnings)
        assert answers.loc[row, "notice"] == single.notice
        assert answers.loc[row, "evidence"] == single.evidence
        assert answers.loc[row, "intended_use"] == single.intended_use
        for name, value in numbers(single).items():
            assert answers.loc[row, name] == pytest.approx(np.nan if value is None else value, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("model", ["logistic", "xgboost"])
def test_chunks_change_nothing(monkeypatch, model):
    table = faulty_table()
    whole = predictor(model=model).predict_table(table)
    monkeypatch.setattr(il7ml.predictor, "_CHUNK", 7)
    pd.testing.assert_frame_equal(predictor(model=model).predict_table(table), whole, rtol=1e-12)


def test_column_order_index_and_further_columns_change_nothing():
    table = faulty_table()
    expected = predictor().predict_table(table)
    other = table[table.columns[::-1]].assign(arm="il7").set_index(pd.Index([5] * len(table)))
    pd.testing.assert_frame_equal(predictor().predict_table(other), expected)


def test_rows_without_an_id_are_numbered_and_missing_ids_stay_empty():
    table = patients(3, np.random.default_rng(0))
    assert predictor().predict_table(table)["patient_id"].tolist() == ["1", "2", "3"]
    assert predictor().predict_table(table.assign(patient_id=["a", None, 7]))["patient_id"].tolist() == ["a", "", "7"]


def test_a_doubled_id_column_is_refused():
    table = patients(3, np.random.default_rng(0)).assign(patient_id="a")
    doubled = pd.concat([table, table[["patient_id"]]], axis=1)
    with pytest.raises(InputError, match="'patient_id' stands twice"):
        predictor().predict_table(doubled)


def test_an_empty_table_gives_an_empty_table_of_answers():
    answers = predictor().predict_table(pd.DataFrame(columns=list(PATIENT)))
    assert len(answers) == 0
    assert {"patient_id", "risk_untreated", "benefit_high", "status"} <= set(answers.columns)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_files_give_what_tables_give(tmp_path, ending):
    table = patients(20, np.random.default_rng(2)).assign(patient_id=[f"P{row}" for row in range(20)])
    table.loc[3, "age"] = 300
    source, target = tmp_path / f"in.{ending}", tmp_path / f"out.{ending}"
    table.to_csv(source, index=False) if ending == "csv" else table.to_parquet(source)
    counts = predictor().predict_file(source, target)
    assert counts == {"ok": 19, "error": 1}
    read = (
        pd.read_csv(target, keep_default_na=False, na_values={"benefit": ""})
        if ending == "csv"
        else pd.read_parquet(target)
    )
    expected = predictor().predict_table(table)
    np.testing.assert_allclose(read["benefit"], expected["benefit"], rtol=1e-12)
    for name in ("patient_id", "status", "warnings", "message"):
        assert read[name].tolist() == expected[name].tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"in.{ending}", f"out.{ending}"]


def test_the_patients_table_is_not_overwritten(tmp_path):
    path = tmp_path / "in.csv"
    patients(3, np.random.default_rng(2)).to_csv(path, index=False)
    before = path.read_bytes()
    with pytest.raises(InputError, match="not overwritten"):
        predictor().predict_file(path, tmp_path / "." / "in.csv")
    assert path.read_bytes() == before


def test_a_folder_of_tables_is_answered_file_by_file(tmp_path):
    table = patients(30, np.random.default_rng(2)).assign(site="north")
    table.loc[3, "age"] = 300
    (tmp_path / "in").mkdir()
    table.head(20).to_parquet(tmp_path / "in" / "a.parquet")
    table.tail(10).to_parquet(tmp_path / "in" / "b.parquet")
    assert predictor().predict_folder(tmp_path / "in", tmp_path / "out") == {"ok": 29, "error": 1}
    found = pd.concat([pd.read_parquet(tmp_path / "out" / name) for name in ("a.parquet", "b.parquet")])
    expected = predictor().predict_table(table)
    # A product of matrices may round a row's last digit otherwise among other rows.
    np.testing.assert_allclose(found["benefit"], expected["benefit"], rtol=1e-12)
    assert found["warnings"].tolist() == expected["warnings"].tolist()
    assert found["patient_id"].tolist()[18:22] == ["a.parquet:19", "a.parquet:20", "b.parquet:1", "b.parquet:2"]


def test_a_folder_with_a_misspelt_column_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "in").mkdir()
    patients(3, np.random.default_rng(2)).rename(columns={"age": "agee"}).to_parquet(tmp_path / "in" / "a.parquet")
    with pytest.raises(InputError, match="did you mean 'age'"):
        predictor().predict_folder(tmp_path / "in", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.parquet"))


# What stands beside.


@pytest.mark.parametrize(("harmful", "benefit"), [(True, (0.05, -0.1, 0.2)), (False, (-0.05, -0.2, 0.1))])
def test_other_outcomes_stand_beside_with_benefit_as_positive(harmful, benefit):
    change, risk = Estimate(value=-0.05, low=-0.2, high=0.1), Estimate(value=0.2, low=0.1, high=0.3)
    entry = CardBeside(endpoint="death", title="Death", harmful=harmful, control=risk, treated=risk, difference=change)
    bundle = with_card(make().bundle, beside=(entry,))
    (beside,) = Predictor(bundle).predict(PATIENT).beside
    assert (beside.benefit.value, beside.benefit.low, beside.benefit.high) == benefit
    assert beside.untreated == Interval(0.2, 0.1, 0.3)
    assert Predictor(bundle).predict({**PATIENT, "absolute_lymphocyte_count": 1.5}).beside == ()


# What is said at each level of evidence.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("model", "harmful"), [*((model, True) for model in MODELS), ("logistic", False)])
def test_at_level_none_one_theta_gives_the_average_effect_on_average(kind, model, harmful):
    made = make(kind, model, harmful=harmful)
    one = Predictor(made.bundle)
    answers = one.predict_table(made.sample.X)
    measure = MEASURE[kind]
    difference = answers[f"{measure}_treated"] - answers[f"{measure}_untreated"]
    assert difference.mean() == pytest.approx(made.scores.effect.mean(), abs=1e-9)
    link = {"binary": logit, "count": np.log, "continuous": lambda mean: mean}[kind]
    shift = link(answers[f"{measure}_treated"]) - link(answers[f"{measure}_untreated"])
    np.testing.assert_allclose(shift, made.bundle.card.theta, rtol=1e-9)
    sign = -1 if harmful else 1
    np.testing.assert_allclose(answers["benefit"], sign * difference, atol=1e-12)
    assert (answers["benefit"] > 0).all()  # the invented treatment helps, whichever way the outcome points
    assert one.predict(PATIENT).individual_benefit is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("harmful", [True, False])
def test_intervals_are_those_of_the_joint_refits(kind, harmful):
    made = make(kind, harmful=harmful)
    variables = {name: entry.variable for name, entry in made.bundle.card.variables.items()}
    columns = to_columns(pd.DataFrame([PATIENT]), variables)
    inverse = {"binary": expit, "count": np.exp, "continuous": lambda eta: eta}[kind]
    eta = np.array([refit.linear_predictor(columns, 1)[0] for refit in made.bundle.refits.models])
    centre = made.bundle.risk.linear_predictor(columns, 1)[0]
    answer = Predictor(made.bundle).predict(PATIENT)
    half = 1.959963984540054 * eta.std(ddof=1)
    assert (answer.untreated.low, answer.untreated.high) == pytest.approx(
        (inverse(centre - half), inverse(centre + half))
    )
    effects = inverse(eta) - inverse(eta + made.bundle.refits.theta)
    half = 1.959963984540054 * effects.std(ddof=1)
    assert answer.benefit.high - answer.benefit.value == pytest.approx(half)
    assert answer.benefit.value - answer.benefit.low == pytest.approx(half)


def test_the_level_of_the_intervals_is_the_cards():
    bundle = make("continuous").bundle
    narrow = Predictor(with_card(bundle, level=0.8)).predict(PATIENT).benefit
    # 1.2816 and 1.9600: quantiles of the normal distribution.
    assert wide(narrow) / wide(Predictor(bundle).predict(PATIENT).benefit) == pytest.approx(1.2815516 / 1.9599640)


@pytest.mark.parametrize("kind", KINDS)
def test_at_level_suggestive_the_headline_stays_and_the_individual_estimate_stands_beside_it(kind):
    none, suggestive = (predictor(kind, evidence=level).predict(PATIENT) for level in ("none", "suggestive"))
    assert numbers(suggestive) == numbers(none)
    assert suggestive.individual_benefit is not None
    assert suggestive.evidence_sentence == texts.EVIDENCE["suggestive"]
    assert "exploratory" in suggestive.to_text()


@pytest.mark.parametrize("harmful", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_at_level_credible_the_effect_model_speaks(kind, harmful):
    made = make(kind, harmful=harmful)
    answer = predictor(kind, evidence="credible", harmful=harmful).predict(PATIENT)
    variables = {name: entry.variable for name, entry in made.bundle.card.variables.items()}
    effect = made.bundle.effect.linear_predictor(to_columns(pd.DataFrame([PATIENT]), variables), 1)[0]
    assert answer.benefit.value == pytest.approx(-effect if harmful else effect)
    assert answer.treated.value == pytest.approx(answer.untreated.value + effect)
    assert answer.individual_benefit is None
    # The better end of the benefit goes with the better end of the treated outcome.
    better = answer.treated.low if harmful else answer.treated.high
    assert abs(better - answer.untreated.value) == pytest.approx(answer.benefit.high)
    none = predictor(kind, harmful=harmful).predict(PATIENT)
    assert answer.untreated == none.untreated


@pytest.mark.parametrize(
    ("kind", "harmful", "shift"), [("binary", True, -3.0), ("binary", False, 3.0), ("count", True, -90.0)]
)
def test_at_level_credible_nothing_impossible_is_said(kind, harmful, shift):
    bundle = make(kind, harmful=harmful).bundle
    strong = dataclasses.replace(bundle, effect=dataclasses.replace(bundle.effect, average=(shift, 1e-4)))
    answer = Predictor(with_card(strong, evidence="credible")).predict(PATIENT)
    assert answer.treated.value == (0.0 if harmful else 1.0)
    assert answer.benefit.value == pytest.approx(abs(answer.untreated.value - answer.treated.value))
    assert answer.benefit.low <= answer.benefit.value <= answer.benefit.high


@pytest.mark.parametrize("harmful", [True, False])
@pytest.mark.parametrize("evidence", ["none", "credible"])
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_hold_their_value_and_stay_possible(kind, evidence, harmful):
    answers = predictor(kind, evidence=evidence, harmful=harmful).predict_table(patients(300, np.random.default_rng(4)))
    answers = answers[answers["status"] == "ok"]
    measure = MEASURE[kind]
    for name in (f"{measure}_untreated", f"{measure}_treated", "benefit"):
        assert (answers[f"{name}_low"] <= answers[name] + 1e-12).all()
        assert (answers[name] <= answers[f"{name}_high"] + 1e-12).all()
    if kind == "binary":
        risks = answers[[name for name in answers if name.startswith("risk_")]].to_numpy(dtype=float)
        assert ((risks >= 0) & (risks <= 1)).all()
        assert answers[["benefit_low", "benefit_high"]].abs().max(axis=None) <= 1
    if kind == "count":
        assert (answers["rate_treated_low"] >= 0).all()


# Several patients.

RECORDS = [
    {**PATIENT, "patient_id": "a"},
    {**PATIENT, "age": "twelve"},
    {**PATIENT, "age": 41, "c_reactive_protein": None, "diabetes": 1},
    {"age": 50},
    {**PATIENT, "age": 80, "patient_id": 7},
]


@pytest.mark.parametrize("model", ["logistic", "xgboost", "stack", "prevalence"])
@pytest.mark.parametrize("evidence", ["none", "credible"])
def test_several_patients_get_what_each_gets_alone_and_a_bad_record_spoils_none(model, evidence):
    asked = predictor(model=model, evidence=evidence)
    answers = asked.predict_each(iter(RECORDS))
    for answer, record, right in zip(answers, RECORDS, [True, False, True, False, True], strict=True):
        if right:
            assert_alike(answer.to_dict(), asked.predict(record).to_dict())
        else:
            with pytest.raises(InputError, match=re.escape(str(answer))):
                asked.predict(record)
            assert isinstance(answer, InputError)


def test_no_patients_or_none_that_is_right_get_no_answer():
    assert predictor().predict_each([]) == []
    assert [type(answer) for answer in predictor().predict_each([{"age": 50}])] == [InputError]


# Reasons.


@pytest.mark.parametrize("kind", KINDS)
def test_reasons_are_the_strongest_contributions(kind):
    made = make(kind)
    answer = Predictor(made.bundle).predict(PATIENT)
    variables = {name: entry.variable for name, entry in made.bundle.card.variables.items()}
    base, parts = made.bundle.risk.contributions(to_columns(pd.DataFrame([PATIENT]), variables), 1)
    strongest = sorted(parts, key=lambda name: -abs(parts[name][0]))[:5]
    assert [reason.variable for reason in answer.reasons] == strongest
    inverse = {"binary": expit, "count": np.exp, "continuous": lambda eta: eta}[kind]
    total = base + sum(part[0] for part in parts.values())
    assert answer.untreated.value == pytest.approx(inverse(total))
    for reason in answer.reasons:
        assert reason.contribution == pytest.approx(parts[reason.variable][0])
        assert reason.points == pytest.approx(inverse(total) - inverse(total - reason.contribution))
        assert reason.direction == ("raises" if reason.contribution > 0 else "lowers")


@pytest.mark.parametrize("evidence", ["none", "suggestive", "credible"])
def test_reasons_come_from_the_risk_model_alone(evidence):
    class Refusing(type(make().bundle.effect)):
        def contributions(self, columns, n):
            raise AssertionError("the effect model was asked for reasons")

    bundle = with_card(make().bundle, evidence=evidence)
    effect = Refusing(**{field.name: getattr(bundle.effect, field.name) for field in dataclasses.fields(bundle.effect)})
    answer = Predictor(dataclasses.replace(bundle, effect=effect)).predict(PATIENT)
    assert answer.reasons == predictor().predict(PATIENT).reasons
    assert len(answer.reasons) > 0


def test_reasons_show_values_in_words():
    shown = {
        reason.variable: reason.value
        for reason in predictor(model="xgboost").predict({**PATIENT, "c_reactive_protein": None}).reasons
    }
    assert shown["respiratory_support"] == "invasive"
    assert shown["age"] == 62
    assert shown.get("diabetes", "yes") == "yes"
    assert shown.get("c_reactive_protein") is None


def test_a_model_without_covariates_gives_no_reasons_and_the_same_answer_to_everybody():
    answers = predictor(model="prevalence").predict_table(patients(30, np.random.default_rng(3)))
    assert answers["risk_untreated"].min() == answers["risk_untreated"].max()
    answer = predictor(model="prevalence").predict(PATIENT)
    assert answer.reasons == ()
    assert answer.reasons_sentence == texts.NO_REASONS


# Faces.


def test_a_simulated_model_says_so_everywhere(tmp_path, capsys):
    model = predictor(simulated=True)
    folder, table, out = tmp_path / "bundle", tmp_path / "in.csv", tmp_path / "out.csv"
    save_bundle(model.bundle, folder)
    (tmp_path / "patient.json").write_text(json.dumps(PATIENT))
    patients(4, np.random.default_rng(0)).assign(age=[300, 40, 85, 50]).to_csv(table, index=False)
    sentence = "Trained on simulated patients: demonstration only, not for any patient."
    answer = model.predict(PATIENT)
    assert answer.to_text().startswith(sentence)
    assert next(iter(answer.to_dict().values())) == sentence
    assert answer.to_dict()["model"]["data"] == "simulated"
    assert model.predict({**PATIENT, "age": 85}).to_text().startswith(sentence)
    one = ["predict", "--model", str(folder), "--patient", str(tmp_path / "patient.json")]
    assert main(one) == 0
    assert capsys.readouterr().out.startswith(sentence)
    assert main([*one, "--format", "json"]) == 0
    assert next(iter(json.loads(capsys.readouterr().out).values())) == sentence
    assert main(["predict", "--model", str(folder), "--in", str(table), "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(sentence)
    rows = pd.read_csv(out)
    assert rows.columns[0] == "notice"
    assert (rows["notice"] == sentence).all()
    assert len(rows) == 4


def test_a_real_model_bears_no_notice():
    assert predictor().notice == ""
    assert "notice" not in predictor().predict(PATIENT).to_dict()
    assert "notice" not in predictor().predict_table(pd.DataFrame([PATIENT])).columns


def test_every_answer_shows_its_basis(tmp_path):
    save_bundle(make().bundle, tmp_path / "bundle")
    loaded = load_predictor(str(tmp_path / "bundle"))
    model = loaded.predict(PATIENT).model
    card = make().bundle.card
    assert model["digest"] == loaded.bundle.digest
    assert (model["training_patients"], model["training_events"]) == (card.n, card.events)
    assert model["validation"]["brier"] == {"value": 0.2, "low": 0.1, "high": 0.3}
    assert json.loads(json.dumps(model)) == model


def test_the_id_is_text_and_the_record_is_left_alone():
    record = {**PATIENT, "patient_id": 17}
    assert predictor().predict(record).patient_id == "17"
    assert record == {**PATIENT, "patient_id": 17}
    assert predictor().predict(PATIENT).patient_id is None


def test_predict_is_the_short_form(tmp_path):
    save_bundle(make().bundle, tmp_path / "bundle")
    assert predict(PATIENT, tmp_path / "bundle") == load_predictor(tmp_path / "bundle").predict(PATIENT)


def test_a_folder_that_is_not_there_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no such bundle folder"):
        load_predictor(tmp_path / "nowhere")


@pytest.mark.parametrize("model", ["logistic", "xgboost"])
def test_a_predictor_serves_several_threads(model):
    one = predictor(model=model)
    records = patients(16, np.random.default_rng(8)).to_dict("records")
    expected = [one.predict(record) for record in records]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one.predict, records * 3)) == expected * 3


LIGHT = """
import json, sys
from pathlib import Path
import pandas
from il7ml.predictor import load_predictor
patient = json.loads(sys.argv[1])
found = []
for folder in sys.argv[2:]:
    model = load_predictor(Path(folder))
    risk = model.predict(patient).untreated.value
    assert risk == model.predict_table(pandas.DataFrame([patient]))["risk_untreated"][0]
    found.append([risk, sorted({name.split(".")[0] for name in sys.modules})])
print(json.dumps(found))
"""


def test_a_folder_is_predicted_from_without_the_training_libraries(tmp_path):
    models = ("logistic", "xgboost")
    for model in models:
        save_bundle(make(model=model).bundle, tmp_path / model)
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, json.dumps(PATIENT), *(str(tmp_path / model) for model in models)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(zip(models, json.loads(done.stdout), strict=True))
    heavy = {"mlflow", "shap", "matplotlib", "statsmodels"}
    assert (heavy | {"sklearn", "xgboost", "joblib"}).isdisjoint(found["logistic"][1])
    assert heavy.isdisjoint(found["xgboost"][1])  # xgboost imports scikit-learn by itself where that is installed
    for model in models:
        assert found[model][0] == predictor(model=model).predict(PATIENT).untreated.value
