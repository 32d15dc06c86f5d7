"""Fit the effect model to a million patients with 12 covariates and give each an effect with its interval.

Prints CPU seconds for fit, effects and intervals by number of patients, the exponent at which they grow, peak memory
of the process, and how good effects and intervals are where the truth is known. Given the interpreter of an environment
made by `make peers`, boosted DR- and X-learners of other libraries, which have no intervals, learn from the same
patients and say the effects of the same.

    python benchmarks/million.py
    python benchmarks/million.py --peers-python .venv-peers/bin/python
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from il7ml.models.effect_model import EffectModel
from peer_process import PeerProcess
from worlds import WORLDS, Trial, World

SEED = 70000
PEERS = ("econml_dr_boosted", "causalml_x_boosted")


def error(effect: np.ndarray, trial: Trial) -> float:
    """Return the root mean square error in standard deviations of the true effects."""
    return float(np.sqrt(np.mean((effect - trial.effect) ** 2)) / max(float(trial.effect.std()), 1e-12))


def ours(world: World, n: int) -> float:
    """Print how the effect model does, and return its CPU seconds."""
    trial = world.draw(n, np.random.default_rng(SEED))
    start = time.process_time()
    model = EffectModel(world.outcome)
    model.fit(trial.X, trial.y, trial.treatment, propensity=trial.propensity, exposure=trial.exposure)
    fitted = time.process_time()
    effect = model.predict(trial.X)
    low, high = model.predict_interval(trial.X)
    done = time.process_time()
    covered = np.mean((low <= trial.effect) & (trial.effect <= high))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"| effect_model | {n} | {fitted - start:.1f} + {done - fitted:.1f} | {memory:.1f} "
        f"| {error(effect, trial):.2f} | {covered:.3f} | {np.mean(high - low):.3f} |",
        flush=True,
    )
    return done - start


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--world", default="complex", choices=list(WORLDS))
    parser.add_argument("--peers-python", type=Path)
    options = parser.parse_args()
    world, sizes = WORLDS[options.world], sorted(options.n)
    print("| estimator | patients | CPU s: fit + answers | peak GB | error / SD of effects | coverage | width |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    seconds = [ours(world, n) for n in sizes]
    if options.peers_python is not None:
        trial = world.draw(sizes[-1], np.random.default_rng(SEED))
        for name in PEERS:
            with PeerProcess(options.peers_python) as process:
                answer = process.ask(name, trial, trial, SEED)
                cells = f"{process.version(name)} | {sizes[-1]} | {answer.cpu_seconds:.1f}"
                print(f"| {name}, {cells} |  | {error(answer.effect, trial):.2f} |  |  |", flush=True)
    if len(sizes) > 1:
        exponent = np.log(seconds[-1] / seconds[0]) / np.log(sizes[-1] / sizes[0])
        print(f"\nCPU time grows with the number of patients to the power of {exponent:.2f}.")


if __name__ == "__main__":
    main()
