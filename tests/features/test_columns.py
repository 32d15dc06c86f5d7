import numpy as np
import pandas as pd
import pytest

from il7ml.errors import InputError
from il7ml.features.columns import DERIVED, complete, infer_variables, take, to_columns, with_derived
from il7ml.schema import load_dictionary

DICTIONARY = load_dictionary()


def entries(*names):
    return {name: DICTIONARY[name] for name in names}


def test_columns_are_found_by_name_and_come_in_the_order_asked_for():
    frame = pd.DataFrame({"other": [9, 9], "sofa_score": [4, 7], "age": [50.0, np.nan]})
    columns = to_columns(frame, entries("age", "sofa_score"))
    assert list(columns) == ["age", "sofa_score"]
    np.testing.assert_array_equal(columns["age"], [50.0, np.nan])
    np.testing.assert_array_equal(columns["sofa_score"], [4.0, 7.0])


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1, 0, None], dtype="Int64"),
        pd.Series([True, False, None], dtype="boolean"),
        pd.Series([True, False, None], dtype="object"),
        pd.Series([1.0, 0.0, None], dtype="float32"),
    ],
    ids=lambda series: str(series.dtype),
)
def test_gaps_of_every_dtype_become_nan(series):
    column = to_columns(pd.DataFrame({"diabetes": series}), entries("diabetes"))["diabetes"]
    assert column.dtype == np.float64
    np.testing.assert_array_equal(column, [1.0, 0.0, np.nan])


@pytest.mark.parametrize("dtype", ["object", "str", "category"])
def test_categories_become_the_index_of_their_level(dtype):
    frame = pd.DataFrame({"respiratory_support": pd.Series(["invasive", "oxygen", None], dtype=dtype)})
    column = to_columns(frame, entries("respiratory_support"))["respiratory_support"]
    np.testing.assert_array_equal(column, [2.0, 0.0, np.nan])


def test_an_inferred_category_of_numbers_keeps_its_levels():
    frame = pd.DataFrame({"ward": pd.Categorical([10, 20, 10])})
    variables = infer_variables(frame)
    assert variables["ward"].levels == ("10", "20")
    np.testing.assert_array_equal(to_columns(frame, variables)["ward"], [0.0, 1.0, 0.0])


def test_derived_features_are_computed_and_missing_where_a_part_is():
    frame = pd.DataFrame(
        {"neutrophil_count": [6.0, 6.0, np.nan], "absolute_lymphocyte_count": [0.5, 0.0, 1.0], "cd4_count": 0.2}
    )
    variables = with_derived(entries(*frame.columns))
    assert "cd4_cd8_ratio" not in variables  # one of its sources is not there
    ratio = to_columns(frame, variables)["neutrophil_lymphocyte_ratio"]
    np.testing.assert_array_equal(ratio, [12.0, np.nan, np.nan])


def test_derived_features_can_be_left_out():
    names = ("neutrophil_count", "absolute_lymphocyte_count", "cd4_count", "cd8_count")
    added = set(with_derived(entries(*names), exclude=("cd4_cd8_ratio",))) - set(names)
    assert added == {"neutrophil_lymphocyte_ratio"}


def test_derived_features_are_known_at_baseline():
    assert all(derived.variable.is_baseline for derived in DERIVED.values())
    assert all(DICTIONARY[source].is_baseline for derived in DERIVED.values() for source in derived.sources)


def test_complete_and_to_columns_agree():
    frame = pd.DataFrame({"cd4_count": [0.2, 0.4], "cd8_count": [0.1, 0.8]})
    variables = with_derived(entries("cd4_count", "cd8_count"))
    sources = {name: frame[name].to_numpy() for name in frame}
    completed = complete(sources, variables)
    np.testing.assert_allclose(completed["cd4_cd8_ratio"], [2.0, 0.5])
    assert list(completed) == list(to_columns(frame, variables))


def test_a_derived_feature_without_its_sources_is_refused():
    frame = pd.DataFrame({"cd4_cd8_ratio": [2.0, 0.5]})
    with pytest.raises(InputError, match="'cd4_cd8_ratio' is computed from cd4_count and cd8_count"):
        to_columns(frame, infer_variables(frame))


def test_take_selects_rows_of_every_column():
    columns = {"a": np.array([1.0, 2.0, 3.0]), "b": np.array([4.0, 5.0, 6.0])}
    taken = take(columns, np.array([2, 0]))
    assert {name: column.tolist() for name, column in taken.items()} == {"a": [3.0, 1.0], "b": [6.0, 4.0]}


@pytest.mark.parametrize(
    ("frame", "names", "message"),
    [
        (pd.DataFrame({"sofa_scor": [1]}), ["sofa_score"], r"'sofa_score' is missing. Did you mean 'sofa_scor'\?"),
        (pd.DataFrame({"age": ["fifty"]}), ["age"], "column 'age': expected numbers"),
        (pd.DataFrame({"age": [np.inf]}), ["age"], "column 'age': expected finite or missing values"),
        (pd.DataFrame([[1, 2]], columns=["age", "age"]), ["age"], "column 'age' stands 2 times in the frame"),
        (pd.DataFrame({"sex": ["unknowable"]}), ["sex"], "column 'sex': expected one of female, male; other values"),
    ],
)
def test_unusable_columns_are_named_without_their_values(frame, names, message):
    with pytest.raises(InputError, match=message) as caught:
        to_columns(frame, entries(*names))
    assert "fifty" not in str(caught.value)
    assert "unknowable" not in str(caught.value)


def test_infer_describes_columns_by_their_dtypes():
    frame = pd.DataFrame(
        {
            "age": [50.0, None],
            "doses": pd.Series([1, None], dtype="Int64"),
            "diabetes": [True, False],
            "antiviral": pd.Series([True, None], dtype="boolean"),
            "sex": pd.Categorical(["m", "f"], categories=["m", "f"]),
        }
    )
    kinds = {name: variable.kind for name, variable in infer_variables(frame).items()}
    assert kinds == {
        "age": "continuous",
        "doses": "continuous",
        "diabetes": "binary",
        "antiviral": "binary",
        "sex": "categorical",
    }
    assert infer_variables(frame)["sex"].levels == ("m", "f")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"sex": ["m", "f"]}), r"column 'sex': expected numbers.*astype\('category'\)"),
        (pd.DataFrame({"day": pd.to_datetime(["2021-01-01"])}), "column 'day': expected numbers"),
        (pd.DataFrame(np.zeros((2, 2))), "column names that are text"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "column 'a' stands 2 times"),
    ],
)
def test_infer_refuses_what_dtypes_do_not_tell(frame, message):
    with pytest.raises(InputError, match=message):
        infer_variables(frame)


def test_a_ratio_too_large_for_a_number_is_missing():
    columns = {"neutrophil_count": np.array([2e307, 9.0]), "absolute_lymphocyte_count": np.array([1e-3, 0.5])}
    variables = with_derived(entries("neutrophil_count", "absolute_lymphocyte_count"))
    np.testing.assert_array_equal(complete(columns, variables)["neutrophil_lymphocyte_ratio"], [np.nan, 18.0])
