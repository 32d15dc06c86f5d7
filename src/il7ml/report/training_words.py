"""A training in plain words: what was found, and what must not be read into it."""

from __future__ import annotations

from collections.abc import Iterator

from il7ml import texts
from il7ml.bundle import Estimate
from il7ml.report.rounding import estimate_text, number
from il7ml.result import TrainingResult

#: What holds of every model that has seen one trial only.
ONE_TRIAL = (
    "Validated in the patients that it was trained on, by cross-validation. Before it is used elsewhere it has to be "
    "validated, and where needed recalibrated, in patients of that place."
)
_CREDIBILITY = {
    "none": "Nothing shows that the relative effect differs between patients. A patient's benefit is worked out from "
    "the average effect and his own risk.",
    "suggestive": "Hints that the relative effect differs between patients are too weak to act upon. A patient's "
    "benefit is worked out from the average effect and his own risk.",
    "credible": "The relative effect credibly differs between patients. A patient's benefit is his own estimate.",
}


def training_words(result: TrainingResult) -> tuple[str, ...]:
    """Say what a training found, in sentences for readers who are no statisticians.

    Parameters
    ----------
    result : TrainingResult

    Returns
    -------
    tuple of str
        On patients, average effect, individual differences and risk model, in this order.
    """
    return (_patients(result), _average(result), _CREDIBILITY[result.evidence], *_risk(result))


def training_limits(result: TrainingResult) -> tuple[str, ...]:
    """Say what must not be read into a training."""
    return tuple(_limits(result))


def _patients(result: TrainingResult) -> str:
    card, counts = result.bundle.card, result.counts
    who = f"{counts['n']:,} {'simulated ' if result.simulated else ''}patients"
    arms = f"{counts['n_treated']:,} with {card.treated_label}, {counts['n_control']:,} with {card.control_label}"
    events = counts.get("events")
    happened = (
        ""
        if result.kind == "continuous" or events is None
        else f" {events:,} event{'' if events == 1 else 's'}: {result.endpoint_title}."
    )
    return f"{who}: {arms}.{happened}"


def _average(result: TrainingResult) -> str:
    card, effect = result.bundle.card, result.bundle.card.average_effect
    level, arms = f"{100 * card.level:g} % CI", f"{card.treated_label} than with {card.control_label}"
    if result.kind == "binary":
        count, of = _in_hundred(effect), f"in 100 patients had the outcome with {arms}"
        found = f"On average {count} {of} ({level} {_limits_in_hundred(effect)}), adjusted for baseline."
    else:
        size = estimate_text(effect.value, effect.low, effect.high)
        found = f"On average, adjusted for baseline, the outcome with {card.treated_label} less that with "
        found += f"{card.control_label} was {size} ({level})."
    unsure = " No effect at all is compatible with the data." if effect.low <= 0 <= effect.high else ""
    return f"{found}{unsure}"


def _in_hundred(effect: Estimate) -> str:
    return f"{number(abs(100 * effect.value), 0)} {'fewer' if effect.value <= 0 else 'more'}"


def _limits_in_hundred(effect: Estimate) -> str:
    low, high = (number(abs(100 * limit), 0) for limit in (effect.low, effect.high))
    if effect.high <= 0:
        return f"{high} to {low} fewer"
    return f"{low} to {high} more" if effect.low >= 0 else f"{low} fewer to {high} more"


def _risk(result: TrainingResult) -> Iterator[str]:
    label = texts.MODEL_LABELS.get(result.selected, result.selected)
    if result.selected == "prevalence":
        yield (
            "No model of baseline variables predicted the outcome better than each arm's event rate, so all patients "
            "of an arm are given the same prediction."
        )
        return
    figures = result.metrics
    auroc = figures.get("auroc_corrected", figures.get("auroc"))
    yield f"The outcome is predicted by: {label}."
    if auroc is not None:
        yield (
            f"Of two patients, one with and one without the outcome, it gives the higher risk to the right one in "
            f"{number(100 * auroc.value, 0)} % of pairs (AUROC {estimate_text(auroc.value, auroc.low, auroc.high)}; "
            "50 % is chance), in patients that it was not fitted to."
        )


def _limits(result: TrainingResult) -> Iterator[str]:
    if result.simulated:
        yield "The patients are simulated. Nothing here says how real patients fare."
    yield ONE_TRIAL
    if result.sample_size.startswith("too small"):
        yield (
            "There are fewer patients than a model of these variables needs: predictions would be others had other "
            "patients been in the trial (see Instability)."
        )
    if result.evidence != "credible":
        yield (
            "That no individual differences are credible does not mean that there are none: a trial of this size "
            "shows large ones only."
        )
    yield "A prediction's interval is for the risk of patients like this one; what happens to one of them is yes or no."
    yield "Explanations describe what the model does. They are not causes."
