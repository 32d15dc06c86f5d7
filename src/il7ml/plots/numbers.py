"""Numbers as they stand in a figure: short, with a true minus sign."""

from __future__ import annotations

import numpy as np


def interval_text(estimate: float, low: float, high: float) -> str:
    """Return an estimate with its limits, all with the same decimals.

    Examples
    --------
    >>> interval_text(-0.246, -0.419, -0.074), interval_text(float("nan"), 0.0, 1.0)
    ('−0.25 (−0.42 to −0.07)', 'not estimable')
    """
    if not np.isfinite(estimate):
        return "not estimable"
    decimals = 1 if abs(estimate) >= 10 else 3 if high - low < 0.1 else 2
    if np.isnan(low) or np.isnan(high):
        return number_text(estimate, decimals)
    return f"{number_text(estimate, decimals)} ({number_text(low, decimals)} to {number_text(high, decimals)})"


def number_text(value: float, decimals: int) -> str:
    """Return a number with the given decimals, without any from 100 on.

    Examples
    --------
    >>> number_text(-1.25, 1), number_text(float("inf"), 1), number_text(123.4, 2)
    ('−1.2', '∞', '123')
    """
    if np.isinf(value):
        return "−∞" if value < 0 else "∞"
    text = f"{value:.2g}" if abs(value) >= 10_000 else f"{value:.{0 if abs(value) >= 100 else decimals}f}"
    return text.replace("-", "−")


def p_text(value: float) -> str:
    """Return a P value; nothing where there is none.

    Examples
    --------
    >>> p_text(0.0004), p_text(0.0234), p_text(0.5)
    ('< 0.001', '0.023', '0.50')
    """
    if np.isnan(value):
        return ""
    if value < 0.001:
        return "< 0.001"
    if value > 0.99:
        return "> 0.99"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
