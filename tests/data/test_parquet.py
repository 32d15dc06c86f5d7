from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.made_formats import assert_same_cohort, assert_same_course, make

from il7ml.data.generator import simulate_tables
from il7ml.data.loading import load_cohort
from il7ml.data.parquet import read_parquet_file, read_parquet_folder
from il7ml.data.reading import UnreadableTableError

WHOLE = pd.DataFrame(
    {"id": list("abcd"), "age": [41.5, 57.0, 60.0, 33.0], "n": [1, 2, 3, 4], "site": ["x", "x", "01", "01"]}
)


def parts(folder, *frames):
    folder.mkdir(exist_ok=True)
    for number, frame in enumerate(frames):
        frame.to_parquet(folder / f"part-{number}.parquet", index=False)
    return folder


def by_site(folder):
    for site, rows in WHOLE.groupby("site", sort=False):
        (folder / f"site={site}").mkdir(parents=True)
        rows.drop(columns="site").to_parquet(folder / f"site={site}" / "part.parquet", index=False)
    return folder


def refusal(folder):
    with pytest.raises(UnreadableTableError) as caught:
        read_parquet_folder(folder, None)
    return str(caught.value)


def same(frame, columns=WHOLE.columns):
    expected = WHOLE[list(columns)]
    pd.testing.assert_frame_equal(frame.sort_values("id", ignore_index=True), expected, check_dtype=False)


def test_partitions_in_folders_are_a_column_of_text(tmp_path):
    frame = read_parquet_folder(by_site(tmp_path / "t"), None)
    same(frame)
    assert sorted(set(frame["site"])) == ["01", "x"]


def test_only_the_columns_that_are_named_are_read(tmp_path):
    same(read_parquet_folder(by_site(tmp_path / "t"), {"id", "site"}), ["id", "site"])
    same(read_parquet_folder(by_site(tmp_path / "t2"), {"id", "n"}), ["id", "n"])
    same(read_parquet_folder(by_site(tmp_path / "t3"), {"id", "nn"}))
    WHOLE.to_parquet(tmp_path / "t.parquet")
    same(read_parquet_file(tmp_path / "t.parquet", {"n", "id"}), ["id", "n"])


def test_an_identifier_in_the_index_is_read_with_the_columns(tmp_path):
    WHOLE.set_index("id").to_parquet(tmp_path / "t.parquet")
    assert read_parquet_file(tmp_path / "t.parquet", {"id", "n"}).reset_index()["id"].tolist() == list("abcd")
    same(read_parquet_folder(parts(tmp_path / "t", WHOLE.set_index("id").reset_index()), {"id", "n"}), ["id", "n"])


def test_parts_that_differ_in_width_only_are_one_table(tmp_path):
    empty = WHOLE[2:].assign(n=None)
    frame = read_parquet_folder(parts(tmp_path / "t", WHOLE[:2].assign(age=[41, 57]), empty), None)
    assert frame["age"].tolist() == [41, 57, 60, 33]
    assert frame["n"].isna().tolist() == [False, False, True, True]


def test_a_writers_temporary_files_are_not_read(tmp_path):
    folder = parts(tmp_path / "t", WHOLE)
    (folder / ".part-1.parquet.part").write_bytes(b"half")
    (folder / "_temporary").mkdir()
    (folder / "_temporary" / "part-2.parquet").write_bytes(b"half")
    (folder / "_SUCCESS").touch()
    same(read_parquet_folder(folder, None))


@pytest.mark.parametrize(
    ("second", "rule"),
    [
        (WHOLE.drop(columns="age"), "part-0.parquet and part-1.parquet do not both have 'age'"),
        (WHOLE.rename(columns={"age": "Age"}), "part-0.parquet and part-1.parquet do not both have 'Age', 'age'"),
        (WHOLE.assign(age=["41", "57", "60", "33"]), "column 'age' is double and "),
        (WHOLE.assign(n=pd.Timestamp("2020-01-01")), "column 'n' is int64 and timestamp"),
    ],
    ids=["a column less", "another name", "text", "dates"],
)
def test_files_of_different_tables_are_refused(tmp_path, second, rule):
    message = refusal(parts(tmp_path / "t", WHOLE, second))
    assert f"t: the files are not of one table: {rule}" in message
    assert message.endswith("Write them anew, or apart.")


def test_columns_that_stand_twice_are_refused(tmp_path):
    table = pa.table([[1], [2]], names=["id", "id"])
    (tmp_path / "t").mkdir()
    pq.write_table(table, tmp_path / "t" / "part-0.parquet")
    assert refusal(tmp_path / "t") == "t: two columns have the same name. Rename one."


def test_folders_that_do_not_fit_are_refused(tmp_path):
    WHOLE.to_parquet(by_site(tmp_path / "t") / "part.parquet", index=False)
    assert "not both have 'site'" in refusal(tmp_path / "t")
    WHOLE.drop(columns="site").to_parquet(tmp_path / "t" / "part.parquet", index=False)
    assert "not all files lie in a folder site=..." in refusal(tmp_path / "t")
    (tmp_path / "u" / "site=x").mkdir(parents=True)
    WHOLE.to_parquet(tmp_path / "u" / "site=x" / "part.parquet", index=False)
    assert "column 'site' stands in the files and in the folders' names" in refusal(tmp_path / "u")


def test_a_file_that_is_cut_off_is_a_problem_of_the_folder(tmp_path, small_study):
    whole = small_study.patients
    folder = parts(small_study.folder / "patients", whole[:30], whole[30:])
    small_study.raw["tables"]["patients"]["path"] = "patients"
    path = small_study.folder / "study.yaml"
    path.write_text(yaml.safe_dump(small_study.raw))
    assert len(load_cohort(path)) == len(whole)
    content = (folder / "part-1.parquet").read_bytes()
    (folder / "part-1.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        Exception, match=r"patients: not readable as Parquet \(ArrowInvalid\). Mend or export"
    ) as caught:
        load_cohort(path)
    assert len(caught.value.problems) == 1


def test_partitioned_folders_give_the_cohort_of_the_plain_tables(tmp_path):
    tables = simulate_tables(make.PATIENTS, make.SEED)
    make.write_parquet(tmp_path, tables)
    cohort = load_cohort(tmp_path)
    # Patients come in the order of files, here by cohort.
    ordered = tables.patients.sort_values("cohort", kind="stable")
    frames = {"patients": ordered, "labs": tables.labs, "events": tables.events}
    plain = load_cohort(cohort.study, frames)
    assert_same_cohort(cohort, plain)
    assert_same_course(cohort.course, plain.course)
