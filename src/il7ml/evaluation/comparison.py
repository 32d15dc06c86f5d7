"""Two models on the same patients: paired differences in performance with their intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from il7ml.errors import InputError
from il7ml.evaluation.checks import as_numbers, check_level
from il7ml.evaluation.influence import Estimate, auroc, average, mean, net_benefit, root_mean_squared_error
from il7ml.evaluation.outcome import Outcome, as_outcome, as_repeats
from il7ml.family import FAMILIES, Kind

Floats = NDArray[np.float64]

_HIGHER_IS_BETTER = ("auroc", "net_benefit")


def compare_models(
    y: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    kind: Kind,
    *,
    thresholds: ArrayLike = (),
    weight: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare two models' out-of-fold predictions for the same patients.

    Standard errors come from the patients' influences on both measures, so that what the models have in common cancels;
    for the area under the ROC curve this is DeLong's test. With repeats the measures and influences are averaged.
    Predictions are taken as they are: the interval shows the uncertainty of the assessment, not that of fitting.
    It does not hold for predictions of the patients that a model was fitted to.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome; may be NaN where `weight` is 0.
    first, second : array-like of shape (n,) or (repeats, n)
        Risk, rate per unit of exposure, or mean; the numbers of repeats may differ.
    kind : {'binary', 'count', 'continuous'}
    thresholds : array-like of shape (t,)
        Risks at which one would treat, strictly between 0 and 1, for the net benefit of a binary outcome.
    weight : array-like of shape (n,), optional
        Inverse probability that the outcome is observed, taken as known.
    exposure : array-like of shape (n,), optional
        Time at risk, for counts.
    level : float
        Confidence level.

    Returns
    -------
    DataFrame
        Columns metric, threshold (NaN except for net_benefit), first, second, difference (first minus second),
        std_error, low, high, p_value, higher_is_better. Metrics: auroc, brier, log_loss and net_benefit; or
        poisson_deviance; or rmse.

    Raises
    ------
    InputError
        If the arrays do not fit together, or a threshold is not strictly between 0 and 1.

    References
    ----------
    DeLong et al., Biometrics 1988;44:837, doi 10.2307/2531595.

    Examples
    --------
    >>> table = compare_models([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], [0.4, 0.3, 0.2, 0.6], "binary")
    >>> table[["metric", "first", "second", "difference"]].values.tolist()[0]
    ['auroc', 0.75, 0.5, 0.25]
    """
    outcome = as_outcome(y, kind, weight, exposure)
    check_level(level)
    cuts = np.unique(as_numbers(thresholds, "thresholds"))
    if cuts.size and (kind != "binary" or not ((cuts > 0) & (cuts < 1)).all()):
        raise InputError(
            "thresholds: expected risks strictly between 0 and 1, and only for a binary outcome. "
            "Give such as 0.1, 0.2, 0.3, or none."
        )
    measures = [
        _measures(kind, outcome, as_repeats(predicted, outcome.y.size, name, kind), cuts)
        for name, predicted in (("first", first), ("second", second))
    ]
    rows = []
    for (metric, threshold, one), (_, _, other) in zip(*measures, strict=True):
        difference = Estimate(one.value - other.value, one.influence - other.influence)
        error = difference.std_error
        p_value = 2 * float(ndtr(-abs(difference.value) / error)) if error > 0 else np.nan
        rows.append(
            (
                metric,
                threshold,
                one.value,
                other.value,
                difference.value,
                error,
                *difference.interval(level),
                p_value,
                metric in _HIGHER_IS_BETTER,
            )
        )
    columns = ["metric", "threshold", "first", "second", "difference", "std_error", "low", "high", "p_value"]
    return pd.DataFrame(rows, columns=[*columns, "higher_is_better"])


def _measures(kind: Kind, outcome: Outcome, repeats: Floats, cuts: Floats) -> list[tuple[str, float, Estimate]]:
    """Return name, threshold and value of each measure, averaged over repeats."""
    loss = FAMILIES[kind].loss
    if kind == "count":
        deviance = [mean(2 * loss(outcome.y, rate, outcome.exposure), outcome.weight) for rate in repeats]
        return [("poisson_deviance", np.nan, average(deviance))]
    if kind == "continuous":
        return [("rmse", np.nan, average([root_mean_squared_error(outcome, predicted) for predicted in repeats]))]
    benefits = [
        ("net_benefit", cut, average([net_benefit(outcome, risk, cut) for risk in repeats])) for cut in cuts.tolist()
    ]
    return [
        ("auroc", np.nan, average([auroc(outcome, risk) for risk in repeats])),
        ("brier", np.nan, average([mean((outcome.y - risk) ** 2, outcome.weight) for risk in repeats])),
        ("log_loss", np.nan, average([mean(loss(outcome.y, risk), outcome.weight) for risk in repeats])),
        *benefits,
    ]
