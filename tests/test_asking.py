import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
from tests.commands import AT_A_TERMINAL
from tests.small_bundles import PATIENT, make, with_card

from il7ml import texts
from il7ml.asking import ask_patient
from il7ml.bundle import save_bundle
from il7ml.cli import main
from il7ml.errors import InputError
from il7ml.predictor import Predictor, load_predictor

PREDICTOR = Predictor(make().bundle)
ANSWERS = {
    "age": "62",
    "absolute_lymphocyte_count": "0.5",
    "neutrophil_count": "9",
    "c_reactive_protein": "120",
    "respiratory_support": "invasive",
    "diabetes": "yes",
}


def ask(predictor=PREDICTOR, **changes):
    """Return the record and what was said; a list of answers is given one after the other."""
    given = {**ANSWERS, **changes}
    lines = [
        line for name in predictor.inputs for line in ([given[name]] if isinstance(given[name], str) else given[name])
    ]
    said = io.StringIO()
    return ask_patient(predictor, io.StringIO("".join(f"{line}\n" for line in lines)), said), said.getvalue()


def test_the_record_is_what_was_answered():
    patient, said = ask()
    assert patient == PATIENT
    assert said.startswith(texts.INTENDED_USE)
    assert PREDICTOR.predict(patient) == PREDICTOR.predict(PATIENT)


def test_each_question_says_unit_range_levels_and_whether_it_must_be_answered():
    _, said = ask()
    assert "\nAge (required) [years]\n  Trial's eligibility: 25 to 80 years.\n" in said
    assert "\nAbsolute lymphocyte count (required) [10^9/L; or a number followed by cells/uL, /mm3, " in said
    assert "Trial's eligibility: up to 1 10^9/L, or up to 1000 cells/uL.\n" in said
    assert "\nRespiratory support [oxygen / non-invasive / invasive]\n> " in said
    assert "\nDiabetes [yes / no]\n> " in said


@pytest.mark.parametrize(
    ("name", "typed", "read"),
    [
        ("absolute_lymphocyte_count", "500 cells/uL", 0.5),
        ("absolute_lymphocyte_count", "500   /mm3 ", 0.5),
        ("c_reactive_protein", "12 mg/dL", 120.0),
        ("respiratory_support", "Non-invasive", "non_invasive"),
        ("respiratory_support", "non_invasive", "non_invasive"),
        ("diabetes", "N", 0.0),
        ("diabetes", "1", 1.0),
    ],
)
def test_units_levels_and_yes_or_no_are_read(name, typed, read):
    patient, _ = ask(**{name: typed})
    assert patient[name] == pytest.approx(read) if isinstance(read, float) else patient[name] == read


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("age", "7315", "Impossible value. Expected 0 to 120 (years)."),
        ("age", "", "A value is needed."),
        ("age", "old", "Expected a number with a decimal point, such as 1.5."),
        ("absolute_lymphocyte_count", "731", "The value looks like cells/uL, but 10^9/L was chosen."),
        ("absolute_lymphocyte_count", "0.5 furlong", "Unit 'furlong' is not known. Use one of: 10^9/L, cells/uL"),
        ("respiratory_support", "iron lung", "Expected one of oxygen, non_invasive, invasive"),
        ("diabetes", "perhaps", "Expected a number"),
    ],
)
def test_a_wrong_answer_is_said_and_asked_again(name, wrong, message):
    patient, said = ask(**{name: [wrong, wrong, ANSWERS[name]]})
    assert patient == PATIENT
    assert said.count(f"  {message}") == 2


def test_an_empty_line_leaves_an_optional_value_out():
    patient, _ = ask(c_reactive_protein="", diabetes=" ")
    assert patient == {name: value for name, value in PATIENT.items() if name not in ("c_reactive_protein", "diabetes")}


def test_a_simulated_model_says_so_first():
    _, said = ask(Predictor(with_card(make().bundle, simulated=True)))
    assert said.startswith(texts.SIMULATED)


def test_answers_that_end_early_are_said():
    with pytest.raises(InputError, match="ended before the last question"):
        ask_patient(PREDICTOR, io.StringIO("62\n"), io.StringIO())


def test_the_prediction_alone_goes_to_standard_output(tmp_path, monkeypatch, capsys):
    save_bundle(make().bundle, tmp_path / "bundle")
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{ANSWERS[name]}\n" for name in PREDICTOR.inputs)))
    assert main(["predict", "--interactive", "--model", str(tmp_path / "bundle"), "--format", "json"]) == 0
    expected = load_predictor(tmp_path / "bundle").predict(PATIENT).to_dict()
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(expected))


# On a terminal.


@pytest.fixture
def terminal(tmp_path):
    """Start `il7ml predict` on a pseudo-terminal without any input; yields the process and the terminal's other end."""
    save_bundle(make().bundle, tmp_path / "bundle")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", AT_A_TERMINAL, "predict", "--model", str(tmp_path / "bundle")]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            process.kill()
            os.close(ours)


def read_until(terminal, text):
    end, seen = time.monotonic() + 30, ""
    while text not in seen:
        assert select.select([terminal], [], [], max(end - time.monotonic(), 0))[0], seen
        try:
            seen += os.read(terminal, 4096).decode().replace("\r\n", "\n")
        except OSError:  # the process has gone, and with it the terminal
            assert text in seen, seen
    return seen


def test_on_a_terminal_a_patient_is_asked_for(terminal):
    process, ours = terminal
    for question in (
        "Age",
        "Absolute lymphocyte count",
        "Neutrophil count",
        "C-reactive protein",
        "Respiratory",
        "Diabetes",
    ):
        read_until(ours, f"\n{question}")
        os.write(ours, {"Age": b"62\n", "Absolute lymphocyte count": b"500 cells/uL\n"}.get(question, b"\n"))
    assert "number needed to treat" in read_until(ours, "is investigational and not licensed.\n")
    assert process.wait(20) == 0


def test_ctrl_c_ends_it_without_a_traceback(terminal):
    process, ours = terminal
    read_until(ours, "\nAge")
    process.send_signal(signal.SIGINT)
    assert "Traceback" not in read_until(ours, "il7ml: interrupted.")
    assert process.wait(20) == 130


def test_the_end_of_input_ends_it_without_a_traceback(terminal):
    process, ours = terminal
    read_until(ours, "\nAge")
    os.write(ours, b"\x04")
    assert "Traceback" not in read_until(ours, "il7ml: the entries ended before the last question.")
    assert process.wait(20) == 2
