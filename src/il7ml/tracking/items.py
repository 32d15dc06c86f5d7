"""What a training logs: a pure stream of small items. How they are written is the store's business."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

import pandas as pd

from il7ml import __version__, texts
from il7ml.bundle import Estimate
from il7ml.result import TrainingResult

PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "xgboost",
    "shap",
    "mlflow",
    "matplotlib",
    "pyarrow",
    "pydantic",
)


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


class Child(NamedTuple):
    """A nested run of a candidate, with items of its own."""

    name: str
    items: tuple[Param | Metric | Tag, ...]


Item = Param | Metric | Tag | Table | Picture | Text | Child


def run_items(result: TrainingResult) -> Iterator[Item]:
    """Yield all that a training logs, in the order in which it is written."""
    yield from _tags(result)
    for name, value in _flat(result.config.model_dump(mode="json", exclude={"study"})):
        yield Param(name, value)
    for name, count in result.counts.items():
        yield Param(name, str(count))
    yield from metric_items(result.metrics)
    yield Text("config.yaml", result.config.to_yaml())
    yield Text("summary.md", summary(result))
    yield Text("versions.json", json.dumps(versions(), indent=1))
    yield Text("card.json", result.bundle.card.model_dump_json(indent=1))
    for name, frame in result.tables.items():
        yield Table(name, frame)
    for name, content in result.figures.items():
        yield Picture(name, content)
    for candidate in result.candidates:
        items: list[Param | Metric | Tag] = [
            Param("risk_model", candidate.name),
            Tag("selected", str(candidate.selected).lower()),
            *metric_items(candidate.metrics),
        ]
        yield Child(f"candidate {candidate.name}", tuple(items))


def metric_items(metrics: Mapping[str, Estimate]) -> Iterator[Metric]:
    """Yield each figure with its limits; what is not defined (NaN) is left out."""
    for name, estimate in metrics.items():
        for end, value in (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high)):
            if value == value:
                yield Metric(f"{name}{end}", value)


def versions() -> dict[str, str]:
    """Return the versions of Python, il7ml and what it computes with."""
    return {"python": platform.python_version(), "il7ml": __version__, **{name: version(name) for name in PACKAGES}}


def summary(result: TrainingResult) -> str:
    """Return the run in plain words (Markdown), verdicts first."""
    lines = [f"**{texts.SIMULATED}**", ""] if result.simulated else []
    lines += [
        f"### {result.title}",
        "",
        f"Endpoint: {result.endpoint_title}. {result.estimand}",
        "",
        f"- Heterogeneity of the effect: **{result.evidence}**. {result.evidence_reason}",
        f"- Sample size: {result.sample_size}",
        f"- Risk model: **{result.selected}**. {result.selection_reason} Its figures are for the arm that "
        "each patient was in, which the event rate knows, too.",
        "",
        f"| figure | estimate | {100 * result.config.validation.level:g} % interval |",
        "|---|---|---|",
    ]
    for name, estimate in result.metrics.items():
        if estimate.value == estimate.value:
            lines.append(f"| {name} | {estimate.value:.4g} | {estimate.low:.4g} to {estimate.high:.4g} |")
    lines += ["", *(f"- {note}" for note in result.notes if note != texts.SIMULATED), "", texts.INTENDED_USE, ""]
    return "\n".join(lines)


def _tags(result: TrainingResult) -> Iterator[Tag]:
    yield Tag("mlflow.source.name", "il7ml train")
    yield Tag("study", result.study)
    yield Tag("endpoint", result.endpoint)
    yield Tag("data", "simulated" if result.simulated else "real")
    yield Tag("data_digest", result.data_digest)
    yield Tag("risk_model", result.selected)
    yield Tag("verdict.heterogeneity", result.evidence)
    yield Tag("verdict.sample_size", result.sample_size.partition(":")[0])
    yield Tag("mlflow.note.content", summary(result))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{key}", "" if value is None else str(value)
