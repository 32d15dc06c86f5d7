from __future__ import annotations

import numpy as np
import pytest

from il7ml.errors import InputError
from il7ml.parallel import run_resumable
from il7ml.state import State


class Killed(BaseException):
    """Stands for the process's end."""


CALLS: list[int] = []


def square(number, stop_at=None):
    if number == stop_at:
        raise Killed
    CALLS.append(number)
    return {"square": np.array([number**2.0]), "nothing": np.empty(0)}


def squares(results):
    return [result["square"].item() for result in results]


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    state = State(tmp_path / "state")
    with pytest.raises(Killed):
        run_resumable(square, [(k, 3) for k in range(6)], state)
    assert CALLS == [0, 1, 2]
    seen = []
    results = run_resumable(square, [(k,) for k in range(6)], state, progress=lambda done, total: seen.append(done))
    assert CALLS == [0, 1, 2, 3, 4, 5]
    assert squares(results) == [0, 1, 4, 9, 16, 25]
    assert results[0]["nothing"].shape == (0,)
    assert seen == [3, 4, 5, 6]


def test_the_numbers_are_those_of_a_run_that_was_not_stopped(tmp_path):
    whole = run_resumable(square, [(k,) for k in range(5)], None)
    state = State(tmp_path)
    run_resumable(square, [(k,) for k in range(5)], state)
    (tmp_path / "000002.npz").unlink()
    for workers in (1, 2):
        assert squares(run_resumable(square, [(k,) for k in range(5)], state, workers=workers)) == squares(whole)


@pytest.mark.parametrize("content", [b"", b"half a file", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_computed_again(tmp_path, content):
    state = State(tmp_path)
    run_resumable(square, [(k,) for k in range(3)], state)
    (tmp_path / "000001.npz").write_bytes(content)
    CALLS.clear()
    assert squares(run_resumable(square, [(k,) for k in range(3)], state)) == [0, 1, 4]
    assert CALLS == [1]


def test_clearing_leaves_other_runs_alone(tmp_path):
    one, other = (State(tmp_path / "state" / name) for name in ("one", "other"))
    for state in (one, other):
        state.part("folds").save("0", {"x": np.zeros(1)})
    one.clear()
    assert not one.folder.exists()
    assert other.part("folds").load("0") is not None
    other.clear()
    assert not (tmp_path / "state").exists()


def test_nothing_half_written_stays_under_its_name(tmp_path):
    state = State(tmp_path)
    state.save("0", {"x": np.arange(3.0)})
    assert [path.name for path in tmp_path.iterdir()] == ["0.npz"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        State(tmp_path / "file" / "state").save("0", {"x": np.zeros(1)})


def test_files_with_objects_are_not_read(tmp_path):
    np.savez(tmp_path / "0.npz", x=np.array([{}], dtype=object))
    with np.load(tmp_path / "0.npz", allow_pickle=True) as stored:
        assert stored["x"].shape == (1,)
    assert State(tmp_path).load("0") is None
