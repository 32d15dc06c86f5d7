"""Check the simulator against what is known of the trial: simulate many trials and compare them with the targets.

Rows, one a trial, are kept under benchmarks/results/ and a second call adds only what is missing.

    python benchmarks/calibration.py --trials 2000
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import gammaln
from scipy.stats import chi2_contingency, norm, ttest_ind
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from il7ml.data.generator import SimulatedTables, simulate_tables
from il7ml.data.scenario import load_scenario

mpl.use("Agg")
import matplotlib.pyplot as plt

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ROOT = Path(__file__).parents[1]
TRIAL_SIZE = 109
#: The second reading of the 44 % is checked with this share of the trials.
PATIENTS_SHARE = 4
PICTURE_SIZE = 20_000


class Target(NamedTuple):
    """What a statistic of simulated trials should be.

    Attributes
    ----------
    name : str
        Of the statistic, a column of the rows.
    text : str
        In words.
    value : float
    status : str
        published, derived or assumed.
    low, high : float or None
        Range within which the simulated value holds the target; without it, two Monte-Carlo errors or 3 % of the value.
    summary : str
        How trials are summarised: mean, median, share, or the ratio of the means of two columns.
    over : str
        Column of the denominator, for ratios.
    """

    name: str
    text: str
    value: float
    status: str
    low: float | None = None
    high: float | None = None
    summary: str = "mean"
    over: str = ""


TARGETS: dict[str, list[Target]] = {
    "Trial": [
        Target("n_uk", "Patients in the UK cohort", 35, "published"),
        Target("n_france_belgium", "Patients in the French and Belgian cohort", 34, "published"),
        Target("n_us", "Patients in the US cohort", 26, "published"),
        Target("n_us_oncology", "Patients in the US oncology cohort", 10, "published"),
        Target("n_brazil", "Patients in the Brazilian cohort", 4, "published"),
        Target("n_il7", "Patients allocated to IL-7 (1:1)", 54.5, "published"),
        Target(
            "eligible", "Share of patients of 25 to 80 years with a count of at most 1.0", 1.0, "published", 1.0, 1.0
        ),
    ],
    "Infections (44 % fewer, read as a rate)": [
        Target(
            "infections_il7",
            "Rate ratio per patient in 30 days",
            0.56,
            "published",
            summary="ratio",
            over="infections_placebo",
        ),
        Target("infections_placebo", "Infections per patient, placebo", 0.93, "derived"),
        Target("infections_il7", "Infections per patient, IL-7", 0.52, "derived"),
        Target("p_poisson", "Median P, Poisson", 0.014, "published", 0.010, 0.020, "median"),
        Target("p_negative_binomial", "Median P, negative binomial", 0.03, "derived", 0.02, 0.05, "median"),
        Target("k", "Negative-binomial k (median estimate)", 1.9, "assumed", 1.5, 2.4, "median"),
        Target("infected_placebo", "Share with an infection, placebo", 0.53, "derived"),
        Target("infected_il7", "Share with an infection, IL-7", 0.37, "derived"),
        Target("first_infection_day", "Day of first infection, median of medians", 8, "assumed", 7, 9, "median"),
        Target("auroc", "AUROC of the true baseline risk, untreated", 0.68, "assumed", 0.65, 0.72),
        Target("pneumonia", "Pneumonia, share of infections", 0.52, "assumed"),
        Target("bloodstream", "Bloodstream, share of infections", 0.25, "assumed"),
    ],
    "Lymphocytes (last count by day 30 or discharge)": [
        Target(
            "log_ratio_without",
            "Ratio of final counts without antivirals during treatment",
            1.43,
            "published",
            summary="ratio of logs",
        ),
        Target("p_without", "Median P without antivirals", 0.067, "published", 0.04, 0.10, "median"),
        Target("n_without", "Patients without antivirals", 45, "derived", 38, 52),
        Target("not_significant", "Overall difference not significant, share of trials", 0.70, "published", 0.70, 1.0),
        Target("log_ratio_all", "Ratio of final counts, overall", 1.17, "derived", 1.14, 1.20, "ratio of logs"),
        Target("log_ratio_with", "Ratio of final counts with antivirals", 1.0, "derived", 0.97, 1.03, "ratio of logs"),
        Target("log_sd", "SD of the log final count, placebo", 0.65, "assumed", 0.60, 0.70),
        Target("count_median", "Median count at baseline, 10^9/L", 0.60, "assumed"),
        Target(
            "dying_ratio", "Median count on day 14, dead by day 30 to others", 0.65, "assumed", 0.55, 0.75, "median"
        ),
        Target("missing_7", "Count missing on day 7", 0.10, "assumed", 0.05, 0.15),
        Target("missing_14", "Count missing on day 14", 0.20, "assumed", 0.15, 0.25),
        Target("missing_21", "Count missing on day 21", 0.45, "assumed", 0.40, 0.50),
        Target("missing_30", "Count missing on day 30", 0.60, "assumed", 0.55, 0.65),
    ],
    "Safety and survival": [
        Target("p_adverse", "Adverse events, median P, Poisson, below", 0.001, "published", 0.0, 0.001, "median"),
        Target("fewer_adverse", "Fewer adverse events with IL-7, share of trials", 1.0, "published", 0.95, 1.0),
        Target("adverse_placebo", "Adverse events per patient, placebo", 6.0, "assumed"),
        Target("adverse_il7", "Adverse events per patient, IL-7", 4.5, "assumed"),
        Target("serious_placebo", "Share with a serious event, placebo", 0.40, "assumed"),
        Target("serious_il7", "Share with a serious event, IL-7", 0.35, "assumed"),
        Target("dead30_placebo", "Dead by day 30, placebo", 0.27, "assumed"),
        Target("dead30_il7", "Dead by day 30, IL-7", 0.25, "assumed"),
        Target("dead90_placebo", "Dead by day 90, placebo", 0.32, "assumed"),
        Target("dead90_il7", "Dead by day 90, IL-7", 0.29, "assumed"),
        Target(
            "p_death_significant",
            "Day-30 deaths significantly different, share of trials",
            0.05,
            "published",
            0.0,
            0.10,
        ),
    ],
    "Stays (survivors, days from randomisation)": [
        Target("hospital_shorter", "Shorter hospital stay with IL-7, share of trials", 1.0, "published", 0.5, 1.0),
        Target("icu_shorter", "Shorter ICU stay with IL-7, share of trials", 1.0, "published", 0.5, 1.0),
        Target("hospital_placebo", "Median hospital stay, placebo", 25, "assumed"),
        Target("hospital_il7", "Median hospital stay, IL-7", 21, "assumed"),
        Target("icu_placebo", "Median ICU stay, placebo", 15, "assumed"),
        Target("icu_il7", "Median ICU stay, IL-7", 12, "assumed"),
        Target("ventilator_free", "Ventilator-free days to 28, ventilated, placebo, median", 9, "assumed", 5, 12),
    ],
}
PATIENTS_TARGETS = [
    Target("infected_placebo", "Share with an infection, placebo", 0.54, "derived", 0.52, 0.56),
    Target("infected_il7", "Share with an infection, IL-7", 0.30, "derived", 0.29, 0.31),
    Target("p_chi_square", "Median P, chi-square on patients", 0.014, "published", 0.009, 0.020, "median"),
]


def describe_trial(tables: SimulatedTables) -> dict[str, float]:
    """Return the statistics of one trial."""
    patients = tables.patients
    ids = pd.Index(patients["patient_id"])
    il7 = (patients["arm"] == "il7").to_numpy()
    cohorts = load_scenario("published").trial.allocation.cohorts.values
    row = {f"n_{name}": float((patients["cohort"] == name).sum()) for name in cohorts}
    row["n_il7"] = float(il7.sum())
    count = patients["absolute_lymphocyte_count"].to_numpy(dtype=float)
    eligible = patients["age"].between(25, 80).to_numpy() & ~(count > 1.0)
    row |= {"eligible": float(eligible.mean()), "count_median": float(np.nanmedian(count))}
    events = {str(kind): frame for kind, frame in tables.events.groupby("kind")}
    death = _days(events["death"], ids)
    row |= _infections(events["infection"], ids, il7)
    row |= _lymphocytes(tables, ids, il7, death)
    row |= _safety(events["adverse_event"], ids, il7, death)
    row |= _stays(patients, il7, death)
    truth = tables.truth
    row["auroc"] = roc_auc_score(truth["infection_untreated"], truth["infection_day30_untreated"])
    return row


def _rows(table: pd.DataFrame, ids: pd.Index) -> NDArray[np.intp]:
    return ids.get_indexer(pd.Index(table["patient_id"]))


def _days(events: pd.DataFrame, ids: pd.Index) -> Floats:
    days = np.full(len(ids), np.inf)
    days[_rows(events, ids)] = events["day"]
    return days


def _per_patient(events: pd.DataFrame, ids: pd.Index) -> Floats:
    return np.bincount(_rows(events, ids), minlength=len(ids)).astype(float)


def _by_arm(name: str, values: Floats | Bools, il7: Bools, summary: Callable[[Any], Any] = np.mean) -> dict[str, float]:
    return {f"{name}_placebo": float(summary(values[~il7])), f"{name}_il7": float(summary(values[il7]))}


def _infections(infections: pd.DataFrame, ids: pd.Index, il7: Bools) -> dict[str, float]:
    counts = _per_patient(infections, ids)
    first = infections.groupby("patient_id")["day"].min()
    types = infections["detail"].value_counts(normalize=True)
    k = negative_binomial_k(counts, il7)
    infected = np.array([[(counts[arm] > 0).sum(), (counts[arm] == 0).sum()] for arm in (~il7, il7)])
    return {
        **_by_arm("infections", counts, il7),
        **_by_arm("infected", counts > 0, il7),
        "p_poisson": rate_ratio_p(counts, il7, np.inf),
        "p_negative_binomial": rate_ratio_p(counts, il7, k),
        "k": k,
        "p_chi_square": chi2_contingency(infected, correction=False).pvalue,
        "first_infection_day": float(first.median()),
        "pneumonia": types.get("pneumonia", 0.0),
        "bloodstream": types.get("bloodstream", 0.0),
    }


def _lymphocytes(tables: SimulatedTables, ids: pd.Index, il7: Bools, death: Floats) -> dict[str, float]:
    labs = tables.labs[(tables.labs["analyte"] == "absolute_lymphocyte_count") & (tables.labs["day"] > 0)]
    final = np.full(len(ids), np.nan)
    last = labs.drop_duplicates("patient_id", keep="last")
    final[_rows(last, ids)] = np.log(last["value"])
    antiviral = tables.patients["antiviral_during_treatment"].to_numpy(dtype=int) == 1
    groups = {"without": ~antiviral, "with": antiviral, "all": np.ones_like(il7)}
    row = {"n_without": float((~antiviral).sum())}
    tests = {}
    for name, group in groups.items():
        first, second = (final[arm & group & np.isfinite(final)] for arm in (il7, ~il7))
        row[f"log_ratio_{name}"] = float(first.mean() - second.mean())
        tests[name] = float(ttest_ind(first, second).pvalue)
    row |= {"p_without": tests["without"], "not_significant": float(tests["all"] >= 0.05)}
    row["log_sd"] = float(np.nanstd(final[~il7], ddof=1))
    for day in (7, 14, 21, 30):
        row[f"missing_{day}"] = 1 - float((labs["day"] == day).sum()) / len(ids)
    day_14 = labs[labs["day"] == 14]
    dying = death[_rows(day_14, ids)] <= 30
    values = day_14["value"].to_numpy()
    row["dying_ratio"] = float(np.median(values[dying]) / np.median(values[~dying])) if dying.any() else np.nan
    return row


def _safety(adverse: pd.DataFrame, ids: pd.Index, il7: Bools, death: Floats) -> dict[str, float]:
    counts = _per_patient(adverse, ids)
    serious = _per_patient(adverse[adverse["detail"].str.endswith("|1")], ids)
    dead = np.array([[(death[arm] <= 30).sum(), (death[arm] > 30).sum()] for arm in (~il7, il7)])
    return {
        **_by_arm("adverse", counts, il7),
        **_by_arm("serious", serious > 0, il7),
        **_by_arm("dead30", death <= 30, il7),
        **_by_arm("dead90", death <= 90, il7),
        "p_adverse": rate_ratio_p(counts, il7, np.inf),
        "fewer_adverse": float(counts[il7].mean() < counts[~il7].mean()),
        "p_death_significant": float(chi2_contingency(dead, correction=False).pvalue < 0.05),
    }


def _stays(patients: pd.DataFrame, il7: Bools, death: Floats) -> dict[str, float]:
    alive = death > 90
    stays = {name: patients[f"{name}_days"].to_numpy(dtype=float) for name in ("hospital", "icu", "ventilation")}
    row = _by_arm("hospital", stays["hospital"][alive], il7[alive], np.median)
    row |= _by_arm("icu", stays["icu"][alive], il7[alive], np.median)
    for name in ("hospital", "icu"):
        row[f"{name}_shorter"] = float(row[f"{name}_il7"] < row[f"{name}_placebo"])
    free = np.where(death <= 28, 0.0, np.maximum(28 - stays["ventilation"], 0.0))
    ventilated = (patients["respiratory_support"] == "invasive").to_numpy()
    row["ventilator_free"] = float(np.median(free[ventilated & ~il7]))
    return row


def rate_ratio_p(counts: Floats, il7: Bools, k: float) -> float:
    """Return the Wald P value of the log rate ratio; variance of a count is mean + mean^2 / k."""
    arms = counts[~il7], counts[il7]
    log_ratio = np.log(arms[1].mean() / arms[0].mean())
    variance = sum((1 / arm.mean() + 1 / k) / arm.size for arm in arms)
    return float(2 * norm.sf(abs(log_ratio) / np.sqrt(variance)))


def negative_binomial_k(counts: Floats, il7: Bools) -> float:
    """Return the maximum-likelihood k of counts whose means are those of the arms."""
    mean = np.where(il7, counts[il7].mean(), counts[~il7].mean())

    def loss(log_k: float) -> float:
        k = np.exp(log_k)
        return -float((gammaln(counts + k) - gammaln(k) + k * np.log(k / (k + mean)) - counts * np.log(k + mean)).sum())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 7), method="bounded").x))


def collect(scenario: str, trials: int, folder: Path) -> pd.DataFrame:
    """Return the statistics of seeds 0 to trials - 1; those that stand on disk are not simulated again."""
    path = folder / f"calibration-{scenario}-{_version()}.csv"
    done = pd.read_csv(path) if path.exists() else pd.DataFrame({"seed": []})
    missing = sorted(set(range(trials)) - set(done["seed"].astype(int)))
    folder.mkdir(parents=True, exist_ok=True)
    for start in tqdm(range(0, len(missing), 50), desc=scenario, unit="50 trials"):
        seeds = missing[start : start + 50]
        new = [{"seed": seed, **describe_trial(simulate_tables(TRIAL_SIZE, seed, scenario))} for seed in seeds]
        pd.DataFrame(new).to_csv(path, mode="a", header=not path.exists(), index=False)
    rows: pd.DataFrame = pd.read_csv(path)
    return rows.loc[rows["seed"] < trials].drop_duplicates("seed")


def _version() -> str:
    """Return a digest of the simulator and this file: rows of another version are not mixed with new ones."""
    package = Path(str(resources.files("il7ml.data")))
    files = [package / "simulation.yaml", package / "generator.py", *sorted(package.glob("simulated_*.py"))]
    content = b"".join(file.read_bytes() for file in [*files, package / "scenario.py", Path(__file__)])
    return hashlib.sha256(content).hexdigest()[:12]


def summarise(rows: pd.DataFrame, target: Target) -> tuple[float, float]:
    """Return the simulated value of a target's statistic and its Monte-Carlo standard error."""
    values = rows[target.name].dropna().to_numpy()
    root = np.sqrt(values.size)
    if target.summary == "median":
        # Half the distance of the order statistics one binomial standard deviation from the middle.
        low, high = np.quantile(values, [0.5 - 0.5 / root, 0.5 + 0.5 / root])
        return float(np.median(values)), float(high - low) / 2
    if target.summary == "ratio of logs":
        return float(np.exp(values.mean())), float(np.exp(values.mean()) * values.std(ddof=1) / root)
    if target.summary == "ratio":
        below = rows[target.over].to_numpy()
        ratio = values.mean() / below.mean()
        return float(ratio), float((values - ratio * below).std(ddof=1) / below.mean() / root)
    return float(values.mean()), float(values.std(ddof=1) / root)


def compare(rows: pd.DataFrame, targets: list[Target]) -> pd.DataFrame:
    """Return the table of targets: text, target, range, simulated, error, status, held."""
    lines = []
    for target in targets:
        value, error = summarise(rows, target)
        if target.low is None or target.high is None:
            allowed, held = "", abs(value - target.value) <= max(2 * error, 0.03 * abs(target.value))
        else:
            allowed, held = f"{target.low:g}-{target.high:g}", target.low <= value <= target.high
        held_text = "yes" if held else "no"
        lines.append(
            (target.text, f"{target.value:g}", allowed, f"{value:.3g}", f"{error:.1g}", target.status, held_text)
        )
    return pd.DataFrame(lines, columns=["Statistic", "Target", "Range", "Simulated", "MC error", "Status", "Holds"])


def as_markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    lines = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def lymphocyte_curves(tables: SimulatedTables) -> pd.DataFrame:
    """Return quartiles of the measured count: ``antiviral, arm, day, low, median, high``."""
    labs = tables.labs[tables.labs["analyte"] == "absolute_lymphocyte_count"]
    days = load_scenario("published").trial.visits.days.values
    labs = labs[labs["day"].isin(days)].merge(tables.patients[["patient_id", "arm", "antiviral_during_treatment"]])
    groups = labs.groupby(["antiviral_during_treatment", "arm", "day"])["value"]
    quartiles = {name: groups.quantile(q) for name, q in (("low", 0.25), ("median", 0.5), ("high", 0.75))}
    return pd.DataFrame(quartiles).reset_index().rename(columns={"antiviral_during_treatment": "antiviral"})


def cumulative_infections(tables: SimulatedTables) -> pd.DataFrame:
    """Return ``arm, day, mean, share``: infections per randomised patient and share with at least one, by day."""
    events = tables.events[tables.events["kind"] == "infection"].merge(tables.patients[["patient_id", "arm"]])
    sizes = tables.patients["arm"].value_counts()
    lines = []
    for arm, group in events.groupby("arm"):
        first = group.drop_duplicates("patient_id")
        for day in range(31):
            counts = ((frame["day"] <= day).sum() / sizes[arm] for frame in (group, first))
            lines.append((arm, day, *counts))
    return pd.DataFrame(lines, columns=["arm", "day", "mean", "share"])


_ARMS = {"placebo": ("placebo", "#7f7f7f"), "il7": ("IL-7", "#1f77b4")}


def draw_lymphocytes(curves: pd.DataFrame, path: Path) -> None:
    """Draw medians and quartiles of the count by arm, without and with antivirals."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    for axis, (antiviral, part) in zip(axes, curves.groupby("antiviral"), strict=True):
        for arm, (label, colour) in _ARMS.items():
            line = part[part["arm"] == arm]
            axis.plot(line["day"], line["median"], "o-", color=colour, label=label)
            axis.fill_between(line["day"], line["low"], line["high"], color=colour, alpha=0.15, linewidth=0)
        axis.axhline(1.0, color="black", linewidth=0.6, linestyle=":")
        axis.set(title="With antivirals" if antiviral else "Without antivirals", xlabel="Day after randomisation")
    axes[0].set_ylabel("Absolute lymphocyte count (10^9/L)")
    axes[0].legend(frameon=False)
    figure.suptitle("Simulated patients in hospital: median and quartiles")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_infections(curves: pd.DataFrame, path: Path) -> None:
    """Draw infections per patient, and the share of patients with one, by arm and day."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for arm, (label, colour) in _ARMS.items():
        line = curves[curves["arm"] == arm]
        axes[0].step(line["day"], line["mean"], where="post", color=colour, label=label)
        axes[1].step(line["day"], line["share"], where="post", color=colour, label=label)
    axes[0].set(title="Infections per patient", xlabel="Day after randomisation", ylim=(0, None))
    axes[1].set(title="Patients with an infection", xlabel="Day after randomisation", ylim=(0, None))
    axes[0].legend(frameon=False)
    figure.suptitle("Simulated patients: hospital-acquired infections; death and discharge end the count")
    figure.savefig(path, dpi=120)
    plt.close(figure)


INTRODUCTION = """# Calibration of the simulated IL-7 trial

Made by `python benchmarks/calibration.py --trials {trials}` from {trials} simulated trials of {size} patients (scenario
`published`) and {others} (scenario `patients`). **Simulated patients only.** The parameters, each with its status and
source, stand in `src/il7ml/data/simulation.yaml`.

- *Status*, where the target comes from: **published** was read in a publication or registry entry; **derived** follows
  from published numbers by arithmetic; **assumed** comes from related cohorts or judgement. The trial's baseline table,
  counts by arm, stays and deaths could not be read: an assumed target that holds says nothing about the trial.
- *Simulated* is the mean over trials; for P values, k and days the median; for ratios the ratio of the means over
  trials, or the mean of the log ratio turned back. *MC error* is its Monte-Carlo standard error.
- *Holds*: inside the range, or without one within two Monte-Carlo errors or 3 % of the target.
- Infections, adverse events: Wald tests of the log rate ratio per patient over 30 days. Counts: t test of the log.
  The published subgroup is by antivirals during treatment, which randomisation does not protect.
"""

NOTES = """
Where a target does not hold:

- *Count missing on days 14 to 30*: deaths and discharges alone, at the mortality and stays assumed, leave fewer
  patients in hospital than these shares suppose; in hospital itself only about 3 % of counts are missing.
"""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="trials of the scenario published (default 2000)")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the rows")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the table and the pictures")
    arguments = parser.parse_args()
    others = max(arguments.trials // PATIENTS_SHARE, 2)
    rows = collect("published", arguments.trials, arguments.results)
    sections = {name: compare(rows, targets) for name, targets in TARGETS.items()}
    sections["Scenario `patients` (44 % fewer, read as patients)"] = compare(
        collect("patients", others, arguments.results), PATIENTS_TARGETS
    )
    text = INTRODUCTION.format(trials=arguments.trials, size=TRIAL_SIZE, others=others)
    text += "".join(f"\n## {name}\n\n{as_markdown(table)}\n" for name, table in sections.items()) + NOTES
    text += "\n![Simulated lymphocyte counts by day](img/calibration_lymphocytes.png)\n"
    text += "\n![Simulated cumulative infections](img/calibration_infections.png)\n"
    (arguments.docs / "img").mkdir(parents=True, exist_ok=True)
    (arguments.docs / "calibration.md").write_text(text, encoding="utf-8")
    picture = simulate_tables(PICTURE_SIZE, seed=0)
    draw_lymphocytes(lymphocyte_curves(picture), arguments.docs / "img" / "calibration_lymphocytes.png")
    draw_infections(cumulative_infections(picture), arguments.docs / "img" / "calibration_infections.png")
    print(pd.concat(sections, names=["Group"]).droplevel(1).to_string())


if __name__ == "__main__":
    main()
