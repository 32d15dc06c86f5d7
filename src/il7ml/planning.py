"""Power by simulation: how often trials of a size are significant, and the smallest size at which enough of them are.

Nothing here knows a trial: it is a function of size and seed that returns a P value.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binomtest

from il7ml.errors import InputError
from il7ml.parallel import Progress, run_tasks, spawn, stream

Floats = NDArray[np.float64]
Steps = Callable[[str], AbstractContextManager[Progress | None]]

_CHUNK = 20  # trials a task
_LEVEL = 0.95
_ROUNDS = 3
_SPREAD = (0.6, 1.0, 1.6)
# How far from the size sought trials still count: over more than this the curve need not be a straight probit line.
_NEAR = 2.0
_ITERATIONS = 100
_SMALLEST_SEARCH = 50  # trials


class Finding(NamedTuple):
    """What one trial found.

    Attributes
    ----------
    p_value : float
        NaN where the trial could not be analysed.
    estimate : float
        On a scale on which estimates can be averaged: the logarithm of a ratio.
    problem : str
        Why it could not be analysed.
    """

    p_value: float
    estimate: float
    problem: str = ""


#: A trial: takes the number of patients and a seed; raises InputError where it cannot be analysed.
Trial = Callable[[int, np.random.SeedSequence], Finding]


class Simulated(NamedTuple):
    """Trials simulated at several sizes.

    Attributes
    ----------
    table : DataFrame
        ``n, trials, significant, power, std_error, low, high, failed, mean_estimate``; a row a size, see
        `simulate_power`.
    problems : Counter of str
        Why trials could not be analysed, and how many.
    """

    table: pd.DataFrame
    problems: Counter[str]


class Size(NamedTuple):
    """A number of patients, with its 95 % Monte-Carlo interval."""

    n: int
    low: int
    high: int


def simulate_power(
    trial: Trial,
    sizes: Sequence[int],
    trials: int,
    *,
    alpha: float = 0.05,
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
) -> Simulated:
    """Simulate trials of each size and count the significant ones.

    Parameters
    ----------
    trial : callable
    sizes : sequence of int
        Patients.
    trials : int
        Of each size. Each has its own seed, which depends on nothing but `seed`, its size and its number: more sizes or
        more trials leave the others as they are.
    alpha : float
        A trial is significant if its two-sided P value is below.
    seed : int
    workers : int
        As for `parallel.run_tasks`; no influence on results.
    progress : callable, optional

    Returns
    -------
    Simulated
        `power` is the share of significant trials and `std_error` its Monte-Carlo error; `low` and `high` are Wilson's
        95 % limits. Trials that cannot be analysed (`failed`) count as not significant. `mean_estimate` is the mean of
        the others' estimates, NaN without any.

    References
    ----------
    Morris et al., Stat Med 2019;38:2074, doi 10.1002/sim.8086 (Monte-Carlo error). Wilson, J Am Stat Assoc 1927;22:209,
    doi 10.1080/01621459.1927.10502953.

    Examples
    --------
    >>> def two_normal_means(n, seed):  # a difference of half a standard deviation
    ...     z = np.random.default_rng(seed).normal(0.5 * np.sqrt(n) / 2)
    ...     return Finding(2 * ndtr(-abs(z)), 2 * z / np.sqrt(n))
    >>> table = simulate_power(two_normal_means, [64, 128], 200).table
    >>> table["power"].between([0.4, 0.7], [0.6, 0.9]).all()  # 0.52 and 0.81 by the formula
    np.True_
    """
    sizes = sorted(set(sizes))
    seeds = {n: spawn(stream(seed, f"power at n = {n}"), trials) for n in sizes}
    tasks = [(trial, n, seeds[n][first : first + _CHUNK]) for n in sizes for first in range(0, trials, _CHUNK)]
    chunks = run_tasks(_run_chunk, tasks, workers=workers, progress=progress)
    found: dict[int, list[Finding]] = {n: [] for n in sizes}
    for (_, n, _), chunk in zip(tasks, chunks, strict=True):
        found[n] += chunk
    problems = Counter(each.problem for results in found.values() for each in results if np.isnan(each.p_value))
    rows = [_row(n, np.array([each[:2] for each in results]), alpha) for n, results in found.items()]
    return Simulated(pd.DataFrame(rows), problems)


def find_size(
    trial: Trial,
    target: float,
    *,
    trials: int,
    smallest: int,
    largest: int,
    alpha: float = 0.05,
    seed: int = 0,
    workers: int = 1,
    steps: Steps | None = None,
) -> tuple[Size, Simulated]:
    """Find the smallest number of patients at which the power reaches a target.

    From `smallest` on the size is doubled, with a fifth of the trials, until the target is reached. Then `trials`
    trials are simulated at each of three sizes around the one sought, where the power follows a probit regression on
    the square root of the size: a test whose statistic is normal with a mean that grows with that root has just this
    curve. The regression is solved for the target, with Fieller's interval; if the solution lies outside the three
    sizes they are moved, twice at most.

    Parameters
    ----------
    trial, alpha, seed, workers
        As for `simulate_power`.
    target : float
        Power.
    trials : int
        At each size near the one sought.
    smallest, largest : int
        Patients.
    steps : callable, optional
        Takes the label of a step and returns a context that yields a progress callback.

    Returns
    -------
    Size
        Not below `smallest`.
    Simulated
        All trials, the search included.

    Raises
    ------
    InputError
        If the target is not reached with `largest` patients, or there are too few trials for an interval.

    References
    ----------
    Zimmer and Debelak, Psychol Methods 2023, doi 10.1037/met0000611 (sample size from a regression on simulated
    trials). Fieller, J R Stat Soc B 1954;16:175.

    Examples
    --------
    >>> def two_normal_means(n, seed):  # by the formula 126 patients
    ...     z = np.random.default_rng(seed).normal(0.5 * np.sqrt(n) / 2)
    ...     return Finding(2 * ndtr(-abs(z)), 2 * z / np.sqrt(n))
    >>> size, simulated = find_size(two_normal_means, 0.8, trials=300, smallest=20, largest=5000)
    >>> 110 < size.n < 140, size.low < size.n < size.high
    (True, True)
    """
    steps = steps or (lambda label: nullcontext())
    rows: dict[int, Mapping[Hashable, Any]] = {}
    problems: Counter[str] = Counter()

    def run(sizes: Sequence[int], count: int) -> None:
        with steps(f"{', '.join(map(str, sizes))} patients") as progress:
            found = simulate_power(trial, sizes, count, alpha=alpha, seed=seed, workers=workers, progress=progress)
        # Trials of a size that comes again are those it had, and more.
        rows.update({int(row["n"]): row for row in found.table.to_dict("records")})
        problems.update(found.problems)

    def simulated() -> Simulated:
        return Simulated(pd.DataFrame([rows[n] for n in sorted(rows)]), problems)

    centre = _search(run, rows, target, max(_SMALLEST_SEARCH, trials // 5), smallest, largest)
    if rows[smallest]["low"] >= target:
        return Size(smallest, smallest, smallest), simulated()
    for _ in range(_ROUNDS):
        sizes = sorted({max(smallest, round(centre * factor)) for factor in _SPREAD})
        if missing := [n for n in sizes if n not in rows or rows[n]["trials"] < trials]:
            run(missing, trials)
        near = [row for n, row in rows.items() if centre / _NEAR <= n <= centre * _NEAR and row["trials"] >= trials]
        solution = _solve(pd.DataFrame(near), target)
        if sizes[0] <= solution.n <= sizes[-1]:
            break
        centre = float(np.clip(solution.n, max(smallest, centre / 2), centre * 2))
    return Size(*(max(smallest, value) for value in solution)), simulated()


def _run_chunk(trial: Trial, n: int, seeds: Sequence[np.random.SeedSequence]) -> list[Finding]:
    return [_run_one(trial, n, seed) for seed in seeds]


def _run_one(trial: Trial, n: int, seed: np.random.SeedSequence) -> Finding:
    try:
        return trial(n, seed)
    except InputError as error:
        return Finding(math.nan, math.nan, str(error))


def _row(n: int, results: Floats, alpha: float) -> dict[str, float]:
    """Return one size's row from P values and estimates, shape (trials, 2)."""
    p_values, estimates = results.T
    trials, significant = p_values.size, int((p_values < alpha).sum())
    power = significant / trials
    limits = binomtest(significant, trials).proportion_ci(_LEVEL, method="wilson")
    analysed = ~np.isnan(p_values)
    known = estimates[analysed & ~np.isnan(estimates)]
    return {
        "n": n,
        "trials": trials,
        "significant": significant,
        "power": power,
        "std_error": math.sqrt(power * (1 - power) / trials),
        "low": float(limits.low),
        "high": float(limits.high),
        "failed": int((~analysed).sum()),
        "mean_estimate": float(known.mean()) if known.size else math.nan,
    }


def _search(
    run: Callable[[Sequence[int], int], None],
    rows: Mapping[int, Mapping[Hashable, Any]],
    target: float,
    trials: int,
    smallest: int,
    largest: int,
) -> float:
    """Double the size until the target is reached, and return the size at which the last two steps suggest it is."""
    n = smallest
    run([n], trials)
    while rows[n]["power"] < target:
        if n >= largest:
            raise InputError(
                f"target_power: {target:g} is not reached with {largest} patients, where the power is "
                f"{rows[n]['power']:.2f}. Choose a lower target, another endpoint or a scenario with a "
                "stronger effect, or allow more patients."
            )
        n = min(2 * n, largest)
        run([n], trials)
    if n == smallest:
        return float(smallest)
    last = pd.DataFrame([rows[size] for size in sorted(rows)[-2:]])
    (intercept, slope), _ = probit_line(last)
    return float(((ndtri(target) - intercept) / slope) ** 2)


def _solve(table: pd.DataFrame, target: float) -> Size:
    """Solve the probit regression for the target power, with Fieller's interval."""
    (intercept, slope), covariance = probit_line(table)
    distance, width = intercept - ndtri(target), ndtri(0.5 + _LEVEL / 2) ** 2
    # The limits of r, the root of the size, are where (distance + slope r)^2 = width x its variance.
    square = slope**2 - width * covariance[1, 1]
    linear = distance * slope - width * covariance[0, 1]
    constant = distance**2 - width * covariance[0, 0]
    if slope <= 0 or square <= 0:
        raise InputError(
            f"trials: {int(table['trials'].sum())} trials do not show how the power grows with the number of patients. "
            "Ask for more trials."
        )
    spread = math.sqrt(linear**2 - square * constant)
    low, high = (max(0.0, (-linear + sign * spread) / square) for sign in (-1, 1))
    return Size(math.ceil(max(0.0, -distance / slope) ** 2), math.floor(low**2), math.ceil(high**2))


def probit_line(table: pd.DataFrame) -> tuple[Floats, Floats]:
    """Fit probit(power) = intercept + slope x sqrt(n) to numbers of significant trials by maximum likelihood.

    Half a significant and half another trial are added at each size, so that there is always a finite fit.

    Parameters
    ----------
    table : DataFrame
        Columns n, trials, significant; at least two sizes.

    Returns
    -------
    coefficients : ndarray of shape (2,)
        Intercept, slope.
    covariance : ndarray of shape (2, 2)

    Examples
    --------
    >>> table = pd.DataFrame({"n": [100, 400], "trials": [1000, 1000], "significant": [170, 516]})
    >>> probit_line(table)[0].round(3)  # tests at 0.05 of an effect of 0.1 standard errors a patient's root
    array([-1.946,  0.099])
    """
    design = np.column_stack([np.ones(len(table)), np.sqrt(table["n"].to_numpy(dtype=float))])
    total = table["trials"].to_numpy(dtype=float) + 1
    share = (table["significant"].to_numpy(dtype=float) + 0.5) / total
    predictor, coefficients = ndtri(share), np.zeros(2)
    for _ in range(_ITERATIONS):
        mean, density = ndtr(predictor), np.exp(-(predictor**2) / 2) / math.sqrt(2 * math.pi)
        weight = total * density**2 / (mean * (1 - mean))
        information = (design * weight[:, None]).T @ design
        before = coefficients
        coefficients = np.linalg.solve(information, design.T @ (weight * predictor + weight * (share - mean) / density))
        if np.abs(coefficients - before).max() < 1e-10:
            break
        predictor = design @ coefficients
    return coefficients, np.linalg.inv(information)
