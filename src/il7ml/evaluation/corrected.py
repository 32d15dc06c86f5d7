"""Figures of a model's performance in new patients of the same kind, side by side, and the one to report.

A model looks better in the patients it was fitted to than it is. Four ways to correct for that stand in one table:
Harrell's optimism bootstrap, the out-of-bag bootstrap (bootstrap cross-validation), the .632+ bootstrap and repeated
cross-validation. The last one is reported: Harrell's correction fails for learners that follow their training data
closely, the out-of-bag figure is that of a model of fewer patients, and .632+ mixes the apparent figure back in.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.errors import InputError
from il7ml.evaluation.outcome import Outcome, as_outcome, as_repeats
from il7ml.evaluation.resampling import percentile_interval, resampling_counts
from il7ml.evaluation.risk import NAMES, Metrics, _metrics
from il7ml.family import Kind

Floats = NDArray[np.float64]

# Permutations behind the figure of a model that knows nothing; its error is then a fifth of a single one's.
_PERMUTATIONS = 25
# Between the luck of who judges a model and of who taught it; 0.3 to 0.55 was measured (docs/risk.md).
_CORRELATION = 0.5
#: Where a metric ends: a limit beyond it is moved there.
_RANGES = {
    "auroc": (0.0, 1.0),
    "brier": (0.0, 1.0),
    "scaled_brier": (-np.inf, 1.0),
    "log_loss": (0.0, np.inf),
    "poisson_deviance": (0.0, np.inf),
    "scaled_deviance": (-np.inf, 1.0),
    "crps": (0.0, np.inf),
    "rmse": (0.0, np.inf),
    "r2": (-np.inf, 1.0),
}


def corrected_metrics(
    y: ArrayLike,
    kind: Kind,
    *,
    apparent: ArrayLike,
    refits: ArrayLike,
    counts: ArrayLike,
    out_of_fold: ArrayLike,
    chosen_refits: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
    bootstrap: int = 1000,
    level: float = 0.95,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return apparent and corrected performance of one model, with an interval for its performance in new patients.

    The reported figure is the mean over repeats of cross-validation. Its interval is the percentile bootstrap over
    patients, who keep their out-of-fold predictions, stretched for what that leaves out: other patients would have
    given another model. With s the standard deviation of the bootstrap and r that of the refits' performance in the
    original patients, it is stretched by sqrt(s^2 + s r + r^2) / s. The middle term stands for a correlation of 1/2:
    the patients that make a model look good when it is judged on them also taught it well.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome; may be NaN where `weight` is 0.
    kind : {'binary', 'count', 'continuous'}
    apparent : array-like of shape (n,)
        Predictions of the model fitted to all patients.
    refits : array-like of shape (b, n)
        Predictions for all patients of models fitted to bootstrap samples, all modelling steps repeated.
    counts : array-like of shape (b, n)
        How often each patient is in each bootstrap sample.
    out_of_fold : array-like of shape (repeats, n)
        Predictions by models fitted without the patient's fold.
    chosen_refits : array-like of shape (b, n), optional
        Where `refits` choose among models anew: refits of the one that was chosen. The interval is for that model's
        performance, so r is theirs; those of `refits` also spread by which model others would have got.
    weight, exposure : array-like of shape (n,), optional
        As in `risk_metrics`.
    bootstrap : int
        Resamples of patients; they cost no fits.
    level : float
        Confidence level.
    rng : Generator

    Returns
    -------
    DataFrame
        A row a metric of `risk_metrics`: metric; estimate, low, high (the figure to report); apparent; harrell,
        harrell_low, harrell_high (optimism bootstrap, location-shifted bootstrap interval); out_of_bag; point_632_plus.

    Raises
    ------
    InputError
        If the arrays do not fit together (see `as_outcome`, `as_repeats`), or there are fewer than two refits.

    References
    ----------
    Harrell, Lee and Mark, Stat Med 1996;15:361, doi 10.1002/(SICI)1097-0258(19960229)15:4<361::AID-SIM168>3.0.CO;2-4.
    Efron and Tibshirani, JASA 1997;92:548, doi 10.1080/01621459.1997.10474007 (.632+). Noma et al., Stat Med
    2021;40:5691, doi 10.1002/sim.9148 (location-shifted bootstrap; intervals must allow for the model's own
    variation). Bates, Hastie and Tibshirani, JASA 2024;119:1434,
    doi 10.1080/01621459.2023.2197686 (intervals from cross-validation alone are too short).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x, y = np.linspace(-1, 1, 80), np.tile([0, 1], 40)
    >>> counts = np.array([np.bincount(rng.integers(0, 80, 80), minlength=80) for _ in range(10)])
    >>> risk = np.full((10, 80), 0.5) + 0.3 * x
    >>> table = corrected_metrics(
    ...     y, "binary", apparent=risk[0], refits=risk, counts=counts, out_of_fold=risk[:3], bootstrap=100, rng=rng
    ... )
    >>> table.set_index("metric").loc["auroc", ["apparent", "estimate"]].astype(float).round(4).tolist()
    [0.5125, 0.5125]
    """
    outcome = as_outcome(y, kind, weight, exposure)
    n = outcome.y.size
    whole, drawn = as_repeats(apparent, n, "apparent", kind)[0], as_repeats(counts, n, "counts", "count")
    models, folded = as_repeats(refits, n, "refits", kind), as_repeats(out_of_fold, n, "out_of_fold", kind)
    if len(models) != len(drawn) or len(models) < 2:
        raise InputError(
            f"refits: expected at least two, each with its counts, got {len(models)} and {len(drawn)} rows of counts. "
            "Pass the bootstrap samples that the refits were fitted to."
        )
    of_all = _on(_metrics(kind, outcome, whole), outcome.weight)
    alike = models if chosen_refits is None else as_repeats(chosen_refits, n, "chosen_refits", kind)
    if len(alike) < 2:
        raise InputError("chosen_refits: expected at least two, got one. Pass those of all bootstrap samples.")
    measured = [_metrics(kind, outcome, model) for model in models]
    test = np.array([_on(metrics, outcome.weight) for metrics in measured])
    pairs = list(zip(measured, drawn, strict=True))
    bag = np.array([_on(metrics, outcome.weight * times) for metrics, times in pairs])
    # With a handful of patients a bootstrap sample can leave nobody out.
    left_out = [(metrics, outcome.weight * (times == 0)) for metrics, times in pairs]
    out_of_bag = _mean(np.array([_on(metrics, weights) for metrics, weights in left_out if weights.any()]))
    optimism = _mean(bag - test)
    learned = _spread(np.array([_on(_metrics(kind, outcome, model), outcome.weight) for model in alike]))
    estimate, low, high = _cross_validated(kind, outcome, folded, learned, bootstrap, level, rng)
    harrell_low, harrell_high = percentile_interval(bag, level) - optimism
    return pd.DataFrame(
        {
            "metric": NAMES[kind],
            "estimate": estimate,
            "low": low,
            "high": high,
            "apparent": of_all,
            "harrell": of_all - optimism,
            "harrell_low": harrell_low,
            "harrell_high": harrell_high,
            "out_of_bag": out_of_bag,
            "point_632_plus": point_632_plus(of_all, out_of_bag, _uninformed(kind, outcome, whole, rng)),
        }
    )


def point_632_plus(apparent: ArrayLike, out_of_bag: ArrayLike, uninformed: ArrayLike) -> Floats:
    """Return the .632+ bootstrap figure: the more a model overfits, the less its apparent figure counts.

    Parameters
    ----------
    apparent, out_of_bag : array-like of shape (k,)
        Performance in the patients that the model was fitted to, and in those that it was not.
    uninformed : array-like of shape (k,)
        Performance where outcome and prediction have nothing to do with each other.

    References
    ----------
    Efron and Tibshirani, JASA 1997;92:548, doi 10.1080/01621459.1997.10474007.

    Examples
    --------
    A model that learned nothing but noise, and one that does not overfit:

    >>> point_632_plus([1.0, 0.8], [0.5, 0.8], [0.5, 0.5]).tolist()
    [0.5, 0.8]
    """
    apparent, out_of_bag, uninformed = (np.asarray(part, dtype=float) for part in (apparent, out_of_bag, uninformed))
    with np.errstate(divide="ignore", invalid="ignore"):
        overfitting = (apparent - out_of_bag) / (apparent - uninformed)
    # Below 0 the model did better out of the bag; above 1 it did worse than one that knows nothing.
    bounded = np.where(overfitting > 1, uninformed, out_of_bag)
    share = 0.632 / (1 - 0.368 * np.clip(np.nan_to_num(overfitting), 0, 1))
    return np.asarray((1 - share) * apparent + share * bounded)


def _cross_validated(
    kind: Kind,
    outcome: Outcome,
    folded: Floats,
    learned: Floats,
    bootstrap: int,
    level: float,
    rng: np.random.Generator,
) -> tuple[Floats, Floats, Floats]:
    """Return the mean over repeats with its stretched limits, each of shape (metrics,)."""
    repeats = [_metrics(kind, outcome, predicted) for predicted in folded]

    def average(weights: Floats) -> Floats:
        return np.asarray(np.mean([metrics(weights) for metrics in repeats], axis=0))

    estimate = average(outcome.weight[None])[0]
    blocks = resampling_counts(outcome.y.size, bootstrap, rng)
    judged = np.vstack([average(times * outcome.weight) for times in blocks])
    stretch = _stretch(_spread(judged), learned)
    low, high = estimate + stretch * (percentile_interval(judged, level) - estimate)
    bounds = np.array([_RANGES.get(name, (-np.inf, np.inf)) for name in NAMES[kind]]).T
    return estimate, np.clip(low, *bounds), np.clip(high, *bounds)


def _stretch(judged: Floats, learned: Floats) -> Floats:
    """Return the standard deviation of the sum of both parts as a multiple of the first; 1 where that is 0."""
    ratio = np.divide(learned, judged, out=np.zeros_like(judged), where=judged > 0)
    return np.asarray(np.sqrt(1 + 2 * _CORRELATION * ratio + ratio**2))


def _uninformed(kind: Kind, outcome: Outcome, predicted: Floats, rng: np.random.Generator) -> Floats:
    """Return the performance of predictions that were dealt to the patients at random."""
    dealt = [_metrics(kind, outcome, rng.permutation(predicted)) for _ in range(_PERMUTATIONS)]
    return _mean(np.array([_on(metrics, outcome.weight) for metrics in dealt]))


def _on(metrics: Metrics, weights: Floats) -> Floats:
    """Return the metrics under one weighting."""
    return np.asarray(metrics(weights[None])[0])


def _mean(values: Floats) -> Floats:
    """Return the mean of each column's finite values; NaN where there are none."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(finite, values, 0.0).sum(axis=0) / finite.sum(axis=0))


def _spread(values: Floats) -> Floats:
    """Return the standard deviation of each column's finite values; 0 where there are none."""
    squares = (values - _mean(values)) ** 2
    return np.sqrt(np.nan_to_num(_mean(squares)))
