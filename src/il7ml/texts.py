"""Sentences that people read, in one place, so that every face says the same and they can be translated."""

from __future__ import annotations

SIMULATED = "Trained on simulated patients: demonstration only, not for any patient."
SIMULATED_DATA = "Simulated patients: demonstration only, not for any patient."
INTENDED_USE = (
    "Research use only. Not a medical device: not for diagnosis, treatment decisions or triage. "
    "Interleukin-7 (CYT107) is investigational and not licensed."
)
EVIDENCE = {
    "none": "No credible individual differences: the average effect was applied to this patient's risk.",
    "suggestive": "Individual differences are suggested, not established: the average effect was applied to this "
    "patient's risk; the individual estimate beside it is exploratory.",
    "credible": "Individual differences are credible: the estimate is this patient's own.",
}
EXPLORATORY_EFFECT = "exploratory: no credible heterogeneity"
EXPLORATORY_RISK = "exploratory: no covariate model beat the event rate"
OUT_OF_SCOPE = "Outside the trial's eligibility ({variables}): no benefit is given."
EXTRAPOLATION = "{label} lies outside the training range ({low:g} to {high:g}{unit}): extrapolation."
UNUSUAL = "Unusual combination of values: further from the training patients than {percentile:.0f} % of them."
IMPUTED = "Missing, and imputed as in training with a wider interval: {labels}."
WITHOUT_INFLUENCE = "Missing, without influence on this model's answer: {labels}."
UNUSED = "Not used by this model: {names}."
REASONS = "Why this patient's prediction without treatment differs from the average training patient's:"
NO_REASONS = "No covariate improved on the event rate in training, so the prediction is the same for every patient."
DIRECTION = {1: "raises", -1: "lowers"}
MODEL_LABELS = {
    "prevalence": "Event rate alone",
    "lymphocyte": "Lymphocyte count alone",
    "firth": "Firth's regression",
    "logistic": "Penalised regression",
    "xgboost": "XGBoost",
    "stack": "Stack of regression and XGBoost",
}
