import numpy as np
import pytest
from scipy import stats

from il7ml.endpoints.unstructured import fit_unstructured
from il7ml.errors import InputError

SIGMA = np.array([[1.0, 0.6, 0.3], [0.6, 1.5, 0.8], [0.3, 0.8, 2.0]])
LOWER = np.tril_indices(3)


def drawn(n=40, seed=1, missing=0.0):
    """Return values at three visits and a design with visit, arm by visit and one covariate."""
    rng = np.random.default_rng(seed)
    arm, x = np.arange(n) % 2, rng.normal(size=n)
    design = np.zeros((n, 3, 7))
    design[:, range(3), range(3)] = 1
    design[:, range(3), range(3, 6)] = arm[:, None]
    design[:, :, 6] = x[:, None]
    y = design @ [0, 0.5, 1, 0.2, 0.4, 0.6, 0.7] + rng.multivariate_normal(np.zeros(3), SIGMA, n)
    y[rng.random((n, 3)) < missing] = np.nan
    seen = ~np.isnan(y).all(axis=1)
    return y[seen], design[seen]


def symmetric(elements):
    matrix = np.zeros((3, 3))
    matrix[LOWER] = elements
    return matrix + matrix.T - np.diag(np.diag(matrix))


def restricted_likelihood(sigma, y, design):
    """REML's log-likelihood (without the term of the design alone) as it is defined, patient by patient."""
    blocks = []
    for row, x in zip(y, design, strict=True):
        seen = ~np.isnan(row)
        blocks.append((row[seen], x[seen], sigma[np.ix_(seen, seen)]))
    information = sum(x.T @ np.linalg.solve(v, x) for _, x, v in blocks)
    beta = np.linalg.solve(information, sum(x.T @ np.linalg.solve(v, row) for row, x, v in blocks))
    normal = sum(
        stats.multivariate_normal(x @ beta, v).logpdf(row) + len(row) / 2 * np.log(2 * np.pi) for row, x, v in blocks
    )
    return normal - np.linalg.slogdet(information)[1] / 2, beta, np.linalg.inv(information)


def test_complete_data_with_the_same_covariates_at_each_visit_give_least_squares_and_the_pooled_covariance():
    y, design = drawn()
    # The covariate's coefficient by visit makes all visits' regressions the same.
    by_visit = np.concatenate([design[:, :, :6], np.eye(3) * design[:, :1, 6:]], axis=2)
    fit = fit_unstructured(y, by_visit)
    x = np.column_stack([np.ones(40), np.arange(40) % 2, design[:, 0, 6]])
    beta, *_ = np.linalg.lstsq(x, y, rcond=None)
    residual = y - x @ beta
    np.testing.assert_allclose(fit.coefficients, beta.ravel(), atol=1e-5)
    np.testing.assert_allclose(fit.residual_covariance, residual.T @ residual / 37, rtol=1e-4, atol=1e-4)
    expected = np.kron(np.linalg.inv(x.T @ x), residual.T @ residual / 37)
    np.testing.assert_allclose(fit.plain_covariance, expected, rtol=1e-3, atol=1e-5)
    # There is then nothing to correct, and the degrees of freedom are those of each regression.
    np.testing.assert_allclose(fit.covariance, expected, rtol=1e-3, atol=1e-5)
    for coefficient in range(9):
        assert fit.degrees_of_freedom(np.eye(9)[coefficient]) == pytest.approx(37, rel=1e-3)


def test_with_missing_visits_the_restricted_likelihood_is_at_its_maximum():
    y, design = drawn(60, missing=0.25)
    assert 0.15 < np.isnan(y).mean() < 0.3
    fit = fit_unstructured(y, design)
    top, beta, covariance = restricted_likelihood(fit.residual_covariance, y, design)
    assert fit.log_likelihood == pytest.approx(top)
    np.testing.assert_allclose(fit.coefficients, beta, rtol=1e-6)
    np.testing.assert_allclose(fit.plain_covariance, covariance, rtol=1e-6)
    elements = fit.residual_covariance[LOWER]
    for step in np.eye(6):
        slopes = [restricted_likelihood(symmetric(elements + d * step), y, design)[0] - top for d in (1e-4, -1e-4)]
        assert abs(slopes[0] - slopes[1]) / 2e-4 < 2e-3
        assert max(restricted_likelihood(symmetric(elements + d * step), y, design)[0] for d in (0.05, -0.05)) < top


def test_covariance_and_degrees_of_freedom_are_kenward_and_rogers_as_defined():
    y, design = drawn(30, missing=0.2)
    fit = fit_unstructured(y, design)
    elements = fit.residual_covariance[LOWER]
    h, steps = 1e-3, np.eye(6)

    def value(change):
        return restricted_likelihood(symmetric(elements + change), y, design)[0]

    hessian = np.array(
        [
            [
                (value(h * (a + b)) - value(h * (a - b)) - value(h * (b - a)) + value(-h * (a + b))) / (4 * h * h)
                for b in steps
            ]
            for a in steps
        ]
    )
    w = np.linalg.inv(-hessian)
    phi = fit.plain_covariance
    p, q = np.zeros((6, 7, 7)), np.zeros((6, 6, 7, 7))
    for row, x in zip(y, design, strict=True):
        seen = ~np.isnan(row)
        solved = np.linalg.solve(fit.residual_covariance[np.ix_(seen, seen)], np.eye(seen.sum()))
        b = solved @ x[seen]
        parts = [symmetric(step)[np.ix_(seen, seen)] for step in steps]
        for i, first in enumerate(parts):
            p[i] -= b.T @ first @ b
            for j, second in enumerate(parts):
                q[i, j] += b.T @ first @ solved @ second @ b
    correction = sum(w[i, j] * (q[i, j] - p[i] @ phi @ p[j]) for i in range(6) for j in range(6))
    expected = phi + 2 * phi @ correction @ phi
    assert np.abs(expected / phi - 1).max() > 0.005  # there is something to correct
    np.testing.assert_allclose(fit.covariance, expected, rtol=1e-4, atol=1e-7)
    for contrast in np.eye(7)[3:6]:
        gradient = np.array([contrast @ phi @ each @ phi @ contrast for each in p])
        degrees = 2 * (contrast @ phi @ contrast) ** 2 / (gradient @ w @ gradient)
        assert fit.degrees_of_freedom(contrast) == pytest.approx(degrees, rel=1e-3)


def test_the_truth_is_found_when_dropout_depends_on_what_was_seen():
    y, design = drawn(4000, seed=5)
    rng = np.random.default_rng(6)
    complete = y.copy()
    for visit in (1, 2):
        gone = rng.random(4000) < 1 / (1 + np.exp(0.5 - 1.5 * complete[:, visit - 1]))
        y[gone, visit:] = np.nan
    fit = fit_unstructured(y, design)
    error = np.sqrt(np.diag(fit.covariance))
    assert (np.abs(fit.coefficients - [0, 0.5, 1, 0.2, 0.4, 0.6, 0.7]) < 3.5 * error).all()
    np.testing.assert_allclose(fit.residual_covariance, SIGMA, atol=0.25)
    # What is left of the control arm at the last visit is a selection: its mean is far from 1.
    assert np.nanmean(y[design[:, 2, 5] == 0, 2]) < 1 - 5 * error[2]


def test_where_the_covariance_cannot_be_estimated_there_is_no_fit():
    y, design = drawn()
    twice = y.copy()
    twice[:, 2] = twice[:, 1]
    assert fit_unstructured(twice, design) is None
    apart = y.copy()
    apart[:20, 2] = np.nan
    apart[20:, 1] = np.nan
    assert fit_unstructured(apart, design) is None


def test_a_visit_without_patients_of_an_arm_or_without_variation_is_refused():
    y, design = drawn()
    gone = y.copy()
    gone[1::2, 2] = np.nan
    with pytest.raises(InputError, match="a visit has no patients in one of the arms"):
        fit_unstructured(gone, design)
    constant = y.copy()
    constant[:, 0] = 2.0
    with pytest.raises(InputError, match="vary between patients at every visit"):
        fit_unstructured(constant, design[:, :, :6])
