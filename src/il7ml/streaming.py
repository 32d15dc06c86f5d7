"""Training on more patients than memory holds: all of them for the risk models, a random sample for the rest.

All patients, read part by part, give the risk models, their choice and their figures, the average effect and the
intervals of predictions. A sample that fits into memory goes through the ordinary training for everything else.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.assessment.risk import PROCEDURE, RiskAssessment, estimates
from il7ml.config import RiskModelName, RunConfig
from il7ml.data.cohort import Cohort
from il7ml.data.streaming import count_partitioned_rows, stream_study
from il7ml.data.study import Study
from il7ml.endpoints.outcome import Outcome, learning_outcome
from il7ml.errors import InputError
from il7ml.evaluation.effects import DoublyRobustScores, average_effect, doubly_robust_scores, unadjusted_effect
from il7ml.evaluation.risk import risk_metrics
from il7ml.evaluation.selection import Selection
from il7ml.family import FAMILIES
from il7ml.features.columns import to_columns
from il7ml.features.selection import select_variables
from il7ml.features.stored_columns import StoredColumns
from il7ml.models.catalog import REFERENCE, Setting
from il7ml.models.choice import choose_by_losses
from il7ml.models.crossfit import OutOfFold
from il7ml.models.final import FinalRisk, relative_effect, smallest_average
from il7ml.models.streamed import (
    STREAMED,
    StreamedModel,
    fit_streamed,
    halve,
    linear_predictors,
    out_of_fold_means,
)
from il7ml.models.streamed_glm import StoredPatients
from il7ml.parallel import Progress
from il7ml.state import State
from il7ml.tracking.process import ProcessMark, is_gone, this_process

Floats = NDArray[np.float64]

# Ways of halving at most: among many patients one is nearly as good as ten, and two models a way give the intervals.
_MOST_HALVINGS = 5
_MARK = "process.json"


class Whole(NamedTuple):
    """All patients of a study that is read part by part.

    Attributes
    ----------
    everybody : Cohort
        Arms and outcomes.
    outcome : Outcome
    patients : StoredPatients
        Features, on disk.
    rows : ndarray of int
        Where the sample's patients stand among them.
    digest : str
        SHA-256 over everything a model can depend on, however the tables are cut.
    scratch : Path
        Folder of what lies on disk.
    """

    everybody: Cohort
    outcome: Outcome
    patients: StoredPatients
    rows: NDArray[np.intp]
    digest: str
    scratch: Path

    @property
    def sample_outcome(self) -> Outcome:
        """The sample's part of the outcome, with the weights of all."""
        all_of_it = self.outcome
        return all_of_it._replace(
            y=all_of_it.y[self.rows],
            weight=all_of_it.weight[self.rows],
            exposure=None if all_of_it.exposure is None else all_of_it.exposure[self.rows],
        )

    @property
    def note(self) -> str:
        """What a reader of the results has to know."""
        n, halvings = len(self.everybody), len(self.patients.groups) // 2
        return (
            f"Trained part by part on {n} patients. All of them gave the risk models (each half predicted by the model "
            f"of the other, {halvings} times), the choice among them, their figures, and the average effect. A random "
            f"sample of {self.rows.size} gave individual effects and their evidence, explanations, curves, groups, "
            "audits and descriptive tables; intervals of the risk models' figures are the sample's, narrowed by the "
            "square root of its share. Intervals of a prediction come from the models of halves. Not done at this "
            "size: refits of the whole pipeline (figures corrected for optimism, instability), the learning curve, "
            "sites left out."
        )


class WholeRisk(NamedTuple):
    """What all patients say of risk and average effect.

    Attributes
    ----------
    selection : Selection
    models : dict of str to StreamedModel
    figures : DataFrame
        Columns model, metric, estimate.
    out_of_fold : OutOfFold
        The sample's part of the predictions, without effects.
    scores : DoublyRobustScores
    adjusted, unadjusted : DataFrame
        The average effect.
    """

    selection: Selection
    models: dict[RiskModelName, StreamedModel]
    figures: pd.DataFrame
    out_of_fold: OutOfFold
    scores: DoublyRobustScores
    adjusted: pd.DataFrame
    unadjusted: pd.DataFrame


def is_streamed(config: RunConfig, study: Study) -> bool:
    """Return whether a config's patients are read part by part: a folder of Parquet files with many rows.

    Raises
    ------
    InputError
        If they would be, and the config asks for what cannot be done so.
    """
    if count_partitioned_rows(study) <= config.streaming.above:
        return False
    if others := [name for name in config.models if name not in STREAMED]:
        raise InputError(
            f"models: {others[0]} cannot be trained part by part. Take it out, or raise streaming.above above the "
            "number of rows, if memory holds them."
        )
    if config.tuning.method != "none":
        raise InputError(
            f"tuning.method: {config.tuning.method} cannot search part by part. Set none, or raise streaming.above "
            "above the number of rows, if memory holds them."
        )
    return True


@contextmanager
def scratch_folder(parent: Path | None) -> Iterator[Path]:
    """Give a folder for features on disk, and remove it; what a killed training left there is removed as well.

    Parameters
    ----------
    parent : Path or None
        Folder in which it is made; None: the system's for temporary files.
    """
    place = Path(tempfile.gettempdir()) / "il7ml" if parent is None else parent
    try:
        place.mkdir(parents=True, exist_ok=True)
        for left in place.glob("columns-*"):
            if _is_left_over(left):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="columns-", dir=place))
        (folder / _MARK).write_text(json.dumps(this_process()), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{place} cannot be written: {error.strerror}. Free it, or use another store.") from None
    try:
        yield folder
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # XGBoost's matrices let go of their files before these are removed
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # others may be at work there
            place.rmdir()


def _is_left_over(folder: Path) -> bool:
    try:
        return is_gone(ProcessMark(*json.loads((folder / _MARK).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError):
        return False


def read_whole(study: Study, config: RunConfig, scratch: Path) -> tuple[Whole, Cohort]:
    """Read and check all patients; return them, their features on disk, and the sample's cohort.

    Raises
    ------
    InputError
        As `stream_study`, `select_variables` and `learning_outcome`.
    """
    variables = select_variables(study, config.features)
    study.endpoint(config.endpoint)
    columns = StoredColumns(scratch / "columns", list(variables))
    read = stream_study(
        study,
        lambda part: columns.append(to_columns(part.baseline, variables)),
        sample=config.streaming.sample,
        seed=config.seed,
    )
    everybody, outcome = read.everybody, learning_outcome(read.everybody, config.endpoint)
    digest = hashlib.sha256(f"{everybody.digest} {read.sample.digest}".encode())
    columns.update(digest)
    patients = StoredPatients(
        columns,
        outcome.y,
        everybody.treatment.astype(float),
        outcome.weight,
        outcome.exposure,
        halve(read.number, min(config.validation.repeats, _MOST_HALVINGS)),
    )
    return Whole(everybody, outcome, patients, read.rows, digest.hexdigest(), scratch), read.sample


def learn_whole(
    whole: Whole,
    setting: Setting,
    config: RunConfig,
    *,
    threads: int,
    state: State | None,
    progress: Progress | None = None,
) -> WholeRisk:
    """Fit, cross-validate and compare the config's risk models on all patients, and estimate the average effect."""
    patients, kind, family = whole.patients, setting.outcome, FAMILIES[setting.outcome]
    y, weight, exposure = patients.y, patients.weight, patients.exposure
    halvings, treated_rows = len(patients.groups) // 2, patients.treatment == 1
    models: dict[RiskModelName, StreamedModel] = {}
    losses: dict[str, Floats] = {}
    means: dict[str, NDArray[np.float32]] = {}
    figures = []
    sampled: dict[RiskModelName, list[tuple[Floats, Floats]]] = {}
    for number, name in enumerate(config.models):
        part = None if state is None else state.part(f"streamed {name}")
        models[name] = fit_streamed(name, patients, setting, threads=threads, scratch=whole.scratch, state=part)
        linear = linear_predictors(models[name], patients)
        loss, mean, tables = np.zeros(y.size), np.zeros((2, y.size), dtype=np.float32), []
        sampled[name] = []
        for turn in range(halvings):
            untreated, treated = out_of_fold_means(models[name], linear, patients.groups, setting, turn)
            factual = np.where(treated_rows, treated, untreated)
            loss += family.loss(y, factual, exposure) / halvings
            mean += np.array([untreated, treated], dtype=np.float32) / halvings
            sampled[name].append((untreated[whole.rows], treated[whole.rows]))
            # The estimates alone are used: resampling millions of patients would say no more than the sample's does.
            table = risk_metrics(
                y, factual, kind, weight=weight, exposure=exposure, bootstrap=1, rng=np.random.default_rng(0)
            )
            tables.append(table[["metric", "estimate"]])
        losses[name], means[name] = loss, mean
        figures.append(pd.concat(tables).groupby("metric", sort=False).mean().reset_index().assign(model=name))
        if progress is not None:
            progress(number + 1, len(config.models))
    selection = choose_by_losses(losses, weight)
    # Among so many patients the choice costs no honesty: it is made once, and its figures are those of the model.
    figures += [figures[config.models.index(selection.name)].assign(model=PROCEDURE)]
    nuisance = REFERENCE if REFERENCE in means else selection.name
    scores = doubly_robust_scores(
        y,
        whole.everybody.treatment,
        whole.everybody.propensity,
        *means[nuisance].astype(float),
        weight=weight,
        exposure=exposure,
    )
    level = config.validation.level
    return WholeRisk(
        selection,
        models,
        pd.concat(figures, ignore_index=True),
        OutOfFold(
            {name: np.array([untreated for untreated, _ in turns]) for name, turns in sampled.items()},
            {name: np.array([treated for _, treated in turns]) for name, turns in sampled.items()},
            {},
            np.full((halvings, whole.rows.size), config.models.index(selection.name)),
        ),
        scores,
        average_effect(scores, kind, level),
        unadjusted_effect(y, whole.everybody.treatment, kind, weight, exposure, level),
    )


def over_all(risk: RiskAssessment, found: WholeRisk, whole: Whole) -> RiskAssessment:
    """Put the figures of all patients in place of the sample's, whose intervals are narrowed to their number.

    References
    ----------
    Bickel, Gotze and van Zwet, Stat Sinica 1997;7:1 (resampling fewer than n patients).
    """
    narrower = np.sqrt(whole.rows.size / len(whole.everybody))
    table = risk.tables["risk_metrics"].merge(found.figures, on=["model", "metric"], suffixes=("", "_of_all"))
    for limit in ("low", "high"):
        table[limit] = table["estimate_of_all"] + narrower * (table[limit] - table["estimate"])
    table["estimate"] = table.pop("estimate_of_all")
    metrics = {str(model): estimates(part) for model, part in table.groupby("model")}
    return risk._replace(
        metrics=metrics[PROCEDURE],
        candidates=tuple(
            type(each)(name=each.name, metrics=metrics[each.name], selected=each.selected) for each in risk.candidates
        ),
        tables={key: part for key, part in risk.tables.items() if key != "risk_choices"} | {"risk_metrics": table},
    )


def final_risk(whole: Whole, found: WholeRisk, name: RiskModelName, setting: Setting) -> tuple[FinalRisk, Floats]:
    """Return the chosen model and those of halves with the relative effects that give the average effects.

    Beside it all patients' linear predictors without treatment by the chosen model, shape (n,).
    """
    patients, effect = whole.patients, found.scores.effect
    model = found.models[name]
    linear = linear_predictors(model, patients)
    half_event = smallest_average(patients.y, patients.exposure)
    theta = [
        relative_effect(setting, values.astype(float), float(effect[group].mean()), half_event)
        for values, group in zip(linear, patients.groups, strict=True)
    ]
    return FinalRisk(model.fitted, theta[0], model.halves, np.array(theta[1:])), linear[0].astype(float)
