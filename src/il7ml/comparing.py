"""Two trainings on the same patients: paired differences with intervals, not two numbers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml import notebook, plots, texts
from il7ml.config import RunConfig, yaml_of
from il7ml.data.loading import load_cohort
from il7ml.data.study import load_study
from il7ml.errors import InputError
from il7ml.evaluation.comparison import compare_models
from il7ml.evaluation.risk import risk_metrics
from il7ml.models.crossfit import cross_validate
from il7ml.parallel import Progress, available_cores
from il7ml.report.training import METRICS
from il7ml.streaming import is_streamed
from il7ml.tracking import comparison_items, config_of_run, open_run, resolve_uri
from il7ml.tracking.record import RunRecord
from il7ml.training import Prepared, prepare

Floats = NDArray[np.float64]
Steps = Callable[[str], AbstractContextManager[Progress | None]]

_TOLERANCE = 1e-6
_LOSSES = {"binary": "log_loss", "count": "poisson_deviance", "continuous": "rmse"}


class Comparison(NamedTuple):
    """What differs between two trainings' chosen models.

    Attributes
    ----------
    first, second : str
        Run ids.
    labels : tuple of str
        The models compared.
    study : str
    simulated : bool
    data_digest : str
    table : DataFrame
        Columns metric, threshold, first, second, difference, std_error, low, high, p_value, higher_is_better.
    run_id : str
        The tracked comparison.
    """

    first: str
    second: str
    labels: tuple[str, str]
    study: str
    simulated: bool
    data_digest: str
    table: pd.DataFrame
    run_id: str = ""

    def _repr_html_(self) -> str:
        """Return the comparison for a notebook."""
        shown = self.table.drop(columns="std_error")
        rows = [["" if pd.isna(cell) else _short(cell) for cell in row] for row in shown.itertuples(index=False)]
        return "".join(
            (
                notebook.paragraph(texts.SIMULATED if self.simulated else "", strong=True),
                notebook.heading(self.study),
                notebook.items(
                    [f"first: {self.labels[0]} (run {self.first})", f"second: {self.labels[1]} (run {self.second})"]
                ),
                notebook.table(list(shown.columns), rows),
                notebook.paragraph("Difference: first minus second, same patients."),
            )
        )

    def to_text(self) -> str:
        """Return the comparison as text, under the notice where patients are simulated."""
        notice = [texts.SIMULATED] if self.simulated else []
        heads = [f"first: {self.labels[0]} (run {self.first})", f"second: {self.labels[1]} (run {self.second})"]
        shown = self.table.drop(columns="std_error").to_string(index=False, na_rep="", float_format="{:.4g}".format)
        return "\n".join([*notice, self.study, *heads, "difference: first minus second, same patients", "", shown])


def _short(cell: object) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def compare_runs(
    first: str, *others: str, uri: str | None = None, steps: Steps | None = None, root: Path | None = None
) -> tuple[Comparison, ...]:
    """Compare the chosen risk models of trainings on the same patients, each with the first, and track the comparisons.

    Predictions of single patients are never logged, so the cross-validations are done again from the recorded configs,
    the choice of the model in each fold included; they give the recorded figures or the comparison is refused.

    Parameters
    ----------
    first : str
        Run id.
    *others : str
        Run ids, at least one. P values and intervals are those of each pair, not adjusted for their number.
    uri : str, optional
        Tracking store.
    steps : callable, optional
        Opens a progress display for each step.
    root : Path, optional
        Folder from which relative study paths are tried as well.

    Returns
    -------
    tuple of Comparison
        One for each of `others`.

    Raises
    ------
    InputError
        If a run is not known or no training, the data or endpoints differ, or a run's figures cannot be had again.
    """
    steps = steps or (lambda label: nullcontext())
    records = [config_of_run(run, uri) for run in (first, *others)]
    for record in records:
        if record.command != "il7ml train":
            raise InputError(f"run {record.run_id} was made by {record.command}, not by il7ml train. Name a training.")
    digests = {record.data_digest for record in records}
    if len(digests) > 1:
        raise InputError(
            "the runs saw different data (their digests differ), so they cannot be compared patient by patient. "
            "Train all on the same data."
        )
    prepared = [_prepared(record, root) for record in records]
    endpoints = list(dict.fromkeys(each.config.endpoint for each in prepared))
    if len(endpoints) > 1:
        raise InputError(f"the runs have different endpoints ({', '.join(endpoints)}). Compare models of one endpoint.")
    predicted = []
    for number, (record, each) in enumerate(zip(records, prepared, strict=True), start=1):
        with steps(f"run {number}") as progress:
            predicted.append(_predictions(record, each, progress))
    return tuple(
        _tracked((records[0], records[k]), (predicted[0], predicted[k]), prepared[0], uri, root)
        for k in range(1, len(records))
    )


def _tracked(
    records: tuple[RunRecord, RunRecord],
    predicted: tuple[Floats, Floats],
    one: Prepared,
    uri: str | None,
    root: Path | None,
) -> Comparison:
    """Compare two trainings by their predictions, and track what is found."""
    first, second = (record.run_id for record in records)
    table = compare_models(
        one.sample.y,
        *predicted,
        one.setting.outcome,
        thresholds=one.config.validation.thresholds if one.setting.outcome == "binary" else (),
        weight=one.sample.weight,
        exposure=one.sample.exposure,
        level=one.config.validation.level,
    )
    labels = tuple(texts.MODEL_LABELS[record.risk_model] for record in records)
    study = one.cohort.study
    found = Comparison(
        first, second, (labels[0], labels[1]), study.title, study.simulated, records[0].data_digest, table
    )
    tags = {"study": study.name, "endpoint": one.config.endpoint, "data": "simulated" if study.simulated else "real"}
    store = resolve_uri(uri if uri is not None else one.config.tracking.uri, root)
    name = f"comparison {first[:8]} {second[:8]}"
    with open_run(store, one.config.tracking.experiment, name, tags, root=root) as run:
        run.log(comparison_items(first, second, found.data_digest, table, found.to_text(), _figure(found, one)))
    return found._replace(run_id=run.run_id)


def _figure(found: Comparison, prepared: Prepared) -> bytes:
    """Return the picture of the differences; two models of one kind are told apart by their runs."""
    one, other = found.labels
    if one == other:
        one, other = f"{one} (run {found.first[:8]})", f"{other} (run {found.second[:8]})"
    figure = plots.comparison_figure(
        found.table,
        (one, other),
        METRICS,
        f"{one} against {other}: {prepared.outcome.title}{prepared.mark}",
        prepared.config.validation.level,
    )
    return plots.to_png(figure)


def _prepared(record: RunRecord, root: Path | None) -> Prepared:
    config = RunConfig.model_validate(yaml_of(record.config, f"config of run {record.run_id}"))
    if not config.study.exists() and root is not None and (root / config.study).exists():
        config = config.model_copy(update={"study": root / config.study})
    if is_streamed(config, load_study(config.study)):
        raise InputError(
            f"run {record.run_id} was trained part by part: its patients are too many to be predicted again at once. "
            "Compare trainings on a sample of them."
        )
    cohort = load_cohort(config.study, course=False)
    if cohort.digest != record.data_digest:
        raise InputError(f"the data of run {record.run_id} have changed since. Restore them.")
    return prepare(config, cohort)


def _predictions(record: RunRecord, prepared: Prepared, progress: Progress | None) -> Floats:
    """Return the procedure's out-of-fold predictions under the arm each patient was in, shape (repeats, n)."""
    config, sample = prepared.config, prepared.sample
    out_of_fold = cross_validate(
        sample,
        prepared.setting,
        models=config.models,
        folds=config.validation.folds,
        repeats=config.validation.repeats,
        choose=True,
        seed=config.seed,
        workers=config.workers or available_cores(),
        progress=progress,
    )
    predicted = out_of_fold.chosen(sample.treatment)
    kind = prepared.setting.outcome
    figures = risk_metrics(
        sample.y,
        predicted,
        kind,
        weight=sample.weight,
        exposure=sample.exposure,
        bootstrap=50,  # the limits are not used
        rng=np.random.default_rng(0),
    ).set_index("metric")["estimate"]
    now, recorded = float(figures[_LOSSES[kind]]), record.metrics.get(_LOSSES[kind])
    if recorded is None or abs(now - recorded) > _TOLERANCE * max(1.0, abs(recorded)):
        raise InputError(
            f"run {record.run_id}: its out-of-fold predictions cannot be had again (its versions.json says with which "
            "versions it was made). Train again with il7ml train --from-run."
        )
    return predicted
