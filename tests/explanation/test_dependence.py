import numpy as np
import pytest
from tests.explanation.test_additive import setup

from il7ml.explanation import effect_dependence, risk_dependence
from il7ml.explanation.dependence import value_grid
from il7ml.features.design import restricted_cubic_spline

COUNT = "absolute_lymphocyte_count"


def test_the_curve_of_a_regression_is_its_spline_in_closed_form():
    made, variables, columns, n = setup()
    fitted = made.bundle.risk
    term = next(term for term in fitted.design.terms if term.variable == COUNT)
    assert len(term.knots) == 3
    here = [k for k, owner in enumerate(fitted.design.owners) if owner == COUNT]
    slopes = fitted.coefficients[here] * fitted.design.scale[here]

    def spline(values):
        return sum(
            b * part for b, part in zip(slopes, restricted_cubic_spline(np.log(values), term.knots), strict=True)
        )

    table = risk_dependence(fitted, columns, n, COUNT, variables)
    expected = spline(table["value"].to_numpy()) - spline(columns[COUNT]).mean()
    np.testing.assert_allclose(table["estimate"], expected, atol=1e-12)
    assert np.ptp(expected) > 0.1
    assert set(table["group"]) == {""}
    assert table["low"].isna().all()


def test_curves_by_a_second_variable_are_parallel_in_a_regression_and_need_not_be_in_trees():
    gaps = {}
    for model in ("logistic", "xgboost"):
        made, variables, columns, n = setup("continuous", model)
        table = risk_dependence(made.bundle.risk, columns, n, COUNT, variables, "diabetes")
        no, yes = (part["estimate"].to_numpy() for _, part in table.groupby("group", sort=False))
        assert list(dict.fromkeys(table["group"])) == ["Diabetes: no", "Diabetes: yes"]
        gaps[model] = yes - no
        given = {**columns, "diabetes": np.ones(n), COUNT: np.full(n, table["value"].iloc[7])}
        own = made.bundle.risk.linear_predictor(given, n).mean() - made.bundle.risk.linear_predictor(columns, n).mean()
        assert yes[7] == pytest.approx(own, abs=1e-5)
    assert np.ptp(gaps["logistic"]) < 1e-9


def test_the_band_is_made_of_the_refits_percentiles():
    made, variables, columns, n = setup()
    models = made.bundle.refits.models
    table = risk_dependence(made.bundle.risk, columns, n, COUNT, variables, refits=models, level=0.8)
    curves = [risk_dependence(model, columns, n, COUNT, variables)["estimate"] for model in models]
    np.testing.assert_allclose(table[["low", "high"]].T, np.quantile(curves, [0.1, 0.9], axis=0))


def test_the_effect_is_the_mean_of_the_patients_effects():
    made, variables, columns, n = setup()
    effect = made.bundle.effect
    table = effect_dependence(effect, columns, n, COUNT, variables, "diabetes")
    row = table[table["group"] == "Diabetes: yes"].iloc[5]
    given = {**columns, COUNT: np.full(n, row["value"]), "diabetes": np.ones(n)}
    assert row["estimate"] == pytest.approx(effect.effect(given, n)[0].mean())
    assert row["low"] < row["estimate"] < row["high"]


def test_the_band_of_patients_who_are_all_the_same_is_the_interval_of_one():
    made, variables, columns, _ = setup()
    effect = made.bundle.effect
    same = {name: np.full(40, column[np.isfinite(column)][3]) for name, column in columns.items()}
    table = effect_dependence(effect, same, 40, COUNT, variables, level=0.9)
    low, high = effect.interval({**same, COUNT: np.full(40, table["value"].iloc[0])}, 40, alpha=0.1)
    assert table["low"].iloc[0] == pytest.approx(low[0])
    assert table["high"].iloc[0] == pytest.approx(high[0])


def test_averaging_patients_does_not_widen_the_band():
    made, _, columns, n = setup()
    mean, variance = made.bundle.effect.average_effect(columns, n)
    means, variances = made.bundle.effect.effect(columns, n)
    assert mean == pytest.approx(means.mean())
    assert 0 < variance < variances.mean()


def test_the_ends_of_the_grid_are_rounded_quantiles():
    variable = setup()[1][COUNT]
    values = np.random.default_rng(0).lognormal(-0.6, 0.4, 500)
    grid = value_grid(np.append(values, np.nan), variable)
    np.testing.assert_allclose(grid[[0, -1]], np.quantile(values, [0.05, 0.95]), rtol=0.05)
    assert grid[[0, -1]].tolist() == [0.3, 1.0]
    assert not np.isin(grid, values).any()
    np.testing.assert_allclose(np.diff(np.log(grid)), np.diff(np.log(grid))[0])
