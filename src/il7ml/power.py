"""Planning the next trial: power and sample size from simulated trials, each analysed as a real one would be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml import texts
from il7ml.config import read_yaml
from il7ml.data.course_reading import read_course
from il7ml.data.generator import SimulatedTables, simulate_tables
from il7ml.data.loading import SMALLEST_COHORT
from il7ml.data.outcomes import Patients, observe
from il7ml.data.scenario import Scenario, load_scenario, scenario_names
from il7ml.data.simulator import il7_study
from il7ml.data.study import Study
from il7ml.data.tables import write_files
from il7ml.endpoints.competing import cause_specific_hazard_ratio
from il7ml.endpoints.cox import hazard_ratio
from il7ml.endpoints.final_ratio import final_ratio, final_ratio_by_subgroup
from il7ml.endpoints.interactions import binary_interaction, count_interaction, hazard_interaction
from il7ml.endpoints.proportions import adjusted_risks, unadjusted_risks
from il7ml.endpoints.rates import negative_binomial_rates, poisson_rates
from il7ml.endpoints.result import EndpointResult, on_test_scale
from il7ml.endpoints.subgroups import SubgroupEffect, subgroup_effects
from il7ml.endpoints.visits import last_value, time_to_threshold
from il7ml.errors import DataError, InputError, nearest
from il7ml.planning import Finding, Simulated, Steps, find_size, simulate_power

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Covariates = pd.DataFrame | None
Kind = Literal["binary", "count", "final", "recovery", "death"]
ScenarioLike = str | Path | Mapping[str, Any]

_FEWEST_TRIALS = 10
_MEASURES: dict[Kind, str] = {
    "binary": "risk ratio",
    "count": "rate ratio",
    "final": "ratio of final values",
    "recovery": "hazard ratio",
    "death": "hazard ratio",
}
_TESTS: dict[Kind, str] = {
    "binary": "delta method on the arms' risks",
    "count": "Poisson with robust error",
    "final": "ANCOVA of logarithms with robust error",
    "recovery": "cause-specific Cox model",
    "death": "Cox model",
}


@dataclass(frozen=True)
class PowerCurve:
    """Power by number of patients.

    Attributes
    ----------
    endpoint : str
    modifier : str or None
        The power is that of its interaction with treatment; None for the overall effect.
    covariates : tuple of str
    measure : str
        What `mean_estimate` is.
    test : str
    scenario, description, effect_modification : str
        The scenario's name, and its own words for what is true in it.
    alpha : float
        Two-sided.
    seed : int
    table : DataFrame
        ``n, trials, significant, power, std_error, low, high, failed, mean_estimate``; a row a number of patients.
        `std_error` is the Monte-Carlo error of the power, `low` and `high` its 95 % interval (Wilson); `failed` trials
        could not be analysed and count as not significant; `mean_estimate` is the geometric mean of the other trials'
        estimates.
    notes : tuple of str
    """

    endpoint: str
    modifier: str | None
    covariates: tuple[str, ...]
    measure: str
    test: str
    scenario: str
    description: str
    effect_modification: str
    alpha: float
    seed: int
    table: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """What the power is of."""
        what = self.endpoint if self.modifier is None else f"{self.endpoint}, interaction with {self.modifier}"
        return f"Power for {what}, scenario {self.scenario} (simulated patients)"

    def to_text(self) -> str:
        """Return assumptions and table as text."""
        adjusted = f", adjusted for {', '.join(self.covariates)}" if self.covariates else ""
        return "\n".join(
            [
                texts.SIMULATED_DATA,
                self.title,
                f"Assumed: {self.description}",
                f"Effect modification assumed: {self.effect_modification}",
                f"Test: {self.measure}, {self.test}{adjusted}, two-sided P < {self.alpha:g}",
                "",
                self.table.drop(columns="significant").to_string(index=False, float_format=_short),
                *(["", *self.notes] if self.notes else []),
            ]
        )


@dataclass(frozen=True)
class SampleSize:
    """The smallest number of patients with a wanted power.

    Attributes
    ----------
    target_power : float
    n : int
        Patients, both arms together.
    low, high : int
        95 % Monte-Carlo interval of `n`: how far it may be off because a limited number of trials was simulated. It
        says nothing of the scenario being right.
    curve : PowerCurve
        All trials simulated on the way.
    """

    target_power: float
    n: int
    low: int
    high: int
    curve: PowerCurve

    def to_text(self) -> str:
        """Return size, assumptions and table as text."""
        found = (
            f"{self.n} patients for a power of {self.target_power:g} "
            f"(95 % Monte-Carlo interval {self.low} to {self.high})"
        )
        return f"{self.curve.to_text()}\n\n{found}"


def endpoint_names() -> tuple[str, ...]:
    """Return the endpoints for which trials can be planned.

    Examples
    --------
    >>> endpoint_names()[:2], endpoint_names()[-2:]
    (('infection_day30', 'death_day30'), ('cd8_count_final', 'cd8_count_recovery'))
    """
    return tuple(_kinds(il7_study()))


def power(
    endpoint: str = "infections",
    n: int | Sequence[int] = (109,),
    *,
    modifier: str | None = None,
    covariates: Sequence[str] = (),
    negative_binomial: bool = False,
    scenario: ScenarioLike = "published",
    trials: int = 500,
    alpha: float = 0.05,
    seed: int = 0,
    workers: int = 0,
    out: Path | None = None,
    steps: Steps | None = None,
) -> PowerCurve:
    """Simulate trials of one or several sizes and count those in which a test is significant.

    Each trial is tested as `il7ml analyze` does for the endpoint's headline: risk ratio; rate ratio (Poisson, robust
    error); hazard ratio (death, recovery); ratio of final counts adjusted for the count before. With a modifier the
    test is that of the interaction: of two or more subgroups for categories, of a product for a number.

    Parameters
    ----------
    endpoint : str
        One of `endpoint_names`.
    n : int or sequence of int
        Patients in both arms together, at least 20.
    modifier : str, optional
        A variable of the simulated trials. One that is known only after randomisation is allowed and noted.
    covariates : sequence of str
        Baseline variables to adjust the overall effect for.
    negative_binomial : bool
        Test numbers of events by negative binomial regression instead.
    scenario : str, Path or mapping
        As in `data.scenario.load_scenario`: ``published``, ``patients``, ``null``, ``strong_modifier``, or your own.
    trials : int
        Of each size, at least 10. The Monte-Carlo error of a power of 0.8 is 0.018 with 500 trials.
    alpha : float
    seed : int
    workers : int
        Worker processes, 0 for all cores; no influence on results.
    out : Path, optional
        Folder for ``power.csv`` and ``power.png``.
    steps : callable, optional
        Takes a step's label and returns a context that yields a progress callback.

    Returns
    -------
    PowerCurve

    Raises
    ------
    InputError
        If an argument is unknown or out of range, no trial can be analysed, or the folder cannot be written.

    References
    ----------
    Morris et al., Stat Med 2019;38:2074, doi 10.1002/sim.8086.

    Examples
    --------
    >>> curve = power("infection_day30", [60, 120], trials=20, workers=1)
    >>> curve.measure, curve.table["n"].tolist()
    ('risk ratio', [60, 120])
    """
    sizes = [n] if isinstance(n, int | np.integer) else list(n)
    trial, stated = _planned(endpoint, modifier, covariates, negative_binomial, scenario, trials, alpha, seed, workers)
    if not sizes or min(sizes) < SMALLEST_COHORT:
        got = min(sizes) if sizes else "none"
        raise InputError(f"n: expected numbers of patients, each at least {SMALLEST_COHORT}; got {got}.")
    with (steps or (lambda label: nullcontext()))("power") as progress:
        simulated = simulate_power(trial, sizes, trials, alpha=alpha, seed=seed, workers=workers, progress=progress)
    curve = _curve(trial, stated, simulated, alpha, seed)
    if out is not None:
        _write(curve, out)
    return curve


def sample_size(
    target_power: float = 0.8,
    endpoint: str = "infections",
    *,
    modifier: str | None = None,
    covariates: Sequence[str] = (),
    negative_binomial: bool = False,
    scenario: ScenarioLike = "published",
    trials: int = 500,
    largest: int = 5000,
    alpha: float = 0.05,
    seed: int = 0,
    workers: int = 0,
    out: Path | None = None,
    steps: Steps | None = None,
) -> SampleSize:
    """Find the smallest number of patients whose power reaches a target; see `planning.find_size` for how.

    Parameters
    ----------
    target_power : float
        Above `alpha` and below 1.
    endpoint, modifier, covariates, negative_binomial, scenario, alpha, seed, workers, out, steps
        As for `power`.
    trials : int
        At each of three to nine sizes near the one sought; the search before takes a fifth of them a size.
    largest : int
        Patients at which the search gives up.

    Returns
    -------
    SampleSize

    Raises
    ------
    InputError
        As `power`, or if the target is not reached with `largest` patients.

    Examples
    --------
    >>> size = sample_size(0.6, scenario="strong_modifier", alpha=0.2, trials=40, workers=1)
    >>> size.low <= size.n <= size.high
    True
    """
    trial, stated = _planned(endpoint, modifier, covariates, negative_binomial, scenario, trials, alpha, seed, workers)
    if not alpha < target_power < 1:
        raise InputError(f"target_power: expected a number above alpha ({alpha:g}) and below 1, got {target_power:g}.")
    if largest < 2 * SMALLEST_COHORT:
        raise InputError(f"largest: expected at least {2 * SMALLEST_COHORT} patients, got {largest}.")
    size, simulated = find_size(
        trial,
        target_power,
        trials=trials,
        smallest=SMALLEST_COHORT,
        largest=largest,
        alpha=alpha,
        seed=seed,
        workers=workers,
        steps=steps,
    )
    curve = _curve(trial, stated, simulated, alpha, seed)
    if out is not None:
        _write(curve, out)
    return SampleSize(target_power, *size, curve)


class Comparison(NamedTuple):
    """One trial's endpoint, ready to be compared.

    Attributes
    ----------
    overall : callable
        Takes covariates or None.
    in_subgroup : callable
        Takes a mask of patients.
    by_number : callable or None
        Takes a number a patient; returns how the effect changes with it.
    by_subgroup : callable or None
        Instead of `in_subgroup`: takes the modifier's name and each patient's subgroup, for one model of all subgroups.
    """

    overall: Callable[[Covariates], EndpointResult]
    in_subgroup: Callable[[Bools], EndpointResult]
    by_number: Callable[[Floats], EndpointResult] | None = None
    by_subgroup: Callable[[str, NDArray[np.object_]], list[SubgroupEffect]] | None = None


@dataclass(frozen=True)
class SimulatedTrial:
    """A trial that is simulated and tested once a call, for `planning`.

    Attributes
    ----------
    study : Study
        How simulated tables are read.
    scenario : str or mapping
    endpoint : str
    kind : str
    modifier : str or None
    covariates : tuple of str
    negative_binomial : bool
    """

    study: Study
    scenario: str | Mapping[str, Any]
    endpoint: str
    kind: Kind
    modifier: str | None = None
    covariates: tuple[str, ...] = ()
    negative_binomial: bool = False

    def __call__(self, n: int, seed: np.random.SeedSequence) -> Finding:
        """Simulate and test a trial of n patients."""
        return self.test(simulate_tables(n, int(seed.generate_state(1, np.uint64)[0]), self.scenario))

    def test(self, tables: SimulatedTables) -> Finding:
        """Return the test's P value and the estimate on its scale: the logarithm of a ratio, of a ratio of ratios.

        Raises
        ------
        InputError
            If the trial cannot be analysed, for example without events in an arm.
        """
        patients = _as_patients(self.study, tables)
        comparison = self._comparison(patients)
        if patients.problems:
            raise DataError(patients.problems)
        if self.modifier is None:
            covariates = patients.table[list(self.covariates)] if self.covariates else None
            return _as_finding(comparison.overall(covariates))
        values = patients.table[self.modifier]
        if self.study.mapped[self.modifier].kind != "continuous":
            return _interaction(self.modifier, values, comparison, self.endpoint)
        if comparison.by_number is None:
            raise InputError(f"modifier {self.modifier!r}: {self.endpoint} has no test of a number.")
        on_log = self.study.mapped[self.modifier].scale == "log"
        return _as_finding(comparison.by_number(_as_numbers(values, on_log)))

    def _comparison(self, patients: Patients) -> Comparison:
        if self.kind in ("binary", "count"):
            return self._of_events(patients)
        return self._of_course(patients)

    def _of_events(self, patients: Patients) -> Comparison:
        name, arm = self.endpoint, patients.arm
        observed = observe(name, self.study.endpoints[name], patients)
        if observed is None:
            raise DataError(patients.problems)
        value, exposure = observed.value, observed.exposure
        if exposure is None:
            return Comparison(
                lambda covariates: _risk_ratio(value, arm, covariates, name),
                lambda rows: _risk_ratio(value[rows], arm[rows], None, name),
                lambda numbers: binary_interaction(value, arm, numbers, endpoint=name),
            )
        rate_ratio = negative_binomial_rates if self.negative_binomial else _poisson_rate_ratio
        return Comparison(
            lambda covariates: rate_ratio(value, arm, endpoint=name, exposure=exposure, covariates=covariates),
            lambda rows: rate_ratio(value[rows], arm[rows], endpoint=name, exposure=exposure[rows]),
            lambda numbers: count_interaction(value, arm, numbers, endpoint=name, exposure=exposure),
        )

    def _of_course(self, patients: Patients) -> Comparison:
        name, arm = self.endpoint, patients.arm
        quantity = name.removesuffix(f"_{self.kind}")
        spec = self.study.course
        if spec is None:
            raise InputError(f"endpoint {name!r}: the study file has no course.")
        only = {key: each for key, each in spec.measurements.items() if key == quantity}
        # Only what the endpoint needs is read: laboratory values are by far the longest table.
        course = read_course(
            spec.model_copy(
                update={"measurements": only, "stays": {}, "adverse_events": None, "rules": {}, "doses": None}
            ),
            patients,
        )
        if course is None:
            raise DataError(patients.problems)
        if self.kind == "death":
            return _of_hazards(name, course.follow_up, (~np.isnan(course.death)).astype(int), arm, hazard_ratio)
        measured = course.measurements[quantity]
        series = (measured.patient, measured.day, measured.value)
        spare = patients.table[quantity].to_numpy(dtype=float, na_value=np.nan)
        before = np.where(np.isnan(measured.baseline), spare, measured.baseline)
        if self.kind == "recovery":
            limit = measured.threshold if measured.threshold is not None else np.inf
            last = np.minimum(course.follow_up, measured.spec.by_day)
            left = np.fmin(course.death, course.discharge)
            time, status = time_to_threshold(
                *series,
                np.where(left <= last, left, last),
                np.where(left <= last, 2.0, 0.0),
                threshold=limit,
                death=course.death,
            )
            # Patients who start above the threshold have nothing to reach.
            return _among(~(before >= limit), name, time, status.astype(int), arm)
        final = last_value(
            *series, patients=arm.size, by_day=measured.spec.by_day, discharge=course.discharge, death=course.death
        )
        return _of_final_values(name, quantity, final, before, arm)


def _risk_ratio(value: Floats, arm: NDArray[np.intp], covariates: Covariates, name: str) -> EndpointResult:
    results = (
        unadjusted_risks(value, arm, endpoint=name)
        if covariates is None
        else adjusted_risks(value, arm, covariates, endpoint=name)
    )
    return next(result for result in results if result.scale == "ratio")


def _poisson_rate_ratio(
    value: Floats, arm: NDArray[np.intp], *, endpoint: str, exposure: Floats, covariates: Covariates = None
) -> EndpointResult:
    results = poisson_rates(value, arm, endpoint=endpoint, exposure=exposure, covariates=covariates)
    return next(result for result in results if result.scale == "rate_ratio")


def _of_hazards(
    name: str,
    time: Floats,
    status: NDArray[np.intp],
    arm: NDArray[np.intp],
    ratio: Callable[..., EndpointResult] = cause_specific_hazard_ratio,
) -> Comparison:
    return Comparison(
        lambda covariates: ratio(time, status, arm, endpoint=name, covariates=covariates),
        lambda rows: ratio(time[rows], status[rows], arm[rows], endpoint=name),
        lambda numbers: hazard_interaction(time, status == 1, arm, numbers, endpoint=name),
    )


def _among(chosen: Bools, name: str, time: Floats, status: NDArray[np.intp], arm: NDArray[np.intp]) -> Comparison:
    """Compare hazards among some of the patients; what the comparison takes is about all."""
    rows = np.flatnonzero(chosen)
    some = _of_hazards(name, time[rows], status[rows], arm[rows])
    return Comparison(
        lambda covariates: some.overall(None if covariates is None else covariates.iloc[rows]),
        lambda mask: some.in_subgroup(mask[rows]),
        lambda numbers: hazard_interaction(time[rows], status[rows] == 1, arm[rows], numbers[rows], endpoint=name),
    )


def _of_final_values(name: str, quantity: str, final: Floats, before: Floats, arm: NDArray[np.intp]) -> Comparison:
    def overall(covariates: Covariates) -> EndpointResult:
        # The value before is in the model already.
        others = None if covariates is None else covariates.drop(columns=quantity, errors="ignore")
        return final_ratio(final, before, arm, endpoint=name, covariates=others)

    def by_subgroup(modifier: str, group: NDArray[np.object_]) -> list[SubgroupEffect]:
        known = np.array([one is not None for one in group])
        return final_ratio_by_subgroup(
            final[known], before[known], arm[known], group[known], modifier=modifier, endpoint=name
        )

    return Comparison(
        overall,
        lambda rows: final_ratio(final[rows], before[rows], arm[rows], endpoint=name),
        by_subgroup=by_subgroup,
    )


def _as_patients(study: Study, tables: SimulatedTables) -> Patients:
    """Return simulated tables as what endpoints are read from; they are ours, so columns are not checked again."""
    frames = {"patients": tables.patients, "labs": tables.labs, "events": tables.events}
    table, arms = tables.patients, study.arms
    return Patients(
        study=study,
        file="patients",
        table=table,
        ids=table["patient_id"].to_numpy(dtype=object),
        arm=table[arms.column].isin(list(arms.treated.values)).to_numpy().astype(np.intp),
        frames=frames,
        problems=[],
    )


def _as_numbers(values: pd.Series, on_log: bool) -> Floats:
    """Return a modifier as the analysis takes it: doublings where its scale is logarithmic, missing ones the mean."""
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    if on_log:
        numbers = np.log2(np.where(numbers <= 0, np.nanmin(numbers[numbers > 0]) / 2, numbers))
    return np.where(np.isnan(numbers), np.nanmean(numbers), numbers)


def _as_finding(result: EndpointResult) -> Finding:
    if np.isnan(result.p_value):
        raise InputError(f"endpoint {result.endpoint!r}: the estimate has no standard error.")
    return Finding(result.p_value, on_test_scale(result))


def _interaction(modifier: str, values: pd.Series, comparison: Comparison, endpoint: str) -> Finding:
    group = values.astype(object).where(values.notna(), None).to_numpy(dtype=object)
    if comparison.by_subgroup is not None:
        effects = comparison.by_subgroup(modifier, group)
    else:
        effects = subgroup_effects(modifier, group, lambda rows: [comparison.in_subgroup(rows)], endpoint=endpoint)
    if np.isnan(effects[0].interaction_p):
        raise InputError(f"modifier {modifier!r}: fewer than two of its subgroups can be analysed.")
    estimates = [on_test_scale(each.effect) for each in effects]
    return Finding(effects[0].interaction_p, estimates[1] - estimates[0] if len(estimates) == 2 else np.nan)


def _kinds(study: Study) -> dict[str, Kind]:
    """Return the endpoints of simulated trials and how each is compared."""
    kinds: dict[str, Kind] = {
        name: "binary" if spec.kind == "binary" else "count"
        for name, spec in study.endpoints.items()
        if spec.kind in ("binary", "count")
    }
    if study.course is not None:
        kinds["death"] = "death"
        for name, spec in study.course.measurements.items():
            if spec.recovery:
                kinds[f"{name}_final"] = "final"
                if spec.threshold is not None:
                    kinds[f"{name}_recovery"] = "recovery"
    return kinds


def _planned(
    endpoint: str,
    modifier: str | None,
    covariates: Sequence[str],
    negative_binomial: bool,
    scenario: ScenarioLike,
    trials: int,
    alpha: float,
    seed: int,
    workers: int,
) -> tuple[SimulatedTrial, Scenario]:
    """Check what is asked for, and return the trial and its scenario."""
    study = il7_study()
    kinds = _kinds(study)
    if endpoint not in kinds:
        raise InputError(f"endpoint: trials cannot be planned for {endpoint!r}.{nearest(endpoint, kinds)}")
    kind = kinds[endpoint]
    _check_numbers(trials, alpha, seed, workers)
    variables = study.mapped
    if modifier is not None and modifier not in variables:
        raise InputError(f"modifier: simulated trials have no variable {modifier!r}.{nearest(modifier, variables)}")
    if modifier is not None and kind == "final" and variables[modifier].kind == "continuous":
        raise InputError(
            f"modifier: {endpoint} is compared between subgroups, and {modifier!r} is a number. Choose a variable with "
            "categories, such as antiviral_at_randomisation."
        )
    if modifier is not None and covariates:
        raise InputError("covariates: interactions are tested unadjusted. Leave out the covariates or the modifier.")
    if negative_binomial and (kind != "count" or modifier is not None):
        raise InputError(
            "negative_binomial: expected a number of events and no modifier. Leave it out for other endpoints."
        )
    for name in covariates:
        if name not in variables or not variables[name].is_baseline:
            known = [each for each, variable in variables.items() if variable.is_baseline]
            raise InputError(f"covariates: {name!r} is not a baseline variable.{nearest(name, known)}")
    stated = load_scenario(scenario)
    written: str | Mapping[str, Any]
    if isinstance(scenario, Mapping):
        written = scenario
    elif str(scenario) in scenario_names():
        written = str(scenario)
    else:
        written = read_yaml(Path(scenario), "scenario")  # once, not in every trial
    return SimulatedTrial(study, written, endpoint, kind, modifier, tuple(covariates), negative_binomial), stated


def _check_numbers(trials: int, alpha: float, seed: int, workers: int) -> None:
    if trials < _FEWEST_TRIALS:
        raise InputError(f"trials: expected at least {_FEWEST_TRIALS}, got {trials}. 500 give a usable curve.")
    if not 0 < alpha < 1:
        raise InputError(f"alpha: expected a number above 0 and below 1, such as 0.05; got {alpha:g}.")
    for name, value in (("seed", seed), ("workers", workers)):
        if value < 0:
            raise InputError(f"{name}: expected a number from 0, got {value}.")


def _curve(trial: SimulatedTrial, stated: Scenario, simulated: Simulated, alpha: float, seed: int) -> PowerCurve:
    table = simulated.table.assign(mean_estimate=np.exp(simulated.table["mean_estimate"]))
    failed, total = int(table["failed"].sum()), int(table["trials"].sum())
    if failed == total:
        raise InputError(f"No trial could be analysed. Most often: {_most_often(simulated.problems)}")
    notes = []
    measure, test = _MEASURES[trial.kind], _TESTS[trial.kind]
    if trial.negative_binomial:
        test = "negative binomial regression"
    if trial.modifier is not None:
        variable = trial.study.mapped[trial.modifier]
        if variable.kind == "continuous":
            per = "doubling" if variable.scale == "log" else f"{variable.unit or 'unit'}"
            base = "odds ratio" if trial.kind == "binary" else measure
            measure, test = f"factor by which the {base} changes per {per}", "test of the product term"
        else:
            measure, test = (
                f"{measure}, one subgroup's divided by the other's",
                f"test that they do not differ ({test})",
            )
        if not variable.is_baseline:
            notes.append(
                f"{trial.modifier} is known only after randomisation: randomisation does not protect its subgroups."
            )
    if failed:
        notes.append(
            f"{failed} of {total} trials could not be analysed and count as not significant. Most often: "
            f"{_most_often(simulated.problems)}"
        )
    return PowerCurve(
        endpoint=trial.endpoint,
        modifier=trial.modifier,
        covariates=trial.covariates,
        measure=measure,
        test=test,
        scenario=stated.name,
        description=" ".join(stated.description.split()),
        effect_modification=" ".join(stated.effect_modification.split()),
        alpha=alpha,
        seed=seed,
        table=table,
        notes=tuple(notes),
    )


def _most_often(problems: Counter[str]) -> str:
    return problems.most_common(1)[0][0]


def _write(curve: PowerCurve, out: Path) -> None:
    from il7ml.plots import power_curve_figure, to_png

    figure = to_png(power_curve_figure(curve.table, curve.title))
    write_files({out / "power.png": figure, out / "power.csv": curve.table})


def _short(value: float) -> str:
    return f"{value:.3f}"
