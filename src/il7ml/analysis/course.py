"""What happened after randomisation, compared: recovery, markers, stays, adverse events, rules, mortality."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.analysis.findings import Bools, Covariates, Findings, Floats, Line, Task, share
from il7ml.analysis.outcomes import hazard_line, mean_and_spread
from il7ml.data.course import Course, Measured
from il7ml.data.course_spec import RuleSpec, StaySpec
from il7ml.endpoints.competing import cause_specific_hazard_ratio, cumulative_incidence, numbers_at_risk
from il7ml.endpoints.cox import hazard_ratio, log_rank_test
from il7ml.endpoints.durations import compare_days, days_alive_out_of_hospital, free_days, stay_with_death_longest
from il7ml.endpoints.final_ratio import final_ratio, final_ratio_by_subgroup
from il7ml.endpoints.interactions import binary_interaction
from il7ml.endpoints.kaplan_meier import mortality, survival_on_day
from il7ml.endpoints.proportions import number_needed_to_treat, unadjusted_risks
from il7ml.endpoints.repeated import RepeatedMeasures, repeated_measures
from il7ml.endpoints.result import EndpointResult
from il7ml.endpoints.safety import adverse_events
from il7ml.endpoints.subgroups import SubgroupEffect
from il7ml.endpoints.visits import last_value, time_to_threshold, visit_matrix
from il7ml.errors import InputError

_ARMS = ("control", "treated")


def compare_course(task: Task, course: Course, findings: Findings) -> None:
    """Compare the arms on all that the study file describes under `course`."""
    _note_lost(task, course, findings)
    for name, measured in course.measurements.items():
        _visits(name, measured, course, task, findings)
        if measured.spec.recovery:
            _final(name, measured, course, task, findings)
            if measured.threshold is not None:
                _recovery(name, measured, course, task, findings)
    findings.tables["course"] = _by_day(task, course)
    for name, stay in course.spec.stays.items():
        _stay(name, stay, course.stays[name], course, task, findings)
    _mortality(course, task, findings)
    if course.adverse_events is not None:
        _safety(course, task, findings)
    for name, rule in course.spec.rules.items():
        _rule(name, rule, course, task, findings)


def _note_lost(task: Task, course: Course, findings: Findings) -> None:
    """Note how many patients were lost before an endpoint's window closed: unseen events count as none there."""
    for name, observed in task.cohort.outcomes.items():
        if observed.timeline is None or not np.isfinite(observed.timeline.last).all():
            continue
        lost = course.follow_up < observed.timeline.last
        if observed.spec.kind == "binary":
            lost &= observed.value == 0
        else:
            lost &= np.isnan(course.death)
        if number := int(lost.sum()):
            findings.notes.append(
                f"{name}: follow-up of {number} patients ends before the endpoint's last day; events that may have "
                "followed are not known and count as none."
            )


def baseline_of(name: str, measured: Measured, task: Task) -> Floats:
    """Return the value before treatment: that of day 0, else the baseline variable of the same name."""
    known = task.cohort.baseline_variables
    value = measured.baseline.copy()
    if name in known and known[name].kind == "continuous":
        spare = task.cohort.baseline[name].to_numpy(dtype=float)
        value = np.where(np.isnan(value), spare, value)
    return np.where(value > 0, value, np.nan)


def others_than(name: str, task: Task) -> Covariates:
    """Return the covariates without the measurement's own baseline, which its models hold already."""
    if task.covariates is None:
        return None
    table = task.covariates.drop(columns=name, errors="ignore")
    return table if table.shape[1] else None


def visits_of(measured: Measured, course: Course) -> Floats:
    """Return the measurements at the planned visits, shape (n, visits)."""
    return visit_matrix(
        measured.patient,
        measured.day,
        measured.value,
        measured.spec.schedule,
        patients=course.death.size,
        death=course.death,
    )


def final_of(measured: Measured, course: Course) -> Floats:
    """Return each patient's last value by the spec's day, discharge or death."""
    return last_value(
        measured.patient,
        measured.day,
        measured.value,
        patients=course.death.size,
        by_day=measured.spec.by_day,
        discharge=course.discharge,
        death=course.death,
    )


def _visits(name: str, measured: Measured, course: Course, task: Task, findings: Findings) -> None:
    spec, values, baseline = measured.spec, visits_of(measured, course), baseline_of(name, measured, task)
    fits: list[RepeatedMeasures] = []

    def fit(covariates: Covariates) -> list[EndpointResult]:
        if np.isnan(values).all():
            raise InputError("no patient has a value at a planned visit. Mend the schedule, or leave it out.")
        found = repeated_measures(
            values,
            spec.schedule,
            baseline,
            task.treatment,
            endpoint=name,
            covariates=covariates,
            level=task.level,
        )
        fits.append(found)
        method = "adjusted for baseline" if covariates is None else "adjusted for baseline and covariates"
        return [each._replace(method=f"{each.method}, {method}") for each in found.effects]

    shown = findings.take(f"{name}, visits", lambda: fit(None))
    others = others_than(name, task)
    if others is not None and spec.recovery:
        shown = findings.take(f"{name}, visits, adjusted", lambda: fit(others)) or shown
    if fits:
        findings.tables[f"visits_{name}"] = fits[0].means
    average = f"{name}_average"

    def in_subgroup(rows: Bools) -> list[EndpointResult]:
        found = repeated_measures(
            values[rows], spec.schedule, baseline[rows], task.treatment[rows], endpoint=name, level=task.level
        )
        return [each for each in found.effects if each.endpoint == average]

    findings.lines[average] = Line(
        average,
        f"{spec.title}, average over visits",
        "measurement",
        "geometric mean",
        measured.unit,
        spec.harmful,
        _geometric(values[task.treatment == 0]),
        _geometric(values[task.treatment == 1]),
        next((each for each in shown if each.endpoint == average), None),
        in_subgroup,
    )


def _geometric(values: Floats) -> str:
    """Return the geometric mean of all known values and the number of patients with one."""
    known = values[~np.isnan(values)]
    patients = int((~np.isnan(values.reshape(len(values), -1))).any(axis=1).sum())
    return f"{np.exp(np.log(known).mean()):.3g} ({patients} patients)" if known.size else "-"


def _final(name: str, measured: Measured, course: Course, task: Task, findings: Findings) -> None:
    spec, endpoint = measured.spec, f"{name}_final"
    final, baseline, treatment = final_of(measured, course), baseline_of(name, measured, task), task.treatment
    others = others_than(name, task)
    shown: list[EndpointResult] = []
    for covariates in (None,) if others is None else (None, others):
        compute = partial(
            final_ratio, final, baseline, treatment, endpoint=endpoint, covariates=covariates, level=task.level
        )
        found = findings.take(f"{endpoint}{'' if covariates is None else ', adjusted'}", compute)
        if found and covariates is not None:
            findings.results[-1] = found[0]._replace(method=f"{found[0].method}, adjusted")
            found = findings.results[-1:]
        shown = found or shown

    def by_subgroup(modifier: str, subgroup: NDArray[np.object_]) -> list[SubgroupEffect]:
        rows = np.array([group is not None for group in subgroup])
        return final_ratio_by_subgroup(
            final[rows],
            baseline[rows],
            treatment[rows],
            subgroup[rows],
            modifier=modifier,
            endpoint=endpoint,
            level=task.level,
        )

    findings.lines[endpoint] = Line(
        endpoint,
        f"{spec.title}, last value by day {spec.by_day:g} or discharge",
        "measurement",
        "geometric mean",
        measured.unit,
        spec.harmful,
        _geometric(final[treatment == 0, None]),
        _geometric(final[treatment == 1, None]),
        shown[0] if shown else None,
        by_subgroup=by_subgroup,
    )


def _recovery(name: str, measured: Measured, course: Course, task: Task, findings: Findings) -> None:
    """Compare the time to the threshold among patients who start below it."""
    endpoint, limit = f"{name}_recovery", measured.threshold
    if limit is None:
        return
    last = np.minimum(course.follow_up, measured.spec.by_day)
    left = np.fmin(course.death, course.discharge)
    ended = left <= last
    below = ~(baseline_of(name, measured, task) >= limit)
    time, status = time_to_threshold(
        measured.patient,
        measured.day,
        measured.value,
        np.where(ended, left, last),
        np.where(ended, 2.0, 0.0),
        threshold=limit,
        death=course.death,
    )
    rows = np.flatnonzero(below)
    time, status, arm = time[rows], status[rows].astype(int), task.treatment[rows]
    findings.take(f"{endpoint}, log-rank", lambda: log_rank_test(time, status == 1, arm, endpoint=endpoint))
    shown: list[EndpointResult] = []
    for covariates in task.adjustments:
        compute = partial(
            cause_specific_hazard_ratio,
            time,
            status,
            arm,
            endpoint=endpoint,
            covariates=None if covariates is None else covariates.iloc[rows],
            level=task.level,
        )
        shown = findings.take(f"{endpoint}, hazards", compute) or shown
    if rows.size:
        findings.tables[f"incidence_{endpoint}"] = cumulative_incidence(time, status, arm, level=task.level)
        days = [0.0, *measured.spec.schedule]
        findings.tables[f"at_risk_{endpoint}"] = numbers_at_risk(time, arm, days)
    event = (status == 1).astype(float)

    def in_subgroup(chosen: Bools) -> list[EndpointResult]:
        kept = chosen[rows]
        return [cause_specific_hazard_ratio(time[kept], status[kept], arm[kept], endpoint=endpoint, level=task.level)]

    title = f"{measured.spec.title} at least {limit:g} {measured.unit}, from below it"
    findings.lines[endpoint] = Line(
        endpoint,
        title,
        "time_to_event",
        "hazard",
        "",
        False,
        share(event[arm == 0]),
        share(event[arm == 1]),
        shown[0] if shown else None,
        in_subgroup,
    )


def _by_day(task: Task, course: Course) -> pd.DataFrame:
    """Return each measurement's quartiles by arm and visit, day 0 included."""
    rows = []
    for name, measured in course.measurements.items():
        columns = np.column_stack([baseline_of(name, measured, task), visits_of(measured, course)])
        for number, arm in enumerate(_ARMS):
            for day, values in zip((0.0, *measured.spec.schedule), columns[task.treatment == number].T, strict=True):
                known = values[~np.isnan(values)]
                quartiles = np.quantile(known, [0.5, 0.25, 0.75]) if known.size else [np.nan] * 3
                rows.append((measured.spec.title, measured.unit, arm, day, known.size, *quartiles))
    return pd.DataFrame(rows, columns=["measurement", "unit", "arm", "day", "n", "median", "q1", "q3"])


def _stay(name: str, spec: StaySpec, days: Floats, course: Course, task: Task, findings: Findings) -> None:
    if spec.compare == "free_days":
        value = free_days(days, course.death, horizon=spec.horizon)
    elif spec.compare == "alive_out_of_hospital":
        value = days_alive_out_of_hospital(days, course.death, horizon=spec.horizon)
    else:
        value = stay_with_death_longest(days, course.death <= days, horizon=spec.horizon)
    found = findings.take(name, lambda: compare_days(value, task.treatment, endpoint=name, level=task.level))
    if spec.compare == "stay":
        cut = np.minimum(days, spec.horizon)
        findings.take(
            f"{name}, as observed",
            lambda: compare_days(cut, task.treatment, endpoint=f"{name}_observed", level=task.level),
        )

    def in_subgroup(rows: Bools) -> list[EndpointResult]:
        return compare_days(value[rows], task.treatment[rows], endpoint=name, level=task.level)[:1]

    findings.lines[name] = Line(
        name,
        spec.title,
        "days",
        "mean",
        "days",
        spec.harmful,
        mean_and_spread(value[task.treatment == 0]),
        mean_and_spread(value[task.treatment == 1]),
        next((each for each in found if each.scale == "difference"), None),
        in_subgroup,
    )


def _mortality(course: Course, task: Task, findings: Findings) -> None:
    arm, time = task.treatment, course.follow_up
    died = (~np.isnan(course.death)).astype(int)
    findings.take("death, log-rank", lambda: log_rank_test(time, died, arm, endpoint="death"))
    shown: list[EndpointResult] = []
    for covariates in task.adjustments:
        compute = partial(hazard_ratio, time, died, arm, endpoint="death", covariates=covariates, level=task.level)
        shown = findings.take("death, hazards", compute) or shown
    survivors = []
    for day in course.spec.mortality_days:
        findings.take(
            f"death by day {day:g}",
            partial(mortality, time, died, arm, days=(day,), endpoint="mortality", level=task.level),
        )
        try:
            survivors += survival_on_day(time, died, arm, day, level=task.level)
        except InputError as error:
            findings.notes.append(f"Survival on day {day:g}: {error}")
    findings.tables["survival"] = pd.DataFrame(survivors)
    findings.tables["incidence_death"] = cumulative_incidence(time, died, arm, level=task.level)
    findings.tables["at_risk_death"] = numbers_at_risk(time, arm, [0.0, *course.spec.mortality_days])
    title = "Death during follow-up"
    findings.lines["death"] = hazard_line("death", title, True, time, died, shown, task)


def _safety(course: Course, task: Task, findings: Findings) -> None:
    events, spec = course.adverse_events, course.spec.adverse_events
    if events is None or spec is None:
        return
    last = np.maximum(np.minimum(course.follow_up, spec.by_day), 0.5)
    within = events[events["day"].to_numpy() <= last[events["patient"]]]
    if late := len(events) - len(within):
        findings.notes.append(
            f"Adverse events after day {spec.by_day:g} or the end of the patient's follow-up do not count: {late}."
        )
    try:
        found = adverse_events(within, task.treatment, last / 100, level=task.level)
    except InputError as error:
        findings.notes.append(f"Not compared - adverse events: {error}")
        return
    findings.tables["adverse_events"] = found.counts
    findings.tables["adverse_event_effects"] = pd.DataFrame(found.effects)
    for name, title, scale in (
        ("adverse_event", "Adverse events", "rate_ratio"),
        ("serious_adverse_event", "Patients with a serious adverse event", "ratio"),
    ):
        findings.results += [each for each in found.effects if each.endpoint == name]
        counts = found.counts[found.counts["endpoint"] == name].set_index("arm")
        shown = next((each for each in found.effects if each.endpoint == name and each.scale == scale), None)
        findings.lines[name] = Line(
            name,
            title,
            "safety",
            "rate" if scale == "rate_ratio" else "risk",
            "100 days" if scale == "rate_ratio" else "",
            True,
            _events(counts, "control", scale),
            _events(counts, "treated", scale),
            shown,
        )
    findings.results += [each for each in found.effects if each.endpoint.startswith("adverse_event_grade")]


def _events(counts: pd.DataFrame, arm: str, scale: str) -> str:
    row = counts.to_dict("index")[arm]
    if scale == "rate_ratio":
        return f"{row['events']} in {row['patients']}/{row['n']} patients ({row['rate']:.3g} per 100 days)"
    return f"{row['patients']}/{row['n']} ({row['percent']:.0f} %)"


def _rule(name: str, rule: RuleSpec, course: Course, task: Task, findings: Findings) -> None:
    met = rule_met(rule, course)
    arm = task.treatment
    found = findings.take(name, lambda: unadjusted_risks(met, arm, endpoint=name, level=task.level))
    findings.results += [number_needed_to_treat(part) for part in found if part.scale == "difference"]

    def in_subgroup(rows: Bools) -> list[EndpointResult]:
        return unadjusted_risks(met[rows], arm[rows], endpoint=name, level=task.level)

    findings.lines[name] = Line(
        name,
        rule.title,
        "binary",
        "risk",
        "",
        True,
        share(met[arm == 0]),
        share(met[arm == 1]),
        next((each for each in found if each.scale == "ratio"), None),
        in_subgroup,
        interaction=lambda modifier: binary_interaction(met, arm, modifier, endpoint=name, level=task.level),
    )


def rule_met(rule: RuleSpec, course: Course) -> Floats:
    """Return 1 for patients with enough measurements beyond their limits on one day after day 0, else 0."""
    beyond = []
    for name, limit in rule.above.items():
        measured = course.measurements[name]
        chosen = (measured.value > limit * measured.factor) & (measured.day > 0) & (measured.day <= rule.by_day)
        beyond.append(pd.DataFrame({"patient": measured.patient[chosen], "day": measured.day[chosen], "name": name}))
    rows = pd.concat(beyond).drop_duplicates()
    numbers = rows.groupby(["patient", "day"]).size()
    patients = numbers[numbers >= rule.at_least].index.get_level_values("patient").unique()
    met = np.zeros(course.death.size)
    met[patients] = 1.0
    return met
