import numpy as np
import pytest
import statsmodels.api as sm

from il7ml.evaluation.outcome import as_outcome
from il7ml.evaluation.weighted_glm import fit_weighted
from il7ml.family import FAMILIES

REFERENCE = {
    "binary": sm.families.Binomial(),
    "count": sm.families.Poisson(),
    "continuous": sm.families.Gaussian(),
}


@pytest.mark.parametrize("kind", ["binary", "count", "continuous"])
def test_each_row_of_weights_agrees_with_statsmodels(kind):
    rng = np.random.default_rng(1)
    x, offset = rng.normal(size=(2, 120))
    exposure = rng.uniform(1, 5, 120) if kind == "count" else np.ones(120)
    mean = FAMILIES[kind].mean(0.3 - 0.5 * x) * exposure
    draw = {
        "binary": lambda: (rng.random(120) < mean).astype(float),
        "count": lambda: rng.poisson(mean).astype(float),
        "continuous": lambda: mean + rng.normal(size=120),
    }
    y = draw[kind]()
    weights = rng.multinomial(120, np.full(120, 1 / 120), size=6).astype(float)
    design = sm.add_constant(x)
    beta = fit_weighted(FAMILIES[kind], design, as_outcome(y, kind, exposure=exposure), weights, 0.2 * offset)
    for row, w in zip(beta, weights, strict=True):
        total = 0.2 * offset + np.log(exposure)
        fit = sm.GLM(y, design, family=REFERENCE[kind], freq_weights=w, offset=total).fit(tol=1e-12)
        np.testing.assert_allclose(row, fit.params, atol=1e-7)


def test_separated_outcomes_end_in_large_finite_coefficients():
    x = np.array([-2, -1, 1, 2.0])
    beta = fit_weighted(FAMILIES["binary"], sm.add_constant(x), as_outcome([0, 0, 1, 1], "binary"), np.ones((2, 4)))
    assert np.isfinite(beta).all()
    assert (beta[:, 1] > 5).all()


def test_means_of_any_size_are_fitted_exactly() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=200)
    y = 4000 + 250 * x + rng.normal(size=200)
    design = np.column_stack([np.ones_like(x), x])
    weights = rng.integers(0, 3, (4, 200)).astype(float)
    fitted = fit_weighted(FAMILIES["continuous"], design, as_outcome(y, "continuous"), weights)
    for row, w in zip(fitted, weights, strict=True):
        root = np.sqrt(w)
        np.testing.assert_allclose(row, np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0], rtol=1e-9)
