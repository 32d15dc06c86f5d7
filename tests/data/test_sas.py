from __future__ import annotations

import struct
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.made_formats import assert_same_course, make
from tests.sas_data_set import write_sas_data_set

from il7ml.data.generator import simulate_tables
from il7ml.data.loading import load_cohort
from il7ml.data.reading import UnreadableTableError
from il7ml.data.simulator import simulate_trial
from il7ml.data.sources import TableSpec
from il7ml.data.tables import read_study_table, read_table
from il7ml.errors import DataError

pyreadstat = pytest.importorskip("pyreadstat", reason="the package pyreadstat (extra 'sas') is not installed")

N, SEED = 60, 3
OBSERVATIONS = b"HEADER RECORD*******OBS"


@pytest.fixture(scope="module")
def tables():
    return simulate_tables(N, SEED)


@pytest.fixture(scope="module")
def adam(tables):
    return make.adam_tables(tables)


@pytest.fixture
def trial(tmp_path, tables):
    make.write_adam(tmp_path, tables)
    return tmp_path


def write(path, frame, version=5, **more):
    pyreadstat.write_xport(frame, path, file_format_version=version, table_name="T", **more)
    return path


def as_dates(days):
    return pd.Timestamp("1960-01-01") + pd.to_timedelta(days, unit="D")


def problems(folder):
    with pytest.raises(DataError) as caught:
        load_cohort(folder)
    assert "IL7-P0" not in str(caught.value)
    return [str(problem) for problem in caught.value.problems]


def test_adam_tables_give_the_cohort_of_the_plain_tables(trial):
    plain, _ = simulate_trial(N, SEED)
    adam = load_cohort(trial)
    np.testing.assert_array_equal(adam.treatment, plain.treatment)
    assert list(adam.site) == list(plain.site)
    pd.testing.assert_frame_equal(adam.values, plain.values[list(adam.values)], check_dtype=False)
    same = adam.outcomes["infection_day30"], plain.outcomes["infection_day30"]
    np.testing.assert_array_equal(*(observed.value for observed in same))
    for part in range(4):
        np.testing.assert_array_equal(*(observed.timeline[part] for observed in same))
    assert_same_course(adam.course, plain.course)
    # A death is an event (CNSR 0) on its day; who did not die is censored (CNSR 1) at the end of follow-up.
    died = ~np.isnan(plain.course.death)
    assert 0 < died.sum() < N
    np.testing.assert_array_equal(adam.outcomes["survival"].value, died)
    np.testing.assert_array_equal(
        adam.outcomes["survival"].time, np.where(died, plain.course.death, plain.course.follow_up)
    )


@pytest.mark.parametrize("version", [5, 8])
def test_sas_tables_equal_the_same_tables_as_csv(trial, adam, tmp_path, version):
    for name, frame in adam.items():
        write(trial / f"{name}.xpt", frame, version)
    csv = tmp_path / "csv"
    csv.mkdir()
    raw = yaml.safe_load((trial / "study.yaml").read_text())
    for name, frame in adam.items():
        # SAS writes dates as numbers; CSV as they are read.
        dates = {column: as_dates(frame[column]) for column in frame if column.endswith("DT")}
        frame.assign(**dates).to_csv(csv / f"{name}.csv", index=False)
    for spec in raw["tables"].values():
        spec["path"] = spec["path"].replace(".xpt", ".csv")
    (csv / "study.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    one, other = load_cohort(trial), load_cohort(csv)
    assert one.digest == other.digest
    assert_same_course(one.course, other.course)


def test_special_missing_values_blanks_and_blank_padding(tmp_path):
    rows = pd.DataFrame({"ID": list("abcd"), "X": [1.0, 2.0, 3.0, 4.0], "T": ["", "u", "", "v"]})
    path = write(tmp_path / "t.xpt", rows)
    content = bytearray(path.read_bytes())
    start, width = content.find(OBSERVATIONS) + 80, 10
    # A missing number is a byte that says which (. A to Z, _) and seven zeros.
    for row, kind in enumerate(b".AZ"):
        content[start + row * width + 1 : start + row * width + 9] = bytes([kind]) + bytes(7)
    path.write_bytes(content)
    frame = read_study_table(tmp_path, TableSpec(path="t.xpt", key="ID"), [])
    assert frame["X"].isna().tolist() == [True, True, True, False]
    assert frame["T"].isna().tolist() == [True, False, True, False]
    assert frame["ID"].tolist() == list("abcd")


def test_numbers_survive_the_base_16_of_transport_files(tmp_path):
    # IBM's doubles have 53 to 56 bits of mantissa, as many as ours or more.
    numbers = np.random.default_rng(4).normal(size=500) * 10.0 ** np.arange(-25, 25).repeat(10)
    assert read_table(write(tmp_path / "t.xpt", pd.DataFrame({"X": numbers})))["X"].tolist() == numbers.tolist()


def test_only_the_columns_that_are_named_are_read(tmp_path, adam):
    write(tmp_path / "adsl.xpt", adam["adsl"])
    spec = TableSpec(path="adsl.xpt", key="USUBJID")
    assert list(read_study_table(tmp_path, spec, [], columns={"AGE", "USUBJID"})) == ["USUBJID", "AGE"]
    assert list(read_study_table(tmp_path, spec, [], columns={"AEG", "USUBJID"})) == list(adam["adsl"])


def test_text_in_another_encoding(tmp_path):
    path = write(tmp_path / "t.xpt", pd.DataFrame({"ID": ["Zoë", "abc"], "X": [1.0, 2.0]}))
    path.write_bytes(path.read_bytes().replace("Zoë".encode(), "Zoë ".encode("latin-1")))
    noted = []
    assert read_study_table(tmp_path, TableSpec(path="t.xpt", key="ID"), noted) is None
    assert [str(problem) for problem in noted] == [
        "t.xpt: its text is not UTF-8. Set the table's encoding, as in latin-1."
    ]
    for encoding in ("latin-1", "cp1252", "ISO-8859-15"):
        spec = TableSpec(path="t.xpt", key="ID", encoding=encoding)
        assert read_study_table(tmp_path, spec, [])["ID"].tolist() == ["Zoë", "abc"]


# The end of a file that is cut off: within a row, between records of 80 bytes, within the last row's record.
@pytest.mark.parametrize("cut", [0, 10, 79, 80, 300, 1000, 5000, -80, -800])
@pytest.mark.parametrize("version", [5, 8])
def test_a_file_that_is_cut_off_is_refused(tmp_path, adam, cut, version):
    path = write(tmp_path / "adlb.xpt", adam["adlb"], version)
    content = path.read_bytes()
    assert len(read_table(path)) == len(adam["adlb"])
    path.write_bytes(content[:cut])
    with pytest.raises(UnreadableTableError, match=r"adlb.xpt: .*cut off"):
        read_table(path)


def test_what_is_no_sas_file_is_refused(tmp_path):
    for name in ("t.xpt", "t.sas7bdat"):
        (tmp_path / name).write_bytes(b"id,age\na,41\n" * 200)
        with pytest.raises(UnreadableTableError, match="not a readable SAS file"):
            read_table(tmp_path / name)
        with pytest.raises(UnreadableTableError, match="no such file"):
            read_table(tmp_path / f"none.{name}")


def test_a_file_with_several_tables_is_refused(tmp_path, adam):
    path = write(tmp_path / "t.xpt", adam["adsl"])
    content = path.read_bytes()
    path.write_bytes(content + content[content.find(b"HEADER RECORD*******MEMBER") :])
    with pytest.raises(UnreadableTableError, match=r"it holds several tables. Export one table a file"):
        read_table(path)


def test_the_package_that_reads_sas_is_named_where_it_is_missing(tmp_path, monkeypatch):
    write(tmp_path / "t.xpt", pd.DataFrame({"X": [1.0]}))
    monkeypatch.setitem(sys.modules, "pyreadstat", None)
    with pytest.raises(UnreadableTableError, match=r"pip install 'il7ml\[sas\]'"):
        read_table(tmp_path / "t.xpt")


def change(folder, adam, name, **columns):
    write(folder / f"{name}.xpt", adam[name].assign(**columns))


def test_a_missing_table_is_named(trial):
    (trial / "adtte.xpt").unlink()
    assert problems(trial) == [f"adtte.xpt: no such file ({trial / 'adtte.xpt'}). Check the path."]


def test_duplicate_patients_are_refused(trial, adam):
    change(
        trial, adam, "adsl", USUBJID=adam["adsl"]["USUBJID"].where(adam["adsl"].index != 1, adam["adsl"]["USUBJID"][0])
    )
    found = problems(trial)
    assert "adsl.xpt: USUBJID: duplicate patient: one row a patient is expected (2 rows). Keep one row each." in found


def test_an_unknown_arm_is_refused(trial, adam):
    change(trial, adam, "adsl", TRT01P=adam["adsl"]["TRT01P"].where(adam["adsl"].index > 2, "CYT107 high dose"))
    assert problems(trial) == [
        "adsl.xpt: TRT01P: arm is none of the contrast's (Placebo, CYT107) (3 rows). "
        "Name the arms in the study file, or set arms.other_arms: exclude."
    ]


def test_cnsr_that_is_neither_0_nor_1_is_refused(trial, adam):
    table = adam["adtte"]
    is_first = (table["PARAMCD"] == "TTDEATH") & (table["CNSR"] == 1) & (table.groupby("PARAMCD").cumcount() < 20)
    change(trial, adam, "adtte", CNSR=table["CNSR"].where(~is_first, 2.0))
    assert problems(trial) == [
        f"adsl.xpt: DTHCNSR: neither event nor censored (expected 0, 1) ({is_first.sum()} rows). "
        "Set event_value, censored_value and competing_value of endpoints.survival."
    ]


def test_dates_as_text_and_as_seconds_are_refused(trial, adam):
    dates = as_dates(adam["adsl"]["LSTALVDT"])
    rule = "not a whole date (expected numbers of days since 1960-01-01 or YYYY-MM-DD)"
    for bad in (dates.dt.strftime("%d%b%Y").str.upper(), dates.dt.strftime("%Y-%m"), adam["adsl"]["LSTALVDT"] * 86400):
        change(trial, adam, "adsl", LSTALVDT=bad)
        assert f"adsl.xpt: LSTALVDT: {rule} ({N} rows). Mend it." in problems(trial)
    change(trial, adam, "adsl", LSTALVDT=dates.dt.strftime("%Y-%m-%d"))
    assert len(load_cohort(trial)) == N


def test_a_study_day_0_is_refused(trial, adam):
    change(trial, adam, "adlb", ADY=adam["adlb"]["ADY"] - 1)
    zeros = int((adam["adlb"]["ADY"] == 1).sum())
    rule = "study day 0, which CDISC does not have"
    assert any(line.startswith(f"adlb.xpt: ADY: {rule} ({zeros} rows)") for line in problems(trial))


def test_two_baseline_values_of_a_patient_are_refused(trial, adam):
    table = adam["adlb"]
    first = table[(table["PARAMCD"] == "LYM") & (table["ABLFL"] == "Y")].iloc[:2]
    write(trial / "adlb.xpt", pd.concat([table, first.assign(ADY=-1.0)], ignore_index=True))
    assert (
        "adlb.xpt: AVAL: patients with more than one row for joined column 'LYMBL' (4 rows). "
        "Narrow its where to one row a patient." in problems(trial)
    )


def test_struct_of_an_ibm_double_is_what_is_read(tmp_path):
    """118.625 is 0x4276A00000000000 in IBM's format, a worked example of the SAS transport specification's kind."""
    path = write(tmp_path / "t.xpt", pd.DataFrame({"X": [1.0, 2.0]}))
    content = bytearray(path.read_bytes())
    start = content.find(OBSERVATIONS) + 80
    content[start : start + 8] = struct.pack(">Q", 0x4276A00000000000)
    path.write_bytes(content)
    assert read_table(path)["X"].tolist() == [118.625, 2.0]


def test_the_sas_data_sets_of_these_tests_are_what_two_readers_take_them_for(tmp_path, adam):
    for name, frame in adam.items():
        path = write_sas_data_set(frame, tmp_path / f"{name}.sas7bdat")
        texts = frame.select_dtypes(["object", "str"]).columns
        for read in (pd.read_sas(path, encoding="infer"), pyreadstat.read_sas7bdat(path)[0]):
            blanks = read.fillna(dict.fromkeys(texts, ""))
            pd.testing.assert_frame_equal(blanks, frame.reset_index(drop=True), check_dtype=False)


def test_sas_data_sets_give_the_cohort_of_the_transport_files(trial, adam):
    transport = load_cohort(trial)
    raw = yaml.safe_load((trial / "study.yaml").read_text())
    for name, frame in adam.items():
        (trial / f"{name}.xpt").unlink()
        write_sas_data_set(frame, trial / f"{name}.sas7bdat")
    for spec in raw["tables"].values():
        spec["path"] = spec["path"].replace(".xpt", ".sas7bdat")
    (trial / "study.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    cohort = load_cohort(trial)
    assert cohort.digest == transport.digest
    assert_same_course(cohort.course, transport.course)


@pytest.mark.parametrize("cut", [0, 200, 2000, 66560, 80000, -1])
def test_a_sas_data_set_that_is_cut_off_is_refused(tmp_path, adam, cut):
    path = write_sas_data_set(adam["adlb"], tmp_path / "t.sas7bdat")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UnreadableTableError, match="not a readable SAS file, or cut off"):
        read_table(path)
