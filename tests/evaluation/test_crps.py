import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from il7ml.errors import InputError
from il7ml.evaluation.crps import negative_binomial_crps, normal_crps, poisson_crps


def by_definition(distribution, y):
    values = np.arange(int(max(y, distribution.ppf(1 - 1e-13))) + 2)
    return ((distribution.cdf(values) - (y <= values)) ** 2).sum()


@pytest.mark.parametrize("mean", [0.01, 0.56, 3.0, 80.0])
@pytest.mark.parametrize("y", [0, 1, 7, 60])
def test_counts_against_the_definition(mean, y):
    assert poisson_crps(y, mean) == pytest.approx(by_definition(stats.poisson(mean), y), abs=1e-10)
    for dispersion in (0.001, 0.3, 4.0):
        size = 1 / dispersion
        distribution = stats.nbinom(size, size / (size + mean))
        assert distribution.var() == pytest.approx(mean + dispersion * mean**2)
        score = negative_binomial_crps(y, mean, dispersion)
        assert score == pytest.approx(by_definition(distribution, y), abs=1e-9)


def test_no_dispersion_is_poisson_and_no_rate_is_the_distance():
    np.testing.assert_allclose(negative_binomial_crps([0, 4], [0.5, 2.0], 0.0), poisson_crps([0, 4], [0.5, 2.0]))
    assert poisson_crps([0.0, 3.0], [0.0, 0.0]).tolist() == [0, 3]


def test_normal_against_the_definition():
    for y in (-1.0, 0.4, 3.0):
        below = quad(lambda v: stats.norm.cdf(v, 0.5, 1.7) ** 2, -20, y)[0]
        above = quad(lambda v: stats.norm.sf(v, 0.5, 1.7) ** 2, y, 20)[0]
        assert normal_crps(y, 0.5, 1.7) == pytest.approx(below + above, abs=1e-7)


def test_the_true_distribution_scores_best():
    rng = np.random.default_rng(1)
    y = rng.negative_binomial(2, 2 / (2 + 1.5), 20_000)
    scores = {d: negative_binomial_crps(y, np.full(y.size, 1.5), d).mean() for d in (0.0, 0.5, 2.0)}
    assert min(scores, key=scores.get) == 0.5
    shifted = [negative_binomial_crps(y, np.full(y.size, mean), 0.5).mean() for mean in (1.2, 1.5, 1.8)]
    assert np.argmin(shifted) == 1


def test_spreads_must_be_possible():
    with pytest.raises(InputError, match="dispersion"):
        negative_binomial_crps([1], [1.0], -0.1)
    with pytest.raises(InputError, match="std_dev"):
        normal_crps([1.0], [1.0], 0.0)
