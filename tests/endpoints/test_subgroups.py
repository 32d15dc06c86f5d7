import numpy as np
import pytest
import statsmodels.api as sm

from il7ml.endpoints.proportions import unadjusted_risks
from il7ml.endpoints.rates import poisson_rates
from il7ml.endpoints.result import wald
from il7ml.endpoints.subgroups import heterogeneity_p, subgroup_effects, subgroup_frame
from il7ml.errors import InputError


def by_risk(cgd):
    def estimate(rows):
        return unadjusted_risks(cgd["event"][rows], cgd["treat"][rows], endpoint="infection")

    return estimate


def test_risks_by_subgroup_and_the_interaction_on_each_scale(cgd):
    antibiotics = cgd["propylac"].map({1: "yes", 2: "no"})
    effects = subgroup_effects("antibiotics", antibiotics, by_risk(cgd), endpoint="infection")
    assert [(effect.effect.scale, effect.subgroup) for effect in effects] == [
        (scale, name) for scale in ("difference", "ratio", "odds_ratio") for name in ("no", "yes")
    ]
    for effect in effects:
        rows = antibiotics == effect.subgroup
        alone = unadjusted_risks(cgd["event"][rows], cgd["treat"][rows], endpoint="infection")
        same = next(result for result in alone if result.scale == effect.effect.scale)
        assert effect.effect[:-3] == same[:-3]
        assert np.isnan(effect.effect.p_value)
    # On the odds scale the test is that of the product term of a logistic model.
    design = sm.add_constant(
        np.column_stack([cgd["treat"], antibiotics == "yes", cgd["treat"] * (antibiotics == "yes")])
    )
    reference = sm.Logit(cgd["event"], design.astype(float)).fit(disp=False)
    assert effects[-1].interaction_p == pytest.approx(reference.pvalues.iloc[3], rel=1e-4)


def test_rates_by_subgroup_have_the_robust_interaction_of_poisson_regression(cgd):
    inherited = cgd["inherit"].map({1: "x_linked", 2: "autosomal"})

    def estimate(rows):
        return poisson_rates(
            cgd["infections"][rows], cgd["treat"][rows], endpoint="infections", exposure=cgd["futime"][rows]
        )[:1]

    effects = subgroup_effects("inheritance", inherited, estimate, endpoint="infections")
    x = (inherited == "x_linked").astype(float)
    design = sm.add_constant(np.column_stack([cgd["treat"], x, cgd["treat"] * x]))
    model = sm.GLM(cgd["infections"], design, family=sm.families.Poisson(), exposure=cgd["futime"])
    reference = model.fit(cov_type="HC0")
    assert effects[0].interaction_p == pytest.approx(reference.pvalues.iloc[3], rel=1e-4)


def test_a_subgroup_that_cannot_be_analysed_is_shown_and_not_tested(cgd):
    # Only 3 patients had steroids.
    steroids = cgd["steroids"].map({1: "yes", 2: "no"})
    effects = subgroup_effects("steroids", steroids, by_risk(cgd), endpoint="infection")
    frame = subgroup_frame(effects).set_index(["scale", "subgroup"])
    assert frame.loc["ratio", "estimate"].isna().to_dict() == {"no": False, "yes": True}
    assert frame.loc[("ratio", "yes"), "n"] == 3
    assert frame["interaction_p"].isna().all()
    assert list(subgroup_frame(effects).columns[:3]) == ["modifier", "subgroup", "endpoint"]
    assert subgroup_frame(effects).columns[-1] == "interaction_p"


def test_patients_without_a_subgroup_are_left_out(cgd):
    antibiotics = cgd["propylac"].map({1: "yes", 2: "no"}).astype(object)
    antibiotics[:10] = None
    effects = subgroup_effects("antibiotics", antibiotics, by_risk(cgd), endpoint="infection")
    assert effects[0].effect.n + effects[1].effect.n == 118


def test_cochrans_q_by_hand():
    # Estimates 0, 1, 2 with errors 1, 1, 0.5: pooled (0 + 1 + 8) / 6 = 1.5; Q = 2.25 + 0.25 + 4 * 0.25 = 3.5.
    effects = [wald("death", "raw", "difference", e, s, n=20) for e, s in ((0.0, 1.0), (1.0, 1.0), (2.0, 0.5))]
    assert heterogeneity_p(effects) == pytest.approx(np.exp(-3.5 / 2))  # chi-square with 2 degrees of freedom
    unknown = wald("death", "raw", "difference", np.nan, np.nan, n=20)
    assert heterogeneity_p([*effects, unknown]) == pytest.approx(np.exp(-3.5 / 2))
    assert np.isnan(heterogeneity_p([effects[0], unknown]))


def test_one_subgroup_or_none_that_can_be_analysed_is_refused(cgd):
    with pytest.raises(InputError, match="at least two subgroups"):
        subgroup_effects("site", ["uk"] * 128, by_risk(cgd), endpoint="infection")
    with pytest.raises(InputError, match="no subgroup can be analysed"):
        subgroup_effects("patient", np.arange(128), by_risk(cgd), endpoint="infection")
