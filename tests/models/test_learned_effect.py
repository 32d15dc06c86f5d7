import numpy as np
import pytest

from il7ml.features.design import TreeDesign
from il7ml.models.learned_effect import learn_effect


def learn(matrix, scores, weight, seed):
    """Return the mean of both halves' trees as a function of the matrix, and the out-of-fold predictions."""
    design = TreeDesign(tuple((f"x{k}", 0) for k in range(matrix.shape[1])))
    trees, out_of_fold = learn_effect(design, columns(matrix), scores, weight, np.random.default_rng(seed))
    assert len(trees) == 2
    return lambda new: np.mean([tree.linear_predictor(columns(new), len(new)) for tree in trees], axis=0), out_of_fold


def columns(matrix):
    return {f"x{k}": column.astype(float) for k, column in enumerate(matrix.T)}


def test_a_step_is_learned_and_predictions_are_out_of_fold():
    rng = np.random.default_rng(0)
    n = 4000
    matrix = rng.normal(size=(n, 3)).astype(np.float32)
    matrix[rng.random(n) < 0.1, 1] = np.nan
    truth = np.where(matrix[:, 0] > 0.3, 1.0, 0.0)
    scores = truth + rng.normal(size=n)
    predict, out_of_fold = learn(matrix, scores, np.ones(n), 1)
    new = rng.normal(size=(1000, 3)).astype(np.float32)
    assert np.corrcoef(predict(new), new[:, 0] > 0.3)[0, 1] > 0.95
    assert np.corrcoef(out_of_fold, truth)[0, 1] > 0.9


def test_noise_is_not_learned_out_of_fold():
    """In-sample predictions would be correlated with the noise they were fitted to."""
    rng = np.random.default_rng(0)
    correlations = []
    for seed in range(5):
        matrix, scores = rng.normal(size=(1000, 3)).astype(np.float32), rng.normal(size=1000)
        _, out_of_fold = learn(matrix, scores, np.ones(1000), seed)
        correlations.append(np.corrcoef(out_of_fold, scores)[0, 1])
    assert np.mean(correlations) == pytest.approx(0, abs=0.05)


def test_patients_of_weight_zero_are_left_out():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(1000, 2)).astype(np.float32)
    scores = np.where(matrix[:, 0] > 0, 1.0, 0.0)
    weight = (matrix[:, 1] > 0).astype(float)
    misleading = np.where(weight == 0, -scores, scores)
    predict, _ = learn(matrix, misleading, weight, 0)
    low, high = predict(np.array([[-1.0, -1.0], [1.0, -1.0]], dtype=np.float32))
    assert high > low
