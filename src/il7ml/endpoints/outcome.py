"""The one shape in which any endpoint reaches the learners: a value a patient, a weight where some are unknown."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from il7ml.data.cohort import Cohort, Observed
from il7ml.data.study import CountEndpoint, TimeToEventEndpoint
from il7ml.errors import InputError
from il7ml.family import Kind

Floats = NDArray[np.float64]

_SMALLEST_OBSERVED = 0.05  # below this chance of being observed a weight of more than 20 would rule the result


class Outcome(NamedTuple):
    """An endpoint as arrays.

    Attributes
    ----------
    name, title, estimand : str
    kind : {'binary', 'count', 'continuous'}
    y : ndarray of shape (n,)
        Outcome; 0 where unknown (such patients have weight 0).
    weight : ndarray of shape (n,)
        Inverse probability of being observed; 0 where the outcome is unknown, 1 everywhere without censoring.
    exposure : ndarray of shape (n,) or None
        Time at risk, for counts.
    harmful : bool
        Whether a higher outcome is worse.
    horizon : float or None
        Day up to which events count.
    unit : str
        Unit of the outcome, or what a rate is per.
    unknown : int
        Patients without a known outcome.
    """

    name: str
    title: str
    estimand: str
    kind: Kind
    y: Floats
    weight: Floats
    exposure: Floats | None
    harmful: bool
    horizon: float | None
    unit: str
    unknown: int

    @property
    def events(self) -> int:
        """Patients with the event (binary), events (count), or known outcomes (continuous)."""
        known = self.y[self.weight > 0]
        return int(known.sum()) if self.kind != "continuous" else known.size


def learning_outcome(cohort: Cohort, endpoint: str) -> Outcome:
    """Return an endpoint in the shape that models and effect learners take.

    A time to event becomes "event by its day", with inverse-probability-of-censoring weights from the Kaplan-Meier
    curve of censoring in each arm; a competing event before that day counts as none.

    Raises
    ------
    InputError
        If the study has no such endpoint, or it shows no variation in an arm.

    References
    ----------
    Graf et al., Stat Med 1999;18:2529 (weights).
    """
    spec = cohort.study.endpoint(endpoint)
    observed = cohort.outcomes[endpoint]
    kind: Kind = "binary" if spec.kind == "time_to_event" else spec.kind
    if isinstance(spec, TimeToEventEndpoint):
        y, weight = _by_day(endpoint, spec, observed, cohort.treatment)
    else:
        y = np.where(np.isnan(observed.value), 0.0, observed.value)
        weight = _observed_weight(observed.value, cohort.treatment)
    outcome = Outcome(
        name=endpoint,
        title=spec.title,
        estimand=spec.estimand,
        kind=kind,
        y=y,
        weight=weight,
        exposure=observed.exposure,
        harmful=spec.harmful,
        horizon=getattr(spec, "by_day", None),
        unit=spec.unit if isinstance(spec, CountEndpoint) else getattr(spec, "unit", ""),
        unknown=int((weight == 0).sum()),
    )
    _check_variation(cohort, outcome)
    return outcome


def _by_day(
    name: str, spec: TimeToEventEndpoint, observed: Observed, treatment: NDArray[np.int8]
) -> tuple[Floats, Floats]:
    if spec.by_day is None or observed.time is None:
        raise InputError(
            f"endpoint {name!r} is a time to event without by_day, so there is no risk to predict. "
            "Set by_day in the study file, for example by_day: 30."
        )
    y = ((observed.value == 1) & (observed.time <= spec.by_day)).astype(float)
    weight = censoring_weights(observed.time, observed.value == 0, spec.by_day, treatment)
    return y, weight


def censoring_weights(time: Floats, censored: NDArray[np.bool_], horizon: float, strata: NDArray[np.int8]) -> Floats:
    """Return inverse probabilities of not being censored, within strata; 0 for patients censored before the horizon.

    Parameters
    ----------
    time : ndarray of shape (n,)
        Time of event or censoring.
    censored : ndarray of bool of shape (n,)
    horizon : float
        Status is needed at this time.
    strata : ndarray of shape (n,)
        Censoring is estimated separately in each (the arms).

    Raises
    ------
    InputError
        If hardly anybody is followed up to the horizon.

    Examples
    --------
    >>> import numpy as np
    >>> time, censored = np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True])
    >>> censoring_weights(time, censored, 3.5, np.zeros(4, dtype=np.int8)).round(6).tolist()
    [1.0, 0.0, 1.5, 1.5]
    """
    weight = np.zeros(time.size)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        when, gone = time[rows], censored[rows]
        known = ~(gone & (when < horizon))
        free = _uncensored_before(np.minimum(when, horizon), when, gone)
        if not known.any() or free[known].min() < _SMALLEST_OBSERVED:
            raise InputError(
                f"fewer than {_SMALLEST_OBSERVED:.0%} of an arm are followed up to day {horizon:g}, too few for "
                "censoring weights. Choose an earlier by_day."
            )
        weight[rows[known]] = 1.0 / free[known]
    return weight


def _uncensored_before(at: Floats, time: Floats, censored: NDArray[np.bool_]) -> Floats:
    """Return the Kaplan-Meier probability of being uncensored just before each of `at`; events precede censorings."""
    when = np.unique(time[censored])
    if when.size == 0:
        return np.ones(at.size)
    losses = np.array([(censored & (time == t)).sum() for t in when], dtype=float)
    at_risk = np.array([(time > t).sum() + (censored & (time == t)).sum() for t in when], dtype=float)
    survival = np.concatenate([[1.0], np.cumprod(1 - losses / at_risk)])
    return np.asarray(survival[np.searchsorted(when, at, side="left")])


def _observed_weight(value: Floats, treatment: NDArray[np.int8]) -> Floats:
    known = ~np.isnan(value)
    weight = np.zeros(value.size)
    for arm in (0, 1):
        rows = treatment == arm
        weight[rows & known] = rows.sum() / max((rows & known).sum(), 1)
    return weight


def _check_variation(cohort: Cohort, outcome: Outcome) -> None:
    known = outcome.weight > 0
    for arm, label in ((0, cohort.control_label), (1, cohort.treated_label)):
        y = outcome.y[known & (cohort.treatment == arm)]
        if outcome.kind == "continuous":
            if y.size == 0 or y.min() == y.max():
                raise InputError(f"endpoint {outcome.name!r}: no variation in arm {label}. Choose another endpoint.")
        elif y.sum() == 0:
            raise InputError(
                f"endpoint {outcome.name!r}: no events in arm {label}, so neither risk nor effect can be estimated. "
                "Check the endpoint's definition or choose another."
            )
        elif outcome.kind == "binary" and y.min() == 1:
            raise InputError(
                f"endpoint {outcome.name!r}: all patients of arm {label} have the event, so nothing can be "
                "predicted. Check the endpoint's definition or choose another."
            )
