"""The study's endpoints, compared: risks, rates, means, hazards."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.analysis.findings import Bools, Findings, Floats, Line, Task, share
from il7ml.data.cohort import Observed
from il7ml.data.study import BinaryEndpoint, ContinuousEndpoint, CountEndpoint, TimeToEventEndpoint
from il7ml.endpoints.ancova import ancova
from il7ml.endpoints.andersen_gill import counting_process, recurrent_rate_ratio
from il7ml.endpoints.competing import (
    cause_specific_hazard_ratio,
    cumulative_incidence,
    incidence_by_day,
    numbers_at_risk,
)
from il7ml.endpoints.cox import log_rank_test
from il7ml.endpoints.interactions import binary_interaction, count_interaction, hazard_interaction
from il7ml.endpoints.proportions import adjusted_risks, exact_difference, number_needed_to_treat, unadjusted_risks
from il7ml.endpoints.pseudo_observations import pseudo_observation_effect
from il7ml.endpoints.rates import negative_binomial_rates, poisson_rates
from il7ml.endpoints.restricted_mean import restricted_mean_effect
from il7ml.endpoints.result import EndpointResult


def compare_outcomes(task: Task, findings: Findings) -> None:
    """Compare the arms on every endpoint of the study file."""
    for name, observed in task.cohort.outcomes.items():
        findings.lines[name] = _COMPARISONS[observed.spec.kind](name, observed, task, findings)


def _binary(name: str, observed: Observed, task: Task, findings: Findings) -> Line:
    spec, known = observed.spec, ~np.isnan(observed.value)
    y, arm = observed.value[known], task.treatment[known]
    found = findings.take(f"{name}, unadjusted", lambda: unadjusted_risks(y, arm, endpoint=name, level=task.level))
    shown = found
    if not found:
        # An arm without events has no relative effect, but a difference.
        found = shown = findings.take(
            f"{name}, exact", lambda: exact_difference(y, arm, endpoint=name, level=task.level)
        )
    elif task.covariates is not None:
        table = task.covariates[known]
        shown = findings.take(
            f"{name}, adjusted", lambda: adjusted_risks(y, arm, table, endpoint=name, level=task.level)
        )
    if spec.harmful:
        for part in [*found, *(shown if shown is not found else [])]:
            if part.scale == "difference":
                findings.results.append(number_needed_to_treat(part))
    timeline = observed.timeline
    if timeline is not None and np.isfinite(timeline.last).all():
        # What ended the patient's time before (discharge, death) competes with the first event.
        time = timeline.last.copy()
        np.minimum.at(time, timeline.patient, timeline.day)
        status = np.where(timeline.ended, 2, 0)
        status[timeline.patient] = 1
        by_day = spec.by_day if isinstance(spec, BinaryEndpoint) else None
        _hazards(name, time, status, by_day, task, findings)

    def in_subgroup(rows: Bools) -> list[EndpointResult]:
        kept = rows & known
        return unadjusted_risks(observed.value[kept], task.treatment[kept], endpoint=name, level=task.level)

    return Line(
        name,
        spec.title,
        "binary",
        "risk",
        "",
        spec.harmful,
        share(observed.value[task.treatment == 0]),
        share(observed.value[task.treatment == 1]),
        _on("ratio", shown or found) or _on("difference", found),
        in_subgroup,
        interaction=lambda modifier: binary_interaction(y, arm, modifier[known], endpoint=name, level=task.level),
    )


def _count(name: str, observed: Observed, task: Task, findings: Findings) -> Line:
    spec, treatment = observed.spec, task.treatment
    if not isinstance(spec, CountEndpoint) or observed.exposure is None:
        raise TypeError(f"{name} is no count")
    exposure, value = observed.exposure, observed.value
    shown: list[EndpointResult] = []
    for covariates in task.adjustments:
        what = f"{name}, {'unadjusted' if covariates is None else 'adjusted'}"
        poisson = partial(
            poisson_rates, value, treatment, endpoint=name, exposure=exposure, covariates=covariates, level=task.level
        )
        shown = findings.take(what, poisson) or shown
        binomial = partial(
            negative_binomial_rates,
            value,
            treatment,
            endpoint=name,
            exposure=exposure,
            covariates=covariates,
            level=task.level,
        )
        findings.take(f"{what}, negative binomial", binomial)
    timeline = observed.timeline
    if timeline is not None and np.isfinite(timeline.last).all():
        process = counting_process(timeline.patient, timeline.day, timeline.last)
        for covariates in task.adjustments:
            findings.take(
                f"{name}, recurrent events",
                partial(
                    recurrent_rate_ratio, process, treatment, endpoint=name, covariates=covariates, level=task.level
                ),
            )

    def in_subgroup(rows: Bools) -> list[EndpointResult]:
        return poisson_rates(value[rows], treatment[rows], endpoint=name, exposure=exposure[rows], level=task.level)

    return Line(
        name,
        spec.title,
        "count",
        "rate",
        spec.unit,
        spec.harmful,
        _rate(value[treatment == 0], exposure[treatment == 0], spec.unit),
        _rate(value[treatment == 1], exposure[treatment == 1], spec.unit),
        _on("rate_ratio", shown),
        in_subgroup,
        interaction=lambda modifier: count_interaction(
            value, treatment, modifier, endpoint=name, exposure=exposure, level=task.level
        ),
    )


def _rate(events: Floats, exposure: Floats, unit: str) -> str:
    total = int(events.sum())
    return f"{total} in {events.size} patients ({total / exposure.sum():.3g} per {unit})"


def _continuous(name: str, observed: Observed, task: Task, findings: Findings) -> Line:
    spec, value, treatment = observed.spec, observed.value, task.treatment
    shown: list[EndpointResult] = []
    for covariates in task.adjustments:
        what = f"{name}, {'unadjusted' if covariates is None else 'adjusted'}"
        shown = (
            findings.take(
                what, partial(ancova, value, treatment, endpoint=name, covariates=covariates, level=task.level)
            )
            or shown
        )

    def in_subgroup(rows: Bools) -> list[EndpointResult]:
        return [ancova(value[rows], treatment[rows], endpoint=name, level=task.level)]

    return Line(
        name,
        spec.title,
        "continuous",
        "mean",
        spec.unit if isinstance(spec, ContinuousEndpoint) else "",
        spec.harmful,
        mean_and_spread(value[treatment == 0]),
        mean_and_spread(value[treatment == 1]),
        _on("difference", shown),
        in_subgroup,
    )


def mean_and_spread(values: Floats) -> str:
    """Return "12.3 (SD 4.5)" of the known values."""
    known = values[~np.isnan(values)]
    return f"{known.mean():.3g} (SD {known.std(ddof=1):.3g})" if known.size > 1 else "-"


def _time_to_event(name: str, observed: Observed, task: Task, findings: Findings) -> Line:
    spec, time = observed.spec, observed.time
    if time is None or not isinstance(spec, TimeToEventEndpoint):
        raise TypeError(f"{name} is no time to event")
    status = observed.value.astype(int)
    shown = _hazards(name, time, status, spec.by_day, task, findings)
    line = hazard_line(name, spec.title, spec.harmful, time, status, shown, task)
    if spec.by_day is None:
        return line
    # The hazards are of all follow-up, the title often of the day.
    curves = findings.tables[f"incidence_{name}"]
    control, treated = (_by_the_day(curves, arm, spec.by_day) for arm in ("control", "treated"))
    return line._replace(control=f"{line.control} {control}", treated=f"{line.treated} {treated}")


def _by_the_day(curves: pd.DataFrame, arm: str, day: float) -> str:
    """Return "in all follow-up, 34 % by day 730", the latter being the estimated cumulative incidence."""
    curve = curves[(curves["arm"] == arm) & (curves["cause"] == 1) & (curves["day"] <= day)]
    # Where nobody had the event there is no curve.
    risk = curve["incidence"].iloc[-1] if len(curve) else 0.0
    return f"in all follow-up, {100 * risk:.0f} % by day {day:g}"


def hazard_line(
    name: str,
    title: str,
    harmful: bool,
    time: Floats,
    status: NDArray[np.intp],
    shown: list[EndpointResult],
    task: Task,
) -> Line:
    """Return the line of a time to event, headed by its hazard ratio."""
    treatment = task.treatment
    event = (status == 1).astype(float)

    def in_subgroup(rows: Bools) -> list[EndpointResult]:
        return [cause_specific_hazard_ratio(time[rows], status[rows], treatment[rows], endpoint=name, level=task.level)]

    return Line(
        name,
        title,
        "time_to_event",
        "hazard",
        "",
        harmful,
        share(event[treatment == 0]),
        share(event[treatment == 1]),
        _on("hazard_ratio", shown),
        in_subgroup,
        interaction=lambda modifier: hazard_interaction(
            time, event, treatment, modifier, endpoint=name, level=task.level
        ),
    )


def _hazards(
    name: str, time: Floats, status: NDArray[np.intp], by_day: float | None, task: Task, findings: Findings
) -> list[EndpointResult]:
    """Compare hazards, and cumulative incidence and event-free days by a day; return the last hazard ratio."""
    arm, level = task.treatment, task.level
    findings.take(f"{name}, log-rank", lambda: log_rank_test(time, status == 1, arm, endpoint=name))
    shown: list[EndpointResult] = []
    for covariates in task.adjustments:
        compute = partial(
            cause_specific_hazard_ratio, time, status, arm, endpoint=name, covariates=covariates, level=level
        )
        shown = findings.take(f"{name}, hazards", compute) or shown
    if by_day is not None:
        findings.take(
            f"{name}, incidence", partial(incidence_by_day, time, status, arm, by_day, endpoint=name, level=level)
        )
        findings.take(
            f"{name}, event-free days",
            partial(restricted_mean_effect, time, status, arm, by_day, endpoint=name, level=level),
        )
        for covariates in task.adjustments:
            findings.take(
                f"{name}, pseudo-observations",
                partial(
                    pseudo_observation_effect,
                    time,
                    status,
                    arm,
                    by_day,
                    endpoint=name,
                    covariates=covariates,
                    level=level,
                ),
            )
    findings.tables[f"incidence_{name}"] = cumulative_incidence(time, status, arm, level=level)
    end = by_day if by_day is not None else float(time.max())
    findings.tables[f"at_risk_{name}"] = numbers_at_risk(time, arm, _marks(end))
    return shown


def _marks(end: float) -> list[float]:
    """Return some six days from 0 to the end, in round steps."""
    step = next(s for s in (1, 2, 5, 10, 20, 30, 50, 100, 200, 500, 1000, end) if end / s <= 7)
    return [float(day) for day in np.arange(0, end + 1e-9, step)]


def _on(scale: str, results: list[EndpointResult]) -> EndpointResult | None:
    return next((result for result in results if result.scale == scale), None)


_COMPARISONS: dict[str, Callable[[str, Observed, Task, Findings], Line]] = {
    "binary": _binary,
    "count": _count,
    "continuous": _continuous,
    "time_to_event": _time_to_event,
}
