"""The trial's own analysis: every endpoint compared between the arms as randomised, in tables, figures and words."""

from il7ml.analysis.run import analyze, compare

__all__ = ["analyze", "compare"]
