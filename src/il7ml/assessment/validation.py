"""How far risk models can be trusted beyond these patients: corrected figures, instability, groups, sites, audits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml.assessment.risk import PROCEDURE, estimates
from il7ml.bundle import Estimate
from il7ml.config import RiskModelName, RunConfig
from il7ml.data.cohort import Cohort
from il7ml.evaluation.comparison import compare_models
from il7ml.evaluation.corrected import corrected_metrics
from il7ml.evaluation.instability import prediction_instability
from il7ml.evaluation.internal_external import internal_external
from il7ml.evaluation.leakage import leakage_audit
from il7ml.evaluation.learning_curve import learning_curve
from il7ml.evaluation.missingness import missingness_audit
from il7ml.evaluation.performance_groups import age_groups, performance_by_group
from il7ml.models.catalog import Setting
from il7ml.models.crossfit import OutOfFold
from il7ml.models.resampled import Resampled
from il7ml.models.sample import Sample
from il7ml.parallel import spawn, stream

Floats = NDArray[np.float64]

_GROUPED = ("sex", "respiratory_support")


class Validation(NamedTuple):
    """What validation adds to the out-of-fold figures.

    Attributes
    ----------
    corrected : dict of str to dict of str to Estimate
        Figures in new patients of the same kind, by metric name ending in ``_corrected``: each model's and those of the
        whole procedure.
    tables : dict of str to DataFrame
    """

    corrected: dict[str, dict[str, Estimate]]
    tables: dict[str, pd.DataFrame]


def validate_models(
    sample: Sample,
    out_of_fold: OutOfFold,
    resampled: Resampled,
    setting: Setting,
    selected: RiskModelName,
    config: RunConfig,
) -> Validation:
    """Correct figures for having seen their patients, and show how stable the delivered model is.

    Folds and bootstrap samples choose their model anew, so that the procedure's figures and its instability hold what
    the choice adds. The intervals are for the performance of the model that was chosen.

    Parameters
    ----------
    sample : Sample
    out_of_fold : OutOfFold
    resampled : Resampled
    setting : Setting
    selected : str
        The chosen model.
    config : RunConfig
    """
    kind, level = setting.outcome, config.validation.level
    factual = {name: out_of_fold.factual(name, sample.treatment) for name in out_of_fold.untreated}
    apparent = {name: resampled.apparent(name, sample.treatment) for name in factual}
    refits = {name: resampled.refits(name, sample.treatment) for name in factual}
    apparent[PROCEDURE], refits[PROCEDURE] = apparent[selected], resampled.chosen(sample.treatment)
    seeds = spawn(stream(config.seed, "corrected metrics"), len(refits))
    frames, corrected = [], {}
    validated = {**factual, PROCEDURE: out_of_fold.chosen(sample.treatment)}
    for (name, predicted), seed in zip(validated.items(), seeds, strict=True):
        table = corrected_metrics(
            sample.y,
            kind,
            apparent=apparent[name],
            refits=refits[name],
            counts=resampled.counts,
            out_of_fold=predicted,
            chosen_refits=refits[selected] if name == PROCEDURE else None,
            weight=sample.weight,
            exposure=sample.exposure,
            bootstrap=config.validation.bootstrap,
            level=level,
            rng=np.random.default_rng(seed),
        )
        frames.append(table.assign(model=name))
        corrected[name] = {f"{metric}_corrected": value for metric, value in estimates(table).items()}
    tables = {"risk_corrected": pd.concat(frames, ignore_index=True)}
    thresholds = _thresholds(sample, config) if kind == "binary" else ()
    stability = prediction_instability(
        resampled.untreated[selected][0], resampled.chosen(0), thresholds=thresholds, level=level
    )
    tables["risk_instability"] = stability.groups.assign(
        overall=stability.mean_absolute_prediction_error, models=stability.models
    )
    if len(stability.flips):
        tables["risk_flips"] = stability.flips
    others = [name for name in factual if name != selected]
    if others:
        tables["risk_comparison"] = pd.concat(
            [
                compare_models(
                    sample.y,
                    factual[selected],
                    factual[other],
                    kind,
                    thresholds=thresholds,
                    weight=sample.weight,
                    exposure=sample.exposure,
                    level=level,
                ).assign(first_model=selected, second_model=other)
                for other in others
            ],
            ignore_index=True,
        )
    return Validation(corrected, tables)


def _thresholds(sample: Sample, config: RunConfig) -> tuple[float, ...]:
    """Return the config's thresholds, or the share with the event, at which nothing else is stated."""
    known = sample.weight > 0
    rate = float(np.average(sample.y[known], weights=sample.weight[known]))
    return config.validation.thresholds or (round(min(max(rate, 0.01), 0.99), 2),)


def group_tables(
    sample: Sample, predicted: Floats, cohort: Cohort, setting: Setting, level: float
) -> dict[str, pd.DataFrame]:
    """Return performance by sex, age, site and respiratory support, where the study has them.

    Parameters
    ----------
    sample : Sample
    predicted : ndarray of shape (repeats, n)
        Out-of-fold.
    cohort : Cohort
    setting : Setting
    level : float
    """
    baseline = cohort.baseline
    groups: dict[str, NDArray[np.object_] | pd.Categorical] = {
        name: baseline[name].to_numpy(dtype=object) for name in _GROUPED if name in baseline
    }
    if "age" in baseline:
        groups["age"] = age_groups(baseline["age"])
    if cohort.site is not None:
        groups["site"] = cohort.site
    if not groups:
        return {}
    table = performance_by_group(
        sample.y, predicted, groups, setting.outcome, weight=sample.weight, exposure=sample.exposure, level=level
    )
    return {"risk_by_group": table}


def site_tables(
    sample: Sample, predicted: Floats, site: NDArray[np.object_], setting: Setting, level: float
) -> dict[str, pd.DataFrame]:
    """Return performance in sites left out and its random-effects summary.

    Parameters
    ----------
    predicted : ndarray of shape (n,)
        By models trained without the patient's site.
    """
    found = internal_external(
        sample.y, predicted, list(site), setting.outcome, weight=sample.weight, exposure=sample.exposure, level=level
    )
    return {"risk_by_left_out_site": found.sites, "risk_across_sites": found.summary}


def learning_tables(by_size: pd.DataFrame, model: str, level: float) -> dict[str, pd.DataFrame]:
    """Return a model's loss by the number of training patients, and whether the last step still gained.

    Parameters
    ----------
    by_size : DataFrame
        Columns size, repeat, value.
    model : str
    level : float
    """
    found = learning_curve(by_size["size"], by_size["repeat"], by_size["value"], higher_is_better=False, level=level)
    gain = {"gain": found.gain, "gain_low": found.gain_low, "gain_high": found.gain_high}
    summary = pd.DataFrame([{"model": model, **gain, "still_gains": found.still_gains}])
    return {"learning_curve": found.table.assign(model=model), "learning_curve_gain": summary}


def audit_tables(
    sample: Sample, values: pd.DataFrame, known: Mapping[str, str], setting: Setting
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return what is missing and what may give the outcome away, with a sentence for each warning.

    Parameters
    ----------
    values : DataFrame of shape (n, k)
        The features.
    known : mapping of str to str
        When each is known.
    """
    kind = setting.outcome
    missing = missingness_audit(values, sample.treatment, sample.y, kind, weight=sample.weight)
    leaks = leakage_audit(values, known, sample.y, kind, weight=sample.weight)
    tables = {
        "missing_shares": missing.shares,
        "missing_tests": missing.tests,
        "complete_cases": missing.complete,
        "leakage_audit": leaks,
    }
    warnings = [
        f"Leakage audit, {name}: {text}" for name, text in zip(leaks["variable"], leaks["warning"], strict=True) if text
    ]
    return {name: table for name, table in tables.items() if len(table)}, warnings
