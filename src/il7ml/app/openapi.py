"""The API's description: what a patient's record may hold for the loaded model, and answers that it really gives."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from il7ml.answer_schema import answer_schema
from il7ml.app.examples import example_patient
from il7ml.app.records import MAX_PATIENTS, answer_each
from il7ml.app.security import OPEN_PATHS
from il7ml.bundle import CardVariable
from il7ml.family import FAMILIES
from il7ml.predictor import Predictor


def describe(app: FastAPI, predictor: Predictor, *, needs_token: bool) -> dict[str, Any]:
    """Return the OpenAPI document for the model that is loaded.

    Parameters
    ----------
    app : FastAPI
    predictor : Predictor
        Names the variables with units and ranges, and gives the examples' answers.
    needs_token : bool
        Whether the service asks for one.
    """
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    if predictor.notice:
        document["info"]["description"] = f"{predictor.notice}\n\n{app.description}"
    patient = example_patient(predictor)
    wrong = {**patient, "patient_id": "wrong", next(iter(predictor.inputs)): "not a number"}
    answers = answer_each(predictor, [patient, wrong])
    components = document.setdefault("components", {})
    components["schemas"] = {
        "Patient": patient_schema(predictor),
        "Answer": _answer_schema(FAMILIES[predictor.bundle.card.kind].measure, predictor.notice),
        "RefusedRow": _object(answers[1], {"status": {"const": "error"}}),
        "Problem": _object({"notice": "", "detail": ""} if predictor.notice else {"detail": ""}, {}),
    }
    answer = {"$ref": "#/components/schemas/Answer"}
    row = {"anyOf": [answer, {"$ref": "#/components/schemas/RefusedRow"}]}
    rows = {"type": "array", "items": row}
    one, batch = document["paths"]["/predict"]["post"], document["paths"]["/predict/batch"]["post"]
    record = {"$ref": "#/components/schemas/Patient"}
    several = {"type": "array", "items": record, "maxItems": MAX_PATIENTS}
    one["requestBody"] = _body(record, patient)
    one["responses"]["200"] |= _content(answer, answers[0])
    batch["requestBody"] = _body(
        {"type": "object", "properties": {"patients": several}, "required": ["patients"]},
        {"patients": [patient, wrong]},
    )
    batch_answer = _with_notice(predictor.notice, {"answers": answers})
    batch["responses"]["200"] |= _content(_object(batch_answer, {"answers": rows}), batch_answer)
    if needs_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        for path in OPEN_PATHS:
            document["paths"][path]["get"]["security"] = []
    return document


def patient_schema(predictor: Predictor) -> dict[str, Any]:
    """Return the JSON schema of a patient's record.

    Parameters
    ----------
    predictor : Predictor

    Returns
    -------
    dict
        Variables with type, unit, possible range and training range.
    """
    inputs = predictor.inputs
    return {
        "type": "object",
        "description": "Canonical names and units. A missing optional value is left out or null.",
        "properties": {
            "patient_id": {"type": ["string", "integer", "null"], "description": "Repeated in the answer, never kept."},
            **{name: _variable_schema(entry) for name, entry in inputs.items()},
        },
        "required": [name for name, entry in inputs.items() if entry.required],
    }


def _variable_schema(entry: CardVariable) -> dict[str, Any]:
    variable = entry.variable
    null = [] if entry.required else ["null"]
    if variable.kind == "categorical":
        return {"enum": [*variable.levels, *([None] if null else [])], "description": variable.term}
    if variable.kind == "binary":
        return {"enum": [0, 1, *([None] if null else [])], "description": f"{variable.term}: 0 (no) or 1 (yes)"}
    trained = "" if entry.low is None else f"; training patients had {entry.low:g} to {entry.high:g}"
    schema: dict[str, Any] = {"type": ["number", *null], "description": f"{variable.label}{trained}"}
    if variable.possible is not None:
        schema |= {"minimum": variable.possible[0], "maximum": variable.possible[1]}
    return schema


def _answer_schema(measure: str, notice: str) -> dict[str, Any]:
    """Return the schema of one model's answers, in which the notice always or never stands."""
    schema = answer_schema(measure)
    if notice:
        schema["properties"]["notice"] = {"const": notice}
        schema["required"].insert(0, "notice")
    else:
        del schema["properties"]["notice"]
    return schema


def _object(example: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    kinds = {str: "string", dict: "object", list: "array", int: "integer", float: "number"}
    properties = {
        name: known.get(name, {"type": kinds[type(value)]} if type(value) in kinds else {})
        for name, value in example.items()
    }
    return {"type": "object", "properties": properties, "required": list(example)}


def _with_notice(notice: str, answer: dict[str, Any]) -> dict[str, Any]:
    return {"notice": notice, **answer} if notice else answer


def _body(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, **_content(schema, example)}


def _content(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema, "example": example}}}
