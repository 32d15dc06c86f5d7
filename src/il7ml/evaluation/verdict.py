"""The evidence level of treatment-effect heterogeneity, which decides what a prediction may say."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["none", "suggestive", "credible"]


class Verdict(NamedTuple):
    """Evidence level with a sentence that gives the numbers behind it."""

    level: Level
    reason: str


def judge(
    omnibus_p: float,
    modifier_p_holm: float,
    modifier_p: float,
    slope_low: float,
    *,
    credible_omnibus: float = 0.01,
    credible_modifier: float = 0.05,
    suggestive_omnibus: float = 0.10,
    suggestive_modifier: float = 0.05,
) -> Verdict:
    """Judge how well heterogeneity of the treatment effect is supported.

    Credible: the omnibus test or a pre-specified modifier (after Holm) is below its threshold, and the cross-fitted
    slope of the effect model lies above 0 with its whole interval. Suggestive: the omnibus test or a pre-specified
    modifier is below the laxer thresholds. None: neither.

    Parameters
    ----------
    omnibus_p : float
        P of the test of one relative effect for all.
    modifier_p_holm, modifier_p : float
        Smallest P among the pre-specified modifiers, with and without Holm's adjustment; NaN if there are none.
    slope_low : float
        Lower limit of the slope of `best_linear_predictor`; NaN if the predicted effect is constant.
    credible_omnibus, credible_modifier, suggestive_omnibus, suggestive_modifier : float
        Thresholds.

    Returns
    -------
    Verdict

    References
    ----------
    Kent et al., PATH Statement, Ann Intern Med 2020;172:35, doi 10.7326/M18-3667. Schandelmaier et al., ICEMAN,
    CMAJ 2020;192:E901, doi 10.1503/cmaj.200077.

    Examples
    --------
    >>> judge(0.3, 0.4, 0.2, -0.5).level
    'none'
    """
    tested = f"heterogeneity test P = {omnibus_p:.3g} ({{omnibus:g}} needed)"
    if modifier_p == modifier_p:
        tested += (
            f", smallest pre-specified interaction P = {modifier_p:.3g}, after Holm {modifier_p_holm:.3g} "
            "({modifier:g} needed {adjusted} Holm)"
        )
    else:
        tested += ", no pre-specified modifier"
    slope = (
        "no slope, since the predicted effect is constant"
        if slope_low != slope_low
        else f"lower limit of the cross-fitted slope {slope_low:.3g} (above 0 needed)"
    )
    significant = omnibus_p < credible_omnibus or modifier_p_holm < credible_modifier
    strict = f"{tested.format(omnibus=credible_omnibus, modifier=credible_modifier, adjusted='after')}; {slope}"
    if significant and slope_low > 0:
        return Verdict("credible", f"Credible evidence that the effect differs between patients: {strict}.")
    if omnibus_p < suggestive_omnibus or modifier_p < suggestive_modifier:
        return Verdict("suggestive", f"Some evidence that the effect differs between patients, not credible: {strict}.")
    lax = tested.format(omnibus=suggestive_omnibus, modifier=suggestive_modifier, adjusted="before")
    return Verdict("none", f"No evidence that the relative effect differs between patients: {lax}.")
