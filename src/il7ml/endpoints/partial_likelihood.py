"""Cox's partial likelihood over (start, stop] intervals, with ties by Efron's method, strata and score residuals.

statsmodels counts the day of entry in the risk set and has no score residuals for intervals, which recurrent events
need; so this one small fit serves both Cox and Andersen-Gill models.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from il7ml.errors import InputError

Floats = NDArray[np.float64]
Whole = NDArray[np.intp]

_ITERATIONS = 50
_TOLERANCE = 1e-9
_LARGEST = 30.0  # a coefficient beyond this, with columns scaled, is one on its way to infinity


class PartialLikelihoodFit(NamedTuple):
    """A fitted proportional hazards model.

    Attributes
    ----------
    coefficients : ndarray of shape (p,)
    covariance : ndarray of shape (p, p)
        Inverse of the observed information.
    score_residuals : ndarray of shape (n, p)
        Each interval's share of the score; times `covariance` they are the influence on the coefficients.
    log_likelihood : float
    """

    coefficients: Floats
    covariance: Floats
    score_residuals: Floats
    log_likelihood: float


class _Intervals(NamedTuple):
    """The rows of one stratum and where they lie among its event times."""

    rows: Whole
    x: Floats
    event: Floats
    first: Whole  # position of the first event time after the start
    after: Whole  # position after the last event time up to the stop
    tied: Whole  # event time of each event, in order
    fraction: Floats  # Efron's share of the tied events that have left the risk set before this one
    times: int


class _Evaluation(NamedTuple):
    log_likelihood: float
    score: Floats
    information: Floats
    residuals: Floats


def fit_partial_likelihood(
    x: Floats, stop: Floats, event: Floats, start: Floats | None = None, strata: Whole | None = None
) -> PartialLikelihoodFit:
    """Maximise Efron's partial likelihood by Newton's method.

    Parameters
    ----------
    x : ndarray of shape (n, p)
        Covariates of each interval.
    stop, event : ndarray of shape (n,)
        End of each interval and whether an event happened there.
    start : ndarray of shape (n,), optional
        Beginning; at risk from just after it. None: from the outset.
    strata : ndarray of int of shape (n,), optional

    Returns
    -------
    PartialLikelihoodFit

    Raises
    ------
    InputError
        If a coefficient is not estimable.

    References
    ----------
    Cox, J R Stat Soc B 1972;34:187, doi 10.1111/j.2517-6161.1972.tb00899.x. Efron, J Am Stat Assoc 1977;72:557, doi
    10.1080/01621459.1977.10480613. Lin and Wei, J Am Stat Assoc 1989;84:1074, doi 10.1080/01621459.1989.10478874 (score
    residuals).

    Examples
    --------
    >>> x, stop, event = np.array([[0.0], [1.0], [0.0]]), np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 0.0])
    >>> float(fit_partial_likelihood(x, stop, event).coefficients[0].round(4))  # log of 2 ** 0.5
    0.3466
    """
    centre, spread = x.mean(axis=0), x.std(axis=0)
    if not (spread > 0).all():
        raise InputError("a covariate of the Cox model is the same for all patients. Leave it out.")
    strata = np.zeros(stop.size, dtype=np.intp) if strata is None else strata
    start = np.full(stop.size, -np.inf) if start is None else start
    parts = [
        _intervals(rows, (x[rows] - centre) / spread, start[rows], stop[rows], event[rows])
        for rows in (np.flatnonzero(strata == stratum) for stratum in np.unique(strata))
        if event[rows].any()
    ]
    beta, now = _maximise(parts, x.shape[1], stop.size)
    covariance = np.linalg.inv(now.information) / np.outer(spread, spread)
    return PartialLikelihoodFit(beta / spread, covariance, now.residuals * spread, now.log_likelihood)


def _maximise(parts: list[_Intervals], p: int, n: int) -> tuple[Floats, _Evaluation]:
    beta = np.zeros(p)
    now = _evaluate(parts, beta, n)
    # On a coefficient's way to infinity, sums over risk sets come down to rounding: such a step is halved like others.
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(_ITERATIONS):
            full = step = np.linalg.lstsq(now.information, now.score, rcond=None)[0]
            new = _evaluate(parts, beta + step, n)
            while not _is_no_worse(new, now) and np.abs(step).max() > _TOLERANCE:
                step = step / 2
                new = _evaluate(parts, beta + step, n)
            if not _is_no_worse(new, now):
                break
            beta, now = beta + step, new
            if np.abs(step).max() < _TOLERANCE or np.abs(beta).max() > _LARGEST:
                break
    # At the maximum it is Newton's own step that is small, not one halved until it was.
    if not np.abs(full).max() < 1e-5 or np.linalg.cond(now.information) > 1e10:
        raise InputError(
            "a coefficient of the Cox model is not estimable: one value of a covariate has no events, or covariates "
            "say the same. Leave it out or merge its levels."
        )
    return beta, now


def _is_no_worse(new: _Evaluation, old: _Evaluation) -> bool:
    return bool(new.log_likelihood >= old.log_likelihood - _TOLERANCE and np.isfinite(new.information).all())


def _intervals(rows: Whole, x: Floats, start: Floats, stop: Floats, event: Floats) -> _Intervals:
    times, tied = np.unique(stop[event > 0], return_inverse=True)
    tied = np.sort(tied)
    deaths = np.bincount(tied)
    order = np.arange(tied.size) - np.repeat(np.cumsum(deaths) - deaths, deaths)
    return _Intervals(
        rows=rows,
        x=x,
        event=event,
        first=np.searchsorted(times, start, side="right"),
        after=np.searchsorted(times, stop, side="right"),
        tied=tied,
        fraction=order / deaths[tied],
        times=times.size,
    )


def _evaluate(parts: list[_Intervals], beta: Floats, n: int) -> _Evaluation:
    """Return log-likelihood, score, information and score residuals, summed over strata."""
    total = _Evaluation(0.0, np.zeros(beta.size), np.zeros((beta.size, beta.size)), np.zeros((n, beta.size)))
    for part in parts:
        one = _evaluate_stratum(part, beta)
        total.residuals[part.rows] = one.residuals
        total = _Evaluation(
            total.log_likelihood + one.log_likelihood,
            total.score + one.score,
            total.information + one.information,
            total.residuals,
        )
    return total


def _evaluate_stratum(part: _Intervals, beta: Floats) -> _Evaluation:
    x, died = part.x, part.event > 0
    eta = x @ beta
    risk = np.exp(eta - eta.max())
    # Weight, weighted covariates and their products, in one table so that each is summed over risk sets once.
    p = beta.size
    moments = risk[:, None] * np.column_stack(
        [np.ones(risk.size), x, (x[:, :, None] * x[:, None, :]).reshape(-1, p * p)]
    )
    at_risk = _sum_over_risk_sets(moments, part)
    dying = _sum_by(part.after[died] - 1, moments[died], part.times)
    sums = at_risk[part.tied] - part.fraction[:, None] * dying[part.tied]
    mean = sums[:, 1 : p + 1] / sums[:, :1]
    information = (sums[:, p + 1 :] / sums[:, :1]).sum(axis=0).reshape(p, p) - mean.T @ mean
    log_likelihood = float(eta[died].sum() - (np.log(sums[:, 0]) + eta.max()).sum())
    residuals = _score_residuals(part, risk, mean, 1 / sums[:, 0])
    return _Evaluation(log_likelihood, x[died].sum(axis=0) - mean.sum(axis=0), information, residuals)


def _score_residuals(part: _Intervals, risk: Floats, mean: Floats, hazard: Floats) -> Floats:
    """Return observed minus expected covariates of each interval, the latter by Efron's increments of the hazard."""
    x, died, p = part.x, part.event > 0, mean.shape[1]
    increments = hazard[:, None] * np.column_stack([np.ones(hazard.size), mean])
    by_time = _sum_by(part.tied, increments, part.times)
    cumulative = np.vstack([np.zeros(p + 1), np.cumsum(by_time, axis=0)])
    spell = cumulative[part.after] - cumulative[part.first]
    # An event leaves the risk set of the events tied with it by their share.
    own = part.after[died] - 1
    spell[died] -= _sum_by(part.tied, part.fraction[:, None] * increments, part.times)[own]
    residuals = -risk[:, None] * (x * spell[:, :1] - spell[:, 1:])
    deaths = np.bincount(part.tied, minlength=part.times)
    residuals[died] += x[died] - (_sum_by(part.tied, mean, part.times) / deaths[:, None])[own]
    return np.asarray(residuals)


def _sum_over_risk_sets(values: Floats, part: _Intervals) -> Floats:
    """Return the sum of `values` over the intervals at risk at each event time."""
    entering = _sum_by(part.first, values, part.times + 1)
    leaving = _sum_by(part.after, values, part.times + 1)
    return np.asarray(np.cumsum(entering - leaving, axis=0)[:-1])


def _sum_by(position: Whole, values: Floats, length: int) -> Floats:
    return np.column_stack([np.bincount(position, weights=column, minlength=length) for column in values.T])
