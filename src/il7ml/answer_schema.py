"""The JSON schema of a prediction (draft 2020-12, https://json-schema.org/draft/2020-12/json-schema-core)."""

from __future__ import annotations

from typing import Any

from il7ml import texts

MEASURES = ("risk", "rate", "mean")
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_ESTIMATE = {
    "type": "object",
    "properties": {name: {"type": "number"} for name in ("value", "low", "high")},
    "required": ["value", "low", "high"],
}


def prediction_schema() -> dict[str, Any]:
    """Return the schema of `Prediction.to_dict` for any model."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Prediction",
        "description": "il7ml's answer for one patient: a risk, a rate or a mean without and with treatment. "
        f"{texts.INTENDED_USE}",
        "anyOf": [answer_schema(measure) for measure in MEASURES],
    }


def answer_schema(measure: str) -> dict[str, Any]:
    """Return the schema of `Prediction.to_dict` for models of one measure.

    Parameters
    ----------
    measure : {'risk', 'rate', 'mean'}

    Returns
    -------
    dict
        Properties in the answer's order. All but ``notice`` are required.

    Examples
    --------
    >>> answer_schema("risk")["properties"]["risk_untreated"]
    {'type': 'number', 'minimum': 0, 'maximum': 1, 'description': 'without treatment'}
    """
    limits = {
        "risk": {"minimum": 0, "maximum": 1},
        "rate": {"minimum": 0},
        "mean": {},
    }[measure]
    difference = {"minimum": -1, "maximum": 1} if measure == "risk" else {}
    need = "patients to treat for one to be helped; null unless a risk falls"
    properties: dict[str, Any] = {
        "notice": {**_TEXT, "description": "first thing to show; there for a model trained on simulated patients only"},
        "patient_id": {"type": ["string", "null"], "description": "as it came"},
        "status": {"enum": ["ok", "out_of_scope"], "description": "out_of_scope: the trial had no such patients"},
        "outcome": {**_TEXT, "description": "what is predicted"},
        "unit": {**_TEXT, "description": "what a rate is per, or the unit of a mean; empty for a risk"},
        **_interval(f"{measure}_untreated", "without treatment", {"type": "number", **limits}),
        **_interval(f"{measure}_treated", "with treatment; null out of scope", _nullable(limits)),
        **_interval("benefit", "absolute, positive: helped; null out of scope", _nullable(difference)),
        **_interval("individual_benefit", "exploratory, at evidence 'suggestive' only", _nullable(difference)),
        "number_needed_to_treat": {**_nullable({"minimum": 1}), "description": need},
        "evidence": {"enum": list(texts.EVIDENCE), "description": "how credible individual differences are"},
        "evidence_sentence": _TEXT,
        "reasons": {"type": "array", "items": _reason(), "description": "the strongest first"},
        "reasons_sentence": _TEXT,
        "beside": {
            "type": "array",
            "items": _closed({"outcome": _TEXT, "untreated": _ESTIMATE, "treated": _ESTIMATE, "benefit": _ESTIMATE}),
            "description": "other outcomes, such as death, in the trial as a whole; empty out of scope",
        },
        "imputed": {**_TEXTS, "description": "variables that were missing"},
        "warnings": {**_TEXTS, "description": "to be read before the numbers"},
        "arms": _closed({"untreated": _TEXT, "treated": _TEXT}),
        "model": _model(),
        "intended_use": {"const": texts.INTENDED_USE},
    }
    schema = _closed(properties)
    schema["required"].remove("notice")
    return schema


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _nullable(limits: dict[str, int]) -> dict[str, Any]:
    return {"type": ["number", "null"], **limits}


def _interval(name: str, meaning: str, number: dict[str, Any]) -> dict[str, Any]:
    return {name: {**number, "description": meaning}, f"{name}_low": number, f"{name}_high": number}


def _reason() -> dict[str, Any]:
    return _closed(
        {
            "variable": _TEXT,
            "label": _TEXT,
            "value": {"type": ["number", "string", "null"]},
            "unit": _TEXT,
            "direction": {"enum": sorted(texts.DIRECTION.values())},
            "contribution": {"type": "number", "description": "share of the linear predictor"},
            "points": {"type": "number", "description": "change of the untreated outcome without this share"},
        }
    )


def _model() -> dict[str, Any]:
    properties = {
        "name": _TEXT,
        "version": {"type": ["string", "null"], "description": "in the registry; null for a folder"},
        "digest": {**_TEXT, "description": "SHA-256 of the bundle's manifest"},
        "data": {"enum": ["real", "simulated"], "description": "what it was trained on"},
        "study": _TEXT,
        "risk_model": _TEXT,
        "training_patients": {"type": "integer", "minimum": 1},
        "training_events": {"type": "integer", "minimum": 0},
        "validation": {"type": "object", "additionalProperties": _ESTIMATE, "description": "figures by name"},
        "average_effect": _ESTIMATE,
        "il7ml": {**_TEXT, "description": "version that trained it"},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}
