"""Numbers as people read them: few digits, an estimate and its limits rounded alike, P values never 0."""

from __future__ import annotations

import math

_MANY = 1000.0
# What rounding errors leave of 0.
_NOTHING = 1e-9
_LEAST_P = 0.001


def number(value: float, decimals: int | None = None) -> str:
    """Return a number with two or three digits, or with the given decimals.

    Examples
    --------
    >>> [number(value) for value in (0.0412, 0.5, 12.34, 1862.0, -6e-12, float("inf"), float("nan"))]
    ['0.041', '0.50', '12.3', '1,862', '0.00', 'infinity', '-']
    """
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    text = f"{value:,.{_decimals(value) if decimals is None else decimals}f}"
    # A rounded zero has no sign.
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text


def estimate_text(estimate: float, low: float, high: float) -> str:
    """Return an estimate and its limits, all with the same decimals, fewer where the interval is wide.

    Examples
    --------
    >>> estimate_text(0.3083, 0.148, 0.642), estimate_text(0.00036, -0.425, 0.328)
    ('0.31 (0.15 to 0.64)', '0.00 (-0.42 to 0.33)')
    >>> estimate_text(float("nan"), float("nan"), float("nan"))
    'not estimable'
    """
    if math.isnan(estimate):
        return "not estimable"
    if math.isnan(low) or math.isnan(high):
        return number(estimate)
    # Digits of a small estimate that its interval does not reach say nothing.
    width = (high - low) / 2
    decimals = _decimals(min(max(abs(estimate), width), 0.1) if abs(estimate) < 0.1 else estimate)
    return f"{number(estimate, decimals)} ({number(low, decimals)} to {number(high, decimals)})"


def needed_text(estimate: float, low: float, high: float) -> str:
    """Return a number needed to treat with its limits, which may lie on both sides of infinity.

    Negative numbers count patients per event more. An interval with an effect of 0 in it holds infinity, not 0.

    Parameters
    ----------
    estimate, low, high : float
        As `il7ml.endpoints.proportions.number_needed_to_treat` gives them.

    References
    ----------
    Altman, BMJ 1998;317:1309, doi 10.1136/bmj.317.7168.1309.

    Examples
    --------
    >>> needed_text(4.16, 2.43, 14.36), needed_text(-23.8, 7.8, -4.7)
    ('4.2 (2.4 to 14.4)', '-23.8 (7.8 to infinity, -infinity to -4.7)')
    """
    if math.isnan(estimate):
        return "not estimable"
    first, second = number(low, 1), number(high, 1)
    limits = f"{first} to infinity, -infinity to {second}" if low > 0 > high else f"{first} to {second}"
    return f"{number(estimate, 1)} ({limits})"


def p_text(value: float) -> str:
    """Return a P value with three digits, below 0.001 as that.

    Examples
    --------
    >>> [p_text(value) for value in (0.04961, 0.5, 0.0001, float("nan"))]
    ['0.0496', '0.5', '< 0.001', '-']
    """
    if math.isnan(value):
        return "-"
    return f"< {_LEAST_P:g}" if value < _LEAST_P else f"{value:.3g}"


def p_phrase(value: float) -> str:
    """Return ``P = 0.012`` or ``P < 0.001``.

    Examples
    --------
    >>> p_phrase(0.012), p_phrase(1e-9)
    ('P = 0.012', 'P < 0.001')
    """
    text = p_text(value)
    return f"P {text}" if text.startswith("<") else f"P = {text}"


def percent(share: float) -> str:
    """Return a share as a percentage with two digits or more.

    Examples
    --------
    >>> percent(0.6917), percent(0.0561), percent(0.004)
    ('69 %', '5.6 %', '0.4 %')
    """
    value = 100 * share
    return f"{value:.0f} %" if abs(value) >= 10 else f"{value:.2g} %"


def _decimals(value: float) -> int:
    """Return the decimals that leave two or three digits."""
    size = abs(value)
    if size >= _MANY:
        return 0
    if size < _NOTHING or 0.1 <= size < 10:
        return 2
    power = math.floor(math.log10(size))
    return max(2 - power, 0) if power > 0 else 1 - power
