"""Show what power any test of heterogeneity can have in the step world, and how near il7ml's comes.

In large samples the studentised statistics t of all directions are jointly normal with their correlations R, and a
subgroup k whose effect differs by a gap shifts them by delta_k R_k. Here delta_k = gap sqrt(n share (1 - share)) /
sigma, with sigma the standard deviation of the scores when both arms' means are known exactly. If each subgroup of a
family is as likely to be the true one, no test of the same size has more power, on average over the family, than the
average likelihood ratio, the mean of exp(delta_k t_k - delta_k^2 / 2) (Neyman and Pearson). It knows the size of the
gap and that there is nothing but such a subgroup; with `sign known` also that the subgroup is the one that benefits.

    python benchmarks/heterogeneity_bound.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from effects_tables import as_markdown
from il7ml.evaluation import heterogeneity
from worlds import WORLDS, World

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

LEVEL = 0.05
PATIENTS = 40_000
DRAWS = 20_000
#: Subgroups of the family: shares of patients in it, and where the continuous variables are cut.
SHARES = (0.1, 0.4)
CUTS = np.arange(1, 10) / 10


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[500, 2000])
    options = parser.parse_args()
    rows = [row for n in options.n for row in powers(WORLDS["step"], n, np.random.default_rng(0))]
    print(as_markdown(pd.DataFrame(rows, columns=["n", "test", "step world's subgroup", "mean over the family"])))


def powers(world: World, n: int, rng: np.random.Generator) -> list[list[object]]:
    """Return the power of each test at n patients."""
    trial = world.draw(PATIENTS, rng)
    inside = trial.effect == trial.effect.min()
    gap = float(np.ptp(trial.effect))
    sigma = _score_spread(world, rng)
    values = trial.X.to_numpy(float)
    binary = np.array([np.unique(column).size == 2 for column in values.T])
    tested = heterogeneity._directions(values, _risk(world, trial.X))
    family = _family(values[:, binary], values[:, ~binary])
    columns = np.column_stack([tested.values, family, inside])
    correlation = np.corrcoef(columns, rowvar=False)
    shift = gap * np.sqrt(n) * columns.std(axis=0) / sigma
    drawn = rng.multivariate_normal(np.zeros(len(correlation)), correlation, size=DRAWS, method="eigh")
    own = slice(0, tested.values.shape[1])
    members = slice(own.stop, len(correlation) - 1)

    def likelihood_ratio(t: Floats, signs: tuple[int, ...]) -> Floats:
        exponents = [sign * shift[members] * t[:, members] - shift[members] ** 2 / 2 for sign in signs]
        return np.asarray(np.mean([np.exp(exponent).mean(axis=1) for exponent in exponents], axis=0))

    tests: dict[str, Statistic] = {
        "il7ml": lambda t: heterogeneity._bayes_factors(t[:, own]) @ tested.weight,
        "best possible": lambda t: likelihood_ratio(t, (1, -1)),
        "best possible, sign known": lambda t: likelihood_ratio(t, (1,)),
        "the subgroup known": lambda t: np.abs(t[:, -1]),
    }
    rows: list[list[object]] = []
    for name, statistic in tests.items():
        least = np.quantile(statistic(drawn), 1 - LEVEL)

        def power(truth: int, draws: Floats, statistic: Statistic = statistic, least: float = least) -> float:
            return float((statistic(draws + shift[truth] * correlation[truth]) > least).mean())

        found = [power(k, drawn[:1000]) for k in range(members.start, members.stop)]
        mean = "" if name == "the subgroup known" else f"{np.mean(found):.2f}"
        rows.append([n, name, f"{power(-1, drawn):.2f}", mean])
    return rows


def _score_spread(world: World, rng: np.random.Generator) -> float:
    """Return the standard deviation of an effect score about the effect, both arms' means known."""
    trial = world.draw(PATIENTS, rng)
    untreated, effect = world._means(trial.X)
    mean = untreated + trial.treatment * effect
    sign = np.where(trial.treatment == 1, 1 / trial.propensity, -1 / (1 - trial.propensity))
    return float((sign * (trial.y - mean)).std())


def _risk(world: World, X: pd.DataFrame) -> Floats:
    untreated, _ = world._means(X)
    return np.asarray(np.log(untreated / (1 - untreated)))


def _family(binary: Floats, continuous: Floats) -> Floats:
    """Return subgroups: one side of a cut of a continuous variable, within a level of a binary one."""
    levels = np.column_stack([binary == binary.min(axis=0), binary == binary.max(axis=0)])
    below = np.column_stack([continuous < cut for cut in np.quantile(continuous, CUTS, axis=0)])
    sides = np.column_stack([below, ~below])
    groups = np.column_stack([level[:, None] & sides for level in levels.T])
    share = groups.mean(axis=0)
    return groups[:, (share > SHARES[0]) & (share < SHARES[1])].astype(float)


if __name__ == "__main__":
    main()
