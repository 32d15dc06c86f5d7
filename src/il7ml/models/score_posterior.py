"""Bayesian averaging over sums of shapes, in closed form, from sums over patients.

The scores are modelled as average + h(x) + noise, where h is a sum of layers and each layer is either nothing or one
shape of unknown size: the sum of single effects of Wang et al., with blocks of features instead of single columns and
with "nothing" among the choices. A layer's posterior is a weighted average over all shapes.

Beside the layers stands a remainder, a Gaussian process of short range. It widens intervals by what no sum of a few
shapes can follow; its mean would add more noise than signal and is left out of predictions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from il7ml.models.shapes import Shapes

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

#: Prior probability that there is any heterogeneity, and that there is a further layer, given one.
ANY_LAYER, NEXT_LAYER = 0.4, 0.5
LAYERS = 6
#: Equally likely prior standard deviations of a layer, in log odds: patients one standard deviation apart differ in
#: their odds ratio by a factor of 1.16, 1.35, 1.65 or 2.2.
SPREADS = (0.15, 0.30, 0.50, 0.80)
#: The same of the remainder. The smallest is larger than a layer's: with many patients the likelihood, which knows only
#: what the remainder's features can follow, always takes the smallest.
REMAINDER_SPREADS = (0.20, 0.30, 0.42, 0.67)
_SWEEPS = 50
_TOLERANCE = 1e-5
# Power of the remainder's likelihood: scores are not normal, and heterogeneity that is confined to few patients looks
# small to it (tempered posterior: Grünwald, ALT 2012, doi 10.1007/978-3-642-34106-9_16).
_TEMPER = 0.25
# Variance below which a block of features counts as constant.
_CONSTANT = 1e-12
# Expected number of layers, of all blocks left out of a prediction together.
_NEGLIGIBLE = 1e-11


class ScoreSums(NamedTuple):
    """Weighted sums over patients, of centred features and scores.

    Attributes
    ----------
    n : float
        Number of patients; the weights' mean is 1.
    gram : ndarray of shape (m + r, m + r)
        Of the shapes' m features, then the remainder's r.
    cross : ndarray of shape (m + r,)
    square : float
    centre : ndarray of shape (m + r,)
        Means of the raw features.
    """

    n: float
    gram: Floats
    cross: Floats
    square: float
    centre: Floats

    def scaled(self, factor: float) -> ScoreSums:
        """Return the sums of `factor` times as many patients."""
        return ScoreSums(self.n * factor, self.gram * factor, self.cross * factor, self.square * factor, self.centre)


class Basis(NamedTuple):
    """Features of each block turned to be orthogonal, with variances that add up to 1.

    Attributes
    ----------
    centre : ndarray of shape (m,)
    turns : tuple of ndarray
        One matrix a block; turned features are (raw - centre) times it.
    block : ndarray of shape (m,)
        Block of each turned feature.
    starts : ndarray of shape (blocks,)
    """

    centre: Floats
    turns: tuple[Floats, ...]
    block: Indices
    starts: Indices

    def turned(self, features: Floats) -> Floats:
        """Return the turned features of patients with raw features (n, m)."""
        turned = (features - self.centre) * self._scale
        for start, turn in self._wide:
            rows = slice(start, start + len(turn))
            turned[:, rows] = turned[:, rows] @ turn
        return turned

    def turned_both(self, matrix: Floats) -> Floats:
        """Return a matrix (m, m) of products of raw features as one of turned features."""
        return self.turned(self.turned(matrix + self.centre).T + self.centre)

    @property
    def _wide(self) -> list[tuple[int, Floats]]:
        return [(int(start), turn) for start, turn in zip(self.starts, self.turns, strict=True) if len(turn) > 1]

    @property
    def _scale(self) -> Floats:
        return np.concatenate([turn.ravel() if len(turn) == 1 else np.ones(len(turn)) for turn in self.turns])


class Layer(NamedTuple):
    """Posterior of one layer.

    Attributes
    ----------
    active : float
        Probability that it is not nothing.
    weight : ndarray of shape (blocks,)
        Probability of each block; adds up to `active`.
    mean, variance : ndarray of shape (m,)
        Of the coefficients given their block, averaged over prior spreads.
    """

    active: float
    weight: Floats
    mean: Floats
    variance: Floats


class Remainder(NamedTuple):
    """Posterior of what the layers leave.

    Attributes
    ----------
    centre : ndarray of shape (r,)
    directions : ndarray of shape (r, r)
        Centred features times these are independent given the scores.
    second : ndarray of shape (r,)
        Second moment of each direction's coefficient.
    """

    centre: Floats
    directions: Floats
    second: Floats


class Moments(NamedTuple):
    """Posterior mean and variance of the heterogeneity as linear and quadratic forms in centred raw features.

    Attributes
    ----------
    centre : ndarray of shape (m + r,)
        Of the shapes' m features, then the remainder's r.
    layers : ndarray of shape (layers, m)
        Expected coefficients of each layer.
    squares : ndarray of shape (m,)
        Second moments of the coefficients of features that are a block alone, 0 elsewhere; summed over layers.
    wide : tuple of (int, ndarray of shape (k, k))
        First feature and second moments of the coefficients of each block of more features, the remainder last.
    """

    centre: Floats
    layers: Floats
    squares: Floats
    wide: tuple[tuple[int, Floats], ...]

    def at(self, features: Floats) -> tuple[Floats, Floats]:
        """Return mean and variance of h at patients with raw features (n, m + r).

        The remainder counts as there for certain: an interval must not lean on the prior probability of nothing.
        """
        # Feature by feature, as they lie in memory.
        centred = features.T - self.centre[:, None]
        shapes = centred[: self.squares.size]
        # Products with few columns by einsum: BLAS would split their sums among threads, and last digits would depend
        # on how many there are.
        layers = np.einsum("lf,fi->li", self.layers, shapes)
        second = np.einsum("fi,fi,f->i", shapes, shapes, self.squares)
        for start, matrix in self.wide:
            part = centred[start : start + len(matrix)]
            second += ((matrix @ part) * part).sum(axis=0)
        # No layer's second moment is below its squared mean, so anything below 0 is rounding.
        return layers.sum(axis=0), np.maximum(second - (layers**2).sum(axis=0), 0.0)

    def mean_at(self, features: Floats) -> Floats:
        """Return the mean alone from the shapes' features (n, m), which takes a fraction of the time."""
        centred = features.T - self.centre[: self.squares.size, None]
        return np.asarray(np.einsum("fi,f->i", centred, self.layers.sum(axis=0)))


class ScorePosterior(NamedTuple):
    """Posterior of the heterogeneity.

    Attributes
    ----------
    basis : Basis
    layers : tuple of Layer
    noise : float
        Residual variance of the scores.
    remainder : Remainder
    """

    basis: Basis
    layers: tuple[Layer, ...]
    noise: float
    remainder: Remainder

    @property
    def probability(self) -> float:
        """Posterior probability that there is any heterogeneity."""
        return self.layers[0].active

    @property
    def weights(self) -> Floats:
        """Expected number of layers of each block, shape (blocks,)."""
        return np.asarray(sum(layer.weight for layer in self.layers))

    def moments(self) -> tuple[Moments, Indices]:
        """Return mean and variance as forms in raw features, and the features (indices into m + r) that they need.

        Blocks whose expected number of layers is below 1e-11, all of them together, are left out.
        """
        basis = self.basis
        means, squares, kept = [], [], []
        wide: list[tuple[int, Floats]] = []
        size = 0
        for number in self._needed():
            turn, start = basis.turns[number], int(basis.starts[number])
            rows = slice(start, start + len(turn))
            weight = np.array([layer.weight[number] for layer in self.layers])
            mean = np.array([turn @ layer.mean[rows] for layer in self.layers])
            variance = weight @ np.array([layer.variance[rows] for layer in self.layers])
            second = (turn * variance) @ turn.T + (mean.T * weight) @ mean
            means.append(weight[:, None] * mean)
            squares.append(np.diag(second) if len(turn) == 1 else np.zeros(len(turn)))
            if len(turn) > 1:
                wide.append((size, _symmetric(second)))
            kept.append(np.arange(start, start + len(turn)))
            size += len(turn)
        directions = self.remainder.directions
        wide.append((size, _symmetric((directions * self.remainder.second) @ directions.T)))
        kept.append(basis.block.size + np.arange(len(directions)))
        features = np.concatenate(kept)
        return Moments(
            np.concatenate([basis.centre, self.remainder.centre])[features],
            np.hstack([np.empty((len(self.layers), 0)), *means]),
            np.concatenate([np.empty(0), *squares]),
            tuple(wide),
        ), features

    def _needed(self) -> Indices:
        """Return the blocks that are not negligible, in order."""
        varies = np.array([bool(turn.any()) for turn in self.basis.turns], dtype=bool)
        weight = np.where(varies, self.weights, 0.0)
        order = np.argsort(weight, kind="stable")
        return np.sort(order[np.cumsum(weight[order]) > _NEGLIGIBLE])


def _symmetric(matrix: Floats) -> Floats:
    return np.asarray((matrix + matrix.T) / 2)


def sum_scores(blocks: Iterable[tuple[Floats, Floats, Floats]]) -> ScoreSums:
    """Return the sums over blocks of patients.

    Parameters
    ----------
    blocks : iterable of (features, scores, weight)
        Raw features (b, m + r), scores (b,) and weights (b,), whose mean over all patients is 1.
    """
    total: Floats | None = None
    n = 0
    for features, scores, weight in blocks:
        rows = np.vstack([features.T, scores, np.ones_like(scores)])
        rows *= np.sqrt(weight)
        part = rows @ rows.T  # of a matrix with itself, which BLAS does in half the time
        total = part if total is None else total + part
        n += scores.size
    if total is None:
        raise ValueError("sum_scores: expected at least one block")
    mean = total[-1, :-1] / total[-1, -1]
    centred = total[:-1, :-1] - total[-1, -1] * np.outer(mean, mean)
    return ScoreSums(float(n), centred[:-1, :-1], centred[:-1, -1], float(centred[-1, -1]), mean[:-1])


def fit_posterior(sums: ScoreSums, shapes: Shapes, unit: float) -> ScorePosterior:
    """Average over sums of shapes by iterated Bayesian stepwise selection.

    Parameters
    ----------
    sums : ScoreSums
    shapes : Shapes
    unit : float
        Difference on the scores' scale that corresponds to a log odds ratio of 1.

    References
    ----------
    Wang, Sarkar, Carbonetto and Stephens, J R Stat Soc B 2020;82:1273, doi 10.1111/rssb.12388. Model averaging: Hoeting
    et al., Stat Sci 1999;14:382, doi 10.1214/ss/1009212519.
    """
    basis = _turn_blocks(sums, shapes.sizes)
    m = basis.block.size
    gram, cross = basis.turned_both(sums.gram[:m, :m]), basis.turned(sums.cross[None, :m] + basis.centre)[0]
    size = np.maximum(np.diag(gram), 0.0)
    spreads = np.array(SPREADS) * unit
    degrees = max(sums.n - 1, 1.0)
    noise = sums.square / degrees
    layers: list[Layer] = []
    contribution = np.zeros((LAYERS, size.size))
    # Products with the gram matrix cost most, so each layer's is kept until the layer changes.
    product = np.zeros((LAYERS, size.size))
    for _ in range(_SWEEPS):
        before, product_before = contribution.sum(axis=0), product.sum(axis=0)
        layers, open_mass = [], ANY_LAYER
        for number in range(LAYERS):
            rest = cross - (product.sum(axis=0) - product[number])
            layers.append(_single(rest, size, spreads, noise, open_mass, shapes.log_prior, basis))
            contribution[number] = layers[number].weight[basis.block] * layers[number].mean
            product[number] = gram @ contribution[number]
            open_mass = NEXT_LAYER * layers[number].active
        total, product_total = contribution.sum(axis=0), product.sum(axis=0)
        spread = sum(
            _spread(layer, float(part @ own), size, basis)
            for layer, part, own in zip(layers, contribution, product, strict=True)
        )
        noise = float(sums.square - 2 * total @ cross + total @ product_total + spread) / degrees
        if (total - before) @ (product_total - product_before) <= _TOLERANCE**2 * sums.square:
            break
    links = basis.turned(sums.gram[m:, :m] + basis.centre)
    remainder = _remainder(sums.cross[m:] - links @ total, sums.gram[m:, m:], sums.n, sums.centre[m:], unit, noise)
    return ScorePosterior(basis, tuple(layers), noise, remainder)


def _turn_blocks(sums: ScoreSums, sizes: Indices) -> Basis:
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    turns = []
    for start, size in zip(starts, sizes, strict=True):
        rows = slice(start, start + size)
        gram = sums.gram[rows, rows] / sums.n
        variance = float(np.trace(gram))
        if variance <= _CONSTANT:
            turns.append(np.zeros_like(gram))
            continue
        vectors = np.linalg.eigh(gram)[1] if size > 1 else np.ones((1, 1))
        turns.append(vectors / np.sqrt(variance))
    return Basis(sums.centre[: sizes.sum()], tuple(turns), np.repeat(np.arange(sizes.size), sizes), starts)


def _single(
    rest: Floats, size: Floats, spreads: Floats, noise: float, active: float, log_prior: Floats, basis: Basis
) -> Layer:
    """Return the posterior of one layer, given the cross products that the others leave."""
    square = spreads[:, None] ** 2
    shrink = square / (noise + size * square)
    evidence = np.add.reduceat(_evidence(rest, size, square, noise), basis.starts, axis=1)
    log_weight = evidence + log_prior + np.log(active / spreads.size)
    total = logsumexp(log_weight)
    log_norm = np.logaddexp(total, np.log1p(-active))
    weight = np.exp(log_weight - log_norm)
    block = weight.sum(axis=0)
    share = (weight / np.maximum(block, 1e-300))[:, basis.block]
    means = rest * shrink
    mean = (share * means).sum(axis=0)
    variance = (share * (noise * shrink + (means - mean) ** 2)).sum(axis=0)
    return Layer(float(np.exp(total - log_norm)), block, mean, variance)


def _evidence(rest: Floats, size: Floats, square: Floats, noise: float) -> Floats:
    """Return the log Bayes factor against 0 of each feature, its coefficient being normal with variance `square`."""
    return np.asarray(
        0.5 * (rest**2 * square / (noise + size * square) / noise - np.log1p(size * square / noise)), dtype=float
    )


def _spread(layer: Layer, square: float, size: Floats, basis: Basis) -> float:
    """Return the posterior variance of one layer, summed over patients, from the sum of its squared means."""
    second = layer.weight[basis.block] * (layer.mean**2 + layer.variance)
    return float(second @ size) - square


def _remainder(rest: Floats, gram: Floats, n: float, centre: Floats, unit: float, noise: float) -> Remainder:
    """Return the posterior of a Gaussian process on what the layers leave, given that it is not nothing."""
    variance = float(np.trace(gram)) / n
    scale = 1 / np.sqrt(variance) if variance > _CONSTANT else 0.0
    size, vectors = np.linalg.eigh(gram * scale**2)
    size, vectors = np.maximum(size, 0.0), vectors * scale
    projected, square = rest @ vectors, (np.array(REMAINDER_SPREADS)[:, None] * unit) ** 2
    evidence = _TEMPER * _evidence(projected, size, square, noise).sum(axis=1)
    weight = np.exp(evidence - logsumexp(evidence))
    tempered = noise / _TEMPER
    shrink = square / (tempered + size * square)
    return Remainder(centre, vectors, weight @ (tempered * shrink + (projected * shrink) ** 2))
