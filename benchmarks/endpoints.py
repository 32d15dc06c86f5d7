"""Measure type I error and interval coverage of the trial's analysis at the trial's own size.

Simulated trials of 109 patients, of the scenario `null` (IL-7 does nothing) and of `published`, are analysed as
`il7ml analyze` does, unadjusted and adjusted. An interval is held against the truth: the mean of the patients' true
risks and rates where the simulator gives them, else the value that the same method gives in very many simulated
patients, its own limit.

Rows, one a trial, are kept under benchmarks/results/ and a second call adds only what is missing.

    python benchmarks/endpoints.py --trials 2000 --repeated-trials 1200 --workers 2
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import binomtest
from tqdm import tqdm

from il7ml.data.generator import SimulatedTables, simulate_tables
from il7ml.endpoints.andersen_gill import CountingProcess, counting_process, recurrent_rate_ratio
from il7ml.endpoints.final_ratio import final_ratio
from il7ml.endpoints.proportions import adjusted_risks, unadjusted_risks
from il7ml.endpoints.rates import negative_binomial_rates, poisson_rates
from il7ml.endpoints.repeated import repeated_measures
from il7ml.endpoints.result import RATIOS, EndpointResult
from il7ml.endpoints.visits import last_value, visit_matrix
from il7ml.errors import InputError
from il7ml.parallel import run_tasks

Floats = NDArray[np.float64]
Whole = NDArray[np.intp]
Rows = dict[str, float]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
#: What the numbers depend on: rows of other versions are kept apart by the hash of these files.
_SOURCES = (
    "src/il7ml/data/simulation.yaml",
    "src/il7ml/data/scenario.py",
    "src/il7ml/data/generator.py",
    *(
        f"src/il7ml/data/simulated_{name}.py"
        for name in ("baseline", "course", "events", "hazards", "labs", "stays", "truth")
    ),
    *(
        f"src/il7ml/endpoints/{name}.py"
        for name in (
            "ancova",
            "andersen_gill",
            "contrasts",
            "covariates",
            "final_ratio",
            "g_computation",
            "partial_likelihood",
            "proportions",
            "rates",
            "repeated",
            "result",
            "separation",
            "unstructured",
            "visits",
        )
    ),
)

PATIENTS = 109
WINDOW = 30
SCENARIOS = ("null", "published")
#: As in configs/il7_trial.yaml.
COVARIATES = ["age", "sofa_score", "absolute_lymphocyte_count", "antiviral_at_randomisation"]
#: Measurements and their planned visits.
SCHEDULES = {
    "absolute_lymphocyte_count": (3, 7, 10, 14, 21, 30),
    "cd4_count": (7, 14, 30),
    "cd8_count": (7, 14, 30),
}
#: Trials between two visits to the disk.
BATCH = 40
#: Methods' limits come from so many simulated trials of so many patients; their seeds begin above all others.
LARGE_TRIALS, LARGE_PATIENTS, FIRST_LARGE_SEED = 10, 10_000, 10_000_000


class TrialData(NamedTuple):
    """A simulated trial as the endpoint routines take it.

    Attributes
    ----------
    treatment : ndarray of shape (n,)
    covariates : DataFrame of shape (n, 4)
    binary : dict of str to ndarray of shape (n,)
    infections, days : ndarray of shape (n,)
        Number of infections in the 30-day window, and days in hospital within it.
    process : CountingProcess
    measured : dict of str to (ndarray, ndarray, ndarray)
        Patient, day and value of each measurement.
    discharge, death : ndarray of shape (n,)
        Day, NaN where none.
    """

    treatment: Whole
    covariates: pd.DataFrame
    binary: dict[str, Floats]
    infections: Floats
    days: Floats
    process: CountingProcess
    measured: dict[str, tuple[Whole, Floats, Floats]]
    discharge: Floats
    death: Floats


def trial_data(tables: SimulatedTables) -> TrialData:
    """Read endpoints off the tables of a simulated trial."""
    patients = tables.patients
    ids = pd.Index(patients["patient_id"])
    events = {str(kind): frame for kind, frame in tables.events.groupby("kind")}
    discharge, death = (_days(events[kind], ids) for kind in ("discharge", "death"))
    last = np.fmin(np.fmin(discharge, death), WINDOW)
    infections = events["infection"]
    who, when = ids.get_indexer(pd.Index(infections["patient_id"])), infections["day"].to_numpy(dtype=float)
    counts = np.bincount(who, minlength=len(ids)).astype(float)
    infected, died = counts > 0, death <= WINDOW
    labs = tables.labs[tables.labs["analyte"].isin(SCHEDULES)]
    return TrialData(
        treatment=(patients["arm"] == "il7").to_numpy().astype(np.intp),
        covariates=patients[COVARIATES],
        binary={
            "infection_day30": infected.astype(float),
            "death_day30": died.astype(float),
            "infection_or_death_day30": (infected | died).astype(float),
        },
        infections=counts,
        days=last,
        process=counting_process(who, when, last),
        measured={
            str(name): (
                ids.get_indexer(pd.Index(part["patient_id"])),
                part["day"].to_numpy(dtype=float),
                part["value"].to_numpy(dtype=float),
            )
            for name, part in labs.groupby("analyte")
        },
        discharge=discharge,
        death=death,
    )


def _days(events: pd.DataFrame, ids: pd.Index) -> Floats:
    days = np.full(len(ids), np.nan)
    days[ids.get_indexer(pd.Index(events["patient_id"]))] = events["day"]
    return days


def quick_results(trial: TrialData) -> Rows:
    """Analyse infections, deaths and final counts; analyses that refuse are left out."""
    row: Rows = {}
    arm, covariates = trial.treatment, trial.covariates
    for name, y in trial.binary.items():
        row |= _record(name, "raw", partial(unadjusted_risks, y, arm, endpoint=name))
        row |= _record(name, "adjusted", partial(adjusted_risks, y, arm, covariates, endpoint=name))
    for name, exposure in (("infections", np.ones(arm.size)), ("infections_at_risk", trial.days / 1000)):
        for label, adjustment in (("raw", None), ("adjusted", covariates)):
            given: dict[str, Any] = {"endpoint": name, "exposure": exposure, "covariates": adjustment}
            row |= _record(name, f"{label} Poisson", partial(poisson_rates, trial.infections, arm, **given))
            row |= _record(name, f"{label} NB", partial(_one, negative_binomial_rates, trial.infections, arm, **given))
    for label, adjustment in (("raw", None), ("adjusted", covariates)):
        given = {"endpoint": "infections", "covariates": adjustment}
        row |= _record("infections", f"{label} AG", partial(_one, recurrent_rate_ratio, trial.process, arm, **given))
    for name in SCHEDULES:
        patient, day, value = trial.measured[name]
        final = last_value(
            patient, day, value, patients=arm.size, by_day=WINDOW, discharge=trial.discharge, death=trial.death
        )
        baseline = _baseline(trial, name)
        for label, adjustment in (("baseline", None), ("adjusted", _others(trial, name))):
            given = {"endpoint": name, "covariates": adjustment}
            row |= _record(f"{name}_final", label, partial(_one, final_ratio, final, baseline, arm, **given))
    return row


def repeated_results(trial: TrialData) -> Rows:
    """Analyse repeated measurements by the mixed model, at each visit and on average; refusals are left out."""
    row: Rows = {}
    for name, schedule in SCHEDULES.items():
        values = visit_matrix(*trial.measured[name], schedule, patients=trial.treatment.size, death=trial.death)
        baseline = _baseline(trial, name)
        for label, adjustment in (("baseline", None), ("adjusted", _others(trial, name))):
            try:
                fit = repeated_measures(
                    values, schedule, baseline, trial.treatment, endpoint=name, covariates=adjustment
                )
            except InputError:
                continue
            # An effect's endpoint reads name_day7 or name_average.
            for effect in fit.effects:
                row |= _numbers(f"{effect.endpoint}|{label}, MMRM|ratio", effect)
            row[f"{name}|{label}, MMRM|random slopes"] = float(not fit.effects[0].method.startswith("MMRM"))
    return row


def _one(routine: Callable[..., EndpointResult], *arguments: Any, **options: Any) -> list[EndpointResult]:
    return [routine(*arguments, **options)]


def _record(endpoint: str, analysis: str, compute: Callable[[], Sequence[EndpointResult]]) -> Rows:
    try:
        results = compute()
    except InputError:
        return {}
    row: Rows = {}
    for result in results:
        row |= _numbers(f"{endpoint}|{analysis}|{result.scale}", result)
    return row


def _numbers(key: str, result: EndpointResult) -> Rows:
    """Return estimate and half the interval's length on the scale of the test: the logarithm for ratios."""
    limits = np.array([result.estimate, result.low, result.high])
    estimate, low, high = np.log(limits) if result.scale in RATIOS else limits
    return {f"{key}|estimate": float(estimate), f"{key}|half": float(high - low) / 2}


def _baseline(trial: TrialData, name: str) -> Floats:
    """Return each patient's count on day 0, NaN where it was not measured."""
    patient, day, value = trial.measured[name]
    baseline = np.full(trial.treatment.size, np.nan)
    baseline[patient[day == 0]] = value[day == 0]
    return baseline


def _others(trial: TrialData, name: str) -> pd.DataFrame:
    """Return the covariates without the measurement's own baseline, which its models hold already."""
    return trial.covariates.drop(columns=name, errors="ignore")


def analyse(kind: str, seed: int, scenario: str) -> Rows:
    """Simulate one trial and return its row; `large` is for truth and limits, analysed in all ways."""
    tables = simulate_tables(LARGE_PATIENTS if kind == "large" else PATIENTS, seed, scenario)
    trial = trial_data(tables)
    row: Rows = {"seed": seed}
    if kind != "repeated":
        row |= quick_results(trial)
    if kind != "quick":
        row |= repeated_results(trial)
    if kind == "large":
        row |= {str(name): float(values.mean()) for name, values in tables.truth.drop(columns="patient_id").items()}
    return row


def collect(kind: str, scenario: str, seeds: Sequence[int], workers: int) -> pd.DataFrame:
    """Return a row for each seed; those that stand on disk are not computed again."""
    path = RESULTS / f"endpoints-{kind}-{scenario}-{version()}.csv"
    RESULTS.mkdir(parents=True, exist_ok=True)
    rows = pd.read_csv(path) if path.exists() else pd.DataFrame({"seed": []})
    missing = sorted(set(seeds) - set(rows["seed"].astype(int)))
    for start in tqdm(range(0, len(missing), BATCH), desc=f"{kind} {scenario}", unit=f"{BATCH} trials"):
        tasks = [(kind, seed, scenario) for seed in missing[start : start + BATCH]]
        rows = pd.concat([rows, pd.DataFrame(run_tasks(analyse, tasks, workers=workers))]).astype({"seed": int})
        # The whole file anew: an analysis refused in the first trials is a column that comes later.
        rows.to_csv(path, index=False, float_format="%.4g")
    # As they stand on disk: a second call gives the same table to the last digit.
    return pd.read_csv(path).query("seed in @seeds")


def version() -> str:
    """Return a digest of the simulator and the endpoint routines."""
    return hashlib.sha256(b"".join((ROOT / source).read_bytes() for source in _SOURCES)).hexdigest()[:12]


def true_values(large: pd.DataFrame) -> dict[str, tuple[float, str]]:
    """Return each analysis's true value on the scale of its test, and where it comes from: truth or limit."""
    mean = large.mean()
    values = {key: (float(mean[f"{key}|estimate"]), "limit") for key in analyses(large)}
    for key in values:
        endpoint, analysis, scale = key.split("|")
        name = "infection_rate" if endpoint == "infections" else endpoint
        # The adjusted negative binomial and Andersen-Gill models have ratios of their own.
        if f"{name}_treated" in mean and analysis in ("raw", "adjusted", "raw Poisson", "adjusted Poisson", "raw NB"):
            treated, untreated = (_on_scale(mean[f"{name}_{arm}"], scale) for arm in ("treated", "untreated"))
            values[key] = (float(treated - untreated), "truth")
    return values


def _on_scale(mean: float, scale: str) -> float:
    if scale == "difference":
        return mean
    return float(np.log(mean / (1 - mean)) if scale == "odds_ratio" else np.log(mean))


def analyses(rows: pd.DataFrame) -> list[str]:
    """Return the analyses that rows tell of, as endpoint|analysis|scale."""
    return [str(name).removesuffix("|half") for name in rows.columns if str(name).endswith("|half")]


def summarise(null: pd.DataFrame, published: pd.DataFrame, truth: dict[str, tuple[float, str]]) -> pd.DataFrame:
    """Return a line an analysis: type I error, coverage where IL-7 works, and how the errors fit the estimates."""
    return pd.DataFrame([_line(key, null, published, *truth[key]) for key in analyses(published)])


def _line(key: str, null: pd.DataFrame, published: pd.DataFrame, true: float, source: str) -> dict[str, str]:
    endpoint, analysis, scale = key.split("|")
    rejected = _known(null, key)
    covered = _known(published, key)
    deviation = np.abs(covered[:, 0] - true)
    spread = covered[:, 0].std(ddof=1)
    shown = np.exp(true) if scale in RATIOS else true
    return {
        "endpoint": endpoint,
        "analysis": analysis.replace("raw", "unadjusted"),
        "scale": scale.replace("_", " "),
        "type I error": share(int((np.abs(rejected[:, 0]) > rejected[:, 1]).sum()), len(rejected)),
        "true value": f"{shown:.3f} ({source})",
        "coverage": share(int((deviation <= covered[:, 1]).sum()), len(covered)),
        "bias / SD": f"{(covered[:, 0].mean() - true) / spread:+.2f}",
        "SE / SD": f"{covered[:, 1].mean() / ndtri(0.975) / spread:.2f}",
        "refused": f"{len(null) + len(published) - len(rejected) - len(covered)}",
    }


def _known(rows: pd.DataFrame, key: str) -> Floats:
    found: Floats = rows[[f"{key}|estimate", f"{key}|half"]].dropna().to_numpy(dtype=float)
    return found


def share(count: int, n: int) -> str:
    """Return a percentage with its Monte-Carlo interval as text."""
    interval = binomtest(count, n).proportion_ci(method="wilson")
    return f"{100 * count / n:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def as_markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    lines: Iterable[list[Any]] = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="trials of each scenario (default 2000)")
    parser.add_argument("--repeated-trials", type=int, default=1200, help="those with the mixed model (default 1200)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    options = parser.parse_args()
    large = range(FIRST_LARGE_SEED, FIRST_LARGE_SEED + LARGE_TRIALS)
    truth = true_values(collect("large", "published", large, options.workers))
    for kind, trials in (("quick", options.trials), ("repeated", options.repeated_trials)):
        null, published = (collect(kind, scenario, range(trials), options.workers) for scenario in SCENARIOS)
        print(f"{as_markdown(summarise(null, published, truth))}\n")
        fallbacks = pd.concat([null, published]).filter(like="random slopes").to_numpy()
        if fallbacks.size:
            print(f"Random slopes instead of an unstructured covariance: {np.nanmean(fallbacks):.2%} of fits")


if __name__ == "__main__":
    main()
