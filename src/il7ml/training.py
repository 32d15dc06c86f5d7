"""From a config to a tracked run: read, cross-validate, judge, fit, explain, log, register."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml import __version__, plots, texts
from il7ml.assessment import EffectAssessment, RiskAssessment, assess_effect, assess_risk, sample_size_verdict
from il7ml.assessment.size import SizeVerdict
from il7ml.assessment.validation import audit_tables, group_tables, learning_tables, site_tables, validate_models
from il7ml.bundle import FORMAT, Bundle, Card, CardVariable, EffectRefits, Refits
from il7ml.config import RiskModelName, RunConfig, yaml_of
from il7ml.data.cohort import Cohort
from il7ml.data.description import endpoint_counts, missing_by_arm, table_one
from il7ml.data.loading import load_cohort
from il7ml.endpoints.outcome import Outcome, learning_outcome
from il7ml.errors import InputError
from il7ml.explanation import explain, importance
from il7ml.family import FAMILIES
from il7ml.features.columns import DERIVED, Columns, to_columns
from il7ml.features.selection import select_variables
from il7ml.models.catalog import FLEXIBLE, REFERENCE, Setting
from il7ml.models.crossfit import OutOfFold, Sample, cross_validate, leave_one_site_out
from il7ml.models.dr_learner import DRLearner
from il7ml.models.final import FinalRisk, fit_final_effect, fit_final_risk, fit_whole
from il7ml.models.learning import losses_by_size
from il7ml.models.reference import fit_reference
from il7ml.models.resampled import resample
from il7ml.parallel import Progress, available_cores, stream
from il7ml.report.training import training_report
from il7ml.result import TrainedRun, TrainingResult
from il7ml.schema import Variable
from il7ml.state import State
from il7ml.tracking import config_of_run, database_of, metric_items, open_run, resolve_uri, run_items

#: Opens a progress display for a named step.
Steps = Callable[[str], AbstractContextManager[Progress | None]]

_LEARNING_REPEATS = 5
_LYMPHOCYTES = ("absolute_lymphocyte_count", "cd4_count")


class Prepared(NamedTuple):
    """A config's data, checked and ready for learning."""

    config: RunConfig
    cohort: Cohort
    outcome: Outcome
    sample: Sample
    setting: Setting
    size: SizeVerdict
    notes: tuple[str, ...]

    @property
    def mark(self) -> str:
        """What the title of every figure ends with."""
        return " (simulated patients)" if self.cohort.study.simulated else ""

    @property
    def columns(self) -> Columns:
        """The features of all patients, derived ones included."""
        return to_columns(self.sample.X, self.setting.variables)


def train(
    config: RunConfig | str | Path,
    *,
    cohort: Cohort | None = None,
    steps: Steps | None = None,
    root: Path | None = None,
) -> TrainedRun:
    """Train, validate, explain, track and register the models of a config.

    Parameters
    ----------
    config : RunConfig or path
    cohort : Cohort, optional
        Patients that are loaded already; by default the config's study is read.
    steps : callable, optional
        Opens a progress display for each step.
    root : Path, optional
        Folder from which the project root is looked for; by default the config file's, else the current one.

    Returns
    -------
    TrainedRun

    Raises
    ------
    InputError
        If config, study, data or store cannot be used. A run that was begun is marked failed.
    """
    if not isinstance(config, RunConfig):
        root = root or Path(config).parent
        config = RunConfig.from_file(config)
    prepared = prepare(config, cohort)
    uri = resolve_uri(config.tracking.uri, root)
    state = _state(prepared, uri)
    study = prepared.cohort.study
    tags = {"study": study.name, "endpoint": config.endpoint, "data": "simulated" if study.simulated else "real"}
    if revision := _git_revision(root):
        tags["mlflow.source.git.commit"] = revision
    name = f"{study.name} {config.endpoint}{' (simulated)' if study.simulated else ''}"
    with open_run(uri, config.tracking.experiment, name, tags, root=root) as run:
        result = fit(prepared, steps, state)
        run.log(run_items(result, training_report(result)))
        model = run.log_model(result.bundle, result.bundle.card.model_name, result.example)
    if state is not None:
        state.clear()
    return TrainedRun(run.run_id, model.name, model.version, result)


class Repetition(NamedTuple):
    """A training done again.

    Attributes
    ----------
    run : TrainedRun
    differing : dict of str to tuple of float
        Metrics that are not the same as those recorded: recorded, now.
    """

    run: TrainedRun
    differing: dict[str, tuple[float, float]]


def retrain(run: str, *, uri: str | None = None, steps: Steps | None = None, root: Path | None = None) -> Repetition:
    """Train again with the config that a run recorded, and compare the metrics.

    Parameters
    ----------
    run : str
        Id of a finished training.
    uri, steps, root
        As in `train`; the store is that of the run.

    Raises
    ------
    InputError
        If the run is not known or no training, its study is not where it was, or the data are others.
    """
    record = config_of_run(run, uri)
    if record.command != "il7ml train":
        raise InputError(f"run {run} was made by {record.command}, not by il7ml train. Name a training.")
    config = RunConfig.model_validate(yaml_of(record.config, f"config of run {run}"))
    if not config.study.exists() and root is not None and (root / config.study).exists():
        config = config.model_copy(update={"study": root / config.study})
    cohort = load_cohort(config.study, course=False)
    if cohort.digest != record.data_digest:
        raise InputError(
            f"the data of run {run} had another digest ({record.data_digest[:12]}, now {cohort.digest[:12]}): they "
            "have changed since. Restore them, or train without --from-run."
        )
    if uri is not None:
        config = config.model_copy(update={"tracking": config.tracking.model_copy(update={"uri": uri})})
    again = train(config, cohort=cohort, steps=steps, root=root)
    now = {item.name: item.value for item in metric_items(again.result.metrics)}
    differing = {
        name: (record.metrics.get(name, float("nan")), now.get(name, float("nan")))
        for name in sorted({*record.metrics, *now})
        if record.metrics.get(name) != now.get(name)
    }
    return Repetition(again, differing)


def _state(prepared: Prepared, uri: str) -> State | None:
    """Return where finished tasks are kept until the run is complete: beside a local store, apart for each config."""
    database = database_of(uri)
    if database is None:
        return None
    settings = prepared.config.model_dump_json(exclude={"tracking", "study"})
    key = hashlib.sha256(f"{__version__}\n{prepared.cohort.digest}\n{settings}".encode()).hexdigest()[:16]
    return State(database.parent / "state" / key)


def prepare(config: RunConfig, cohort: Cohort | None = None) -> Prepared:
    """Read the study, pick features and outcome, and settle which models can take part.

    Raises
    ------
    InputError
        For anything wrong with study, tables, endpoint or features.
    """
    cohort = cohort if cohort is not None else load_cohort(config.study, course=False)
    variables = select_variables(cohort.study, config.features)
    for name, variable in variables.items():
        if variable.possible is not None and not np.isfinite(variable.possible).all():
            raise InputError(
                f"variable {name!r}: expected finite limits under 'possible', without which no value is impossible. "
                "Set both in the study file."
            )
    outcome = learning_outcome(cohort, config.endpoint)
    _check_enough(cohort, outcome)
    lymphocytes = next((name for name in _LYMPHOCYTES if name in variables), None)
    notes = [texts.SIMULATED] if cohort.study.simulated else []
    if lymphocytes is None and "lymphocyte" in config.models:
        config = config.model_copy(update={"models": tuple(name for name in config.models if name != "lymphocyte")})
        notes.append("No lymphocyte count among the features, so the candidate 'lymphocyte' takes no part.")
    for name, reason in cohort.study.left_out.items():
        if config.features.include is None or name in config.features.include:
            notes.append(f"{name} is left out: {reason}.")
    if outcome.unknown:
        notes.append(f"{outcome.unknown} patients without a known outcome are accounted for by weights.")
    sample = Sample(
        X=cohort.baseline,
        y=outcome.y,
        treatment=cohort.treatment,
        propensity=cohort.propensity,
        weight=outcome.weight,
        exposure=outcome.exposure,
    )
    setting = Setting(outcome.kind, variables, lymphocytes, outcome.harmful, config.tuning)
    size = sample_size_verdict(setting, sample, to_columns(sample.X, variables))
    if size.far_too_small and not config.acknowledge_small_sample:
        kept = tuple(name for name in config.models if name not in FLEXIBLE)
        if left := [name for name in config.models if name in FLEXIBLE]:
            config = config.model_copy(update={"models": kept})
            notes.append(
                f"Sample size {size.text[:-1]}, so {', '.join(left)} took no part; to compare all the same, set "
                "acknowledge_small_sample: true."
            )
    return Prepared(config, cohort, outcome, sample, setting, size, tuple(notes))


def _check_enough(cohort: Cohort, outcome: Outcome) -> None:
    """Refuse a single event (or a single patient without one) in an arm before anything is computed or tracked."""
    if outcome.kind == "continuous":
        return
    for arm, label in ((0, cohort.control_label), (1, cohort.treated_label)):
        y = outcome.y[(cohort.treatment == arm) & (outcome.weight > 0)] > 0
        if min(y.sum(), (~y).sum() if outcome.kind == "binary" else y.sum()) < 2:
            raise InputError(
                f"endpoint {outcome.name!r}: arm {label} has only one patient with the event, or only one without; "
                "cross-validation would leave none to learn from. Choose another endpoint, or use il7ml analyze."
            )


def fit(prepared: Prepared, steps: Steps | None = None, state: State | None = None) -> TrainingResult:
    """Run the whole training in memory and return what it found; nothing is written but finished tasks to `state`."""
    config, sample, setting = prepared.config, prepared.sample, prepared.setting
    if state is not None:
        setting = setting._replace(state=state.folder / "tuning")
    steps = steps or (lambda label: nullcontext())
    workers = config.workers or available_cores()
    columns = prepared.columns
    with steps("cross-validation") as progress:
        out_of_fold = cross_validate(
            sample,
            setting,
            models=config.models,
            learners=config.effect.learners,
            folds=config.validation.folds,
            repeats=config.validation.repeats,
            effect_repeats=min(config.effect.repeats, config.validation.repeats),
            seed=config.seed,
            workers=workers,
            progress=progress,
            state=None if state is None else state.part("cross-validation"),
        )
    title = f"{prepared.outcome.title}{prepared.mark}"
    risk = assess_risk(sample, out_of_fold, setting, config, title)
    with steps("bootstrap") as progress:
        resampled = resample(
            sample,
            setting,
            models=config.models,
            bootstrap=config.validation.refits,
            seed=stream(config.seed, "resampling"),
            workers=workers,
            progress=progress,
            state=None if state is None else state.part("bootstrap"),
        )
    studied = REFERENCE if risk.selected == "prevalence" else risk.selected
    with steps("learning curve") as progress:
        by_size = losses_by_size(
            sample,
            setting,
            model=studied,
            folds=config.validation.folds,
            repeats=max(2, min(config.validation.repeats, _LEARNING_REPEATS)),
            seed=stream(config.seed, "learning curve"),
            workers=workers,
            progress=progress,
            state=None if state is None else state.part("learning curve"),
        )
    learning = learning_tables(by_size, studied, config.validation.level)
    validation = validate_models(sample, out_of_fold, resampled, setting, risk.selected, config)
    further, warnings = _further_validation(prepared, out_of_fold, risk.selected, workers)
    modifiers = prepared.cohort.study.modifiers
    effect = assess_effect(sample, columns, out_of_fold, setting, risk.selected, modifiers, config, title)
    with steps("final models") as progress:
        final = fit_final_risk(
            risk.selected,
            sample,
            setting,
            effect.scores,
            refits=config.refits,
            seed=stream(config.seed, "refits"),
            workers=workers,
            progress=progress,
        )
    shortfall = _shortfall(prepared, columns, final, effect)
    learner = fit_final_effect(
        sample, setting, effect.scores, config.refits, np.random.default_rng(stream(config.seed, "final effect"))
    )
    bundle = _bundle(
        prepared, columns, risk, effect, final, learner, np.random.default_rng(stream(config.seed, "reference"))
    )
    explained, pictures = _explanations(prepared, columns, risk, final, learner, effect)
    tables = {
        "table_one": table_one(prepared.cohort),
        "missing_data": missing_by_arm(prepared.cohort),
        "endpoints": endpoint_counts(prepared.cohort),
        "flow": pd.DataFrame([prepared.cohort.flow._asdict()]),
        **risk.tables,
        **validation.tables,
        **learning,
        **further,
        **effect.tables,
        **({"sample_size": prepared.size.table} if len(prepared.size.table) else {}),
        **explained,
    }
    study = prepared.cohort.study
    return TrainingResult(
        config=config,
        study=study.name,
        title=study.title,
        simulated=study.simulated,
        endpoint=config.endpoint,
        endpoint_title=prepared.outcome.title,
        estimand=prepared.outcome.estimand,
        kind=setting.outcome,
        data_digest=prepared.cohort.digest,
        counts={
            "n": len(prepared.cohort),
            "n_control": prepared.cohort.flow.control,
            "n_treated": prepared.cohort.flow.treated,
            "events": prepared.outcome.events,
            "features": len(setting.variables),
        },
        selected=risk.selected,
        selection_reason=risk.reason,
        evidence=effect.verdict.level,
        evidence_reason=effect.verdict.reason,
        sample_size=prepared.size.text,
        metrics={**risk.metrics, **validation.corrected[risk.selected], **effect.metrics},
        candidates=tuple(
            replace(each, metrics={**each.metrics, **validation.corrected[each.name]}) for each in risk.candidates
        ),
        tables=tables,
        figures={**risk.figures, **effect.figures, **pictures},
        bundle=bundle,
        example=_synthetic_patient(bundle.card),
        notes=(*prepared.notes, *warnings, *shortfall),
    )


def _further_validation(
    prepared: Prepared, out_of_fold: OutOfFold, selected: RiskModelName, workers: int
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return tables by group and by site left out and the audits, and what they warn of."""
    sample, setting, cohort = prepared.sample, prepared.setting, prepared.cohort
    level = prepared.config.validation.level
    tables = group_tables(sample, out_of_fold.factual(selected, sample.treatment), cohort, setting, level)
    names = [name for name in setting.variables if name in sample.X]
    known = {name: cohort.variables[name].known for name in names}
    audits, warnings = audit_tables(sample, sample.X[names], known, setting)
    if cohort.site is not None and _sites_can_be_left_out(sample, cohort.site, setting):
        predicted = leave_one_site_out(sample, setting, cohort.site, model=selected, workers=workers)
        tables |= site_tables(sample, predicted, cohort.site, setting, level)
    return {**tables, **audits}, warnings


def _sites_can_be_left_out(sample: Sample, site: NDArray[np.object_], setting: Setting) -> bool:
    """Return whether there are two sites, and each arm keeps information without any of them."""
    names = pd.unique(site)
    if len(names) < 2:
        return False
    for name in names:
        for arm in (0, 1):
            y = sample.y[(site != name) & (sample.treatment == arm) & (sample.weight > 0)]
            if y.size < 2 or np.ptp(y) == 0:
                return False
    return True


def _shortfall(prepared: Prepared, columns: Columns, final: FinalRisk, effect: EffectAssessment) -> tuple[str, ...]:
    """Say so where predictions cannot carry the whole average effect, since risks and rates end at 0."""
    family = FAMILIES[prepared.setting.outcome]
    linear = final.fitted.linear_predictor(columns, prepared.sample.y.size)
    carried = float((family.mean(linear + final.theta) - family.mean(linear)).mean())
    if abs(carried - effect.average.value) <= 1e-6 * max(1.0, abs(carried)):
        return ()
    return (
        f"The adjusted average effect ({effect.average.value:.3g}) is larger than the {family.measure} "
        f"without treatment allows; predictions carry {carried:.3g} of it.",
    )


def _explanations(
    prepared: Prepared,
    columns: Columns,
    risk: RiskAssessment,
    final: FinalRisk,
    learner: DRLearner,
    effect: EffectAssessment,
) -> tuple[dict[str, pd.DataFrame], dict[str, bytes]]:
    family, variables = FAMILIES[prepared.setting.outcome], prepared.setting.variables
    scale = {"binary": "log odds", "count": "log rate", "continuous": prepared.outcome.unit or "outcome's unit"}
    n, rows = prepared.sample.y.size, prepared.config.explain_rows
    unsure = texts.EXPLORATORY_EFFECT if effect.verdict.level == "none" else ""
    # An event rate has nothing to explain; the regression that did not beat it is shown as what it is.
    model, note = final.fitted, ""
    if risk.selected == "prevalence":
        model = fit_whole("logistic", prepared.sample, prepared.setting).fitted_
        note = texts.EXPLORATORY_RISK
    parts = {
        "risk": explain(model, columns, n, scale[family.kind], note=note, rows=rows),
        "effect": explain(learner.fitted_, columns, n, f"difference in {family.measure}", note=unsure, rows=rows),
    }
    heads = {
        "risk": f"What moves the predicted {family.measure}",
        "effect": "What moves the estimated individual effect",
    }
    tables, figures = {}, {}
    for name, explanation in parts.items():
        table, head = importance(explanation, variables), f"{heads[name]}{prepared.mark}"
        tables[f"shap_{name}"] = table
        figures[f"shap_{name}_bar"] = plots.to_png(plots.importance_figure(table, head))
        figures[f"shap_{name}_beeswarm"] = plots.to_png(plots.beeswarm_figure(explanation, table, head))
    return tables, figures


def _bundle(
    prepared: Prepared,
    columns: Columns,
    risk: RiskAssessment,
    effect: EffectAssessment,
    final: FinalRisk,
    learner: DRLearner,
    rng: np.random.Generator,
) -> Bundle:
    config, cohort, outcome = prepared.config, prepared.cohort, prepared.outcome
    study, setting = cohort.study, prepared.setting
    reference = fit_reference(columns, setting.variables, len(cohort), rng)
    eligibility = {name: limits for name, limits in study.eligibility.items() if name in setting.variables}
    # Without the former the scope cannot be checked; the latter decide the answer where the effect is individual.
    required = {*eligibility, *(study.modifiers if effect.verdict.level != "none" else ())}
    card = Card(
        format=FORMAT,
        il7ml_version=__version__,
        model_name=config.tracking.model_name or f"{study.name}-{config.endpoint}",
        study=study.name,
        study_title=study.title,
        simulated=study.simulated,
        endpoint=outcome.name,
        endpoint_title=outcome.title,
        estimand=outcome.estimand,
        kind=outcome.kind,
        harmful=outcome.harmful,
        horizon=outcome.horizon,
        unit=outcome.unit,
        control_label=cohort.control_label,
        treated_label=cohort.treated_label,
        n=len(cohort),
        n_treated=cohort.flow.treated,
        events=outcome.events,
        risk_model=risk.selected,
        evidence=effect.verdict.level,
        evidence_sentence=texts.EVIDENCE[effect.verdict.level],
        theta=final.theta,
        average_effect=effect.average,
        validation=risk.metrics,
        variables={
            name: _card_variable(variable, columns[name], name in required)
            for name, variable in setting.variables.items()
        },
        eligibility=eligibility,
        distance_quantiles=reference.quantiles,
        level=config.validation.level,
        data_digest=cohort.digest,
        seed=config.seed,
    )
    return Bundle(
        card=card,
        risk=final.fitted,
        refits=Refits(final.refits, final.refit_theta),
        effect=learner.fitted_,
        effect_refits=EffectRefits(learner.refit_coefficients_, learner.refit_intercepts_),
        reference=reference.design,
        precision=reference.precision,
    )


def _card_variable(variable: Variable, values: np.ndarray[Any, np.dtype[np.float64]], required: bool) -> CardVariable:
    known = values[~np.isnan(values)]
    if variable.kind == "continuous":
        low, high = _rounded(known.min(), np.floor), _rounded(known.max(), np.ceil)
        quantiles = tuple(float(f"{value:.3g}") for value in np.quantile(known, np.linspace(0.05, 0.95, 10)))
        return CardVariable(variable=variable, required=required, low=low, high=high, quantiles=quantiles)
    levels = max(len(variable.levels), 2)
    shares = np.bincount(known.astype(int), minlength=levels) / known.size
    return CardVariable(variable=variable, required=required, shares=tuple(float(share) for share in shares.round(3)))


def _rounded(value: float, towards: Callable[[float], float]) -> float:
    """Round outward to two significant digits, so that the card shows a range and no patient's value."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(abs(value))) - 1)
    return float(f"{towards(value / unit) * unit:.6g}")


def _synthetic_patient(card: Card) -> dict[str, Any]:
    """Return a made-up patient: medians, rounded, and most frequent levels."""
    patient: dict[str, Any] = {}
    for name, entry in card.variables.items():
        if name in DERIVED:
            continue
        if entry.variable.kind == "continuous":
            patient[name] = float(f"{np.median(entry.quantiles):.2g}")
        elif entry.variable.kind == "binary":
            patient[name] = float(np.argmax(entry.shares))
        else:
            patient[name] = entry.variable.levels[int(np.argmax(entry.shares))]
    return patient


def _git_revision(root: Path | None) -> str | None:
    """Return the source's revision where the run starts from a git checkout."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=root or Path.cwd(),
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None
