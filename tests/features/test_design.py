import json

import numpy as np
import pandas as pd
import pytest
from scipy.interpolate import CubicSpline

from il7ml.features.columns import to_columns, with_derived
from il7ml.features.design import LinearDesign, TreeDesign, restricted_cubic_spline
from il7ml.schema import Variable, load_dictionary

DICTIONARY = load_dictionary()
KNOTS = (-1.0, 0.2, 0.9, 2.5)


def number(**changes):
    return Variable(term="x", possible=(0, 1e9), known="before_randomisation", role="other", **changes)


def patients(n=400, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(60, 12, n),
            "absolute_lymphocyte_count": rng.lognormal(-0.4, 0.5, n),
            "ferritin": rng.lognormal(6, 1, n),
            "sex": rng.choice(["female", "male"], n),
            "respiratory_support": rng.choice(["oxygen", "non_invasive", "invasive"], n),
            "diabetes": rng.integers(0, 2, n).astype(float),
        }
    )
    for name in ("ferritin", "respiratory_support", "diabetes"):
        frame.loc[rng.random(n) < 0.15, name] = None
    return frame


def variables_of(frame):
    return with_derived({name: DICTIONARY[name] for name in frame})


@pytest.mark.parametrize("knots", [KNOTS, (-1.0, 0.5, 2.5)])
def test_spline_columns_are_natural_cubic_splines(knots):
    """The natural cubic spline through given points at the knots is unique: scipy's must be ours."""
    inside = np.linspace(knots[0], knots[-1], 301)
    for at_knots, column in zip(
        restricted_cubic_spline(np.array(knots), knots), restricted_cubic_spline(inside, knots), strict=True
    ):
        reference = CubicSpline(knots, at_knots, bc_type="natural")
        np.testing.assert_allclose(column, reference(inside), atol=1e-12)


@pytest.mark.parametrize("beyond", [np.linspace(-9, KNOTS[0], 30), np.linspace(KNOTS[-1], 9, 30)])
def test_spline_is_linear_beyond_the_outer_knots(beyond):
    for column in restricted_cubic_spline(beyond, KNOTS):
        np.testing.assert_allclose(np.diff(column, 2), 0, atol=1e-12)


def test_spline_has_continuous_second_derivatives_at_the_knots():
    step = 1e-4
    for knot in KNOTS:
        for side in restricted_cubic_spline(knot + step * np.arange(-3, 4), KNOTS)[1:]:
            second = np.diff(side, 2) / step**2
            np.testing.assert_allclose(second, second.mean(), atol=0.02)


def test_spline_of_k_knots_has_k_minus_1_independent_columns():
    columns = np.column_stack([np.ones(200), *restricted_cubic_spline(np.linspace(-3, 4, 200), KNOTS)])
    assert columns.shape[1] == len(KNOTS)
    assert np.linalg.matrix_rank(columns) == len(KNOTS)


def test_columns_are_centred_with_unit_variance():
    frame = patients()
    variables = variables_of(frame)
    columns = to_columns(frame, variables)
    matrix = LinearDesign.learn(columns, variables, spline=("absolute_lymphocyte_count",)).matrix(columns, len(frame))
    np.testing.assert_allclose(matrix.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(matrix.std(axis=0), 1, rtol=1e-10)


def test_weights_centre_the_weighted_sample():
    frame = patients()
    variables = variables_of(frame)
    columns = to_columns(frame, variables)
    weight = np.random.default_rng(1).uniform(0, 3, len(frame))
    matrix = LinearDesign.learn(columns, variables, weight=weight).matrix(columns, len(frame))
    np.testing.assert_allclose(np.average(matrix, axis=0, weights=weight), 0, atol=1e-10)
    np.testing.assert_allclose(np.average(matrix**2, axis=0, weights=weight), 1, rtol=1e-10)


def test_names_and_owners_match_the_matrix():
    frame = patients()
    variables = variables_of(frame)
    columns = to_columns(frame, variables)
    design = LinearDesign.learn(columns, variables, spline=("absolute_lymphocyte_count",))
    assert design.names == (
        "age",
        "absolute_lymphocyte_count",
        "absolute_lymphocyte_count[spline 1]",
        "absolute_lymphocyte_count[spline 2]",
        "ferritin",
        "ferritin[missing]",
        "sex[1]",
        "respiratory_support[1]",
        "respiratory_support[2]",
        "respiratory_support[missing]",
        "diabetes",
        "diabetes[missing]",
    )
    assert design.owners == tuple(name.split("[")[0] for name in design.names)
    assert design.matrix(columns, len(frame)).shape == (len(frame), len(design.names))


@pytest.mark.parametrize(("n", "quantiles"), [(200, (0.10, 0.50, 0.90)), (400, (0.05, 0.35, 0.65, 0.95))])
def test_knots_are_harrells_quantiles_on_the_log_scale(n, quantiles):
    frame = patients(n)
    variables = variables_of(frame)
    design = LinearDesign.learn(to_columns(frame, variables), variables, spline=("absolute_lymphocyte_count",))
    expected = np.log(frame["absolute_lymphocyte_count"].quantile(list(quantiles)))
    np.testing.assert_allclose(design.terms[1].knots, expected, rtol=0.02)


def test_a_missing_number_takes_the_training_median_and_its_indicator():
    frame = pd.DataFrame({"ferritin": [100.0, 200.0, 900.0, np.nan]})
    variables = {"ferritin": DICTIONARY["ferritin"]}
    columns = to_columns(frame, variables)
    matrix = LinearDesign.learn(columns, variables).matrix(columns, 4)
    assert matrix[3, 0] == matrix[1, 0]  # the median, 200
    assert matrix[3, 1] > 0
    assert (matrix[:3, 1] < 0).all()


def test_a_gap_that_training_had_none_of_is_filled_without_an_indicator():
    variables = {"age": DICTIONARY["age"]}
    design = LinearDesign.learn({"age": np.array([40.0, 50.0, 90.0])}, variables)
    assert design.matrix({"age": np.array([np.nan])}, 1) == design.matrix({"age": np.array([50.0])}, 1)
    assert design.names == ("age",)


@pytest.mark.parametrize(("values", "fill"), [([0, 0, 1, np.nan], 0.0), ([0, 1, 1, np.nan], 1.0)])
def test_a_missing_binary_takes_the_more_frequent_value(values, fill):
    design = LinearDesign.learn({"diabetes": np.array(values)}, {"diabetes": DICTIONARY["diabetes"]})
    assert design.terms[0].fill == fill


def test_a_count_of_zero_stands_for_below_detection():
    variables = {"ferritin": DICTIONARY["ferritin"]}
    values = {"ferritin": np.array([0.0, 10.0, 20.0, 40.0])}
    design = LinearDesign.learn(values, variables)
    zero, half = design.matrix({"ferritin": np.array([0.0, 5.0])}, 2)
    assert zero == half  # half of the smallest count seen


@pytest.mark.parametrize("value", [0.0, 0.1, 1234567.891, 1e-7, 1e9])
def test_a_constant_column_contributes_nothing_whatever_comes_later(value):
    variables = {"x": number()}
    design = LinearDesign.learn({"x": np.full(109, value)}, variables)
    assert design.matrix({"x": np.array([value, value + 1, 0.0])}, 3).tolist() == [[0.0]] * 3


def test_a_small_but_real_spread_on_a_large_value_is_kept():
    x = 1e6 + np.array([-1.0, 0.0, 1.0])
    matrix = LinearDesign.learn({"x": x}, {"x": number()}).matrix({"x": x}, 3)
    np.testing.assert_allclose(matrix.ravel(), np.array([-1, 0, 1]) * np.sqrt(1.5))


def test_a_column_without_any_value_is_carried_along():
    variables = {"x": number(), "y": number(scale="log")}
    columns = {"x": np.full(5, np.nan), "y": np.full(5, np.nan)}
    design = LinearDesign.learn(columns, variables, spline=("x", "y"))
    np.testing.assert_array_equal(design.matrix(columns, 5), 0.0)


def test_merged_knots_give_a_straight_line():
    x = np.r_[np.zeros(95), np.arange(5.0)]
    design = LinearDesign.learn({"x": x}, {"x": number()}, spline=("x",))
    assert design.names == ("x",)


def test_no_variables_give_no_columns():
    design = LinearDesign.learn({}, {})
    assert design.matrix({}, 7).shape == (7, 0)
    assert TreeDesign.learn({}).matrix({}, 7).shape == (7, 0)


def test_design_survives_json():
    frame = patients()
    variables = variables_of(frame)
    columns = to_columns(frame, variables)
    design = LinearDesign.learn(columns, variables, spline=("absolute_lymphocyte_count",))
    again = LinearDesign.from_dict(json.loads(json.dumps(design.to_dict(), allow_nan=False)))
    np.testing.assert_array_equal(again.matrix(columns, len(frame)), design.matrix(columns, len(frame)))
    assert again.names == design.names


def test_a_new_patient_is_seen_as_in_training_and_alone():
    """A row's design does not depend on the rows beside it."""
    frame = patients()
    variables = variables_of(frame)
    design = LinearDesign.learn(to_columns(frame, variables), variables, spline=("absolute_lymphocyte_count",))
    whole = design.matrix(to_columns(frame, variables), len(frame))
    np.testing.assert_array_equal(design.matrix(to_columns(frame.iloc[[7]], variables), 1), whole[[7]])


def test_tree_design_keeps_values_and_gaps():
    frame = pd.DataFrame({"age": [50.0, None], "respiratory_support": ["invasive", None]})
    variables = variables_of(frame)
    design = TreeDesign.learn(variables)
    matrix = design.matrix(to_columns(frame, variables), 2)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, [[50.0, 0.0, 0.0, 1.0], [np.nan] * 4])
    assert design.owners == ("age", *["respiratory_support"] * 3)
