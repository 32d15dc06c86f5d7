"""Performance by groups of patients, such as sex, age, site and ventilation; small groups are hidden."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from il7ml.errors import InputError
from il7ml.evaluation.checks import as_numbers, check_level
from il7ml.evaluation.influence import (
    Estimate,
    Scale,
    auroc,
    average,
    mean,
    observed_expected,
    root_mean_squared_error,
)
from il7ml.evaluation.outcome import Outcome, as_outcome, as_repeats
from il7ml.family import FAMILIES, Kind

Floats = NDArray[np.float64]

#: Groups of fewer patients are hidden: their figures say little and may point to a patient.
SMALLEST_GROUP = 10

ALL, MISSING = "all", "missing"

#: Measures of each kind of outcome, with the scale of their intervals.
_SCALES: dict[Kind, dict[str, Scale]] = {
    "binary": {"auroc": "logit", "brier": "identity", "observed_expected": "log"},
    "count": {"poisson_deviance": "identity", "observed_expected": "log"},
    "continuous": {"rmse": "identity", "observed_minus_predicted": "identity"},
}


def performance_by_group(
    y: ArrayLike,
    predicted: ArrayLike,
    groups: Mapping[str, ArrayLike],
    kind: Kind,
    *,
    weight: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Measure out-of-fold predictions in groups of patients.

    Groups differ by chance, the more so the more of them there are: the intervals are not adjusted for their number.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome; may be NaN where `weight` is 0. Such patients are not counted.
    predicted : array-like of shape (n,) or (repeats, n)
        Risk, rate per unit of exposure, or mean.
    groups : mapping of str to array-like of shape (n,)
        Labels by characteristic; a missing label makes the group 'missing'. See `age_groups` for numbers.
    kind : {'binary', 'count', 'continuous'}
    weight : array-like of shape (n,), optional
        Inverse probability that the outcome is observed.
    exposure : array-like of shape (n,), optional
        Time at risk, for counts.
    level : float
        Confidence level.

    Returns
    -------
    DataFrame
        Columns characteristic, group, n, events, metric, estimate, low, high, hidden. The first rows are those of all
        patients. Metrics: auroc (interval on the logit scale), brier, observed_expected (log scale); or
        poisson_deviance, observed_expected; or rmse, observed_minus_predicted (then events is NaN). A group of fewer
        than 10 patients is hidden: it has its name and no number. A limit is NaN where the measure has none, such as
        O:E without events.

    Raises
    ------
    InputError
        If the arrays do not fit together.

    References
    ----------
    DeLong et al., Biometrics 1988;44:837, doi 10.2307/2531595. Collins et al., TRIPOD+AI, BMJ 2024;385:e078378,
    doi 10.1136/bmj-2023-078378 (fairness: performance in subgroups).

    Examples
    --------
    >>> import numpy as np
    >>> y, risk = np.tile([0, 0, 1, 0], 10), np.tile([0.1, 0.3, 0.6, 0.2], 10)
    >>> sex = np.repeat(["female", "male"], [36, 4])
    >>> table = performance_by_group(y, risk, {"sex": sex}, "binary")
    >>> table[table["metric"] == "brier"][["group", "n", "hidden"]].values.tolist()
    [['all', 40.0, False], ['female', 36.0, False], ['male', nan, True]]
    """
    outcome = as_outcome(y, kind, weight, exposure)
    repeats = as_repeats(predicted, outcome.y.size, kind=kind)
    check_level(level)
    known = outcome.weight > 0
    outcome, repeats = Outcome(*(array[known] for array in outcome)), repeats[:, known]
    rows = _rows(ALL, ALL, kind, outcome, repeats, level)
    for characteristic, labels in groups.items():
        column = pd.Series(labels)
        if column.size != known.size:
            raise InputError(
                f"groups: {characteristic} has {column.size} labels for {known.size} patients. Pass one a patient."
            )
        for name, members in _members(column[known]).items():
            part = Outcome(*(array[members] for array in outcome))
            rows += _rows(characteristic, name, kind, part, repeats[:, members], level)
    columns = ["characteristic", "group", "n", "events", "metric", "estimate", "low", "high", "hidden"]
    return pd.DataFrame(rows, columns=columns)


def age_groups(age: ArrayLike, limits: tuple[float, ...] = (50.0, 65.0, 80.0)) -> pd.Categorical:
    """Return each patient's age group; a limit belongs to the older group.

    Parameters
    ----------
    age : array-like of shape (n,)
        In years; a missing age has no group.
    limits : tuple of float
        Rising.

    Returns
    -------
    Categorical of shape (n,)
        Ordered from young to old.

    Examples
    --------
    >>> list(age_groups([50, 91, 49.9]))
    ['50 to under 65', '80 and over', 'under 50']
    """
    between = [f"{low:g} to under {high:g}" for low, high in pairwise(limits)]
    names = [f"under {limits[0]:g}", *between, f"{limits[-1]:g} and over"]
    years = as_numbers(age, "age")
    if years.ndim != 1:
        raise InputError(f"age: expected one number a patient, got shape {years.shape}. Pass a single column.")
    group = np.where(np.isnan(years), -1, np.searchsorted(limits, years, side="right"))
    return pd.Categorical(np.array([*names, None], dtype=object)[group], categories=names, ordered=True)


def _members(labels: pd.Series) -> dict[str, NDArray[np.bool_]]:
    """Return who belongs to each group: categories in their order, other labels sorted, patients without one last."""
    missing = labels.isna()
    known = labels[~missing]
    names = list(known.cat.categories) if isinstance(labels.dtype, pd.CategoricalDtype) else sorted(known.unique())
    found = {str(name): np.asarray(labels == name) for name in names if (known == name).any()}
    return found | ({MISSING: missing.to_numpy()} if missing.any() else {})


def _rows(
    characteristic: str, group: str, kind: Kind, outcome: Outcome, repeats: Floats, level: float
) -> list[tuple[object, ...]]:
    n = outcome.y.size
    if n < SMALLEST_GROUP:
        empty = (np.nan, np.nan, np.nan)
        return [(characteristic, group, np.nan, np.nan, metric, *empty, True) for metric in _SCALES[kind]]
    events = np.nan if kind == "continuous" else float(outcome.y.sum())
    measures = zip(_SCALES[kind].items(), _measures(kind, outcome, repeats), strict=True)
    return [
        (characteristic, group, n, events, metric, one.value, *one.interval(level, scale), False)
        for (metric, scale), one in measures
    ]


def _measures(kind: Kind, outcome: Outcome, repeats: Floats) -> list[Estimate]:
    """Return each measure of `_SCALES`, averaged over repeats."""
    return [average(column) for column in zip(*(_once(kind, outcome, values) for values in repeats), strict=True)]


def _once(kind: Kind, outcome: Outcome, predicted: Floats) -> list[Estimate]:
    y, weight, exposure = outcome
    if kind == "binary":
        brier = mean((y - predicted) ** 2, weight)
        return [auroc(outcome, predicted), brier, observed_expected(outcome, predicted)]
    if kind == "count":
        deviance = mean(2 * FAMILIES["count"].loss(y, predicted, exposure), weight)
        return [deviance, observed_expected(outcome, predicted)]
    return [root_mean_squared_error(outcome, predicted), mean(y - predicted, weight)]
