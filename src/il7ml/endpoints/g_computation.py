"""Arms' means without and with adjustment for covariates: standardisation (g-computation) with a robust covariance."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from il7ml.endpoints.contrasts import ArmMeans
from il7ml.errors import InputError
from il7ml.family import Family

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def raw_means(family: Family, y: Floats, treated: Bools, exposure: Floats | None = None) -> ArmMeans:
    """Return the arms' observed risks, rates or means with their robust variances.

    Parameters
    ----------
    family : Family
    y : ndarray of shape (n,)
        Outcome; NaN where unknown (not counted).
    treated : ndarray of bool of shape (n,)
    exposure : ndarray of shape (n,), optional
        Time at risk, for counts.

    Returns
    -------
    ArmMeans
        Variances: binomial for risks; Welch's for means; for rates one that allows for overdispersion, that of Poisson
        regression with the sandwich covariance.

    Examples
    --------
    >>> from il7ml.family import BINARY
    >>> arms = raw_means(BINARY, np.array([1.0, 0, 1, 1]), np.array([True, True, False, False]))
    >>> arms.means.tolist(), float(arms.covariance[1, 1])
    ([1.0, 0.5], 0.125)
    """
    exposure = np.ones_like(y) if exposure is None else exposure
    known = ~np.isnan(y)
    means, variances = [], []
    for arm in (~treated, treated):
        observed, time = y[arm & known], exposure[arm & known]
        mean = observed.sum() / time.sum()
        correction = observed.size / (observed.size - 1) if family.kind == "continuous" else 1.0
        means.append(mean)
        variances.append(correction * ((observed - mean * time) ** 2).sum() / time.sum() ** 2)
    return ArmMeans(np.array(means), np.diag(variances), int(known.sum()), _events(family, y))


def standardised_means(
    family: Family, y: Floats, treated: Bools, covariates: Floats, exposure: Floats | None = None
) -> ArmMeans:
    """Return the mean outcome if all patients were controls, and if all were treated, adjusted for covariates.

    A generalised linear model with canonical link (arm and covariates) predicts each patient's outcome in either arm;
    the means of the predictions do not depend on the model being right. Their covariance is that of the influence
    functions: the sandwich covariance of the coefficients carried over by the delta method, and the sampling of the
    covariates, times n / (n - p) as for HC1.

    Parameters
    ----------
    family : Family
    y : ndarray of shape (n,)
        Outcome; NaN where unknown: such patients do not enter the model but are predicted, which is unbiased if being
        unknown depends on arm and covariates only.
    treated : ndarray of bool of shape (n,)
    covariates : ndarray of shape (n, p - 2)
    exposure : ndarray of shape (n,), optional
        Time at risk, for counts; means are then rates per unit of it.

    Returns
    -------
    ArmMeans

    Raises
    ------
    InputError
        If the model cannot be fitted.

    References
    ----------
    FDA, Adjusting for Covariates in Randomized Clinical Trials for Drugs and Biological Products, 2023. Ge et al., Drug
    Inf J 2011;45:481, doi 10.1177/009286151104500409. Ye et al., Stat Theory Relat Fields 2023;7:159,
    doi 10.1080/24754269.2023.2205802.

    Examples
    --------
    >>> from il7ml.family import CONTINUOUS
    >>> rng = np.random.default_rng(1)
    >>> treated, x = rng.random(100) < 0.5, rng.normal(size=100)
    >>> arms = standardised_means(CONTINUOUS, 2 * treated + x + rng.normal(0, 0.1, 100), treated, x[:, None])
    >>> float((arms.means[1] - arms.means[0]).round(1))
    2.0
    """
    n = y.size
    design = np.column_stack([np.ones(n), treated, covariates])
    known = np.flatnonzero(~np.isnan(y))
    offset = np.zeros(n) if exposure is None else np.log(exposure)
    coefficients = fit_glm(family, y[known], design[known], offset[known])
    fitted = family.mean(design[known] @ coefficients + offset[known])
    information = (design[known] * family.variance(fitted)[:, None]).T @ design[known]
    scores = design[known] * (y[known] - fitted)[:, None]
    means, influence = np.empty(2), np.empty((n, 2))
    for arm in (0, 1):
        design[:, 1] = arm
        predicted = family.mean(design @ coefficients)
        means[arm] = predicted.mean()
        influence[:, arm] = predicted - means[arm]
        gradient = family.variance(predicted) @ design  # derivative of the mean, times n
        influence[known, arm] += scores @ np.linalg.lstsq(information, gradient, rcond=None)[0]
    correction = known.size / (known.size - design.shape[1])
    return ArmMeans(means, correction * influence.T @ influence / n**2, known.size, _events(family, y))


def fit_glm(family: Family, y: Floats, design: Floats, offset: Floats) -> Floats:
    """Return the coefficients of an unpenalised generalised linear model with canonical link, shape (p,).

    Raises
    ------
    InputError
        If there are no more patients than columns, or the covariates separate the outcomes.
    """
    import statsmodels.api as sm
    from statsmodels.tools.sm_exceptions import ConvergenceWarning, PerfectSeparationWarning

    if y.size <= design.shape[1]:
        raise InputError(
            f"covariates: {design.shape[1]} coefficients cannot be estimated from {y.size} patients. Adjust for fewer."
        )
    families = {"binary": sm.families.Binomial, "count": sm.families.Poisson, "continuous": sm.families.Gaussian}
    # Towards separation odds overflow before the warnings come.
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("error", PerfectSeparationWarning)
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            fit = sm.GLM(y, design, family=families[family.kind](), offset=offset).fit(maxiter=100)
        except (PerfectSeparationWarning, ConvergenceWarning):
            raise InputError(
                "covariates: together they predict the outcome without error, so no adjusted effect can be estimated. "
                "Adjust for fewer."
            ) from None
    return np.asarray(fit.params, dtype=float)


def _events(family: Family, y: Floats) -> int | None:
    return None if family.kind == "continuous" else int(np.nansum(y))
