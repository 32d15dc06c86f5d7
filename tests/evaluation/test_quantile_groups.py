import numpy as np
import pytest

from il7ml.evaluation.quantile_groups import quantile_groups


@pytest.mark.parametrize(("n", "groups"), [(12, 4), (109, 10), (7, 3)])
def test_distinct_values_make_groups_whose_sizes_differ_by_at_most_one(n, groups):
    values = np.random.default_rng(0).permutation(n).astype(float)
    group = quantile_groups(values, groups)
    sizes = np.bincount(group)
    assert sizes.size == groups
    assert np.ptp(sizes) <= 1
    assert (np.diff(group[np.argsort(values)]) >= 0).all()


def test_few_distinct_values_make_fewer_groups():
    assert quantile_groups(np.array([1, 1, 2, 2, 2, 2.0]), 5).tolist() == [0, 0, 1, 1, 1, 1]
    assert quantile_groups(np.ones(5), 4).tolist() == [0, 0, 0, 0, 0]
