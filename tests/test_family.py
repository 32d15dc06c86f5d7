import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_poisson_deviance

from il7ml.errors import InputError
from il7ml.family import BINARY, CONTINUOUS, COUNT, FAMILIES, family_of

ALL = list(FAMILIES.values())
ETA = np.linspace(-6, 6, 25)


@pytest.mark.parametrize("family", ALL, ids=lambda family: family.kind)
def test_link_is_the_inverse_of_mean(family):
    np.testing.assert_allclose(family.link(family.mean(ETA)), ETA, atol=1e-9)


@pytest.mark.parametrize("family", ALL, ids=lambda family: family.kind)
def test_variance_is_the_slope_of_the_mean(family):
    """So it is for an exponential family with its canonical link."""
    step = 1e-5
    slope = (family.mean(ETA + step) - family.mean(ETA - step)) / (2 * step)
    np.testing.assert_allclose(family.variance(family.mean(ETA)), slope, rtol=1e-6)


def test_binary_loss_is_the_log_loss():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 50), rng.uniform(0.01, 0.99, 50)
    assert BINARY.loss(y, p).mean() == pytest.approx(log_loss(y, p))


def test_count_loss_is_half_the_poisson_deviance():
    rng = np.random.default_rng(0)
    y, rate, time = rng.poisson(1.5, 50), rng.uniform(0.5, 2, 50), rng.uniform(1, 3, 50)
    assert COUNT.loss(y, rate).mean() == pytest.approx(mean_poisson_deviance(y, rate) / 2)
    assert COUNT.loss(y, rate, time).mean() == pytest.approx(mean_poisson_deviance(y, rate * time) / 2)


def test_continuous_loss_is_the_squared_error():
    assert CONTINUOUS.loss([1.0, 5.0], [3.0, 5.0]).tolist() == [4.0, 0.0]


@pytest.mark.parametrize(
    ("family", "y"), [(BINARY, [0, 0, 0, 1]), (COUNT, [0, 3, 1, 0]), (CONTINUOUS, [-2.0, 0.5, 1.0, 3.0])]
)
def test_the_mean_has_the_smallest_loss(family, y):
    best = np.mean(y)
    losses = [family.loss(y, np.full(4, best + shift)).sum() for shift in (-0.05, 0.0, 0.05)]
    assert losses[1] < min(losses[0], losses[2])


@pytest.mark.parametrize("family", ALL, ids=lambda family: family.kind)
def test_extremes_stay_finite(family):
    extreme = np.array([-1e4, 1e4])
    mean = family.mean(extreme)
    assert np.isfinite(mean).all()
    assert np.isfinite(family.link(mean)).all()
    assert np.isfinite(family.variance(mean)).all()
    assert np.isfinite(family.loss([1, 0], mean)).all()
    assert np.isfinite(family.link([0.0, 1.0])).all()


def test_family_of_names_the_nearest_kind():
    assert family_of("count") is COUNT
    with pytest.raises(InputError, match=r"outcome: 'binar' is not known. Did you mean 'binary'\?"):
        family_of("binar")
