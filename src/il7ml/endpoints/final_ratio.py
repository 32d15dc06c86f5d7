"""Lymphocyte recovery at the end: ratio of final counts, overall and by subgroup with the interaction."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import fdtrc

from il7ml.endpoints.ancova import ancova, least_squares
from il7ml.endpoints.arrays import as_logarithms, as_treated, as_values
from il7ml.endpoints.covariates import adjustment_matrix
from il7ml.endpoints.result import EndpointResult, wald
from il7ml.endpoints.subgroups import SubgroupEffect
from il7ml.errors import InputError

Bools = NDArray[np.bool_]

_METHOD = "ANCOVA of logarithms, HC3"


def final_ratio(
    final: ArrayLike,
    baseline: ArrayLike,
    treatment: ArrayLike,
    *,
    endpoint: str,
    covariates: pd.DataFrame | None = None,
    level: float = 0.95,
) -> EndpointResult:
    """Compare the arms' final counts: ratio of geometric means, adjusted for the baseline count (ANCOVA on logarithms).

    Parameters
    ----------
    final : array-like of shape (n,)
        Last count by day 30 or discharge, see `visits.last_value`; positive, NaN where there is none (not counted).
    baseline : array-like of shape (n,)
        Count before treatment; positive, a missing one is replaced by the geometric mean.
    treatment : array-like of shape (n,)
        1 treated, 0 control.
    endpoint : str
    covariates : DataFrame of shape (n, k), optional
        Further baseline covariates.
    level : float

    Returns
    -------
    EndpointResult
        Scale ratio, robust errors (HC3).

    Raises
    ------
    InputError
        If counts are not positive or do not vary, or too few are known.

    References
    ----------
    Vickers and Altman, BMJ 2001;323:1123, doi 10.1136/bmj.323.7321.1123. Long and Ervin, Am Stat 2000;54:217,
    doi 10.1080/00031305.2000.10474549 (HC3).

    Examples
    --------
    >>> before, after = [0.4, 0.5, 0.6, 0.8, 0.3, 0.5, 0.7, 0.9], [0.6, 0.8, 0.9, 1.3, 0.3, 0.6, 0.7, 1.0]
    >>> round(final_ratio(after, before, [1, 1, 1, 1, 0, 0, 0, 0], endpoint="lymphocytes").estimate, 2)
    1.45
    """
    n = np.size(treatment)
    table = _with_baseline(baseline, n, covariates)
    return ancova(final, treatment, endpoint=endpoint, covariates=table, scale="ratio", level=level)


def final_ratio_by_subgroup(
    final: ArrayLike,
    baseline: ArrayLike,
    treatment: ArrayLike,
    subgroup: ArrayLike,
    *,
    modifier: str,
    endpoint: str,
    covariates: pd.DataFrame | None = None,
    level: float = 0.95,
) -> list[SubgroupEffect]:
    """Estimate the final count ratio in each subgroup, such as with and without antivirals, in one model.

    The subgroups share the coefficients of baseline count and covariates; each has its own level and effect. The
    interaction is tested by a robust F test that all effects are the same.

    Parameters
    ----------
    final, baseline, treatment, endpoint, covariates, level
        As for `final_ratio`.
    subgroup : array-like of shape (n,)
        Each patient's subgroup, none missing.
    modifier : str
        What defines the subgroups.

    Returns
    -------
    list of SubgroupEffect
        `n` is the number of patients with a final count in the subgroup.

    Raises
    ------
    InputError
        As `final_ratio`, or if there are fewer than two subgroups, or one has too few patients in an arm.

    References
    ----------
    As for `final_ratio`; Wang et al., N Engl J Med 2007;357:2189, doi 10.1056/NEJMsr077003 (reporting of subgroups).

    Examples
    --------
    >>> before, after = [0.4, 0.5, 0.6, 0.8, 0.3, 0.5, 0.7, 0.9], [0.6, 0.8, 0.9, 1.3, 0.3, 0.6, 0.7, 1.0]
    >>> arm, antiviral = [1, 1, 1, 1, 0, 0, 0, 0], ["no", "yes"] * 4
    >>> effects = final_ratio_by_subgroup(after, before, arm, antiviral, modifier="antiviral", endpoint="lymphocytes")
    >>> [(each.subgroup, each.effect.n) for each in effects]
    [('no', 4), ('yes', 4)]
    """
    treated = as_treated(treatment)
    n = treated.size
    logs = as_logarithms(endpoint, as_values(endpoint, final, n, missing=True))
    codes, names = pd.factorize(np.asarray(subgroup, dtype=object), sort=True)
    if codes.shape != (n,) or (codes < 0).any() or len(names) < 2:
        raise InputError(f"modifier {modifier!r}: expected at least two subgroups and one for every patient.")
    member = codes[:, None] == np.arange(len(names))
    sizes = _sizes(modifier, member, treated, ~np.isnan(logs))
    matrix = adjustment_matrix(_with_baseline(baseline, n, covariates), n)
    # Effects of the first subgroup (column 1) and in excess of it, then levels and covariates.
    columns = [member[:, 0], treated, treated[:, None] & member[:, 1:], member[:, 1:], matrix]
    coefficients, covariance, degrees = least_squares(endpoint, logs, np.column_stack(columns).astype(float))
    excess = np.arange(2, 1 + len(names))
    quadratic = coefficients[excess] @ np.linalg.solve(covariance[np.ix_(excess, excess)], coefficients[excess])
    p_value = float(fdtrc(excess.size, degrees, quadratic / excess.size))
    effects = []
    for code, (name, size) in enumerate(zip(names, sizes, strict=True)):
        parts = [1] if code == 0 else [1, 1 + code]
        estimate = float(coefficients[parts].sum())
        error = float(np.sqrt(covariance[np.ix_(parts, parts)].sum()))
        effect = wald(endpoint, _METHOD, "ratio", estimate, error, int(size), degrees=degrees, level=level)
        effects.append(SubgroupEffect(modifier, str(name), effect._replace(p_value=np.nan), p_value))
    return effects


def _sizes(modifier: str, member: Bools, treated: Bools, known: Bools) -> NDArray[np.intp]:
    """Return the number of final counts in each subgroup, at least two in each arm."""
    sizes = np.array([member[known & arm].sum(axis=0) for arm in (treated, ~treated)])
    if sizes.min() < 2:
        raise InputError(
            f"modifier {modifier!r}: a subgroup has fewer than two final counts in an arm, so it cannot be compared. "
            "Merge subgroups or leave the modifier out."
        )
    return np.asarray(sizes.sum(axis=0))


def _with_baseline(baseline: ArrayLike, n: int, covariates: pd.DataFrame | None) -> pd.DataFrame:
    logs = as_logarithms("baseline", as_values("baseline", baseline, n, missing=True))
    table = pd.DataFrame({"log baseline": logs})
    return table if covariates is None else pd.concat([table, covariates.reset_index(drop=True)], axis=1)
