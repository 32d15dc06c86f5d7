import json

import numpy as np
import pytest
from scipy.special import expit, logit
from tests.small_bundles import NAMES, make, patients, with_card

from il7ml.bundle import load_bundle, save_bundle
from il7ml.cli import main
from il7ml.data.loading import load_cohort
from il7ml.data.simulator import write_trial
from il7ml.errors import InputError
from il7ml.predictor import Predictor
from il7ml.recalibrating import recalibrate_model

SHIFT = -1.0  # of the log odds in the new setting


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the folder of a stored model."""
    folder = tmp_path_factory.mktemp("model") / "bundle"
    save_bundle(make().bundle, folder)
    return folder


def ward(n=800, shift=SHIFT, slope=1.0, seed=0):
    """Return untreated patients whose log odds are the model's, stretched and shifted."""
    rng = np.random.default_rng(seed)
    frame = patients(n, rng)
    risk = Predictor(make().bundle).predict_table(frame)["risk_untreated"].to_numpy()
    y = rng.binomial(1, expit(slope * logit(risk) + shift)).astype(float)
    return frame.assign(outcome=y)


def written(frame, folder):
    path = folder / "ward.csv"
    frame.to_csv(path, index=False)
    return path


def test_the_shift_of_the_new_setting_is_found_and_the_bundle_predicts_with_it(model, tmp_path):
    frame = ward()
    found = recalibrate_model(written(frame, tmp_path), tmp_path / "new", model=model, place="our ward")
    assert found.recalibration.method == "intercept"
    assert found.recalibration.intercept == pytest.approx(SHIFT, abs=0.25)
    assert (found.n, found.events) == (800, int(frame["outcome"].sum()))
    loaded = load_bundle(tmp_path / "new")
    assert loaded.card.recalibration.data == f"our ward: 800 untreated patients, {found.events} events"
    fresh = ward(seed=1)
    answers = Predictor(loaded).predict_table(fresh.drop(columns="outcome"))
    before = Predictor(load_bundle(model)).predict_table(fresh.drop(columns="outcome"))
    assert answers["risk_untreated"].mean() == pytest.approx(fresh["outcome"].mean(), abs=0.05)
    assert before["risk_untreated"].mean() - fresh["outcome"].mean() > 0.1
    # The relative effect stays that of the trial.
    for table in (answers, before):
        odds = logit(table["risk_treated"]) - logit(table["risk_untreated"])
        np.testing.assert_allclose(odds, loaded.card.theta, atol=1e-9)


def test_figures_stand_side_by_side_with_intervals(model, tmp_path):
    figures = recalibrate_model(written(ward(), tmp_path), tmp_path / "new", model=model, place="x").figures
    figures = figures.set_index("metric")
    assert figures.loc["calibration_intercept", "before"] == pytest.approx(SHIFT, abs=0.25)
    assert figures.loc["calibration_intercept", "after"] == pytest.approx(0.0, abs=0.05)
    assert figures.loc["brier", "after"] < figures.loc["brier", "before"]
    # A shift by folds hardly moves the ranking.
    assert figures.loc["auroc", "after"] == pytest.approx(figures.loc["auroc", "before"], abs=0.01)
    for name in ("before", "after"):
        assert (figures[f"{name}_low"] <= figures[name]).all()
        assert (figures[name] <= figures[f"{name}_high"]).all()


def test_a_model_that_fits_is_left_as_it_is_and_a_spread_that_does_not_is_mended(model, tmp_path):
    same = recalibrate_model(written(ward(shift=0.0, seed=2), tmp_path), tmp_path / "same", model=model, place="x")
    assert same.recalibration.method == "none"
    assert load_bundle(tmp_path / "same").card.recalibration.intercept == 0.0
    stretched = ward(n=2000, shift=0.0, slope=0.3)
    found = recalibrate_model(written(stretched, tmp_path), tmp_path / "new", model=model, place="x")
    assert found.recalibration.method == "intercept_slope"
    assert found.recalibration.slope == pytest.approx(0.3, abs=0.12)


def test_unknown_outcomes_take_no_part_and_patients_out_of_scope_are_counted(model, tmp_path):
    frame = ward(n=300)
    frame.loc[:99, "outcome"] = np.nan
    frame.loc[100:109, "age"] = 90.0
    frame.loc[110:114, "age"] = np.nan
    found = recalibrate_model(written(frame, tmp_path), tmp_path / "new", model=model, place="x")
    assert found.n == 185
    assert found.notes == (
        "5 patients without a required value, or with an impossible one, are left out",
        "10 patients outside the trial's eligibility are left out",
    )


def few(events):
    frame = ward(n=60)
    return frame.assign(outcome=(np.arange(60) < events).astype(float))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda frame: few(0), {}, "at least with and without the outcome among those who can be used, got 0 with"),
        (lambda frame: few(9), {}, "expected 10 patients at least with and without .* got 9 with and 51 without"),
        (lambda frame: few(60), {}, "got 60 with and 0 without"),
        (lambda frame: frame, {"place": None}, "--place: expected words"),
        (lambda frame: frame, {"outcome": "outcom"}, "outcome in a column 'outcom'.* 'outcome'"),
        (lambda frame: frame.assign(outcome="yes"), {}, "column 'outcome': expected 0 .no., 1 .yes. or nothing"),
        (lambda frame: frame.assign(outcome=2), {}, "column 'outcome': expected 0 .no., 1 .yes. or nothing"),
        (lambda frame: frame.assign(age=-5), {}, "800 of 800 patients cannot be predicted"),
        (lambda frame: frame.drop(columns="age"), {}, "age"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(model, tmp_path, change, options, message):
    source = written(change(ward()), tmp_path)
    with pytest.raises(InputError, match=message):
        recalibrate_model(source, tmp_path / "new", **{"model": model, "place": "our ward", **options})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ward.csv"]


def test_nothing_is_overwritten(model, tmp_path):
    (tmp_path / "new").mkdir()
    with pytest.raises(InputError, match="exists already"):
        recalibrate_model(written(ward(), tmp_path), tmp_path / "new", model=model, place="x")


def test_counts_need_a_study(tmp_path):
    save_bundle(make("count").bundle, tmp_path / "model")
    with pytest.raises(InputError, match="counts need their time at risk"):
        recalibrate_model(written(ward(), tmp_path), tmp_path / "new", model=tmp_path / "model", place="x")


def test_of_a_study_the_control_arm_is_taken_and_the_training_patients_are_refused(tmp_path):
    write_trial(300, 1, "patients", tmp_path / "trial", format="parquet")
    study = tmp_path / "trial"
    cohort = load_cohort(study, course=False)
    adapted = with_card(make().bundle, endpoint="infection_day30", eligibility={})
    save_bundle(adapted, tmp_path / "model")
    found = recalibrate_model(study, tmp_path / "new", model=tmp_path / "model", method="intercept")
    ages = cohort.baseline["age"].notna() & cohort.baseline["absolute_lymphocyte_count"].notna()
    control = (cohort.treatment == 0) & ages.to_numpy()
    infected = cohort.outcomes["infection_day30"].value[control]
    assert (found.n, found.events) == (np.isfinite(infected).sum(), int(np.nansum(infected)))
    assert load_bundle(tmp_path / "new").card.recalibration.data.startswith(
        f"{cohort.study.title}: {found.n} untreated"
    )
    answers = Predictor(found.bundle).predict_table(cohort.baseline[control].reset_index(drop=True)[list(NAMES)])
    assert answers["risk_untreated"].mean() == pytest.approx(np.nanmean(infected), abs=1e-6)
    save_bundle(with_card(adapted, data_digest=cohort.digest), tmp_path / "own")
    with pytest.raises(InputError, match="trained on these very patients"):
        recalibrate_model(study, tmp_path / "other", model=tmp_path / "own")
    with pytest.raises(InputError, match=r"is count, the model's .infection_day30. is binary"):
        recalibrate_model(study, tmp_path / "other", model=tmp_path / "model", outcome="infections")


def test_the_command_says_what_was_changed_and_where_the_model_lies(model, tmp_path, capsys):
    arguments = ["recalibrate", "--model", str(model), "--in", str(written(ward(), tmp_path)), "--place", "our ward"]
    assert main([*arguments, "--out", str(tmp_path / "new")]) == 0
    out = capsys.readouterr().out
    assert "The level was changed" in out
    assert "800 untreated patients" in out
    assert out.splitlines()[-1] == str(tmp_path / "new")
    card = json.loads((tmp_path / "new" / "card.json").read_text())
    assert card["recalibration"]["data"].startswith("our ward")
    assert main([*arguments, "--out", str(tmp_path / "new")]) == 2
    assert "exists already" in capsys.readouterr().err
