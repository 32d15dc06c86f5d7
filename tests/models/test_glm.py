import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge

from il7ml.family import BINARY, CONTINUOUS, COUNT
from il7ml.models.glm import PENALTIES, bearable_penalties, fit_glm

FAMILIES = [BINARY, COUNT, CONTINUOUS]
STATSMODELS = {"binary": sm.families.Binomial(), "count": sm.families.Poisson(), "continuous": sm.families.Gaussian()}
by_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.kind)


def trial(family, n=109, p=8, seed=0):
    """Return design, outcome, arm, weights and exposure (None but for counts)."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, p))
    matrix = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    arm = rng.permutation(np.arange(n) % 2).astype(float)
    time = rng.uniform(0.5, 2, n)
    eta = -0.5 + 0.6 * matrix[:, 0] - 0.4 * matrix[:, 1] - 0.7 * arm
    draw = {
        "binary": lambda: rng.binomial(1, family.mean(eta)),
        "count": lambda: rng.poisson(family.mean(eta) * time),
        "continuous": lambda: rng.normal(eta),
    }
    weight = rng.uniform(0.5, 2, n)
    return matrix, draw[family.kind]().astype(float), arm, weight, time if family.kind == "count" else None


def ridge_by_optimisation(family, matrix, y, arm, weight, exposure, penalty):
    """Minimise the penalised negative log-likelihood, intercept and arm left unpenalised; `penalty` is absolute."""
    offset = 0.0 if exposure is None else np.log(exposure)
    design = np.column_stack([np.ones(y.size), arm, matrix])
    penalised = np.r_[0.0, 0.0, np.ones(matrix.shape[1])]

    def objective(beta):
        eta = design @ beta + offset
        likelihood = {
            "binary": lambda: y * eta - np.logaddexp(0, eta),
            "count": lambda: y * eta - np.exp(eta),
            "continuous": lambda: -((y - eta) ** 2) / 2,
        }[family.kind]()
        return -(weight @ likelihood) + penalty / 2 * (penalised @ beta**2)

    def gradient(beta):
        residual = weight * (family.mean(design @ beta + offset) - y)
        return design.T @ residual + penalty * penalised * beta

    found = minimize(objective, np.zeros(design.shape[1]), jac=gradient, method="BFGS", options={"gtol": 1e-7})
    return found.x


def absolute(family, relative, y, weight, exposure):
    """Turn a relative penalty into an absolute one: times the information of a standardised column."""
    total = weight.sum() if exposure is None else weight @ exposure
    mean = (weight @ y) / total
    return relative * total * {"binary": mean * (1 - mean), "count": mean, "continuous": 1.0}[family.kind]


@by_family
@pytest.mark.parametrize("relative", [PENALTIES[0], 0.1, PENALTIES[-1]])
def test_fit_minimises_the_penalised_likelihood_with_the_arm_unpenalised(family, relative):
    matrix, y, arm, weight, exposure = trial(family)
    fit = fit_glm(family, matrix, y, free=arm[:, None], weight=weight, exposure=exposure, penalties=(relative,))
    expected = ridge_by_optimisation(
        family, matrix, y, arm, weight, exposure, absolute(family, relative, y, weight, exposure)
    )
    assert fit.penalty == relative
    assert fit.coefficients[0] == pytest.approx(expected[1], rel=1e-3)  # the arm
    assert fit.intercept == pytest.approx(expected[0], rel=1e-3)
    np.testing.assert_allclose(fit.coefficients[1:], expected[2:], atol=2e-4)


@by_family
@pytest.mark.parametrize("relative", [PENALTIES[0], 0.3, PENALTIES[-1]])
def test_fit_is_that_of_scikit_learn(family, relative):
    matrix, y, _, weight, exposure = trial(family, p=20)
    time = np.ones(y.size) if exposure is None else exposure
    penalty = absolute(family, relative, y, weight, exposure)
    reference = {
        "binary": LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-12),
        "count": PoissonRegressor(alpha=penalty / (weight @ time), solver="newton-cholesky", tol=1e-12),
        "continuous": Ridge(alpha=penalty, solver="cholesky"),
    }[family.kind].fit(matrix, y / time, sample_weight=weight * time)
    fit = fit_glm(family, matrix, y, weight=weight, exposure=exposure, penalties=(relative,))
    np.testing.assert_allclose(fit.intercept, np.ravel(reference.intercept_)[0], rtol=1e-9)
    np.testing.assert_allclose(fit.coefficients, np.ravel(reference.coef_), rtol=1e-7, atol=1e-10)


@by_family
def test_a_vanishing_penalty_gives_maximum_likelihood(family):
    matrix, y, arm, weight, exposure = trial(family)
    fit = fit_glm(family, matrix, y, free=arm[:, None], weight=weight, exposure=exposure, penalties=(1e-9,))
    design = np.column_stack([np.ones(y.size), arm, matrix])
    offset = None if exposure is None else np.log(exposure)
    reference = sm.GLM(y, design, family=STATSMODELS[family.kind], freq_weights=weight, offset=offset).fit(tol=1e-10)
    np.testing.assert_allclose([fit.intercept, *fit.coefficients], reference.params, atol=1e-4)
    assert fit.effective_df == pytest.approx(design.shape[1], abs=1e-3)


def test_criterion_is_the_corrected_akaike_criterion_of_the_literature():
    matrix, y, _, _, _ = trial(BINARY)
    n, k = y.size, 1 + matrix.shape[1]
    fit = fit_glm(BINARY, matrix, y, penalties=(1e-9,))
    reference = sm.Logit(y, sm.add_constant(matrix)).fit(disp=False)
    assert fit.criterion == pytest.approx(reference.aic + 2 * k * (k + 1) / (n - k - 1), abs=1e-3)


@pytest.mark.parametrize("family", [COUNT, CONTINUOUS], ids=lambda family: family.kind)
def test_criterion_ranks_models_as_the_corrected_akaike_criterion(family):
    """For counts and means it leaves out a constant, so that differences of two models are compared."""
    matrix, y, _, _, _ = trial(family)
    n, extra = y.size, 1 if family.kind == "continuous" else 0  # the residual variance is a parameter
    criteria, expected = [], []
    for columns in (matrix, matrix[:, :2]):
        k = 1 + columns.shape[1] + extra
        criteria.append(fit_glm(family, columns, y, penalties=(1e-9,)).criterion)
        model = sm.OLS if family.kind == "continuous" else sm.Poisson
        arguments = {} if family.kind == "continuous" else {"disp": False}
        likelihood = model(y, sm.add_constant(columns)).fit(**arguments).llf
        expected.append(-2 * likelihood + 2 * k + 2 * k * (k + 1) / (n - k - 1))
    assert criteria[0] - criteria[1] == pytest.approx(expected[0] - expected[1], abs=1e-3)


@pytest.mark.parametrize("relative", [0.01, 1.0, 10.0])
def test_effective_df_of_a_linear_model_is_the_trace_of_the_hat_matrix(relative):
    matrix, y, arm, _, _ = trial(CONTINUOUS)
    fit = fit_glm(CONTINUOUS, matrix, y, free=arm[:, None], penalties=(relative,))
    design = np.column_stack([np.ones(y.size), arm, matrix])
    penalty = np.diag([0.0, 0.0, *[relative * y.size] * matrix.shape[1]])
    hat = design @ np.linalg.solve(design.T @ design + penalty, design.T)
    assert fit.effective_df == pytest.approx(np.trace(hat), abs=1e-4)
    np.testing.assert_allclose(fit.intercept + design[:, 1:] @ fit.coefficients, hat @ y, atol=1e-3)


@pytest.mark.parametrize("family", [BINARY, COUNT], ids=lambda family: family.kind)
def test_effective_df_is_grays(family):
    """Gray's degrees of freedom: the trace of the penalised information's inverse times the information."""
    matrix, y, arm, weight, exposure = trial(family)
    fit = fit_glm(family, matrix, y, free=arm[:, None], weight=weight, exposure=exposure, penalties=(0.3,))
    design = np.column_stack([np.ones(y.size), arm, matrix])
    mean = family.mean(design @ np.r_[fit.intercept, fit.coefficients])
    curvature = weight * family.variance(mean) * (1.0 if exposure is None else exposure)
    information = (design * curvature[:, None]).T @ design
    penalty = absolute(family, 0.3, y, weight, exposure) * np.diag([0.0, 0.0, *[1.0] * matrix.shape[1]])
    expected = np.trace(np.linalg.solve(information + penalty, information))
    assert fit.effective_df == pytest.approx(expected, abs=1e-4)


def test_the_smallest_criterion_wins():
    matrix, y, arm, _, _ = trial(BINARY)
    fits = [fit_glm(BINARY, matrix, y, free=arm[:, None], penalties=(penalty,)) for penalty in PENALTIES]
    best = min(fits, key=lambda fit: fit.criterion)
    assert fit_glm(BINARY, matrix, y, free=arm[:, None]).penalty == best.penalty
    assert fit_glm(BINARY, matrix, y, free=arm[:, None], penalties=PENALTIES[::-1]).penalty == best.penalty


def test_strong_signal_is_penalised_less_than_noise():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(109, 10))
    noise = rng.normal(size=109)
    assert fit_glm(CONTINUOUS, matrix, 3 * matrix.sum(axis=1) + noise).penalty == PENALTIES[0]
    assert fit_glm(CONTINUOUS, matrix, noise).penalty == PENALTIES[-1]


def test_the_strongest_penalty_is_kept_where_patients_are_too_few_for_the_criterion():
    rng = np.random.default_rng(0)
    fit = fit_glm(CONTINUOUS, rng.normal(size=(4, 6)), rng.normal(size=4))
    assert fit.penalty == PENALTIES[-1]
    assert fit.criterion == np.inf


@by_family
def test_whole_weights_stand_for_repeated_patients(family):
    matrix, y, arm, _, exposure = trial(family)
    times = np.random.default_rng(1).integers(0, 4, y.size)
    rows = np.repeat(np.arange(y.size), times)
    weighted = fit_glm(family, matrix, y, free=arm[:, None], weight=times.astype(float), exposure=exposure)
    repeated = fit_glm(
        family, matrix[rows], y[rows], free=arm[rows, None], exposure=None if exposure is None else exposure[rows]
    )
    assert weighted.penalty == repeated.penalty
    assert weighted.criterion == pytest.approx(repeated.criterion)
    np.testing.assert_allclose(weighted.coefficients, repeated.coefficients, atol=1e-6)


def test_an_unknown_outcome_of_weight_zero_has_no_influence():
    matrix, y, arm, weight, _ = trial(BINARY)
    weight[:10] = 0.0
    flipped = np.r_[1 - y[:10], y[10:]]
    fits = [fit_glm(BINARY, matrix, each, free=arm[:, None], weight=weight) for each in (y, flipped)]
    np.testing.assert_array_equal(fits[0].coefficients, fits[1].coefficients)


def test_exposure_makes_a_rate_per_unit_of_time():
    matrix, y, arm, _, exposure = trial(COUNT)
    days, weeks = (
        fit_glm(COUNT, matrix, y, free=arm[:, None], exposure=exposure * unit, penalties=(0.1,)) for unit in (7.0, 1.0)
    )
    assert weeks.intercept - days.intercept == pytest.approx(np.log(7), abs=1e-5)
    np.testing.assert_allclose(weeks.coefficients, days.coefficients, atol=1e-5)


@by_family
def test_without_any_column_the_intercept_is_the_mean(family):
    _, y, _, weight, exposure = trial(family)
    fit = fit_glm(family, np.empty((y.size, 0)), y, weight=weight, exposure=exposure)
    expected = (weight @ y) / (weight.sum() if exposure is None else weight @ exposure)
    assert family.mean(fit.intercept) == pytest.approx(expected)
    assert fit.coefficients.size == 0


@pytest.mark.parametrize("family", [BINARY, COUNT], ids=lambda family: family.kind)
def test_an_arm_without_events_leaves_the_other_arm_to_decide(family):
    """Under separation the arm's coefficient runs off and its patients lose all weight: the rest is the other's fit."""
    matrix, y, arm, weight, exposure = trial(family)
    y = np.where(arm == 1, 0.0, y)
    weight[:] = 1.0
    fit = fit_glm(family, matrix, y, free=arm[:, None], exposure=exposure, penalties=(0.3,))
    control = arm == 0
    alone = ridge_by_optimisation(
        family,
        matrix[control],
        y[control],
        np.zeros(control.sum()),
        weight[control],
        None if exposure is None else exposure[control],
        absolute(family, 0.3, y, weight, exposure),
    )
    assert -20 < fit.coefficients[0] < -6
    assert fit.intercept == pytest.approx(alone[0], abs=2e-3)
    np.testing.assert_allclose(fit.coefficients[1:], alone[2:], atol=2e-3)
    assert family.mean(fit.intercept + fit.coefficients[0]) < 1e-3


@pytest.mark.parametrize("family", [BINARY, COUNT], ids=lambda family: family.kind)
def test_one_event_in_an_arm_gives_that_arms_share(family):
    _, y, arm, _, _ = trial(family)
    y = np.where(arm == 1, 0.0, y)
    y[np.flatnonzero(arm == 1)[0]] = 1.0
    fit = fit_glm(family, np.empty((y.size, 0)), y, free=arm[:, None])
    assert family.mean(fit.intercept + fit.coefficients[0]) == pytest.approx(1 / arm.sum(), rel=1e-3)
    assert family.mean(fit.intercept) == pytest.approx(y[arm == 0].mean(), rel=1e-3)


@pytest.mark.parametrize(
    ("family", "value", "mean"), [(BINARY, 0.0, 0.0), (BINARY, 1.0, 1.0), (COUNT, 0.0, 0.0), (CONTINUOUS, 2.0, 2.0)]
)
def test_an_outcome_without_variation_gives_no_coefficients(family, value, mean):
    matrix, _, arm, _, _ = trial(family)
    fit = fit_glm(family, matrix, np.full(109, value), free=arm[:, None])
    assert family.mean(fit.intercept) == pytest.approx(mean, abs=1e-9)
    np.testing.assert_allclose(fit.coefficients, 0, atol=1e-9)


@by_family
def test_more_columns_than_patients_are_shrunk_without_complaint(family):
    matrix, y, arm, _, exposure = trial(family, n=40, p=90)
    fit = fit_glm(family, matrix, y, free=arm[:, None], exposure=exposure)
    assert np.isfinite(fit.coefficients).all()
    assert fit.effective_df < 38


def test_no_penalties_are_refused():
    with pytest.raises(ValueError, match="penalties must not be empty"):
        fit_glm(CONTINUOUS, np.ones((3, 1)), np.arange(3.0), penalties=())


def test_default_penalties_are_believable_for_few_events_and_all_for_many():
    assert bearable_penalties(BINARY, 10.0) == (1.0, 3.0, 10.0)  # 4 / 10 and above
    assert bearable_penalties(COUNT, 40.0) == (0.1, 0.3, 1.0, 3.0, 10.0)
    assert bearable_penalties(BINARY, 5000.0) == PENALTIES
    assert bearable_penalties(BINARY, 0.1) == (10.0,)
    assert bearable_penalties(CONTINUOUS, 1.0) == PENALTIES


def test_a_dozen_events_and_many_columns_do_not_end_in_certainty():
    # Noise alone: nothing can be better than the event rate, and nothing should be much worse in new patients.
    rng = np.random.default_rng(4)
    excess = []
    for _ in range(30):
        matrix, new = rng.normal(size=(109, 25)), rng.normal(size=(2000, 25))
        y = np.zeros(109)
        y[rng.choice(109, 12, replace=False)] = 1
        fit = fit_glm(BINARY, matrix, y)
        risk = BINARY.mean(fit.intercept + new @ fit.coefficients)
        rate = 12 / 109
        loss = -(rate * np.log(risk) + (1 - rate) * np.log(1 - risk)).mean()
        excess.append(loss + rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert np.mean(excess) < 0.05
    assert np.max(excess) < 0.25
