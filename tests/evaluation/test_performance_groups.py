import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss, mean_poisson_deviance, roc_auc_score

from il7ml.errors import InputError
from il7ml.evaluation.influence import auroc
from il7ml.evaluation.outcome import as_outcome
from il7ml.evaluation.performance_groups import age_groups, performance_by_group


@pytest.fixture
def sample():
    rng = np.random.default_rng(1)
    risk = rng.uniform(0.05, 0.9, 200)
    return (rng.random(200) < risk).astype(float), risk, np.where(np.arange(200) < 80, "female", "male")


def cell(table, group, metric):
    return table[(table["group"] == group) & (table["metric"] == metric)].iloc[0]


def test_a_group_has_the_figures_of_its_patients(sample):
    y, risk, sex = sample
    table = performance_by_group(y, risk, {"sex": sex}, "binary")
    for group, members in (("all", slice(None)), ("female", slice(0, 80)), ("male", slice(80, 200))):
        y_here, risk_here = y[members], risk[members]
        area = cell(table, group, "auroc")
        assert (area["n"], area["events"]) == (y_here.size, y_here.sum())
        assert area["estimate"] == pytest.approx(roc_auc_score(y_here, risk_here))
        limits = auroc(as_outcome(y_here, "binary"), risk_here).interval(0.95, "logit")
        assert (area["low"], area["high"]) == pytest.approx(limits)
        brier = cell(table, group, "brier")
        assert brier["estimate"] == pytest.approx(brier_score_loss(y_here, risk_here))
        half = stats.norm.ppf(0.975) * stats.sem((y_here - risk_here) ** 2)
        assert brier["high"] - brier["estimate"] == pytest.approx(half)
        assert cell(table, group, "observed_expected")["estimate"] == pytest.approx(y_here.sum() / risk_here.sum())


def test_groups_of_fewer_than_ten_are_named_without_a_number(sample):
    y, risk, _ = sample
    site = np.array(["A"] * 181 + ["B"] * 10 + ["C"] * 9)
    table = performance_by_group(y, risk, {"site": site}, "binary")
    shown = table.groupby("group", sort=False)["hidden"].first().to_dict()
    assert shown == {"all": False, "A": False, "B": False, "C": True}
    hidden = table[table["hidden"]]
    assert len(hidden) == 3
    assert hidden[["n", "events", "estimate", "low", "high"]].isna().all(axis=None)


def test_patients_with_unknown_outcome_do_not_count(sample):
    y, risk, sex = sample
    unknown = np.arange(200) >= 85
    table = performance_by_group(
        np.where(unknown, np.nan, y), risk, {"sex": sex}, "binary", weight=np.where(unknown, 0, 1)
    )
    assert cell(table, "all", "brier")["n"] == 85
    assert cell(table, "male", "brier")["hidden"]


def test_a_missing_label_is_a_group_of_its_own_and_comes_last(sample):
    y, risk, sex = sample
    labels = np.where(np.arange(200) % 4 == 0, None, sex)
    table = performance_by_group(y, risk, {"sex": labels}, "binary")
    assert table["group"].unique().tolist() == ["all", "female", "male", "missing"]
    assert cell(table, "missing", "brier")["n"] == 50


def test_ages_are_grouped_in_order_and_limits_belong_to_the_older(sample):
    y, risk, _ = sample
    age = np.tile([49.9, 50.0, 64.9, 65.0, 85.0, 90.0, 80.0, 20.0, np.nan, 70.0], 20)
    table = performance_by_group(y, risk, {"age": age_groups(age)}, "binary")
    sizes = table[table["metric"] == "brier"].set_index("group")["n"].to_dict()
    assert sizes == {
        "all": 200,
        "under 50": 40,
        "50 to under 65": 40,
        "65 to under 80": 40,
        "80 and over": 60,
        "missing": 20,
    }
    assert list(sizes)[1:] == ["under 50", "50 to under 65", "65 to under 80", "80 and over", "missing"]


def test_numbers_as_labels_and_series_with_another_index(sample):
    y, risk, _ = sample
    ventilated = pd.Series(np.arange(200) % 2, index=np.arange(1000, 1200))
    table = performance_by_group(y, risk, {"ventilated": ventilated}, "binary")
    assert cell(table, "1", "brier")["estimate"] == pytest.approx(brier_score_loss(y[1::2], risk[1::2]))


def test_a_group_without_events_has_no_area_and_no_limits_of_the_ratio(sample):
    y, risk, sex = sample
    table = performance_by_group(np.where(sex == "female", 0, y), risk, {"sex": sex}, "binary")
    assert np.isnan(cell(table, "female", "auroc")["estimate"])
    ratio = cell(table, "female", "observed_expected")
    assert ratio["estimate"] == 0
    assert np.isnan([ratio["low"], ratio["high"]]).all()


def test_counts_and_continuous_outcomes():
    rng = np.random.default_rng(2)
    days, rate, site = rng.uniform(5, 30, 60), rng.gamma(2, 0.05, 60), np.repeat(["a", "b"], 30)
    events = rng.poisson(rate * days)
    table = performance_by_group(events, rate, {"site": site}, "count", exposure=days)
    assert cell(table, "b", "poisson_deviance")["estimate"] == pytest.approx(
        mean_poisson_deviance(events[30:], (rate * days)[30:])
    )
    assert cell(table, "b", "observed_expected")["estimate"] == pytest.approx(
        events[30:].sum() / (rate * days)[30:].sum()
    )
    table = performance_by_group(rate, np.zeros(60), {"site": site}, "continuous")
    shift = cell(table, "a", "observed_minus_predicted")
    half = stats.norm.ppf(0.975) * stats.sem(rate[:30])
    assert (shift["estimate"], shift["high"]) == pytest.approx((rate[:30].mean(), rate[:30].mean() + half))
    assert cell(table, "a", "rmse")["estimate"] == pytest.approx(np.sqrt((rate[:30] ** 2).mean()))
    assert table["events"].isna().all()


def test_every_patient_needs_a_label(sample):
    y, risk, sex = sample
    with pytest.raises(InputError, match="sex has 199 labels for 200 patients"):
        performance_by_group(y, risk, {"sex": sex[1:]}, "binary")
