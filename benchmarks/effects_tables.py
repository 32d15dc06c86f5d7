"""Tables of the rows of effects.py: each cell, ratios of all estimators, and the comparison with the best peer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

Floats = NDArray[np.float64]

BOOTSTRAP = 2000


def each_cell(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each size, estimator and world, and the mean over the worlds with a bootstrap interval."""
    lines = []
    for (n, estimator), cell in rows.groupby(["n", "estimator"], sort=False):
        parts = dict(list(cell.groupby("world", sort=False)))
        draws = {world: _ratio_draws(part) for world, part in parts.items()}
        for world, part in parts.items():
            lines.append([n, estimator, world, len(part), _interval(draws[world]), *_judged(part)])
        if len(parts) > 1:
            mean = np.mean(list(draws.values()), axis=0)
            lines.append([n, estimator, "mean", cell["seed"].nunique(), _interval(mean), *[""] * 5])
    names = ["n", "estimator", "world", "trials", "ratio", "coverage", "width"]
    return pd.DataFrame(lines, columns=[*names, "average: variance ratio", "average: coverage", "CPU s"])


def ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each size and estimator: its ratio in each world, and their mean."""
    lines = []
    for (n, estimator), cell in rows.groupby(["n", "estimator"], sort=False):
        found = {world: _ratio_draws(part)[0] for world, part in cell.groupby("world", sort=False)}
        texts = {world: f"{value:.2f}" for world, value in found.items()}
        lines.append(
            {"n": n, "estimator": estimator, "trials": cell["seed"].nunique()}
            | texts
            | {"mean": f"{np.mean(list(found.values())):.2f}"}
        )
    return pd.DataFrame(lines)


def intervals(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each size and estimator that gives intervals: coverage and mean width in each world."""
    lines = []
    for (n, estimator), cell in rows[rows["covered"].notna()].groupby(["n", "estimator"], sort=False):
        texts = {
            world: f"{part['covered'].mean():.2f} at {part['width'].mean():.2f}"
            for world, part in cell.groupby("world", sort=False)
        }
        lines.append({"n": n, "estimator": estimator} | texts | {"CPU s": f"{cell['cpu_seconds'].mean():.2g}"})
    return pd.DataFrame(lines)


def beside_best_peer(rows: pd.DataFrame, peers: Sequence[str]) -> pd.DataFrame:
    """Return, for each size, world and estimator of ours, its error as a multiple of the best peer's.

    Both errors are means over the same trials. Which peer is best is seen in these trials too, which favours it.
    """
    lines = []
    for (n, world), cell in rows.groupby(["n", "world"], sort=False):
        errors = cell.pivot_table(index="seed", columns="estimator", values="rmse", sort=False)
        theirs = [name for name in errors if name in peers]
        if not theirs:
            continue
        best = str(errors[theirs].dropna().mean().idxmin())
        for name in (name for name in errors if name not in peers):
            pair = errors[[name, best]].dropna().to_numpy()
            lines.append([n, world, name, best, len(pair), _interval(_bootstrapped(pair))])
    return pd.DataFrame(lines, columns=["n", "world", "estimator", "best peer", "trials", "error / best peer's"])


def as_markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    lines: Iterable[list[Any]] = [list(table.columns), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _ratio_draws(part: pd.DataFrame) -> Floats:
    """Return the ratio of mean errors, then its bootstrap draws over paired seeds."""
    return _bootstrapped(part.sort_values("seed")[["rmse", "rmse_reference"]].to_numpy())


def _bootstrapped(pair: Floats) -> Floats:
    # The same draws for all worlds of as many trials: their seeds, and so their patients, are the same.
    drawn = np.random.default_rng(0).integers(0, len(pair), (BOOTSTRAP, len(pair)))
    means = np.vstack([pair.mean(axis=0)[None], pair[drawn].mean(axis=1)])
    return np.asarray(means[:, 0] / means[:, 1])


def _interval(draws: Floats) -> str:
    low, high = np.quantile(draws[1:], [0.025, 0.975])
    return f"{draws[0]:.2f} ({low:.2f} to {high:.2f})"


def _judged(part: pd.DataFrame) -> list[str]:
    variance = (part["ate_error"] ** 2).mean() / (part["reference_error"] ** 2).mean()
    texts = [
        _unless_missing(part["covered"], f"{part['covered'].mean():.3f}"),
        _unless_missing(part["width"], f"{part['width'].mean():.2f}"),
        _unless_missing(part["ate_error"], f"{variance:.2f}"),
        _share(part["ate_covered"]),
    ]
    return [*texts, f"{part['cpu_seconds'].mean():.2g}"]


def _unless_missing(values: pd.Series[float], text: str) -> str:
    """Return the text, or nothing for an estimator that does not give the value."""
    return text if values.notna().all() else ""


def _share(covered: pd.Series[float]) -> str:
    if covered.isna().any():
        return ""
    interval = binomtest(int(covered.sum()), len(covered)).proportion_ci(method="wilson")
    return f"{covered.mean():.2f} ({interval.low:.2f} to {interval.high:.2f})"
