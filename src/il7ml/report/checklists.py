"""What reporting guidelines ask of a prediction model and of individual effects, filled in from a training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from il7ml.bundle import Card
from il7ml.report.rounding import estimate_text, percent
from il7ml.result import TrainingResult


class Item(NamedTuple):
    """An item of a guideline.

    Attributes
    ----------
    name : str
    answer : str
        What the run says, or what the authors have to add.
    is_open : bool
        Whether the run cannot answer it.
    is_concern : bool
        Whether the answer speaks against trusting the model.
    """

    name: str
    answer: str
    is_open: bool = False
    is_concern: bool = False

    @property
    def status(self) -> str:
        """The item's state in a word."""
        return "open" if self.is_open else "concern" if self.is_concern else "reported"


def tripod_items(result: TrainingResult) -> Iterator[Item]:
    """Yield what a reader of a prediction model looks for.

    References
    ----------
    Collins et al., BMJ 2024;385:e078378, doi 10.1136/bmj-2023-078378.
    """
    card, config, counts = result.bundle.card, result.config, result.counts
    patients = "simulated patients" if result.simulated else "patients of a trial"
    yield Item("Source of data", f"{result.title}: {counts['n']:,} {patients}, data digest {result.data_digest[:12]}.")
    limits = eligibility_limits(card)
    yield Item("Eligibility", f"{'; '.join(limits)}.") if limits else Item("Eligibility", "Not stated.", True)
    yield Item("Treatments received", f"{card.treated_label} or {card.control_label}, as allocated.")
    yield Item("Outcome", f"{result.endpoint_title}: {result.estimand}")
    predictors = [entry.variable.term for entry in card.variables.values()]
    yield Item("Predictors", f"{len(predictors)}, all known at or before randomisation: {', '.join(predictors)}.")
    yield Item("Sample size", _first_upper(result.sample_size))
    yield Item("Missing data", _missing_words(result))
    yield Item("Class imbalance", "No resampling: it would spoil calibration.")
    yield Item(
        "Model building",
        f"Candidates {', '.join(config.models)}; {config.validation.folds}-fold cross-validation of the whole "
        f"pipeline, {config.validation.repeats} times. {result.selection_reason}",
    )
    figures = [
        f"{name.replace('_', ' ')} {estimate_text(value.value, value.low, value.high)}"
        for name, value in card.validation.items()
    ]
    yield Item("Performance", f"Out of fold, {100 * card.level:g} % CI: {'; '.join(figures)}.")
    yield Item("Model specification", f"Stored as {card.model_name}; predictors and their range stand under The model.")
    yield Item("Software", f"il7ml {card.il7ml_version}, seed {config.seed}; the configuration is below.")
    yield Item("Performance elsewhere", "No other patients were used: external validation is missing.", True)
    yield Item("Fairness", "Performance by sex, age and site has to be judged by the authors.", True)
    yield Item("Patient and public involvement", "For the authors to state.", True)
    yield Item("Protocol, registration, ethics, funding, conflicts of interest", "For the authors to state.", True)


def _missing_words(result: TrainingResult) -> str:
    missing = result.tables.get("missing_data")
    terms = {
        name for entry in result.bundle.card.variables.values() for name in (entry.variable.term, entry.variable.label)
    }
    missing = None if missing is None else missing[missing["variable"].isin(terms)]
    if missing is None or not len(missing):
        return "None among the predictors."
    variables = f"{len(missing)} variable{'s' if len(missing) > 1 else ''}"
    return (
        f"In {variables}, at most {percent(float(missing['share'].max()))} of one. Replaced inside each fold, by "
        "the median with an indicator for linear models."
    )


def path_items(result: TrainingResult) -> Iterator[Item]:
    """Yield what a reader of individual treatment effects looks for.

    References
    ----------
    Kent et al., Ann Intern Med 2020;172:35, doi 10.7326/M18-3667.
    """
    card, average = result.bundle.card, result.bundle.card.average_effect
    yield Item(
        "Overall effect first",
        f"Average effect, treated minus untreated: {estimate_text(average.value, average.low, average.high)} "
        f"({100 * card.level:g} % CI).",
    )
    yield Item(
        "Risk modelling before effect modelling",
        "Effects are shown by predicted outcome without treatment. The risk model is fitted to both arms with the arm "
        "as a term, and groups rest on out-of-fold predictions.",
    )
    yield Item("Absolute and relative scale", "Average effects stand on both; effects by risk are absolute.")
    tables = result.tables.get("heterogeneity_modifiers")
    modifiers = [] if tables is None else [variable_label(card, str(code)) for code in tables["modifier"]]
    yield Item(
        "Few effect modifiers, stated beforehand",
        f"{len(modifiers)} tested, with Holm's adjustment: {', '.join(modifiers)}."
        if modifiers
        else "None was stated.",
        not modifiers,
    )
    yield Item(
        "One test for all",
        f"Verdict: {result.evidence}. {result.evidence_reason}",
    )
    yield Item("Evaluation out of sample", "Individual effects are judged on patients not used to fit them.")
    yield Item("What a prediction says", card.evidence_sentence)
    yield Item(
        "Prior evidence, and whether differences matter to patients", "For the authors to state, with clinicians.", True
    )


def probast_items(result: TrainingResult) -> Iterator[Item]:
    """Yield what a reader looks for who asks how far figures may be biased and whom the model suits.

    References
    ----------
    Moons et al., BMJ 2025;388:e082505, doi 10.1136/bmj-2024-082505.
    """
    card, config = result.bundle.card, result.config
    yield Item(
        "Participants: source",
        "Simulated patients: figures say nothing about real ones."
        if result.simulated
        else "Randomised trial, both arms.",
        is_concern=result.simulated,
    )
    yield Item("Participants: like those whom the model is meant for", "For the authors to judge.", True)
    yield Item("Predictors: known when the model is used", "All stood at or before randomisation.")
    suspect = _suspect(result)
    yield Item(
        "Predictors: none knows the outcome",
        f"By itself too good to be true: {', '.join(suspect)}." if suspect else "None predicts it too well by itself.",
        is_concern=bool(suspect),
    )
    yield Item("Predictors: measured alike in all patients", "For the authors to judge.", True)
    yield Item("Outcome: defined beforehand, alike in both arms", f"{result.estimand} One definition for both arms.")
    yield Item("Outcome: determined without knowledge of the predictors", "For the authors to judge.", True)
    small = result.sample_size.startswith("too small")
    yield Item("Analysis: enough patients", _first_upper(result.sample_size), is_concern=small)
    lost = _unanalysed(result)
    yield Item(
        "Analysis: all patients",
        f"{lost:,} of those in the tables were not analysed." if lost else "All in the tables were analysed.",
        is_concern=bool(lost),
    )
    yield Item("Analysis: missing values", _missing_words(result))
    yield Item(
        "Analysis: overfitting",
        f"Whole pipeline, choice of the model included, repeated in {config.validation.repeats} x "
        f"{config.validation.folds} folds and {config.validation.refits} bootstrap samples.",
    )
    yield Item("Analysis: calibration and discrimination", "Both, with intervals; instability and net benefit beside.")
    yield Item("Analysis: class imbalance", "No resampling, which would spoil calibration.")
    yield Item("Validation in other patients", "None: figures are of the patients of this trial.", True)
    yield Item(
        "Applicability", f"{'; '.join(eligibility_limits(card)) or 'Eligibility not stated'}. For the reader.", True
    )


def _suspect(result: TrainingResult) -> list[str]:
    table = result.tables.get("leakage_audit")
    if table is None or "warning" not in table:
        return []
    warned = table["warning"].fillna("").astype(str) != ""
    return [variable_label(result.bundle.card, str(code)) for code in table.loc[warned, "variable"]]


def _unanalysed(result: TrainingResult) -> int:
    flow = result.tables.get("flow")
    if flow is None or not {"rows", "other_arms", "analysed"} <= set(flow):
        return 0
    row = flow.iloc[0]
    return int(row["rows"] - row["other_arms"] - row["analysed"])


def variable_label(card: Card, code: str) -> str:
    """Return a variable's name in words; a level, which stands in brackets behind its code, after a colon."""
    name, bracket, level = code.partition("[")
    entry = card.variables.get(name)
    label = entry.variable.term if entry else _first_upper(name.replace("_", " "))
    return f"{label}: {level.rstrip(']').replace('_', ' ')}" if bracket else label


def _first_upper(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def eligibility_limits(card: Card) -> list[str]:
    """Return the trial's limits on single variables, in words."""
    variables = {name: card.variables[name].variable for name in card.eligibility}
    return [
        f"{variables[name].term} {_limits(low, high)} {variables[name].unit or ''}".rstrip()
        for name, (low, high) in card.eligibility.items()
    ]


def _limits(low: float | None, high: float | None) -> str:
    if low is None:
        return "without limits" if high is None else f"up to {high:g}"
    return f"from {low:g}" if high is None else f"{low:g} to {high:g}"
