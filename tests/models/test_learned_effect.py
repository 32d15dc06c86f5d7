import numpy as np
import pytest

from il7ml.models.learned_effect import learn_effect


def test_a_step_is_learned_and_predictions_are_out_of_fold():
    rng = np.random.default_rng(0)
    n = 4000
    matrix = rng.normal(size=(n, 3)).astype(np.float32)
    matrix[rng.random(n) < 0.1, 1] = np.nan
    truth = np.where(matrix[:, 0] > 0.3, 1.0, 0.0)
    scores = truth + rng.normal(size=n)
    model, out_of_fold = learn_effect(matrix, scores, np.ones(n), np.random.default_rng(1))
    new = rng.normal(size=(1000, 3)).astype(np.float32)
    assert np.corrcoef(model.predict(new), new[:, 0] > 0.3)[0, 1] > 0.95
    assert np.corrcoef(out_of_fold, truth)[0, 1] > 0.9


def test_noise_is_not_learned_out_of_fold():
    """In-sample predictions would be correlated with the noise they were fitted to."""
    rng = np.random.default_rng(0)
    correlations = []
    for seed in range(5):
        matrix, scores = rng.normal(size=(1000, 3)).astype(np.float32), rng.normal(size=1000)
        _, out_of_fold = learn_effect(matrix, scores, np.ones(1000), np.random.default_rng(seed))
        correlations.append(np.corrcoef(out_of_fold, scores)[0, 1])
    assert np.mean(correlations) == pytest.approx(0, abs=0.05)


def test_patients_of_weight_zero_are_left_out():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(1000, 2)).astype(np.float32)
    scores = np.where(matrix[:, 0] > 0, 1.0, 0.0)
    weight = (matrix[:, 1] > 0).astype(float)
    misleading = np.where(weight == 0, -scores, scores)
    model, _ = learn_effect(matrix, misleading, weight, np.random.default_rng(0))
    low, high = model.predict(np.array([[-1.0, -1.0], [1.0, -1.0]], dtype=np.float32))
    assert high > low
