from itertools import combinations, product
from math import comb

import numpy as np
import pytest

from il7ml.models.shapes import Atoms
from il7ml.models.shapley import product_shares, shape_shares, sum_columns


def enumerated(value, variables):
    """Return base and Shapley values by their definition, from the value of each coalition (a tuple of numbers)."""
    shares = np.zeros(variables)
    for variable in range(variables):
        others = [k for k in range(variables) if k != variable]
        for size in range(variables):
            for coalition in combinations(others, size):
                gain = value((*coalition, variable)) - value(coalition)
                shares[variable] += gain / (variables * comb(variables - 1, size))
    return value(()), shares


@pytest.mark.parametrize("variables", [1, 2, 3, 4, 5, 6])
def test_products_agree_with_enumeration(variables):
    rng = np.random.default_rng(variables)
    shape = (variables, 3)
    factors, means = (rng.normal(size=shape) + 1j * rng.normal(size=shape) for _ in range(2))
    factors[0, 0] = means[0, 1] = 0.0
    weights = rng.normal(size=3) + 1j * rng.normal(size=3)

    def value(coalition):
        mixed = np.where(np.isin(np.arange(variables), coalition)[:, None], factors, means)
        return float((mixed.prod(axis=0) @ weights).real)

    _, expected = enumerated(value, variables)
    np.testing.assert_allclose(product_shares(factors[None], means, weights)[0], expected, atol=1e-12)


def test_many_patients_are_worked_on_in_parts():
    rng = np.random.default_rng(0)
    factors, means, weights = rng.normal(size=(600, 4, 2)) + 0j, rng.normal(size=(4, 2)) + 0j, np.ones(2) + 0j
    shares = product_shares(factors, means, weights)
    np.testing.assert_allclose(shares[[599]], product_shares(factors[[599]], means, weights), rtol=1e-12)
    gain = (factors.prod(axis=1) - means.prod(axis=0)).real.sum(axis=1)
    np.testing.assert_allclose(shares.sum(axis=1), gain, atol=1e-12)
    assert product_shares(np.ones((2, 0, 1), dtype=complex), np.ones((0, 1), dtype=complex), weights[:1]).shape == (
        2,
        0,
    )


def shapes():
    """Return atoms of four columns that belong to three variables, and all kinds of features of them."""
    rng = np.random.default_rng(3)
    column = np.array([0, 0, 1, 2, 3, 4])  # column 4 is the risk, which stands in no pair
    kind, cut = np.array([0, 1, 3, 2, 0, 0]), np.array([0.0, 0.2, -0.1, 0.3, 0.0, 0.0])
    atoms = Atoms(column, cut, kind, rng.normal(size=(4, 3)), rng.uniform(0, 6, 3))
    pairs = np.array([(1, 0), (2, 0), (1, 2), (3, 4), (1, 5), (3, 5), (5, 5), (2, 4), (7, 0), (8, 0), (9, 0)])
    return atoms, pairs, rng.normal(size=len(pairs)), np.array([0, 1, 1, 2])


def test_shapes_agree_with_enumeration_over_coalitions_and_reference_patients():
    atoms, pairs, coefficients, owners = shapes()
    rng = np.random.default_rng(0)
    patients, background = rng.normal(size=(3, 4)), rng.normal(size=(4, 4))
    base, shares = shape_shares(atoms, pairs, coefficients, patients, background, owners)

    def value(coalition, patient):
        total = 0.0
        # Reference values of different variables are combined freely: 4 x 4 x 4 reference patients.
        for rows in product(range(4), repeat=3):
            source = [patient if owner in coalition else background[rows[owner]] for owner in owners]
            mixed = np.array([[row[column] for column, row in enumerate(source)]])
            total += (atoms.products(pairs, mixed, np.zeros((1, 1))) @ coefficients)[0]
        return total / 4**3

    for patient, share in zip(patients, shares, strict=True):
        expected_base, expected = enumerated(lambda coalition, patient=patient: value(coalition, patient), 3)
        assert base == pytest.approx(expected_base, abs=1e-12)
        np.testing.assert_allclose(share, expected, atol=1e-12)


def test_a_variable_in_no_shape_gets_nothing_and_equal_ones_get_the_same():
    atoms = Atoms(np.arange(3), np.zeros(3), np.zeros(3, dtype=int), np.array([[1.0], [1.0], [0.0]]), np.array([0.4]))
    pairs, coefficients = np.array([(1, 0), (2, 0), (1, 2), (4, 0)]), np.array([0.3, 0.3, 0.7, 1.1])
    background = np.array([[0.1, 0.1, 5.0], [-0.6, -0.6, 2.0]])
    patient = np.array([[1.3, 1.3, -2.0]])
    _, (share,) = shape_shares(atoms, pairs, coefficients, patient, background, np.arange(3))
    assert share[2] == pytest.approx(0, abs=1e-15)
    assert share[0] == pytest.approx(share[1], abs=1e-15)
    assert share[0] != 0


def test_columns_of_a_variable_are_added_up():
    parts = np.array([[1.0, 2.0, 4.0], [0.5, 0.0, 1.0]])
    np.testing.assert_array_equal(sum_columns(parts, np.array([1, 0, 1]), 3), [[2.0, 5.0, 0.0], [0.0, 1.5, 0.0]])
