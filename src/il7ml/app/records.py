"""From JSON to patients' records: what JSON leaves open is refused, and messages repeat no value."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from il7ml.errors import InputError
from il7ml.predictor import Predictor

MAX_PATIENTS = 500


def parse_object(body: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises
    ------
    InputError
        If the body is not one, holds NaN or infinity, or a key twice.

    Examples
    --------
    >>> parse_object(b'{"age": 62}')
    {'age': 62}
    """
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except InputError:
        raise
    except (ValueError, RecursionError):
        raise InputError("not valid JSON in UTF-8. Expected an object of variables and values.") from None
    if not isinstance(found, dict):
        raise InputError(f"expected one JSON object of variables and values, got {_kind(found)}.")
    return found


def parse_batch(body: bytes) -> list[Any]:
    """Return the patients of ``{"patients": [...]}``; each is checked later, by itself.

    Raises
    ------
    InputError
        If the body has another form, or holds more than `MAX_PATIENTS`.
    """
    record = parse_object(body)
    patients = record.get("patients")
    if set(record) != {"patients"} or not isinstance(patients, list):
        raise InputError('expected {"patients": [{...}, ...]} and no other key.')
    if len(patients) > MAX_PATIENTS:
        raise InputError(
            f"{len(patients)} patients came, at most {MAX_PATIENTS} are answered at once. Send several batches, or use "
            "il7ml predict --in TABLE --out TABLE."
        )
    return patients


def answer_one(predictor: Predictor, record: Any) -> dict[str, Any]:
    """Return the answer for one record of a JSON body.

    Raises
    ------
    InputError
        If the record is wrong.
    """
    return predictor.predict(_object(record)).to_dict()


def answer_each(predictor: Predictor, patients: list[Any]) -> list[dict[str, Any]]:
    """Return an answer for each patient in order; a wrong record gets status ``error`` and a message."""
    checked = [_check(record) for record in patients]
    found = iter(predictor.predict_each(record for record in checked if not isinstance(record, InputError)))
    answers = [record if isinstance(record, InputError) else next(found) for record in checked]
    return [
        _error(predictor, record, answer) if isinstance(answer, InputError) else answer.to_dict()
        for record, answer in zip(patients, answers, strict=True)
    ]


def _check(record: Any) -> dict[str, Any] | InputError:
    try:
        return _object(record)
    except InputError as error:
        return error


def _object(record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise InputError(f"expected one JSON object of variables and values, got {_kind(record)}.")
    patient_id(record)
    return record


def _error(predictor: Predictor, record: Any, error: InputError) -> dict[str, Any]:
    notice = {"notice": predictor.notice} if predictor.notice else {}
    return {**notice, "patient_id": _known_id(record), "status": "error", "message": str(error)}


def patient_id(record: dict[str, Any]) -> str | None:
    """Return the record's identifier.

    Raises
    ------
    InputError
        If it is neither text nor a whole number.
    """
    given = record.get("patient_id")
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, str | int):
        raise InputError(f"patient_id: expected text or a whole number, got {_kind(given)}.")
    return str(given)


def _known_id(record: Any) -> str | None:
    try:
        return patient_id(record) if isinstance(record, dict) else None
    except InputError:
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise InputError("a key stands twice in one JSON object. Keep one.")
    return record


def _refuse_constant(_: str) -> NoReturn:
    raise InputError("NaN and infinity are not JSON. Leave a missing value out, or give null.")


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
