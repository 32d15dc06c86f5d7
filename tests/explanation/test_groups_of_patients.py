import numpy as np
import pandas as pd
import pytest

from il7ml.explanation import Explanation, patient_groups
from il7ml.schema import Variable

VARIABLES = {
    "age": Variable(term="Age", possible=(0, 120), known="at_randomisation", role="demographic"),
    "ill": Variable(term="Ill", kind="binary", known="at_randomisation", role="comorbidity"),
    "support": Variable(
        term="Support", kind="categorical", levels=("oxygen", "mask", "tube"), known="at_randomisation", role="severity"
    ),
}


def groups(n=57):
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"age": rng.permutation(n) + 20.0, "ill": 0.0, "support": 0.0})
    data.loc[:11, "age"] = np.nan
    data.loc[:20, "ill"] = 1.0
    data.loc[20:40, "support"] = 2.0
    data.loc[41:47, "support"] = 1.0
    values = pd.DataFrame(rng.normal(size=(n, 3)), columns=list(data))
    return data, values, patient_groups(Explanation(0.0, values, data, "log odds"), VARIABLES)


def test_no_group_is_smaller_than_ten_and_means_are_those_of_its_members():
    data, values, table = groups()
    assert table["n"].min() >= 10
    age = table[table["variable"] == "age"]
    assert age["n"].tolist() == [12, 11, 11, 11, 12]  # 45 by age, then the missing ones
    assert age["level"].tolist() == [""] * 4 + ["missing"]
    order = np.argsort(data["age"].to_numpy())[:45]
    np.testing.assert_allclose(
        age["mean_shap"].iloc[:4], [values["age"].to_numpy()[part].mean() for part in np.array_split(order, 4)]
    )
    np.testing.assert_allclose(age["place"], [0, 1 / 3, 2 / 3, 1, np.nan])
    assert age["mean_shap"].iloc[4] == pytest.approx(values["age"].head(12).mean())


def test_a_rare_level_is_left_out():
    data, _, table = groups()
    assert (data["support"] == 1).sum() == 7
    assert table[table["variable"] == "support"]["level"].tolist() == ["oxygen", "tube"]
    assert table[table["variable"] == "ill"]["level"].tolist() == ["no", "yes"]


def test_of_nine_patients_nothing_is_shown():
    assert groups(57)[2].shape[0] > 0
    data = pd.DataFrame({"age": np.arange(9.0)})
    assert patient_groups(Explanation(0.0, data, data, ""), {"age": VARIABLES["age"]}).empty
