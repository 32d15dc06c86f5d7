"""One patient's values, asked for one after the other on a terminal."""

from __future__ import annotations

from typing import Any, TextIO

from il7ml import texts
from il7ml.app.fields import ranges_of
from il7ml.app.form import read_value
from il7ml.bundle import CardVariable
from il7ml.errors import InputError
from il7ml.predictor import Predictor

_YES_NO = {"yes": "1", "y": "1", "no": "0", "n": "0"}


def ask_patient(predictor: Predictor, lines: TextIO, out: TextIO) -> dict[str, Any]:
    """Ask for every variable of a model until the answer is right; an empty line leaves an optional one out.

    Parameters
    ----------
    predictor : Predictor
        Says what is asked, in which units and ranges.
    lines : text stream
        Where the answers come from.
    out : text stream
        Where the questions go; not standard output, which is the prediction's.

    Returns
    -------
    dict
        Record for `Predictor.predict`, in canonical units.

    Raises
    ------
    InputError
        If the answers end too early.
    """
    if predictor.notice:
        print(predictor.notice, file=out)
    print(texts.INTENDED_USE, file=out)
    print("Enter each value; an empty line where it is not known. Stop with Ctrl-C.", file=out)
    patient: dict[str, Any] = {}
    for name, entry in predictor.inputs.items():
        print(f"\n{_question(entry)}", file=out)
        for hint in ranges_of(entry, predictor.bundle.card.eligibility.get(name)):
            print(f"  {hint}.", file=out)
        while (value := _ask(name, entry, lines, out)) is None and entry.required:
            print("  A value is needed.", file=out)
        if value is not None:
            patient[name] = value
    print(file=out)
    return patient


def _question(entry: CardVariable) -> str:
    variable = entry.variable
    if variable.kind == "categorical":
        choice = " / ".join(level.replace("_", "-") for level in variable.levels)
    elif variable.kind == "binary":
        choice = "yes / no"
    elif len(variable.units) > 1:
        choice = f"{variable.unit}; or a number followed by {', '.join(variable.units[1:])}"
    else:
        choice = variable.unit
    return f"{variable.term}{' (required)' if entry.required else ''}{f' [{choice}]' if choice else ''}"


def _ask(name: str, entry: CardVariable, lines: TextIO, out: TextIO) -> float | str | None:
    """Return an answer that is right, or None for an empty line."""
    while True:
        print("> ", end="", file=out, flush=True)
        line = lines.readline()
        if not line:
            raise InputError("the entries ended before the last question. Nothing was predicted. Start again.")
        if not (text := line.strip()):
            return None
        try:
            return _read(name, text, entry)
        except InputError as error:
            message = str(error).removeprefix(f"{name}: ")
            print(f"  {message[:1].upper()}{message[1:]}", file=out)


def _read(name: str, text: str, entry: CardVariable) -> float | str:
    variable = entry.variable
    if variable.kind == "categorical":
        return read_value(name, text.lower().replace("-", "_"), variable.unit, entry)
    if variable.kind == "binary":
        return read_value(name, _YES_NO.get(text.lower(), text), variable.unit, entry)
    number, _, unit = text.partition(" ")
    return read_value(name, number, unit.strip() or variable.unit, entry)
