import json

import numpy as np
import pandas as pd
import pytest

from il7ml.data import partitions
from il7ml.data.partitions import RECORD, map_parquet
from il7ml.errors import InputError


def doubled(frame, file, start):
    return pd.DataFrame({"twice": 2 * frame["x"], "row": np.arange(start, start + len(frame)), "file": file})


def run(source, target, answer=doubled, key="one"):
    return map_parquet(source, target, answer, choose=lambda names: [name for name in names if name == "x"], key=key)


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(partitions, "_ROWS", 4)
    for place, rows in (("a", 10), ("site=2/b", 3), ("c", 0)):
        path = tmp_path / "in" / f"{place}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"x": np.arange(rows, dtype=float), "other": "text"}).to_parquet(path)
    return tmp_path / "in"


def test_each_file_gives_one_of_the_same_name_whose_rows_stand_in_order(source, tmp_path):
    done = run(source, tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in done] == [
        "a.parquet",
        "c.parquet",
        "site=2/b.parquet",
    ]
    found = pd.read_parquet(done[0])
    assert found["twice"].tolist() == [2.0 * x for x in range(10)]
    assert found["row"].tolist() == list(range(10))
    assert list(pd.read_parquet(done[1]).columns) == ["twice", "row", "file"]
    assert len(pd.read_parquet(done[1])) == 0


def test_a_stopped_call_goes_on_where_it_was(source, tmp_path):
    def stopped(frame, file, start):
        if file == "b.parquet":
            raise KeyboardInterrupt
        return doubled(frame, file, start)

    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "out", stopped)
    left = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert left == [RECORD, "a.parquet", "c.parquet"]
    asked = []

    def noted(frame, file, start):
        asked.append(file)
        return doubled(frame, file, start)

    done = run(source, tmp_path / "out", noted)
    assert asked == ["b.parquet"]
    whole = run(source, tmp_path / "whole")
    for one, other in zip(done, whole, strict=True):
        pd.testing.assert_frame_equal(pd.read_parquet(one), pd.read_parquet(other))


def test_answers_of_another_model_or_from_other_tables_are_not_mixed(source, tmp_path):
    run(source, tmp_path / "out")
    with pytest.raises(InputError, match="another model or from other tables"):
        run(source, tmp_path / "out", key="two")
    pd.DataFrame({"x": np.arange(99.0)}).to_parquet(source / "d.parquet")
    with pytest.raises(InputError, match="another model or from other tables"):
        run(source, tmp_path / "out")


def test_a_folder_that_holds_something_else_is_left_alone(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not empty"):
        run(source, tmp_path / "out")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cannot be used: (File exists|Not a directory)"):
        run(source, tmp_path / "file")
    for inside in (source, source / "answers"):
        with pytest.raises(InputError, match="outside"):
            run(source, inside)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years of work"


def test_an_unreadable_record_is_said(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / RECORD).write_text("{")
    with pytest.raises(InputError, match="its record is not readable"):
        run(source, tmp_path / "out")
    (tmp_path / "out" / RECORD).write_text(json.dumps([]))
    with pytest.raises(InputError, match="another model"):
        run(source, tmp_path / "out")


def test_a_damaged_file_is_named_and_leaves_nothing_half_written(source, tmp_path):
    content = (source / "a.parquet").read_bytes()
    (source / "b.parquet").write_bytes(content[:100])
    with pytest.raises(InputError, match=r"b\.parquet: not readable as Parquet"):
        run(source, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [RECORD, "a.parquet"]


def test_a_folder_without_tables_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    pd.DataFrame({"x": [1.0]}).to_parquet(tmp_path / "in" / ".hidden.parquet")
    with pytest.raises(InputError, match="no Parquet files"):
        run(tmp_path / "in", tmp_path / "out")
