"""Shapes that treatment-effect heterogeneity can take: blocks of features of the baseline variables.

A block is one small hypothesis ("linear in this variable", "different in this subgroup"), and its features span the
functions it allows. Every feature is the product of two atoms (a column, a step, a hinge, a wave, the constant 1), so
that patients are turned into features a block at a time, and only sums over patients are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Family = Literal["linear", "step", "curve", "subgroup", "product", "all", "wave", "risk", "learned"]

#: How the prior mass of "there is heterogeneity" is split over the families present; within one, evenly over blocks.
FAMILY_SHARE: dict[Family, float] = {
    "linear": 0.20,
    "step": 0.15,
    "curve": 0.05,
    "subgroup": 0.15,
    "product": 0.05,
    "all": 0.15,
    "wave": 0.05,
    "risk": 0.10,
    "learned": 0.10,
}
# Share of a family's mass that goes to blocks made of pre-specified modifiers alone, where there are any.
_MODIFIER_SHARE = 0.5
# Standard deviations beyond which a value counts as this far out, so that no patient's effect is extrapolated.
_LIMIT = 3.0
_HINGE_QUANTILES = (1 / 3, 2 / 3)
# Thresholds of steps and of subgroups are a grid of quantiles, finer where patients are many enough to tell thresholds
# apart. In the largest trials trees find the thresholds, and fewer subgroups keep the cost linear.
_STEP_GRID = {0: (0.2, 0.35, 0.5, 0.65, 0.8), 5_000: tuple(k / 20 for k in range(1, 20))}
_SUBGROUP_GRID = {0: (0.25, 0.5, 0.75), 5_000: tuple(k / 8 for k in range(1, 8)), 50_000: (0.25, 0.5, 0.75)}
# A subgroup smaller than this share of patients (or whose complement is) tells too little to be a hypothesis.
_SMALLEST_SUBGROUP = 0.1
# Waves of the smooth, the less smooth and the rough Gaussian kernel, and the kernels' ranges, in standard deviations
# times the root of the number of columns, which is the typical distance of two patients.
_WAVES, _RANGES = (40, 40, 120), (2.0, 1.0, 0.3)
# Columns above which products and subgroups are formed with pre-specified modifiers only.
_MOST_PAIRED = 20
# Patients that thresholds are learned from; quantiles of more say nothing new.
_SAMPLE = 50_000


class Block(NamedTuple):
    """One shape.

    Attributes
    ----------
    family : str
    owners : tuple of str
        Variables it is made of; empty where it is made of all.
    features : tuple of (int, int)
        Pairs of atoms whose products are the features.
    """

    family: Family
    owners: tuple[str, ...]
    features: tuple[tuple[int, int], ...]


class ShapeColumns(NamedTuple):
    """Standardised columns that shapes are made of.

    Attributes
    ----------
    base : ndarray of shape (n, p)
        As `limited` returns them.
    owners : tuple of str
        Variable of each column of `base`.
    extra : ndarray of shape (n, q)
        Risk and learned effects: shapes of their own.
    families : tuple of str
        Family of each column of `extra`.
    """

    base: Floats
    owners: tuple[str, ...]
    extra: Floats
    families: tuple[Family, ...]


@dataclass(frozen=True)
class Atoms:
    """Functions of one column each, and waves of all of them. Atom 0 is the constant 1.

    Attributes
    ----------
    column, cut : ndarray of shape (a,)
        Column (of `base`, then `extra`) and threshold of each atom.
    kind : ndarray of shape (a,)
        0 the column itself, 1 above the cut, 2 not above it, 3 the part above the cut.
    frequency : ndarray of shape (p, w)
    phase : ndarray of shape (w,)
    """

    column: Indices
    cut: Floats
    kind: Indices
    frequency: Floats
    phase: Floats

    def values(self, base: Floats, extra: Floats) -> Floats:
        """Return the atoms of patients, shape (n, 1 + a + w); those of one atom lie together in memory."""
        values = np.empty((1 + self.column.size + self.phase.size, len(base)))
        values[0] = 1.0
        inner, waves = np.split(values[1:], [self.column.size])
        np.take(np.vstack([base.T, extra.T]), self.column, axis=0, out=inner)
        above, below, hinge = (np.flatnonzero(self.kind == kind) for kind in (1, 2, 3))
        inner[above] = inner[above] > self.cut[above, None]
        inner[below] = inner[below] <= self.cut[below, None]
        inner[hinge] = np.maximum(inner[hinge] - self.cut[hinge, None], 0.0)
        np.cos(self.frequency.T @ base.T + self.phase[:, None], out=waves)
        return values.T

    def products(self, pairs: Indices, base: Floats, extra: Floats) -> Floats:
        """Return the products of the pairs (f, 2) of atoms of patients, shape (n, f); each lies together in memory."""
        values = self.values(base, extra).T
        products = values[pairs[:, 0]]
        double = np.flatnonzero(pairs[:, 1])
        products[double] *= values[pairs[double, 1]]
        return products.T


@dataclass(frozen=True)
class Shapes:
    """All blocks, laid out side by side.

    Attributes
    ----------
    atoms : Atoms
    blocks : tuple of Block
    log_prior : ndarray of shape (blocks,)
        Log share of each block in the prior mass of heterogeneity.
    remainder : tuple of int
        Atoms that stand for what no shape can follow.
    """

    atoms: Atoms
    blocks: tuple[Block, ...]
    log_prior: Floats
    remainder: tuple[int, ...]

    @property
    def sizes(self) -> Indices:
        """Number of features of each block."""
        return np.array([len(block.features) for block in self.blocks], dtype=np.intp)

    @property
    def pairs(self) -> Indices:
        """Atoms of each feature: those of the blocks, then the remainder's, shape (m + r, 2)."""
        pairs = [pair for block in self.blocks for pair in block.features] + [(atom, 0) for atom in self.remainder]
        return np.array(pairs, dtype=np.intp).reshape(len(pairs), 2)

    def features(self, base: Floats, extra: Floats) -> Floats:
        """Return the raw features of patients: those of the blocks, then the remainder's, shape (n, m + r)."""
        return self.atoms.products(self.pairs, base, extra)


def limited(matrix: Floats) -> Floats:
    """Return standardised columns with values beyond three standard deviations set to three."""
    return np.clip(matrix, -_LIMIT, _LIMIT)


def make_shapes(columns: ShapeColumns, modifiers: tuple[str, ...], rng: np.random.Generator) -> Shapes:
    """Lay out the shapes for the columns of a trial.

    Parameters
    ----------
    columns : ShapeColumns
        Of training patients; thresholds are their quantiles.
    modifiers : tuple of str
        Pre-specified effect modifiers, which get more of the prior mass.
    rng : Generator
        Draws the waves' frequencies.
    """
    rows = slice(None, None, max(1, len(columns.base) // _SAMPLE))
    maker = _Maker(columns.base[rows], len(columns.base), columns.owners, modifiers)
    blocks = [*maker.blocks(), *maker.extra(columns.families)]
    frequency, phase = _frequencies(len(columns.owners), rng)
    edges = 1 + len(maker.atoms) + np.cumsum([0, *_WAVES])
    *smooth, rough = (tuple(range(low, high)) for low, high in pairwise(edges.tolist()))
    blocks += [Block("wave", (), tuple((wave, 0) for wave in waves)) for waves in smooth]
    column, cut, kind = (np.array(part) for part in zip(*maker.atoms, strict=True))
    atoms = Atoms(column, cut.astype(float), kind, frequency, phase)
    return Shapes(atoms, tuple(blocks), np.log(_prior(blocks, modifiers)), rough)


class _Maker:
    """Names atoms and collects blocks."""

    def __init__(self, base: Floats, n: int, owners: tuple[str, ...], modifiers: tuple[str, ...]) -> None:
        self.base = base
        self.steps, self.thresholds = (grid[max(k for k in grid if k <= n)] for grid in (_STEP_GRID, _SUBGROUP_GRID))
        self.owners = owners
        self.atoms: list[tuple[int, float, int]] = []
        levels = [np.unique(column) for column in self.base.T]
        self.varying = [k for k, values in enumerate(levels) if values.size > 1]
        self.binary = [k for k in self.varying if levels[k].size == 2]
        self.continuous = [k for k in self.varying if levels[k].size > 2]
        few = len(self.varying) <= _MOST_PAIRED
        self.paired = [k for k in self.varying if few or owners[k] in modifiers]

    def atom(self, column: int, cut: float = 0.0, kind: int = 0) -> int:
        """Return the number of a new atom."""
        self.atoms.append((column, cut, kind))
        return len(self.atoms)

    def cuts(self, column: int, quantiles: tuple[float, ...]) -> list[float]:
        """Return thresholds that leave patients on both sides."""
        values = np.unique(np.quantile(self.base[:, column], quantiles, method="inverted_cdf"))
        return [float(value) for value in values if value < self.base[:, column].max()]

    def blocks(self) -> Iterator[Block]:
        """Yield all shapes of the base columns."""
        line = {k: self.atom(k) for k in self.varying}
        for k in self.varying:
            yield Block("linear", (self.owners[k],), ((line[k], 0),))
        for k in self.continuous:
            for cut in self.cuts(k, self.steps):
                yield Block("step", (self.owners[k],), ((self.atom(k, cut, 1), 0),))
            hinges = [self.atom(k, cut, 3) for cut in self.cuts(k, _HINGE_QUANTILES)]
            yield Block("curve", (self.owners[k],), tuple((atom, 0) for atom in (line[k], *hinges)))
        for i, j in combinations(self.varying, 2):
            if self.owners[i] != self.owners[j] and (i in self.paired or j in self.paired):
                yield Block("product", (self.owners[i], self.owners[j]), ((line[i], line[j]),))
        yield from self.subgroups()
        lines = tuple((line[k], 0) for k in self.varying)
        if lines:
            yield Block("all", (), lines)
            yield Block("all", (), (*lines, *((line[k], line[k]) for k in self.continuous)))

    def subgroups(self) -> Iterator[Block]:
        """Yield indicators of one side of a threshold, or level, in one level of a binary variable."""
        halves = {k: [self.atom(k, self.base[:, k].min(), kind) for kind in (1, 2)] for k in self.binary}
        sides = {k: halves[k] for k in self.binary}
        for k in self.continuous:
            sides[k] = [self.atom(k, cut, kind) for cut in self.cuts(k, self.thresholds) for kind in (1, 2)]
        for b in self.binary:
            for k in self.continuous + [other for other in self.binary if other > b]:
                if self.owners[b] == self.owners[k] or not (b in self.paired or k in self.paired):
                    continue
                for left in halves[b]:
                    for right in sides[k]:
                        share = float(np.mean(self.side(left) & self.side(right)))
                        if _SMALLEST_SUBGROUP <= share <= 1 - _SMALLEST_SUBGROUP:
                            yield Block("subgroup", (self.owners[b], self.owners[k]), ((left, right),))

    def side(self, atom: int) -> NDArray[np.bool_]:
        """Return who is on an atom's side of its threshold."""
        column, cut, kind = self.atoms[atom - 1]
        above = self.base[:, column] > cut
        return above if kind == 1 else ~above

    def extra(self, families: tuple[Family, ...]) -> Iterator[Block]:
        """Yield the risk and learned effects as shapes of one feature."""
        for k, family in enumerate(families):
            yield Block(family, (), ((self.atom(len(self.owners) + k), 0),))


def _frequencies(columns: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw random Fourier features of Gaussian kernels (Rahimi and Recht, NeurIPS 2007)."""
    ranges = np.sqrt(columns) * np.repeat(_RANGES, _WAVES)
    return rng.normal(size=(columns, ranges.size)) / ranges, rng.uniform(0, 2 * np.pi, ranges.size)


def _prior(blocks: list[Block], modifiers: tuple[str, ...]) -> Floats:
    """Return each block's share: its family's, half of it over blocks of modifiers alone where there are any."""
    weight = np.empty(len(blocks))
    families = np.array([block.family for block in blocks])
    own = np.array([bool(block.owners) and set(block.owners) <= set(modifiers) for block in blocks])
    for family in np.unique(families):
        members = families == family
        weight[members] = 1 / members.sum()
        chosen = members & own
        if chosen.any():
            weight[members] *= 1 - _MODIFIER_SHARE
            weight[chosen] += _MODIFIER_SHARE / chosen.sum()
        weight[members] *= FAMILY_SHARE[family]
    return np.asarray(weight / weight.sum())
