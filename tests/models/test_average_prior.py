import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm, t

from il7ml.models.average_prior import average_prior, shrink_average


@pytest.mark.parametrize(("estimate", "std_error"), [(0.3, 0.1), (-0.12, 0.09), (2.0, 0.05), (0.0, 0.2)])
def test_posterior_moments_agree_with_numerical_integration(estimate, std_error):
    def density(x, power):
        return x**power * t.pdf(x / 0.13, 4) * norm.pdf(estimate, x, std_error)

    limits = (estimate - 9 * std_error, estimate + 9 * std_error)
    total, first, second = (
        quad(density, *limits, args=(power,), limit=400, points=[0, estimate])[0] for power in (0, 1, 2)
    )
    mean, variance = shrink_average(estimate, std_error, 0.13, 4.0)
    assert mean == pytest.approx(first / total, abs=1e-6)
    assert variance == pytest.approx(second / total - (first / total) ** 2, rel=1e-4)


def test_large_effects_are_hardly_shrunken():
    mean, _ = shrink_average(1.0, 0.05, 0.13, 4.0)
    assert mean > 0.98


def test_priors_are_those_of_the_cochrane_database_on_each_scale():
    assert average_prior("binary", "odds_ratio", 0.3, np.nan) == (0.58, 4.0)
    assert average_prior("binary", "ratio", 0.3, np.nan) == (0.32, 3.0)
    assert average_prior("binary", "difference", 0.3, np.nan)[0] == pytest.approx(0.58 * 0.21)
    assert average_prior("count", "difference", 0.5, np.nan)[0] == pytest.approx(0.16)
    assert average_prior("continuous", "difference", 7.0, 2.0) == (pytest.approx(0.86), 5.0)
