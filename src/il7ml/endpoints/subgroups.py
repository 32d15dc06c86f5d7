"""Pre-specified subgroups: an effect in each and one P value for their differing, never a P value a subgroup alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc

from il7ml.endpoints.result import EndpointResult, on_test_scale, to_frame
from il7ml.errors import InputError

Bools = NDArray[np.bool_]


class SubgroupEffect(NamedTuple):
    """One endpoint's effect in one subgroup.

    Attributes
    ----------
    modifier : str
        What defines the subgroups.
    subgroup : str
    effect : EndpointResult
        NaN where the subgroup cannot be analysed. Its own P value is NaN on purpose: subgroups are compared, not tested
        one by one.
    interaction_p : float
        P value of the test that the effect is the same in all subgroups; the same in each row.
    """

    modifier: str
    subgroup: str
    effect: EndpointResult
    interaction_p: float


def subgroup_effects(
    modifier: str,
    subgroup: ArrayLike,
    estimate: Callable[[Bools], Sequence[EndpointResult]],
    *,
    endpoint: str,
) -> list[SubgroupEffect]:
    """Estimate an effect in each subgroup and test whether subgroups differ.

    Any endpoint will do: proportions, rates, hazard ratios, repeated measures. Subgroups are analysed on their own, so
    their estimates are independent; the test is Cochran's Q on the scale of the standard errors.

    Parameters
    ----------
    modifier : str
        Name of the baseline variable that defines the subgroups.
    subgroup : array-like of shape (n,)
        Each patient's subgroup; patients without one (None, NaN) are left out.
    estimate : callable
        Takes the mask of a subgroup's patients, ndarray of bool of shape (n,), and returns its results, one a scale. A
        subgroup for which it raises InputError (no events in an arm, say) is shown as NaN and not tested.
    endpoint : str
        Name for the rows of such subgroups.

    Returns
    -------
    list of SubgroupEffect
        By scale, within it by subgroup.

    Raises
    ------
    InputError
        If there are fewer than two subgroups, or none can be analysed.

    References
    ----------
    Cochran, Biometrics 1954;10:101, doi 10.2307/3001666; for two subgroups Altman and Bland, BMJ 2003;326:219,
    doi 10.1136/bmj.326.7382.219.

    Examples
    --------
    >>> from il7ml.endpoints.rates import poisson_rates
    >>> events, arm = np.array([0, 1, 2, 0, 3, 1, 1, 2]), np.array([1, 1, 0, 0, 1, 1, 0, 0])
    >>> def by_rate(rows):
    ...     return poisson_rates(events[rows], arm[rows], endpoint="infections")[:1]
    >>> effects = subgroup_effects("antiviral", ["no"] * 4 + ["yes"] * 4, by_rate, endpoint="infections")
    >>> [(each.subgroup, round(each.effect.estimate, 2)) for each in effects], round(effects[0].interaction_p, 2)
    ([('no', 0.5), ('yes', 1.33)], 0.37)
    """
    codes, names = pd.factorize(np.asarray(subgroup, dtype=object), sort=True)
    if len(names) < 2:
        raise InputError(f"modifier {modifier!r}: expected at least two subgroups; fewer came. Leave it out.")
    found: list[Sequence[EndpointResult] | None] = []
    for code in range(len(names)):
        try:
            found.append(list(estimate(codes == code)))
        except InputError:
            found.append(None)
    shown = next((results for results in found if results), None)
    if shown is None:
        raise InputError(f"modifier {modifier!r}: no subgroup can be analysed for {endpoint!r}. Leave it out.")
    effects = []
    for position, pattern in enumerate(shown):
        rows = [
            _unknown(pattern, int((codes == k).sum())) if each is None else each[position]
            for k, each in enumerate(found)
        ]
        p_value = heterogeneity_p(rows)
        effects += [
            SubgroupEffect(modifier, str(name), row._replace(p_value=np.nan), p_value)
            for name, row in zip(names, rows, strict=True)
        ]
    return effects


def heterogeneity_p(effects: Iterable[EndpointResult]) -> float:
    """Return the P value of Cochran's Q: whether independent estimates differ by more than their errors.

    Estimates without a standard error do not count; NaN with fewer than two others.

    Examples
    --------
    >>> from il7ml.endpoints.result import wald
    >>> pair = [wald("death", "raw", "difference", value, 0.1, n=50) for value in (0.0, 0.2)]
    >>> round(heterogeneity_p(pair), 4)  # z = 0.2 / sqrt(0.02)
    0.1573
    """
    pairs = [(on_test_scale(effect), effect.std_error) for effect in effects]
    known = np.array([pair for pair in pairs if np.isfinite(pair).all() and pair[1] > 0])
    if len(known) < 2:
        return float("nan")
    weight = 1 / known[:, 1] ** 2
    pooled = np.average(known[:, 0], weights=weight)
    return float(chdtrc(len(known) - 1, (weight * (known[:, 0] - pooled) ** 2).sum()))


def subgroup_frame(effects: Iterable[SubgroupEffect]) -> pd.DataFrame:
    """Return subgroup effects as a table: modifier, subgroup, the columns of `result.to_frame`, interaction_p."""
    rows = list(effects)
    frame = to_frame(row.effect for row in rows)
    frame.insert(0, "subgroup", [row.subgroup for row in rows])
    frame.insert(0, "modifier", [row.modifier for row in rows])
    frame["interaction_p"] = [row.interaction_p for row in rows]
    return frame


def _unknown(pattern: EndpointResult, n: int) -> EndpointResult:
    nothing = float("nan")
    return EndpointResult(
        pattern.endpoint, pattern.method, pattern.scale, nothing, nothing, nothing, nothing, nothing, n, None
    )
