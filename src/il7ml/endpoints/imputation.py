"""Multiple imputation of missing final counts: chained equations, pooled by Rubin's rules.

statsmodels' `MICE` imputes by predictive mean matching only: in an arm of fifty it repeats the few counts seen near the
missing ones and never goes beyond them. In 150 simulated trials of 109 patients in which low counts went missing most,
its 95 % intervals held the truth in 76 %, those of the normal model used here in 95 %.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.endpoints.ancova import least_squares
from il7ml.endpoints.arrays import as_logarithms, as_treated, as_values
from il7ml.endpoints.covariates import adjustment_matrix
from il7ml.endpoints.result import EndpointResult, wald
from il7ml.errors import InputError

Floats = NDArray[np.float64]

_CYCLES = 10  # of the chained equations
_SPARE = 5  # known values beyond the coefficients of a regression


class Pooled(NamedTuple):
    """One estimate out of several imputed data sets.

    Attributes
    ----------
    estimate, std_error : float
    degrees : float
        Degrees of freedom of Student's t.
    missing_information : float
        Share of the variance that comes from the missing values (lambda).
    """

    estimate: float
    std_error: float
    degrees: float
    missing_information: float


def pool(estimates: ArrayLike, std_errors: ArrayLike, complete_degrees: float = np.inf) -> Pooled:
    """Pool the estimates of imputed data sets by Rubin's rules with Barnard and Rubin's degrees of freedom.

    Parameters
    ----------
    estimates, std_errors : array-like of shape (m,)
        Of each of at least two imputed data sets; for ratios on the log scale.
    complete_degrees : float
        Degrees of freedom there would be without missing values.

    Returns
    -------
    Pooled

    Raises
    ------
    InputError
        If there are fewer than two data sets.

    References
    ----------
    Rubin, Multiple Imputation for Nonresponse in Surveys, 1987, doi 10.1002/9780470316696. Barnard and Rubin,
    Biometrika 1999;86:948, doi 10.1093/biomet/86.4.948.

    Examples
    --------
    >>> pooled = pool([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    >>> pooled.estimate, round(pooled.std_error**2, 4), round(pooled.degrees, 3)
    (2.0, 2.3333, 6.125)
    """
    values = as_values("estimates", estimates, np.size(estimates))
    variances = as_values("std_errors", std_errors, values.size, lowest=0) ** 2
    m = values.size
    if m < 2:
        raise InputError("imputations: expected at least two; fewer came. Ask for 20.")
    between = (1 + 1 / m) * float(values.var(ddof=1))
    total = float(variances.mean()) + between
    share = between / total
    parts = []
    if share > 0:
        parts.append(share**2 / (m - 1))
    if np.isfinite(complete_degrees):
        parts.append((complete_degrees + 3) / ((complete_degrees + 1) * complete_degrees * (1 - share)))
    degrees = 1 / sum(parts) if parts else np.inf
    return Pooled(float(values.mean()), float(np.sqrt(total)), float(degrees), share)


def impute(table: pd.DataFrame, generator: np.random.Generator, *, imputations: int = 20) -> list[pd.DataFrame]:
    """Return copies of a table with missing values filled in by chained equations.

    Each incomplete column in turn is drawn from a normal linear regression on all others, with the uncertainty of its
    coefficients and of its residual variance. Each imputation is a chain of its own.

    Parameters
    ----------
    table : DataFrame of shape (n, k)
        Numeric columns, about normal given the others: counts as logarithms.
    generator : numpy.random.Generator
    imputations : int

    Returns
    -------
    list of DataFrame of shape (n, k)

    Raises
    ------
    InputError
        If a column has fewer known values than a linear model of the others needs.

    References
    ----------
    Rubin, Multiple Imputation for Nonresponse in Surveys, 1987, doi 10.1002/9780470316696, example 5.1 (the draw). van
    Buuren and Groothuis-Oudshoorn, J Stat Softw 2011;45:3, doi 10.18637/jss.v045.i03 (chained equations).

    Examples
    --------
    >>> x = np.arange(20.0)
    >>> table = pd.DataFrame({"before": x, "after": np.where(x == 3, np.nan, 2 * x + np.sin(x))})
    >>> filled = impute(table, np.random.default_rng(1), imputations=2)
    >>> len(filled), int(filled[0].isna().sum().sum())
    (2, 0)
    """
    needed = table.shape[1] + _SPARE
    if scarce := [str(name) for name in table if table[name].notna().sum() < needed]:
        raise InputError(
            f"imputation: column {scarce[0]!r} has fewer than {needed} known values, too few to impute from. "
            "Leave it out or use fewer columns."
        )
    values = table.to_numpy(dtype=float)
    chains = [_chain(values, generator) for _ in range(imputations)]
    return [pd.DataFrame(filled, index=table.index, columns=table.columns) for filled in chains]


def imputed_final_ratio(
    final: ArrayLike,
    baseline: ArrayLike,
    treatment: ArrayLike,
    generator: np.random.Generator,
    *,
    endpoint: str,
    auxiliary: pd.DataFrame | None = None,
    covariates: pd.DataFrame | None = None,
    imputations: int = 20,
    level: float = 0.95,
) -> EndpointResult:
    """Compare the arms' final counts as `final_ratio` does, with missing ones imputed.

    Logarithms are imputed in each arm separately from baseline, covariates and auxiliary variables. Final counts are
    taken to be missing at random given these.

    Parameters
    ----------
    final, baseline, treatment, endpoint, covariates, level
        As for `final_ratio.final_ratio`.
    generator : numpy.random.Generator
    auxiliary : DataFrame of shape (n, k), optional
        Numbers that predict the final count but are not adjusted for, such as log counts at earlier visits; may be
        missing.
    imputations : int

    Returns
    -------
    EndpointResult
        Scale ratio; `n` counts all patients.

    Raises
    ------
    InputError
        As `final_ratio.final_ratio`, or if auxiliary variables are no numbers or too few values are known to impute
        from.

    References
    ----------
    As for `pool` and `impute`; Sullivan et al., Stat Methods Med Res 2018;27:2610, doi 10.1177/0962280216683570
    (imputation by arm).

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> before, arm = rng.lognormal(-0.5, 0.4, 60), np.arange(60) % 2
    >>> after = np.where(rng.random(60) < 0.1, np.nan, before * np.exp(0.5 + 0.4 * arm + rng.normal(0, 0.1, 60)))
    >>> result = imputed_final_ratio(after, before, arm, rng, endpoint="lymphocytes", imputations=5)
    >>> round(result.estimate, 1), result.n
    (1.5, 60)
    """
    treated = as_treated(treatment)
    n = treated.size
    logs = pd.DataFrame(
        {
            "final": as_logarithms(endpoint, as_values(endpoint, final, n, missing=True)),
            "baseline": as_logarithms("baseline", as_values("baseline", baseline, n, missing=True)),
        }
    )
    adjusted = pd.DataFrame(adjustment_matrix(covariates, n)).add_prefix("covariate")
    others = {} if auxiliary is None else {str(name): auxiliary[name] for name in auxiliary}
    further = {f"auxiliary {name}": as_values(name, column, n, missing=True) for name, column in others.items()}
    table = pd.concat([logs, adjusted, pd.DataFrame(further, index=range(n))], axis=1)
    arms = [impute(table[arm], generator, imputations=imputations) for arm in (~treated, treated)]
    estimates, errors, degrees = [], [], np.inf
    for parts in zip(*arms, strict=True):
        whole = pd.concat(parts).sort_index()
        design = np.column_stack([np.ones(n), treated, whole[["baseline", *adjusted.columns]]])
        coefficients, covariance, degrees = least_squares(endpoint, whole["final"].to_numpy(), design)
        estimates.append(coefficients[1])
        errors.append(np.sqrt(covariance[1, 1]))
    pooled = pool(estimates, errors, degrees)
    method = f"ANCOVA of logarithms, HC3, {imputations} imputations"
    return wald(endpoint, method, "ratio", pooled.estimate, pooled.std_error, n, degrees=pooled.degrees, level=level)


def _chain(values: Floats, generator: np.random.Generator) -> Floats:
    """Return the values with the missing ones drawn column by column, cycle after cycle."""
    seen = ~np.isnan(values)
    filled = np.where(seen, values, np.nanmean(values, axis=0))
    order = np.argsort((~seen).sum(axis=0), kind="stable")
    incomplete = [column for column in order if not seen[:, column].all()]
    for _ in range(_CYCLES):
        for column in incomplete:
            known = seen[:, column]
            others = np.delete(filled, column, axis=1)
            filled[~known, column] = _draw(values[known, column], others[known], others[~known], generator)
    return filled


def _draw(y: Floats, x: Floats, x_missing: Floats, generator: np.random.Generator) -> Floats:
    """Return a draw of the missing values from the posterior predictive distribution of a normal linear regression."""
    # A column that is constant where y is known, such as a site, becomes 0 there and gets no coefficient.
    centre, spread = x.mean(axis=0), np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), 1.0)
    design, design_missing = (np.column_stack([np.ones(len(z)), (z - centre) / spread]) for z in (x, x_missing))
    left, singular, right = np.linalg.svd(design, full_matrices=False)
    kept = singular > 1e-8 * singular[0]
    left = left[:, kept]
    along = left.T @ y
    residual = y - left @ along
    scale = np.sqrt(residual @ residual / generator.chisquare(y.size - along.size))
    along = along + scale * generator.normal(size=along.size)
    mean = design_missing @ (right[kept].T / singular[kept]) @ along
    return np.asarray(mean + scale * generator.normal(size=mean.size))
