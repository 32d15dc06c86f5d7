"""The run configuration: a frozen record read from YAML, with `--set key=value` on top."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from il7ml.errors import InputError
from il7ml.schema import Closed, explain

RiskModelName = Literal["prevalence", "lymphocyte", "firth", "logistic", "xgboost", "stack"]
TuningMethod = Literal["none", "grid", "optuna"]
Device = Literal["cpu", "cuda"]
EffectLearnerName = Literal[
    "effect_model", "dr_learner", "t_learner", "s_learner", "x_learner", "r_learner", "risk_based"
]


class FeatureConfig(Closed):
    """Which baseline variables models may see; by default all that the study maps."""

    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()


class ValidationConfig(Closed):
    """Repeated stratified cross-validation and bootstrap of the whole pipeline.

    Attributes
    ----------
    folds, repeats : int
        Of the cross-validation.
    refits : int
        Bootstrap samples to which the whole pipeline is refitted: for corrected figures and instability.
    bootstrap : int
        Resamples of the predictions behind intervals.
    thresholds : tuple of float
        Risks at which one would act, for net benefit and changes of classification; by default a grid up to twice the
        share with the event.
    level : float
    """

    folds: int = Field(default=5, ge=2, le=20)
    repeats: int = Field(default=10, ge=1, le=200)
    refits: int = Field(default=200, ge=10, le=2000)
    bootstrap: int = Field(default=1000, ge=50, le=20000)
    thresholds: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    level: float = Field(default=0.95, gt=0.5, lt=1)


class TuningConfig(Closed):
    """How the settings of XGBoost are found.

    Attributes
    ----------
    method : {'none', 'grid', 'optuna'}
        Fixed shrunken settings, inner cross-validation over a few, or a search that grows with the data.
    trials : int
        Settings that the search tries; it needs the extra ``il7ml[tuning]``.
    """

    method: TuningMethod = "none"
    trials: int = Field(default=30, ge=5, le=1000)


class EffectConfig(Closed):
    """Estimation of treatment effects.

    Attributes
    ----------
    learners : tuple of str
        Learners of individual effects to cross-validate; 'effect_model' is the one that is judged and kept.
    repeats : int
        Repetitions of the cross-validation that they take part in.
    permutations : int
        Of the test of heterogeneity.
    """

    learners: tuple[EffectLearnerName, ...] = ("effect_model", "t_learner")
    repeats: int = Field(default=5, ge=1, le=100)
    permutations: int = Field(default=2000, ge=200, le=100000)

    @model_validator(mode="after")
    def _has_the_model(self) -> EffectConfig:
        if "effect_model" not in self.learners:
            raise ValueError("learners must contain 'effect_model', the one that predictions rest on")
        return self


class AnalysisConfig(Closed):
    """The trial's own analysis, as stated before the data were seen.

    Attributes
    ----------
    covariates : tuple of str
        Baseline variables to adjust for, beside the unadjusted comparison.
    order : tuple of str
        Endpoints in the order in which they are tested; P values are adjusted within it. By default the study's
        endpoints in their order.
    subgroups : dict of str to list of float
        Variables whose categories make subgroups, or numbers with the cut points that do. By default the study's
        modifiers.
    imputations : int
        Completed data sets for missing last values; 0 for none.
    """

    covariates: tuple[str, ...] = ()
    order: tuple[str, ...] | None = None
    subgroups: dict[str, tuple[float, ...]] | None = None
    imputations: int = Field(default=20, ge=0, le=1000)


class VerdictConfig(Closed):
    """Thresholds of the evidence level (ARCHITECTURE.md, "Evidence level")."""

    credible_omnibus: float = Field(default=0.01, gt=0, lt=1)
    credible_modifier: float = Field(default=0.05, gt=0, lt=1)
    suggestive_omnibus: float = Field(default=0.10, gt=0, lt=1)
    suggestive_modifier: float = Field(default=0.05, gt=0, lt=1)


class ExplanationConfig(Closed):
    """SHAP explanations.

    Attributes
    ----------
    rows : int
        Patients explained at most, drawn at random.
    log_patients : bool
        Whether single patients' SHAP values and variables may be logged and drawn. Laboratory values to the last digit
        can identify a patient of a small trial, so by default groups of ten or more are shown.
    """

    rows: int = Field(default=1000, ge=10)
    log_patients: bool = False


class ExecutorConfig(Closed):
    """Where the many small tasks of a computation run. Has no influence on results.

    Attributes
    ----------
    kind : {'local', 'dask'}
        This machine's cores, or a Dask cluster, which needs the extra ``il7ml[dask]``.
    address : str or None
        Of the Dask scheduler, for example ``tcp://127.0.0.1:8786``.
    """

    kind: Literal["local", "dask"] = "local"
    address: str | None = None

    @model_validator(mode="after")
    def _has_address(self) -> ExecutorConfig:
        if (self.address is None) != (self.kind == "local"):
            raise ValueError("kind dask needs the scheduler's address (tcp://host:port), and kind local has none")
        return self


class StreamingConfig(Closed):
    """Training on a patients table that is a folder of Parquet files, part by part (docs/performance.md).

    Attributes
    ----------
    above : int
        Rows of that table beyond which it is read part by part and never held in memory.
    sample : int
        Patients, drawn at random, who go through what needs them in memory.
    """

    above: int = Field(default=250_000, ge=0)
    sample: int = Field(default=100_000, ge=100)


class TrackingConfig(Closed):
    """Where runs are recorded. A relative SQLite path is taken from the project root, not from the current folder."""

    uri: str = "sqlite:///mlruns/mlflow.db"
    experiment: str = Field(default="il7ml", min_length=1)
    model_name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]+$")


class RunConfig(Closed):
    """Everything that decides a training's result.

    Attributes
    ----------
    study : Path
        Study file; relative to the config file, or to the current folder when given by ``--set``.
    endpoint : str
        One of the study's endpoints.
    beside : tuple of str
        Yes-or-no endpoints, such as death, whose risks in the trial's arms stand beside every prediction: a treatment
        that hastens death would else look protective.
    seed : int
        The only source of randomness.
    models : tuple of str
        Candidate risk models, compared in cross-validation.
    acknowledge_small_sample : bool
        Whether models that learn shapes and interactions take part although the patients are fewer than half of those
        that a regression on the same features needs.
    refits : int
        Bootstrap refits kept in the bundle for intervals of a prediction.
    streaming : StreamingConfig
        When and how patients are read part by part.
    device : {'cpu', 'cuda'}
        Where XGBoost computes; a GPU that is not there is an error.
    workers : int
        Worker processes; 0 means all cores. Has no influence on results.
    executor : ExecutorConfig
        Worker processes elsewhere.

    Examples
    --------
    >>> config = RunConfig(study="study.yaml", endpoint="infection_day30")
    >>> config.validation.folds
    5
    """

    study: Path
    endpoint: str = Field(min_length=1)
    beside: tuple[str, ...] = ()
    seed: int = Field(default=0, ge=0)
    features: FeatureConfig = FeatureConfig()
    models: tuple[RiskModelName, ...] = ("prevalence", "lymphocyte", "logistic", "xgboost")
    tuning: TuningConfig = TuningConfig()
    validation: ValidationConfig = ValidationConfig()
    effect: EffectConfig = EffectConfig()
    verdict: VerdictConfig = VerdictConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    acknowledge_small_sample: bool = False
    refits: int = Field(default=50, ge=10, le=50)
    explanation: ExplanationConfig = ExplanationConfig()
    tracking: TrackingConfig = TrackingConfig()
    streaming: StreamingConfig = StreamingConfig()
    device: Device = "cpu"
    workers: int = Field(default=0, ge=0, exclude=True)
    executor: ExecutorConfig = Field(default=ExecutorConfig(), exclude=True)

    @model_validator(mode="after")
    def _has_baseline(self) -> RunConfig:
        if "prevalence" not in self.models:
            raise ValueError("models must contain 'prevalence', the baseline that every model is held against")
        return self

    @classmethod
    def from_file(cls, path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
        """Read a YAML config and apply overrides of the form ``key.sub=value``.

        Raises
        ------
        InputError
            If the file is missing or not YAML, or a key or value is not allowed; the message names the nearest
            known key.
        """
        path = Path(path)
        raw = read_yaml(path, "config")
        if isinstance(raw.get("study"), str):
            raw["study"] = str(path.parent / raw["study"])
        for override in overrides:
            apply_override(raw, override)
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise InputError(explain(error, path.name, cls)) from None

    def to_yaml(self) -> str:
        """Return the complete configuration, defaults included."""
        return as_yaml(self)


def as_yaml(config: Closed) -> str:
    """Return a configuration as YAML, defaults included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """Read a YAML mapping.

    Raises
    ------
    InputError
        If the file cannot be read or does not hold a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path with a NUL
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{what} {path} cannot be read: {reason}. Check the path.") from None
    return yaml_of(text, f"{what} {path}")


def yaml_of(text: str, what: str) -> dict[str, Any]:
    """Return a YAML mapping.

    Raises
    ------
    InputError
        If the text is not YAML or does not hold a mapping.
    """
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date not in the calendar
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        raise InputError(f"{what} is not valid YAML{place}. Mend the file.") from None
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else type(raw).__name__
        raise InputError(f"{what}: expected keys with values, found {found}. Write lines of the form 'key: value'.")
    return raw


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set ``key.sub=value`` in a nested mapping; the value is read as YAML.

    Examples
    --------
    >>> raw = {"validation": {"folds": 5}}
    >>> apply_override(raw, "validation.folds=3")
    >>> raw
    {'validation': {'folds': 3}}
    """
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise InputError(f"--set expects key=value, got {override!r}. Example: --set validation.folds=5")
    try:
        set_key(raw, key, yaml.safe_load(value))
    except (yaml.YAMLError, ValueError):
        raise InputError(f"--set {key}: the value is not valid YAML. Quote it.") from None


def set_key(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in a nested mapping.

    Examples
    --------
    >>> raw = {"validation": {"folds": 5}}
    >>> set_key(raw, "validation.repeats", 2)
    >>> raw
    {'validation': {'folds': 5, 'repeats': 2}}
    """
    *parents, last = key.split(".")
    for parent in parents:
        raw = raw.setdefault(parent, {})
        if not isinstance(raw, dict):
            raise InputError(f"key {key}: {parent!r} holds a value, not further keys.")
    raw[last] = value
