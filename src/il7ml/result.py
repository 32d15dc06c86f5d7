"""What a training found: plain numbers, tables and figures, ready to be logged or shown. Holds no patient's data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from il7ml import notebook, texts
from il7ml.bundle import Bundle, Estimate
from il7ml.config import RunConfig


@dataclass(frozen=True)
class Candidate:
    """A risk model that took part in the comparison, with its cross-validated figures."""

    name: str
    metrics: dict[str, Estimate]
    selected: bool


@dataclass(frozen=True)
class TrainingResult:
    """Everything that a training leaves behind.

    Attributes
    ----------
    config : RunConfig
    study, title : str
        The study's name and title.
    simulated : bool
    endpoint, endpoint_title, estimand, kind : str
    data_digest : str
        SHA-256 of the cohort.
    counts : dict of str to int
        Patients, patients an arm, events.
    selected : str
        Name of the chosen risk model.
    selection_reason, evidence_reason : str
        Plain sentences with the numbers behind the two verdicts.
    evidence : str
        none, suggestive or credible.
    sample_size : str
        Verdict on the sample size.
    metrics : dict of str to Estimate
        Headline figures by MLflow metric name.
    candidates : tuple of Candidate
    tables : dict of str to DataFrame
        Tidy tables by file name.
    figures : dict of str to bytes
        PNG pictures by file name.
    bundle : Bundle
    example : dict
        A synthetic patient: medians and most frequent levels, rounded.
    notes : tuple of str
        What a reader should know (simulated data, candidates left out, ...).
    """

    config: RunConfig
    study: str
    title: str
    simulated: bool
    endpoint: str
    endpoint_title: str
    estimand: str
    kind: str
    data_digest: str
    counts: dict[str, int]
    selected: str
    selection_reason: str
    evidence: str
    evidence_reason: str
    sample_size: str
    metrics: dict[str, Estimate]
    candidates: tuple[Candidate, ...]
    tables: dict[str, pd.DataFrame]
    figures: dict[str, bytes]
    bundle: Bundle
    example: dict[str, Any]
    notes: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """Return verdicts and figures for a notebook."""
        figures = [
            [name, f"{each.value:.4g}", f"{each.low:.4g} to {each.high:.4g}"]
            for name, each in self.metrics.items()
            if not math.isnan(each.value)
        ]
        verdicts = [
            f"Heterogeneity of the effect: {self.evidence}. {self.evidence_reason}",
            f"Sample size: {self.sample_size}",
            f"Risk model: {self.selected}. {self.selection_reason}",
            *(note for note in self.notes if note != texts.SIMULATED),
        ]
        return "".join(
            (
                notebook.paragraph(texts.SIMULATED if self.simulated else "", strong=True),
                notebook.heading(f"{self.title}: {self.endpoint_title}"),
                notebook.items(verdicts),
                notebook.table(["Figure", "Estimate", f"{100 * self.config.validation.level:g} % interval"], figures),
                notebook.paragraph(texts.INTENDED_USE),
            )
        )


@dataclass(frozen=True)
class TrainedRun:
    """A finished training with its place in the tracking store."""

    run_id: str
    model_name: str
    model_version: str
    result: TrainingResult

    def _repr_html_(self) -> str:
        """Return the result for a notebook, and where it is tracked."""
        place = f"Run {self.run_id}, model {self.model_name} version {self.model_version}."
        return f"{self.result._repr_html_()}{notebook.paragraph(place)}"
