"""What a search tries next, by Optuna: a matter of seed and earlier results alone, so that it can be taken up again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from il7ml.errors import InputError
from il7ml.parallel import spawn
from il7ml.sweep_config import Range

#: Candidates proposed at a time, whatever the number of workers, which must not change what is proposed.
ROUND = 4


class Trial(NamedTuple):
    """A proposal with its result.

    Attributes
    ----------
    place : dict of str to number
        Where in the ranges; of choices their number.
    value : float
        NaN where it could not be measured.
    """

    place: dict[str, Any]
    value: float


def propose(
    ranges: Mapping[str, Range], trials: Sequence[Trial], count: int, seed: int, *, maximize: bool
) -> list[dict[str, Any]]:
    """Return the next places to try, by a tree-structured Parzen estimator.

    Parameters
    ----------
    ranges : mapping of str to Range
    trials : sequence of Trial
        All earlier ones.
    count : int
        Places to return; they do not know of each other.
    seed : int
    maximize : bool
        Whether larger values are better.

    Returns
    -------
    list of dict
        Places, to be read with `settings_at`.

    Raises
    ------
    InputError
        If Optuna is not installed.

    References
    ----------
    Bergstra et al., NeurIPS 2011 (tree-structured Parzen estimator). Akiba et al., KDD 2019,
    doi 10.1145/3292500.3330701 (Optuna).
    """
    optuna = _import_optuna()
    space = {key: _distribution(optuna, each) for key, each in ranges.items()}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize" if maximize else "minimize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    for trial in trials:
        if math.isfinite(trial.value):
            done = optuna.trial.create_trial(params=trial.place, distributions=space, value=trial.value)
            study.add_trial(done)
    found = []
    for source in spawn(seed, len(trials) + count)[len(trials) :]:
        study.sampler = optuna.samplers.TPESampler(seed=int(source.generate_state(1)[0]))
        found.append(dict(study.ask(space).params))
    return found


def settings_at(ranges: Mapping[str, Range], place: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the config keys at a place.

    Examples
    --------
    >>> ranges = {"models": Range(choices=["a", "b"]), "refits": Range(low=10, high=50)}
    >>> settings_at(ranges, {"models": 1, "refits": 20})
    {'models': 'b', 'refits': 20}
    """
    return {key: each.choices[place[key]] if each.choices else place[key] for key, each in ranges.items()}


def _distribution(optuna: Any, each: Range) -> Any:
    if each.choices:
        return optuna.distributions.CategoricalDistribution(tuple(range(len(each.choices))))
    kind = optuna.distributions.IntDistribution if each.whole else optuna.distributions.FloatDistribution
    return kind(each.low, each.high, log=each.log)


def _import_optuna() -> Any:
    try:
        return import_module("optuna")
    except ImportError:
        raise InputError(
            "a sweep's search needs Optuna, which is not installed. Run pip install 'il7ml[tuning]', or give a grid."
        ) from None
