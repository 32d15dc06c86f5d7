"""A fitted model of the individual effect as plain arrays: predictions, intervals and reasons without scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from il7ml.family import Kind
from il7ml.features.columns import Columns
from il7ml.features.design import LinearDesign, TreeDesign
from il7ml.models.fitted import FittedStack, FittedTrees
from il7ml.models.score_posterior import Moments
from il7ml.models.shapes import Atoms, limited
from il7ml.models.shapley import shape_shares, sum_columns
from il7ml.schema import Variable

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Scale = Literal["difference", "ratio", "odds_ratio"]

#: Scales that suit each kind of outcome.
SCALES: dict[Kind, tuple[Scale, ...]] = {
    "binary": ("difference", "ratio", "odds_ratio"),
    "count": ("difference", "ratio"),
    "continuous": ("difference", "ratio"),
}
# Patients that are worked on at a time.
_BLOCK = 1024
# Number of reference patients of an explanation, made variable by variable: from the 5 % to the 95 % quantile.
_PROFILES = 50
_LOWEST, _HIGHEST = 0.05, 0.95
_FIELDS = {
    "kind",
    "scale",
    "average",
    "risk_offset",
    "design",
    "straight",
    "wide",
    "trees",
    "tree_offset",
    "tree_scale",
}
_ARRAYS = {
    "risk": 1,
    "atoms": 2,
    "frequency": 2,
    "phase": 1,
    "pairs": 2,
    "centre": 1,
    "layers": 2,
    "squares": 1,
    "wide": 1,
    "background": 2,
}
# What rounding may make of a smallest eigenvalue of 0, relative to the sum of all.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class FittedEffect:
    """Posterior mean and variance of the individual effect, from canonical columns. Holds no patient's data.

    Effects are on the working scale: logarithms for ratios.

    Attributes
    ----------
    kind : {'binary', 'count', 'continuous'}
    scale : {'difference', 'ratio', 'odds_ratio'}
    average : tuple of float
        Posterior mean and variance of the average effect.
    design : LinearDesign
        Of p columns.
    straight : ndarray of shape (b,)
        Columns of the design that shapes are made of: all but the curved parts of splines.
    risk_coefficients : ndarray of shape (p,)
        Of the standardised linear predictor of the outcome.
    risk_offset : float
    trees : tuple of FittedTrees
        The learned effect is `tree_offset` plus `tree_scale` times their mean; empty where none was learned.
    tree_offset, tree_scale : float
    atoms : Atoms
        Of the b straight columns, then the risk, then the learned effect.
    pairs : ndarray of shape (f, 2)
        Atoms whose products are the features.
    moments : Moments
        Of the features.
    background : ndarray of shape (profiles, p)
        Design rows of reference patients, made variable by variable from quantiles, for explanations.
    """

    kind: Kind
    scale: Scale
    average: tuple[float, float]
    design: LinearDesign
    straight: Indices
    risk_coefficients: Floats
    risk_offset: float
    trees: tuple[FittedTrees, ...]
    tree_offset: float
    tree_scale: float
    atoms: Atoms
    pairs: Indices
    moments: Moments
    background: Floats

    @property
    def variables(self) -> tuple[str, ...]:
        """Variables that a prediction needs."""
        return tuple(
            dict.fromkeys((*self.design.owners, *(name for tree in self.trees for name in tree.design.owners)))
        )

    def effect(self, columns: Columns, n: int) -> tuple[Floats, Floats]:
        """Return mean and variance of each patient's effect on the working scale, each of shape (n,)."""
        mean, variance = np.empty(n), np.empty(n)
        for rows, features in self._features(columns, n, self.pairs):
            mean[rows], variance[rows] = self.moments.at(features)
        return mean + self.average[0], variance + self.average[1]

    def average_effect(self, columns: Columns, n: int) -> tuple[float, float]:
        """Return mean and variance of the average effect of these patients on the working scale."""
        # The effect is linear in the features, so the average patient's features are all that matters.
        total = sum(features.sum(axis=0) for _, features in self._features(columns, n, self.pairs))
        mean, variance = self.moments.at(np.atleast_2d(total / n))
        return float(mean[0]) + self.average[0], float(variance[0]) + self.average[1]

    def linear_predictor(self, columns: Columns, n: int) -> Floats:
        """Return each patient's mean effect on the working scale, shape (n,)."""
        mean = np.empty(n)
        for rows, features in self._features(columns, n, self.pairs[: self.moments.squares.size]):
            mean[rows] = self.moments.mean_at(features)
        return mean + self.average[0]

    def to_scale(self, effect: Floats) -> Floats:
        """Return effects on the chosen scale."""
        if self.scale != "difference":
            return np.exp(effect)
        return np.clip(effect, -1.0, 1.0) if self.kind == "binary" else effect

    def interval(self, columns: Columns, n: int, alpha: float = 0.05) -> tuple[Floats, Floats]:
        """Return lower and upper limits of each patient's effect on the chosen scale, each of shape (n,)."""
        mean, variance = self.effect(columns, n)
        half = float(ndtri(1 - alpha / 2)) * np.sqrt(variance)
        return self.to_scale(mean - half), self.to_scale(mean + half)

    def contributions(self, columns: Columns, n: int) -> tuple[float, dict[str, Floats]]:
        """Return base and contributions by variable; they add up to the mean on the working scale.

        The contributions are Shapley values, exact: what a variable's value adds on average over the orders in which
        variables become known, those not yet known being those of independent reference patients. The base is the mean
        effect of these. Boosted trees have TreeSHAP's (path-dependent) values.

        References
        ----------
        Lundberg and Lee, NeurIPS 2017, arXiv 1705.07874; Lundberg et al., Nat Mach Intell 2020;2:56,
        doi 10.1038/s42256-019-0138-9 (trees).
        """
        matrix = limited(self.design.matrix(columns, n))
        names = list(dict.fromkeys(self.design.owners))
        owners = np.array([names.index(owner) for owner in self.design.owners], dtype=np.intp)
        coefficients = self.moments.layers.sum(axis=0)
        pairs = self.pairs[: coefficients.size]
        columns_of = np.concatenate([[-1], self.atoms.column, np.full(self.atoms.phase.size, -1)])[pairs[:, 0]]
        risk, learned = (float(coefficients[columns_of == self.straight.size + k].sum()) for k in (0, 1))
        rest = columns_of < self.straight.size

        typical = (self.background * self.risk_coefficients).mean(axis=0)
        shares = risk * sum_columns(matrix * self.risk_coefficients - typical, owners, len(names))
        base = self.average[0] - float(self.moments.centre[: coefficients.size] @ coefficients)
        base += risk * (float(typical.sum()) + self.risk_offset)
        background = self.background[:, self.straight]
        for rows in slices(max(n, 1)):
            patients = matrix[rows][:, self.straight]
            start, part = shape_shares(
                self.atoms, pairs[rest], coefficients[rest], patients, background, owners[self.straight]
            )
            shares[rows] += part
        base += start
        totals = {name: shares[:, k].copy() for k, name in enumerate(names)}
        if self.trees:
            start, parts = self._learned().contributions(columns, n)
            base += learned * start
            for name, values in parts.items():
                totals[name] = totals.get(name, np.zeros(n)) + learned * values
        return base, totals

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Floats], list[Any]]:
        """Return a JSON-ready form, arrays and the trees' boosters, from which `from_parts` rebuilds the model."""
        document = {
            "kind": self.kind,
            "scale": self.scale,
            "average": list(self.average),
            "risk_offset": self.risk_offset,
            "design": self.design.to_dict(),
            "straight": self.straight.tolist(),
            "wide": [[start, len(matrix)] for start, matrix in self.moments.wide],
            "trees": [list(pair) for pair in self.trees[0].design.variables] if self.trees else [],
            "tree_offset": self.tree_offset,
            "tree_scale": self.tree_scale,
        }
        atoms = self.atoms
        arrays = {
            "risk": self.risk_coefficients,
            "atoms": np.column_stack([atoms.column, atoms.cut, atoms.kind]).astype(float),
            "frequency": atoms.frequency,
            "phase": atoms.phase,
            "pairs": self.pairs.astype(float),
            "centre": self.moments.centre,
            "layers": self.moments.layers,
            "squares": self.moments.squares,
            "wide": np.concatenate([matrix[np.triu_indices(len(matrix))] for _, matrix in self.moments.wide]),
            "background": self.background,
        }
        return document, arrays, [part.booster for part in self.trees]

    @classmethod
    def from_parts(
        cls, document: Mapping[str, Any], arrays: Mapping[str, Floats], boosters: Sequence[Any]
    ) -> FittedEffect:
        """Rebuild a model from `to_parts`, from whatever hands these have come through.

        Parameters
        ----------
        document : mapping
        arrays : mapping of str to ndarray of float64
        boosters : sequence of xgboost.Booster
            As `stored_trees.load_booster` returns them.

        Raises
        ------
        ValueError
            If something is missing, left over, of another type or shape, or not a number that a model can hold; no
            value is repeated.
        """
        try:
            return _rebuilt(document, arrays, boosters)
        except (LookupError, TypeError, AttributeError, OverflowError):
            raise ValueError("the effect model lacks a part, or a part is of another type") from None

    def _features(self, columns: Columns, n: int, pairs: Indices) -> Iterator[tuple[slice, Floats]]:
        """Yield rows and their raw features, the products of these pairs of atoms."""
        matrix = limited(self.design.matrix(columns, n))
        extra = self._extra(matrix, columns)
        for rows in slices(n):
            yield rows, self.atoms.products(pairs, matrix[rows][:, self.straight], extra[rows])

    def _extra(self, matrix: Floats, columns: Columns) -> Floats:
        """Return risk and learned effect, standardised, shape (n, 1 or 2)."""
        risk: Floats = np.einsum("ic,c->i", matrix, self.risk_coefficients) + self.risk_offset
        if not self.trees:
            return risk[:, None]
        return np.column_stack([risk, self._learned().linear_predictor(columns, len(matrix))])

    def _learned(self) -> FittedStack:
        weights = np.full(len(self.trees), self.tree_scale / len(self.trees))
        return FittedStack(self.trees, weights, self.tree_offset)


def reference_patients(design: LinearDesign, columns: Columns, variables: Mapping[str, Variable]) -> Floats:
    """Return design rows of the reference patients that `typical_profiles` makes, shape (profiles, p)."""
    return limited(design.matrix(typical_profiles(columns, variables), _PROFILES))


def typical_profiles(columns: Columns, variables: Mapping[str, Variable]) -> Columns:
    """Return reference patients: each variable's quantiles, levels in their shares, gaps in theirs; nobody's row.

    Numbers have two digits, since a laboratory value to the last digit can be known again.

    Columns are to be combined freely: that the first profile has the lowest value of each variable means nothing.
    """
    return {name: _profile(columns[name], variable) for name, variable in variables.items()}


def _profile(values: Floats, variable: Variable) -> Floats:
    known = values[~np.isnan(values)]
    count = round(_PROFILES * known.size / values.size)
    if not count:
        return np.full(_PROFILES, np.nan)
    if variable.kind == "continuous":
        quantiles = np.array(
            [float(f"{each:.2g}") for each in np.quantile(known, np.linspace(_LOWEST, _HIGHEST, count))]
        )
    else:
        quantiles = np.quantile(known, (np.arange(count) + 0.5) / count, method="inverted_cdf")
    return np.concatenate([quantiles, np.full(_PROFILES - count, np.nan)])


def slices(n: int) -> Iterator[slice]:
    """Yield the rows of n patients, as many at a time as fit into little memory."""
    yield from (slice(start, start + _BLOCK) for start in range(0, n, _BLOCK))


def _rebuilt(document: Mapping[str, Any], arrays: Mapping[str, Floats], boosters: Sequence[Any]) -> FittedEffect:
    _demand(set(document) == _FIELDS and set(arrays) == set(_ARRAYS), "complete")
    for name, dimensions in _ARRAYS.items():
        array = arrays[name]
        _demand(array.dtype == np.float64 and array.ndim == dimensions, "made of arrays of the expected form")
        _demand(bool(np.isfinite(array).all()), "finite")
    kind, scale = document["kind"], document["scale"]
    _demand(kind in SCALES and scale in SCALES[kind], "on a known scale")
    _demand(len(document["average"]) == 2, "complete")
    mean, variance = document["average"]
    _demand(
        _finite(mean, variance, *(document[name] for name in ("risk_offset", "tree_offset", "tree_scale"))), "finite"
    )
    _demand(variance > 0, "a distribution")

    design = _design(document["design"])
    width = design.centre.size
    straight = _indices(document["straight"])
    _demand(len(set(straight)) == len(straight) and all(column < width for column in straight), "made for its design")
    _demand(arrays["risk"].shape == (width,) and arrays["background"].shape[1:] == (width,), "made for its design")
    _demand(len(arrays["background"]) > 0, "complete")
    trees = _trees(document["trees"], boosters)
    atoms = _atoms(arrays, len(straight), 2 if trees else 1)
    return FittedEffect(
        kind=kind,
        scale=scale,
        average=(float(mean), float(variance)),
        design=design,
        straight=np.array(straight, dtype=np.intp),
        risk_coefficients=arrays["risk"],
        risk_offset=float(document["risk_offset"]),
        trees=trees,
        tree_offset=float(document["tree_offset"]),
        tree_scale=float(document["tree_scale"]),
        atoms=atoms,
        pairs=_pairs(arrays["pairs"], atoms, len(straight)),
        moments=_moments(document["wide"], arrays),
        background=arrays["background"],
    )


def _design(raw: Mapping[str, Any]) -> LinearDesign:
    # A number of levels makes as many columns, so it is looked at before anything is made of it.
    largest = len(raw["centre"]) + 1
    _demand(all(type(term["levels"]) is int and 0 <= term["levels"] <= largest for term in raw["terms"]), "plausible")
    design = LinearDesign.from_dict(raw)
    # What the reading made of it must be what was written: no further key, no text for a number.
    _demand(design.to_dict() == raw, "of the expected form")
    _demand(len({term.variable for term in design.terms}) == len(design.terms), "of different variables")
    for term in design.terms:
        _demand(bool(np.isfinite([term.fill, *term.knots]).all()) and not term.floor <= 0, "finite")
        _demand(len(term.knots) in (0, 3, 4) and bool((np.diff(term.knots) > 0).all()), "made with increasing knots")
    _demand(design.centre.shape == design.scale.shape == (len(design.owners),), "of as many numbers as columns")
    _demand(bool(np.isfinite([design.centre, design.scale]).all()), "finite")
    return design


def _trees(variables: Sequence[tuple[str, int]], boosters: Sequence[Any]) -> tuple[FittedTrees, ...]:
    _demand(bool(variables) == bool(boosters), "complete")
    _demand(all(type(name) is str and type(levels) is int and levels >= 0 for name, levels in variables), "plausible")
    features = sum(max(levels, 1) for _, levels in variables)
    _demand(all(booster.num_features() == features for booster in boosters), "made for the trees' columns")
    design = TreeDesign(tuple((name, levels) for name, levels in variables))
    return tuple(FittedTrees(design, booster, 0.0) for booster in boosters)


def _atoms(arrays: Mapping[str, Floats], base: int, extra: int) -> Atoms:
    raw = arrays["atoms"]
    _demand(raw.shape[1] == 3, "made of atoms")
    column, kind = _whole(raw[:, 0], base + extra), _whole(raw[:, 2], 4)
    _demand(not kind[column >= base].any(), "linear in risk and learned effect")
    waves = arrays["phase"].size
    _demand(arrays["frequency"].shape == (base, waves), "made of waves of its columns")
    return Atoms(column, np.ascontiguousarray(raw[:, 1]), kind, arrays["frequency"], arrays["phase"])


def _pairs(raw: Floats, atoms: Atoms, base: int) -> Indices:
    _demand(raw.shape[1] == 2, "made of pairs")
    inner = 1 + atoms.column.size
    pairs = _whole(raw, inner + atoms.phase.size)
    # The constant, then columns; risk, learned effect and waves are features by themselves.
    in_pairs = np.concatenate([[True], atoms.column < base, np.zeros(atoms.phase.size, dtype=bool)])
    left, right = pairs.T
    _demand(
        bool((left > 0).all() and in_pairs[right].all() and (in_pairs[left] | (right == 0)).all()), "made of shapes"
    )
    return pairs


def _moments(wide: Sequence[Any], arrays: Mapping[str, Floats]) -> Moments:
    centre, layers, squares = arrays["centre"], arrays["layers"], arrays["squares"]
    shapes, features = squares.size, centre.size
    _demand(bool(wide) and all(len(span) == 2 for span in wide), "made of blocks")
    spans = [tuple(_indices(span)) for span in wide]
    ends = [0, *(start + size for start, size in spans)]
    _demand(len(arrays["pairs"]) == features and layers.shape[1] == shapes and len(layers) > 0, "of one size")
    _demand(bool((squares >= 0).all()), "of variances")
    _demand(all(start >= end for (start, _), end in zip(spans, ends, strict=False)), "made of separate blocks")
    _demand(spans[-1][0] == shapes and ends[-1] == features and all(end <= shapes for end in ends[:-1]), "complete")
    sizes = [size * (size + 1) // 2 for _, size in spans]
    _demand(sum(sizes) == arrays["wide"].size, "complete")
    blocks = []
    for (start, size), triangle in zip(spans, np.split(arrays["wide"], np.cumsum(sizes)[:-1]), strict=True):
        matrix = np.zeros((size, size))
        matrix[np.triu_indices(size)] = triangle
        blocks.append((start, matrix + np.triu(matrix, 1).T))
    covariance = np.diag(squares) - layers.T @ layers
    for start, matrix in blocks[:-1]:
        rows = slice(start, start + len(matrix))
        covariance[rows, rows] += matrix
    for matrix in (covariance, blocks[-1][1]):
        slack = _ROUNDING * np.trace(matrix) + np.finfo(float).tiny
        try:
            np.linalg.cholesky(matrix + slack * np.eye(len(matrix)))
        except np.linalg.LinAlgError:
            raise ValueError("the effect model's second moments are not those of a distribution") from None
    return Moments(centre, layers, squares, tuple(blocks))


def _indices(values: Sequence[Any]) -> list[int]:
    _demand(all(type(value) is int and value >= 0 for value in values), "of whole numbers")
    return list(values)


def _whole(values: Floats, below: int) -> Indices:
    whole = values.astype(np.intp)
    _demand(bool(((whole == values) & (whole >= 0) & (whole < below)).all()), "made of known atoms")
    return np.ascontiguousarray(whole)


def _finite(*values: Any) -> bool:
    return all(type(value) in (int, float) and np.isfinite(value) for value in values)


def _demand(holds: bool, form: str) -> None:
    if not holds:
        raise ValueError(f"the effect model is not {form}")
