from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from il7ml.endpoints.repeated import repeated_measures
from il7ml.errors import InputError

DAYS = np.array([3.0, 7, 10, 14, 21, 25, 30])


def drawn(n=109, seed=1, days=DAYS, *, missing=True):
    """Return counts at visits (dropout by the last count seen), baseline, arm, and the true log ratios."""
    rng = np.random.default_rng(seed)
    baseline, arm = rng.normal(-0.5, 0.4, n), np.arange(n) % 2
    effect = 0.35 * days / 30
    spread = 0.18**2 * np.eye(days.size) + 0.3**2 + 0.5**2 * np.outer(days, days) / 900
    logs = 0.8 * baseline[:, None] + 0.7 * days / 30 + arm[:, None] * effect
    logs += rng.multivariate_normal(np.zeros(days.size), spread, n)
    if missing:
        for visit in range(1, days.size):
            gone = rng.random(n) < 1 / (1 + np.exp(2.4 - 1.5 * logs[:, visit - 1]))
            logs[gone, visit:] = np.nan
    return np.exp(logs), np.exp(baseline), arm, effect


def test_complete_data_give_each_visits_least_squares():
    values, baseline, arm, _ = drawn(60, days=DAYS[[1, 3, 6]], missing=False)
    fit = repeated_measures(values, [7, 14, 30], baseline, arm, endpoint="count")
    design = sm.add_constant(np.column_stack([arm, np.log(baseline)]))
    logs = np.log(values)
    for column, effect in enumerate(fit.effects[:3]):
        reference = sm.OLS(logs[:, column], design).fit()
        assert np.log(effect.estimate) == pytest.approx(reference.params[1], abs=1e-6)
        assert effect.std_error == pytest.approx(reference.bse[1], rel=1e-4)
        assert effect.p_value == pytest.approx(reference.pvalues[1], rel=1e-3)
        assert np.log([effect.low, effect.high]) == pytest.approx(reference.conf_int()[1], rel=1e-3)
    average = sm.OLS(logs.mean(axis=1), design).fit()
    assert np.log(fit.effects[3].estimate) == pytest.approx(average.params[1], abs=1e-6)
    assert fit.effects[3].std_error == pytest.approx(average.bse[1], rel=1e-4)
    assert fit.effects[3].p_value == pytest.approx(average.pvalues[1], rel=1e-3)
    assert [effect.endpoint for effect in fit.effects] == ["count_day7", "count_day14", "count_day30", "count_average"]
    assert {effect.scale for effect in fit.effects} == {"ratio"}


def test_the_means_are_those_at_the_average_baseline():
    values, baseline, arm, _ = drawn(60, days=DAYS[[1, 3, 6]], missing=False)
    means = repeated_measures(values, [7, 14, 30], baseline, arm, endpoint="count").means
    centred = np.log(baseline) - np.log(baseline).mean()
    reference = sm.OLS(np.log(values[:, 2]), sm.add_constant(np.column_stack([arm, centred]))).fit()
    control = means[(means["arm"] == "control") & (means["day"] == 30)].iloc[0]
    assert np.log(control["mean"]) == pytest.approx(reference.params[0], abs=1e-6)
    assert np.log([control["low"], control["high"]]) == pytest.approx(reference.conf_int()[0], rel=1e-3)
    assert means["n"].tolist() == [30] * 6


def test_seven_visits_of_109_patients_with_dropout_find_the_truth_on_average():
    errors = []
    for seed in range(8):
        values, baseline, arm, effect = drawn(seed=seed)
        assert 0.15 < np.isnan(values).mean() < 0.6
        fit = repeated_measures(values, DAYS, baseline, arm, endpoint="count")
        assert fit.effects[0].method.startswith("MMRM, unstructured")
        errors.append([(np.log(e.estimate) - t) / e.std_error for e, t in zip(fit.effects, effect, strict=False)])
    # The mean of 8 standardised errors has a standard deviation of 0.35.
    assert (np.abs(np.mean(errors, axis=0)) < 1.2).all()
    assert 0.6 < np.std(errors) < 1.4


def test_further_covariates_missing_baselines_and_patients_without_visits_are_handled():
    values, baseline, arm, _ = drawn(seed=3)
    baseline[:5] = np.nan
    values[5:9] = np.nan
    site = pd.DataFrame({"site": np.array(["uk", "fr", "us"])[np.arange(109) % 3]})
    fit = repeated_measures(values, DAYS, baseline, arm, endpoint="count", covariates=site)
    assert {effect.n for effect in fit.effects} == {105}
    assert fit.means["n"].sum() == (~np.isnan(values)).sum()


def test_without_convergence_random_slopes_take_over_and_say_so():
    values, baseline, arm, effect = drawn(200, seed=4, days=DAYS[[1, 3, 6]], missing=False)
    values[:100, 2] = np.nan  # days 14 and 30 are never seen together
    values[100:, 1] = np.nan
    fit = repeated_measures(values, [7, 14, 30], baseline, arm, endpoint="count")
    assert fit.effects[0].method == "random intercept and slope, REML (MMRM did not converge)"
    for found, truth in zip(fit.effects, effect, strict=False):
        assert abs(np.log(found.estimate) - truth) < 3 * found.std_error


@pytest.mark.parametrize("failure", ["singular", "not converged"])
def test_where_random_slopes_do_not_converge_either_it_is_an_error(monkeypatch, failure):
    def fit(model, *, reml):
        if failure == "singular":
            raise np.linalg.LinAlgError
        return SimpleNamespace(converged=False)

    monkeypatch.setattr("statsmodels.regression.mixed_linear_model.MixedLM.fit", fit)
    values, baseline, arm, _ = drawn(60, days=DAYS[[1, 3, 6]], missing=False)
    values[:30, 2] = np.nan
    values[30:, 1] = np.nan
    with pytest.raises(InputError, match=r"did not converge\. Give it fewer visits"):
        repeated_measures(values, [7, 14, 30], baseline, arm, endpoint="count")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": [7, 3]}, "visits are out of order"),
        ({"schedule": [3, 7, 14]}, "expected 4 patients x 3 visits"),
        ({"values": [[1, 2], [0, 1], [2, 2], [1, 1]]}, "values: expected positive"),
        ({"baseline": [1, 1, -1, 1]}, "baseline: expected positive"),
        ({"baseline": [np.nan] * 4}, "baseline: expected measurements"),
    ],
)
def test_bad_input_is_refused(change, message):
    given = {"values": np.ones((4, 2)), "schedule": [3, 7], "baseline": [0.4, 0.5, 0.6, 0.7]} | change
    with pytest.raises(InputError, match=message):
        repeated_measures(**given, treatment=[0, 1, 0, 1], endpoint="count")
