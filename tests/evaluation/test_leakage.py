import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from il7ml.errors import InputError
from il7ml.evaluation.leakage import leakage_audit

N = 200


@pytest.fixture
def trial():
    rng = np.random.default_rng(1)
    y = (rng.random(N) < 0.3).astype(float)
    values = pd.DataFrame(
        {
            "age": rng.normal(60, 10, N) + 5 * y,
            "procalcitonin": -3 * y + rng.normal(0, 0.5, N),
            "ward": rng.choice(["A", "B", "C"], N),
            "infected": np.where(y == 1, "yes", "no"),
            "culture_day": np.where(y == 1, rng.uniform(1, 20, N), np.nan),
            "sedated": rng.random(N) < 0.5,
        }
    )
    known = dict.fromkeys(values.columns, "at_randomisation")
    return values, known, y


def audit(values, known, y, kind="binary", **options):
    return leakage_audit(values, known, y, kind, **options).set_index("variable")


def test_areas_against_scikit_learn_in_the_better_direction(trial):
    values, known, y = trial
    table = audit(*trial)
    assert table.loc["age", "auroc"] == pytest.approx(roc_auc_score(y, values["age"]))
    assert table.loc["procalcitonin", "auroc"] == pytest.approx(1 - roc_auc_score(y, values["procalcitonin"]))
    levels = [roc_auc_score(y, values["ward"] == level) for level in "ABC"]
    assert table.loc["ward", "auroc"] == pytest.approx(max(max(area, 1 - area) for area in levels))
    weight = np.linspace(0.5, 2, N)
    weighted = audit(values, known, y, weight=weight)
    assert weighted.loc["age", "auroc"] == pytest.approx(roc_auc_score(y, values["age"], sample_weight=weight))


def test_what_gives_the_outcome_away_is_named(trial):
    warnings = audit(*trial)["warning"]
    assert warnings[["age", "ward", "sedated"]].tolist() == ["", "", ""]
    assert "alone predicts the outcome with AUROC" in warnings["procalcitonin"]
    assert "holds the same as the outcome" in warnings["infected"]
    assert "whether it is missing predicts the outcome with AUROC 1.00" in warnings["culture_day"]


def test_the_threshold_is_the_callers(trial):
    assert audit(*trial, suspicious=0.55).loc["age", "warning"] != ""


def test_a_variable_known_later_is_no_feature(trial):
    values, known, y = trial
    table = audit(values, known | {"age": "after_randomisation"}, y)
    assert "cannot be a feature" in table.loc["age", "warning"]
    assert table.loc["age", "known"] == "after_randomisation"


def test_few_events_give_no_alarm(trial):
    values, known, _ = trial
    rare = np.zeros(N)
    rare[np.argsort(values["age"])[-4:]] = 1
    table = audit(values[["age"]], known, rare)
    assert np.isnan(table.loc["age", "auroc"])
    assert table.loc["age", "warning"] == ""


def test_unknown_outcomes_do_not_count(trial):
    values, known, y = trial
    seen = np.arange(N) % 4 != 0
    part = audit(values, known, np.where(seen, y, np.nan), weight=seen)
    pd.testing.assert_frame_equal(part, audit(values[seen], known, y[seen]))
    assert part.loc["age", "n"] == 150


def test_the_outcome_in_another_unit_is_a_duplicate():
    rng = np.random.default_rng(2)
    ratio = rng.lognormal(size=60)
    values = pd.DataFrame({"percent": 100 * ratio, "noise": rng.normal(size=60), "site": ["a", "b"] * 30})
    known = dict.fromkeys(values.columns, "before_randomisation")
    assert audit(values, known, ratio, "continuous")["duplicate"].tolist() == [True, False, False]
    counts = rng.poisson(1.0, 60)
    values = pd.DataFrame({"episodes": counts + 1, "any": counts > 0})
    table = audit(values, dict.fromkeys(values.columns, "at_randomisation"), counts, "count")
    assert table["duplicate"].tolist() == [True, False]
    # Whether there was any event ranks perfectly all the same.
    assert "AUROC 1.00" in table.loc["any", "warning"]


def test_a_variable_without_values_has_no_area(trial):
    values, known, y = trial
    table = audit(values.assign(age=np.nan), known, y)
    assert table.loc["age", "n"] == 0
    assert np.isnan(table.loc["age", "auroc"])


def test_it_must_be_said_when_a_variable_is_known(trial):
    values, known, y = trial
    with pytest.raises(InputError, match="not said when ward is known"):
        leakage_audit(values, {name: when for name, when in known.items() if name != "ward"}, y, "binary")
    with pytest.raises(InputError, match="each of 200 patients, got 199"):
        leakage_audit(values, known, y[1:], "binary")
