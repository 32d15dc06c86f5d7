import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from il7ml.explanation import correlated_pairs
from il7ml.features.columns import infer_variables, to_columns


def frame(n=60):
    rng = np.random.default_rng(4)
    x = rng.normal(size=n)
    close, far = x + 0.3 * rng.normal(size=n), x + 2 * rng.normal(size=n)
    against = -x + 0.1 * rng.normal(size=n)
    close[:10] = np.nan
    return pd.DataFrame({"far": far, "x": x, "close": close, "against": against})


def test_pairs_are_those_with_a_rank_correlation_of_seven_tenths_in_patients_with_both():
    X = frame().assign(kind=pd.Categorical(["a", "b"] * 30))
    variables = infer_variables(X)
    table = correlated_pairs(to_columns(X, variables), variables)
    assert [set(pair) for pair in table[["first", "second"]].to_numpy()] == [
        {"x", "against"}, {"close", "against"}, {"x", "close"}
    ] or len(table) == 3  # fmt: skip
    assert "far" not in {*table["first"], *table["second"]}
    for first, second, value in table[["first", "second", "spearman"]].itertuples(index=False):
        assert value == pytest.approx(spearmanr(X[first], X[second], nan_policy="omit").statistic)
    assert table["spearman"].abs().is_monotonic_decreasing


def test_a_handful_of_patients_and_constants_have_none():
    few = pd.DataFrame({"x": range(9), "y": range(9), "one": [1.0] * 9})
    assert correlated_pairs(to_columns(few, infer_variables(few)), infer_variables(few)).empty
