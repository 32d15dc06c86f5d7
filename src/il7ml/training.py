"""From a config to a tracked run: read, cross-validate, judge, fit, explain, log, register."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest

from il7ml import __version__, texts
from il7ml.assessment import EffectAssessment, RiskAssessment, assess_effect, assess_risk, sample_size_verdict
from il7ml.assessment.explanations import ExplanationAssessment, assess_explanations
from il7ml.assessment.risk import PROCEDURE
from il7ml.assessment.size import SizeVerdict
from il7ml.assessment.validation import (
    Validation,
    audit_tables,
    group_tables,
    learning_tables,
    site_tables,
    validate_models,
)
from il7ml.bundle import FORMAT, Bundle, Card, CardBeside, CardVariable, Estimate, Refits
from il7ml.config import RunConfig, yaml_of
from il7ml.data.cohort import Cohort
from il7ml.data.description import endpoint_counts, missing_by_arm, table_one
from il7ml.data.loading import load_cohort
from il7ml.data.study import load_study
from il7ml.endpoints.outcome import Outcome, learning_outcome
from il7ml.endpoints.proportions import exact_difference
from il7ml.errors import InputError
from il7ml.family import FAMILIES
from il7ml.features.columns import DERIVED, Columns, to_columns
from il7ml.features.selection import select_variables
from il7ml.models.catalog import FLEXIBLE, REFERENCE, Setting
from il7ml.models.crossfit import OutOfFold, cross_validate, leave_one_site_out
from il7ml.models.device import check_device
from il7ml.models.effect_model import EffectModel
from il7ml.models.final import FinalRisk, fit_final_effect, fit_final_risk
from il7ml.models.learning import losses_by_size
from il7ml.models.reference import fit_reference
from il7ml.models.resampled import resample
from il7ml.models.sample import Sample
from il7ml.parallel import Progress, available_cores, executor, stream
from il7ml.report.card import model_card
from il7ml.report.training import training_report
from il7ml.result import TrainedRun, TrainingResult
from il7ml.schema import Variable
from il7ml.state import State
from il7ml.streaming import Whole, final_risk, is_streamed, learn_whole, over_all, read_whole, scratch_folder
from il7ml.tracking import config_of_run, database_of, metric_items, open_run, resolve_uri, run_items

Floats = NDArray[np.float64]

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
    whole: Whole | None = None

    @property
    def everybody(self) -> Cohort:
        """All patients; of those that are read part by part, `cohort` and `sample` hold some only."""
        return self.cohort if self.whole is None else self.whole.everybody

    @property
    def events(self) -> int:
        """Events of all patients."""
        return (self.outcome if self.whole is None else self.whole.outcome).events

    @property
    def digest(self) -> str:
        """SHA-256 over everything a model can depend on."""
        return self.cohort.digest if self.whole is None else self.whole.digest

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
    uri = resolve_uri(config.tracking.uri, root)
    with _reading(config, cohort, uri) as prepared:
        return _train(prepared, uri, steps, root)


@contextmanager
def _reading(config: RunConfig, cohort: Cohort | None, uri: str) -> Iterator[Prepared]:
    """Give a config's data; of a table that is read part by part they lie on disk as long as they are needed."""
    study = None if cohort is not None else load_study(config.study)
    if study is None or not is_streamed(config, study):
        yield prepare(config, cohort)
        return
    check_device(config.device)
    database = database_of(uri)
    with scratch_folder(None if database is None else database.parent / "streamed") as scratch:
        whole, sample = read_whole(study, config, scratch)
        yield prepare(config, sample, whole)


def _train(prepared: Prepared, uri: str, steps: Steps | None, root: Path | None) -> TrainedRun:
    config, state = prepared.config, state_of(prepared, uri)
    study = prepared.cohort.study
    tags = {"study": study.name, "endpoint": config.endpoint, "data": "simulated" if study.simulated else "real"}
    if revision := _git_revision(root):
        tags["mlflow.source.git.commit"] = revision
    name = f"{study.name} {config.endpoint}{' (simulated)' if study.simulated else ''}"
    with executor(config.executor), open_run(uri, config.tracking.experiment, name, tags, root=root) as run:
        result = fit(prepared, steps, state)
        run.log(run_items(result, training_report(result)))
        model = run.log_model(result.bundle, result.bundle.card.model_name, result.example, model_card(result))
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
    if uri is not None:
        config = config.model_copy(update={"tracking": config.tracking.model_copy(update={"uri": uri})})
    store = resolve_uri(config.tracking.uri, root)
    with _reading(config, None, store) as prepared:
        if prepared.digest != record.data_digest:
            raise InputError(
                f"the data of run {run} had another digest ({record.data_digest[:12]}, now {prepared.digest[:12]}): "
                "they have changed since. Restore them, or train without --from-run."
            )
        again = _train(prepared, store, steps, root)
    now = {item.name: item.value for item in metric_items(again.result.metrics)}
    differing = {
        name: (record.metrics.get(name, float("nan")), now.get(name, float("nan")))
        for name in sorted({*record.metrics, *now})
        if record.metrics.get(name) != now.get(name)
    }
    return Repetition(again, differing)


def training_key(prepared: Prepared) -> str:
    """Return what tells a training's result from others: version, data and settings."""
    settings = prepared.config.model_dump_json(exclude={"tracking", "study"})
    return hashlib.sha256(f"{__version__}\n{prepared.digest}\n{settings}".encode()).hexdigest()[:16]


def state_of(prepared: Prepared, uri: str) -> State | None:
    """Return where finished tasks are kept until the run is complete: beside a local store, apart for each training."""
    database = database_of(uri)
    return None if database is None else State(database.parent / "state" / training_key(prepared))


def prepare(config: RunConfig, cohort: Cohort | None = None, whole: Whole | None = None) -> Prepared:
    """Read the study, pick features and outcome, and settle which models can take part.

    Of a study that is read part by part, `cohort` is a sample of the patients and `whole` stands for all.

    Raises
    ------
    InputError
        For anything wrong with study, tables, endpoint or features.
    """
    check_device(config.device)
    cohort = cohort if cohort is not None else load_cohort(config.study, course=False)
    variables = select_variables(cohort.study, config.features)
    for name, variable in variables.items():
        if variable.possible is not None and not np.isfinite(variable.possible).all():
            raise InputError(
                f"variable {name!r}: expected finite limits under 'possible', without which no value is impossible. "
                "Set both in the study file."
            )
    outcome = learning_outcome(cohort, config.endpoint) if whole is None else whole.sample_outcome
    _check_enough(cohort, outcome)
    for name in config.beside:
        if cohort.study.endpoint(name).kind != "binary":
            raise InputError(f"beside: expected yes-or-no endpoints, {name!r} is another kind. Leave it out.")
    lymphocytes = next((name for name in _LYMPHOCYTES if name in variables), None)
    notes = [texts.SIMULATED] if cohort.study.simulated else []
    if whole is not None:
        notes.append(whole.note)
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
    modifiers = tuple(name for name in cohort.study.modifiers if name in variables)
    setting = Setting(
        outcome.kind, variables, lymphocytes, outcome.harmful, config.tuning, modifiers=modifiers, device=config.device
    )
    everybody = sample if whole is None else sample._replace(y=whole.outcome.y, weight=whole.outcome.weight)
    size = sample_size_verdict(setting, everybody, to_columns(sample.X, variables))
    if size.far_too_small and not config.acknowledge_small_sample:
        kept = tuple(name for name in config.models if name not in FLEXIBLE)
        if left := [name for name in config.models if name in FLEXIBLE]:
            config = config.model_copy(update={"models": kept})
            notes.append(
                f"Sample size {size.text[:-1]}, so {', '.join(left)} took no part; to compare all the same, set "
                "acknowledge_small_sample: true."
            )
    return Prepared(config, cohort, outcome, sample, setting, size, tuple(notes), whole)


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
    if state is not None and config.executor.kind == "local":  # a cluster's machines need not see the folder
        setting = setting._replace(state=state.folder / "tuning")
    steps = steps or (lambda label: nullcontext())
    workers = config.workers or available_cores()
    columns = prepared.columns
    whole, found = prepared.whole, None
    if whole is not None:
        with steps("all patients") as progress:
            found = learn_whole(whole, setting, config, threads=workers, state=state, progress=progress)
    with steps("cross-validation") as progress:
        effect_repeats = min(config.effect.repeats, config.validation.repeats)
        out_of_fold = cross_validate(
            sample,
            setting,
            models=config.models if found is None else (),
            learners=config.effect.learners,
            folds=config.validation.folds,
            repeats=config.validation.repeats if found is None else effect_repeats,
            effect_repeats=effect_repeats,
            choose=found is None,
            seed=config.seed,
            workers=workers,
            progress=progress,
            state=None if state is None else state.part("cross-validation"),
        )
    title = f"{prepared.outcome.title}{prepared.mark}"
    if whole is not None and found is not None:
        out_of_fold = found.out_of_fold._replace(effects=out_of_fold.effects)
        risk = assess_risk(sample, out_of_fold, setting, config, title, found.selection)
        risk = over_all(risk, found, whole)
        validation = Validation({name: {} for name in (*config.models, PROCEDURE)}, {})
    else:
        risk = assess_risk(sample, out_of_fold, setting, config, title)
        validation = _validation(prepared, risk, out_of_fold, steps, state)
    further, warnings, by_site = _further_validation(prepared, out_of_fold, workers)
    if by_site is not None:
        validation.tables["risk_choices"]["sites_left_out"] = list(by_site.values())
    hypotheses = prepared.cohort.study.larger_benefit
    averages = None if found is None else (found.adjusted, found.unadjusted)
    effect = assess_effect(sample, columns, out_of_fold, setting, risk.selected, config, title, hypotheses, averages)
    with steps("final models") as progress:
        if whole is not None and found is not None:
            final, linear = final_risk(whole, found, risk.selected, setting)
        else:
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
            linear = final.fitted.linear_predictor(columns, sample.y.size)
    shortfall = _shortfall(setting, linear, final, effect)
    learner = fit_final_effect(
        sample, setting, int(stream(config.seed, "final effect").generate_state(1)[0]), config.refits
    )
    bundle = _bundle(
        prepared, columns, risk, effect, final, learner, np.random.default_rng(stream(config.seed, "reference"))
    )
    explained = _explanations(prepared, risk, final, learner, effect, workers)
    tables = {
        "table_one": table_one(prepared.cohort),
        "missing_data": missing_by_arm(prepared.cohort),
        "endpoints": endpoint_counts(prepared.everybody),
        "flow": pd.DataFrame([prepared.everybody.flow._asdict()]),
        **risk.tables,
        **validation.tables,
        **further,
        **effect.tables,
        **({"sample_size": prepared.size.table} if len(prepared.size.table) else {}),
        **explained.tables,
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
        data_digest=prepared.digest,
        counts={
            "n": len(prepared.everybody),
            "n_control": prepared.everybody.flow.control,
            "n_treated": prepared.everybody.flow.treated,
            "events": prepared.events,
            "features": len(setting.variables),
        },
        selected=risk.selected,
        selection_reason=risk.reason,
        evidence=effect.verdict.level,
        evidence_reason=effect.verdict.reason,
        sample_size=prepared.size.text,
        metrics={**risk.metrics, **validation.corrected[PROCEDURE], **effect.metrics},
        candidates=tuple(
            replace(each, metrics={**each.metrics, **validation.corrected[each.name]}) for each in risk.candidates
        ),
        tables=tables,
        figures={**risk.figures, **effect.figures, **explained.figures},
        bundle=bundle,
        example=_synthetic_patient(bundle.card),
        notes=(*prepared.notes, *warnings, *shortfall, *explained.warnings),
    )


def _validation(
    prepared: Prepared, risk: RiskAssessment, out_of_fold: OutOfFold, steps: Steps, state: State | None
) -> Validation:
    """Return corrected figures and instability from bootstrap refits, and the learning curve."""
    config, sample, setting = prepared.config, prepared.sample, prepared.setting
    workers = config.workers or available_cores()
    with steps("bootstrap") as progress:
        resampled = resample(
            sample,
            setting,
            models=config.models,
            bootstrap=config.validation.refits,
            choose=True,
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
    validation = validate_models(sample, out_of_fold, resampled, setting, risk.selected, config)
    curve = learning_tables(by_size, studied, config.validation.level)
    choices = risk.tables["risk_choices"].assign(bootstrap=list(resampled.choices().values()))
    return validation._replace(tables={**validation.tables, **curve, "risk_choices": choices})


def _further_validation(
    prepared: Prepared, out_of_fold: OutOfFold, workers: int
) -> tuple[dict[str, pd.DataFrame], list[str], dict[str, float] | None]:
    """Return tables by group and by site left out and the audits, what they warn of, and what the other sites chose."""
    sample, setting, cohort = prepared.sample, prepared.setting, prepared.cohort
    config, choices = prepared.config, None
    level = config.validation.level
    tables = group_tables(sample, out_of_fold.chosen(sample.treatment), cohort, setting, level)
    names = [name for name in setting.variables if name in sample.X]
    known = {name: cohort.variables[name].known for name in names}
    audits, warnings = audit_tables(sample, sample.X[names], known, setting)
    if prepared.whole is None and cohort.site is not None and _sites_can_be_left_out(sample, cohort.site, setting):
        seed = stream(config.seed, "sites left out")
        left_out = leave_one_site_out(sample, setting, cohort.site, models=config.models, seed=seed, workers=workers)
        tables |= site_tables(sample, left_out.predicted, cohort.site, setting, level)
        choices = left_out.choices
    return {**tables, **audits}, warnings, choices


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


def _shortfall(setting: Setting, linear: Floats, final: FinalRisk, effect: EffectAssessment) -> tuple[str, ...]:
    """Say so where predictions cannot carry the whole average effect, since risks and rates end at 0."""
    family = FAMILIES[setting.outcome]
    carried = float((family.mean(linear + final.theta) - family.mean(linear)).mean())
    if abs(carried - effect.average.value) <= 1e-6 * max(1.0, abs(carried)):
        return ()
    return (
        f"The adjusted average effect ({effect.average.value:.3g}) is larger than the {family.measure} "
        f"without treatment allows; predictions carry {carried:.3g} of it.",
    )


def _explanations(
    prepared: Prepared,
    risk: RiskAssessment,
    final: FinalRisk,
    learner: EffectModel,
    effect: EffectAssessment,
    workers: int,
) -> ExplanationAssessment:
    config, sample, setting = prepared.config, prepared.sample, prepared.setting
    # An event rate has nothing to explain; the regression that did not beat it is shown as what it is.
    if risk.selected == "prevalence":
        seed = stream(config.seed, "explained refits")
        final = fit_final_risk(
            REFERENCE, sample, setting, effect.scores, refits=config.refits, seed=seed, workers=workers
        )
    return assess_explanations(
        prepared.columns,
        setting,
        final,
        learner,
        config,
        unit=prepared.outcome.unit,
        average=effect.average.value,
        exploratory_risk=risk.selected == "prevalence",
        exploratory_effect=effect.verdict.level == "none",
        mark=prepared.mark,
    )


def _bundle(
    prepared: Prepared,
    columns: Columns,
    risk: RiskAssessment,
    effect: EffectAssessment,
    final: FinalRisk,
    learner: EffectModel,
    rng: np.random.Generator,
) -> Bundle:
    config, cohort, outcome = prepared.config, prepared.cohort, prepared.outcome
    study, setting = cohort.study, prepared.setting
    reference = fit_reference(columns, setting.variables, len(cohort), rng)
    everybody = columns if prepared.whole is None else prepared.whole.patients.columns
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
        n=len(prepared.everybody),
        n_treated=prepared.everybody.flow.treated,
        events=prepared.events,
        risk_model=risk.selected,
        evidence=effect.verdict.level,
        evidence_sentence=texts.EVIDENCE[effect.verdict.level],
        theta=final.theta,
        average_effect=effect.average,
        validation=risk.metrics,
        variables={
            name: _card_variable(variable, everybody[name], name in required)
            for name, variable in setting.variables.items()
        },
        eligibility=eligibility,
        beside=tuple(_beside(prepared.everybody, name, config.validation.level) for name in config.beside),
        distance_quantiles=reference.quantiles,
        level=config.validation.level,
        data_digest=prepared.digest,
        seed=config.seed,
    )
    return Bundle(
        card=card,
        risk=final.fitted,
        refits=Refits(final.refits, final.refit_theta),
        effect=learner.fitted_,
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


def _beside(cohort: Cohort, endpoint: str, level: float) -> CardBeside:
    """Return the arms' risks with Wilson's intervals, and their difference with Newcombe's."""
    spec, value = cohort.study.endpoint(endpoint), cohort.outcomes[endpoint].value
    difference = exact_difference(value, cohort.treatment, endpoint=endpoint, level=level)
    risks = []
    for arm in (0, 1):
        known = value[(cohort.treatment == arm) & ~np.isnan(value)]
        limits = binomtest(int(known.sum()), known.size).proportion_ci(level, method="wilson")
        risks.append(Estimate(value=float(known.mean()), low=float(limits.low), high=float(limits.high)))
    return CardBeside(
        endpoint=endpoint,
        title=spec.title,
        harmful=spec.harmful,
        control=risks[0],
        treated=risks[1],
        difference=Estimate(value=difference.estimate, low=difference.low, high=difference.high),
    )


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
