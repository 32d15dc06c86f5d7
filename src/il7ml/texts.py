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
NO_INTERVALS = "no intervals, which would take too long for this model: the order may be another"
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
#: What the page says; its templates and forms hold no other words.
PAGE = {
    "skip": "To the contents",
    "language": "en",
    "error_title": "Error: ",
    "similar": "Patients like this one but with ...",
    "to_change": "{number} entries need to be changed",
    "warnings": "To be aware of",
    "side_by_side": "Side by side",
    "compared_caption": "Estimates with their {level} % intervals. Each row differs from the first in one value",
    "patients": "Patients",
    "not_given": "not given",
    "compared_chart": "Bars of the outcomes in the table above, with their intervals as lines",
    "other_values": "Other values to compare",
    "other_values_note": "Each is changed by itself; what is left empty is not compared.",
    "compare_again": "Compare again",
    "back": "Back to this patient's answer",
    "comparison_title": "Comparison: {title}",
    "one_to_change": "1 entry needs to be changed",
    "form_note": 'Fields marked "required" must be filled in. Others may stay empty: the answer is then less certain.',
    "record": "Record",
    "record_label": "Label for this record",
    "record_hint": "Optional; repeated on the answer. No name or hospital number is needed.",
    "show": "Show the answer",
    "compare": "Compare with similar patients",
    "empty": "Empty the form",
    "required": "required",
    "error": "Error:",
    "not_known": "not known",
    "unit_of": "Unit of {label}",
    "entries": "Entries",
    "entries_caption": "As entered, and as the model reads them",
    "variable": "Variable",
    "entered": "Entered",
    "read_as": "Read as",
    "lead": "What to expect for one patient without and with treatment, as learned from a randomised trial.",
    "estimate": "Estimate",
    "interval": "{level} % interval",
    "answer_title": "Answer: {title}",
    "outcomes": "Without and with treatment",
    "outcomes_caption": "Expected for patients like this one",
    "outcomes_chart": "Bars of the numbers in the table above, with their intervals as lines",
    "benefit": "Benefit",
    "benefit_caption": "Difference between the two, counted as help",
    "benefit_chart": "Bars of the benefit with its interval as a line; right of zero is help, left is harm",
    "need": "Number needed to treat:",
    "no_benefit": "No benefit is given for this patient; see above.",
    "beside": "Other outcomes",
    "reasons": "Reasons",
    "reasons_chart": "Bars of the changes in the list above; right of zero raises, left lowers",
    "reasons_note": "These are differences between patients, not effects of changing a value or a treatment.",
    "similar_note": "Another lymphocyte count, antiviral or corticosteroid: {comparison}.",
    "change": "Change the entries",
    "same": "The same answer: this value changes nothing in this model.",
    "need_note": "The interval of the benefit includes none, so this number has no upper limit.",
    "this_patient": "This patient",
    "labelled": "{label}, with ",
    "points": "percentage points",
    "per": "per {unit}",
    "limits": "{low} to {high}",
    "benefit_label": "Benefit (positive: helped)",
    "with_arm": "With {arm}",
    "exploratory_label": "Individual estimate, exploratory",
    "exploratory": "Exploratory",
    "version": "{name} version {version}",
    "events": " with {events} events",
    "origin": "Model {name}, digest {digest}: {risk_model}, trained on {patients} {data} patients of {study}{events}.",
    "no": "no",
    "eligibility": "Trial's eligibility",
    "trained_range": "Trial's patients",
    "or": ", or ",
    "up_to": "up to {high}",
    "or_more": "{low} or more",
    "yes": "yes",
    "model_changed": "The model was changed while the form was open. Check all entries and ask again.",
    "needed": "A value is needed.",
    "number": "expected a number with a decimal point, such as 1.5.",
    "looks_like": "the value looks like {other}, but {unit} was chosen. Choose the unit or change the value.",
    "no_sense": "makes no sense in {unit}. Check the value and the unit.",
}
#: Headings of the form by the variables' roles.
ROLES = {
    "demographic": "Patient",
    "comorbidity": "Other diseases",
    "severity": "Severity of illness",
    "lymphopenia": "Lymphocytes",
    "inflammation": "Inflammation",
    "treatment": "Treatment already given",
    "laboratory": "Other laboratory values",
    "timing": "Timing",
    "other": "Other",
}
#: The service: where HTTP's own words would not say what to do.
HTTP_PROBLEMS = {
    404: "no such path. /openapi.json lists all; the page is at /.",
    405: "this path takes another method, GET or POST. /openapi.json says which.",
}
