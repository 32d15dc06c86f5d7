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
OPTIMISTIC_BEST = (
    "The figure of the best of several candidates is optimistic: it was picked for being good. An honest figure comes "
    "from new patients, or from a validation in which the choice is repeated."
)
NO_BEST = (
    "No best is named: {keys} decides how candidates are measured, so that differences show the spread of the "
    "measurement."
)
NO_INTERACTION = "the model adds up its terms, so it has no interactions; this is no evidence against one"
CORRELATED = (
    "Where variables go together (rank correlation of {level:g} or more), a single one's SHAP value means little; "
    "read as a group: {pairs}."
)
PARALLEL = "parallel: the model adds up its terms"
OUT_OF_SCOPE = "Outside the trial's eligibility ({variables}): no benefit is given."
EXTRAPOLATION = "{label} lies outside the training range ({low:g} to {high:g}{unit}): extrapolation."
UNUSUAL = "Unusual combination of values: further from the training patients than {percentile:.0f} % of them."
IMPUTED = "Missing, and imputed as in training with a wider interval: {labels}."
WITHOUT_INFLUENCE = "Missing, without influence on this model's answer: {labels}."
UNUSED = "Not used by this model: {names}."
COMPARISON = "differences between patients, not effects of changing a treatment; only {treated} was randomised"
REASONS = "Why this patient's prediction without treatment differs from the average training patient's:"
NO_REASONS = "No covariate improved on the event rate in training, so the prediction is the same for every patient."
BESIDE = "In the whole trial, not for this patient alone:"
DIRECTION = {1: "raises", -1: "lowers"}
VALIDATION = {
    "auroc": "AUROC",
    "r2": "R2",
    "scaled_deviance": "scaled deviance",
    "calibration_slope": "calibration slope",
}
MODEL_LABELS = {
    "prevalence": "Event rate alone",
    "lymphocyte": "Lymphocyte count alone",
    "firth": "Firth's regression",
    "logistic": "Penalised regression",
    "xgboost": "XGBoost",
    "stack": "Stack of regression and XGBoost",
    "procedure": "Whole procedure, choice included",
}
