import numpy as np
import pytest
from statsmodels.duration.hazard_regression import PHReg

from il7ml.endpoints.partial_likelihood import fit_partial_likelihood
from il7ml.errors import InputError


def drawn(n=120, seed=2):
    """Return covariates and tied times of n patients."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.arange(n) % 2, rng.normal(size=n)])
    time = np.ceil(rng.exponential(10 * np.exp(-x @ [0.5, -0.4])))
    return rng, x, time, (rng.random(n) < 0.7).astype(float)


def score_and_residuals(beta, x, start, stop, event):
    """Efron's score and the residuals of each interval, as the definition has it: by loops."""
    risk = np.exp(x @ beta)
    residuals = np.zeros_like(x)
    for time in np.unique(stop[event == 1]):
        at_risk = (start < time) & (stop >= time)
        dying = at_risk & (stop == time) & (event == 1)
        deaths = dying.sum()
        for k in range(deaths):
            weight = risk * (at_risk - k / deaths * dying)
            mean = weight @ x / weight.sum()
            residuals[dying] += (x[dying] - mean) / deaths
            residuals -= weight[:, None] * (x - mean) / weight.sum()
    return residuals.sum(axis=0), residuals


@pytest.mark.parametrize("strata", [None, np.arange(120) % 3])
def test_the_fit_is_that_of_statsmodels_with_ties(strata):
    _, x, time, event = drawn()
    fit = fit_partial_likelihood(x, time, event, strata=strata)
    reference = PHReg(time, x, event, strata=strata, ties="efron").fit()
    np.testing.assert_allclose(fit.coefficients, reference.params, rtol=1e-5)
    np.testing.assert_allclose(fit.covariance, reference.cov_params(), rtol=1e-4)
    assert fit.log_likelihood == pytest.approx(reference.llf)


def test_intervals_are_open_on_the_left():
    rng, x, stop, event = drawn()
    start = np.floor(stop * rng.uniform(0, 0.9, 120))
    fit = fit_partial_likelihood(x, stop, event, start)
    # statsmodels counts the entry day in the risk set: half a day later it does not.
    reference = PHReg(stop, x, event, entry=start + 0.5, ties="efron").fit()
    np.testing.assert_allclose(fit.coefficients, reference.params, rtol=1e-5)
    np.testing.assert_allclose(fit.covariance, reference.cov_params(), rtol=1e-4)


def test_score_residuals_follow_efrons_definition_and_sum_to_0():
    rng, x, stop, event = drawn(60)
    start = np.floor(stop * rng.uniform(0, 0.9, 60))
    fit = fit_partial_likelihood(x, stop, event, start)
    score, residuals = score_and_residuals(fit.coefficients, x, start, stop, event)
    np.testing.assert_allclose(score, 0, atol=1e-6)
    np.testing.assert_allclose(fit.score_residuals, residuals, atol=1e-6)


def test_score_residuals_of_strata_are_those_of_each_alone():
    _, x, stop, event = drawn(90)
    strata = np.arange(90) % 3
    fit = fit_partial_likelihood(x, stop, event, strata=strata)
    for stratum in range(3):
        rows = strata == stratum
        start = np.full(rows.sum(), -np.inf)
        expected = score_and_residuals(fit.coefficients, x[rows], start, stop[rows], event[rows])[1]
        np.testing.assert_allclose(fit.score_residuals[rows], expected, atol=1e-6)


def test_units_of_covariates_do_not_matter():
    _, x, time, event = drawn()
    scaled = fit_partial_likelihood(x * [1, 1e5] + [0, 3e5], time, event)
    plain = fit_partial_likelihood(x, time, event)
    np.testing.assert_allclose(scaled.coefficients * [1, 1e5], plain.coefficients, rtol=1e-6)


@pytest.mark.parametrize("kind", ["separated", "collinear"])
def test_what_is_not_estimable_is_refused(kind):
    _, x, time, event = drawn()
    rare = np.zeros(120)
    rare[:5] = 1
    event[:5] = 0
    column = rare if kind == "separated" else 2 * x[:, 1] + 1
    with pytest.raises(InputError, match="not estimable"):
        fit_partial_likelihood(np.column_stack([x, column]), time, event)


def test_a_constant_covariate_is_refused():
    _, x, time, event = drawn()
    with pytest.raises(InputError, match="same for all patients"):
        fit_partial_likelihood(np.column_stack([x, np.ones(120)]), time, event)
