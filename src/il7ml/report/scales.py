"""What effects are called on each scale."""

from __future__ import annotations

from typing import Final

_NAMES: Final = {
    "odds_ratio": "odds ratio",
    "hazard_ratio": "hazard ratio",
    "rate_ratio": "rate ratio",
    "number_needed": "number needed to treat",
    "probability": "probability of the higher value",
    "chi_square": "chi-square",
}


def scale_name(scale: str, measure: str = "") -> str:
    """Return what an effect is called, with what is compared where the scale alone does not say it.

    Examples
    --------
    >>> scale_name("ratio", "risk"), scale_name("ratio", "geometric mean"), scale_name("difference", "mean")
    ('risk ratio', 'ratio of geometric means', 'difference in means')
    >>> scale_name("hazard_ratio", "hazard"), scale_name("difference", "risk")
    ('hazard ratio', 'risk difference')
    """
    if scale in _NAMES:
        return _NAMES[scale]
    if not measure:
        return scale.replace("_", " ")
    if measure.endswith("mean"):
        return f"{scale} {'of' if scale == 'ratio' else 'in'} {measure}s"
    return f"{measure} {scale.replace('_', ' ')}"
