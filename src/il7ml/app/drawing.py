"""Horizontal bars with intervals, as places on a drawing of fixed width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

WIDTH = 640.0
LEFT = 20.0  # room for the first tick's number
_TICKS = 4


class Bar(NamedTuple):
    """A value to draw, with its interval where it has one."""

    kind: str
    label: str
    value: float
    low: float | None = None
    high: float | None = None


class Drawn(NamedTuple):
    """A bar's places, left to right."""

    kind: str
    label: str
    start: float
    width: float
    low: float | None
    high: float | None


class Tick(NamedTuple):
    """A number on the axis."""

    place: float
    text: str


class Chart(NamedTuple):
    """Bars on one axis.

    Attributes
    ----------
    bars : tuple of Drawn
    zero : float
        Where bars begin.
    ticks : tuple of Tick
    unit : str
    """

    bars: tuple[Drawn, ...]
    zero: float
    ticks: tuple[Tick, ...]
    unit: str


def chart_from_zero(bars: Sequence[Bar], unit: str, end: float | None = None) -> Chart:
    """Return bars on an axis from 0 to `end`, by default as far as needed.

    Examples
    --------
    >>> chart = chart_from_zero([Bar("untreated", "Placebo", 50.0, 25.0, 75.0)], "%", 100.0)
    >>> [tick.text for tick in chart.ticks], chart.bars[0].width
    (['0', '25', '50', '75', '100'], 300.0)
    """
    return _chart(bars, unit, 0.0, end or _round_up(bars))


def chart_around_zero(bars: Sequence[Bar], unit: str) -> Chart:
    """Return bars on an axis with 0 in the middle.

    Examples
    --------
    >>> chart = chart_around_zero([Bar("benefit", "Benefit", -10.0, -18.0, 2.0)], "points")
    >>> [tick.text for tick in chart.ticks]
    ['−20', '−10', '0', '10', '20']
    """
    end = _round_up(bars)
    return _chart(bars, unit, -end, end)


def _chart(bars: Sequence[Bar], unit: str, start: float, end: float) -> Chart:
    def place(value: float) -> float:
        share = (min(max(value, start), end) - start) / (end - start)
        return round(LEFT + share * (WIDTH - 2 * LEFT), 1)

    zero = place(0.0)
    drawn = tuple(
        Drawn(
            bar.kind,
            bar.label,
            min(zero, place(bar.value)),
            round(abs(place(bar.value) - zero), 1),
            None if bar.low is None else place(bar.low),
            None if bar.high is None else place(bar.high),
        )
        for bar in bars
    )
    ticks = tuple(Tick(place(value), f"{value:g}".replace("-", "−")) for value in np.linspace(start, end, _TICKS + 1))
    return Chart(drawn, zero, ticks, unit)


def _round_up(bars: Sequence[Bar]) -> float:
    """Return 1, 2, 4 or 10 times a power of ten that no bar or interval exceeds; these have round quarters."""
    numbers = (number for bar in bars for number in (bar.value, bar.low, bar.high) if number is not None)
    largest = max((abs(number) for number in numbers), default=0.0)
    if largest == 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(largest))
    return float(power * next(step for step in (1, 2, 4, 10) if largest <= step * power * (1 + 1e-9)))
