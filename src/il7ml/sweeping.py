"""Many trainings of one study as children of one run: a grid of settings or a search, taken up where it stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import ValidationError

from il7ml import __version__, plots, texts
from il7ml.config import RunConfig, as_yaml, set_key
from il7ml.data.loading import load_cohort
from il7ml.errors import InputError, nearest
from il7ml.family import Kind
from il7ml.parallel import Progress, available_cores, iterate_tasks
from il7ml.report.training import metric_label, training_report
from il7ml.result import TrainingResult
from il7ml.schema import explain
from il7ml.sweep_config import SweepConfig
from il7ml.sweep_search import ROUND, Trial, propose, settings_at
from il7ml.tracking import find_sweep, open_run, reopen_run, resolve_uri, run_items, sweep_items
from il7ml.tracking.items import Child, Dataset, Item, Tag, without_credentials
from il7ml.tracking.store import FinishedChild, Run
from il7ml.tracking.sweep import CANDIDATE, SWEEP, FoundSweep
from il7ml.training import Prepared, fit, prepare, state_of, training_key

Steps = Callable[[str], AbstractContextManager[Progress | None]]

#: Figures by which candidates can be compared, and whether larger is better; the first, corrected, is the default.
_METRICS: dict[Kind, dict[str, bool]] = {
    "binary": {"log_loss": False, "brier": False, "auroc": True, "scaled_brier": True},
    "count": {"poisson_deviance": False, "crps": False, "scaled_deviance": True},
    "continuous": {"rmse": False, "r2": True},
}
_LONGEST_VALUE = 60
#: Candidates that a figure shows; the table has all.
_DRAWN = 40


class Sweep(NamedTuple):
    """What a sweep found.

    Attributes
    ----------
    run_id : str
    study : str
        Its title.
    simulated : bool
    metric : str
        Figure by which candidates are compared.
    larger_is_better : bool
    table : DataFrame
        A row a candidate, in the order in which they were tried: candidate, run_id, the keys that vary, risk_model,
        best, then its metrics with ``_low`` and ``_high``, the one compared first.
    remark : str
        What has to be said of the best.
    """

    run_id: str
    study: str
    simulated: bool
    metric: str
    larger_is_better: bool
    table: pd.DataFrame
    remark: str

    @property
    def best(self) -> tuple[str, ...]:
        """The best candidate's name; several where they do equally well, empty where none is named."""
        return tuple(map(str, self.table.loc[self.table["best"], "candidate"]))

    @property
    def ranked(self) -> pd.DataFrame:
        """The table from best to worst; ties keep their order."""
        return self.table.sort_values(
            self.metric, ascending=not self.larger_is_better, kind="stable", ignore_index=True
        )

    @property
    def rule(self) -> str:
        """How candidates are compared, in words."""
        return (
            f"Compared by {self.metric} ({metric_label(self.metric)}) of each candidate's chosen risk model; "
            f"{'larger' if self.larger_is_better else 'smaller'} is better."
        )

    @property
    def verdict(self) -> str:
        """Which is best, and how far that can be trusted, in words."""
        best = f"Best{', equally' if len(self.best) > 1 else ''}: {'; '.join(self.best)}. " if self.best else ""
        return f"{best}{self.remark}"

    def to_text(self) -> str:
        """Return the candidates from best to worst, under the notice where patients are simulated."""
        rows = self.ranked
        numbers = rows[[self.metric, f"{self.metric}_low", f"{self.metric}_high"]].itertuples(index=False)
        shown = pd.DataFrame(
            {
                "candidate": rows["candidate"],
                "risk model": rows["risk_model"],
                self.metric: [_interval(*row) for row in numbers],
                "run": rows["run_id"],
            }
        )
        notice = [texts.SIMULATED] if self.simulated else []
        return "\n".join([*notice, self.study, self.rule, "", shown.to_string(index=False), "", self.verdict])


class _Candidate(NamedTuple):
    """A training that takes part."""

    name: str
    settings: dict[str, Any]
    prepared: Prepared
    key: str


class _Plan(NamedTuple):
    """A sweep that was checked: nothing has run yet."""

    config: SweepConfig
    base: Prepared
    metric: str
    larger_is_better: bool
    grid: tuple[_Candidate, ...]

    @property
    def key(self) -> str:
        """What tells this sweep from others: version, data, settings and what varies."""
        what = [
            __version__,
            training_key(self.base),
            self.metric,
            self.config.model_dump(mode="json", exclude={"base"}),
        ]
        return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:16]

    @property
    def size(self) -> int:
        """Candidates, or proposals of a search."""
        return len(self.grid) if self.config.search is None else self.config.search.trials

    def candidate(self, settings: dict[str, Any]) -> _Candidate:
        """Return the training with these settings in place of the base's.

        Raises
        ------
        InputError
            If a key or value is not allowed, or the data do not allow it.
        """
        name = _name(settings)
        config = _with_settings(self.base.config, settings, name)
        try:
            prepared = prepare(config, self.base.cohort)
        except InputError as error:
            raise InputError(f"candidate {name}: {error}") from None
        return _Candidate(name, settings, prepared, training_key(prepared))


def sweep(
    config: SweepConfig | str | Path,
    *,
    overrides: Sequence[str] = (),
    steps: Steps | None = None,
    root: Path | None = None,
) -> Sweep:
    """Train every candidate of a sweep as a child of one run, and compare them.

    A sweep that was stopped is taken up again in the same run: candidates that are complete are not trained again, and
    the result is that of an undisturbed one. Of one that is complete the result is returned. Candidates are neither
    registered nor promoted: ``il7ml train --from-run`` makes a model of one.

    Parameters
    ----------
    config : SweepConfig or path
    overrides : sequence of str
        ``key=value`` for the base config.
    steps : callable, optional
        Opens a progress display.
    root : Path, optional
        Folder from which the project root is looked for; by default the config file's, else the current one.

    Returns
    -------
    Sweep

    Raises
    ------
    InputError
        If a key, value or range is not allowed, before anything runs; or data or store cannot be used, or the same
        sweep is under way.
    """
    if not isinstance(config, SweepConfig):
        root = root or Path(config).parent
        config = SweepConfig.from_file(config)
    plan = _plan(config, RunConfig.from_file(config.base, overrides))
    tracking = plan.base.config.tracking
    uri = resolve_uri(tracking.uri, root)
    found = find_sweep(uri, tracking.experiment, plan.key, root)
    steps = steps or (lambda label: nullcontext())
    if found is not None and found.status == "FINISHED":
        return _result(plan, found.run_id, _all_candidates(plan, lambda: found.candidates, lambda batch: None))
    with _open(plan, found, uri, root) as run, steps("candidates") as progress:

        def train(batch: Sequence[_Candidate]) -> None:
            for _ in _train_into(run, batch, uri, config.workers or available_cores()):
                if progress is not None:
                    progress(len(run.children()), plan.size)

        result = _result(plan, run.run_id, _all_candidates(plan, run.children, train))
        run.log(_items(plan, result))
    return result._replace(run_id=run.run_id)


def _plan(config: SweepConfig, base: RunConfig) -> _Plan:
    """Check everything that can be wrong before a candidate is trained.

    Raises
    ------
    InputError
    """
    prepared = prepare(base, load_cohort(base.study, course=False))
    # As it was asked for: what the data do not allow is left out for each candidate.
    prepared = prepared._replace(config=base)
    known = {
        f"{name}{end}": up for name, up in _METRICS[prepared.setting.outcome].items() for end in ("_corrected", "")
    }
    metric = config.metric or next(iter(known))
    if metric not in known:
        raise InputError(f"metric: {metric!r} does not compare candidates of this endpoint.{nearest(metric, known)}")
    plan = _Plan(config, prepared, metric, known[metric], ())
    if config.search is not None:
        for key, limits in config.search.ranges.items():
            for end in limits.ends:
                _with_settings(base, {key: end}, _name({key: end}))
        propose(config.search.ranges, (), 1, config.search.seed, maximize=plan.larger_is_better)
        return plan
    grid = tuple(plan.candidate(settings) for settings in config.combinations)
    first: dict[str, str] = {}
    for each in grid:
        if each.key in first:
            raise InputError(
                f"candidates {first[each.key]} and {each.name} come to the same training "
                f"({'; '.join(_why(each))}). Take one out."
            )
        first[each.key] = each.name
    return plan._replace(grid=grid)


def _why(candidate: _Candidate) -> list[str]:
    notes = [note.rstrip(".") for note in candidate.prepared.notes if note != texts.SIMULATED]
    return notes or ["they differ in nothing that counts"]


def _with_settings(base: RunConfig, settings: dict[str, Any], name: str) -> RunConfig:
    raw = base.model_dump(mode="json")
    for key, value in settings.items():
        set_key(raw, key, value)
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise InputError(explain(error, f"candidate {name}", RunConfig)) from None


def _name(settings: dict[str, Any]) -> str:
    """Return a candidate's name: what it has in place of the base's settings.

    Examples
    --------
    >>> _name({"models": ["prevalence", "firth"], "tuning.method": "grid"})
    'models=prevalence+firth, method=grid'
    """
    short = [key.rpartition(".")[2] for key in settings]
    names = short if len(set(short)) == len(short) else list(settings)
    return ", ".join(f"{name}={_value(value)}" for name, value in zip(names, settings.values(), strict=True))


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        text = "+".join(map(str, value)) or "[]"
        return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE].rpartition('+')[0]}+… ({len(value)})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _open(plan: _Plan, found: FoundSweep | None, uri: str, root: Path | None) -> AbstractContextManager[Run]:
    if found is not None and found.status == "RUNNING":
        raise InputError(
            f"this sweep is under way in run {found.run_id}. Wait for it to end; if its machine is gone, set the run's "
            "status to killed in MLflow."
        )
    if found is not None:
        return reopen_run(found.uri, found.run_id)
    config, study = plan.base.config, plan.base.cohort.study
    tags = {
        "mlflow.source.name": "il7ml sweep",
        "study": study.name,
        "endpoint": config.endpoint,
        "data": "simulated" if study.simulated else "real",
        "data_digest": plan.base.cohort.digest,
        SWEEP: plan.key,
    }
    name = f"sweep {study.name} {config.endpoint}{' (simulated)' if study.simulated else ''}"
    return open_run(uri, config.tracking.experiment, name, tags, root=root)


def _all_candidates(
    plan: _Plan, children: Callable[[], list[FinishedChild]], train: Callable[[Sequence[_Candidate]], None]
) -> list[tuple[_Candidate, FinishedChild]]:
    """Return all candidates with their runs; `train` is handed those that are not among the children yet."""

    def done() -> dict[str, FinishedChild]:
        return {child.tags[CANDIDATE]: child for child in children() if CANDIDATE in child.tags}

    search = plan.config.search
    if search is None:
        train([each for each in plan.grid if each.key not in done()])
        complete = done()
        return [(each, complete[each.key]) for each in plan.grid]
    trials: list[Trial] = []
    found: dict[str, tuple[_Candidate, FinishedChild]] = {}
    while len(trials) < search.trials:
        count = min(ROUND, search.trials - len(trials))
        places = propose(search.ranges, trials, count, search.seed, maximize=plan.larger_is_better)
        batch = [plan.candidate(settings_at(search.ranges, place)) for place in places]
        # A setting that is proposed twice is trained once.
        unique = {each.key: each for each in reversed(batch)}
        known = done()
        train([each for key, each in reversed(unique.items()) if key not in known])
        complete = done()
        for place, each in zip(places, batch, strict=True):
            child = complete[each.key]
            trials.append(Trial(place, child.metrics.get(plan.metric, float("nan"))))
            found.setdefault(each.key, (each, child))
    return list(found.values())


def _train_into(run: Run, batch: Sequence[_Candidate], uri: str, workers: int) -> Iterator[str]:
    """Train candidates in worker processes; yield each one's name once it is written, in their order.

    This process alone writes, so that a sweep that is killed leaves no worker behind that goes on writing.
    """
    at_once = min(workers, len(batch))
    tasks = [(each.prepared, 1 if at_once > 1 else workers, uri) for each in batch]
    trained = iterate_tasks(_train, tasks, max(at_once, 1))
    for each, (started, result, page) in zip(batch, trained, strict=True):
        items: tuple[Item, ...] = (*run_items(result, page), Tag(CANDIDATE, each.key))
        run.log([Child(each.name, items, started)])
        if (state := state_of(each.prepared, uri)) is not None:
            state.clear()
        yield each.name


def _train(prepared: Prepared, workers: int, uri: str) -> tuple[int, TrainingResult, str]:
    """Return when the training began (milliseconds since 1970), what it found, and its report."""
    started = int(time.time() * 1000)
    prepared = prepared._replace(config=prepared.config.model_copy(update={"workers": workers}))
    result = fit(prepared, None, state_of(prepared, uri))
    return started, result, training_report(result)


def _result(plan: _Plan, run_id: str, candidates: Sequence[tuple[_Candidate, FinishedChild]]) -> Sweep:
    metric, measuring = plan.metric, plan.config.measuring
    compared = [metric, f"{metric}_low", f"{metric}_high"]
    others = sorted({name for _, child in candidates for name in child.metrics} - set(compared))
    rows = [
        {
            "candidate": each.name,
            "run_id": child.run_id,
            **{key: _cell(value) for key, value in each.settings.items()},
            "risk_model": child.tags["risk_model"],
            "best": False,
            **{name: child.metrics.get(name, np.nan) for name in (*compared, *others)},
        }
        for each, child in candidates
    ]
    table = pd.DataFrame(rows)
    values = table[metric].to_numpy(dtype=float) * (1 if plan.larger_is_better else -1)
    if not measuring and np.isfinite(values).any():
        table["best"] = values == np.nanmax(values)
    remark = texts.NO_BEST.format(keys=", ".join(measuring)) if measuring else texts.OPTIMISTIC_BEST
    study = plan.base.cohort.study
    return Sweep(run_id, study.title, study.simulated, metric, plan.larger_is_better, table, remark)


def _interval(value: float, low: float, high: float) -> str:
    """Return an estimate with its limits, with more digits than it bears: candidates differ little."""
    return "not estimable" if np.isnan(value) else f"{value:.4g} ({low:.4g} to {high:.4g})"


def _cell(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _items(plan: _Plan, result: Sweep) -> Sequence[Item]:
    base, metric = plan.base, result.metric
    ranked = result.ranked
    level = base.config.validation.level
    shown = ranked.head(_DRAWN).rename(columns={metric: "estimate", f"{metric}_low": "low", f"{metric}_high": "high"})
    shown = shown.assign(risk_model=[texts.MODEL_LABELS.get(name, name) for name in shown["risk_model"]])
    more = f" The {_DRAWN} best of {len(ranked)} candidates." if len(ranked) > _DRAWN else ""
    figure = plots.sweep_figure(
        shown, metric_label(metric), f"Sweep: {base.outcome.title}{base.mark}", f"{result.remark}{more}", level
    )
    params = {"metric": metric, "candidates": str(len(ranked)), "varied": ", ".join(plan.config.keys)}
    best = ranked[ranked["best"]].head(1)
    figures = {f"best_{metric}{end}": value for end in ("", "_low", "_high") for value in best[f"{metric}{end}"]}
    files = {
        "summary.md": _summary(result, level),
        "sweep.yaml": as_yaml(plan.config),
        "base.yaml": without_credentials(base.config).to_yaml(),
    }
    cohort = base.cohort
    return (
        Dataset(cohort.study.name, cohort.digest, (), len(cohort), "sweep"),
        *sweep_items(result.table, params, figures, files, plots.to_png(figure)),
    )


def _summary(result: Sweep, level: float) -> str:
    """Return the sweep in words (Markdown), best candidate first."""
    names = [result.metric, f"{result.metric}_low", f"{result.metric}_high"]
    rows = result.ranked[["candidate", "risk_model", *names]].itertuples(index=False)
    return "\n".join(
        [
            *([f"**{texts.SIMULATED}**", ""] if result.simulated else []),
            f"### Sweep: {result.study}",
            "",
            f"{result.rule} {result.verdict}",
            "",
            f"| candidate | chosen risk model | {result.metric} ({100 * level:g} % interval) |",
            "|---|---|---|",
            *(f"| {name} | {texts.MODEL_LABELS.get(str(model), str(model))} | {_interval(*numbers)} |"
              for name, model, *numbers in rows),
            "",
            "Nothing is registered or promoted. To make a model of a candidate: `il7ml train --from-run RUN`.",
            "",
            texts.INTENDED_USE,
            "",
        ]
    )  # fmt: skip
