"""Adverse events by arm: any, serious, by grade and term; patients with an event, and events by time at risk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import fisher_exact

from il7ml.endpoints.arrays import ARMS, as_exposure, as_indicator, as_positions, as_treated, as_values
from il7ml.endpoints.contrasts import compare
from il7ml.endpoints.g_computation import raw_means
from il7ml.endpoints.result import EndpointResult
from il7ml.errors import InputError, nearest
from il7ml.family import BINARY, COUNT

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_COLUMNS = ("patient", "term", "grade", "serious")


class AdverseEvents(NamedTuple):
    """Adverse events of two arms.

    Attributes
    ----------
    counts : DataFrame
        Columns endpoint, arm, n, patients (with at least one event), percent, events, rate (events by time at risk);
        a row a kind of event and arm.
    effects : list of EndpointResult
        For each kind of event: scales difference and ratio of the proportions of patients with an event, rate_ratio of
        events by time at risk.
    """

    counts: pd.DataFrame
    effects: list[EndpointResult]


def adverse_events(
    events: pd.DataFrame, treatment: ArrayLike, exposure: ArrayLike, *, level: float = 0.95
) -> AdverseEvents:
    """Tabulate and compare the arms' adverse events.

    Kinds of event: any, serious, of at least each grade that occurs above the lowest, and each term. Differences of
    proportions have Newcombe's interval and Fisher's exact P value, ratios Wald's on the log scale, rates allow for
    several events a patient (Poisson, robust). An effect is NaN where a ratio has no events in an arm; nothing here is
    adjusted for multiplicity.

    Parameters
    ----------
    events : DataFrame
        A row an event. Columns patient (position from 0), term (text), grade (number), serious (bool or 0 and 1).
        An event without a term or grade counts in the other kinds.
    treatment : array-like of shape (n,)
        1 treated, 0 control.
    exposure : array-like of shape (n,)
        Time at risk in the unit that rates are per: days / 100 for a rate per 100 days.
    level : float

    Returns
    -------
    AdverseEvents

    Raises
    ------
    InputError
        If a column is missing, an event's patient or seriousness is unknown, a grade is not a number, or a time at risk
        is not positive.

    References
    ----------
    Newcombe, Stat Med 1998;17:873, doi 10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I. Liu et al.,
    Stat Med 2006;25:1275, doi 10.1002/sim.2335 (exposure-adjusted incidence rates).

    Examples
    --------
    >>> events = pd.DataFrame(
    ...     {"patient": [0, 0, 2], "term": ["rash", "fever", "rash"], "grade": [1, 3, 1], "serious": [0, 1, 0]}
    ... )
    >>> found = adverse_events(events, [0, 0, 1, 1], exposure=[0.3, 0.3, 0.3, 0.2])
    >>> found.counts.query("arm == 'control'")[["endpoint", "patients", "events"]].values.tolist()[:2]
    [['adverse_event', 1, 2], ['serious_adverse_event', 1, 1]]
    """
    treated = as_treated(treatment)
    time = as_exposure(exposure, treated.size)
    _require_columns(events)
    patient = as_positions(events["patient"], treated.size)
    rows, effects = [], []
    for endpoint, chosen in _kinds(events):
        number = np.bincount(patient[chosen], minlength=treated.size).astype(float)
        for arm, name in zip((~treated, treated), ARMS, strict=True):
            n, with_event, total = int(arm.sum()), int((number[arm] > 0).sum()), int(number[arm].sum())
            rows.append((endpoint, name, n, with_event, 100 * with_event / n, total, total / time[arm].sum()))
        effects += _effects(endpoint, number, treated, time, level)
    columns = ["endpoint", "arm", "n", "patients", "percent", "events", "rate"]
    return AdverseEvents(pd.DataFrame(rows, columns=columns), effects)


def _require_columns(events: pd.DataFrame) -> None:
    for column in _COLUMNS:
        if column not in events.columns:
            raise InputError(f"events: column {column!r} is missing.{nearest(column, map(str, events.columns))}")


def _kinds(events: pd.DataFrame) -> Iterator[tuple[str, Bools]]:
    yield "adverse_event", np.ones(len(events), dtype=bool)
    serious = as_indicator("serious", events["serious"], len(events), missing=True)
    if unknown := int(np.isnan(serious).sum()):
        raise InputError(
            f"serious: expected 1 (serious) or 0 (not) for every event; {unknown} have neither. "
            "Complete them, or count them as serious."
        )
    yield "serious_adverse_event", serious == 1
    grade = as_values("grade", events["grade"], len(events), missing=True)
    for lowest in np.unique(grade[~np.isnan(grade)])[1:]:
        yield f"adverse_event_grade{lowest:g}_or_above", grade >= lowest
    named = events["term"].notna().to_numpy()
    term = events["term"].astype(str).to_numpy()
    for name in np.unique(term[named]):
        yield f"adverse_event_{name}", named & (term == name)


def _effects(endpoint: str, number: Floats, treated: Bools, time: Floats, level: float) -> list[EndpointResult]:
    happened = (number > 0).astype(float)
    risks = raw_means(BINARY, happened, treated)
    difference, ratio = compare(risks, ("difference", "ratio"), endpoint, "patients with an event", level)
    rates = raw_means(COUNT, number, treated, time)
    (rate,) = compare(rates, ("rate_ratio",), endpoint, "events by time at risk, Poisson, robust", level)
    return [_exact(difference, happened, treated, level), ratio, rate]


def _exact(difference: EndpointResult, happened: Floats, treated: Bools, level: float) -> EndpointResult:
    """Return the difference with limits and P value that hold for few events."""
    from statsmodels.stats.proportion import confint_proportions_2indep

    counts = [(int(happened[arm].sum()), int(arm.sum())) for arm in (treated, ~treated)]
    low, high = confint_proportions_2indep(*counts[0], *counts[1], method="newcomb", compare="diff", alpha=1 - level)
    p_value = fisher_exact(np.array([[count, n - count] for count, n in counts])).pvalue
    method = f"{difference.method}, Newcombe, Fisher"
    return difference._replace(method=method, low=float(low), high=float(high), p_value=float(p_value))
