"""Results as they come, one line an endpoint at their head, and a note for what could not be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.data.cohort import Cohort
from il7ml.endpoints.multiplicity import adjusted_p_values
from il7ml.endpoints.result import EndpointResult
from il7ml.endpoints.subgroups import SubgroupEffect
from il7ml.errors import InputError, nearest

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Covariates = pd.DataFrame | None


class Task(NamedTuple):
    """What every comparison needs: the patients, what to adjust for, the confidence level."""

    cohort: Cohort
    covariates: Covariates
    level: float

    @property
    def treatment(self) -> NDArray[np.int8]:
        """1 for treated."""
        return self.cohort.treatment

    @property
    def adjustments(self) -> tuple[Covariates, ...]:
        """None, and the covariates where there are any."""
        return (None,) if self.covariates is None else (None, self.covariates)


class Line(NamedTuple):
    """An endpoint at a glance.

    Attributes
    ----------
    endpoint, title, kind, measure, unit : str
    harmful : bool
        Whether more of it is worse.
    control, treated : str
        What was seen in each arm.
    result : EndpointResult or None
        The comparison that stands for the endpoint; None where it could not be made.
    in_subgroup : callable or None
        Takes a mask of patients and returns the same comparison, unadjusted, among them.
    by_subgroup : callable or None
        Instead of `in_subgroup`: takes a modifier's name and each patient's subgroup, for one model of all subgroups.
    interaction : callable or None
        Takes a number a patient and returns how the effect changes with it.
    """

    endpoint: str
    title: str
    kind: str
    measure: str
    unit: str
    harmful: bool
    control: str
    treated: str
    result: EndpointResult | None
    in_subgroup: Callable[[Bools], Sequence[EndpointResult]] | None = None
    by_subgroup: Callable[[str, NDArray[np.object_]], list[SubgroupEffect]] | None = None
    interaction: Callable[[Floats], EndpointResult] | None = None


@dataclass
class Findings:
    """All results of an analysis."""

    results: list[EndpointResult] = field(default_factory=list)
    lines: dict[str, Line] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def take(self, what: str, compute: Callable[[], EndpointResult | Sequence[EndpointResult]]) -> list[EndpointResult]:
        """Keep what `compute` returns, or note why there is nothing: one method's failure does not stop the others."""
        try:
            found = compute()
        except InputError as error:
            self.notes.append(f"Not compared - {what}: {error}")
            return []
        kept = [found] if isinstance(found, EndpointResult) else list(found)
        self.results += kept
        return kept


def headline(lines: dict[str, Line], order: Sequence[str]) -> pd.DataFrame:
    """Return one row an endpoint, those of the stated order first, with P values adjusted within the order.

    Raises
    ------
    InputError
        If the order names an endpoint twice, or one that the analysis does not have.
    """
    if unknown := [name for name in order if name not in lines]:
        hint = nearest(unknown[0], lines)
        if not hint.startswith(" Known"):
            hint += f" Known: {', '.join(lines)}."
        raise InputError(f"analysis.order: there is no endpoint {unknown[0]!r}.{hint}")
    if twice := [name for name in order if list(order).count(name) > 1]:
        raise InputError(f"analysis.order: {twice[0]!r} stands twice. Name each endpoint once.")
    names = [*order, *(name for name in lines if name not in order)]
    rows = []
    for name in names:
        line = lines[name]
        result = line.result or _nothing(name)
        rows.append((*line[:8], *result[1:]))
    columns = [*Line._fields[:8], *EndpointResult._fields[1:]]
    table = pd.DataFrame(rows, columns=columns).astype({"n": "Int64", "events": "Int64"})
    p_values = table["p_value"].to_numpy(dtype=float).copy()
    p_values[len(order) :] = np.nan
    # An endpoint of the order without a P value was not shown to differ: in a sequence it stops what follows.
    sequence = np.where(np.isnan(p_values[: len(order)]), 1.0, p_values[: len(order)])
    hierarchical = np.full(len(names), np.nan)
    if order:
        hierarchical[: len(order)] = adjusted_p_values(sequence, "fixed_sequence")
    place = list(table.columns).index("p_value") + 1
    for offset, (column, values) in enumerate(
        (
            ("p_hierarchical", hierarchical),
            ("p_holm", adjusted_p_values(p_values, "holm")),
            ("p_benjamini_hochberg", adjusted_p_values(p_values, "benjamini_hochberg")),
        )
    ):
        table.insert(place + offset, column, values)
    return table.drop(columns="std_error")


def _nothing(name: str) -> EndpointResult:
    gap = float("nan")
    return EndpointResult(name, "", "difference", gap, gap, gap, gap, gap, 0, None)


def share(happened: Floats) -> str:
    """Return "12/54 (22 %)" for a column of 0, 1 and NaN."""
    known = happened[~np.isnan(happened)]
    total = int(known.sum())
    return f"{total}/{known.size} ({100 * total / known.size:.0f} %)" if known.size else "-"
