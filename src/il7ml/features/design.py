"""Designs: what a linear model and what trees see of the columns. Learned from training data, plain arrays, reusable.

`LinearDesign` puts log-normal variables on the log scale, the lymphocyte count on a restricted cubic spline, fills
missing values with the training median beside an indicator, and standardises. `TreeDesign` leaves values and gaps as
they are, since XGBoost handles both itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from il7ml.features.columns import Columns, Floats
from il7ml.schema import Variable

#: Quantiles of the knots by number of knots (Harrell, Regression Modeling Strategies, 2nd ed. 2015, table 2.3).
_KNOT_QUANTILES = {3: (0.10, 0.50, 0.90), 4: (0.05, 0.35, 0.65, 0.95)}
_FEW = 300  # patients below which three knots are all that the data bear


@dataclass(frozen=True)
class LinearTerm:
    """How one variable enters a linear design.

    Attributes
    ----------
    variable : str
        Its name.
    levels : int
        Number of levels of a categorical variable, else 0.
    floor : float
        Smallest value on the log scale's input, NaN on the linear scale.
    fill : float
        Replaces a missing value, on the model's scale.
    indicator : bool
        Whether training data had gaps, so that "missing" has a column of its own.
    knots : tuple of float
        Knots of the restricted cubic spline; empty for a straight line.
    """

    variable: str
    levels: int = 0
    floor: float = float("nan")
    fill: float = 0.0
    indicator: bool = False
    knots: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Number of design columns."""
        body = self.levels - 1 if self.levels else max(len(self.knots) - 1, 1)
        return body + self.indicator


class _Layout(NamedTuple):
    """Where the terms' columns stand, so that all variables are turned at once and not one after the other.

    Attributes
    ----------
    width : int
        Number of columns.
    names : list of str
        Of the variables that are not categorical, k of them.
    first : ndarray of shape (k,)
        First column of each.
    fill : ndarray of shape (k, 1)
    logs : ndarray of int
        Which of the k are on the log scale.
    floor : ndarray of shape (logs, 1)
    indicated, indicator : ndarray of int
        Which of the k have an indicator, and its column.
    curved : list of (int, tuple of float)
        Which of the k are on a spline, and its knots.
    categorical : list of (LinearTerm, int)
        The others with their first columns.
    """

    width: int
    names: list[str]
    first: NDArray[np.intp]
    fill: Floats
    logs: NDArray[np.intp]
    floor: Floats
    indicated: NDArray[np.intp]
    indicator: NDArray[np.intp]
    curved: list[tuple[int, tuple[float, ...]]]
    categorical: list[tuple[LinearTerm, int]]

    @classmethod
    def of(cls, terms: Sequence[LinearTerm]) -> _Layout:
        """Lay out the columns of terms, in order."""
        starts = np.cumsum([0, *(term.width for term in terms)]).tolist()
        placed = list(zip(terms, starts, strict=False))
        plain = [(term, start) for term, start in placed if not term.levels]
        logs = [k for k, (term, _) in enumerate(plain) if not np.isnan(term.floor)]
        indicated = [k for k, (term, _) in enumerate(plain) if term.indicator]
        return cls(
            starts[-1],
            [term.variable for term, _ in plain],
            np.array([start for _, start in plain], dtype=np.intp),
            np.array([[term.fill] for term, _ in plain]).reshape(-1, 1),
            np.array(logs, dtype=np.intp),
            np.array([[plain[k][0].floor] for k in logs]).reshape(-1, 1),
            np.array(indicated, dtype=np.intp),
            np.array([plain[k][1] + plain[k][0].width - 1 for k in indicated], dtype=np.intp),
            [(k, term.knots) for k, (term, _) in enumerate(plain) if term.knots],
            [(term, start) for term, start in placed if term.levels],
        )

    def raw(self, columns: Mapping[str, Floats], n: int) -> Floats:
        """Return the raw columns, shape (width, n)."""
        raw = np.empty((self.width, n))
        values = np.array([columns[name] for name in self.names]).reshape(len(self.names), n)
        missing = np.isnan(values)
        values[self.logs] = np.log(np.maximum(values[self.logs], self.floor))
        filled = np.where(missing, self.fill, values)
        raw[self.first] = filled
        raw[self.indicator] = missing[self.indicated]
        for k, knots in self.curved:
            for place, part in enumerate(restricted_cubic_spline(filled[k], knots)[1:], start=1):
                raw[self.first[k] + place] = part
        for term, first in self.categorical:
            codes = columns[term.variable]
            for level in range(1, term.levels):
                raw[first + level - 1] = codes == level
            if term.indicator:
                raw[first + term.levels - 1] = np.isnan(codes)
        return raw


@dataclass(frozen=True)
class LinearDesign:
    """A learned linear design: terms, and centre and scale of each column.

    A column that is constant in training has scale 0 and contributes nothing.
    """

    terms: tuple[LinearTerm, ...]
    centre: Floats
    scale: Floats

    @classmethod
    def learn(
        cls,
        columns: Mapping[str, Floats],
        variables: Mapping[str, Variable],
        *,
        spline: tuple[str, ...] = (),
        weight: Floats | None = None,
    ) -> LinearDesign:
        """Learn medians, knots, centres and scales from training columns; `spline` names the curved variables."""
        terms, moments = [], []
        # One variable after the other: all together may be more than memory holds.
        for name in variables:
            values = columns[name]
            terms.append(_learn_term(name, values, variables[name], name in spline))
            moments += [_moments(part, weight) for part in _Layout.of(terms[-1:]).raw({name: values}, values.size)]
        centre, spread = np.array(moments).reshape(-1, 2).T
        # Rounding gives a large constant a spread of its own last digits, so the bound grows with the centre.
        varies = spread > np.maximum(1e-12, 1e-9 * np.abs(centre))
        inverse = np.divide(1.0, spread, out=np.zeros_like(spread), where=varies)
        return cls(tuple(terms), centre, inverse)

    def matrix(self, columns: Columns, n: int) -> Floats:
        """Return the design matrix of shape (n, p): centred columns of unit variance."""
        raw = self._layout.raw(columns, n)
        raw -= self.centre[:, None]
        raw *= self.scale[:, None]
        return np.ascontiguousarray(raw.T)

    @cached_property
    def _layout(self) -> _Layout:
        return _Layout.of(self.terms)

    @property
    def owners(self) -> tuple[str, ...]:
        """The variable that each column of the matrix belongs to."""
        return tuple(term.variable for term in self.terms for _ in range(term.width))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the matrix's columns."""
        return tuple(name for term in self.terms for name in _names(term))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "terms": [
                {
                    **vars(term),
                    "floor": None if np.isnan(term.floor) else term.floor,
                    "knots": list(term.knots),
                }
                for term in self.terms
            ],
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> LinearDesign:
        """Rebuild a design from `to_dict`."""
        terms = tuple(
            LinearTerm(
                variable=str(term["variable"]),
                levels=int(term["levels"]),
                floor=float("nan") if term["floor"] is None else float(term["floor"]),
                fill=float(term["fill"]),
                indicator=bool(term["indicator"]),
                knots=tuple(float(knot) for knot in term["knots"]),
            )
            for term in raw["terms"]
        )
        return cls(terms, np.asarray(raw["centre"], dtype=float), np.asarray(raw["scale"], dtype=float))


@dataclass(frozen=True)
class TreeDesign:
    """A design for trees: raw values with gaps; a categorical variable has a 0/1 column for each level.

    Attributes
    ----------
    variables : tuple of (str, int)
        Name and number of levels (0: not categorical).
    """

    variables: tuple[tuple[str, int], ...]

    @classmethod
    def learn(cls, variables: Mapping[str, Variable]) -> TreeDesign:
        """Lay out the columns; nothing depends on the data."""
        return cls(tuple((name, len(variable.levels)) for name, variable in variables.items()))

    def matrix(self, columns: Columns, n: int) -> NDArray[np.float32]:
        """Return the matrix of shape (n, p) with NaN where a value is missing."""
        parts: list[Floats] = []
        for name, levels in self.variables:
            values = columns[name]
            if levels:
                gap = np.where(np.isnan(values), np.nan, 0.0)
                parts.extend((values == level) + gap for level in range(levels))
            else:
                parts.append(values)
        matrix = np.empty((n, len(parts)), dtype=np.float32)
        for place, part in enumerate(parts):
            matrix[:, place] = part
        return matrix

    @property
    def owners(self) -> tuple[str, ...]:
        """The variable that each column of the matrix belongs to."""
        return tuple(name for name, levels in self.variables for _ in range(max(levels, 1)))


def restricted_cubic_spline(x: Floats, knots: tuple[float, ...]) -> list[Floats]:
    """Return the k - 1 basis columns of a restricted (natural) cubic spline with k knots.

    The curve is linear beyond the outer knots.

    Parameters
    ----------
    x : ndarray of shape (n,)
    knots : tuple of float
        Increasing, at least three.

    Returns
    -------
    list of ndarray of shape (n,)
        `x` itself, then k - 2 truncated cubic terms divided by the squared range of the knots.

    References
    ----------
    Harrell FE. Regression Modeling Strategies, 2nd ed., 2015, section 2.4.5, doi 10.1007/978-3-319-19425-7.

    Examples
    --------
    >>> import numpy as np
    >>> [column.tolist() for column in restricted_cubic_spline(np.array([0.0, 2.0]), (0.0, 1.0, 2.0))]
    [[0.0, 2.0], [0.0, 1.5]]
    """
    first, *_, before_last, last = knots

    def cube(knot: float) -> Floats:
        return np.asarray(np.maximum(x - knot, 0.0) ** 3)

    columns = [x]
    for knot in knots[:-2]:
        term = cube(knot) - (cube(before_last) * (last - knot) - cube(last) * (before_last - knot)) / (
            last - before_last
        )
        columns.append(term / (last - first) ** 2)
    return columns


def _learn_term(name: str, values: Floats, variable: Variable, spline: bool) -> LinearTerm:
    known = values[~np.isnan(values)]
    indicator = known.size < values.size
    if variable.kind == "categorical":
        return LinearTerm(name, levels=len(variable.levels), indicator=indicator)
    floor = float("nan")
    if variable.scale == "log":
        positive = known[known > 0]
        # A count of zero has no logarithm; half the smallest one seen stands for "below detection".
        floor = float(positive.min()) / 2 if positive.size else 1.0
        known = np.log(np.maximum(known, floor))
    if variable.kind == "binary":
        fill = float(known.mean() > 0.5) if known.size else 0.0
    else:
        fill = float(np.median(known)) if known.size else 0.0
    knots: tuple[float, ...] = ()
    if spline and known.size:
        quantiles = np.quantile(known, _KNOT_QUANTILES[3 if values.size < _FEW else 4])
        # Ties can merge knots; a spline needs them apart, and a straight line is what such data bear.
        knots = tuple(float(knot) for knot in quantiles) if np.all(np.diff(quantiles) > 1e-9) else ()
    return LinearTerm(name, floor=floor, fill=fill, indicator=indicator, knots=knots)


def _moments(values: Floats, weight: Floats | None) -> tuple[float, float]:
    """Return mean and standard deviation, 0 and 0 of no values."""
    if not values.size:
        return 0.0, 0.0
    centre = np.average(values, weights=weight)
    return float(centre), float(np.sqrt(np.average((values - centre) ** 2, weights=weight)))


def _names(term: LinearTerm) -> list[str]:
    if term.levels:
        names = [f"{term.variable}[{level}]" for level in range(1, term.levels)]
    else:
        names = [
            term.variable,
            *(f"{term.variable}[spline {k}]" for k in range(1, max(len(term.knots) - 1, 1))),
        ]
    return [*names, f"{term.variable}[missing]"] if term.indicator else names
