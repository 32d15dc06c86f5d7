import itertools

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import expit, logit
from statsmodels.stats.multitest import multipletests

from il7ml.evaluation.heterogeneity import (
    NullResidual,
    _directions,
    _normal,
    difference_residual,
    heterogeneity_test,
    relative_effect_residual,
)


def trial(rng, n, effect=0.0, interaction=0.0, base=-0.8):
    """Return covariates, arm, outcome and the true risk without treatment of a trial with one odds ratio."""
    x = rng.normal(size=(n, 3))
    x[:, 2] = rng.random(n) < 0.4
    treatment = rng.integers(0, 2, n)
    linear = base + 0.8 * x[:, 0]
    risk = expit(linear + treatment * (effect + interaction * (x[:, 2] - 0.4)))
    return x, treatment, (rng.random(n) < risk).astype(float), expit(linear)


def test_t_of_a_modifier_worked_by_hand():
    residual = np.array([0.5, -1.0, 2.0, -1.5])
    modifier = np.array([1.0, 0.0, 0.0, 1.0])
    result = heterogeneity_test(
        NullResidual(residual, np.array([1.0, 1.0, 1.0, 2.0])),
        {"antiviral": modifier},
        np.ones(4),
        np.empty((4, 0)),
        rng=np.random.default_rng(0),
    )
    # The gradient's weighted mean of the modifier is (1 + 2) / 5.
    z = modifier - 0.6
    assert result.modifiers.loc[0, "t"] == pytest.approx(np.sum(z * residual) / np.sqrt(np.sum(z**2 * residual**2)))


def test_p_values_are_those_of_all_permutations():
    rng = np.random.default_rng(1)
    residual, modifiers, covariates = rng.normal(size=7), rng.normal(size=(7, 2)), rng.normal(size=(7, 3))
    null = difference_residual(residual)
    result = heterogeneity_test(
        null, {"a": modifiers[:, 0]}, modifiers[:, 1], covariates, permutations=40000, rng=np.random.default_rng(2)
    )

    def factor(z, r):
        t = np.sum((z - z.mean()) * r) / np.sqrt(np.sum((z - z.mean()) ** 2 * r**2))
        # Likelihood of t under N(0, 1 + 9) to that under N(0, 1).
        return stats.norm.pdf(t, scale=np.sqrt(10)) / stats.norm.pdf(t)

    def mean_factor(columns, r):
        linear = np.mean([factor(z, r) for z in columns.T])
        side = np.mean([factor((z < cut) * 1.0, r) for z in columns.T for cut in np.quantile(z, np.arange(2, 9) / 10)])
        # Of the prior's shares those of subgroups, for which there is no yes-or-no variable, fall away.
        return (0.2 * linear + 0.05 * side + 0.1 * factor(modifiers[:, 1], r)) / 0.35

    def statistics(r):
        parts = [mean_factor(columns, r) for columns in (modifiers[:, :1], covariates)]
        return factor(modifiers[:, 0], r), *parts, np.mean(parts)

    everything = np.array([statistics(np.array(r)) for r in itertools.permutations(null.residual)])
    observed = np.array(statistics(null.residual))
    exact = np.mean(everything >= observed - 1e-9, axis=0)
    assert result.modifiers.loc[0, "p_value"] == pytest.approx(exact[0], abs=0.01)
    assert result.p_directed == pytest.approx(exact[1], abs=0.01)
    assert result.p_flexible == pytest.approx(exact[2], abs=0.01)
    assert result.p_value == pytest.approx(exact[3], abs=0.01)


def test_a_subgroup_is_a_direction_and_its_complement_too():
    rng = np.random.default_rng(12)
    count, antiviral = rng.normal(size=400), rng.integers(0, 2, 400).astype(float)
    covariates = np.column_stack([rng.normal(size=(400, 4)), count, antiviral])
    for inside in (
        (count < np.quantile(count, 0.25)) & (antiviral == 1),
        (count > np.median(count)) & (antiviral == 0),
    ):
        effect = 3.0 * inside + rng.normal(size=400)
        found = heterogeneity_test(difference_residual(effect), {}, np.ones(400), covariates, permutations=500, rng=rng)
        assert found.p_value == pytest.approx(1 / 501)
    # Two yes-or-no variables: a difference in one cell of the four.
    both = rng.integers(0, 2, (400, 2)).astype(float)
    effect = 1.5 * (both == [1, 0]).all(axis=1) - 1.5 * (both == [0, 0]).all(axis=1) + rng.normal(size=400)
    found = heterogeneity_test(difference_residual(effect), {}, np.ones(400), both, permutations=500, rng=rng)
    assert found.p_value == pytest.approx(1 / 501)


def test_with_very_many_patients_subgroups_are_left_out(monkeypatch):
    rng = np.random.default_rng(13)
    x, level = rng.normal(size=300), rng.integers(0, 2, 300).astype(float)
    columns = np.column_stack([x, level])
    sizes = []
    for most in (10**9, 10):
        monkeypatch.setattr("il7ml.evaluation.heterogeneity._MOST", most)
        sizes.append(_directions(columns, x).values.shape[1])
    # 2 columns, 7 sides, 2 x 14 subgroups, the risk.
    assert sizes == [38, 10]


def test_holm_as_in_statsmodels():
    rng = np.random.default_rng(3)
    modifiers = {name: rng.normal(size=60) for name in "abcd"}
    residual = 0.4 * modifiers["b"] + rng.normal(size=60)
    table = heterogeneity_test(
        difference_residual(residual), modifiers, rng.normal(size=60), np.empty((60, 0)), rng=rng
    ).modifiers
    np.testing.assert_allclose(table["p_holm"], multipletests(table["p_value"], method="holm")[1])
    assert table["modifier"].tolist() == list("abcd")


def test_the_residual_of_one_odds_ratio_uses_the_logistic_fit():
    _, treatment, y, risk = trial(np.random.default_rng(4), 200, effect=-0.7)
    null = relative_effect_residual(y, treatment, 0.3, risk, "binary")
    linear = logit(risk)
    fit = sm.GLM(y, np.column_stack([np.ones(200), linear, treatment]), family=sm.families.Binomial()).fit(tol=1e-12)
    p0, p1 = expit(fit.params[0] + fit.params[1] * linear + np.outer([0, 1], np.full(200, fit.params[2])))
    v0, v1 = p0 * (1 - p0), p1 * (1 - p1)
    balance = 0.3 * v1 / (0.3 * v1 + 0.7 * v0)
    np.testing.assert_allclose(null.residual, (treatment - balance) * (y - np.where(treatment, p1, p0)), atol=1e-6)
    np.testing.assert_allclose(null.gradient, 0.3 * (1 - balance) * v1, atol=1e-6)


def test_the_residual_of_one_difference_in_means_uses_least_squares():
    rng = np.random.default_rng(11)
    predicted, treatment = rng.normal(size=90), rng.integers(0, 2, 90)
    y = 0.5 * predicted - treatment + rng.normal(size=90)
    null = relative_effect_residual(y, treatment, 0.25, predicted, "continuous")
    residual = sm.OLS(y, np.column_stack([np.ones(90), predicted, treatment])).fit().resid
    np.testing.assert_allclose(null.residual, (treatment - 0.25) * residual, atol=1e-9)
    np.testing.assert_allclose(null.gradient, 0.25 * 0.75)


def test_errors_in_the_predicted_risk_hardly_move_the_residual():
    # Every patient is seen in both arms with the outcome's mean as outcome: only the prediction's error remains.
    rng = np.random.default_rng(5)
    x = rng.normal(size=300)
    error = rng.normal(size=300)
    rate, treatment = np.exp(0.5 * x), np.repeat([0, 1], 300)
    y = np.concatenate([rate, 0.5 * rate])

    def bias(size):
        null = relative_effect_residual(y, treatment, 0.5, np.tile(rate * np.exp(size * error), 2), "count")
        return np.abs(null.residual[:300] + null.residual[300:]).max()

    naive = np.abs((0.5 - 1) * rate * (1 - np.exp(0.01 * error))).max()
    assert bias(0.01) < 0.05 * naive
    assert bias(0.0) < 1e-6


def test_size_is_held_with_sixty_patients_and_unequal_variances():
    rng = np.random.default_rng(6)
    p_values = []
    for _ in range(500):
        x, treatment, y, risk = trial(rng, 60, effect=-0.8)
        null = relative_effect_residual(y, treatment, 0.5, risk, "binary")
        p_values.append(heterogeneity_test(null, {"m": x[:, 2]}, logit(risk), x, permutations=199, rng=rng).p_value)
    for level in (0.05, 0.1, 0.2):
        rejected = int(np.sum(np.array(p_values) <= level))
        assert stats.binomtest(rejected, 500, level, alternative="greater").pvalue > 0.001


def test_an_interaction_is_found_and_named():
    rng = np.random.default_rng(7)
    x, treatment, y, risk = trial(rng, 600, effect=-0.5, interaction=-2.0)
    null = relative_effect_residual(y, treatment, 0.5, risk, "binary")
    result = heterogeneity_test(null, {"other": x[:, 1], "antiviral": x[:, 2]}, logit(risk), x, rng=rng)
    assert result.p_value < 0.01
    table = result.modifiers.set_index("modifier")
    assert table.loc["antiviral", "p_holm"] < 0.01
    assert table.loc["antiviral", "t"] < 0
    assert table.loc["other", "p_value"] > 0.01


def test_one_odds_ratio_is_heterogeneity_of_the_difference():
    rng = np.random.default_rng(8)
    _, treatment, y, risk = trial(rng, 5000, effect=-1.5, base=-2.0)
    scores = np.where(treatment == 1, y, -y) * 2
    empty = np.empty((5000, 0))
    relative = heterogeneity_test(
        relative_effect_residual(y, treatment, 0.5, risk, "binary"), {}, logit(risk), empty, permutations=500, rng=rng
    )
    absolute = heterogeneity_test(difference_residual(scores), {}, logit(risk), empty, permutations=500, rng=rng)
    assert absolute.p_value < 0.01 < relative.p_value


def test_missing_modifiers_count_as_their_mean():
    rng = np.random.default_rng(9)
    residual, modifier = rng.normal(size=50), rng.normal(size=50)
    gaps = np.where(np.arange(50) < 10, np.nan, modifier)
    filled = np.where(np.arange(50) < 10, modifier[10:].mean(), modifier)
    first, second = (
        heterogeneity_test(
            difference_residual(residual), {"m": column}, np.ones(50), np.empty((50, 0)), rng=np.random.default_rng(0)
        )
        for column in (gaps, filled)
    )
    pd.testing.assert_frame_equal(first.modifiers, second.modifiers)


def test_many_patients_use_the_normal_limit():
    rng = np.random.default_rng(10)
    x = rng.normal(size=6000)
    null = difference_residual(0.02 * x + rng.normal(size=6000) * (1 + np.abs(x)))
    result = heterogeneity_test(null, {"x": x}, np.ones(6000), x[:, None], permutations=20000, rng=rng)
    expected = 2 * stats.norm.sf(abs(result.modifiers.loc[0, "t"]))
    assert result.modifiers.loc[0, "p_value"] == pytest.approx(expected, abs=0.015)
    # One and the same directions in both statistics: the omnibus is either.
    assert result.p_value == result.p_directed == result.p_flexible


def test_draws_with_random_weights_have_the_correlation_of_the_limit():
    rng = np.random.default_rng(14)
    residual, centred = rng.normal(size=3000), rng.normal(size=(3000, 1)) + rng.normal(size=(3000, 40))
    products = residual[:, None] * centred
    scale = np.sqrt((products**2).sum(axis=0))
    # More directions than draws, so that no covariance is decomposed; many such draws are put together.
    draws = np.vstack([_normal(residual, centred, 39, rng) for _ in range(400)])
    assert np.cov(draws.T) == pytest.approx(products.T @ products / scale / scale[:, None], abs=0.06)
    assert stats.kstest(draws[:, 0], "norm").pvalue > 0.001


def test_an_arm_without_events_is_no_evidence():
    treatment = np.repeat([0, 1], 20)
    y = np.where((treatment == 0) & (np.arange(40) % 3 == 0), 1.0, 0.0)
    x = np.arange(40.0)
    for kind in ("binary", "count"):
        null = relative_effect_residual(y, treatment, 0.5, np.full(40, 0.2), kind)
        result = heterogeneity_test(null, {"x": x}, np.ones(40), x[:, None], rng=np.random.default_rng(0))
        assert result.p_value == 1.0


def test_nothing_to_test_gives_no_p_value():
    null = difference_residual(np.arange(10.0))
    result = heterogeneity_test(null, {"m": np.ones(10)}, np.ones(10), np.empty((10, 0)), rng=np.random.default_rng(0))
    assert np.isnan([result.p_value, result.p_directed, result.p_flexible]).all()
    assert result.modifiers["modifier"].tolist() == ["m"]
    assert result.modifiers[["t", "p_value", "p_holm"]].isna().all(axis=None)
