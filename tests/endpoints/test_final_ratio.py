import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from il7ml.endpoints.final_ratio import final_ratio, final_ratio_by_subgroup
from il7ml.errors import InputError


def drawn(n=109, seed=2):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "arm": np.arange(n) % 2,
            "antiviral": np.where(rng.random(n) < 0.55, "yes", "no"),
            "before": rng.normal(-0.5, 0.4, n),
            "age": rng.normal(60, 11, n),
        }
    )
    effect = np.where(frame["antiviral"] == "no", np.log(1.43), 0.0)
    frame["after"] = 0.5 + 0.8 * frame["before"] + frame["arm"] * effect + rng.normal(0, 0.5, n)
    frame.loc[:6, "after"] = np.nan
    return frame


def test_the_ratio_is_that_of_the_regression_of_logarithms():
    frame = drawn()
    given = np.exp(frame["after"]), np.exp(frame["before"]), frame["arm"]
    for formula, covariates in (("after ~ arm + before", None), ("after ~ arm + before + age", frame[["age"]])):
        reference = smf.ols(formula, frame).fit(cov_type="HC3", use_t=True)
        result = final_ratio(*given, endpoint="lymphocytes", covariates=covariates)
        assert np.log(result.estimate) == pytest.approx(reference.params["arm"])
        assert result.std_error == pytest.approx(reference.bse["arm"])
        assert result.p_value == pytest.approx(reference.pvalues["arm"])
        assert (result.n, result.scale) == (102, "ratio")


def test_subgroups_share_a_model_and_one_test_of_interaction():
    frame = drawn()
    effects = final_ratio_by_subgroup(
        np.exp(frame["after"]),
        np.exp(frame["before"]),
        frame["arm"],
        frame["antiviral"],
        modifier="antiviral",
        endpoint="lymphocytes",
        covariates=frame[["age"]],
    )
    for effect, name, other in zip(effects, ("no", "yes"), ("yes", "no"), strict=True):
        formula = f"after ~ arm * C(antiviral, Treatment('{name}')) + before + age"
        reference = smf.ols(formula, frame).fit(cov_type="HC3", use_t=True)
        assert effect.subgroup == name
        assert np.log(effect.effect.estimate) == pytest.approx(reference.params["arm"])
        assert effect.effect.std_error == pytest.approx(reference.bse["arm"])
        product = f"arm:C(antiviral, Treatment('{name}'))[T.{other}]"
        assert effect.interaction_p == pytest.approx(reference.pvalues[product])
        assert effect.effect.n == (frame["after"].notna() & (frame["antiviral"] == name)).sum()
        assert np.isnan(effect.effect.p_value)


def test_three_subgroups_are_tested_at_once():
    frame = drawn().assign(site=np.array(["a", "b", "c"])[np.arange(109) // 2 % 3])
    effects = final_ratio_by_subgroup(
        np.exp(frame["after"]),
        np.exp(frame["before"]),
        frame["arm"],
        frame["site"],
        modifier="site",
        endpoint="lymphocytes",
    )
    reference = smf.ols("after ~ arm * C(site) + before", frame).fit(cov_type="HC3", use_t=True)
    test = reference.f_test("arm:C(site)[T.b] = 0, arm:C(site)[T.c] = 0")
    assert [effect.subgroup for effect in effects] == ["a", "b", "c"]
    assert [effect.interaction_p for effect in effects] == pytest.approx([float(test.pvalue)] * 3)
    last = smf.ols("after ~ arm * C(site, Treatment('c')) + before", frame).fit(cov_type="HC3")
    assert np.log(effects[2].effect.estimate) == pytest.approx(last.params["arm"])
    assert effects[2].effect.std_error == pytest.approx(last.bse["arm"])


@pytest.mark.parametrize(
    ("final", "subgroup", "message"),
    [
        ([1.0, 2, 0, 1, 2, 1, 1, 3], ["no", "yes"] * 4, "positive"),
        ([1.0, 2, 2, 1, 2, 1, 1, 3], ["no"] * 8, "at least two subgroups"),
        ([1.0, 2, 2, 1, 2, 1, 1, 3], ["no", None] * 4, "at least two subgroups and one for every patient"),
        ([1.0, 2, np.nan, 1, 2, 1, 1, 3], ["no", "yes"] * 4, "fewer than two final counts in an arm"),
    ],
)
def test_bad_input_is_refused(final, subgroup, message):
    baseline = [0.4, 0.5, 0.3, 0.8, 0.6, 0.9, 0.7, 0.2]
    with pytest.raises(InputError, match=message):
        final_ratio_by_subgroup(
            final, baseline, [1, 1, 1, 1, 0, 0, 0, 0], subgroup, modifier="antiviral", endpoint="lymphocytes"
        )
