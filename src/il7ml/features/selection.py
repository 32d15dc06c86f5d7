"""Which variables models may see: those known at or before randomisation, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from il7ml.config import FeatureConfig
from il7ml.data.study import Study
from il7ml.errors import InputError, nearest
from il7ml.features.columns import DERIVED, with_derived
from il7ml.schema import Variable


def select_variables(study: Study, wanted: FeatureConfig) -> dict[str, Variable]:
    """Return the features of a run, derived ones included, in the study's order.

    What the study file itself lists as left out is skipped; a run says so in its notes.

    Raises
    ------
    InputError
        If a variable is unknown, or known only after randomisation: leakage is refused, not reviewed.

    Examples
    --------
    >>> from il7ml.data.simulator import il7_study
    >>> list(select_variables(il7_study(), FeatureConfig(include=("age", "sofa_score"))))
    ['age', 'sofa_score']
    """
    mapped = study.mapped
    possible = with_derived({name: variable for name, variable in mapped.items() if variable.is_baseline})
    for key, names in (("include", wanted.include or ()), ("exclude", wanted.exclude)):
        for name in names:
            if name not in possible and name not in study.left_out:
                raise _refusal(study, name, f"features.{key}", possible)
    if wanted.include is None:
        chosen = [name for name in possible if name not in wanted.exclude]
    else:
        chosen = [name for name in possible if name in wanted.include and name not in wanted.exclude]
    if not chosen:
        raise InputError("features: no variable is left. Include at least one that is known at randomisation.")
    entered = {source for name in chosen for source in (DERIVED[name].sources if name in DERIVED else ())}
    if absent := sorted(entered - set(chosen)):
        raise InputError(
            f"features: a derived feature needs {', '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} left "
            f"out. Include {'it' if len(absent) == 1 else 'them'}, or exclude the derived feature as well."
        )
    return {name: possible[name] for name in chosen}


def _refusal(study: Study, name: str, key: str, possible: Mapping[str, Variable]) -> InputError:
    mapped = study.mapped
    variable = next((k for k in mapped if k == name or study.column_of(k) == name), None)
    if variable is not None and not mapped[variable].is_baseline:
        return InputError(
            f"{key}: {name} ({mapped[variable].term}) is known only after randomisation, so it cannot be a feature. "
            "Take it out; a model that used it could not be asked about a new patient."
        )
    if variable is not None:
        return InputError(f"{key}: {name} is a column. Use the variable's name, {variable}.")
    return InputError(f"{key}: study {study.name} has no variable {name!r}.{nearest(name, possible)}")
