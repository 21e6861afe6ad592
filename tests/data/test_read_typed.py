"""Parquet and SAS files: types, labels and formats kept; what is truncated or mislabelled is refused."""

import datetime as dt

import numpy as np
import pandas as pd
import pyreadstat
import pytest

from trialml.data.read import read_table
from trialml.errors import DataError


def frame():
    return pd.DataFrame(
        {
            "USUBJID": ["A1", "A2", "A3"],
            "ADT": pd.to_datetime(["2020-12-31", None, "1959-01-01"]),
            "AVAL": [1.5, np.nan, -3.0],
            "CNSR": [0.0, 1.0, 2.0],
            "TERM": ["None", "", "NA"],
        }
    )


@pytest.fixture
def xpt(tmp_path, xpt_writer):
    def write(version=5, data=None, name="ADTTE"):
        xpt_writer(tmp_path / "adtte.xpt", frame() if data is None else data, name, version=version)
        return tmp_path / "adtte.xpt"

    return write


@pytest.mark.parametrize("version", [5, 8])
def test_a_transport_file_of_either_version_keeps_types_labels_and_formats(xpt, tmp_path, version):
    xpt(version)
    table = read_table("adtte.xpt", tmp_path)
    assert table.frame["ADT"].tolist() == [pd.Timestamp("2020-12-31"), pd.NaT, pd.Timestamp("1959-01-01")]
    np.testing.assert_array_equal(table.frame["AVAL"], [1.5, np.nan, -3.0])
    assert table.frame["TERM"].tolist() == ["None", None, None]
    assert table.frame.index.tolist() == [1, 2, 3]
    assert table.labels["AVAL"] == "Analysis Value"
    assert table.formats["ADT"].startswith("DATE")
    assert table.member == "ADTTE"


def test_columns_asked_for_are_the_only_ones_kept(xpt, tmp_path):
    xpt()
    table = read_table("adtte.xpt", tmp_path, columns={"AVAL", "NOTHERE"})
    assert list(table.frame) == ["AVAL"]
    assert "USUBJID" in table.heading


@pytest.mark.parametrize(
    ("given", "seconds_or_days", "expected"),
    [("DATETIME20.", 1e9, "1991-09-09T01:46:40"), ("E8601DA10.", 22_280, "2020-12-31"), ("YYMMDD10.", 0, "1960-01-01")],
)
def test_a_number_is_a_date_by_its_format(tmp_path, given, seconds_or_days, expected):
    data = pd.DataFrame({"ID": ["a"], "X": [float(seconds_or_days)]})
    pyreadstat.write_xport(data, str(tmp_path / "d.xpt"), table_name="D", variable_format={"X": given})
    assert read_table("d.xpt", tmp_path).frame["X"].iloc[0] == pd.Timestamp(expected)


@pytest.mark.parametrize("given", ["BEST12.", "8.1", "TIME8.", "$20."])
def test_a_number_of_another_format_stays_one(tmp_path, given):
    data = pd.DataFrame({"ID": ["a"], "X": [22_280.0]})
    pyreadstat.write_xport(data, str(tmp_path / "d.xpt"), table_name="D", variable_format={"X": given})
    assert read_table("d.xpt", tmp_path).frame["X"].iloc[0] == 22_280


@pytest.mark.parametrize("version", [5, 8])
def test_a_truncated_transport_file_is_refused_wherever_it_was_cut(xpt, tmp_path, version):
    long = pd.concat([frame()] * 40, ignore_index=True)
    path = xpt(version, long)
    whole = path.read_bytes()
    for cut in range(1, len(whole) - 1500, 391):
        path.write_bytes(whole[:-cut])
        with pytest.raises(DataError, match="truncated"):
            read_table("adtte.xpt", tmp_path)


def test_a_file_cut_between_two_blocks_of_80_bytes_is_seen_by_its_last_record(xpt, tmp_path):
    path = xpt(5, pd.concat([frame()] * 40, ignore_index=True))
    path.write_bytes(path.read_bytes()[:-160])
    with pytest.raises(DataError, match="its last record is not whole"):
        read_table("adtte.xpt", tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"USUBJID,AVAL\n1,2\n", "is no SAS transport file, but text: name the file after what it holds"),
        (b"PAR1" + b"\x00" * 90, "is no SAS transport file, but Parquet"),
        (b"PK\x03\x04" + b"\x00" * 90, "but a zip archive or workbook"),
        (b"**COMPRESSED** **COMPRESSED**" + b" " * 60, "was written by PROC CPORT"),
        (b"", r"is empty \(0 bytes\): transfer it again"),
    ],
)
def test_a_file_that_is_named_xpt_and_is_none_is_refused(tmp_path, content, words):
    (tmp_path / "adtte.xpt").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_table("adtte.xpt", tmp_path)


def test_two_data_sets_in_one_file_are_refused(xpt, tmp_path):
    path = xpt()
    content = path.read_bytes()
    path.write_bytes(content + content[content.index(b"HEADER RECORD*******MEMBER") :])
    with pytest.raises(DataError, match="holds 2 data sets"):
        read_table("adtte.xpt", tmp_path)


def test_text_that_is_not_utf_8_is_read_as_windows_1252_and_said_so(xpt, tmp_path):
    path = xpt(data=pd.DataFrame({"NAME": ["caf\u00e9!", "bar"], "X": [1.0, 2.0]}))
    path.write_bytes(path.read_bytes().replace("caf\u00e9!".encode(), b"caf\xe9! "))
    table = read_table("adtte.xpt", tmp_path)
    assert table.frame["NAME"].tolist() == ["caf\u00e9!", "bar"]
    assert any("Windows-1252" in words for words in table.statements)


def test_a_transport_file_without_rows_is_refused(xpt, tmp_path):
    xpt(data=frame().iloc[:0])
    with pytest.raises(DataError, match="holds no rows"):
        read_table("adtte.xpt", tmp_path)


def test_parquet_keeps_its_types(tmp_path):
    data = frame().assign(
        WHOLE=[1, 2, 3],
        GAPS=pd.array([1, None, 3], dtype="Int64"),
        FLAG=[True, None, False],
        ARM=pd.Categorical(["x", " y", "x"]),
    )
    data.to_parquet(tmp_path / "t.parquet")
    table = read_table("t.parquet", tmp_path)
    assert table.frame["WHOLE"].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(table.frame["GAPS"], [1, np.nan, 3])
    assert table.frame["FLAG"].tolist() == [True, None, False]
    assert table.frame["ARM"].tolist() == ["x", "y", "x"]
    assert table.frame["ADT"].iloc[0] == pd.Timestamp("2020-12-31")
    assert {(one.rule, one.subject) for one in table.findings} == {("blanks", "ARM"), ("missing word", "TERM")}


def test_columns_of_lists_are_passed_over_and_said_so(tmp_path):
    pd.DataFrame({"a": [1, 2], "b": [[1], [2]]}).to_parquet(tmp_path / "t.parquet")
    table = read_table("t.parquet", tmp_path)
    assert list(table.frame) == ["a"]
    assert "1 nested or binary column(s) were passed over." in table.statements


def test_a_parquet_file_that_is_cut_or_none_is_refused(tmp_path):
    frame().to_parquet(tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    for content in (whole[:-100], b"a,b\n1,2\n", b""):
        (tmp_path / "t.parquet").write_bytes(content)
        with pytest.raises(DataError, match="cannot be read as Parquet"):
            read_table("t.parquet", tmp_path)


def test_a_sas7bdat_that_is_none_is_refused(tmp_path):
    (tmp_path / "x.sas7bdat").write_bytes(b"\x00" * 600)
    with pytest.raises(DataError, match="cannot be read as a SAS file"):
        read_table("x.sas7bdat", tmp_path)


def test_the_pilot_study_s_labels_and_formats_are_kept(pilot):
    table = read_table(str(pilot / "adsl.xpt"), pilot)
    assert table.labels["TRT01P"] == "Planned Treatment for Period 01"
    assert table.formats["TRTSDT"] == "DATE9"
    assert len(table.frame) == 254
    assert table.frame["TRTSDT"].dtype.kind == "M"


def test_a_sentinel_among_dates_is_missing_and_counted(tmp_path):
    data = pd.DataFrame({"ID": ["a", "b"], "X": [1e9, 22_280.0]})
    pyreadstat.write_xport(data, str(tmp_path / "d.xpt"), table_name="D", variable_format={"X": "DATE9."})
    pd.DataFrame({"X": [dt.date(9999, 12, 31), dt.date(2020, 12, 31)]}).to_parquet(tmp_path / "d.parquet")
    for name in ("d.xpt", "d.parquet"):
        table = read_table(name, tmp_path)
        assert table.frame["X"].tolist() == [pd.NaT, pd.Timestamp("2020-12-31")]
        assert [(one.rule, one.subject, one.count) for one in table.findings] == [("impossible date", "X", 1)]


def test_dates_of_parquet_with_and_without_a_time_zone_are_the_same_days(tmp_path):
    days = pd.to_datetime(["2020-12-31", None])
    data = pd.DataFrame({"a": days, "b": days.tz_localize("Europe/Berlin"), "c": [dt.date(2020, 12, 31), None]})
    data["d"] = data["a"].astype("datetime64[s]")
    data.to_parquet(tmp_path / "d.parquet")
    frame = read_table("d.parquet", tmp_path).frame
    for name in "abcd":
        assert frame[name].dtype == "datetime64[ns]"
        assert frame[name].tolist() == [pd.Timestamp("2020-12-31"), pd.NaT]
