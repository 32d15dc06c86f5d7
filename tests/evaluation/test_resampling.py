import numpy as np
import pytest
from scipy import stats

from il7ml.evaluation.resampling import percentile_interval, resampling_counts


def test_counts_are_draws_with_replacement():
    counts = np.vstack(list(resampling_counts(40, 2000, np.random.default_rng(0))))
    assert counts.shape == (2000, 40)
    assert (counts.sum(axis=1) == 40).all()
    observed = np.bincount(counts.ravel().astype(int), minlength=5)[:5]
    expected = counts.size * stats.binom.pmf(np.arange(5), 40, 1 / 40)
    np.testing.assert_allclose(observed, expected, rtol=0.05)


def test_many_patients_come_in_small_blocks():
    blocks = list(resampling_counts(300_000, 3, np.random.default_rng(0)))
    assert [block.shape for block in blocks] == [(1, 300_000)] * 3


def test_resamples_without_a_value_are_left_out():
    samples = np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    limits = percentile_interval(samples, 0.5)
    np.testing.assert_allclose(limits[:, 0], [1.5, 2.5])
    assert np.isnan(limits[:, 1]).all()


def test_the_interval_of_a_mean_is_that_of_theory():
    rng = np.random.default_rng(1)
    values = rng.normal(size=500)
    means = np.vstack([block @ values[:, None] / 500 for block in resampling_counts(500, 4000, rng)])
    half = np.diff(percentile_interval(means, 0.95)[:, 0])[0] / 2
    assert half == pytest.approx(1.96 * values.std() / np.sqrt(500), rel=0.05)
