"""The whole analysis: in memory, tracked and on disk."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from tests.small_course import config, small_course
from tests.trained_store import address, empty_store

from il7ml.analysis import analyze, compare, run
from il7ml.cli import main
from il7ml.config import RunConfig
from il7ml.data.simulator import simulate_trial
from il7ml.errors import DataError, InputError
from il7ml.tracking.items import Metric, Param, Tag, trial_items

CONFIGS = Path(__file__).parents[2] / "configs"
COLUMNS = ["endpoint", "method", "scale", "estimate", "std_error", "low", "high", "p_value", "n", "events"]
COUNT = "absolute_lymphocyte_count"
SETTINGS = {
    "covariates": ("age", COUNT),
    "order": (f"{COUNT}_final", "infections", "infected"),
    "subgroups": {"sex": (), "antiviral_during_treatment": (), "age": ()},
    "imputations": 2,
}


def short(trial):
    """Leave one measurement and one stay, which is quicker."""
    trial.course["measurements"] = {COUNT: trial.course["measurements"][COUNT]}
    trial.course["stays"] = {"hospital": trial.course["stays"]["hospital"]}
    trial.course["rules"] = {}
    return trial


@pytest.fixture
def trial():
    return short(small_course())


@pytest.fixture
def no_figures(monkeypatch):
    """Leave the figures out, which take most of the time."""
    monkeypatch.setattr(run, "draw", lambda *arguments: {"flow": b"\x89PNG"})


@pytest.fixture(scope="module")
def cohort():
    return short(small_course()).load()


@pytest.fixture(scope="module")
def found(cohort):
    """Return a whole analysis, figures included."""
    return compare(config(**SETTINGS), cohort)


def project(folder, trial, endpoint="infected", **analysis):
    """Write a study, a config and an empty store into a folder and return the config's path."""
    trial.write(folder)
    path = folder / "run.yaml"
    raw = {
        "study": "study.yaml",
        "endpoint": endpoint,
        "analysis": {"imputations": 0, **analysis},
        "tracking": {"uri": empty_store(folder), "experiment": "small"},
    }
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


def runs(folder):
    client = mlflow.MlflowClient(tracking_uri=address(folder))
    experiment = client.get_experiment_by_name("small")
    return client.search_runs([experiment.experiment_id]) if experiment is not None else []


def files(folder):
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_the_table_has_the_fixed_columns_and_a_row_a_result(found):
    assert list(found.table.columns) == COLUMNS
    keys = found.table[["endpoint", "method", "scale"]]
    assert not keys.duplicated().any()
    assert found.table["p_value"].dropna().between(0, 1).all()
    within = found.table.dropna(subset=["low", "high"])
    assert ((within["low"] <= within["estimate"]) & (within["estimate"] <= within["high"])).all()


def test_every_endpoint_is_analysed(found):
    course = [f"{COUNT}_final", f"{COUNT}_average", f"{COUNT}_recovery", "hospital", "death"]
    course += ["adverse_event", "serious_adverse_event"]
    assert set(found.headline["endpoint"]) == {"infected", "infections", "sofa", "relapse", *course}
    assert found.headline["endpoint"].tolist()[:3] == list(SETTINGS["order"])
    assert found.headline.loc[3:, "p_holm"].isna().all()


def test_headline_rows_stand_in_the_table(found):
    for row in found.headline.itertuples():
        same = (found.table["endpoint"] == row.endpoint) & (found.table["scale"] == row.scale)
        same &= found.table["method"] == row.method
        assert found.table.loc[same, "estimate"].tolist() == [row.estimate]


def test_the_truth_of_the_made_up_trial_is_found(found):
    # Treatment multiplies counts by exp(0.03 day): at day 14 by 1.52, on average over days 3, 7 and 14 by 1.27.
    effects = found.table.set_index("endpoint")
    day14 = effects.loc[f"{COUNT}_day14"].iloc[0]
    assert day14["low"] < np.exp(0.03 * 14) < day14["high"]
    average = effects.loc[f"{COUNT}_average"].iloc[0]
    assert average["low"] < np.exp(0.03 * 8) < average["high"]


def test_arms_and_contrast(found):
    assert (found.n_control, found.n_treated) == (40, 40)
    assert found.contrast == "Drug (40) against Placebo (40)"
    assert found.run_id == ""
    text = found.to_text()
    assert text.startswith("A small trial\nDrug (40) against Placebo (40)")
    assert all(sentence in text for sentence in found.words)


def test_tables_hold_something_and_figures_are_pictures(found):
    assert {"flow", "table_one", "missing_data", "sensitivity", "interactions", "course"} <= set(found.tables)
    # Nobody lacks a baseline value, which the table says by having no rows.
    assert [name for name, table in found.tables.items() if not len(table)] == ["missing_data"]
    assert {"endpoints", "flow", "subgroups_infected"} <= set(found.figures)
    assert all(picture.startswith(b"\x89PNG") for picture in found.figures.values())


def test_no_table_or_word_shows_a_patient(found):
    ids = small_course().ids(*range(80))
    shown = [found.to_text(), *(table.to_csv() for table in found.tables.values()), found.subgroups.to_csv()]
    assert not any(one in text for one in ids for text in shown)


def test_twice_the_same(cohort, found, no_figures):
    again = compare(config(**SETTINGS), cohort)
    pd.testing.assert_frame_equal(again.table, found.table)
    pd.testing.assert_frame_equal(again.headline, found.headline)
    pd.testing.assert_frame_equal(again.subgroups, found.subgroups)
    assert again.words == found.words
    assert again.notes == found.notes
    assert again.data_digest == found.data_digest
    for name, table in found.tables.items():
        pd.testing.assert_frame_equal(again.tables[name], table)


def test_the_seed_reaches_the_imputations_only(cohort, found, no_figures):
    other = compare(config(**SETTINGS).model_copy(update={"seed": 5}), cohort)
    pd.testing.assert_frame_equal(other.table, found.table)
    imputed = found.tables["sensitivity"]["analysis"].str.contains("imputed")
    assert imputed.sum() == 1
    pd.testing.assert_frame_equal(other.tables["sensitivity"][~imputed], found.tables["sensitivity"][~imputed])
    assert not other.tables["sensitivity"][imputed].equals(found.tables["sensitivity"][imputed])


def test_the_digest_is_of_all_that_the_analysis_depends_on(trial, found, no_figures):
    trial.labs.loc[trial.where(trial.labs, "lymphocytes")[1], "value"] += 1
    assert compare(config(), trial.load()).data_digest != found.data_digest
    trial = short(small_course())
    first = trial.where(trial.events, "infection")[0]
    trial.events.loc[first, "day"] -= 1
    assert compare(config(), trial.load()).data_digest != found.data_digest


def test_without_settings_the_study_file_decides(cohort, no_figures):
    plain = compare(config(), cohort)
    assert plain.headline["endpoint"].tolist()[:4] == ["infected", "infections", "sofa", "relapse"]
    assert plain.headline["p_holm"].notna().tolist() == [True] * 4 + [False] * (len(plain.headline) - 4)
    assert set(plain.subgroups["modifier"]) == {"corticosteroid_at_randomisation"}
    assert not plain.table["method"].str.contains("adjusted for baseline and").any()


def test_subgroups_that_randomisation_does_not_protect_are_said(found):
    protected = found.subgroups.groupby("modifier")["protected"].first()
    assert protected.to_dict() == {"antiviral_during_treatment": False, "sex": True}
    sentence = next(each for each in found.words if each.startswith("Antiviral during treatment"))
    assert "randomisation does not protect" in sentence


def test_the_level_is_the_configs(cohort, found, no_figures):
    narrow = compare(
        config().model_copy(update={"validation": config().validation.model_copy(update={"level": 0.8})}), cohort
    )
    wide = compare(config(), cohort)
    row = (wide.table["endpoint"] == "infected") & (wide.table["scale"] == "ratio")
    assert (narrow.table.loc[row, "high"] < wide.table.loc[row, "high"]).all()


def test_simulated_patients_are_said_to_be_so(no_figures):
    cohort, _ = simulate_trial(200, seed=4)
    # Of the course only deaths, which is quicker.
    course = cohort.course._replace(measurements={}, stays={}, adverse_events=None)
    spec = course.spec.model_copy(update={"measurements": {}, "stays": {}, "adverse_events": None, "rules": {}})
    object.__setattr__(cohort, "course", course._replace(spec=spec))
    found = compare(config("infection_day30", covariates=("age", "sex")), cohort)
    assert found.simulated
    assert found.to_text().startswith("Simulated patients: demonstration only")
    assert set(cohort.outcomes) < set(found.table["endpoint"])
    assert found.table["p_value"].dropna().between(0, 1).all()
    methods = set(found.table.loc[found.table["endpoint"] == "infection_day30", "method"])
    assert {"Aalen-Johansen", "Cox, cause-specific", "log-rank test"} <= methods


@pytest.mark.parametrize("name", ["cgd", "actg175", "il7_trial"])
def test_shipped_configs_name_what_their_studies_have(name):
    from il7ml.data.study import load_study

    shipped = RunConfig.from_file(CONFIGS / f"{name}.yaml")
    study, settings = load_study(shipped.study), shipped.analysis
    assert set(settings.order or ()) <= {*study.endpoints, *(study.course.results if study.course else ())}
    assert {*settings.covariates, *(settings.subgroups or ())} <= set(study.variables)


def test_no_events_in_an_arm_leave_the_other_endpoints(trial, no_figures):
    trial.drop_events("infection", *range(1, 80, 2))
    found = compare(config("sofa"), trial.load())
    line = found.headline.set_index("endpoint").loc["infected"]
    assert line["treated"] == "0/40 (0 %)"
    assert (line["scale"], line["method"]) == ("difference", "Newcombe, Fisher")
    assert np.isnan(found.headline.set_index("endpoint").loc["infections", "estimate"])
    assert "infections" not in set(found.table["endpoint"])
    assert any(note.startswith("Not compared - infected, unadjusted:") for note in found.notes)
    assert {"sofa", "relapse", "death"} <= set(found.table["endpoint"])
    # An endpoint that could not be compared stops the fixed sequence.
    sequence = found.headline.set_index("endpoint")["p_hierarchical"]
    place = list(sequence.index).index("infections")
    assert sequence.dropna().iloc[place:].tolist() == [1.0] * (len(sequence.dropna()) - place)


def test_a_config_whose_own_endpoint_cannot_be_compared_is_refused(trial, no_figures):
    trial.drop_events("infection", *range(1, 80, 2))
    with pytest.raises(InputError, match="endpoint 'infections' cannot be compared") as caught:
        compare(config("infections"), trial.load())
    message = str(caught.value)
    assert message.count("no events in the treated arm") == 1  # for whatever number of methods
    assert "infected" not in message  # the other endpoint's troubles are not this one's
    assert not any(one in message for one in trial.ids(*range(80)))


@pytest.mark.parametrize(
    ("endpoint", "settings", "message"),
    [
        ("infectd", {}, r"has no endpoint 'infectd'. Did you mean 'infected'\?"),
        (
            "infected",
            {"covariates": ("antiviral_during_treatment",)},
            "no baseline variable 'antiviral_during_treatment'",
        ),
        ("infected", {"order": ("infected", "deth")}, r"there is no endpoint 'deth'. Did you mean 'death'\?"),
        ("infected", {"subgroups": {"agee": ()}}, r"has no variable 'agee'. Did you mean 'age'\?"),
        ("infected", {"subgroups": {"sex": (1.0,)}}, "cut points are for numbers"),
    ],
)
def test_what_the_study_does_not_have_is_refused(cohort, no_figures, endpoint, settings, message):
    with pytest.raises(InputError, match=message):
        compare(config(endpoint, **settings), cohort)


def test_an_analysis_is_tracked_and_written(tmp_path, trial, no_figures):
    trial.raw["title"] = "Größe und Wirkung"
    path = project(tmp_path, trial, covariates=["age"], subgroups={"sex": []})
    result = analyze(path, out=tmp_path / "results")
    names = {*result.tables, "endpoints", "headline", "subgroups"}
    assert files(tmp_path / "results") == {*(f"{name}.csv" for name in names), "flow.png", "report.html"}
    table = pd.read_csv(tmp_path / "results" / "endpoints.csv")
    assert list(table.columns) == COLUMNS
    assert table["estimate"].tolist() == pytest.approx(result.table["estimate"].tolist())
    page = (tmp_path / "results" / "report.html").read_text(encoding="utf-8")
    assert "Größe und Wirkung" in page
    (tracked,) = runs(tmp_path)
    assert tracked.info.status == "FINISHED"
    assert tracked.info.run_id == result.run_id
    assert tracked.info.run_name == "analysis of small_course"
    headline = result.headline.set_index("endpoint").loc["infected"]
    metrics = tracked.data.metrics
    assert metrics["infected.ratio"] == pytest.approx(headline["estimate"])
    assert metrics["infected.ratio_low"] == pytest.approx(headline["low"])
    assert metrics["infected.ratio_p"] == pytest.approx(headline["p_value"])
    assert (tracked.data.params["n"], tracked.data.params["analysis.covariates"]) == ("80", "age")
    assert tracked.data.tags["data"] == "real"
    assert tracked.data.tags["data_digest"] == result.data_digest
    artifacts = tmp_path / "mlruns" / "artifacts" / result.run_id / "artifacts"
    assert {"report.html", "config.yaml", "summary.md", "versions.json"} <= files(artifacts)
    assert {f"{name}.csv" for name in names} == files(artifacts / "tables")
    # Nothing that goes out knows a patient.
    ids = trial.ids(*range(80))
    for folder in (artifacts, tmp_path / "results"):
        for file in folder.rglob("*"):
            if file.suffix in {".csv", ".html", ".md", ".yaml", ".json"}:
                text = file.read_text(encoding="utf-8")
                assert not any(one in text for one in ids), file.name


def test_metrics_that_are_not_defined_are_not_logged(cohort, found):
    headline = found.headline.copy()
    headline.loc[headline["endpoint"] == "sofa", ["estimate", "low", "high", "p_value"]] = np.nan
    from dataclasses import replace

    items = list(trial_items(replace(found, headline=headline), "<html>"))
    metrics = {item.name: item.value for item in items if isinstance(item, Metric)}
    assert not any(name.startswith("sofa.") for name in metrics)
    assert "relapse.hazard_ratio_high" in metrics
    assert all(np.isfinite(value) for value in metrics.values())
    assert Tag("study", "small_course") in items
    assert Param("n_treated", "40") in items
    assert len({(type(item), item.name) for item in items}) == len(items)


def test_nothing_is_written_where_the_endpoint_cannot_be_compared(tmp_path, trial, no_figures):
    trial.drop_events("infection", *range(1, 80, 2))
    path = project(tmp_path, trial, "infections")
    with pytest.raises(InputError, match="cannot be compared"):
        analyze(path, out=tmp_path / "results")
    assert not files(tmp_path / "results")
    assert [tracked.info.status for tracked in runs(tmp_path)] == ["FAILED"]


def test_nothing_is_written_or_tracked_where_the_data_are_wrong(tmp_path, trial):
    trial.set_labs("lymphocytes", 2, {0: 300, 9: 500}, "cells/uL")  # patient 2 dies on day 7
    path = project(tmp_path, trial)
    with pytest.raises(DataError, match="measurement after the patient's death"):
        analyze(path, out=tmp_path / "results")
    assert not (tmp_path / "results").exists()
    assert runs(tmp_path) == []


@pytest.mark.parametrize(("endpoint", "covariates"), [("deth", []), ("infected", ["sofa"])])
def test_nothing_is_made_or_tracked_where_the_config_is_wrong(tmp_path, trial, endpoint, covariates):
    path = project(tmp_path, trial, endpoint, covariates=covariates)
    with pytest.raises(InputError, match="study small_course has no"):
        analyze(path, out=tmp_path / "results")
    assert not (tmp_path / "results").exists()
    assert runs(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_tracked(tmp_path, trial):
    path = project(tmp_path, trial)
    (tmp_path / "results").write_text("a file")
    with pytest.raises(InputError, match="Choose another folder"):
        analyze(path, out=tmp_path / "results")
    assert runs(tmp_path) == []


def test_progress_is_told_step_by_step(cohort, no_figures):
    told = []

    @contextmanager
    def steps(label):
        yield lambda done, total: told.append((label, done, total))

    compare(config(), cohort, steps)
    assert told == [("endpoints", done, 4) for done in (1, 2, 3, 4)]


def test_the_command_prints_table_words_folder_and_run_id(tmp_path, trial, capsys, no_figures):
    path = project(tmp_path, trial)
    assert main(["analyze", str(path), "--out", str(tmp_path / "results"), "--set", "analysis.covariates=[age]"]) == 0
    printed = capsys.readouterr().out
    (tracked,) = runs(tmp_path)
    lines = printed.strip().splitlines()
    assert lines[-1] == tracked.info.run_id
    assert lines[-2] == f"Tables, figures and report: {tmp_path / 'results'}"
    assert "Drug (40) against Placebo (40)" in printed
    assert "Infection by day 30:" in printed


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("events", "cannot be compared"),
        ("schedule", "visits are out of order"),
        ("unit", "in another unit than"),
        ("column", "column is missing"),
        ("table", "labs.csv"),
    ],
)
def test_bad_input_is_one_clear_message(tmp_path, trial, capsys, no_figures, fault, message):
    if fault == "events":
        trial.drop_events("infection", *range(0, 80, 2))
    elif fault == "schedule":
        trial.course["measurements"][COUNT]["schedule"] = [7, 3]
    elif fault == "unit":
        trial.labs.loc[trial.where(trial.labs, "lymphocytes")[:3], "unit"] = "10^9/L"
    elif fault == "column":
        trial.patients = trial.patients.drop(columns="follow_up")
    path = project(tmp_path, trial, "infections")
    if fault == "table":
        (tmp_path / "labs.csv").unlink()
    assert main(["analyze", str(path), "--out", str(tmp_path / "results")]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert not any(one in printed.err for one in trial.ids(*range(80)))
    assert not (tmp_path / "results" / "endpoints.csv").exists()


def test_recovery_is_looked_at_by_the_modifiers_whether_or_not_it_is_in_the_order(cohort, no_figures):
    found = compare(config("infected", order=("infected",), subgroups={"sex": ()}), cohort)
    parts = {f"{COUNT}_{part}" for part in ("final", "average", "recovery")}
    assert parts | {"infected"} == set(found.subgroups["endpoint"])
    for _, effects in found.subgroups.groupby(["endpoint", "scale"]):
        assert len(effects) == 2
        assert len(effects["interaction_p"].unique()) == 1
    # Their P values stay outside the order.
    assert found.headline.set_index("endpoint").loc[sorted(parts), "p_holm"].isna().all()
