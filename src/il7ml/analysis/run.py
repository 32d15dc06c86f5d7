"""From a config to a tracked analysis of a trial: compare, judge, draw, say, log, write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from il7ml.analysis.course import compare_course
from il7ml.analysis.findings import Covariates, Findings, Task, headline
from il7ml.analysis.flow import patient_flow
from il7ml.analysis.outcomes import compare_outcomes
from il7ml.analysis.pictures import draw
from il7ml.analysis.sensitivity import sensitivity
from il7ml.analysis.subgroups import compare_subgroups
from il7ml.config import RunConfig
from il7ml.data.cohort import Cohort
from il7ml.data.description import missing_by_arm, table_one
from il7ml.data.loading import load_cohort
from il7ml.data.tables import write_files
from il7ml.endpoints.result import to_frame
from il7ml.errors import InputError
from il7ml.parallel import Progress, stream
from il7ml.report.trial import trial_report
from il7ml.report.words import trial_words
from il7ml.tracking import open_run, resolve_uri, trial_items
from il7ml.trial_result import TrialResult

#: Opens a progress display for a named step.
Steps = Callable[[str], AbstractContextManager[Progress | None]]


def analyze(
    config: RunConfig | str | Path,
    *,
    cohort: Cohort | None = None,
    out: Path | None = None,
    steps: Steps | None = None,
    root: Path | None = None,
) -> TrialResult:
    """Compare the arms on every endpoint of a config's study, all patients as randomised, and track the run.

    Parameters
    ----------
    config : RunConfig or path
    cohort : Cohort, optional
        Patients that are loaded already; by default the config's study is read.
    out : Path, optional
        Folder for ``endpoints.csv``, the other tables, the figures and ``report.html``.
    steps : callable, optional
        Opens a progress display for each step.
    root : Path, optional
        Folder from which the project root is looked for; by default the config file's, else the current one.

    Returns
    -------
    TrialResult
        With the id of the tracked run.

    Raises
    ------
    InputError
        If config, study, data, store or folder cannot be used, or the config's endpoint cannot be compared. Then no
        file is written; a run that was begun is marked failed.
    """
    if not isinstance(config, RunConfig):
        root = root or Path(config).parent
        config = RunConfig.from_file(config)
    cohort = cohort if cohort is not None else load_cohort(config.study)
    uri = resolve_uri(config.tracking.uri, root)
    _task(config, cohort)  # refuses the config before a folder is made or a run begun
    if out is not None:
        _make(out)
    study = cohort.study
    tags = {"study": study.name, "data": "simulated" if study.simulated else "real"}
    name = f"analysis of {study.name}{' (simulated)' if study.simulated else ''}"
    with open_run(uri, config.tracking.experiment, name, tags, root=root) as run:
        result = compare(config, cohort, steps)
        page = trial_report(result)
        run.log(trial_items(result, page))
        if out is not None:
            _write(result, page, out)
    # The id is known for good only now: a run is completed in another store if its server goes away.
    return replace(result, run_id=run.run_id)


def compare(config: RunConfig, cohort: Cohort, steps: Steps | None = None) -> TrialResult:
    """Run the whole analysis in memory and return what it found; nothing is written or tracked.

    A method that cannot be applied to an endpoint (no events in an arm, say) is noted and the others go on.

    Parameters
    ----------
    config : RunConfig
    cohort : Cohort
    steps : callable, optional

    Raises
    ------
    InputError
        If the config asks for something that the study does not have, or its endpoint cannot be compared by any method.
    """
    steps = steps or (lambda label: nullcontext())
    settings = config.analysis
    task, findings = _task(config, cohort), Findings()
    with steps("endpoints") as progress:
        compare_outcomes(task, findings)
        _tell(progress, 1)
        if cohort.course is not None:
            compare_course(task, cohort.course, findings)
        _tell(progress, 2)
        order = tuple(cohort.outcomes) if settings.order is None else settings.order
        overview = headline(findings.lines, order)
        if findings.lines[config.endpoint].result is None:
            start = f"Not compared - {config.endpoint},"
            # Most methods fail for one and the same reason, which is said once.
            reasons = dict.fromkeys(note.partition(": ")[2] for note in findings.notes if note.startswith(start))
            raise InputError(f"endpoint {config.endpoint!r} cannot be compared. {' '.join(reasons)}")
        cuts = settings.subgroups
        if cuts is None:
            cuts = dict.fromkeys(cohort.study.modifiers, ())
        # Recovery is looked at by the modifiers whether or not it stands in the order: the trial's question was there.
        measured = {} if cohort.course is None else cohort.course.measurements
        recovery = [
            f"{name}_{part}"
            for name, each in measured.items()
            if each.spec.recovery
            for part in ("final", "average", "recovery")
        ]
        recovery = [name for name in recovery if name in findings.lines and name not in order]
        subgroups = compare_subgroups(task, findings, cuts, [*order, *recovery])
        _tell(progress, 3)
        generator = np.random.default_rng(stream(config.seed, "imputation"))
        findings.tables["sensitivity"] = sensitivity(
            task, findings, imputations=settings.imputations, generator=generator
        )
        _tell(progress, 4)
    study = cohort.study
    table = to_frame(findings.results)
    labels = {"control": cohort.control_label, "treated": cohort.treated_label}
    flow = patient_flow(cohort)
    mark = " (simulated patients)" if study.simulated else ""
    tables = {
        "flow": flow,
        "table_one": table_one(cohort),
        "missing_data": missing_by_arm(cohort),
        **{name: table for name, table in findings.tables.items() if len(table)},
    }
    return TrialResult(
        config=config,
        study=study.name,
        title=study.title,
        simulated=study.simulated,
        control_label=cohort.control_label,
        treated_label=cohort.treated_label,
        n_control=cohort.flow.control,
        n_treated=cohort.flow.treated,
        data_digest=_digest(cohort),
        table=table,
        headline=overview,
        subgroups=subgroups,
        tables=tables,
        figures=draw(overview, subgroups, tables, findings.lines, labels, order, mark, cohort.course, len(cohort)),
        words=trial_words(
            overview, subgroups, cohort.control_label, cohort.treated_label, table=table, level=task.level
        ),
        notes=tuple(findings.notes),
    )


def _digest(cohort: Cohort) -> str:
    """Return a SHA-256 over all that an analysis depends on: also when events happened, and the course."""
    whole = hashlib.sha256(cohort.digest.encode())
    for name in sorted(cohort.outcomes):
        for part in cohort.outcomes[name].timeline or ():
            whole.update(np.ascontiguousarray(part, dtype=float).tobytes())
    if cohort.course is not None:
        whole.update(cohort.course.digest().encode())
    return whole.hexdigest()


_STEPS = 4


def _tell(progress: Progress | None, done: int) -> None:
    if progress is not None:
        progress(done, _STEPS)


def _task(config: RunConfig, cohort: Cohort) -> Task:
    cohort.study.endpoint(config.endpoint)
    return Task(cohort, _covariates(cohort, config.analysis.covariates), config.validation.level)


def _covariates(cohort: Cohort, names: tuple[str, ...]) -> Covariates:
    known = cohort.baseline_variables
    if absent := [name for name in names if name not in known]:
        raise InputError(
            f"analysis.covariates: study {cohort.study.name} has no baseline variable {absent[0]!r}. "
            f"Known: {', '.join(known)}."
        )
    return cohort.baseline[list(names)] if names else None


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made: {error.strerror}. Choose another folder.") from None


def _write(result: TrialResult, page: str, out: Path) -> None:
    """Write the tables, figures and report, all or none."""
    frames = {
        **result.tables,
        "headline": result.headline,
        **({"subgroups": result.subgroups} if len(result.subgroups) else {}),
    }
    write_files(
        {
            **{out / f"{name}.csv": frame for name, frame in frames.items()},
            **{out / f"{name}.png": picture for name, picture in result.figures.items()},
            out / "report.html": page,
            out / "endpoints.csv": result.table,
        }
    )
