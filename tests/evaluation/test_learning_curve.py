import numpy as np
import pytest
from scipy import stats

from il7ml.errors import InputError
from il7ml.evaluation.learning_curve import learning_curve


def rows(*columns):
    """Return size, repeat and value of a table with a column of repeats a size."""
    values = np.array(columns, dtype=float)
    size, repeat = np.meshgrid([50, 100, 200][: len(columns)], np.arange(values.shape[1]), indexing="ij")
    return size.ravel(), repeat.ravel(), values.ravel()


LOSSES = ([0.70, 0.66, 0.68], [0.62, 0.61, 0.63], [0.60, 0.60, 0.62])


def test_intervals_are_students_and_the_gain_is_a_paired_t_test():
    size, repeat, value = rows(*LOSSES)
    order = np.random.default_rng(1).permutation(size.size)
    curve = learning_curve(size[order], repeat[order], value[order], higher_is_better=False)
    assert curve.table["size"].tolist() == [50, 100, 200]
    for row, losses in zip(curve.table.itertuples(), LOSSES, strict=True):
        assert row.mean == pytest.approx(np.mean(losses))
        assert (row.low, row.high) == pytest.approx(tuple(stats.ttest_1samp(losses, 0).confidence_interval()))
    paired = stats.ttest_rel(LOSSES[1], LOSSES[2]).confidence_interval()
    assert curve.gain == pytest.approx(0.04 / 3)
    assert (curve.gain_low, curve.gain_high) == pytest.approx(tuple(paired))
    assert not curve.still_gains


@pytest.mark.parametrize(("higher_is_better", "still_gains"), [(True, True), (False, False)])
def test_a_gain_has_the_sign_of_the_measure(higher_is_better, still_gains):
    curve = learning_curve(*rows([0.60, 0.62, 0.61], [0.65, 0.68, 0.66]), higher_is_better=higher_is_better)
    assert abs(curve.gain) == pytest.approx(0.16 / 3)
    assert curve.still_gains is still_gains


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (([50, 50], [1, 2], [0.6, 0.7]), "got 1 sizes and 2 repeats"),
        (([50, 100], [1, 1], [0.6, 0.7]), "got 2 sizes and 1 repeats"),
        (([50, 50, 100], [1, 2, 1], [0.6, 0.7, 0.8]), "1 combinations missing"),
        (([50, 50, 100, 100], [1, 1, 1, 2], [0.6, 0.7, 0.8, 0.9]), "one finite value"),
        (([50, 50, 100, 100], [1, 2, 1, 2], [0.6, 0.7, 0.8, np.nan]), "one finite value"),
    ],
)
def test_incomplete_tables_are_refused(table, said):
    with pytest.raises(InputError, match=said):
        learning_curve(*table, higher_is_better=True)
