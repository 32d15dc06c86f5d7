"""From out-of-fold arrays to tables, figures and verdicts: how good the risk model is, what the treatment does."""

from il7ml.assessment.effect import EffectAssessment, assess_effect
from il7ml.assessment.risk import RiskAssessment, assess_risk
from il7ml.assessment.size import sample_size_verdict

__all__ = ["EffectAssessment", "RiskAssessment", "assess_effect", "assess_risk", "sample_size_verdict"]
