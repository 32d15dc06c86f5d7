"""The trial's own analysis: every endpoint of a study compared between the arms, in one table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml import texts
from il7ml.config import RunConfig
from il7ml.data.cohort import Cohort, Observed, Timeline
from il7ml.data.loading import load_cohort
from il7ml.data.study import BinaryEndpoint, TimeToEventEndpoint
from il7ml.data.tables import write_table
from il7ml.endpoints.ancova import ancova
from il7ml.endpoints.andersen_gill import counting_process, recurrent_rate_ratio
from il7ml.endpoints.competing import cause_specific_hazard_ratio, incidence_by_day
from il7ml.endpoints.cox import log_rank_test
from il7ml.endpoints.proportions import adjusted_risks, number_needed_to_treat, unadjusted_risks
from il7ml.endpoints.rates import negative_binomial_rates, poisson_rates
from il7ml.endpoints.restricted_mean import restricted_mean_effect
from il7ml.endpoints.result import EndpointResult, to_frame
from il7ml.errors import InputError

Covariates = pd.DataFrame | None
Floats = NDArray[np.float64]


class Analysis(NamedTuple):
    """A trial's endpoints, compared.

    Attributes
    ----------
    title : str
        The study's.
    contrast : str
        Which arm is compared with which.
    simulated : bool
    table : DataFrame
        ``endpoint, method, scale, estimate, std_error, low, high, p_value, n, events``; a row a result. The standard
        error of a ratio is that of its logarithm.
    """

    title: str
    contrast: str
    simulated: bool
    table: pd.DataFrame

    def to_text(self) -> str:
        """Return the table as text, under the notice where patients are simulated."""
        shown = self.table.drop(columns="std_error").to_string(index=False, na_rep="", float_format=_short)
        return "\n".join([*([texts.SIMULATED_DATA] if self.simulated else []), self.title, self.contrast, "", shown])


def analyze(config: RunConfig | str | Path, *, cohort: Cohort | None = None, out: Path | None = None) -> Analysis:
    """Compare the arms on every endpoint of a config's study, all patients as randomised.

    Each endpoint is analysed unadjusted and, where the config names ``analysis.covariates``, adjusted for them.

    Parameters
    ----------
    config : RunConfig or path
    cohort : Cohort, optional
        Patients that are loaded already; by default the config's study is read.
    out : Path, optional
        Folder for ``endpoints.csv``.

    Returns
    -------
    Analysis

    Raises
    ------
    InputError
        If config, study or data cannot be used, or an endpoint cannot be compared; then no file is written.
    """
    if not isinstance(config, RunConfig):
        config = RunConfig.from_file(config)
    cohort = cohort if cohort is not None else load_cohort(config.study)
    covariates = _covariates(cohort, config.analysis.covariates)
    level = config.validation.level
    results = [
        result
        for name, observed in cohort.outcomes.items()
        for result in _ANALYSES[observed.spec.kind](name, observed, cohort, covariates, level)
    ]
    table = to_frame(results)
    if out is not None:
        _write(table, out)
    contrast = f"{cohort.treated_label} ({cohort.flow.treated}) against {cohort.control_label} ({cohort.flow.control})"
    return Analysis(cohort.study.title, contrast, cohort.study.simulated, table)


def _short(value: float) -> str:
    return f"{value:.4g}"


def _covariates(cohort: Cohort, names: tuple[str, ...]) -> Covariates:
    known = cohort.baseline_variables
    if absent := [name for name in names if name not in known]:
        raise InputError(
            f"analysis.covariates: study {cohort.study.name} has no baseline variable {absent[0]!r}. "
            f"Known: {', '.join(known)}."
        )
    return cohort.baseline[list(names)] if names else None


def _binary(
    name: str, observed: Observed, cohort: Cohort, covariates: Covariates, level: float
) -> list[EndpointResult]:
    known = ~np.isnan(observed.value)
    y, arm = observed.value[known], cohort.treatment[known]
    results = unadjusted_risks(y, arm, endpoint=name, level=level)
    if covariates is not None:
        results += adjusted_risks(y, arm, covariates[known], endpoint=name, level=level)
    if observed.spec.harmful:
        results += [number_needed_to_treat(part) for part in results if part.scale == "difference"]
    timeline = observed.timeline
    if timeline is None or not np.isfinite(timeline.last).all():
        return results
    by_day = observed.spec.by_day if isinstance(observed.spec, BinaryEndpoint) else None
    return results + _first_event(name, timeline, cohort, covariates, by_day, level)


def _first_event(
    name: str, timeline: Timeline, cohort: Cohort, covariates: Covariates, by_day: float | None, level: float
) -> list[EndpointResult]:
    """Analyse the time to the first event, with what ended the patient's time before (discharge, death) competing."""
    time = timeline.last.copy()
    np.minimum.at(time, timeline.patient, timeline.day)
    status = np.where(timeline.ended, 2, 0)
    status[timeline.patient] = 1
    return _hazards(name, time, status, cohort, covariates, by_day, level)


def _count(name: str, observed: Observed, cohort: Cohort, covariates: Covariates, level: float) -> list[EndpointResult]:
    exposure = 1.0 if observed.exposure is None else observed.exposure
    results = []
    for adjustment in (None,) if covariates is None else (None, covariates):
        results += poisson_rates(
            observed.value, cohort.treatment, endpoint=name, exposure=exposure, covariates=adjustment, level=level
        )
        results.append(
            negative_binomial_rates(
                observed.value, cohort.treatment, endpoint=name, exposure=exposure, covariates=adjustment, level=level
            )
        )
    timeline = observed.timeline
    if timeline is not None and np.isfinite(timeline.last).all():
        process = counting_process(timeline.patient, timeline.day, timeline.last)
        for adjustment in (None,) if covariates is None else (None, covariates):
            results.append(
                recurrent_rate_ratio(process, cohort.treatment, endpoint=name, covariates=adjustment, level=level)
            )
    return results


def _continuous(
    name: str, observed: Observed, cohort: Cohort, covariates: Covariates, level: float
) -> list[EndpointResult]:
    adjustments = (None,) if covariates is None else (None, covariates)
    return [
        ancova(observed.value, cohort.treatment, endpoint=name, covariates=adjustment, level=level)
        for adjustment in adjustments
    ]


def _time_to_event(
    name: str, observed: Observed, cohort: Cohort, covariates: Covariates, level: float
) -> list[EndpointResult]:
    spec, time = observed.spec, observed.time
    if time is None or not isinstance(spec, TimeToEventEndpoint):
        raise InputError(f"endpoint {name!r}: a time to event needs times. Check the study file.")
    return _hazards(name, time, observed.value.astype(int), cohort, covariates, spec.by_day, level)


def _hazards(
    name: str,
    time: Floats,
    status: NDArray[np.intp],
    cohort: Cohort,
    covariates: Covariates,
    by_day: float | None,
    level: float,
) -> list[EndpointResult]:
    arm = cohort.treatment
    results = [log_rank_test(time, status == 1, arm, endpoint=name)]
    for adjustment in (None,) if covariates is None else (None, covariates):
        results.append(
            cause_specific_hazard_ratio(time, status, arm, endpoint=name, covariates=adjustment, level=level)
        )
    if by_day is not None:
        results += incidence_by_day(time, status, arm, by_day, endpoint=name, level=level)
        results += restricted_mean_effect(time, status, arm, by_day, endpoint=name, level=level)
    return results


_ANALYSES: dict[str, Callable[[str, Observed, Cohort, Covariates, float], list[EndpointResult]]] = {
    "binary": _binary,
    "count": _count,
    "continuous": _continuous,
    "time_to_event": _time_to_event,
}


def _write(table: pd.DataFrame, out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made: {error.strerror}. Choose another folder.") from None
    write_table(table, out / "endpoints.csv")
