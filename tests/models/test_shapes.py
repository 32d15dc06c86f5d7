import numpy as np
import pytest

from il7ml.models.shapes import FAMILY_SHARE, ShapeColumns, limited, make_shapes

OWNERS = ("count", "age", "antiviral", "sex")


def columns(n=500, seed=0):
    rng = np.random.default_rng(seed)
    base = np.column_stack([rng.normal(size=(n, 2)), rng.integers(0, 2, (n, 2)) * 2.0 - 1.0])
    return ShapeColumns(base, OWNERS, rng.normal(size=(n, 1)), ("risk",))


@pytest.fixture(scope="module")
def shapes():
    return make_shapes(columns(), (), np.random.default_rng(0))


def feature(shapes, family, owners, base):
    """Return the features of the blocks of a family and owners, shape (n, k)."""
    values = shapes.features(base, np.zeros((len(base), 1)))
    starts = np.cumsum([0, *shapes.sizes])
    return np.hstack(
        [
            values[:, starts[k] : starts[k + 1]]
            for k, block in enumerate(shapes.blocks)
            if block.family == family and block.owners == owners
        ]
    )


def test_prior_shares_add_up_to_one_and_families_keep_theirs(shapes):
    share = np.exp(shapes.log_prior)
    families = np.array([block.family for block in shapes.blocks])
    assert share.sum() == pytest.approx(1)
    present = sum(FAMILY_SHARE[family] for family in np.unique(families))
    for family in np.unique(families):
        assert share[families == family].sum() == pytest.approx(FAMILY_SHARE[family] / present)


def test_prespecified_modifiers_get_half_of_a_family():
    shapes = make_shapes(columns(), ("count", "antiviral"), np.random.default_rng(0))
    share = np.exp(shapes.log_prior)
    for family in ("linear", "subgroup", "product"):
        members = np.array([block.family == family for block in shapes.blocks])
        own = np.array([bool(block.owners) and set(block.owners) <= {"count", "antiviral"} for block in shapes.blocks])
        assert share[members & own].sum() > 0.5 * share[members].sum()


def test_features_are_what_their_family_says(shapes):
    base = np.array([[-1.0, 0.0, 1.0, -1.0], [1.0, 2.0, 1.0, 1.0], [2.0, -0.5, -1.0, 1.0]])
    np.testing.assert_array_equal(feature(shapes, "linear", ("count",), base)[:, 0], base[:, 0])
    np.testing.assert_array_equal(feature(shapes, "product", ("count", "age"), base)[:, 0], base[:, 0] * base[:, 1])
    steps = feature(shapes, "step", ("count",), base)
    assert set(np.unique(steps)) <= {0.0, 1.0}
    assert (np.diff(steps, axis=0) >= 0).all()  # the patients' counts increase
    subgroups = feature(shapes, "subgroup", ("antiviral", "count"), base)
    # Three thresholds, two sides, two levels; a patient is in half of the pairs of his level.
    assert subgroups.shape == (3, 12)
    np.testing.assert_array_equal(subgroups.sum(axis=1), [3.0, 3.0, 3.0])


def test_small_subgroups_are_no_shapes():
    base = columns().base.copy()
    base[:, 2] = np.where(np.arange(500) < 25, 1.0, -1.0)  # 5 % of patients
    shapes = make_shapes(columns()._replace(base=base), (), np.random.default_rng(0))
    assert not any(
        block.family == "subgroup" and feature_share(shapes, k, base) < 0.1 for k, block in enumerate(shapes.blocks)
    )


def feature_share(shapes, block, base):
    starts = np.cumsum([0, *shapes.sizes])
    return shapes.features(base, np.zeros((len(base), 1)))[:, starts[block]].mean()


def test_values_beyond_three_standard_deviations_count_as_three():
    np.testing.assert_array_equal(limited(np.array([[-50.0, -3.0, 0.5, 3.0, 3.1]])), [[-3.0, -3.0, 0.5, 3.0, 3.0]])


def test_many_columns_are_paired_with_modifiers_only():
    rng = np.random.default_rng(0)
    many = ShapeColumns(rng.normal(size=(100, 30)), tuple(f"x{k}" for k in range(30)), np.zeros((100, 0)), ())
    none = make_shapes(many, (), np.random.default_rng(0))
    some = make_shapes(many, ("x3",), np.random.default_rng(0))
    assert not any(block.family == "product" for block in none.blocks)
    products = [block.owners for block in some.blocks if block.family == "product"]
    assert len(products) == 29
    assert all("x3" in owners for owners in products)


def test_constant_columns_make_no_shape():
    base = columns().base.copy()
    base[:, 1] = 0.0
    shapes = make_shapes(columns()._replace(base=base), (), np.random.default_rng(0))
    assert not any("age" in block.owners for block in shapes.blocks)
