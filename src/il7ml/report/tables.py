"""Data frames as tables for people: plain headings, rounded numbers, an estimate and its interval in one cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real

import pandas as pd

from il7ml.report.page import Column, Group, Table
from il7ml.report.rounding import estimate_text, needed_text, number, p_text, percent
from il7ml.report.scales import scale_name

_NONE = "-"
#: A longer table is cut here, with a note that says where the whole is.
ROWS = 400

_HEADINGS = {
    "at_risk": "At risk",
    "auroc": "AUROC",
    "cause": "Event",
    "degrees": "Degrees of freedom",
    "label": "Variable",
    "level": "Level",
    "mean_abs_interaction": "Mean absolute interaction value",
    "mean_abs_shap": "Mean absolute SHAP value",
    "met": "Met",
    "method": "Method",
    "n": "Patients",
    "p_benjamini_hochberg": "P, Benjamini-Hochberg",
    "p_directed": "P, pre-specified directions",
    "p_flexible": "P, flexible directions",
    "p_hierarchical": "P, stated order",
    "p_holm": "P, Holm",
    "p_value": "P",
    "patients": "With an event",
    "percent": "Share",
    "scale": "Effect",
    "share": "Share of all",
    "standardised_difference": "Standardised difference",
    "std_error": "Standard error",
    "within_one_se": "Within one standard error",
}
# A column of the first kind takes in its limits, which stand in the columns of the second.
_WITH_LIMITS = (
    *((name, "low", "high") for name in ("estimate", "mean", "incidence", "effect", "observed", "net_benefit")),
    ("difference", "low", "high"),
    ("gain", "low", "high"),
    ("mean_abs_shap", "low", "high"),
    ("mean_abs_interaction", "low", "high"),
    ("median", "q1", "q3"),
)
_CODES = {"scale": scale_name}
# Whole numbers that a gap elsewhere in the column has made others.
_COUNTS = ("n", "events", "size")


def as_table(
    frame: pd.DataFrame,
    caption: str,
    *,
    headings: Mapping[str, str] | None = None,
    words: Mapping[str, Mapping[str, str]] | None = None,
    group_by: str | None = None,
    level: float = 0.95,
    note: str = "",
    is_folded: bool = False,
) -> Table:
    """Turn a frame into a table.

    Parameters
    ----------
    frame : DataFrame
        Its first column, other than `group_by`, heads the rows.
    caption : str
    headings : mapping of str to str, optional
        Headings of columns, where the usual ones do not fit.
    words : mapping of str to mapping, optional
        By column: what its codes are called.
    group_by : str, optional
        Column whose consecutive equal values become headings within the table.
    level : float
        Confidence level of ``low`` and ``high``.
    note : str
    is_folded : bool

    Returns
    -------
    Table

    Examples
    --------
    >>> frame = pd.DataFrame({"endpoint": ["death"], "estimate": [0.5], "low": [0.2], "high": [1.2], "p_value": [0.1]})
    >>> table = as_table(frame, "Deaths")
    >>> [column.text for column in table.columns], table.groups[0].rows
    (['Endpoint', 'Estimate (95 % CI)', 'P'], (('death', '0.50 (0.20 to 1.20)', '0.1'),))
    """
    headings, words = headings or {}, words or {}
    shown = frame.head(ROWS)
    if len(frame) > ROWS:
        note = f"{note} The first {ROWS} of {number(len(frame))} rows; all are in the table's CSV file.".strip()
    columns, cells = [], []
    for name, values, limits in _columns(shown, level):
        if name == group_by:
            continue
        columns.append(Column(headings.get(name, _heading(name)) + limits, _is_number(values, limits)))
        cells.append(_texts(name, values, words.get(name)))
    rows = list(zip(*cells, strict=True))
    codes = [""] * len(rows) if group_by is None else [str(code) for code in shown[group_by]]
    heads = [words.get(group_by or "", {}).get(code, code) for code in codes]
    return Table(caption, tuple(columns), tuple(_groups(heads, rows)), note, is_folded)


def with_levels(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return Table 1 with variables of several levels as headings, the others as rows of their own."""
    several = frame.duplicated("variable", keep=False)
    shown = frame.copy()
    shown["heading"] = frame["variable"].where(several, "")
    shown["level"] = frame["level"].str.replace("_", " ").where(several, frame["variable"])
    shown = shown[["heading", "level", "control", "treated", "standardised_difference"]]
    return shown.rename(columns={"level": "Characteristic"}), "heading"


def _columns(frame: pd.DataFrame, level: float) -> Iterator[tuple[str, list[object], str]]:
    """Yield name, values and what the heading ends with; limits are taken in by the column that they belong to."""
    merged = next((names for names in _WITH_LIMITS if set(names) <= set(frame.columns)), None)
    for name in map(str, frame.columns):
        if merged is not None and name in merged[1:]:
            continue
        values: list[object] = frame[name].tolist()
        if merged is None or name != merged[0]:
            yield name, values, ""
            continue
        triples = zip(*(frame[each].astype(float) for each in merged), strict=True)
        scales = frame["scale"] if "scale" in frame.columns else [""] * len(frame)
        limits = " [quartiles]" if merged[1] == "q1" else f" ({100 * level:g} % CI)"
        texts = [
            needed_text(*each) if scale == "number_needed" else estimate_text(*each)
            for scale, each in zip(scales, triples, strict=True)
        ]
        yield name, list[object](texts), limits


def _groups(heads: list[str], rows: list[tuple[str, ...]]) -> Iterator[Group]:
    start = 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or heads[place] != heads[start]:
            yield Group(heads[start], tuple(rows[start:place]))
            start = place


def _heading(name: str) -> str:
    if name in _HEADINGS:
        return _HEADINGS[name]
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _is_number(values: list[object], limits: str) -> bool:
    return bool(limits) or any(isinstance(value, Real) and not isinstance(value, bool) for value in values)


def _texts(name: str, values: list[object], words: Mapping[str, str] | None) -> list[str]:
    if words is not None:
        return [words.get(str(value), _text(value)) for value in values]
    if name in _CODES:
        return [_CODES[name](str(value)) for value in values]
    write: Callable[[float], str] = number
    if name == "p_value" or name.startswith("p_") or name.endswith("_p"):
        write = p_text
    elif name == "share":
        write = percent
    elif name == "percent":
        write = _percentage
    elif name == "day":
        write = "{:g}".format
    elif name in _COUNTS:
        write = _count
    return [_text(value, write) for value in values]


def _count(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() else number(value)


def _percentage(value: float) -> str:
    return percent(value / 100)


def _text(value: object, write: Callable[[float], str] = number) -> str:
    """Return a cell's text; missing values are a dash."""
    if isinstance(value, str):
        return value or _NONE
    if value is None or value is pd.NA:
        return _NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if isinstance(value, Real):
        return _NONE if math.isnan(value) else write(float(value))
    return str(value)
