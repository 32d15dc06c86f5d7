from __future__ import annotations

import datetime
import os
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from il7ml.data.reading import UnreadableTableError
from il7ml.data.sources import TableSpec
from il7ml.data.tables import (
    clean_table,
    codes,
    column_hint,
    numbers,
    read_study_table,
    read_table,
    texts,
    write_files,
    write_table,
)
from il7ml.errors import InputError

SPEC = TableSpec(path="t.csv", key="id")


def csv_file(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path):
    with pytest.raises(UnreadableTableError) as caught:
        read_table(path)
    return str(caught.value)


PLAIN = pd.DataFrame({"id": ["a", "b"], "age": [41, 57]})


@pytest.mark.parametrize(
    "content",
    [
        b"id,age\na,41\nb,57\n",
        b"\xef\xbb\xbfid,age\na,41\nb,57\n",  # byte order mark, as Excel writes it
        b'\xef\xbb\xbf"id","age"\na,41\nb,57\n',
        b"id,age\r\na,41\r\nb,57\r\n",
        b"id,age\ra,41\rb,57\r",
        b"id,age\na,41\nb,57",
        b"\n\nid,age\na,41\n\nb,57\n\n",
        b' id , age\na,41\n"b",57\n',
    ],
    ids=["plain", "bom", "quoted bom", "crlf", "cr", "no last newline", "blank lines", "spaces in header"],
)
def test_ordinary_csv_dialects_read_the_same(tmp_path, content):
    pd.testing.assert_frame_equal(read_table(csv_file(tmp_path, content)), PLAIN, check_dtype=False)


def test_endings_in_capitals_are_known(tmp_path):
    pd.testing.assert_frame_equal(
        read_table(csv_file(tmp_path, "id,age\na,41\nb,57\n", "T.CSV")), PLAIN, check_dtype=False
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.csv: the file is empty. Expected a header and rows."),
        (b"\n\n", "t.csv: the file is empty. Expected a header and rows."),
        (b",,\n", "t.csv: the file is empty. Expected a header and rows."),
        (
            b"id;age\na;41,5\n",
            "t.csv: the fields are separated by semicolons, expected commas. "
            "Save it with commas, and with decimal points in numbers.",
        ),
        (b"id\tage\na\t41\n", "the fields are separated by tabs, expected commas"),
        (b"id|age\na|41\n", "the fields are separated by bars, expected commas"),
        (b"id,age,id\na,41,b\n", "t.csv: columns 1 and 3 have the same name. Rename one."),
        (b"id, age ,age\na,41,1\n", "t.csv: columns 2 and 3 have the same name. Rename one."),
        # pandas would take the first column for an index and move the others.
        (b"id,age\na,41,1\nb,57,2\n", "fewer or more fields than the header's 2 (2 rows, the first being row 2)"),
        (b"id,age\na,41,\nb,57,\n", "fewer or more fields than the header's 2 (2 rows, the first being row 2)"),
        # ... and would fill a row up that was cut off.
        (
            b"id,age\na,41\nb\n",
            "t.csv: rows with fewer or more fields than the header's 2 (1 row, the first being row 3)",
        ),
        (b"id,age\na,41\nb,57,5\n", "fewer or more fields than the header's 2 (1 row, the first being row 3)"),
        (b'id,age\n"a,41\nb,57\n', "fewer or more fields than the header's 2"),
        ("id,age\nMüller,41\n".encode("latin-1"), "t.csv: it is not UTF-8 text. Save it as UTF-8, or set the table"),
        ("id,age\na,41\n".encode("utf-16"), "t.csv: it is not UTF-8 text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "t.csv: it is not UTF-8 text"),
        (b"id,age\n" + b"x" * 200_000 + b",1\n", "t.csv: not readable as csv (Error). Mend or export the file again."),
    ],
)
def test_csv_files_that_would_be_read_wrongly_are_refused(tmp_path, content, message):
    assert message in refusal(csv_file(tmp_path, content))


def test_messages_show_no_cell(tmp_path):
    assert "Zebulon" not in refusal(csv_file(tmp_path, b"id,age\nZebulon,41,9\n"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.parquet", b"", "t.parquet: not readable as parquet"),
        ("t.parquet", b"id,age\na,41\n", "t.parquet: not readable as parquet"),
        ("t.xlsx", b"PK\x03\x04", "t.xlsx: unknown table format '.xlsx'. Use .csv, .parquet, .xpt or .sas7bdat."),
        ("t", b"id\n", "t: unknown table format ''. Use .csv, .parquet, .xpt or .sas7bdat."),
    ],
)
def test_other_formats_are_refused(tmp_path, name, content, message):
    assert message in refusal(csv_file(tmp_path, content, name))


def test_places_that_hold_no_table_are_refused(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    assert f"none.csv: no such file ({tmp_path / 'none.csv'}). Check the path." in refusal(tmp_path / "none.csv")
    assert "none.parquet: no such file" in refusal(tmp_path / "none.parquet")
    assert "the folder holds no Parquet files" in refusal(tmp_path / "folder.csv")
    assert "not readable as csv (OSError)" in refusal(tmp_path / ("x" * 300 + ".csv"))
    assert "not readable as parquet (OSError)" in refusal(tmp_path / ("x" * 300 + ".parquet"))


def test_a_folder_of_partitions_is_one_table(tmp_path):
    whole = pd.DataFrame({"id": ["a", "b", "c"], "age": [41, 57, 60]})
    (tmp_path / "patients").mkdir()
    for number, part in enumerate((whole[:2], whole[2:])):
        part.to_parquet(tmp_path / "patients" / f"part-{number:05d}.parquet", index=False)
    pd.testing.assert_frame_equal(read_table(tmp_path / "patients"), whole)


def test_columns_read_as_text_keep_what_is_written(tmp_path):
    path = csv_file(tmp_path, b"id,ward,age\n007,08,41\n12E3,08,57\n")
    frame = read_table(path, text=("id", "not there"))
    assert frame["id"].tolist() == ["007", "12E3"]
    assert frame["ward"].tolist() == [8, 8]


def test_none_is_a_word_and_na_is_missing(tmp_path):
    frame = read_table(csv_file(tmp_path, b"id,support,age\na,None,NA\nb,NA,41\nc,,NaN\n"))
    assert frame["support"].fillna("missing").tolist() == ["None", "missing", "missing"]
    assert frame["age"].isna().tolist() == [True, False, True]


def test_columns_without_a_name_get_one(tmp_path):
    assert list(read_table(csv_file(tmp_path, b",age,\n1,41,x\n"))) == ["unnamed 1", "age", "unnamed 3"]


def test_every_fault_of_a_study_table_becomes_a_problem(tmp_path):
    problems = []
    for name in ("none.csv", "a. b: c.csv"):
        assert read_study_table(tmp_path, TableSpec(path=name, key="id"), problems) is None
    assert [str(problem) for problem in problems] == [
        f"{name}: no such file ({tmp_path / name}). Check the path." for name in ("none.csv", "a. b: c.csv")
    ]


def test_study_tables_may_lie_elsewhere(tmp_path):
    (tmp_path / "study").mkdir()
    path = csv_file(tmp_path, "id,age\na,41\nb,57\n")
    for place in ("../t.csv", str(path)):
        frame = read_study_table(tmp_path / "study", TableSpec(path=place, key="id"), [])
        assert frame["age"].tolist() == [41, 57]


def test_the_key_of_a_study_table_is_text(tmp_path):
    csv_file(tmp_path, b"id,site,age\n001,01,41\n002,02,57\n")
    frame = read_study_table(tmp_path, SPEC, [], text=("site",))
    assert texts(frame["id"]).tolist() == ["001", "002"]
    assert texts(frame["site"]).tolist() == ["01", "02"]


def test_missing_codes_match_numbers_and_words_whatever_the_column(tmp_path):
    csv_file(tmp_path, b"id,age,bmi,sex\na,-99,-99.0,f\nb,57,unknown,unknown\nc,61,25.5, -99 \n")
    spec = TableSpec(path="t.csv", key="id", missing=(-99, "unknown"))
    frame = read_study_table(tmp_path, spec, [])
    assert frame["age"].isna().tolist() == [True, False, False]
    assert frame["bmi"].isna().tolist() == [True, True, False]
    assert frame["sex"].isna().tolist() == [False, True, True]
    values, wrong = numbers(frame["bmi"])
    np.testing.assert_array_equal(values, [np.nan, np.nan, 25.5])
    assert not wrong.any()


def test_blank_cells_are_missing_and_empty_rows_are_none():
    frame = pd.DataFrame({"id": ["a", " ", ""], "age": [41.0, 5.0, np.nan]})
    cleaned = clean_table(frame, SPEC, [])
    assert cleaned["id"].isna().tolist() == [False, True]
    assert cleaned["age"].tolist() == [41.0, 5.0]


def test_a_frame_that_is_given_stays_as_it_is():
    frame = pd.DataFrame({" id ": ["a", " "], 5: [1, -99]}, index=[7, 9])
    before = frame.copy()
    cleaned = clean_table(frame, TableSpec(path="t.csv", key="id", missing=(-99,)), [])
    assert list(cleaned.columns) == ["id", "5"]
    assert len(cleaned) == 1  # the second row holds a blank and a missing code
    pd.testing.assert_frame_equal(frame, before)


def test_columns_that_stand_twice_in_a_frame_are_problems():
    problems = []
    frame = pd.DataFrame([[1, 2, 3, 4]], columns=["id", "age", "age ", "id"])
    assert clean_table(frame, SPEC, problems) is None
    assert [(problem.column, problem.rule) for problem in problems] == [
        ("age", "column stands twice"),
        ("id", "column stands twice"),
    ]


def test_an_identifier_in_the_index_is_a_column(tmp_path):
    frame = PLAIN.set_index("id")
    frame.to_parquet(tmp_path / "t.parquet")
    read = read_study_table(tmp_path, TableSpec(path="t.parquet", key="id"), [])
    pd.testing.assert_frame_equal(read, PLAIN, check_dtype=False)
    pd.testing.assert_frame_equal(clean_table(frame, SPEC, []), PLAIN, check_dtype=False)
    kept = PLAIN.set_index("id", drop=False)
    pd.testing.assert_frame_equal(clean_table(kept, SPEC, []), PLAIN, check_dtype=False)


def test_texts_lose_only_what_a_numeric_column_added():
    series = pd.Series(["007", 7.0, "7.0", "v1.0", " a ", None, 12345678901234567890], dtype=object)
    assert texts(series).tolist() == ["007", "7", "7", "v1.0", "a", None, "12345678901234567890"]


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1, 0, None]),
        pd.Series([1, 0, None], dtype="Int64"),
        pd.Series([1, 0, None], dtype="float32"),
        pd.Series([1, 0, None], dtype="int64[pyarrow]"),
        pd.Series([True, False, None], dtype="boolean"),
        pd.Series([True, False, None], dtype=object),
        pd.Series(["1", " 0", None]),
        pd.Series(["1.0", "00", None], dtype="string[pyarrow]"),
        pd.Series(["Yes", "no", None], dtype="category"),
        pd.Series([Decimal("1.00"), Decimal(0), None], dtype=object),
    ],
    ids=lambda series: str(series.dtype),
)
def test_codes_are_the_same_from_every_kind_of_column(series):
    assert codes(series).tolist() == ["1", "0", None]


@pytest.mark.parametrize(
    ("cells", "values", "wrong"),
    [
        ([1, 2.5, None], [1, 2.5, np.nan], 0),
        (["1", " 2.5 ", None], [1, 2.5, np.nan], 0),
        (["1e3", "-4", "+5"], [1000, -4, 5], 0),
        ([Decimal("1.5"), 2, None], [1.5, 2, np.nan], 0),
        ([np.float32(1.5), np.int8(2), "3"], [1.5, 2, 3], 0),
        ([10**30, 1, 2], [1e30, 1, 2], 0),
        (["1,5", "1 000", "<5"], [np.nan] * 3, 3),
        (["0x1A", "1_000", "٣"], [np.nan] * 3, 3),
        ([np.inf, -np.inf, "inf"], [np.nan] * 3, 3),
        (["9" * 400, 1, 2], [np.nan, 1, 2], 1),
        ([True, False, 1], [np.nan, np.nan, 1], 2),
        ([True, False, True], [np.nan] * 3, 3),
        ([datetime.date(2020, 1, 1), "2020-01-01", None], [np.nan] * 3, 2),
        ([pd.Timestamp("2020-01-01")] * 2, [np.nan] * 2, 2),
        ([pd.Timedelta(1)] * 2, [np.nan] * 2, 2),
        ([1j, 2j], [np.nan] * 2, 2),
        ([[1], {"a": 1}, 3], [np.nan, np.nan, 3], 2),
    ],
)
def test_numbers_are_plain_finite_numbers_and_nothing_else(cells, values, wrong):
    read, mask = numbers(pd.Series(cells))
    np.testing.assert_array_equal(read, values)
    assert mask.sum() == wrong
    np.testing.assert_array_equal(mask, np.isnan(read) & pd.Series(cells).notna().to_numpy())


@pytest.mark.parametrize("dtype", ["Int64", "Float32", "int64[pyarrow]", "category", "float16"])
def test_numbers_come_from_every_numeric_dtype(dtype):
    values, wrong = numbers(pd.Series([1, 2, None], dtype=dtype))
    np.testing.assert_array_equal(values, [1, 2, np.nan])
    assert not wrong.any()


def test_hint_names_a_near_column_and_no_other():
    assert column_hint("sex", ["SEX", "age"]) == "Did you mean 'SEX'? Mend the study file or the table."
    assert column_hint("lymphocytes", ["Lymphocyte", 5]).startswith("Did you mean 'Lymphocyte'?")
    # A file without a header has a patient's values in its place.
    assert column_hint("sex", ["Q7013", "41", "female"]) == "Mend the study file or the table."


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_written_tables_read_back_and_leave_nothing_else(tmp_path, name):
    write_table(PLAIN, tmp_path / name)
    pd.testing.assert_frame_equal(read_table(tmp_path / name), PLAIN, check_dtype=False)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("none/t.csv", "no such folder"),
        ("none/t.parquet", "[Nn]o such f"),
        ("folder.csv", "Is a directory"),
        ("x" * 300 + ".csv", "File name too long"),
    ],
)
def test_places_that_cannot_be_written_are_refused_and_left_as_they_were(tmp_path, place, reason):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=f"cannot be written: {reason}.* Choose another place"):
        write_table(PLAIN, tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]


@pytest.mark.parametrize(("name", "writer"), [("t.csv", "to_csv"), ("t.parquet", "to_parquet")])
def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch, name, writer):
    def interrupted(frame, path, **_):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, writer, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_table(PLAIN, tmp_path / name)
    with pytest.raises(KeyboardInterrupt):
        write_files({tmp_path / "page.html": "whole", tmp_path / name: PLAIN})
    assert not list(tmp_path.iterdir())


def test_tables_of_unknown_format_are_not_written(tmp_path):
    with pytest.raises(InputError, match=r"t.xlsx: unknown table format '.xlsx'. Use .csv or .parquet."):
        write_table(PLAIN, tmp_path / "t.xlsx")
    assert not list(tmp_path.iterdir())


def test_a_table_of_another_encoding_needs_to_say_so(tmp_path):
    path = csv_file(tmp_path, "id,age\nZoë,41\n".encode("latin-1"))
    problems = []
    assert read_study_table(tmp_path, SPEC, problems) is None
    assert str(problems[0]).startswith("t.csv: it is not UTF-8 text. Save it as UTF-8, or set ")
    frame = read_study_table(tmp_path, TableSpec(path="t.csv", key="id", encoding="latin-1"), [])
    assert frame["id"].tolist() == ["Zoë"]
    path.write_bytes("\ufeffid,age\nZoë,41\n".encode())
    assert read_study_table(tmp_path, TableSpec(path="t.csv", key="id", encoding="UTF-8"), [])["id"].tolist() == ["Zoë"]


def test_only_the_columns_that_are_named_are_read(tmp_path):
    csv_file(tmp_path, b"id,ward,age\n007,08,41\n")
    frame = read_study_table(tmp_path, SPEC, [], text=("ward",), columns={"age", "id"})
    assert frame.to_dict("list") == {"id": ["007"], "age": [41]}
    # One that is not there is looked for among all.
    assert list(read_study_table(tmp_path, SPEC, [], columns={"agge", "id"})) == ["id", "ward", "age"]


def test_files_are_written_all_or_none(tmp_path):
    files = {tmp_path / "new" / "t.csv": PLAIN, tmp_path / "page.html": "Größe", tmp_path / "picture.png": b"\x89PNG"}
    write_files(files)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"t.csv", "page.html", "picture.png"}
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "Größe"
    (tmp_path / "page.html").write_text("as it was", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot be written: .*Choose another place"):
        write_files({tmp_path / "page.html": "new", tmp_path / "picture.png" / "below": b""})
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "as it was"
    assert {path.name for path in tmp_path.iterdir()} == {"new", "page.html", "picture.png"}


def test_a_pipe_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(pipe.read_text)
        write_files({pipe: "page"})
        assert read.result(timeout=30) == "page"
    assert pipe.is_fifo()
