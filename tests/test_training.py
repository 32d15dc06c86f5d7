import json
import re
from contextlib import contextmanager

import mlflow
import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint
from tests.small_bundles import with_card
from tests.trained_store import PROJECT, empty_store, real_config, trained

import il7ml.training
from il7ml import texts
from il7ml.bundle import load_bundle
from il7ml.config import RunConfig
from il7ml.data.loading import load_cohort
from il7ml.errors import InputError
from il7ml.predictor import Predictor
from il7ml.report.card import model_card
from il7ml.state import State
from il7ml.tracking import resolve_model, summary
from il7ml.training import fit, prepare, train

QUICK = {
    "models": ["prevalence", "logistic"],
    "validation": {"folds": 2, "repeats": 1, "bootstrap": 50, "refits": 10},
    "effect": {"learners": ["effect_model"], "permutations": 200},
    "refits": 10,
    "workers": 1,
}


def client(uri):
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def run_of(store, run_id):
    return client(store.uri).get_run(run_id)


def simulated_bundle(store):
    return load_bundle(resolve_model(store.simulated_run, store.uri).folder)


# Same input, same output.


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_a_second_training_with_more_workers_gives_the_same_to_the_last_digit(workers):
    first = trained().real.result
    second = fit(prepare(real_config(f"workers={workers}")))
    assert second.metrics == first.metrics
    assert second.candidates == first.candidates
    assert (second.selected, second.evidence, second.notes) == (first.selected, first.evidence, first.notes)
    assert second.figures == first.figures
    assert second.tables.keys() == first.tables.keys()
    for name, table in first.tables.items():
        pd.testing.assert_frame_equal(second.tables[name], table, check_exact=True)
    patients = load_cohort(PROJECT / "data" / "cgd").baseline
    answers = [Predictor(result.bundle).predict_table(patients) for result in (first, second)]
    pd.testing.assert_frame_equal(*answers, check_exact=True)


def test_another_seed_gives_other_numbers(small_study):
    cohort = load_cohort(small_study.folder)
    first, other = (
        fit(prepare(RunConfig.from_file(small_study.config(**QUICK, seed=seed)), cohort)) for seed in (1, 2)
    )
    assert first.metrics != other.metrics
    assert first.data_digest == other.data_digest == cohort.digest


class Killed(BaseException):
    """Stands for the process's end."""


def test_a_killed_training_goes_on_where_it_stopped_with_the_same_numbers(small_study, tmp_path):
    prepared = prepare(RunConfig.from_file(small_study.config(**QUICK)), load_cohort(small_study.folder))
    whole = fit(prepared)
    state = State(tmp_path / "state" / "run")

    @contextmanager
    def killed(label):
        def progress(done, total):
            if label == "bootstrap" and done == 4:
                raise Killed

        yield progress

    with pytest.raises(Killed):
        fit(prepared, killed, state)
    counts = {}

    @contextmanager
    def counting(label):
        yield lambda done, total: counts.setdefault(label, []).append(done)

    again = fit(prepared, counting, state)
    assert counts["cross-validation"] == [2]  # all at once, from disk
    assert counts["bootstrap"][0] == 4
    assert again.metrics == whole.metrics
    assert again.figures == whole.figures
    for name, table in whole.tables.items():
        pd.testing.assert_frame_equal(again.tables[name], table, check_exact=True)


def test_a_complete_training_leaves_no_finished_tasks_behind(small_study, tmp_path):
    uri = f"sqlite:///{tmp_path}/store/mlflow.db"
    train(RunConfig.from_file(small_study.config(**QUICK, tracking={"uri": uri})))
    assert not (tmp_path / "store" / "state").exists()


def test_another_config_does_not_take_up_the_tasks(small_study, tmp_path):
    uri = f"sqlite:///{tmp_path}/store/mlflow.db"
    configs = [RunConfig.from_file(small_study.config(**QUICK, seed=seed)) for seed in (1, 1, 2)]
    cohort = load_cohort(small_study.folder)
    folders = [il7ml.training.state_of(prepare(config, cohort), uri).folder for config in configs]
    assert folders[0] == folders[1] != folders[2]


# Validation beyond cross-validation.


def test_the_validation_tables_hold_figures_and_no_patient(small_study):
    result = fit(prepare(RunConfig.from_file(small_study.config(**QUICK)), load_cohort(small_study.folder)))
    corrected = result.tables["risk_corrected"]
    assert set(corrected["model"]) == {"prevalence", "logistic", "procedure"}
    assert {"apparent", "harrell", "out_of_bag", "estimate"} <= set(corrected.columns)
    chosen = corrected[corrected["model"] == "procedure"].set_index("metric")
    shares = result.tables["risk_choices"].set_index("model")
    np.testing.assert_allclose(shares.sum(), 1.0)
    assert result.metrics["brier_corrected"].value == pytest.approx(chosen.loc["brier", "estimate"])
    for candidate in result.candidates:
        assert {f"{name}_corrected" for name in ("brier", "log_loss")} <= set(candidate.metrics)
    for name in ("risk_instability", "risk_comparison", "risk_by_group", "missing_shares", "leakage_audit"):
        assert len(result.tables[name]), name
    sizes = result.tables["risk_by_group"]
    assert not sizes.loc[sizes["n"] < 10, "estimate"].notna().any()
    ids = set(small_study.patients["patient_id"].astype(str))
    for table in result.tables.values():
        assert not ids & set(table.astype(str).to_numpy().ravel())
    # A step of a curve for each patient would give his risk and his outcome away.
    curve = result.tables["roc_curve"]
    assert "threshold" not in curve
    assert curve.groupby("model").size().max() <= result.counts["n_control"] // 10 + 1


def test_models_that_learn_shapes_need_patients_or_an_acknowledgement(small_study):
    settings = {**QUICK, "models": ["prevalence", "logistic", "xgboost"]}
    cohort = load_cohort(small_study.folder)
    prepared = prepare(RunConfig.from_file(small_study.config(**settings)), cohort)
    assert prepared.size.far_too_small
    assert prepared.config.models == ("prevalence", "logistic")
    assert any("xgboost took no part" in note for note in prepared.notes)
    config = RunConfig.from_file(small_study.config(**settings, acknowledge_small_sample=True))
    acknowledged = prepare(config, cohort)
    assert acknowledged.config.models == ("prevalence", "logistic", "xgboost")
    assert not any("took no part" in note for note in acknowledged.notes)


# The real trials.


@pytest.mark.slow
def test_interferon_gamma_prevents_infections_and_nobody_in_particular_benefits():
    # 30 of 65 patients with placebo and 14 of 63 with interferon gamma had a serious infection.
    result = trained().real.result
    assert result.counts == {"n": 128, "n_control": 65, "n_treated": 63, "events": 44, "features": 8}
    average = result.metrics["ate"]
    assert average.high < 0
    unadjusted = result.tables["average_effect"].query("method == 'unadjusted' and scale == 'difference'")
    assert unadjusted["estimate"].item() == pytest.approx(14 / 63 - 30 / 65)
    assert average.value == pytest.approx(14 / 63 - 30 / 65, abs=0.03)
    assert result.evidence == "none"
    assert result.sample_size.startswith("too small")


@pytest.mark.slow
def test_the_prediction_carries_the_average_effect_of_the_trial():
    result = trained().real.result
    answers = Predictor(result.bundle).predict_table(load_cohort(PROJECT / "data" / "cgd").baseline)
    assert (answers["status"] == "ok").all()
    assert (answers["risk_treated"] - answers["risk_untreated"]).mean() == pytest.approx(result.metrics["ate"].value)
    assert (answers["benefit_low"] > 0).all()


@pytest.mark.slow
def test_actg_175_raises_cd4_counts_as_published():
    # Reference: adjusted difference 49.4 by another implementation, unadjusted 46.81 by hand.
    settings = {
        **QUICK,
        "validation": {"folds": 5, "repeats": 1, "bootstrap": 50, "refits": 10},
        "explanation": {"rows": 10},
    }
    config = RunConfig.from_file(
        PROJECT / "configs" / "actg175.yaml",
        ["endpoint=cd420", *(f"{key}={json.dumps(settings[key])}" for key in settings)],
    )
    result = fit(prepare(config))
    table = result.tables["average_effect"].query("scale == 'difference'").set_index("method")
    adjusted = table.loc["adjusted (AIPW)"]
    assert adjusted["estimate"] == pytest.approx(49.4, abs=adjusted["std_error"])
    assert table.loc["unadjusted", "estimate"] == pytest.approx(46.81, abs=0.005)
    assert adjusted["std_error"] < table.loc["unadjusted", "std_error"]
    assert not result.bundle.card.harmful
    predictor = Predictor(result.bundle)
    answer = predictor.predict(result.example)
    assert answer.benefit.value > 0
    assert answer.unit == "cells/uL"
    assert "cells/uL" in answer.to_text()


# What a training leaves behind.


@pytest.mark.slow
def test_the_run_is_complete_and_the_model_registered_last():
    store = trained()
    run = run_of(store, store.real.run_id)
    assert run.info.status == "FINISHED"
    for name in (
        "auroc",
        "brier",
        "log_loss",
        "calibration_slope",
        "calibration_intercept",
        "ate",
        "heterogeneity_p",
        "autoc",
    ):
        assert run.data.metrics[f"{name}_low"] <= run.data.metrics[name] <= run.data.metrics[f"{name}_high"]
    assert run.data.tags["verdict.heterogeneity"] == "none"
    assert run.data.tags["verdict.sample_size"] == "too small"
    assert run.data.tags["data"] == "real"
    assert run.data.params["validation.bootstrap"] == "50"
    version = client(store.uri).get_model_version(store.real.model_name, store.real.model_version)
    assert version.description == model_card(store.real.result)
    assert version.run_id == store.real.run_id
    assert version.creation_timestamp >= max(metric.timestamp for metric in history(store, "auroc"))
    children = client(store.uri).search_runs(
        [run.info.experiment_id], f"tags.mlflow.parentRunId = '{store.real.run_id}'"
    )
    names = {child.info.run_name for child in children}
    models = {"candidate prevalence", "candidate logistic", "candidate xgboost"}
    assert names == models | {f"learner {name}" for name in store.real.result.config.effect.learners}
    chosen = [child.data.params["risk_model"] for child in children if child.data.tags.get("selected") == "true"]
    assert chosen == [run.data.tags["risk_model"]]


def history(store, metric):
    return client(store.uri).get_metric_history(store.real.run_id, metric)


@pytest.mark.slow
def test_tables_figures_and_texts_are_artifacts():
    store = trained()
    folder = store.folder / "mlruns" / "artifacts" / store.real.run_id / "artifacts"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"config.yaml", "summary.md", "versions.json", "card.json"} <= found
    result = store.real.result
    assert {f"tables/{name}.csv" for name in result.tables} | {
        f"figures/{name}.png" for name in result.figures
    } <= found
    assert {"table_one", "missing_data", "flow", "average_effect", "shap_risk", "shap_effect"} <= set(result.tables)
    assert {"calibration", "roc", "decision_curve", "shap_risk_bar", "shap_effect_beeswarm"} <= set(result.figures)
    patients = load_cohort(PROJECT / "data" / "cgd").baseline
    for name in [name for name in result.tables if name.startswith("shap_")]:
        assert len(pd.read_csv(folder / "tables" / f"{name}.csv")) < len(patients), name
    assert (folder / "summary.md").read_text(encoding="utf-8") == summary(result)


@pytest.mark.slow
def test_a_logged_config_trains_the_same_model(tmp_path):
    store = trained()
    logged = store.folder / "mlruns" / "artifacts" / store.real.run_id / "artifacts" / "config.yaml"
    (tmp_path / "config.yaml").write_text(logged.read_text())
    config = RunConfig.from_file(tmp_path / "config.yaml", [f"study={PROJECT / 'data' / 'cgd' / 'study.yaml'}"])
    assert config == store.real.result.config.model_copy(update={"study": config.study, "workers": 0})


@pytest.mark.slow
def test_the_example_is_no_patient_and_is_accepted():
    result = trained().real.result
    patients = load_cohort(PROJECT / "data" / "cgd").baseline
    same = [(patients[name] == value).to_numpy() for name, value in result.example.items()]
    assert not np.all(same, axis=0).any()
    assert Predictor(result.bundle).predict(result.example).status == "ok"


@pytest.mark.slow
def test_the_registered_bundle_is_the_fitted_one():
    store = trained()
    predictor = Predictor(load_bundle(resolve_model(store.real.run_id, store.uri).folder))
    example = store.real.result.example
    fitted = Predictor(store.real.result.bundle).predict(example)
    assert predictor.predict(example).to_dict() | {"model": None} == fitted.to_dict() | {"model": None}


@pytest.mark.slow
def test_the_card_tells_what_a_reader_needs():
    card = trained().real.result.bundle.card
    cohort = load_cohort(PROJECT / "data" / "cgd")
    assert (card.n, card.n_treated, card.events) == (128, 63, 44)
    assert card.data_digest == cohort.digest
    assert not card.simulated
    # No eligibility limits and no individual effect: nothing has to be given.
    assert card.evidence == "none"
    assert not any(entry.required for entry in card.variables.values())
    simulated = simulated_bundle(trained()).card
    required = {name for name, entry in simulated.variables.items() if entry.required}
    assert required == {name for name in simulated.eligibility if name in simulated.variables}
    values = cohort.baseline["age"]
    entry = card.variables["age"]
    assert entry.low <= values.min()
    assert values.max() <= entry.high
    assert len(entry.quantiles) == 10
    np.testing.assert_allclose(entry.quantiles, np.quantile(values, np.linspace(0.05, 0.95, 10)), rtol=0.005)
    shares = card.variables["hospital_category"].shares
    counts = cohort.baseline["hospital_category"].value_counts()
    expected = [counts[level] / 128 for level in card.variables["hospital_category"].variable.levels]
    np.testing.assert_allclose(shares, expected, atol=0.0005)


@pytest.mark.slow
def test_no_real_patient_is_in_any_artifact():
    store = trained()
    raw = pd.read_csv(PROJECT / "data" / "cgd" / "cgd0.csv")
    assert_no_row(store, raw, "id")


@pytest.mark.slow
def test_no_simulated_patient_is_in_any_artifact():
    store = trained()
    raw = pd.read_csv(PROJECT / "data" / "il7_trial" / "patients.csv")
    everything = assert_no_row(store, raw, "patient_id")
    for identifier in raw["patient_id"]:
        assert not re.search(rf"(?<![0-9A-Za-z]){identifier}(?![0-9A-Za-z])", everything)


def assert_no_row(store, raw, key):
    """Search every text file of the store, and the database, for three neighbouring values of any patient's row."""
    everything = "\n".join(
        path.read_bytes().decode("latin-1")
        for path in sorted(store.folder.rglob("*"))
        if path.is_file() and path.suffix not in {".png", ".npz", ".ubj"}
    )
    lines = {line.strip().strip("[],") for line in everything.splitlines()}
    assert len(everything) > 100_000
    assert "patient_id" not in lines
    for row in raw.itertuples(index=False):
        cells = [str(value) for value in row]
        assert ",".join(cells) not in everything
        # Somebody who wrote rows in another layout would still write neighbouring columns side by side.
        for separator in (",", ", ", "\t", '","'):
            assert separator.join(cells[1:7]) not in everything
    names = set(raw.columns) - {key}
    for path in store.folder.rglob("*.csv"):
        table = pd.read_csv(path)
        assert key not in table.columns
        assert len(names & set(table.columns)) < 2
    return everything


@pytest.mark.slow
def test_a_model_of_simulated_patients_says_so_in_tags_summary_card_and_answers():
    store = trained()
    run = run_of(store, store.simulated_run)
    assert run.data.tags["data"] == "simulated"
    assert run.info.run_name.endswith("(simulated)")
    assert texts.SIMULATED in run.data.tags["mlflow.note.content"]
    folder = store.folder / "mlruns" / "artifacts" / store.simulated_run / "artifacts"
    assert (folder / "summary.md").read_text(encoding="utf-8").splitlines()[0] == f"**{texts.SIMULATED}**"
    assert json.loads((folder / "card.json").read_text(encoding="utf-8"))["simulated"] is True
    predictor = Predictor(simulated_bundle(store))
    patient = json.loads((PROJECT / "data" / "il7_trial" / "patient.json").read_text(encoding="utf-8"))
    assert predictor.predict(patient).to_text().startswith(texts.SIMULATED)
    assert texts.SIMULATED not in summary(store.real.result)


@pytest.mark.slow
def test_the_simulated_model_knows_the_trials_eligibility():
    predictor = Predictor(simulated_bundle(trained()))
    patient = json.loads((PROJECT / "data" / "il7_trial" / "patient.json").read_text(encoding="utf-8"))
    assert predictor.predict(patient).status == "ok"
    assert predictor.predict({**patient, "age": 90}).status == "out_of_scope"
    assert predictor.predict({**patient, "absolute_lymphocyte_count": 1.4}).status == "out_of_scope"


# Trainings that end early.


def last_run(uri):
    runs = client(uri).search_runs([experiment.experiment_id for experiment in client(uri).search_experiments()])
    return max(runs, key=lambda run: run.info.start_time)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("stopped"), "FAILED"),
        (ZeroDivisionError("stopped"), "FAILED"),
        (KeyboardInterrupt("stopped"), "KILLED"),
    ],
)
def test_a_training_that_ends_midway_leaves_its_run_and_no_model(small_study, monkeypatch, error, status):
    def broken(*_, **__):
        raise error

    uri = empty_store(small_study.folder)
    monkeypatch.setattr(il7ml.training, "assess_effect", broken)
    with pytest.raises(type(error), match="stopped"):
        train(small_study.config(**QUICK))
    run = last_run(uri)
    assert (run.info.status, run.data.tags["study"]) == (status, "small")
    assert client(uri).search_registered_models() == []


def test_what_fails_in_a_computation_is_not_blamed_on_the_store(small_study, monkeypatch):
    def broken(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    empty_store(small_study.folder)
    monkeypatch.setattr(il7ml.training, "assess_effect", broken)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        train(small_study.config(**QUICK))


def test_bad_input_is_found_before_a_run_begins(small_study):
    uri = empty_store(small_study.folder)
    with pytest.raises(InputError, match="no endpoint 'infectd'"):
        train(small_study.config(**{**QUICK, "endpoint": "infectd"}))
    assert all(run.info.experiment_id == "1" for run in client(uri).search_runs(["0", "1"]))
    assert client(uri).get_experiment_by_name("small") is None


def test_a_store_that_cannot_be_used_is_found_before_the_computation(small_study, monkeypatch):
    monkeypatch.setattr(il7ml.training, "cross_validate", lambda *_, **__: pytest.fail("the computation began"))
    (small_study.folder / "mlruns").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        train(small_study.config(**QUICK))


# Every kind of outcome.


@pytest.mark.parametrize("endpoint", ["infections", "sofa_day7", "survival", "infection_day30"])
def test_a_model_of_each_kind_is_trained_and_answers(small_study, endpoint):
    cohort = load_cohort(small_study.folder)
    settings = {**QUICK, "endpoint": endpoint, "features": {"include": ["age", "absolute_lymphocyte_count"]}}
    result = fit(prepare(RunConfig.from_file(small_study.config(**settings)), cohort))
    card = result.bundle.card
    answers = Predictor(with_card(result.bundle, evidence="none")).predict_table(cohort.baseline)
    assert (answers["status"] == "ok").all()
    measure = {"binary": "risk", "count": "rate", "continuous": "mean"}[card.kind]
    difference = answers[f"{measure}_treated"] - answers[f"{measure}_untreated"]
    assert difference.mean() == pytest.approx(result.metrics["ate"].value)
    assert set(result.bundle.card.variables) == {"age", "absolute_lymphocyte_count"}


def test_without_a_lymphocyte_count_its_candidate_takes_no_part(small_study):
    cohort = load_cohort(small_study.folder)
    settings = {**QUICK, "models": ["prevalence", "lymphocyte"]}
    with_count = prepare(RunConfig.from_file(small_study.config(**settings)), cohort)
    without = prepare(RunConfig.from_file(small_study.config(**settings, features={"include": ["age"]})), cohort)
    assert with_count.config.models == ("prevalence", "lymphocyte")
    assert with_count.notes == ()
    assert without.config.models == ("prevalence",)
    assert without.notes == ("No lymphocyte count among the features, so the candidate 'lymphocyte' takes no part.",)


def test_patients_without_a_known_outcome_are_noted(small_study):
    cohort = load_cohort(small_study.folder)
    prepared = prepare(RunConfig.from_file(small_study.config(**QUICK, **{"endpoint": "survival"})), cohort)
    unknown = int((prepared.sample.weight == 0).sum())
    assert unknown > 0
    assert prepared.notes == (f"{unknown} patients without a known outcome are accounted for by weights.",)


def test_a_given_cohort_is_used_as_it_is(small_study):
    cohort = load_cohort(small_study.folder)
    config = RunConfig.from_file(small_study.config(**QUICK)).model_copy(update={"study": "nowhere.yaml"})
    prepared = prepare(config, cohort)
    assert prepared.cohort is cohort
    assert list(prepared.columns) == list(prepared.setting.variables)


def test_a_feature_without_limits_is_refused(small_study):
    small_study.raw["define"]["extra"] = {
        "term": "Extra",
        "possible": [0, float("inf")],
        "known": "before_randomisation",
        "role": "other",
    }
    small_study.raw["variables"]["extra"] = None
    small_study.patients["extra"] = 1.5 * np.arange(60)
    small_study.write()
    config = RunConfig.from_file(small_study.config(**QUICK))
    with pytest.raises(InputError, match="variable 'extra': expected finite limits"):
        prepare(config, load_cohort(small_study.folder))


def test_a_feature_known_only_later_is_refused(small_study):
    config = RunConfig.from_file(small_study.config(**QUICK, features={"include": ["age", "c_reactive_protein_day7"]}))
    with pytest.raises(InputError, match="known only after randomisation"):
        prepare(config, load_cohort(small_study.folder))


def test_a_single_event_in_an_arm_is_refused_before_a_run_is_opened(small_study, tmp_path):
    treated = small_study.patients["arm"] == small_study.raw["arms"]["treated"]["value"]
    small_study.patients.loc[treated, "infected"] = 0
    small_study.patients.loc[treated.idxmax(), "infected"] = 1
    small_study.write()
    config = small_study.config(endpoint="infected", tracking={"uri": f"sqlite:///{tmp_path}/none/mlflow.db"})
    with pytest.raises(InputError, match="has only one patient with the event"):
        train(config)
    assert not (tmp_path / "none").exists()


# What stands beside a prediction.


def test_the_arms_risks_of_another_outcome_stand_beside_a_prediction(small_study):
    cohort = load_cohort(small_study.folder)
    config = RunConfig.from_file(small_study.config(**QUICK, endpoint="infection_day30", beside=["infected"]))
    (found,) = fit(prepare(config, cohort)).bundle.card.beside
    y, treated = cohort.outcomes["infected"].value, cohort.treatment == 1
    events, n = [int(y[arm].sum()) for arm in (treated, ~treated)], [int(arm.sum()) for arm in (treated, ~treated)]
    for risk, count, size in zip((found.treated, found.control), events, n, strict=True):
        assert risk.value == pytest.approx(count / size)
        assert (risk.low, risk.high) == pytest.approx(proportion_confint(count, size, method="wilson"))
    newcombe = confint_proportions_2indep(events[0], n[0], events[1], n[1], method="newcomb", compare="diff")
    assert found.difference.value == pytest.approx(events[0] / n[0] - events[1] / n[1])
    assert (found.difference.low, found.difference.high) == pytest.approx(newcombe)


def test_only_yes_or_no_outcomes_stand_beside_a_prediction(small_study):
    config = RunConfig.from_file(small_study.config(**QUICK, beside=["infections"]))
    with pytest.raises(InputError, match="beside: expected yes-or-no endpoints, 'infections' is another kind"):
        prepare(config, load_cohort(small_study.folder))
    config = RunConfig.from_file(small_study.config(**QUICK, beside=["infectd"]))
    with pytest.raises(InputError, match="infectd"):
        prepare(config, load_cohort(small_study.folder))
