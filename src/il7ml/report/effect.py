"""One endpoint's effect in words: how large, in which direction, how sure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from il7ml.endpoints.result import RATIOS
from il7ml.report.rounding import estimate_text, needed_text, number, p_phrase, percent
from il7ml.report.scales import scale_name

_NULLS = {"difference": 0.0, "number_needed": 0.0, "probability": 0.5}
_MEASURES = {"odds_ratio": "odds", "hazard_ratio": "hazard"}
# From here on a ratio is said as "times as high"; beyond the bounds no percentage helps.
_TIMES, _LARGEST, _SMALLEST = 2.0, 1000.0, 0.01
_UNCHANGED = 0.0005


class Effect(NamedTuple):
    """An endpoint's row of `TrialResult.headline`."""

    endpoint: str
    title: str
    kind: str
    measure: str
    unit: str
    harmful: bool
    control: str
    treated: str
    method: str
    scale: str
    estimate: float
    low: float
    high: float
    p_value: float
    p_hierarchical: float
    p_holm: float
    p_benjamini_hochberg: float

    @property
    def compared(self) -> str:
        """What is compared: risk, odds, rate, hazard, mean."""
        return _MEASURES.get(self.scale, self.measure)

    @property
    def is_known(self) -> bool:
        """Whether the arms could be compared."""
        return math.isfinite(self.estimate)

    @property
    def is_ordered(self) -> bool:
        """Whether the endpoint belongs to the stated order."""
        return not math.isnan(self.p_hierarchical)

    @property
    def treated_is_better(self) -> bool:
        """Whether the estimate is in favour of the treated arm."""
        higher = self.estimate > _NULLS.get(self.scale, 1.0)
        # A positive number needed to treat counts bad events that are prevented.
        return higher if self.scale == "number_needed" else higher != self.harmful


def effects(headline: pd.DataFrame) -> Iterator[Effect]:
    """Yield the rows of a headline."""
    for row in headline[list(Effect._fields)].itertuples(index=False):
        yield Effect(*row)


def numbers_of(effect: Effect, interval: str) -> str:
    """Return an effect with its interval and P value.

    Parameters
    ----------
    effect : Effect
    interval : str
        What the interval is called; empty to leave its name out.

    Examples
    --------
    >>> effect = Effect("x", "X", "binary", "risk", "", True, "", "", "", "difference", -0.24, -0.41, -0.075, 0.005,
    ...                 0.005, 0.005, 0.005)
    >>> numbers_of(effect, "95 % CI")
    'risk difference -24.0 percentage points, 95 % CI -41.0 to -7.5, P = 0.005'
    """
    name = scale_name(effect.scale, effect.measure)
    called = f"{interval} " if interval else ""
    p_value = "" if math.isnan(effect.p_value) else f", {p_phrase(effect.p_value)}"
    factor, unit = _unit(effect)
    write = needed_text if effect.scale == "number_needed" else estimate_text
    text = write(*(factor * value for value in (effect.estimate, effect.low, effect.high)))
    value, bracket, limits = text.partition(" (")
    limits = f", {called}{limits.removesuffix(')')}" if bracket else ""
    return f"{name} {value}{unit}{limits}{p_value}"


def change(effect: Effect, value: float) -> str:
    """Return an effect, or a limit of its interval, as a change.

    Examples
    --------
    >>> effect = Effect("x", "X", "days", "mean", "days", True, "", "", "", "difference", -4.5, -8.2, -0.7, 0.02,
    ...                 0.02, 0.02, 0.02)
    >>> change(effect, effect.estimate)
    '4.50 days lower'
    >>> [change(effect._replace(scale="rate_ratio"), value) for value in (0.56, 1.3, 2.5)]
    ['44 % lower', '30 % higher', '2.50 times as high']
    """
    if effect.scale in RATIOS:
        return _relative(value)
    factor, unit = _unit(effect)
    size = number(abs(factor * value))
    if not float(size.replace(",", "")):
        return "unchanged"
    return f"{size}{unit} {'higher' if value > 0 else 'lower'}"


def every(effect: Effect) -> str:
    """Return a number needed to treat in words: ``one event less for every 4.1 patients treated``."""
    more = "less" if effect.estimate > 0 else "more"
    return f"one event {more} for every {number(abs(effect.estimate), 1)} patients treated"


def _unit(effect: Effect) -> tuple[float, str]:
    """Return what a number is multiplied by for its unit, and the unit with a space before it."""
    if effect.scale != "difference":
        return 1.0, ""
    if effect.measure == "risk":
        return 100.0, " percentage points"
    if not effect.unit:
        return 1.0, ""
    return 1.0, f" per {effect.unit}" if effect.measure == "rate" else f" {effect.unit}"


def _relative(ratio: float) -> str:
    if ratio > _LARGEST:
        return f"more than {number(_LARGEST)} times as high"
    if ratio >= _TIMES:
        return f"{number(ratio)} times as high"
    if ratio < _SMALLEST:
        return f"more than {percent(1 - _SMALLEST)} lower"
    if abs(ratio - 1) < _UNCHANGED:
        return "unchanged"
    return f"{percent(abs(ratio - 1))} {'higher' if ratio > 1 else 'lower'}"
