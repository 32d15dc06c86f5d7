import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from il7ml.errors import InputError
from il7ml.features.pipeline import LinearFeatures, TreeFeatures
from il7ml.schema import load_dictionary


def patients(n=60):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.normal(60, 10, n),
            "sex": pd.Categorical(rng.choice(["female", "male"], n)),
            "diabetes": rng.random(n) < 0.3,
        }
    )


@pytest.mark.parametrize("transformer", [LinearFeatures(spline=("age",)), TreeFeatures()])
def test_transformer_contract(transformer):
    frame = patients()
    copy = clone(transformer)
    assert copy.get_params() == transformer.get_params()
    with pytest.raises(NotFittedError):
        copy.transform(frame)
    matrix = copy.fit_transform(frame)
    assert matrix.shape == (len(frame), len(copy.get_feature_names_out()))
    assert list(copy.feature_names_in_) == list(frame.columns)
    assert copy.n_features_in_ == 3
    np.testing.assert_array_equal(copy.transform(frame[["diabetes", "sex", "age"]]), matrix)
    with pytest.raises(InputError, match="column 'age' is missing"):
        copy.transform(frame.drop(columns="age"))


def test_names_of_columns():
    frame = patients()
    assert LinearFeatures(spline=("age",)).fit(frame).get_feature_names_out().tolist() == [
        "age",
        "age[spline 1]",
        "sex[1]",
        "diabetes",
    ]
    assert TreeFeatures().fit(frame).get_feature_names_out().tolist() == ["age", "sex[0]", "sex[1]", "diabetes"]


def test_dictionary_entries_override_dtypes():
    frame = pd.DataFrame({"ferritin": [100.0, 1000.0, 10.0], "age": [40.0, 50.0, 60.0]})
    features = LinearFeatures({"ferritin": load_dictionary()["ferritin"]})
    matrix = features.fit_transform(frame)
    np.testing.assert_allclose(matrix.ravel(), np.array([0.0, 1.0, -1.0]) * np.sqrt(1.5), atol=1e-12)  # log scale


def test_features_learn_nothing_from_new_patients():
    frame = patients()
    features = LinearFeatures().fit(frame)
    shifted = frame.assign(age=frame["age"] + 100)
    assert features.transform(shifted)[:, 0].mean() > 5


def test_features_work_in_a_scikit_learn_pipeline():
    frame = patients()
    y = 2 * frame["age"].to_numpy() + 5 * frame["diabetes"].to_numpy()
    fitted = make_pipeline(LinearFeatures(), LinearRegression()).fit(frame, y)
    np.testing.assert_allclose(fitted.predict(frame), y)


def test_weights_reach_the_design():
    frame = pd.DataFrame({"age": [40.0, 60.0]})
    features = LinearFeatures().fit(frame, sample_weight=[3.0, 1.0])
    assert features.design_.centre.tolist() == [45.0]
