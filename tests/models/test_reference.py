import numpy as np
import pytest
from scipy.stats import chi2
from sklearn.covariance import LedoitWolf
from tests.small_bundles import make, patients

from il7ml.features.columns import to_columns
from il7ml.features.design import LinearDesign
from il7ml.models.reference import fit_reference
from il7ml.schema import Variable

VARIABLES = {
    f"x{k}": Variable(term=f"x{k}", possible=(-99, 99), known="before_randomisation", role="other") for k in range(4)
}


def normal(n, seed):
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n)
    return {name: common + rng.normal(size=n) for name in VARIABLES}


def distances(reference, columns, n):
    matrix = reference.design.matrix(columns, n)
    return np.sum((matrix @ reference.precision) * matrix, axis=1)


def test_precision_is_that_of_the_shrunken_covariance():
    columns = normal(300, 0)
    reference = fit_reference(columns, VARIABLES, 300, np.random.default_rng(1))
    matrix = LinearDesign.learn(columns, VARIABLES).matrix(columns, 300)
    covariance = LedoitWolf(assume_centered=True).fit(matrix).covariance_
    np.testing.assert_allclose(reference.precision @ covariance, np.eye(4), atol=1e-10)


def test_distances_of_normal_patients_follow_chi_square():
    # Many patients: squared Mahalanobis distances are then chi-square with as many degrees of freedom as variables.
    reference = fit_reference(normal(5000, 0), VARIABLES, 5000, np.random.default_rng(1))
    assert len(reference.quantiles) == 101
    expected = chi2(4).ppf(np.linspace(0, 1, 101))
    np.testing.assert_allclose(reference.quantiles[5:96], expected[5:96], rtol=0.08)


@pytest.mark.parametrize("n", [40, 109])
def test_new_patients_of_the_same_kind_are_as_far_away_as_the_quantiles_say(n):
    # Distances of the very patients that shaped the covariance would be too small, and new ones look unusual.
    beyond, naive = [], []
    for seed in range(20):
        columns = normal(n, seed)
        reference = fit_reference(columns, VARIABLES, n, np.random.default_rng(seed))
        new = distances(reference, normal(2000, 1000 + seed), 2000)
        beyond.append((new > reference.quantiles[90]).mean())
        naive.append((new > np.quantile(distances(reference, columns, n), 0.9)).mean())
    assert np.mean(beyond) == pytest.approx(0.10, abs=0.025)
    assert np.mean(beyond) < np.mean(naive)


def test_an_unusual_combination_of_usual_values_is_far_away():
    reference = fit_reference(normal(500, 0), VARIABLES, 500, np.random.default_rng(1))
    usual, unusual = (
        {f"x{k}": np.array([2.0 * sign]) for k, sign in enumerate(signs)} for signs in ((1, 1, 1, 1), (1, -1, 1, -1))
    )
    assert distances(reference, usual, 1)[0] < reference.quantiles[60]
    assert distances(reference, unusual, 1)[0] > reference.quantiles[97]


def test_quantiles_grow_and_the_folds_are_drawn_from_the_generator():
    columns = normal(60, 0)
    first, same, other = (fit_reference(columns, VARIABLES, 60, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.all(np.diff(first.quantiles) >= 0)
    assert first.quantiles == same.quantiles
    assert first.quantiles != other.quantiles
    np.testing.assert_array_equal(first.precision, other.precision)


def test_gaps_categories_and_constants_give_finite_distances():
    made = make()
    variables = {name: entry.variable for name, entry in made.bundle.card.variables.items()}
    frame = made.sample.X.assign(diabetes=0.0)
    columns = to_columns(frame, variables)
    reference = fit_reference(columns, variables, len(frame), np.random.default_rng(0))
    new = patients(20, np.random.default_rng(9)).assign(neutrophil_count=np.nan)
    found = distances(reference, to_columns(new, variables), 20)
    assert np.isfinite(found).all()
    assert (found > 0).all()
    assert np.isfinite(reference.quantiles).all()
