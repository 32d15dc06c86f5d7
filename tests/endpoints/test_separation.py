import numpy as np
import pytest
import statsmodels.api as sm

from il7ml.endpoints.separation import estimable_part, hazard_part
from il7ml.errors import InputError
from il7ml.family import BINARY, COUNT


def drawn(n=150, seed=1):
    """Return arm, age and three sites; nothing happens at the last site."""
    rng = np.random.default_rng(seed)
    arm, age, site = np.arange(n) % 2, rng.normal(size=n), rng.integers(0, 3, n)
    design = np.column_stack([np.ones(n), arm, age, site == 1, site == 2])
    counts = rng.poisson(np.exp(-0.5 * arm + 0.4 * age)) * (site < 2)
    return design, counts.astype(float), site


def test_without_separation_all_patients_and_columns_stay():
    design, counts, site = drawn()
    counts[np.flatnonzero(site == 2)[:2]] = 1
    for family, y in ((COUNT, counts), (BINARY, (counts > 0).astype(float))):
        patients, columns = estimable_part(family, y, design, 1)
        assert patients.all()
        assert columns.all()


@pytest.mark.parametrize("family", [BINARY, COUNT])
def test_what_is_left_has_the_coefficients_to_which_the_whole_converges(family):
    design, counts, site = drawn()
    y = (counts > 0).astype(float) if family is BINARY else counts
    patients, columns = estimable_part(family, y, design, 1)
    np.testing.assert_array_equal(patients, site < 2)
    assert columns.tolist() == [True, True, True, True, False]
    kind = sm.families.Binomial() if family is BINARY else sm.families.Poisson()
    part = sm.GLM(y[patients], design[patients][:, columns], family=kind).fit()
    whole = sm.GLM(y, design, family=kind).fit(tol=1e-12, maxiter=30)
    assert whole.params[4] < -15
    np.testing.assert_allclose(part.params, whole.params[:4], atol=1e-6)
    np.testing.assert_allclose(part.bse, whole.bse[:4], rtol=1e-5)


def test_separation_by_several_columns_together_is_found():
    # Nobody above the line a + b = 0 has an event, though each of a and b alone overlaps.
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 60))
    design = np.column_stack([np.ones(60), a, b])
    y = (a + b < 0).astype(float)
    assert not any((column[y == 1].max() < column[y == 0].min()) for column in (a, b))
    with pytest.raises(InputError, match="not estimable"):
        estimable_part(BINARY, y, design, 1)


def test_a_coefficient_that_goes_to_infinity_or_repeats_others_is_refused():
    design, counts, _ = drawn()
    with pytest.raises(InputError, match="not estimable"):
        estimable_part(COUNT, counts, design, 4)
    with pytest.raises(InputError, match="not estimable"):
        estimable_part(COUNT, counts, np.column_stack([design, 2 * design[:, 2] - 1]), 2)


def test_risk_sets_lose_the_patients_of_a_site_without_events():
    design, counts, site = drawn()
    x, event = design[:, 1:], counts > 0
    rows, columns = hazard_part(x, event)
    np.testing.assert_array_equal(rows, site < 2)
    assert columns.tolist() == [True, True, True, False]
    # All events at one site: the coefficient goes to plus infinity.
    rows, columns = hazard_part(x, event & (site == 1))
    np.testing.assert_array_equal(rows, site == 1)
    assert columns.tolist() == [True, True, False, False]


def test_a_middle_value_of_all_events_separates_nobody():
    x = np.array([[0, 1.0], [1, 2], [0, 2], [1, 2], [0, 3]])
    rows, columns = hazard_part(x, np.array([0, 1, 1, 0, 0]))
    assert rows.all()
    assert columns.all()
