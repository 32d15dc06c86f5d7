"""The report of a trial's analysis: one page, from words to numbers to how they were had."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Real

import pandas as pd

from il7ml import __version__, texts
from il7ml.report.effect import Effect, effects
from il7ml.report.page import (
    Bullets,
    Column,
    Facts,
    Group,
    Page,
    Paragraph,
    Part,
    Picture,
    Section,
    Source,
    Table,
    render,
)
from il7ml.report.rounding import estimate_text, p_text
from il7ml.report.scales import scale_name
from il7ml.report.tables import as_table, with_levels
from il7ml.trial_result import TrialResult

#: Where a table or figure stands, and its caption. Names that end in "_" begin those of several endpoints or
#: measurements, whose title takes the place of {title}. What is not listed stands under the last heading.
_PLACES = {
    "endpoints": ("Endpoints", "Effect on each endpoint, with interval"),
    "subgroups_": ("Subgroups", "Effect in each subgroup: {title}"),
    "interactions": ("Subgroups", "How effects change with each unit of a baseline number (ratio of ratios)"),
    "incidence_": ("Course", "Cumulative incidence by day: {title}"),
    "at_risk_": ("Course", "Patients at risk by day: {title}"),
    "survival": ("Course", "Survival on the stated days"),
    "visits_": ("Course", "Geometric mean by arm and day, adjusted for baseline: {title}"),
    "course": ("Course", "Measurements by arm and day, as observed"),
    "sensitivity": ("All results", "Sensitivity: the same comparisons under other assumptions"),
    "adverse_events": ("Safety", "Adverse events by arm; rates are per 100 days at risk"),
    "adverse_event_effects": ("Safety", "Adverse events compared; not adjusted for their number"),
    "flow": ("Patients", "Flow of patients"),
    "table_one": ("Patients", "Baseline by arm: median [quartiles] or n (%)"),
    "missing_data": ("Missing data", "Patients without a value, by variable"),
}
_FURTHER = "Further tables and figures"
_ORDER = ("Subgroups", "Course", "All results", "Safety", "Patients", "Missing data", _FURTHER)
# Long, and drawn in a figure of the same name.
_FOLDED = ("incidence_", "at_risk_", "visits_", "course", "adverse_event_effects", "interactions")
_NOTES = {
    "table_one": "Standardised difference: treated minus control, in pooled standard deviations. No P values: any "
    "difference at baseline of a randomised trial is due to chance.",
    "visits_": "From the mixed model; means of one day are compared in the table of all results.",
}


def trial_report(result: TrialResult) -> str:
    """Return an analysis as a self-contained HTML page.

    Parameters
    ----------
    result : TrialResult

    Returns
    -------
    str
        HTML; begins with the notice where patients are simulated.
    """
    placed = dict(_placed(result))
    sections = [
        Section("Results in words", tuple(Paragraph(sentence) for sentence in result.words)),
        Section("Endpoints", (_headline(result), *placed.get("Endpoints", ()))),
    ]
    for title in _ORDER:
        first = {"Subgroups": _subgroups, "All results": _all_results}.get(title)
        sections.append(Section(title, (*(first(result) if first else ()), *placed.get(title, ()))))
    notes = (Bullets(result.notes),) if result.notes else ()
    page = Page(
        title=result.title,
        subtitle=f"Analysis of a trial: {result.contrast}, all patients as randomised.",
        notice=texts.SIMULATED_DATA if result.simulated else "",
        sections=(
            *sections,
            Section("Notes", notes),
            Section("Methods", tuple(_methods(result))),
            Section("Intended use", (Paragraph(texts.INTENDED_USE),)),
            Section("How to repeat this", (_origin(result), Source("Configuration", result.config.to_yaml()))),
        ),
    )
    return render(page)


def _arms(result: TrialResult) -> dict[str, str]:
    return {"control": result.control_label, "treated": result.treated_label}


def _interval(result: TrialResult) -> str:
    return f"{100 * result.config.validation.level:g} % CI"


def _headline(result: TrialResult) -> Table:
    """Return one row an endpoint: what was seen, the effect, and P values as they are and adjusted."""
    names = ("P", "P, stated order", "P, Holm", "P, Benjamini-Hochberg")
    columns = (
        Column("Endpoint"),
        Column(f"{result.treated_label} (n = {result.n_treated})"),
        Column(f"{result.control_label} (n = {result.n_control})"),
        Column("Effect"),
        Column(f"Estimate ({_interval(result)})", True),
        *(Column(name, True) for name in names),
    )
    rows = list(effects(result.headline))
    ordered = tuple(_headline_row(row) for row in rows if row.is_ordered)
    others = tuple(_headline_row(row) for row in rows if not row.is_ordered)
    groups = (Group("In the stated order", ordered), Group("Outside the stated order, exploratory", others))
    note = (
        f"Effects are {result.treated_label} against {result.control_label}. The adjusted P values count the endpoints "
        "of the stated order; in that order an endpoint counts as shown only if all before it were."
    )
    return Table("Endpoints at a glance", columns, tuple(group for group in groups if group.rows), note)


def _headline_row(row: Effect) -> tuple[str, ...]:
    percentage_points = row.scale == "difference" and row.measure == "risk"
    factor = 100.0 if percentage_points else 1.0
    unit = "percentage points" if percentage_points else row.unit if row.scale == "difference" else ""
    effect = scale_name(row.scale, row.measure) if row.is_known else ""
    return (
        row.title,
        row.treated,
        row.control,
        f"{effect}, {unit}" if unit and effect else effect,
        estimate_text(factor * row.estimate, factor * row.low, factor * row.high),
        *(p_text(value) for value in (row.p_value, row.p_hierarchical, row.p_holm, row.p_benjamini_hochberg)),
    )


def _subgroups(result: TrialResult) -> Iterator[Part]:
    """Yield a table an endpoint: subgroups under their modifier, whose interaction has the only P value."""
    if not len(result.subgroups):
        return
    rows = {row.endpoint: row for row in effects(result.headline)}
    yield Paragraph(
        "Subgroups were stated beforehand. What counts is whether the effect differs between them: the P value for "
        "interaction beside each variable. A subgroup has no P value of its own."
    )
    for endpoint, part in result.subgroups.groupby("endpoint", sort=False):
        row = rows.get(str(endpoint))
        title, scale = (str(endpoint), "") if row is None else (row.title, row.scale)
        same = part[part["scale"] == scale]
        shown = same if len(same) else part[part["scale"] == part["scale"].iloc[0]]
        effect = scale_name(str(shown["scale"].iloc[0]), "" if row is None else row.measure)
        columns = (
            Column("Subgroup"),
            Column("Patients", True),
            Column("Events", True),
            Column(f"Estimate ({_interval(result)})", True),
        )
        groups = tuple(
            Group(_modifier_heading(modifier), tuple(_subgroup_rows(modifier)))
            for _, modifier in shown.groupby("modifier", sort=False)
        )
        yield Table(f"Subgroups: {title}, {effect}", columns, groups)
        yield from _pictures(result, f"subgroups_{endpoint}", f"Effect in each subgroup: {title}")


def _modifier_heading(frame: pd.DataFrame) -> str:
    first = frame.iloc[0]
    unprotected = "" if first["protected"] else " - known after randomisation, not protected by it"
    return f"{first['label']}: P for interaction {p_text(float(first['interaction_p']))}{unprotected}"


def _subgroup_rows(frame: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    counts = (frame[name].map(_count) for name in ("n", "events"))
    numbers = zip(*(frame[name].astype(float) for name in ("estimate", "low", "high")), strict=True)
    for subgroup, n, events, effect in zip(frame["subgroup"], *counts, numbers, strict=True):
        yield str(subgroup), n, events, estimate_text(*effect)


def _count(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, Real) and not math.isnan(value) else "-"


def _all_results(result: TrialResult) -> Iterator[Part]:
    # An endpoint's rows stand together, in the order in which endpoints first appear.
    order = {name: place for place, name in enumerate(dict.fromkeys(result.table["endpoint"]))}
    table = result.table.sort_values("endpoint", key=lambda names: names.map(order), kind="stable")
    yield as_table(
        table.drop(columns="std_error"),
        "Every endpoint by every method and on every scale",
        words={"endpoint": _names(result)},
        group_by="endpoint",
        level=result.config.validation.level,
        note="Differences are in the endpoint's own unit, those of risks as fractions, those of times in days. "
        "P values are not adjusted.",
    )


def _titles(result: TrialResult) -> dict[str, str]:
    return {row.endpoint: row.title for row in effects(result.headline)}


def _names(result: TrialResult) -> dict[str, str]:
    """Return what the endpoints of all tables are called, those without a headline by what they belong to."""
    titles = _titles(result)
    return {name: titles.get(name) or _part_name(name, result) for name in map(str, result.table["endpoint"])}


def _part_name(name: str, result: TrialResult) -> str:
    if name.startswith("adverse_event"):
        return f"Adverse events: {_adverse_event(name)}"
    if name.endswith("_observed"):
        return f"{_title_of(name.removesuffix('_observed'), result)}, as observed"
    whole, _, day = name.rpartition("_day")
    if not day.isdigit():
        return name.replace("_", " ").capitalize()
    return f"Death by day {day}" if whole == "mortality" else f"{_title_of(whole, result)}, day {day}"


def _placed(result: TrialResult) -> Iterator[tuple[str, list[Part]]]:
    """Yield each heading with the tables and figures that belong under it, a figure before its table."""
    found: dict[str, list[Part]] = {}
    beside_their_table = {f"subgroups_{endpoint}" for endpoint in result.subgroups["endpoint"]}
    for name in dict.fromkeys([*result.tables, *(name for name in result.figures if name not in beside_their_table)]):
        known = next((key for key in _PLACES if name == key or (key.endswith("_") and name.startswith(key))), None)
        place, caption = _PLACES[known] if known else (_FURTHER, name.replace("_", " ").capitalize())
        caption = caption.format(title=_title_of(name.removeprefix(known or ""), result))
        parts = found.setdefault(place, [])
        parts += _pictures(result, name, caption)
        if name in result.tables:
            parts.append(_table(result, name, caption, known))
    yield from found.items()


def _title_of(name: str, result: TrialResult) -> str:
    """Return an endpoint's title; a measurement's is the beginning of its endpoints' titles."""
    titles = _titles(result)
    if name in titles:
        return titles[name]
    return titles.get(f"{name}_average", name.replace("_", " ").capitalize()).partition(",")[0]


def _pictures(result: TrialResult, name: str, caption: str) -> Iterator[Picture]:
    if name in result.figures:
        # Of a figure that is not known here nothing is said.
        own = {"endpoints", *(f"subgroups_{endpoint}" for endpoint in result.subgroups["endpoint"])}
        behind = name in result.tables or name in own
        where = " Its numbers stand in a table of this report." if behind else ""
        yield Picture(caption, f"Figure: {caption}.{where}", result.figures[name])


def _table(result: TrialResult, name: str, caption: str, known: str | None) -> Table:
    frame = result.tables[name]
    words: dict[str, Mapping[str, str]] = {"arm": _arms(result), "endpoint": _titles(result)}
    headings = _arms(result)
    group_by = None
    if name == "table_one":
        frame, group_by = with_levels(frame)
    elif name.startswith("adverse_event"):
        words["endpoint"] = {str(code): _adverse_event(str(code)) for code in frame["endpoint"]}
    elif name == "interactions" and len(frame):
        frame = frame.drop(columns=["modifier", "std_error"])
        headings = {**headings, "label": "For each unit of"}
    elif name == "sensitivity":
        frame = frame.drop(columns="std_error")
    return as_table(
        frame,
        caption,
        headings=headings,
        words={column: codes for column, codes in words.items() if column in frame.columns},
        group_by=group_by,
        level=result.config.validation.level,
        note=_NOTES.get(known or "", ""),
        is_folded=known in _FOLDED,
    )


def _adverse_event(code: str) -> str:
    """Return what a kind of adverse event is called."""
    if code in {"adverse_event", "serious_adverse_event"}:
        return f"{'Any' if code == 'adverse_event' else 'Any serious'} adverse event"
    name = code.removeprefix("adverse_event_")
    if name.startswith("grade") and name.endswith("_or_above"):
        return f"Grade {name.removeprefix('grade').removesuffix('_or_above')} or above"
    return name.replace("_", " ").capitalize()


def _methods(result: TrialResult) -> Iterator[Part]:
    settings, level = result.config.analysis, result.config.validation.level
    adjusted = (
        f"Beside the unadjusted comparisons stand those adjusted for {', '.join(settings.covariates)}; where both "
        "could be had, the adjusted one is shown first."
        if settings.covariates
        else "Comparisons are unadjusted: the configuration names no covariates."
    )
    yield Bullets(
        (
            "All patients are analysed in the arm to which they were allocated.",
            adjusted,
            f"Intervals are at the {100 * level:g} % level.",
            "Multiplicity: endpoints are tested in the order stated before the analysis, each only if all before it "
            "were shown to differ; beside it stand Holm's adjustment and Benjamini and Hochberg's false discovery "
            "rate. Endpoints outside the order, safety and subgroups are not adjusted.",
            f"Missing last measurements are imputed {settings.imputations} times in a sensitivity analysis."
            if settings.imputations
            else "Missing last measurements are not imputed.",
        )
    )
    columns = tuple(Column(text) for text in ("Endpoint", "Method", "Effect"))
    rows = tuple((row.title, row.method or "-", scale_name(row.scale, row.measure)) for row in effects(result.headline))
    yield Table("Method behind each endpoint's headline", columns, (Group("", rows),))


def _origin(result: TrialResult) -> Facts:
    pairs = [
        ("Study", result.study),
        ("Patients", "simulated" if result.simulated else "real"),
        ("Data digest (SHA-256)", result.data_digest),
        ("Seed", str(result.config.seed)),
        ("il7ml version", __version__),
        *([("Tracked run", result.run_id)] if result.run_id else []),
    ]
    return Facts(tuple(pairs))
