import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from il7ml.errors import InputError
from il7ml.evaluation.influence import auroc
from il7ml.evaluation.internal_external import internal_external
from il7ml.evaluation.outcome import as_outcome
from il7ml.evaluation.random_effects import random_effects


def sites_of(n=400, shift=0.0, seed=1):
    rng = np.random.default_rng(seed)
    risk = rng.uniform(0.05, 0.8, n)
    site = np.array(["north", "south", "east", "west"])[np.arange(n) % 4]
    y = (rng.random(n) < expit(logit(risk) + shift * (site == "west"))).astype(float)
    return y, risk, site


def figures(result, metric):
    return result.sites[result.sites["metric"] == metric].set_index("site")


def test_figures_of_a_site_against_scikit_learn_and_statsmodels():
    y, risk, site = sites_of()
    result = internal_external(y, risk, site, "binary")
    here = site == "east"
    area = figures(result, "auroc").loc["east"]
    assert area["value"] == pytest.approx(roc_auc_score(y[here], risk[here]))
    assert area["std_error"] == pytest.approx(
        auroc(as_outcome(y[here], "binary"), risk[here]).std_error / (area["value"] * (1 - area["value"]))
    )
    assert (area["n"], area["events"]) == (100, y[here].sum())
    fit = sm.GLM(y[here], sm.add_constant(logit(risk[here])), family=sm.families.Binomial()).fit(tol=1e-12)
    slope = figures(result, "calibration_slope").loc["east"]
    assert (slope["estimate"], slope["std_error"]) == pytest.approx((fit.params[1], fit.bse[1]), abs=1e-6)
    ratio = figures(result, "observed_expected").loc["east"]
    assert ratio["value"] == pytest.approx(y[here].sum() / risk[here].sum())
    half = stats.norm.ppf(0.975) * ratio["std_error"]
    assert ratio["high"] == pytest.approx(ratio["value"] * np.exp(half))


def test_the_summary_is_that_of_the_sites_on_their_scale():
    y, risk, site = sites_of(shift=1.0)
    result = internal_external(y, risk, site, "binary")
    summary = result.summary.set_index("metric")
    for metric, back in (("auroc", expit), ("observed_expected", np.exp), ("calibration_slope", float)):
        rows = figures(result, metric)
        reference = random_effects(rows["estimate"], rows["std_error"])
        assert summary.loc[metric, "estimate"] == pytest.approx(back(reference.estimate))
        assert summary.loc[metric, "prediction_low"] == pytest.approx(back(reference.prediction_low))
        assert summary.loc[metric, ["sites", "sites_left_out"]].tolist() == [4, 0]
    # Only the west has more events than predicted.
    assert figures(result, "observed_expected").loc["west", "low"] > 1
    assert summary.loc["observed_expected", "tau2"] > 0


def test_counts_and_continuous_outcomes_against_statsmodels():
    rng = np.random.default_rng(2)
    site, days, rate = np.repeat(["a", "b"], 60), rng.uniform(5, 30, 120), rng.gamma(2, 0.05, 120)
    events = rng.poisson(rate * days * rng.gamma(1, 1, 120))
    result = internal_external(events, rate, site, "count", exposure=days)
    fit = sm.GLM(
        events[:60], sm.add_constant(np.log(rate[:60])), offset=np.log(days[:60]), family=sm.families.Poisson()
    ).fit(scale="X2", tol=1e-12)
    slope = figures(result, "calibration_slope").loc["a"]
    assert (slope["estimate"], slope["std_error"]) == pytest.approx((fit.params[1], fit.bse[1]), rel=1e-5)
    y = 2 * rate + rng.normal(size=120)
    result = internal_external(y, rate, site, "continuous")
    fit = sm.OLS(y[:60], sm.add_constant(rate[:60])).fit()
    slope = figures(result, "calibration_slope").loc["a"]
    assert (slope["estimate"], slope["std_error"]) == pytest.approx((fit.params[1], fit.bse[1]))
    shift = figures(result, "observed_minus_predicted").loc["b"]
    assert result.sites["events"].isna().all()
    assert (shift["value"], shift["std_error"]) == pytest.approx(((y - rate)[60:].mean(), stats.sem((y - rate)[60:])))


def test_small_sites_are_hidden_and_sites_without_a_figure_left_out():
    y, risk, site = sites_of(120)
    site = np.where(np.arange(120) < 9, "tiny", site)
    silent = site == "north"
    y[silent] = 0
    result = internal_external(y, risk, site, "binary")
    tiny = result.sites[result.sites["site"] == "tiny"]
    assert tiny[["n", "events", "estimate", "std_error", "value", "low", "high"]].isna().all(axis=None)
    summary = result.summary.set_index("metric")
    assert summary[["sites", "sites_left_out"]].values.tolist() == [[3, 2]] * 3
    assert figures(result, "observed_expected").loc["north", "events"] == 0


def test_a_perfect_ranking_has_no_slope_and_no_area_on_the_logit_scale():
    y, risk, site = sites_of(120)
    here = site == "south"
    y[here] = risk[here] > 0.4
    result = internal_external(y, risk, site, "binary")
    for metric in ("auroc", "calibration_slope"):
        assert np.isnan(figures(result, metric).loc["south", "estimate"])
    assert result.summary.set_index("metric")["sites"].to_dict() == {
        "auroc": 3,
        "observed_expected": 4,
        "calibration_slope": 3,
    }


def test_two_small_sites_have_no_summary():
    y, risk, _ = sites_of(16)
    result = internal_external(y, risk, np.repeat(["a", "b"], 8), "binary")
    assert (result.summary["sites"] == 0).all()
    assert result.summary["estimate"].isna().all()


def test_unknown_outcomes_are_left_out_and_repeats_averaged():
    y, risk, site = sites_of()
    unknown = np.arange(400) % 7 == 0
    repeats = np.stack([risk, risk**1.2])
    result = internal_external(
        np.where(unknown, np.nan, y), repeats, site, "binary", weight=np.where(unknown, 0.0, 1.0)
    )
    single = [internal_external(y[~unknown], values[~unknown], site[~unknown], "binary") for values in repeats]
    means = (figures(single[0], "calibration_slope")["value"] + figures(single[1], "calibration_slope")["value"]) / 2
    np.testing.assert_allclose(figures(result, "calibration_slope")["value"], means)


@pytest.mark.parametrize(
    ("site", "said"), [(["a"] * 20, "at least 2 sites, got 1"), (["a", None] * 10, "missing"), (["a", "b"], "shape")]
)
def test_sites_must_be_two_and_known(site, said):
    with pytest.raises(InputError, match=said):
        internal_external(np.arange(20) % 2, np.full(20, 0.3), site, "binary")
