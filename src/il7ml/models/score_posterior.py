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
_SWEEPS = 50
_TOLERANCE = 1e-5
# Power of the likelihood when the remainder's spread is judged: scores are not normal, and heterogeneity that is
# confined to few patients looks small to it (tempered posterior: Grünwald, ALT 2012, doi 10.1007/978-3-642-34106-9_16).
_TEMPER = 0.25
# Variance below which a block of features counts as constant.
_CONSTANT = 1e-12


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
        for start, turn in zip(self.starts, self.turns, strict=True):
            if len(turn) > 1:
                rows = slice(start, start + len(turn))
                turned[:, rows] = turned[:, rows] @ turn
        return turned

    def turned_both(self, matrix: Floats) -> Floats:
        """Return a matrix (m, m) of products of raw features as one of turned features."""
        return self.turned(self.turned(matrix + self.centre).T + self.centre)

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

    def variance(self, features: Floats) -> Floats:
        """Return the mean square of the remainder at patients with raw features (n, r)."""
        return np.asarray(((features - self.centre) @ self.directions) ** 2 @ self.second)


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

    def moments(self, features: Floats) -> tuple[Floats, Floats]:
        """Return mean and variance of h at patients with raw features (n, m + r).

        The remainder counts as there for certain: an interval must not lean on the prior probability of nothing.
        """
        size = self.basis.block.size
        turned = self.basis.turned(features[:, :size])
        weight = np.array([layer.weight for layer in self.layers])
        mean = np.array([layer.mean for layer in self.layers])
        variance = np.array([layer.variance for layer in self.layers])
        expanded = weight[:, self.basis.block]
        first = turned @ (expanded * mean).T
        second = turned**2 @ (expanded * (variance + mean**2)).T
        # Features of one block go together, so a wide block's square has products of them too.
        for number in np.flatnonzero(np.bincount(self.basis.block) > 1):
            rows = self.basis.block == number
            part = turned[:, rows]
            within = (part @ mean[:, rows].T) ** 2 - part**2 @ (mean[:, rows] ** 2).T
            second += within * weight[:, number]
        return first.sum(axis=1), (second - first**2).sum(axis=1) + self.remainder.variance(features[:, size:])


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
        rows = np.column_stack([features, scores, np.ones_like(scores)])
        part = (rows * weight[:, None]).T @ rows
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
    for _ in range(_SWEEPS):
        before, layers, open_mass = contribution.sum(axis=0), [], ANY_LAYER
        for number in range(LAYERS):
            rest = cross - gram @ (contribution.sum(axis=0) - contribution[number])
            layers.append(_single(rest, size, spreads, noise, open_mass, shapes.log_prior, basis))
            contribution[number] = layers[number].weight[basis.block] * layers[number].mean
            open_mass = NEXT_LAYER * layers[number].active
        total = contribution.sum(axis=0)
        spread = sum(_spread(layer, part, gram, size, basis) for layer, part in zip(layers, contribution, strict=True))
        noise = float(sums.square - 2 * total @ cross + total @ gram @ total + spread) / degrees
        if (total - before) @ gram @ (total - before) <= _TOLERANCE**2 * sums.square:
            break
    links = basis.turned(sums.gram[m:, :m] + basis.centre)
    remainder = _remainder(sums.cross[m:] - links @ total, sums.gram[m:, m:], sums.n, sums.centre[m:], spreads, noise)
    return ScorePosterior(basis, tuple(layers), noise, remainder)


def _turn_blocks(sums: ScoreSums, sizes: Indices) -> Basis:
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    turns = []
    for start, size in zip(starts, sizes, strict=True):
        rows = slice(start, start + size)
        gram = sums.gram[rows, rows] / sums.n
        variance = float(np.trace(gram))
        turns.append(np.linalg.eigh(gram)[1] / np.sqrt(variance) if variance > _CONSTANT else np.zeros_like(gram))
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


def _spread(layer: Layer, contribution: Floats, gram: Floats, size: Floats, basis: Basis) -> float:
    """Return the posterior variance of one layer, summed over patients."""
    second = layer.weight[basis.block] * (layer.mean**2 + layer.variance)
    return float(second @ size - contribution @ gram @ contribution)


def _remainder(rest: Floats, gram: Floats, n: float, centre: Floats, spreads: Floats, noise: float) -> Remainder:
    """Return the posterior of a Gaussian process on what the layers leave, given that it is not nothing."""
    variance = float(np.trace(gram)) / n
    scale = 1 / np.sqrt(variance) if variance > _CONSTANT else 0.0
    size, vectors = np.linalg.eigh(gram * scale**2)
    size, vectors = np.maximum(size, 0.0), vectors * scale
    projected, square = rest @ vectors, spreads[:, None] ** 2
    evidence = _TEMPER * _evidence(projected, size, square, noise).sum(axis=1)
    weight = np.exp(evidence - logsumexp(evidence))
    shrink = square / (noise + size * square)
    return Remainder(centre, vectors, weight @ (noise * shrink + (projected * shrink) ** 2))
