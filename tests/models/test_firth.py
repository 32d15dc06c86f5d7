import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit, gammaln, log_expit
from sklearn.linear_model import LinearRegression

from il7ml.errors import InputError
from il7ml.family import BINARY, CONTINUOUS, COUNT
from il7ml.features.columns import infer_variables
from il7ml.models import firth
from il7ml.models.catalog import Setting, make_risk_model
from il7ml.models.firth import fit_firth
from il7ml.models.risk import LinearRiskModel

# Heinze and Schemper, Stat Med 2002;21:2409 (data: Agresti, Foundations of Linear and Generalized Linear Models, 2015):
# histology of 79 endometrial cancers, NV (new vessels), PI (pulsatility, %), EH (height of the endometrium, cm).
# All 13 patients with new vessels have the event.
NO_VESSELS_NO_EVENT = """13 1.64 16 2.26 8 3.14 34 2.68 20 1.28 5 2.31 17 1.8 10 1.68 26 1.56 17 2.31 8 2.01 7 1.89
20 3.15 10 1.23 18 1.27 16 1.76 18 2 28 1.5 11 1.33 19 2.37 10 1.82 10 3.13 18 1.31 14 1.92 21 1.64 11 2.01 17 1.88
25 1.93 16 2.11 19 1.29 15 1.72 33 0.75 24 1.92 29 2.02 15 2.29 12 2.33 3 2.9 20 1.7 23 1.41 12 2.25 22 1.54 42 1.97
15 1.75 13 2.16 14 2.57 19 1.37 12 3.61 13 2.04 10 2.17"""
NO_VESSELS_EVENT = """8 2.64 29 0.88 12 1.27 20 1.37 7 0.97 48 1.84 12 1.11 19 1.61 2 1.18 21 1.19 15 1.06 12 1.69
6 1.84 5 1.3 17 0.96 5 0.35 33 0.85"""
VESSELS_EVENT = (
    """38 0.97 22 1.14 7 0.88 25 0.91 15 0.58 22 1.44 40 1.18 5 0.93 0 1.17 49 0.27 11 1.01 21 0.98 19 1.02"""
)


def endometrial():
    parts = [
        (np.array(text.split(), dtype=float).reshape(-1, 2), vessels, event)
        for text, vessels, event in (
            (NO_VESSELS_NO_EVENT, 0, 0),
            (NO_VESSELS_EVENT, 0, 1),
            (VESSELS_EVENT, 1, 1),
        )
    ]
    x = np.vstack([np.column_stack([np.full(len(values), vessels), values]) for values, vessels, _ in parts])
    return x, np.concatenate([np.full(len(values), float(event)) for values, _, event in parts])


def sample(kind, n=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    time, weight = rng.uniform(0.5, 2, n), rng.uniform(0.3, 2, n)
    eta = -0.5 + x @ [1.0, -0.5, 0.0]
    if kind == "binary":
        return x, rng.binomial(1, expit(eta)).astype(float), weight, None
    if kind == "count":
        return x, rng.poisson(np.exp(eta) * time).astype(float), weight, time
    return x, rng.normal(eta), weight, None


def test_published_estimates_under_separation():
    x, y = endometrial()
    fit = fit_firth(BINARY, x, y)
    # logistf 1.26: coef(logistf(HG ~ NV + PI + EH, data = endometrial)).
    assert fit.intercept == pytest.approx(3.77455951, abs=1e-6)
    np.testing.assert_allclose(fit.coefficients, [2.92927330, -0.03475175, -2.60416387], atol=1e-6)


@pytest.mark.parametrize("cells", [(3, 9, 7, 2), (0, 8, 5, 5), (0, 6, 6, 0), (1, 40, 0, 12)])
def test_a_fourfold_table_gets_half_a_patient_in_each_cell(cells):
    a, b, c, d = cells  # events and others, without and with the factor
    x, y = np.repeat([0.0, 0.0, 1.0, 1.0], cells), np.repeat([1.0, 0.0, 1.0, 0.0], cells)
    fit = fit_firth(BINARY, x[:, None], y)
    assert fit.intercept == pytest.approx(np.log((a + 0.5) / (b + 0.5)), abs=1e-8)
    assert fit.coefficients[0] == pytest.approx(np.log((c + 0.5) * (b + 0.5) / ((a + 0.5) * (d + 0.5))), abs=1e-8)


def test_two_rates_get_half_an_event_each():
    """With one parameter a group, Jeffreys' prior of a rate adds half an event."""
    x = np.repeat([0.0, 1.0], 5)
    y = np.where(x == 1, 1.0, 0.0)
    time = np.linspace(1, 2, 10)
    fit = fit_firth(COUNT, x[:, None], y, exposure=time)
    rates = [np.log((y[x == side].sum() + 0.5) / time[x == side].sum()) for side in (0, 1)]
    assert fit.intercept == pytest.approx(rates[0], abs=1e-8)
    assert fit.coefficients[0] == pytest.approx(rates[1] - rates[0], abs=1e-8)


@pytest.mark.parametrize("kind", ["binary", "count"])
def test_it_is_the_maximum_of_the_penalised_likelihood(kind):
    x, y, weight, time = sample(kind)
    design = np.column_stack([np.ones(len(y)), x])
    exposure = np.ones(len(y)) if time is None else time

    def penalised(beta):
        eta = design @ beta
        if kind == "binary":
            log_likelihood, variance = log_expit(np.where(y == 1, eta, -eta)), expit(eta) * expit(-eta)
        else:
            mean = np.exp(eta) * exposure
            log_likelihood, variance = y * np.log(mean) - mean - gammaln(y + 1), mean
        information = design.T @ (design * (weight * variance)[:, None])
        return -(weight * log_likelihood).sum() - np.linalg.slogdet(information)[1] / 2

    brute = minimize(
        penalised, np.zeros(4), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 9999}
    )
    fit = fit_firth(BINARY if kind == "binary" else COUNT, x, y, weight=weight, exposure=time)
    np.testing.assert_allclose([fit.intercept, *fit.coefficients], brute.x, atol=1e-5)


def test_continuous_outcomes_are_fitted_by_least_squares():
    x, y, weight, _ = sample("continuous")
    expected = LinearRegression().fit(x, y, sample_weight=weight)
    fit = fit_firth(CONTINUOUS, x, y, weight=weight)
    np.testing.assert_allclose(fit.coefficients, expected.coef_)
    assert fit.calibrated_intercept == pytest.approx(expected.intercept_)


@pytest.mark.parametrize(("kind", "family"), [("binary", BINARY), ("count", COUNT)])
def test_the_calibrated_intercept_gives_the_event_rate(kind, family):
    x, y, weight, time = sample(kind)
    fit = fit_firth(family, x, y, weight=weight, exposure=time)
    exposure = np.ones(len(y)) if time is None else time
    expected = weight * exposure * family.mean(fit.calibrated_intercept + x @ fit.coefficients)
    assert expected.sum() == pytest.approx((weight * y).sum())
    assert abs(fit.calibrated_intercept - fit.intercept) > 1e-3


def test_a_whole_weight_counts_as_that_many_patients():
    x, y, _, _ = sample("binary")
    weight = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    rows = np.repeat(np.arange(len(y)), weight.astype(int))
    weighted, repeated = fit_firth(BINARY, x, y, weight=weight), fit_firth(BINARY, x[rows], y[rows])
    np.testing.assert_allclose(weighted.coefficients, repeated.coefficients, atol=1e-8)
    assert weighted.calibrated_intercept == pytest.approx(repeated.calibrated_intercept)


def test_columns_that_say_the_same_count_once():
    x, y, _, _ = sample("binary")
    alone = fit_firth(BINARY, x, y)
    doubled = fit_firth(BINARY, np.column_stack([x, x[:, 0] - 2 * x[:, 1], np.zeros(len(y))]), y)
    np.testing.assert_allclose(doubled.coefficients[:3], alone.coefficients, atol=1e-8)
    assert doubled.coefficients[3:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("n", [6, 12, 30])
def test_more_columns_than_patients_still_give_finite_coefficients(n):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, 20)), np.arange(n) % 2.0
    fit = fit_firth(BINARY, x, y)
    assert np.isfinite(fit.coefficients).all()
    assert np.isfinite(fit.calibrated_intercept)


@pytest.mark.parametrize("seed", [1, 5, 27])
def test_extreme_values_still_lead_to_the_maximum(seed):
    """Heavy tails, where full steps overshoot, and (27) a parameter for each patient."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(8, 150)), int(rng.integers(1, 12))
    x = rng.standard_t(1.5, size=(n, p))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = rng.poisson(np.exp(np.clip(3 * x[:, 0] - 1, -9, 6))).astype(float)
    fit = fit_firth(COUNT, x, y)
    design = np.column_stack([np.ones(n), x])

    def penalised(beta):
        eta = design @ beta
        information = design.T @ (design * np.exp(eta)[:, None])
        return (y * eta - np.exp(eta)).sum() + np.linalg.slogdet(information)[1] / 2

    best = np.array([fit.intercept, *fit.coefficients])
    others = [best + step * rng.normal(size=best.size) for step in (1e-3, 1e-2, 0.1) for _ in range(30)]
    if np.linalg.matrix_rank(design) == p + 1:
        assert penalised(best) > max(map(penalised, others))
    else:
        np.testing.assert_allclose((np.exp(design @ best) - y).sum(), 0.5 * n, atol=1e-3)


def test_bias_is_less_than_that_of_maximum_likelihood():
    """Simulated truth: with 40 patients maximum likelihood overstates a log odds ratio of 1, Firth's does not."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(1500):
        x = rng.normal(size=(40, 2))
        y = rng.binomial(1, expit(x[:, 0])).astype(float)
        found.append(fit_firth(BINARY, x, y).coefficients[0])
    error = np.std(found) / np.sqrt(len(found))
    assert error < 0.015
    assert np.mean(found) == pytest.approx(1, abs=3 * error + 0.01)


@pytest.mark.parametrize("event", [0.0, 1.0])
def test_without_any_difference_in_outcome_coefficients_are_zero(event):
    x, _, _, _ = sample("binary")
    fit = fit_firth(BINARY, x, np.full(len(x), event))
    assert not fit.coefficients.any()
    assert expit(fit.calibrated_intercept) == pytest.approx(event, abs=1e-9)


def test_iterations_that_do_not_converge_are_refused(monkeypatch):
    monkeypatch.setattr(firth, "_ITERATIONS", 2)
    with pytest.raises(InputError, match=r"did not\. Leave out features"):
        fit_firth(BINARY, *endometrial())


def test_the_risk_model_has_firths_coefficients_and_the_event_rate():
    x, y = endometrial()
    X = pd.DataFrame(x, columns=["vessels", "pulsatility", "height"])
    arm = np.arange(len(y)) % 2
    model = LinearRiskModel(firth=True).fit(X, y, arm)
    expected = fit_firth(BINARY, np.column_stack([arm, x]), y)
    scale = x.std(axis=0)
    np.testing.assert_allclose(model.fitted_.coefficients / scale, expected.coefficients[1:], atol=1e-6)
    assert model.fitted_.arm_effect == pytest.approx(expected.coefficients[0], abs=1e-6)
    assert model.predict(X, arm).mean() == pytest.approx(y.mean())
    assert model.penalty_ == 0


def test_the_name_firth_stands_for_it():
    variables = infer_variables(pd.DataFrame({"a": [0.5]}))
    model = make_risk_model("firth", Setting("count", variables, "a", harmful=True))
    assert (model.firth, model.outcome, model.variables, model.spline) == (True, "count", variables, ())
