"""Doubly-robust scores and the average treatment effect.

One pair of scores a patient answers every effect question: their means are the arms' covariate-adjusted means, their
difference is an unbiased, noisy measurement of the patient's effect.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from il7ml.errors import InputError
from il7ml.evaluation.checks import as_arms, as_numbers, as_vector, check_level
from il7ml.evaluation.outcome import as_outcome
from il7ml.family import Kind, family_of

Floats = NDArray[np.float64]


class DoublyRobustScores(NamedTuple):
    """Augmented inverse-probability-weighted scores of each patient, each of shape (n,).

    Attributes
    ----------
    effect : ndarray
        `treated` minus `untreated`.
    untreated, treated : ndarray
        Their means estimate the mean outcome (risk, rate, mean) if nobody, everybody were treated.
    """

    effect: Floats
    untreated: Floats
    treated: Floats


class NumberNeeded(NamedTuple):
    """Number needed to treat for one outcome event less; negative numbers count patients per event more (harm).

    Attributes
    ----------
    estimate, low, high : float
        `low` belongs to the lower limit of the risk difference, its most favourable value. With `low` positive and
        `high` negative the interval runs from `low` through infinity to `high`.
    """

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return the number in Altman's notation: NNTB to benefit, NNTH to harm."""
        through = " to \N{INFINITY}" if self.low > 0 > self.high and np.isfinite([self.low, self.high]).all() else ""
        return f"{_number(self.estimate)} ({_number(self.low)}{through} to {_number(self.high)})"


def doubly_robust_scores(
    y: ArrayLike,
    treatment: ArrayLike,
    propensity: ArrayLike,
    untreated: ArrayLike,
    treated: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
) -> DoublyRobustScores:
    """Return the scores of augmented inverse-probability weighting.

    The score of arm t is ``m_t + 1{T = t} w / e_t * E / mean_t(E) * (y / E - m_t)``, with m_t the predicted mean, e_t
    the probability of the arm, w the censoring weight and E the exposure, whose mean is taken within the arm. With a
    known allocation probability the scores' mean is unbiased whatever the predictions.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome; event counts when `exposure` is given. May be NaN where `weight` is 0.
    treatment : array-like of shape (n,)
        1 treated, 0 untreated.
    propensity : float or array-like of shape (n,)
        Probability of treatment.
    untreated, treated : array-like of shape (n,)
        Out-of-fold predicted risk, rate or mean without and with treatment.
    weight : array-like of shape (n,), optional
        Inverse probability that the outcome is observed, up to a factor; 0 where it is not. Within an arm weights are
        brought to a sum of its number of patients (Hájek's form), so that only their proportions count.
    exposure : array-like of shape (n,), optional
        Time at risk, for counts; scores are then rates per unit of it.

    Returns
    -------
    DoublyRobustScores

    Raises
    ------
    InputError
        If a probability of treatment is not strictly between 0 and 1, the arms are not 0 and 1, or arrays do not fit
        together or hold what they cannot.

    References
    ----------
    Robins, Rotnitzky and Zhao, JASA 1994;89:846, doi 10.1080/01621459.1994.10476818.
    Chernozhukov et al., Econometrics Journal 2018;21:C1, doi 10.1111/ectj.12097 (cross-fitting).

    Examples
    --------
    >>> scores = doubly_robust_scores([1, 0], [1, 0], 0.5, [0.5, 0.5], [0.5, 0.5])
    >>> scores.treated.tolist(), scores.untreated.tolist()
    ([1.5, 0.5], [0.5, -0.5])
    """
    y, weight, exposure = as_outcome(y, "continuous" if exposure is None else "count", weight, exposure)
    propensity = as_numbers(propensity, "propensity")
    propensity = as_vector(np.full(y.size, propensity) if propensity.ndim == 0 else propensity, y.size, "propensity")
    if not ((propensity > 0) & (propensity < 1)).all():
        raise InputError(
            "propensity: expected probabilities strictly between 0 and 1, got others. Trim it or check the allocation."
        )
    treatment = as_arms(treatment, y.size)
    known = weight > 0
    arms = []
    for arm, probability, mean, name in (
        (0, 1 - propensity, untreated, "untreated"),
        (1, propensity, treated, "treated"),
    ):
        score = as_vector(mean, y.size, name).copy()
        rows = known & (treatment == arm)
        scale = (treatment == arm).sum() / weight[rows].sum() if rows.any() else 1.0
        share = scale * weight[rows] / probability[rows]
        residual = share * (y[rows] - exposure[rows] * score[rows])
        # Exposure after randomisation can differ between arms, hence the mean within the arm.
        score[rows] += residual * (share.sum() / (share @ exposure[rows]))
        arms.append(score)
    return DoublyRobustScores(arms[1] - arms[0], arms[0], arms[1])


def average_effect(
    scores: DoublyRobustScores, kind: Kind, level: float = 0.95, clusters: ArrayLike | None = None
) -> pd.DataFrame:
    """Return the average treatment effect on each scale that suits the outcome.

    Parameters
    ----------
    scores : DoublyRobustScores
    kind : {'binary', 'count', 'continuous'}
        Decides the scales: difference always, ratio for risks and rates, odds ratio for risks.
    level : float
        Confidence level.
    clusters : array-like of shape (n,), optional
        Site of each patient; the variance then allows for dependence within a site, and limits come from Student's t
        with one degree of freedom less than there are sites.

    Returns
    -------
    DataFrame
        Columns scale, estimate, std_error, low, high, p_value; a row a scale. For ratios `std_error` is that of the
        logarithm (delta method). A ratio is NaN where an adjusted mean is outside its range.

    Raises
    ------
    InputError
        If `kind` or `level` cannot be, there is one patient, or `clusters` does not fit.

    References
    ----------
    FDA, Adjusting for Covariates in Randomized Clinical Trials, 2023. Zeileis, Köll and Graham, J Stat Softw 2020;95:1,
    doi 10.18637/jss.v095.i01 (cluster-robust variance, HC1 type).

    Examples
    --------
    >>> import numpy as np
    >>> untreated = np.array([0.3, 0.5, 0.4, 0.6])
    >>> scores = DoublyRobustScores(np.full(4, -0.1), untreated, untreated - 0.1)
    >>> average_effect(scores, "binary").set_index("scale")["estimate"].round(3).to_dict()
    {'difference': -0.1, 'ratio': 0.778, 'odds_ratio': 0.658}
    """
    _check_scale(kind, level)
    arms = np.column_stack([scores.untreated, scores.treated])
    n = len(arms)
    if n < 2:
        raise InputError(f"scores: expected at least two patients, got {n}. An effect needs both arms.")
    centred, units = arms - arms.mean(axis=0), n
    degrees = np.inf
    if clusters is not None:
        codes, sites = pd.factorize(np.asarray(clusters))
        if codes.shape != (n,) or (codes < 0).any():
            raise InputError(f"clusters: expected a site for each of {n} patients, got others. Give each patient one.")
        units = len(sites)
        if units < 2:
            raise InputError("clusters: expected at least two sites, got one. Leave clusters out.")
        centred = np.column_stack([np.bincount(codes, weights=column) for column in centred.T])
        degrees = units - 1.0
    covariance = centred.T @ centred / n**2 * (units / (units - 1))
    return _contrasts(arms.mean(axis=0), covariance, kind, level, degrees)


def unadjusted_effect(
    y: ArrayLike,
    treatment: ArrayLike,
    kind: Kind,
    weight: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare the arms' raw means, in the form of `average_effect`.

    Parameters
    ----------
    y, treatment : array-like of shape (n,)
        Outcome and arm (1 treated, 0 untreated).
    kind : {'binary', 'count', 'continuous'}
    weight, exposure : array-like of shape (n,), optional
        Censoring weight and time at risk, as for `doubly_robust_scores`.
    level : float

    Returns
    -------
    DataFrame
        Columns scale, estimate, std_error, low, high, p_value. Variances are robust: for risks the binomial one, for
        means that of Welch, for rates one that allows for overdispersion.

    Raises
    ------
    InputError
        If the arrays do not fit together (see `as_outcome`), the arms are not 0 and 1, an arm has nobody to compare, or
        `kind` or `level` cannot be.

    Examples
    --------
    >>> unadjusted_effect([1, 0, 0, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0], "binary")["estimate"].round(3).tolist()
    [-0.25, 0.5, 0.333]
    """
    _check_scale(kind, level)
    y, weight, exposure = as_outcome(y, kind, weight, exposure)
    treatment = as_arms(treatment, y.size)
    means, variances = [], []
    for arm in (0, 1):
        rows = (treatment == arm) & (weight > 0)
        if rows.sum() < (2 if kind == "continuous" else 1):
            raise InputError(f"treatment: too few patients with a known outcome in arm {arm} to compare. Check both.")
        w, observed, time = weight[rows], y[rows], exposure[rows]
        mean = w @ observed / (w @ time)
        correction = w.size / (w.size - 1) if kind == "continuous" else 1.0
        means.append(mean)
        variances.append(correction * np.sum((w * (observed - mean * time)) ** 2) / (w @ time) ** 2)
    return _contrasts(np.array(means), np.diag(variances), kind, level, np.inf)


def number_needed_to_treat(difference: float, low: float, high: float) -> NumberNeeded:
    """Turn the difference in risk of a bad outcome, treated minus untreated, into a number needed to treat.

    Parameters
    ----------
    difference, low, high : float
        Estimate and limits, as in the row 'difference' of `average_effect`.

    Returns
    -------
    NumberNeeded
        Positive where treatment prevents the outcome. Where the interval of the difference holds 0, that of the number
        needed to treat passes through infinity, which its text says.

    References
    ----------
    Altman, BMJ 1998;317:1309, doi 10.1136/bmj.317.7168.1309.

    Examples
    --------
    >>> str(number_needed_to_treat(-0.1, -0.25, 0.05))
    'NNTB 10.0 (NNTB 4.0 to ∞ to NNTH 20.0)'
    """
    ends = [float(as_numbers(value, "difference")) for value in (difference, low, high)]
    return NumberNeeded(*(-1 / value if value else np.inf for value in ends))


def _check_scale(kind: Kind, level: float) -> None:
    family_of(kind)
    check_level(level)


def _number(value: float) -> str:
    return "\N{INFINITY}" if np.isinf(value) else f"{'NNTB' if value > 0 else 'NNTH'} {abs(value):.1f}"


def _contrasts(means: Floats, covariance: Floats, kind: Kind, level: float, degrees: float) -> pd.DataFrame:
    """Return the table of contrasts of two means (untreated, treated) with the given covariance."""
    untreated, treated = means
    rows = [("difference", treated - untreated, np.array([-1.0, 1.0]), False)]
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind != "continuous":
            ratio = np.log(treated) - np.log(untreated)
            rows.append(("ratio", ratio, np.array([-1 / untreated, 1 / treated]), True))
        if kind == "binary":
            odds = np.log(treated / (1 - treated)) - np.log(untreated / (1 - untreated))
            variance = means * (1 - means)
            rows.append(("odds_ratio", odds, np.array([-1.0, 1.0]) / variance, True))
        quantile = stdtrit(degrees, 0.5 + level / 2)
        table = []
        for scale, estimate, gradient, logarithmic in rows:
            error = float(np.sqrt(gradient @ covariance @ gradient))
            limits = np.array([estimate, estimate - quantile * error, estimate + quantile * error])
            p_value = 2 * stdtr(degrees, -abs(estimate / error))
            estimate, low, high = np.exp(limits) if logarithmic else limits
            table.append((scale, estimate, error, low, high, p_value))
    return pd.DataFrame(table, columns=["scale", "estimate", "std_error", "low", "high", "p_value"])
