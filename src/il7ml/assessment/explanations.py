"""What moves predicted outcomes and effects: from final models and their refits to tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from il7ml import plots, texts
from il7ml.config import RunConfig
from il7ml.explanation import (
    Explanation,
    correlated_pairs,
    effect_dependence,
    explain,
    explain_outcome,
    group_importance,
    importance,
    interactions,
    patient_groups,
    refit_outcome_values,
    refit_values,
    risk_dependence,
)
from il7ml.explanation.additive import TOLERANCE
from il7ml.explanation.correlation import CORRELATED
from il7ml.explanation.importance import REFIT_PATIENTS
from il7ml.explanation.outcome_scale import REFIT_PATIENTS as OUTCOME_REFIT_PATIENTS
from il7ml.explanation.outcome_scale import adds_up
from il7ml.family import FAMILIES
from il7ml.features.columns import Columns, take
from il7ml.models.catalog import Setting
from il7ml.models.effect_model import EffectModel
from il7ml.models.final import FinalRisk
from il7ml.models.fitted import Additive
from il7ml.parallel import stream

Floats = NDArray[np.float64]

# Patients and reference patients on the outcome's scale, where each pair of them costs.
_OUTCOME_PATIENTS, _REFERENCE_PATIENTS = 100, 50
_TENTHS = np.arange(1, 10) / 10
_NAMED = 6


class ExplanationAssessment(NamedTuple):
    """Tables and figures by name, and sentences to be read before them."""

    tables: dict[str, pd.DataFrame]
    figures: dict[str, bytes]
    warnings: tuple[str, ...]


def assess_explanations(
    columns: Columns,
    setting: Setting,
    risk: FinalRisk,
    effect: EffectModel,
    config: RunConfig,
    *,
    unit: str = "",
    average: float,
    exploratory_risk: bool = False,
    exploratory_effect: bool = False,
    mark: str = "",
) -> ExplanationAssessment:
    """Return importance, grouped importance, how values lie, dependence and interactions, for risk and effect.

    Single patients are in none of them, unless the config says `explanation.log_patients`.

    Parameters
    ----------
    columns : dict of str to ndarray of shape (n,)
        All patients, derived features included.
    setting : Setting
    risk : FinalRisk
        The model to explain, with its refits.
    effect : EffectModel
        Fitted, with its refits.
    config : RunConfig
    unit : str
        Of a continuous outcome.
    average : float
        Average effect.
    exploratory_risk, exploratory_effect : bool
        Whether tables and figures say that the model did not beat the event rate, and that there is no credible
        heterogeneity.
    mark : str
        What the title of every figure ends with.
    """
    family, variables = FAMILIES[setting.outcome], setting.variables
    n = next(iter(columns.values())).size
    rng = np.random.default_rng(stream(config.seed, "explanations"))
    # In random order, so that the first patients stand for all where a step costs too much for all.
    chosen = rng.permutation(n)[: config.explanation.rows]
    patients = take(columns, chosen)
    pairs = correlated_pairs(columns, variables)
    doubt = {
        "risk": texts.EXPLORATORY_RISK if exploratory_risk else "",
        "effect": texts.EXPLORATORY_EFFECT if exploratory_effect else "",
    }
    scale = {"binary": "log odds", "count": "log rate", "continuous": unit or "outcome's unit"}[family.kind]
    explained = {
        "risk": explain(risk.fitted, patients, chosen.size, scale, note=doubt["risk"]),
        "effect": explain(
            effect.fitted_, patients, chosen.size, f"difference in {family.measure}", note=doubt["effect"]
        ),
    }
    heads = {
        "risk": f"What moves the predicted {family.measure}{mark}",
        "effect": f"What moves the estimated individual effect{mark}",
    }
    refits: dict[str, Sequence[Additive]] = {"risk": risk.refits, "effect": effect.refits_}
    tables: dict[str, pd.DataFrame] = {}
    figures: dict[str, bytes] = {}
    checks = []
    for name, explanation in explained.items():
        found, drawn = _importance(name, explanation, setting, refits[name], pairs, config, heads[name])
        tables |= found
        figures |= drawn
        checks.append(_check(name, explanation, len(refits[name])))
    if family.kind != "continuous":
        few, typical = chosen[:_OUTCOME_PATIENTS], rng.permutation(n)[:_REFERENCE_PATIENTS]
        background = take(columns, typical)
        explanation = explain_outcome(
            risk.fitted,
            family,
            take(columns, few),
            few.size,
            background,
            typical.size,
            rng,
            note=doubt["risk"],
        )
        refitted = refit_outcome_values(risk.refits, family, explanation, background, typical.size)
        table = importance(explanation, variables, refitted, pairs, config.validation.level)
        head = heads["risk"]
        if not refitted:
            table = table.drop(columns=["rank_low", "rank_high", "low", "high", "same_direction"])
            head = f"{head}\n({texts.NO_INTERVALS})"
        tables["shap_risk_outcome"] = table
        figures["shap_risk_outcome"] = plots.to_png(plots.importance_figure(table, head, config.validation.level))
        checks.append(_check("risk", explanation, len(refitted), typical.size, OUTCOME_REFIT_PATIENTS))
    found, drawn = _dependence(
        columns, chosen, setting, risk, effect, config, explained, average=average, doubt=doubt, mark=mark
    )
    tables |= found
    figures |= drawn
    some = {name: column[:REFIT_PATIENTS] for name, column in patients.items()}
    asked = [(setting.lymphopenia_variable, by)] if (by := _split(setting)) and setting.lymphopenia_variable else []
    tables["shap_risk_interactions"] = interactions(
        risk.fitted, some, min(chosen.size, REFIT_PATIENTS), variables, asked, risk.refits, config.validation.level
    )
    tables["correlated_features"] = pairs
    tables["explanation_checks"] = pd.DataFrame(checks)
    return ExplanationAssessment(
        {name: table for name, table in tables.items() if len(table)},
        figures,
        _warnings(pairs),
    )


def _importance(
    name: str,
    explanation: Explanation,
    setting: Setting,
    refits: Sequence[Additive],
    pairs: pd.DataFrame,
    config: RunConfig,
    head: str,
) -> tuple[dict[str, pd.DataFrame], dict[str, bytes]]:
    variables, level = setting.variables, config.validation.level
    refitted = refit_values(refits, explanation)
    table = importance(explanation, variables, refitted, pairs, level)
    groups = group_importance(explanation, variables, refitted, level)
    tables = {f"shap_{name}": table, f"shap_{name}_groups": groups}
    figures = {
        f"shap_{name}_bar": plots.to_png(plots.importance_figure(table, head, level)),
        f"shap_{name}_groups": plots.to_png(plots.importance_figure(groups, f"{head}, by group of variables", level)),
    }
    if config.explanation.log_patients:
        tables[f"shap_{name}_beeswarm"] = _patients(explanation)
        figures[f"shap_{name}_beeswarm"] = plots.to_png(plots.beeswarm_figure(explanation, table, head))
    else:
        lie = patient_groups(explanation, variables)
        tables[f"shap_{name}_beeswarm"] = lie.assign(scale=explanation.scale, note=explanation.note)
        figures[f"shap_{name}_beeswarm"] = plots.to_png(plots.patient_groups_figure(lie, table, head))
    return tables, figures


def _dependence(
    columns: Columns,
    chosen: NDArray[np.intp],
    setting: Setting,
    risk: FinalRisk,
    effect: EffectModel,
    config: RunConfig,
    explained: dict[str, Explanation],
    *,
    average: float,
    doubt: dict[str, str],
    mark: str,
) -> tuple[dict[str, pd.DataFrame], dict[str, bytes]]:
    """Return curves of predicted outcome and effect against the lymphocyte count, by antiviral or the like."""
    name, by = setting.lymphopenia_variable, _split(setting)
    if name is None or name not in setting.variables or np.isnan(columns[name]).all():
        return {}, {}
    variables, level = setting.variables, config.validation.level
    variable, measure = variables[name], FAMILIES[setting.outcome].measure
    few = chosen[:REFIT_PATIENTS]
    some = take(columns, few)
    curves = {
        "risk": risk_dependence(risk.fitted, some, few.size, name, variables, by, risk.refits, level),
        "effect": effect_dependence(effect.fitted_, some, few.size, name, variables, by, level),
    }
    axes = {
        "risk": f"Contribution ({explained['risk'].scale})",
        "effect": f"Difference in {measure}, treated − untreated",
    }
    titles = {"risk": f"Predicted {measure}", "effect": "Estimated individual effect"}
    tables, figures = {}, {}
    for part, curve in curves.items():
        title = f"{titles[part]}: {variable.term}{mark}"
        # Parallel curves are the model's form, not a finding.
        parallel = texts.PARALLEL if part == "risk" and by and adds_up(risk.fitted) else ""
        remarks, points = (doubt[part], parallel), None
        if config.explanation.log_patients:
            estimate = explained[part].values[[name, by] if by else [name]].to_numpy().sum(axis=1)
            if part == "effect":
                estimate = explained[part].base + explained[part].values.to_numpy().sum(axis=1)
            points = _points(take(columns, chosen), name, by, estimate, curve)
        tables[f"shap_{part}_dependence"] = curve.assign(variable=name, note="; ".join(filter(None, remarks)))
        figures[f"shap_{part}_dependence"] = plots.to_png(
            plots.dependence_figure(
                curve,
                np.nanquantile(columns[name], _TENTHS),
                "\n".join([title, *(f"({remark})" for remark in remarks if remark)]),
                variable.label,
                axes[part],
                reference=(average, "Average effect, not shrunken") if part == "effect" else None,
                points=points,
                log=variable.scale == "log" and bool((curve["value"] > 0).all()),
                level=level,
            )
        )
    return tables, figures


def _split(setting: Setting) -> str | None:
    """Return the pre-specified yes-or-no modifier that curves are split by, such as antiviral use."""
    return next((name for name in setting.modifiers if setting.variables[name].kind == "binary"), None)


def _points(columns: Columns, name: str, by: str | None, estimate: Floats, curve: pd.DataFrame) -> pd.DataFrame:
    groups = list(dict.fromkeys(curve["group"]))
    place = columns[by] if by else np.zeros(estimate.size)
    known = ~np.isnan(columns[name]) & ~np.isnan(place)
    return pd.DataFrame(
        {
            "value": columns[name][known],
            "group": [groups[int(one)] for one in place[known]],
            "estimate": estimate[known],
        }
    )


def _patients(explanation: Explanation) -> pd.DataFrame:
    """Return single patients' values, a row a patient and variable; the number says nothing of who it is."""
    long = (
        explanation.values.rename_axis("patient").reset_index().melt("patient", var_name="variable", value_name="shap")
    )
    return long.assign(value=explanation.data.melt()["value"], scale=explanation.scale, note=explanation.note)


def _check(
    name: str, explanation: Explanation, refits: int, reference: int = 0, most: int = REFIT_PATIENTS
) -> dict[str, object]:
    patients = len(explanation.values)
    return {
        "model": name,
        "scale": explanation.scale,
        "method": explanation.method,
        "patients": patients,
        "reference_patients": reference,
        "refits": refits,
        "refit_patients": min(patients, most) if refits else 0,
        "largest_gap": explanation.gap,
        "tolerance": TOLERANCE,
        "std_error": explanation.std_error,
    }


def _warnings(pairs: pd.DataFrame) -> tuple[str, ...]:
    if not len(pairs):
        return ()
    named = [
        f"{first} and {second}" for first, second in pairs[["first_label", "second_label"]].itertuples(index=False)
    ]
    listed = "; ".join(named[:_NAMED]) + (f"; and {len(named) - _NAMED} further pairs" if len(named) > _NAMED else "")
    return (texts.CORRELATED.format(level=CORRELATED, pairs=listed),)
