"""Figures of a trial with a row an endpoint, a subgroup or a kind of adverse event."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETLEFT, CARETRIGHT

from il7ml.endpoints.result import RATIOS
from il7ml.plots.canvas import ARM_LOOKS, BLACK, BLUE, FONT, GREY, LINE, arm_legend, legend_height, log_axis, wrap
from il7ml.plots.numbers import interval_text, p_text
from il7ml.plots.rows import Block, Column, row_sheet

_AXIS_WIDTH = 2.8
_BELOW = 0.3
_LABEL, _ARM, _CELL = 40, 15, 20
_TERMS = 15
# An axis reaches to this ratio at most, and beyond the estimates at most this many times as far as the middle one of
# the intervals. What goes further ends in an arrow, so that one wide interval does not press all others together.
_LARGEST_RATIO, _FARTHEST = 30.0, 2.0
_NULL = {"difference": 0.0, "probability": 0.5}
_NAMES = {
    "difference": "Difference",
    "probability": "Probability of the higher value",
    "ratio": "Ratio",
    "odds_ratio": "Odds ratio",
    "hazard_ratio": "Hazard ratio",
    "rate_ratio": "Rate ratio",
}
_KINDS = {"adverse_event": "Any", "serious_adverse_event": "Serious"}
_GRADE = r"adverse_event_grade([\d.]+)_or_above"
_COMPARED = {"odds_ratio": "odds", "hazard_ratio": "hazard"}


class _Window(NamedTuple):
    """The part of a scale that is shown."""

    low: float
    null: float
    high: float
    log: bool


def endpoints_forest_figure(
    headline: pd.DataFrame, treated_label: str, control_label: str, title: str, level: float = 0.95
) -> Figure:
    """Draw each endpoint's effect: ratios on a logarithmic axis, then differences on axes in their own units.

    Parameters
    ----------
    headline : DataFrame
        As `TrialResult.headline`; scales are ratios, difference and probability.
    treated_label, control_label : str
    title : str
    level : float
        Confidence level of the intervals.

    Returns
    -------
    Figure
    """
    panels = _panels(headline)
    rows = pd.concat([panel for _, panel in panels])
    compared = [_COMPARED.get(str(row.scale), str(row.measure)) for row in rows.itertuples()]
    left = [
        Column("Endpoint", [wrap(str(text), _LABEL) for text in rows["title"]], "left"),
        *(
            Column(wrap(label, _ARM), [wrap(_text(value), _CELL) for value in rows[arm]])
            for arm, label in (("treated", treated_label), ("control", control_label))
        ),
        Column("Compared", [wrap(text, 20) for text in compared]),
    ]
    right = [_estimates(rows, level), Column("P", [p_text(value) for value in rows["p_value"]])]
    words = [_directions(panel, treated_label, control_label) for _, panel in panels]
    blocks = [
        Block(len(panel), _heading(*key, treated_label, control_label), _below(pair) + 0.12)
        for (key, panel), pair in zip(panels, words, strict=True)
    ]
    note = "P values are not adjusted for the number of endpoints."
    figure, axes, places = row_sheet(title, left, right, blocks, axis_width=_AXIS_WIDTH, note=note)
    for each, place, ((scale, _), panel), pair in zip(axes, places, panels, words, strict=True):
        _draw_effects(each, place.tolist(), panel, _window(panel, scale), pair)
    return figure


def subgroup_forest_figure(
    subgroups: pd.DataFrame,
    overall: Mapping[str, Any] | pd.Series | None,
    treated_label: str,
    control_label: str,
    title: str,
    level: float = 0.95,
) -> Figure:
    """Draw one endpoint's effect on one scale in each subgroup, with one P value a modifier.

    Parameters
    ----------
    subgroups : DataFrame
        As `TrialResult.subgroups`, of one endpoint and scale.
    overall : mapping or Series, optional
        The effect in all patients, a row of `TrialResult.table`: estimate, low, high, n, events.
    treated_label, control_label : str
    title : str
    level : float
        Confidence level of the intervals.

    Returns
    -------
    Figure
    """
    scale = str(subgroups["scale"].iloc[0])
    lines = _subgroup_lines(subgroups, overall)
    known = lines["events"].notna().any()
    left = [
        Column("Subgroup", lines["text"].tolist(), "left"),
        Column("Patients", [_whole(value) for value in lines["n"]]),
        *([Column("Events", [_whole(value) for value in lines["events"]])] if known else []),
    ]
    right = [
        _estimates(lines, level),
        Column("P for\ninteraction", [p_text(value) for value in lines["interaction_p"]]),
    ]
    words = (f"lower with\n{wrap(treated_label, 24)}", f"higher with\n{wrap(treated_label, 24)}")
    block = Block(len(lines), _heading(scale, "", treated_label, control_label), _below(words) + 0.05)
    headings = frozenset(np.flatnonzero(lines["head"]).tolist())
    figure, [axes], [places] = row_sheet(title, left, right, [block], axis_width=_AXIS_WIDTH, headings=headings)
    if overall is not None and np.isfinite(overall["estimate"]):
        axes.axvline(overall["estimate"], color=BLUE, linestyle="--", linewidth=1, zorder=0)
    shown = lines["estimate"].notna().to_numpy()
    _draw_effects(axes, places[shown].tolist(), lines[shown], _window(lines[shown], scale), words)
    return figure


def adverse_events_figure(counts: pd.DataFrame, labels: Mapping[str, str], title: str) -> Figure:
    """Draw the percentage of patients with an adverse event by arm: any, serious, by grade and most frequent terms.

    Parameters
    ----------
    counts : DataFrame
        As `safety.AdverseEvents.counts`.
    labels : mapping of str to str
        What the arms `control` and `treated` are called.
    title : str

    Returns
    -------
    Figure
    """
    wide = counts.pivot_table(index="endpoint", columns="arm", values=["n", "patients", "percent"], sort=False)
    kinds = [name for name in wide.index if _is_kind(str(name))]
    frequency = counts[~counts["endpoint"].isin(kinds)].groupby("endpoint", sort=False)["patients"].sum()
    terms = frequency.sort_values(ascending=False, kind="stable").index
    head = f"{_TERMS} most frequent of {len(terms)} terms" if len(terms) > _TERMS else "By term"
    rows = [*kinds, *([None, *terms[:_TERMS]] if len(terms) else [])]
    cells = {
        arm: [
            ""
            if name is None
            else _share(wide["patients"][arm][name], wide["n"][arm][name], wide["percent"][arm][name])
            for name in rows
        ]
        for arm in ARM_LOOKS
    }
    names = [head if name is None else wrap(_event_name(str(name)), _LABEL) for name in rows]
    left = [Column("Patients with an adverse event", names, "left")]
    right = [Column(wrap(labels[arm], _ARM), cells[arm]) for arm in ("treated", "control")]
    headings = frozenset([len(kinds)]) if len(terms) else frozenset[int]()
    block = Block(len(rows), "", _BELOW + 0.25 + legend_height(labels))
    figure, [axes], [places] = row_sheet(title, left, right, [block], axis_width=_AXIS_WIDTH, headings=headings)
    shown = [(place, name) for place, name in zip(places, rows, strict=True) if name is not None]
    for place, name in shown:
        pair = wide["percent"].loc[name]
        axes.plot([pair.min(), pair.max()], [place, place], color=GREY, linewidth=1, zorder=1)
    for arm, look in ARM_LOOKS.items():
        percent = [wide["percent"][arm][name] for _, name in shown]
        axes.plot(
            percent, [place for place, _ in shown], linestyle="none", marker=look.marker, color=look.colour,
            markerfacecolor=look.face, markersize=5.5, clip_on=False, label=labels[arm],
        )  # fmt: skip
    axes.set_xlim(0, float(wide["percent"].max().max()) * 1.06 or 1)
    axes.set_xlabel("Patients with an event (%)", fontsize=FONT)
    arm_legend(figure, labels, legend_height(labels), lines=False)
    return figure


def _panels(headline: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """Return the rows that can share an axis, ratios first, each with its scale and unit."""
    keys = [
        ("ratio", "") if row.scale in RATIOS else (str(row.scale), _text(row.unit)) for row in headline.itertuples()
    ]
    known = np.isfinite(headline["estimate"].to_numpy(dtype=float))
    estimable = [key for key, each in zip(keys, known, strict=True) if each]
    # An axis on which nothing can be drawn is left out; its rows join the others.
    keys = [key if key in estimable or not estimable else estimable[0] for key in keys]
    order = sorted(dict.fromkeys(keys), key=lambda key: key[0] != "ratio")
    return [(key, headline[[other == key for other in keys]]) for key in order]


def _heading(scale: str, unit: str, treated: str, control: str) -> str:
    if scale == "probability":
        return f"{_NAMES[scale]}, {treated} against {control}"
    name = f"{_NAMES[scale]} ({unit})" if unit else _NAMES[scale]
    return f"{name}, {treated} − {control}" if scale == "difference" else f"{name}, {treated} / {control}"


def _directions(panel: pd.DataFrame, treated: str, control: str) -> tuple[str, str]:
    """Return what an effect to the left and to the right of the null means."""
    harmful = panel.loc[panel["estimate"].notna(), "harmful"].astype(bool)
    if harmful.any() and not harmful.all():
        return f"lower with\n{wrap(treated, 24)}", f"higher with\n{wrap(treated, 24)}"
    favours = f"favours\n{wrap(treated, 24)}", f"favours\n{wrap(control, 24)}"
    return favours if harmful.all() else favours[::-1]


def _below(words: tuple[str, str]) -> float:
    return _BELOW + LINE * max(len(text.splitlines()) for text in words)


def _subgroup_lines(subgroups: pd.DataFrame, overall: Mapping[str, Any] | pd.Series | None) -> pd.DataFrame:
    """Return the figure's lines: all patients, then each modifier as a heading with its subgroups below it."""
    numbers = ("n", "events", "estimate", "low", "high")
    lines: list[dict[str, Any]] = []
    if overall is not None:
        lines.append({"text": "All patients", "head": False, **{name: overall[name] for name in numbers}})
    for _, rows in subgroups.groupby("modifier", sort=False):
        first = rows.iloc[0]
        label = wrap(str(first["label"]), _LABEL)
        if not first["protected"]:
            label = f"{label}\n(not protected by randomisation)"
        lines.append({"text": label, "head": True, "interaction_p": first["interaction_p"]})
        for _, row in rows.iterrows():
            text = wrap(str(row["subgroup"]), _LABEL).replace("\n", "\n    ")
            lines.append({"text": f"    {text}", "head": False, **{name: row[name] for name in numbers}})
    columns = ["text", "head", *numbers, "interaction_p"]
    return pd.DataFrame(lines, columns=columns)


def _estimates(rows: pd.DataFrame, level: float) -> Column:
    heads = rows["head"] if "head" in rows else pd.Series(False, index=rows.index)
    texts = [
        "" if head else interval_text(estimate, low, high)
        for head, estimate, low, high in zip(heads, rows["estimate"], rows["low"], rows["high"], strict=True)
    ]
    return Column(f"Estimate\n({100 * level:g} % interval)", texts)


def _whole(number: Any) -> str:
    return "" if pd.isna(number) else f"{number:.0f}"


def _text(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def _window(rows: pd.DataFrame, scale: str) -> _Window:
    """Return the part of the axis that shows the estimates and, as far as they are not far wider, the intervals."""
    log = scale in RATIOS
    null = 1.0 if log else _NULL[scale]
    known = np.isfinite(rows["estimate"].to_numpy(dtype=float))
    values = (
        rows.loc[known, ["low", "estimate", "high"]].to_numpy(dtype=float) if known.any() else np.full((1, 3), null)
    )
    if log:
        with np.errstate(divide="ignore"):
            values = np.clip(np.log(values), -np.log(_LARGEST_RATIO), np.log(_LARGEST_RATIO))
    else:
        values = np.where(np.isinf(values), np.nan, values) - null
    middle = float(np.median(np.nanmax(np.abs(values), axis=1))) or 1.0
    farthest = max(_FARTHEST * middle, 1.1 * float(np.abs(values[:, 1]).max()))
    least = 0.15 * middle
    if log:
        farthest, least = min(farthest, np.log(_LARGEST_RATIO)), max(least, np.log(1.15))
    ends = [
        float(np.clip(np.nanmin(values, initial=0.0), -farthest, -least)),
        float(np.clip(np.nanmax(values, initial=0.0), least, farthest)),
    ]
    margin = 0.04 * (ends[1] - ends[0])
    low, high = ends[0] - margin, ends[1] + margin
    return _Window(np.exp(low), null, np.exp(high), log) if log else _Window(null + low, null, null + high, log)


def _draw_effects(
    axes: Axes, places: Sequence[float], rows: pd.DataFrame, window: _Window, words: tuple[str, str]
) -> None:
    """Draw estimates with intervals; what goes beyond the window ends in an arrow head at its edge."""
    if window.log:
        log_axis(axes, "x", window.low, window.high)
    else:
        axes.set_xlim(window.low, window.high)
    axes.axvline(window.null, color=BLACK, linewidth=0.8, zorder=0)
    look: dict[str, Any] = {"color": BLUE, "clip_on": False}
    for place, estimate, low, high in zip(places, rows["estimate"], rows["low"], rows["high"], strict=True):
        if not np.isfinite(estimate):
            continue
        ends = [estimate if np.isnan(low) else low, estimate if np.isnan(high) else high]
        axes.plot(np.clip(ends, window.low, window.high), [place, place], linewidth=1.4, **look)
        if ends[0] < window.low:
            axes.plot(window.low, place, marker=CARETLEFT, markersize=6, **look)
        if ends[1] > window.high:
            axes.plot(window.high, place, marker=CARETRIGHT, markersize=6, **look)
        if window.low <= estimate <= window.high:
            axes.plot(estimate, place, marker="s", markersize=5.5, **look)
    trans = axes.get_xaxis_transform()
    for text, sign in zip(words, (-1, 1), strict=True):
        arrow = f"← {text}" if sign < 0 else f"{text} →"
        axes.annotate(
            arrow, (window.null, 0), (8 * sign, -72 * _BELOW + 2), xycoords=trans, textcoords="offset points",
            ha="right" if sign < 0 else "left", va="top", fontsize=FONT,
        )  # fmt: skip


def _is_kind(endpoint: str) -> bool:
    """Return whether the events are of any term: any, serious, or of a grade."""
    return endpoint in _KINDS or re.fullmatch(_GRADE, endpoint) is not None


def _event_name(endpoint: str) -> str:
    if endpoint in _KINDS:
        return _KINDS[endpoint]
    if grade := re.fullmatch(_GRADE, endpoint):
        return f"Grade {grade[1]} or above"
    name = endpoint.removeprefix("adverse_event_").replace("_", " ")
    return name[:1].upper() + name[1:]


def _share(patients: float, n: float, percent: float) -> str:
    return f"{patients:.0f}/{n:.0f} ({percent:.0f} %)"
