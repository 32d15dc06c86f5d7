"""The figures of a trial's analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from il7ml import plots
from il7ml.analysis.findings import Line
from il7ml.data.course import Course
from il7ml.errors import InputError

_COMPETING = "Discharge or death first"


def draw(
    overview: pd.DataFrame,
    subgroups: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    lines: Mapping[str, Line],
    labels: Mapping[str, str],
    order: Sequence[str],
    mark: str,
    course: Course | None,
    patients: int,
) -> dict[str, bytes]:
    """Return the figures as PNG by file name.

    Parameters
    ----------
    overview, subgroups : DataFrame
        See `TrialResult`.
    tables : mapping of str to DataFrame
    lines : mapping of str to Line
    labels : mapping of str to str
        What the arms ``control`` and ``treated`` are called.
    order : sequence of str
        Endpoints whose subgroups are drawn.
    mark : str
        What every title ends with.
    course : Course or None
    patients : int
        How many there are.
    """
    arms = labels["treated"], labels["control"]
    figures = {
        "endpoints": plots.endpoints_forest_figure(overview, *arms, f"Endpoints{mark}"),
        "flow": plots.flow_figure(tables["flow"], labels, f"Flow of patients{mark}"),
    }
    for name in order:
        effects = _on_one_scale(subgroups[subgroups["endpoint"] == name])
        if len(effects):
            overall = _overall(lines[name], overview, str(effects["scale"].iloc[0]), patients)
            title = f"Subgroups: {lines[name].title}{mark}"
            figures[f"subgroups_{name}"] = plots.subgroup_forest_figure(effects, overall, *arms, title)
    for name, table in tables.items():
        kind, _, endpoint = name.partition("_")
        if kind == "incidence":
            title = lines[endpoint].title
            causes = {1: title, **({2: _COMPETING} if (table["cause"] == 2).any() else {})}
            figures[name] = plots.incidence_figure(
                table, tables[f"at_risk_{endpoint}"], labels, causes, f"{title}{mark}"
            )
        elif kind == "visits" and course is not None:
            measured = course.measurements[endpoint]
            axis = f"{measured.spec.title} ({measured.unit})" if measured.unit else measured.spec.title
            title = f"{measured.spec.title}: geometric means by day, adjusted for baseline{mark}"
            figures[name] = plots.recovery_figure(table, labels, axis, title, threshold=measured.threshold)
    if "course" in tables:
        title = f"Measurements by arm and day: medians with quartiles{mark}"
        figures["course"] = plots.course_figure(tables["course"], labels, title)
    if "adverse_events" in tables:
        title = f"Patients with an adverse event{mark}"
        figures["adverse_events"] = plots.adverse_events_figure(tables["adverse_events"], labels, title)
    return {name: plots.to_png(figure) for name, figure in figures.items()}


def _on_one_scale(effects: pd.DataFrame) -> pd.DataFrame:
    """Return the rows on the scale of the endpoint's headline: ratios where there are any."""
    ratios = effects[effects["scale"].isin(["ratio", "rate_ratio", "hazard_ratio"])]
    return ratios if len(ratios) else effects[effects["scale"] == "difference"]


def _overall(line: Line, overview: pd.DataFrame, scale: str, patients: int) -> pd.Series | None:
    """Return the effect among all patients as the subgroups' own are estimated: without covariates."""
    if line.in_subgroup is None:
        row = overview[overview["endpoint"] == line.endpoint].iloc[0]
        return row if row["scale"] == scale else None
    try:
        found = line.in_subgroup(np.ones(patients, dtype=bool))
    except InputError:  # noted where the endpoint itself was compared
        return None
    return next((pd.Series(each._asdict()) for each in found if each.scale == scale), None)
