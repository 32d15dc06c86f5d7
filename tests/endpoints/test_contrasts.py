import numpy as np
import pytest
from scipy.stats import ttest_ind

from il7ml.endpoints.contrasts import ArmMeans, compare, welch_difference

ARMS = ArmMeans(np.array([0.45, 0.3]), np.array([[0.004, 0.0007], [0.0007, 0.003]]), n=109, events=41)
FUNCTIONS = {
    "difference": lambda m: m[1] - m[0],
    "ratio": lambda m: np.log(m[1] / m[0]),
    "rate_ratio": lambda m: np.log(m[1] / m[0]),
    "odds_ratio": lambda m: np.log(m[1] / (1 - m[1]) / m[0] * (1 - m[0])),
}


@pytest.mark.parametrize("scale", FUNCTIONS)
def test_errors_are_those_of_the_delta_method_by_numerical_differentiation(scale):
    (result,) = compare(ARMS, (scale,), "infection", "raw")
    function = FUNCTIONS[scale]
    gradient = np.array([(function(ARMS.means + d) - function(ARMS.means - d)) / 2e-6 for d in 1e-6 * np.eye(2)])
    assert result.std_error == pytest.approx(np.sqrt(gradient @ ARMS.covariance @ gradient), rel=1e-6)
    value = result.estimate if scale == "difference" else np.log(result.estimate)
    assert value == pytest.approx(function(ARMS.means))
    assert (result.n, result.events) == (109, 41)


@pytest.mark.parametrize(
    ("means", "unknown"),
    [([0.4, 0.0], {"ratio", "odds_ratio"}), ([-0.01, 0.3], {"ratio", "odds_ratio"}), ([1.0, 0.3], {"odds_ratio"})],
)
def test_a_ratio_out_of_range_is_unknown_and_a_difference_is_not(means, unknown):
    results = compare(ARMS._replace(means=np.array(means)), ("difference", "ratio", "odds_ratio"), "infection", "raw")
    assert {result.scale for result in results if np.isnan(result.estimate)} == unknown
    assert {result.scale for result in results if np.isnan(result.p_value)} == unknown


def test_the_difference_of_small_arms_is_welchs():
    rng = np.random.default_rng(1)
    control, treated = rng.normal(0, 1, 8), rng.normal(0.5, 3, 12)
    arms = ArmMeans(np.array([control.mean(), treated.mean()]), np.diag([control.var() / 8, treated.var() / 12]), n=20)
    result = welch_difference(arms, (8, 12), "days", "raw", level=0.9)
    reference = ttest_ind(treated, control, equal_var=False)
    assert result.p_value == pytest.approx(reference.pvalue)
    assert (result.low, result.high) == pytest.approx(tuple(reference.confidence_interval(0.9)))


@pytest.mark.parametrize(("covariance", "sizes", "error"), [([0.0, 0.02], (1, 9), np.nan), ([0.0, 0.0], (5, 5), 0.0)])
def test_a_difference_without_spread_has_no_p_value(covariance, sizes, error):
    arms = ArmMeans(np.array([1.0, 2.0]), np.diag(covariance), n=sum(sizes))
    result = welch_difference(arms, sizes, "infections", "raw")
    assert result.estimate == 1
    assert result.std_error == pytest.approx(error, nan_ok=True)
    assert np.isnan(result.p_value)
