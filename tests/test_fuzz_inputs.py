"""A short run of tests/fuzz_inputs.py, and proof that it would find each kind of broken promise."""

import time

import pytest
from tests import fuzz_inputs
from tests.fuzz_inputs import KINDS, SECRET, ends_well, fuzz, make_trial

from il7ml.errors import InputError


def test_whatever_comes_is_used_or_refused_with_a_clear_error(tmp_path):
    ends, faults = fuzz(150, tmp_path, start=1)
    assert faults == {}
    assert all(ends[kind, "refused"] > 0 for kind in KINDS)
    assert sum(ends[kind, "usable"] for kind in KINDS) > 5


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (ZeroDivisionError("no"), "ZeroDivisionError: no"),
        (InputError(f"age: {SECRET} is no number."), "a value was repeated"),
        (None, "took too long"),
    ],
)
def test_each_kind_of_fault_is_told(tmp_path, monkeypatch, answer, fault):
    def describe(_):
        if answer is None:
            time.sleep(30)
        raise answer

    make_trial(tmp_path)
    monkeypatch.setattr(fuzz_inputs, "describe", describe)
    monkeypatch.setattr(fuzz_inputs, "_SECONDS", 3)
    assert ends_well(tmp_path).fault.startswith(fault)


def test_an_unchanged_trial_is_usable(tmp_path):
    make_trial(tmp_path)
    assert ends_well(tmp_path) == ("usable", "")
