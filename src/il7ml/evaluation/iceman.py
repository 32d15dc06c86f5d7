"""How credible it is that a variable modifies the effect: what ICEMAN's questions can be answered from numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import pandas as pd

from il7ml.errors import InputError

Answer = Literal[
    "definitely no", "probably no or unclear", "probably yes", "definitely yes", "not applicable", "to be judged"
]
Form = Literal["categories", "continuum", "pre-specified cut", "cut of unclear origin", "exploratory cut"]

# The instrument is for suggested effect modification only.
_SUGGESTED = 0.1
_FORMS: dict[Form, Answer] = {
    "categories": "not applicable",
    "continuum": "definitely yes",
    "pre-specified cut": "probably yes",
    "cut of unclear origin": "probably no or unclear",
    "exploratory cut": "definitely no",
}
_COLUMNS = [
    "modifier", "category", "p_value", "tried", "prespecified", "hypothesised", "observed", "direction_hypothesised",
    "prior_evidence", "chance_unlikely", "few_modifiers", "no_arbitrary_cut", "credibility_at_most",
]  # fmt: skip


class ModifierTest(NamedTuple):
    """A test of whether a baseline variable modifies the effect.

    Attributes
    ----------
    modifier : str
    observed : float
        Negative or positive as the effect (treated minus untreated, or its logarithm) falls or rises with the variable;
        only the sign counts.
    p_value : float
        Two-sided P of the interaction; NaN where it could not be tested.
    prespecified : bool
        Named in the protocol, the analysis plan or the study file before the outcomes were seen.
    hypothesised : {-1, 0, 1}
        The sign of `observed` that was hypothesised beforehand; 0 where none was.
    form : {'categories', 'continuum', 'pre-specified cut', 'cut of unclear origin', 'exploratory cut'}
        How the variable was analysed; a number as such, also transformed, is a continuum.
    category : str
        Which category of the variable, where it has several.
    """

    modifier: str
    observed: float
    p_value: float
    prespecified: bool
    hypothesised: Literal[-1, 0, 1] = 0
    form: Form = "categories"
    category: str = ""


def iceman(tests: Sequence[ModifierTest]) -> pd.DataFrame:
    """Answer ICEMAN's core questions for trials as far as numbers go, for modifiers with an interaction P below 0.1.

    1. Direction hypothesised: definitely no if post hoc or the opposite was observed; probably no or unclear without a
       direction; probably yes if the same was observed ("definitely yes" takes a look at the protocol).
    2. Prior evidence: to be judged.
    3. Chance unlikely: definitely no from P > 0.05; probably no or unclear from P > 0.01; probably yes from P > 0.005;
       else definitely yes.
    4. Few modifiers tried: definitely no from 11 on; probably no or unclear from 4 on; else probably yes.
    5. No arbitrary cut: by `form`; not applicable to categories.

    Question 4 goes by the number of modifiers alone: adjust P beforehand where the number is to be considered.

    Parameters
    ----------
    tests : sequence of ModifierTest
        Of every modifier that was tried, whatever its P: all are counted. Categories of one variable count once.

    Returns
    -------
    DataFrame
        A row a test with P below 0.1: modifier, category, p_value, tried, prespecified, hypothesised, observed (-1, 0,
        1), direction_hypothesised, prior_evidence, chance_unlikely, few_modifiers, no_arbitrary_cut (answers), and
        credibility_at_most: low with a "definitely no", moderate with a "probably no or unclear", else high. The rating
        itself is for people, who also judge the prior evidence.

    Raises
    ------
    InputError
        If a P value is not between 0 and 1, or a test is given twice.

    References
    ----------
    Schandelmaier et al., CMAJ 2020;192:E901, doi 10.1503/cmaj.200077.

    Examples
    --------
    >>> table = iceman(
    ...     [
    ...         ModifierTest("antiviral", -2.9, 0.004, prespecified=True, hypothesised=-1),
    ...         ModifierTest("age", 0.4, 0.7, prespecified=False, form="continuum"),
    ...     ]
    ... )
    >>> table[["modifier", "tried", "chance_unlikely", "credibility_at_most"]].to_numpy().tolist()
    [['antiviral', 2, 'definitely yes', 'high']]
    """
    if any(test.p_value < 0 or test.p_value > 1 for test in tests):
        raise InputError("p_value: expected probabilities between 0 and 1. Pass the P of the interaction.")
    names = [(test.modifier, test.category) for test in tests]
    if len(set(names)) < len(names):
        raise InputError("tests: expected each modifier, or each of its categories, once. Keep one test of each.")
    tried = len({test.modifier for test in tests})
    return pd.DataFrame([_assess(test, tried) for test in tests if test.p_value < _SUGGESTED], columns=_COLUMNS)


def _assess(test: ModifierTest, tried: int) -> tuple[object, ...]:
    observed = int(test.observed > 0) - int(test.observed < 0)
    answers: tuple[Answer, ...] = (
        _direction(test, observed),
        "to be judged",
        _chance(test.p_value),
        "definitely no" if tried > 10 else "probably no or unclear" if tried > 3 else "probably yes",
        _FORMS[test.form],
    )
    most = "low" if "definitely no" in answers else "moderate" if "probably no or unclear" in answers else "high"
    hypothesised = test.hypothesised
    return (
        test.modifier, test.category, test.p_value, tried, test.prespecified, hypothesised, observed, *answers, most,
    )  # fmt: skip


def _direction(test: ModifierTest, observed: int) -> Answer:
    if not test.prespecified or (test.hypothesised and test.hypothesised != observed):
        return "definitely no"
    return "probably yes" if test.hypothesised else "probably no or unclear"


def _chance(p_value: float) -> Answer:
    if p_value > 0.05:
        return "definitely no"
    if p_value > 0.01:
        return "probably no or unclear"
    return "probably yes" if p_value > 0.005 else "definitely yes"
