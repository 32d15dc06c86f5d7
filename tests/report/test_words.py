import math

import numpy as np
import pandas as pd
import pytest

from il7ml.report.effect import Effect
from il7ml.report.words import trial_words

BASE = Effect(
    "infection", "Infection by day 30", "binary", "risk", "", True, "26/55 (47 %)", "12/54 (22 %)", "unadjusted",
    "ratio", 0.47, 0.27, 0.83, 0.01, 0.01, 0.01, 0.01,
)  # fmt: skip
NAN = dict.fromkeys(("estimate", "low", "high", "p_value"), math.nan)
OUTSIDE = dict.fromkeys(("p_hierarchical", "p_holm", "p_benjamini_hochberg"), math.nan)
NONE = pd.DataFrame()


def words(*rows, subgroups=NONE, **options):
    return trial_words(pd.DataFrame(rows), subgroups, "placebo", "IL-7", **options)


def one(**changes):
    """Return the words on a single endpoint."""
    [sentence] = words(BASE._replace(**changes))
    return sentence


def test_a_ratio_of_risks():
    assert one() == (
        "Infection by day 30: 12/54 (22 %) with IL-7, 26/55 (47 %) with placebo. The risk with IL-7 was 53 % lower "
        "(risk ratio 0.47, 95 % CI 0.27 to 0.83, P = 0.01), in favour of IL-7."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scale": "odds_ratio", "estimate": 0.6, "low": 0.4, "high": 0.9},
         "The odds with IL-7 were 40 % lower (odds ratio 0.60, 95 % CI 0.40 to 0.90, P = 0.01), in favour of IL-7."),
        ({"scale": "rate_ratio", "measure": "rate", "unit": "patient", "estimate": 0.56, "low": 0.35, "high": 0.9},
         "The rate with IL-7 was 44 % lower (rate ratio 0.56, 95 % CI 0.35 to 0.90, P = 0.01), in favour of IL-7."),
        ({"scale": "hazard_ratio", "measure": "hazard", "estimate": 2.5, "low": 1.2, "high": 5.2},
         "The hazard with IL-7 was 2.50 times as high (hazard ratio 2.50, 95 % CI 1.20 to 5.20, P = 0.01), in favour "
         "of placebo."),
        ({"measure": "geometric mean", "harmful": False, "estimate": 1.43, "low": 1.1, "high": 1.86},
         "The geometric mean with IL-7 was 43 % higher (ratio of geometric means 1.43, 95 % CI 1.10 to 1.86, "
         "P = 0.01), in favour of IL-7."),
        ({"scale": "difference", "estimate": -0.2412, "low": -0.41, "high": -0.07},
         "The risk with IL-7 was 24.1 percentage points lower (risk difference -24.1 percentage points, 95 % CI -41.0 "
         "to -7.0, P = 0.01), in favour of IL-7."),
        ({"scale": "difference", "measure": "rate", "unit": "patient", "estimate": 0.7, "low": 0.3, "high": 1.1},
         "The rate with IL-7 was 0.70 per patient higher (rate difference 0.70 per patient, 95 % CI 0.30 to 1.10, "
         "P = 0.01), in favour of placebo."),
        ({"scale": "difference", "measure": "mean", "unit": "days", "harmful": False, "estimate": -4.45, "low": -8.16,
          "high": -0.74},
         "The mean with IL-7 was 4.45 days lower (difference in means -4.45 days, 95 % CI -8.16 to -0.74, P = 0.01), "
         "in favour of placebo."),
        ({"scale": "number_needed", "estimate": 4.16, "low": 2.43, "high": 14.4},
         "With IL-7 there was one event less for every 4.2 patients treated (number needed to treat 4.2, 95 % CI 2.4 "
         "to 14.4, P = 0.01), in favour of IL-7."),
        ({"scale": "probability", "harmful": False, "estimate": 0.62, "low": 0.52, "high": 0.71},
         "Values with IL-7 tended to be higher (probability of the higher value 0.62, 95 % CI 0.52 to 0.71, P = 0.01), "
         "in favour of IL-7."),
        ({"scale": "chi_square", "estimate": 6.7, "low": math.nan, "high": math.nan},
         "The arms differed (chi-square 6.70, P = 0.01)."),
    ],
    ids=lambda value: value.get("scale") if isinstance(value, dict) else "",
)  # fmt: skip
def test_each_scale_has_its_words(changes, said):
    assert one(**changes).endswith(f"with placebo. {said}")


def test_no_difference_is_never_called_no_effect():
    sentence = one(estimate=0.77, low=0.55, high=1.072, p_value=0.12, p_hierarchical=0.12)
    assert sentence.endswith(
        "No credible difference was shown (risk ratio 0.77, 95 % CI 0.55 to 1.07, P = 0.12): the risk with IL-7 may be "
        "anything from 45 % lower to 7.2 % higher."
    )
    assert "favour" not in sentence
    assert "no effect" not in sentence


def test_a_wide_interval_is_said_in_readable_terms():
    sentence = one(estimate=3.0, low=0.004, high=math.inf, p_value=0.5)
    assert sentence.endswith("may be anything from more than 99 % lower to more than 1,000 times as high.")


def test_a_number_needed_to_treat_may_run_through_infinity():
    sentence = one(scale="number_needed", estimate=-23.8, low=7.8, high=-4.7, p_value=0.6)
    assert sentence.endswith("(number needed to treat -23.8, 95 % CI 7.8 to infinity, -infinity to -4.7, P = 0.6).")


@pytest.mark.parametrize(
    ("p_value", "said"), [(1e-12, "P < 0.001"), (0.0496, "P = 0.0496"), (0.001, "P = 0.001"), (0.0123456, "P = 0.0123")]
)
def test_p_values_are_rounded(p_value, said):
    assert f", {said})" in one(p_value=p_value)


@pytest.mark.parametrize(("p_value", "is_shown"), [(0.0499, True), (0.05, False), (math.nan, False)])
def test_a_difference_counts_below_the_level_only(p_value, is_shown):
    assert ("in favour of" in one(p_value=p_value)) == is_shown
    assert ("No credible difference" in one(p_value=p_value)) != is_shown


def test_the_level_is_the_callers():
    [sentence] = words(BASE._replace(p_value=0.08, p_hierarchical=0.08), level=0.9)
    assert "90 % CI" in sentence
    assert "in favour of IL-7" in sentence


def test_an_endpoint_that_could_not_be_compared():
    assert one(**NAN).endswith("26/55 (47 %) with placebo. The arms could not be compared.")
    outside = words(BASE, BASE._replace(endpoint="rash", title="Rash", **NAN, **OUTSIDE))
    assert outside[-1] == "Could not be compared: Rash."


def test_absolute_numbers_stand_beside_a_relative_one():
    table = pd.DataFrame(
        {
            "endpoint": ["infection"] * 4,
            "method": ["unadjusted", "unadjusted", "adjusted", "adjusted"],
            "scale": ["difference", "number_needed"] * 2,
            "estimate": [-0.25, 4.0, -0.2, 5.0],
            "low": [-0.42, 2.4, -0.4, 2.5],
            "high": [-0.08, 12.5, -0.02, 50.0],
        }
    )
    [sentence] = words(BASE, table=table)
    assert sentence.endswith(
        "in favour of IL-7; risk difference -25.0 percentage points, 95 % CI -42.0 to -8.0; one event less for every "
        "4.0 patients treated (95 % CI 2.4 to 12.5)."
    )
    [unclear] = words(BASE._replace(p_value=0.2), table=table)
    assert "patients treated" not in unclear


def test_days_have_a_probability_beside_them():
    row = BASE._replace(kind="days", measure="mean", unit="days", scale="difference", estimate=-4.0, low=-8, high=-0.5)
    table = pd.DataFrame(
        {"endpoint": ["infection"], "method": ["Wilcoxon"], "scale": ["probability"], "estimate": [0.37],
         "low": [0.27], "high": [0.47]}
    )  # fmt: skip
    [sentence] = words(row, table=table)
    assert sentence.endswith(
        "; a patient given IL-7 has more days with a probability of 37 %, 95 % CI 27 % to 47 % (ties counted half)."
    )


def several():
    """Return three endpoints: shown, not shown, and below 0.05 after one that was not."""
    return (
        BASE._replace(title="A", p_value=0.01, p_hierarchical=0.01, p_holm=0.03, p_benjamini_hochberg=0.03),
        BASE._replace(endpoint="b", title="B", p_value=0.3, p_hierarchical=0.3, p_holm=0.3, p_benjamini_hochberg=0.3),
        BASE._replace(
            endpoint="c", title="C", p_value=0.03, p_hierarchical=0.3, p_holm=0.06, p_benjamini_hochberg=0.045
        ),
    )  # fmt: skip


def test_what_survives_multiplicity_is_said():
    said = words(*several())
    assert "does not count as shown" not in said[0]
    assert said[2].endswith("In the stated order of tests this does not count as shown (adjusted P = 0.3).")
    assert said[3] == (
        "Of the 3 endpoints tested in the stated order, the arms are shown to differ in A; testing stops at B. After "
        "Holm's adjustment, which needs no order: A. With a false discovery rate of 5 % (Benjamini-Hochberg): A; C."
    )


def test_nothing_survives():
    said = words(*(row._replace(p_hierarchical=0.3, p_holm=0.3, p_benjamini_hochberg=0.3) for row in several()))
    assert "differ in none; testing stops at A." in said[3]


def test_endpoints_outside_the_order_are_exploratory():
    further = [
        BASE._replace(endpoint="d", title="D", **OUTSIDE),
        BASE._replace(endpoint="e", title="E", estimate=0.9, low=0.6, high=1.4, p_value=0.6, **OUTSIDE),
    ]
    said = words(*several(), *further)
    assert said[4] == (
        "2 further endpoints are outside the stated order and not adjusted for their number, so what follows is "
        "exploratory: P is below 0.05 for 1, where chance alone would do this for about 0.1."
    )
    assert said[5].startswith("D: 12/54")
    assert said[6] == "No credible difference was shown in (with 95 % CI): E (risk ratio 0.90, 0.60 to 1.40)."


def groups(modifier, p_value, *, protected=True, endpoint="infection", scale="ratio"):
    return pd.DataFrame(
        {
            "modifier": modifier,
            "label": modifier.capitalize(),
            "protected": protected,
            "subgroup": ["no", "yes"],
            "endpoint": endpoint,
            "scale": scale,
            "estimate": [0.3, 0.9],
            "low": [0.15, 0.5],
            "high": [0.6, 1.62],
            "interaction_p": p_value,
        }
    )


def test_a_subgroup_alone_makes_no_finding():
    # The interval of one subgroup excludes 1, the other's does not; the interaction decides.
    said = words(BASE, subgroups=groups("antiviral", 0.2))
    assert said[1:] == (
        "Antiviral: no credible difference of the effect between subgroups was shown (P for interaction 0.2).",
    )


def test_an_interaction_is_said_with_the_subgroups_effects():
    subgroups = pd.concat(
        [groups("antiviral", 0.02), groups("antiviral", 0.4, scale="difference"), groups("sofa", 0.9)]
    )
    said = words(BASE, subgroups=subgroups)
    assert said[1] == (
        "Antiviral: the effect differed between subgroups on Infection by day 30 (P for interaction 0.02; risk ratio "
        "by subgroup, no: 0.30 (0.15 to 0.60), yes: 0.90 (0.50 to 1.62))."
    )
    assert said[2].startswith("Sofa: no credible difference")
    assert said[3].startswith("The 2 interaction P values are not adjusted for their number")


def test_a_modifier_known_later_is_not_protected():
    for p_value in (0.001, 0.5):
        said = words(BASE, subgroups=groups("antiviral", p_value, protected=False))
        assert said[1].endswith("so randomisation does not protect this comparison.")
    assert "randomisation" not in words(BASE, subgroups=groups("antiviral", 0.5))[1]


def test_subgroups_that_cannot_be_compared():
    said = words(BASE, subgroups=groups("antiviral", np.nan))
    assert said[1] == "Antiviral: the subgroups could not be compared."


def test_several_endpoints_share_a_modifiers_sentence():
    rows = several()[:2]
    subgroups = pd.concat([groups("antiviral", 0.4), groups("antiviral", 0.7, endpoint="b")])
    assert words(*rows, subgroups=subgroups)[-2].endswith("was shown (P for interaction 0.4 to 0.7 on 2 endpoints).")
