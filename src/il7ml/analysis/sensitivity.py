"""Sensitivity: the same comparisons with sites as strata or covariates, and with missing final counts imputed."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from il7ml.analysis.course import baseline_of, final_of, others_than, visits_of
from il7ml.analysis.findings import Findings, Task
from il7ml.data.cohort import Observed
from il7ml.data.course import Course
from il7ml.endpoints.ancova import ancova
from il7ml.endpoints.competing import cause_specific_hazard_ratio
from il7ml.endpoints.final_ratio import final_ratio
from il7ml.endpoints.imputation import imputed_final_ratio
from il7ml.endpoints.proportions import adjusted_risks
from il7ml.endpoints.rates import poisson_rates
from il7ml.endpoints.result import EndpointResult, to_frame

_FEWEST = 5  # patients of a site that gets a term of its own


def sensitivity(task: Task, findings: Findings, *, imputations: int, generator: np.random.Generator) -> pd.DataFrame:
    """Return the further comparisons as a table: analysis, then the columns of the endpoints' table.

    Parameters
    ----------
    task : Task
    findings : Findings
        Takes notes.
    imputations : int
    generator : numpy.random.Generator
        For the imputations.
    """
    aside = Findings()
    named: list[str] = []

    def label(name: str) -> None:
        named.extend([name] * (len(aside.results) - len(named)))

    sites, terms = _sites(task), pd.DataFrame()
    if sites is None:
        findings.notes.append("One site, or none stated: no analysis by site.")
    else:
        terms = pd.get_dummies(sites, prefix="site", drop_first=True, dtype=float)
        table = terms if task.covariates is None else pd.concat([task.covariates, terms], axis=1)
        for name, observed in task.cohort.outcomes.items():
            _by_site(name, observed, table, sites, task, aside)
            label("sites as terms" if observed.spec.kind != "time_to_event" else "stratified by site")
    course = task.cohort.course
    if course is not None and sites is not None:
        for name in (name for name, each in course.measurements.items() if each.spec.recovery):
            aside.take(f"{name}_final, by site", partial(_final_by_site, name, task, course, terms))
        label("sites as terms")
    if course is not None and imputations:
        for name in (name for name, each in course.measurements.items() if each.spec.recovery):
            aside.take(f"{name}_final, imputed", partial(_imputed, name, task, course, imputations, generator))
            label(f"missing last values imputed {imputations} times")
    findings.notes += aside.notes
    frame = to_frame(aside.results)
    frame.insert(0, "analysis", named)
    return frame


def _sites(task: Task) -> pd.Series | None:
    """Return each patient's site, small ones taken together; None where there are not two."""
    if task.cohort.site is None:
        return None
    sites = pd.Series(task.cohort.site, dtype=object)
    sizes = sites.map(sites.value_counts())
    merged = sites.where(sizes >= _FEWEST, "small sites")
    return merged if len(merged.unique()) > 1 else None


def _by_site(name: str, observed: Observed, table: pd.DataFrame, sites: pd.Series, task: Task, aside: Findings) -> None:
    spec, treatment, level = observed.spec, task.treatment, task.level
    known = ~np.isnan(observed.value)
    what = f"{name}, by site"
    if spec.kind == "binary":
        y, arm = observed.value[known], treatment[known]
        aside.take(what, lambda: adjusted_risks(y, arm, table[known], endpoint=name, level=level))
    elif spec.kind == "count" and observed.exposure is not None:
        exposure = observed.exposure
        aside.take(
            what,
            lambda: poisson_rates(
                observed.value, treatment, endpoint=name, exposure=exposure, covariates=table, level=level
            ),
        )
    elif spec.kind == "continuous":
        aside.take(what, lambda: ancova(observed.value, treatment, endpoint=name, covariates=table, level=level))
    elif observed.time is not None:
        time, status = observed.time, observed.value.astype(int)
        aside.take(
            what,
            lambda: cause_specific_hazard_ratio(
                time, status, treatment, endpoint=name, covariates=task.covariates, strata=sites, level=level
            ),
        )


def _final_by_site(name: str, task: Task, course: Course, terms: pd.DataFrame) -> EndpointResult:
    measured, others = course.measurements[name], others_than(name, task)
    found = final_ratio(
        final_of(measured, course),
        baseline_of(name, measured, task),
        task.treatment,
        endpoint=f"{name}_final",
        covariates=terms if others is None else pd.concat([others, terms], axis=1),
        level=task.level,
    )
    return found._replace(method=f"{found.method}, adjusted")


def _imputed(name: str, task: Task, course: Course, imputations: int, generator: np.random.Generator) -> EndpointResult:
    measured = course.measurements[name]
    visits = pd.DataFrame(np.log(visits_of(measured, course))).add_prefix("visit")
    enough = [column for column in visits if visits[column].notna().mean() > 0.5]
    return imputed_final_ratio(
        final_of(measured, course),
        baseline_of(name, measured, task),
        task.treatment,
        generator,
        endpoint=f"{name}_final",
        auxiliary=visits[enough] if enough else None,
        covariates=others_than(name, task),
        imputations=imputations,
        level=task.level,
    )
