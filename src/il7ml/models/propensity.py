"""Probability of treatment in a cohort: estimated out of fold, trimmed to patients who had a choice, and reported."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.errors import InputError
from il7ml.family import BINARY
from il7ml.models.folds import stratified_folds
from il7ml.models.glm import PENALTIES, fit_glm

Floats = NDArray[np.float64]

_SMALLEST_ARM = 5
# Below it, and above 1 less it, a patient had no choice to speak of, however many are like him.
_SMALLEST = 0.01


class Propensity(NamedTuple):
    """Estimated probability of treatment.

    Attributes
    ----------
    probability : ndarray of shape (n,)
        Out-of-fold.
    kept : ndarray of bool, shape (n,)
        Patients who could have been in either arm.
    overlap : DataFrame
        ``measure, of, before, after``: the share of patients kept, each arm's effective sample size and the
        standardised difference of each column, before and after trimming and weighting.
    """

    probability: Floats
    kept: NDArray[np.bool_]
    overlap: pd.DataFrame


def estimate_propensity(
    matrix: Floats,
    names: tuple[str, ...],
    treatment: NDArray[np.int8],
    folds: int,
    rng: np.random.Generator,
) -> Propensity:
    """Estimate the probability of treatment with cross-fitted ridge-logistic regression, and say who overlaps.

    Patients whose arm was nearly certain are not kept (see `overlapping`); effects are then those of the others.

    Parameters
    ----------
    matrix : ndarray of shape (n, p)
        Standardised design.
    names : tuple of str
        Of its columns.
    treatment : ndarray of shape (n,)
        1 for treated, 0 for control.
    folds : int
    rng : Generator

    Raises
    ------
    InputError
        If fewer than five patients of an arm are kept.

    References
    ----------
    Crump, Hotz, Imbens and Mitnik, Biometrika 2009;96:187, doi 10.1093/biomet/asn055 (trimming). Austin and Stuart,
    Stat Med 2015;34:3661, doi 10.1002/sim.6607 (standardised differences).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> matrix = rng.normal(size=(500, 1))
    >>> arm = (rng.random(500) < 1 / (1 + np.exp(-matrix[:, 0]))).astype(np.int8)
    >>> overlap = estimate_propensity(matrix, ("age",), arm, 5, rng).overlap.set_index("measure")
    >>> overlap.loc["standardised_difference", ["before", "after"]].abs().round(1).tolist()
    [1.1, 0.0]
    """
    fold = stratified_folds(treatment.astype(np.intp), folds, rng)
    probability = np.empty(treatment.size)
    for held in range(folds):
        train, test = fold != held, fold == held
        # Whoever could only have been in one arm must be found, so weak penalties take part.
        fit = fit_glm(BINARY, matrix[train], treatment[train].astype(float), penalties=PENALTIES)
        probability[test] = BINARY.mean(fit.intercept + matrix[test] @ fit.coefficients)
    kept = overlapping(probability)
    fewest = min(int((kept & (treatment == arm)).sum()) for arm in (0, 1))
    if fewest < _SMALLEST_ARM:
        raise InputError(
            f"propensity: expected at least {_SMALLEST_ARM} patients of each arm who could have been in the other one, "
            f"one arm has {fewest}. The arms cannot be compared on these variables."
        )
    return Propensity(probability, kept, _overlap(matrix, names, treatment, probability, kept))


def overlapping(probability: Floats) -> NDArray[np.bool_]:
    """Return the patients in whom the average effect can be estimated with the smallest variance.

    With equal variances of the outcome it is in proportion to the mean of 1 / (e (1 - e)) over those patients, divided
    by their number; whoever is left out has a larger 1 / (e (1 - e)) than all that stay. A probability of either arm
    below 0.01 counts as none.

    Examples
    --------
    >>> import numpy as np
    >>> overlapping(np.array([0.5, 0.4, 0.6, 0.001])).tolist()
    [True, True, True, False]
    """
    burden = 1 / (probability * (1 - probability))
    ordered = np.sort(burden[burden <= 1 / (_SMALLEST * (1 - _SMALLEST))])
    if not ordered.size:
        return np.zeros(probability.size, dtype=bool)
    variance = np.cumsum(ordered) / np.arange(1, ordered.size + 1) ** 2
    return np.asarray(burden <= ordered[variance.argmin()])


def _overlap(
    matrix: Floats, names: tuple[str, ...], treatment: NDArray[np.int8], probability: Floats, kept: NDArray[np.bool_]
) -> pd.DataFrame:
    weight = np.where(kept, np.where(treatment == 1, 1 / probability, 1 / (1 - probability)), 0.0)
    rows: list[tuple[str, str, float, float]] = [("share_kept", "all", 1.0, float(kept.mean()))]
    for arm, name in ((0, "control"), (1, "treated")):
        own = weight[treatment == arm]
        rows.append(("effective_sample_size", name, float(own.size), float(own.sum() ** 2 / (own @ own))))
    spread = np.sqrt((matrix[treatment == 0].var(axis=0, ddof=1) + matrix[treatment == 1].var(axis=0, ddof=1)) / 2)
    before, after = (_differences(matrix, treatment, each, spread) for each in (np.ones_like(weight), weight))
    rows += [("standardised_difference", *row) for row in zip(names, before, after, strict=True)]
    return pd.DataFrame(rows, columns=["measure", "of", "before", "after"])


def _differences(matrix: Floats, treatment: NDArray[np.int8], weight: Floats, spread: Floats) -> list[float]:
    """Return treated minus control in standard deviations of the whole cohort, so that before and after compare."""
    control, treated = (
        np.average(matrix[treatment == arm], axis=0, weights=weight[treatment == arm]) for arm in (0, 1)
    )
    gap = treated - control
    return [float(value) for value in np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 0)]
