"""Exact Shapley values of sums of shapes, against reference patients whose variables are independent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from il7ml.models.shapes import Atoms

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Complex = NDArray[np.complex128]

# Patients that are worked on at a time.
_BLOCK = 256


def shape_shares(
    atoms: Atoms, pairs: Indices, coefficients: Floats, patients: Floats, background: Floats, owners: Indices
) -> tuple[float, Floats]:
    """Return mean over reference patients, and each variable's Shapley value, of a weighted sum of features.

    A feature of one variable is that variable's; of one of two variables, each has half of what it gains beside the
    other one's value and half beside its mean; waves are products over all variables (see `product_shares`).

    Parameters
    ----------
    atoms : Atoms
    pairs : ndarray of shape (m, 2)
        Atoms of each feature; they are of columns, none of risk or learned effects.
    coefficients : ndarray of shape (m,)
    patients : ndarray of shape (n, b)
        Columns of patients.
    background : ndarray of shape (profiles, b)
        Columns of reference patients; those of one variable stay together, different variables are combined freely.
    owners : ndarray of shape (b,)
        Number of the variable of each column.

    Returns
    -------
    base : float
    shares : ndarray of shape (n, variables)
        They add up to the weighted sum less the base.
    """
    variables = int(owners.max()) + 1 if owners.size else 0
    values, typical = _values(atoms, patients), _values(atoms, background)
    left, right = pairs.T
    waves = left > atoms.column.size
    owner = np.full(values.shape[1], -1)
    inner = np.flatnonzero(atoms.column < owners.size)
    owner[1 + inner] = owners[atoms.column[inner]]
    alone = ~waves & ((right == 0) | (owner[left] == owner[right]))
    both = ~waves & ~alone

    mean = (typical[:, left[alone]] * typical[:, right[alone]]).mean(axis=0)
    gain = (values[:, left[alone]] * values[:, right[alone]] - mean) * coefficients[alone]
    base = float(mean @ coefficients[alone])
    shares = sum_columns(gain, owner[left[alone]], variables)

    first, second, size = left[both], right[both], coefficients[both] / 2
    one, other = typical[:, first].mean(axis=0), typical[:, second].mean(axis=0)
    base += 2 * float((one * other) @ size)
    shares += sum_columns((values[:, first] - one) * (values[:, second] + other) * size, owner[first], variables)
    shares += sum_columns((values[:, second] - other) * (values[:, first] + one) * size, owner[second], variables)

    number = left[waves] - 1 - atoms.column.size
    weights = np.exp(1j * atoms.phase[number]) * coefficients[waves]
    means = _turns(background, atoms.frequency[:, number], owners, variables).mean(axis=0)
    base += float((means.prod(axis=0) @ weights).real)
    shares += product_shares(_turns(patients, atoms.frequency[:, number], owners, variables), means, weights)
    return base, shares


def sum_columns(parts: Floats, owners: Indices, variables: int) -> Floats:
    """Add up the columns of `parts` (n, p) that belong to the same variable, shape (n, variables)."""
    sums = np.zeros((len(parts), variables))
    for variable in range(variables):
        sums[:, variable] = parts[:, owners == variable].sum(axis=1)
    return sums


def product_shares(factors: Complex, means: Complex, weights: Complex) -> Floats:
    """Return each variable's Shapley value in the real part of a weighted sum of products over the variables.

    A coalition's value is the product of its variables' factors and of the others' means, which is what the product is
    worth on average when the others are drawn independently. Its multilinear extension is a polynomial whose integral
    gives the Shapley values, and Gauss-Legendre nodes for half as many as there are variables integrate it exactly.

    Parameters
    ----------
    factors : ndarray of shape (n, variables, products)
    means : ndarray of shape (variables, products)
    weights : ndarray of shape (products,)

    Returns
    -------
    ndarray of shape (n, variables)

    References
    ----------
    Owen, Multilinear extensions of games, Management Science 1972;18:P64, doi 10.1287/mnsc.18.5.64.

    Examples
    --------
    Of 3 times 2 against means of 1, a gain of 5: half of (3 - 1)(2 + 1) and half of (2 - 1)(3 + 1).

    >>> import numpy as np
    >>> product_shares(np.array([[[3 + 0j], [2]]]), np.ones((2, 1), dtype=complex), np.ones(1, dtype=complex)).tolist()
    [[3.0, 2.0]]
    """
    n, variables, _ = factors.shape
    shares = np.zeros((n, variables))
    nodes, node_weights = np.polynomial.legendre.leggauss((variables + 1) // 2) if variables else ((), ())
    for start in range(0, n, _BLOCK):
        rows = slice(start, start + _BLOCK)
        gain = factors[rows] - means
        for node, node_weight in zip(nodes, node_weights, strict=True):
            mixed = means + (node + 1) / 2 * gain
            shares[rows] += node_weight / 2 * (gain * _of_others(mixed) * weights).sum(axis=2).real
    return shares


def _of_others(factors: Complex) -> Complex:
    """Return, for each variable, the product of the other variables' factors; none is divided by, as one may be 0."""
    before, after = np.ones_like(factors), np.ones_like(factors)
    before[:, 1:] = np.cumprod(factors[:, :-1], axis=1)
    after[:, :-1] = np.cumprod(factors[:, :0:-1], axis=1)[:, ::-1]
    return np.asarray(before * after)


def _values(atoms: Atoms, base: Floats) -> Floats:
    # Atoms of risk and learned effects stand in no pair here, but have their place.
    extra = max(int(atoms.column.max(initial=-1)) + 1 - base.shape[1], 0)
    return atoms.values(base, np.zeros((len(base), extra)))


def _turns(base: Floats, frequency: Floats, owners: Indices, variables: int) -> Complex:
    """Return each variable's factor in each wave, a complex number of size 1, shape (n, variables, waves)."""
    angles = np.zeros((len(base), variables, frequency.shape[1]))
    for column, owner in enumerate(owners):
        angles[:, owner] += base[:, [column]] * frequency[column]
    return np.asarray(np.exp(1j * angles))
