"""What a training logs: a pure stream of small items. How they are written is the store's business."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from il7ml import texts
from il7ml.bundle import Estimate
from il7ml.config import RunConfig
from il7ml.features.columns import DERIVED
from il7ml.result import TrainingResult
from il7ml.tracking.location import without_password
from il7ml.trial_result import TrialResult
from il7ml.versions import versions


class Param(NamedTuple):
    """A setting of the run."""

    name: str
    value: str


class Metric(NamedTuple):
    """A number of the run."""

    name: str
    value: float


class Tag(NamedTuple):
    """A label of the run."""

    name: str
    value: str


class Table(NamedTuple):
    """A tidy table, written as CSV under ``tables/``."""

    name: str
    frame: pd.DataFrame


class Picture(NamedTuple):
    """A PNG, written under ``figures/``."""

    name: str
    content: bytes


class Text(NamedTuple):
    """A text file at the top of the run's artifacts."""

    name: str
    content: str


class Dataset(NamedTuple):
    """The data of the run: what they are, never what stands in them.

    Attributes
    ----------
    name : str
        The study's.
    digest : str
        SHA-256; MLflow's own entry shows its beginning.
    columns : tuple of (name, 'double' or 'string')
        Variables that the run used.
    rows : int
    context : str
        What for: training or analysis.
    """

    name: str
    digest: str
    columns: tuple[tuple[str, str], ...]
    rows: int
    context: str


class Child(NamedTuple):
    """A nested run of a candidate, with items of its own, further children among them.

    Attributes
    ----------
    name : str
    items : tuple of Item
    started : int or None
        When its computation began, in milliseconds since 1970; None for when it is written.
    """

    name: str
    items: tuple[Item, ...]
    started: int | None = None


Item = Param | Metric | Tag | Dataset | Table | Picture | Text | Child


def run_items(result: TrainingResult, page: str) -> Iterator[Item]:
    """Yield all that a training logs, in the order in which it is written; `page` is its report."""
    yield from _tags(result)
    config = without_credentials(result.config)
    for name, value in _flat(config.model_dump(mode="json", exclude={"study"})):
        yield Param(name, value)
    for name, count in result.counts.items():
        yield Param(name, str(count))
    yield from metric_items(result.metrics)
    yield _dataset(result)
    yield Text("config.yaml", config.to_yaml())
    yield Text("summary.md", summary(result))
    yield Text("versions.json", json.dumps(versions(), indent=1))
    yield Text("report.html", page)
    yield Text("card.json", result.bundle.card.model_dump_json(indent=1))
    for name, frame in result.tables.items():
        yield Table(name, frame)
    for name, content in result.figures.items():
        yield Picture(name, content)
    for candidate in result.candidates:
        selected = Tag("selected", str(candidate.selected).lower())
        found: list[Item] = [*_origin(result), Param("risk_model", candidate.name), selected]
        found += metric_items(candidate.metrics)
        yield Child(f"candidate {candidate.name}", tuple(found))
    yield from _learners(result)


def trial_items(result: TrialResult, page: str) -> Iterator[Item]:
    """Yield all that an analysis logs: each endpoint's effect as a metric, tables, figures and the report `page`."""
    yield Tag("mlflow.source.name", "il7ml analyze")
    yield Tag("study", result.study)
    yield Tag("data", "simulated" if result.simulated else "real")
    yield Tag("data_digest", result.data_digest)
    yield Tag("mlflow.note.content", trial_summary(result))
    for name, value in _flat(result.config.model_dump(mode="json", include={"endpoint", "seed", "analysis"})):
        yield Param(name, value)
    yield Param("n", str(result.n_control + result.n_treated))
    yield Param("n_control", str(result.n_control))
    yield Param("n_treated", str(result.n_treated))
    yield Dataset(result.study, result.data_digest, (), result.n_control + result.n_treated, "analysis")
    ends = {"estimate": "", "low": "_low", "high": "_high", "p_value": "_p"}
    for endpoint, scale, *values in result.headline[["endpoint", "scale", *ends]].itertuples(index=False):
        for end, number in zip(ends.values(), map(float, values), strict=True):
            if np.isfinite(number):
                yield Metric(f"{endpoint}.{scale}{end}", number)
    yield Text("config.yaml", without_credentials(result.config).to_yaml())
    yield Text("summary.md", trial_summary(result))
    yield Text("versions.json", json.dumps(versions(), indent=1))
    yield Text("report.html", page)
    yield Table("endpoints", result.table)
    yield Table("headline", result.headline)
    if len(result.subgroups):
        yield Table("subgroups", result.subgroups)
    for name, frame in result.tables.items():
        yield Table(name, frame)
    for name, content in result.figures.items():
        yield Picture(name, content)


def comparison_items(
    first: str, second: str, data_digest: str, table: pd.DataFrame, text: str, figure: bytes
) -> Iterator[Item]:
    """Yield what a comparison of two runs logs: differences as metrics, table and figure; no patient's prediction."""
    yield Tag("mlflow.source.name", "il7ml compare")
    yield Tag("data_digest", data_digest)
    yield Tag("mlflow.note.content", f"```\n{text}\n```")
    yield Param("first", first)
    yield Param("second", second)
    for metric, threshold, *values in table[["metric", "threshold", "difference", "low", "high", "p_value"]].itertuples(
        index=False
    ):
        name = f"{metric}_difference" if np.isnan(threshold) else f"{metric}_at_{threshold:g}_difference"
        for end, number in zip(("", "_low", "_high", "_p"), map(float, values), strict=True):
            if np.isfinite(number):
                yield Metric(f"{name}{end}", number)
    yield Table("comparison", table)
    yield Picture("comparison", figure)
    yield Text("comparison.txt", text)


def trial_summary(result: TrialResult) -> str:
    """Return the analysis in plain words (Markdown)."""
    lines = [f"**{texts.SIMULATED_DATA}**", ""] if result.simulated else []
    lines += [f"### {result.title}", "", result.contrast, "", *(f"- {sentence}" for sentence in result.words)]
    lines += ["", *(f"- {note}" for note in result.notes), "", texts.INTENDED_USE, ""]
    return "\n".join(lines)


def metric_items(metrics: Mapping[str, Estimate]) -> Iterator[Metric]:
    """Yield each figure with its limits; what is not defined (NaN) is left out."""
    for name, estimate in metrics.items():
        for end, value in (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high)):
            if value == value:
                yield Metric(f"{name}{end}", value)


def summary(result: TrainingResult) -> str:
    """Return the run in plain words (Markdown), verdicts first."""
    lines = [f"**{texts.SIMULATED}**", ""] if result.simulated else []
    lines += [
        f"### {result.title}",
        "",
        f"- Heterogeneity of the effect: **{result.evidence}**. {result.evidence_reason}",
        f"- Sample size: {result.sample_size}",
        f"- Risk model: **{result.selected}**. {result.selection_reason} Its figures are for the arm that "
        "each patient was in, which the event rate knows, too.",
        "",
        f"Endpoint: {result.endpoint_title}. {result.estimand}",
        "",
        f"| figure | estimate | {100 * result.config.validation.level:g} % interval |",
        "|---|---|---|",
    ]
    for name, estimate in result.metrics.items():
        if estimate.value == estimate.value:
            lines.append(f"| {name} | {estimate.value:.4g} | {estimate.low:.4g} to {estimate.high:.4g} |")
    lines += ["", *(f"- {note}" for note in result.notes if note != texts.SIMULATED), "", texts.INTENDED_USE, ""]
    return "\n".join(lines)


def _learners(result: TrainingResult) -> Iterator[Child]:
    """Yield a child for each learner of individual effects: whether its estimates go with the doubly-robust scores."""
    table = result.tables.get("best_linear_predictor", pd.DataFrame())
    for learner, rows in table.groupby("learner", sort=False) if len(table) else ():
        slope = rows.set_index("term")[["estimate", "low", "high"]].astype(float).loc["slope"]
        figures = {"effect_calibration_slope": Estimate(value=slope["estimate"], low=slope["low"], high=slope["high"])}
        found: tuple[Item, ...] = (*_origin(result), Param("effect_learner", str(learner)), *metric_items(figures))
        yield Child(f"learner {learner}", found)


def _origin(result: TrainingResult) -> Iterator[Tag]:
    """Yield what a run and its children were made from, so that each can be told from others by itself."""
    yield Tag("study", result.study)
    yield Tag("endpoint", result.endpoint)
    yield Tag("data", "simulated" if result.simulated else "real")


def _tags(result: TrainingResult) -> Iterator[Tag]:
    yield Tag("mlflow.source.name", "il7ml train")
    yield from _origin(result)
    yield Tag("data_digest", result.data_digest)  # a mark of runs with files of their own
    yield Tag("risk_model", result.selected)
    yield Tag("verdict.heterogeneity", result.evidence)
    yield Tag("verdict.sample_size", result.sample_size.partition(":")[0])
    yield Tag("mlflow.note.content", summary(result))


def without_credentials(config: RunConfig) -> RunConfig:
    """Return the configuration as it may be shown: a server's address can hold a name and password."""
    tracking = config.tracking.model_copy(update={"uri": without_password(config.tracking.uri)})
    return config.model_copy(update={"tracking": tracking})


def _dataset(result: TrainingResult) -> Dataset:
    card = result.bundle.card
    kinds = {"categorical": "string"}
    columns = tuple(
        (name, kinds.get(entry.variable.kind, "double"))
        for name, entry in card.variables.items()
        if name not in DERIVED
    )
    return Dataset(result.study, result.data_digest, columns, card.n, "training")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{key}", "" if value is None else str(value)
