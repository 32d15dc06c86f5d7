import numpy as np
import pytest
from scipy.stats import multivariate_normal

from il7ml.models import score_posterior
from il7ml.models.score_posterior import fit_posterior, sum_scores
from il7ml.models.shapes import Atoms, Block, Shapes


def shapes_of(pairs, log_prior):
    """Return shapes over two columns: blocks of the given tuples of columns, and the sum's wave as remainder."""
    atoms = Atoms(np.arange(2), np.zeros(2), np.zeros(2, dtype=int), np.full((2, 3), 0.7), np.array([0.0, 1.0, 2.0]))
    blocks = tuple(Block("linear", (), tuple((column + 1, 0) for column in columns)) for columns in pairs)
    return Shapes(atoms, blocks, np.array(log_prior), (3, 4, 5))


def sample(n=60, slope=0.4, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(n, 2))
    return base, 1.0 + slope * base[:, 0] + rng.normal(size=n)


def blocks_of(shapes, base, scores, weight=None, size=25):
    extra = np.empty((len(base), 0))
    features = shapes.features(base, extra)
    weight = np.ones(len(base)) if weight is None else weight
    for start in range(0, len(base), size):
        rows = slice(start, start + size)
        yield features[rows], scores[rows], weight[rows]


def moments_at(posterior, features):
    moments, needed = posterior.moments()
    return moments.at(features[:, needed])


def test_sums_do_not_depend_on_the_blocks_of_patients():
    shapes = shapes_of([(0,), (1,)], np.log([0.5, 0.5]))
    base, scores = sample()
    weight = np.random.default_rng(1).uniform(0.5, 1.5, 60)
    weight /= weight.mean()
    whole = sum_scores(blocks_of(shapes, base, scores, weight, size=60))
    parts = sum_scores(blocks_of(shapes, base, scores, weight, size=7))
    features = shapes.features(base, np.empty((60, 0)))
    centred = features - np.average(features, axis=0, weights=weight)
    for one, two in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, two)
    np.testing.assert_allclose(whole.gram, (centred * weight[:, None]).T @ centred, atol=1e-9)
    np.testing.assert_allclose(whole.cross, (centred * weight[:, None]).T @ scores, atol=1e-9)
    with pytest.raises(ValueError, match="at least one block"):
        sum_scores([])


def test_one_layer_is_exact_bayesian_model_averaging(monkeypatch):
    """Against marginal likelihoods of n-dimensional normal distributions; the noise agrees to its last iteration."""
    monkeypatch.setattr(score_posterior, "LAYERS", 1)
    shapes = shapes_of([(0,), (1,), (0, 1)], np.log([0.5, 0.3, 0.2]))
    base, scores = sample()
    posterior = fit_posterior(sum_scores(blocks_of(shapes, base, scores)), shapes, unit=1.0)
    centred = scores - scores.mean()
    densities, means, priors = [], [], []
    for columns, prior in (((0,), 0.5), ((1,), 0.3), ((0, 1), 0.2)):
        features = base[:, list(columns)]
        features = features - features.mean(axis=0)
        features /= np.sqrt(features.var(axis=0).sum())
        for spread in score_posterior.SPREADS:
            kernel = spread**2 * features @ features.T
            total = kernel + posterior.noise * np.eye(60)
            densities.append(multivariate_normal(np.zeros(60), total).logpdf(centred))
            means.append(kernel @ np.linalg.solve(total, centred))
            priors.append(0.4 * prior / len(score_posterior.SPREADS))
    densities.append(multivariate_normal(np.zeros(60), posterior.noise * np.eye(60)).logpdf(centred))
    weight = np.array([*priors, 0.6]) * np.exp(np.array(densities) - max(densities))
    weight /= weight.sum()
    assert posterior.probability == pytest.approx(1 - weight[-1], abs=1e-4)
    np.testing.assert_allclose(posterior.layers[0].weight, weight[:-1].reshape(3, 4).sum(axis=1), atol=1e-4)
    mean, _ = moments_at(posterior, shapes.features(base, np.empty((60, 0))))
    np.testing.assert_allclose(mean, weight[:-1] @ np.array(means), atol=1e-4)


def test_sums_of_shapes_are_found():
    shapes = shapes_of([(0,), (1,)], np.log([0.5, 0.5]))
    rng = np.random.default_rng(0)
    base = rng.normal(size=(2000, 2))
    scores = 0.5 * base[:, 0] - 0.5 * base[:, 1] + rng.normal(size=2000)
    posterior = fit_posterior(sum_scores(blocks_of(shapes, base, scores)), shapes, unit=1.0)
    np.testing.assert_allclose(posterior.weights, [1.0, 1.0], atol=0.3)
    mean, _ = moments_at(posterior, shapes.features(np.eye(2), np.empty((2, 0))))
    np.testing.assert_allclose(mean, [0.5, -0.5], atol=0.08)
    assert posterior.noise == pytest.approx(1.0, rel=0.1)


def test_noise_alone_leaves_the_prior_probability_or_less():
    shapes = shapes_of([(0,), (1,)], np.log([0.5, 0.5]))
    probabilities = [
        fit_posterior(sum_scores(blocks_of(shapes, *sample(500, 0.0, seed))), shapes, unit=1.0).probability
        for seed in range(20)
    ]
    assert np.median(probabilities) < 0.5


def test_variance_falls_with_patients_and_rises_with_a_design_effect():
    shapes = shapes_of([(0,), (1,)], np.log([0.5, 0.5]))
    new = shapes.features(np.array([[1.0, -1.0]]), np.empty((1, 0)))
    sums = {n: sum_scores(blocks_of(shapes, *sample(n))) for n in (100, 10_000)}
    variance = {n: moments_at(fit_posterior(each, shapes, unit=1.0), new)[1][0] for n, each in sums.items()}
    assert variance[10_000] < variance[100] / 5
    # Ten thousand patients whose dependence makes them worth a hundred.
    worth_few = fit_posterior(sums[10_000].scaled(0.01), shapes, unit=1.0)
    assert moments_at(worth_few, new)[1][0] > 5 * variance[10_000]


def test_mean_and_variance_are_those_of_the_sum_of_single_shapes():
    """Against each layer's mixture over blocks, written out patient by patient, and draws from the remainder."""
    shapes = shapes_of([(0,), (1,), (0, 1)], np.log([0.5, 0.3, 0.2]))
    base, scores = sample(n=200)
    posterior = fit_posterior(sum_scores(blocks_of(shapes, base, scores)), shapes, unit=1.0)
    new = shapes.features(np.random.default_rng(2).normal(size=(5, 2)), np.empty((5, 0)))
    turned = posterior.basis.turned(new[:, :4])
    expected, variance = np.zeros(5), np.zeros(5)
    for layer in posterior.layers:
        first, second = np.zeros(5), np.zeros(5)
        for block, probability in enumerate(layer.weight):
            rows = posterior.basis.block == block
            covariance = np.diag(layer.variance[rows]) + np.outer(layer.mean[rows], layer.mean[rows])
            first += probability * turned[:, rows] @ layer.mean[rows]
            second += probability * np.array([x @ covariance @ x for x in turned[:, rows]])
        expected += first
        variance += second - first**2
    rest = posterior.remainder
    directions = (new[:, 4:] - rest.centre) @ rest.directions
    variance += [x @ np.diag(rest.second) @ x for x in directions]
    for ours, theirs in zip(moments_at(posterior, new), (expected, variance), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_shapes_that_play_no_part_are_left_out():
    shapes = shapes_of([(0,), (1,), (0, 1)], np.log([0.5, 0.5 - 1e-30, 1e-30]))
    base, scores = sample(n=3000, slope=1.0)
    base[:, 1] = 1.0  # constant
    posterior = fit_posterior(sum_scores(blocks_of(shapes, base, scores)), shapes, unit=1.0)
    _, needed = posterior.moments()
    np.testing.assert_array_equal(needed, [0, 4, 5, 6])
