"""The model card: what stands with a registered model, in short and in Markdown, from the same result as the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from il7ml import texts
from il7ml.bundle import Estimate
from il7ml.report.checklists import eligibility_limits
from il7ml.report.rounding import estimate_text
from il7ml.report.training import metric_label
from il7ml.report.training_words import ONE_TRIAL
from il7ml.result import TrainingResult

#: Longest description that a registry takes, in characters.
LONGEST = 5000
_SHOWN = 25
#: Figures of the risk model, corrected ones before apparent ones.
_HEADLINE = (
    "auroc",
    "calibration_slope",
    "scaled_brier",
    "log_loss",
    "scaled_deviance",
    "poisson_deviance",
    "r2",
    "rmse",
)


def model_card(result: TrainingResult) -> str:
    """Return what a model is, for whom, how good and how far it can be trusted (Markdown).

    Parameters
    ----------
    result : TrainingResult

    Returns
    -------
    str
        At most `LONGEST` characters; begins with the notice where patients are simulated.
    """
    card, level = result.bundle.card, f"{100 * result.config.validation.level:g} % interval"
    predictors = [entry.variable.term for entry in card.variables.values()]
    limits = eligibility_limits(card)
    text = "\n".join(
        [
            *([f"**{texts.SIMULATED}**", ""] if result.simulated else []),
            f"Predicts, for one patient, without and with treatment: {result.endpoint_title}. {result.estimand}",
            "",
            "**Intended use.** " + texts.INTENDED_USE,
            "",
            f"**For whom.** Patients as in the trial: {'; '.join(limits) or 'eligibility not stated'}.",
            "",
            f"**Data: {'simulated' if result.simulated else 'real'} patients.** {result.title}: {card.n:,} patients, "
            f"{card.treated_label} {card.n_treated:,}, {card.control_label} {card.n - card.n_treated:,}"
            f"{_events(result)}. Digest {result.data_digest[:12]}.",
            "",
            f"**Model.** {texts.MODEL_LABELS[result.selected]}, given {len(predictors)} predictors known at or before "
            f"randomisation: {_some(predictors)}.",
            "",
            f"**Verdicts.** Individual differences of the effect: **{result.evidence}**. {card.evidence_sentence} "
            f"Sample size: {result.sample_size}",
            "",
            f"| figure | estimate ({level}) |",
            "|---|---|",
            *(f"| {metric_label(name)} | {estimate_text(*_numbers(value))} |" for name, value in _headline(result)),
            "",
            "**Limits.**",
            "",
            f"- {ONE_TRIAL}",
            *(f"- {note}" for note in result.notes if note != texts.SIMULATED),
        ]
    )
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1].rstrip()}…"


def _headline(result: TrainingResult) -> Iterator[tuple[str, Estimate]]:
    for name in _HEADLINE:
        known = [each for each in (f"{name}_corrected", name) if each in result.metrics]
        if known and result.metrics[known[0]].value == result.metrics[known[0]].value:
            yield known[0], result.metrics[known[0]]
    for name in ("ate", "heterogeneity_p"):
        if name in result.metrics:
            yield name, result.metrics[name]


def _numbers(value: Estimate) -> tuple[float, float, float]:
    return value.value, value.low, value.high


def _events(result: TrainingResult) -> str:
    return "" if result.kind == "continuous" else f"; {result.bundle.card.events:,} events"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:_SHOWN])} and {more} more"
