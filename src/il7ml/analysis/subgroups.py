"""Pre-specified subgroups: the effect in each beside one P value for their differing."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.analysis.findings import Findings, Line, Task
from il7ml.endpoints.result import to_frame
from il7ml.endpoints.subgroups import SubgroupEffect, subgroup_effects, subgroup_frame
from il7ml.errors import InputError, nearest
from il7ml.schema import Variable


def compare_subgroups(
    task: Task, findings: Findings, cuts: Mapping[str, Sequence[float]], endpoints: Sequence[str]
) -> pd.DataFrame:
    """Return the effects in the subgroups of each modifier, for each of the endpoints.

    Continuous modifiers with cut points make subgroups; without, how the effect changes with each unit goes to the
    table ``interactions``.

    Raises
    ------
    InputError
        If a modifier is not a variable of the study, or cut points do not go with it.
    """
    frames, products = [], []
    for modifier, points in cuts.items():
        variable = _variable(modifier, task)
        label, values = variable.label, task.cohort.values[modifier]
        groups = _groups(modifier, variable, values, points)
        for name in endpoints:
            line = findings.lines[name]
            if groups is None:
                products += _product(modifier, variable, values, line, findings)
                continue
            effects = _effects(modifier, groups, line, findings)
            if effects:
                frame = subgroup_frame(effects)
                frame.insert(1, "protected", variable.is_baseline)
                frame.insert(1, "label", label)
                frames.append(frame)
    findings.tables["interactions"] = pd.DataFrame(products)
    columns = ["modifier", "label", "protected", "subgroup", *to_frame([]).columns, "interaction_p"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def _variable(modifier: str, task: Task) -> Variable:
    known = task.cohort.variables
    if modifier not in known:
        raise InputError(
            f"analysis.subgroups: study {task.cohort.study.name} has no variable {modifier!r}."
            f"{nearest(modifier, known)}"
        )
    return known[modifier]


def _groups(
    modifier: str, variable: Variable, values: pd.Series, points: Sequence[float]
) -> NDArray[np.object_] | None:
    """Return each patient's subgroup, None where unknown; nothing for a number without cut points."""
    if variable.kind == "continuous":
        if not points:
            return None
        if list(points) != sorted(set(points)):
            raise InputError(f"analysis.subgroups.{modifier}: expected cut points in increasing order.")
        numbers = values.to_numpy(dtype=float)
        unit = f" {variable.unit}" if variable.unit else ""
        edges = [f"{point:g}" for point in points]
        names = [
            f"below {edges[0]}{unit}",
            *(f"{low} to below {high}{unit}" for low, high in itertools.pairwise(edges)),
            f"{edges[-1]}{unit} and above",
        ]
        # Subgroups are shown in the order of their names, so the number stands first and is taken off afterwards.
        place = np.searchsorted(np.asarray(points), numbers, side="right")
        found = [None if np.isnan(x) else f"{k:03d}|{names[k]}" for x, k in zip(numbers, place, strict=True)]
        return np.array(found, dtype=object)
    if points:
        raise InputError(
            f"analysis.subgroups.{modifier}: cut points are for numbers; it has categories. Leave it empty: []."
        )
    if variable.kind == "binary":
        words = {0.0: "no", 1.0: "yes"}
        return np.array([words.get(value) for value in values.to_numpy(dtype=float)], dtype=object)
    order = {level: f"{place:03d}|{level.replace('_', ' ')}" for place, level in enumerate(variable.levels)}
    return np.array([order.get(value) for value in values], dtype=object)


def _effects(modifier: str, groups: NDArray[np.object_], line: Line, findings: Findings) -> list[SubgroupEffect]:
    what = f"subgroups of {modifier}, {line.endpoint}"
    try:
        if line.by_subgroup is not None:
            effects = line.by_subgroup(modifier, groups)
        elif line.in_subgroup is not None:
            effects = subgroup_effects(modifier, groups, line.in_subgroup, endpoint=line.endpoint)
        else:
            raise InputError("this kind of endpoint is not compared in subgroups.")
    except InputError as error:
        findings.notes.append(f"Not compared - {what}: {error}")
        return []
    effects = [each._replace(subgroup=each.subgroup.partition("|")[2] or each.subgroup) for each in effects]
    unknown = [each.subgroup for each in effects if np.isnan(each.effect.estimate)]
    if unknown:
        findings.notes.append(
            f"Not compared - {what}: too few patients or events in {', '.join(dict.fromkeys(unknown))}; the P value "
            "for interaction, if any, is of the other subgroups."
        )
    return effects


def _product(
    modifier: str, variable: Variable, values: pd.Series, line: Line, findings: Findings
) -> list[dict[str, object]]:
    """Return how the effect changes with a number: with each doubling where the dictionary sees it on the log scale."""
    numbers = values.to_numpy(dtype=float)
    per = variable.unit or "unit"
    try:
        if line.interaction is None:
            raise InputError("there is no model for it with a number. Give cut points.")
        usable = numbers > 0 if variable.scale == "log" else ~np.isnan(numbers)
        if not usable.any():
            raise InputError("it has no value to compare by. Leave it out.")
        if variable.scale == "log":
            numbers, per = np.log2(np.where(numbers <= 0, numbers[usable].min() / 2, numbers)), "doubling"
        # Missing baseline values are replaced by the mean, as for covariates.
        numbers = np.where(np.isnan(numbers), np.nanmean(numbers), numbers)
        result = line.interaction(numbers)
    except InputError as error:
        findings.notes.append(f"Not compared - interaction with {modifier}, {line.endpoint}: {error}")
        return []
    return [{"modifier": modifier, "label": variable.term, "per": per, **result._asdict()}]
