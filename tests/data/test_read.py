"""Delimited files as text: whatever software wrote them."""

import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialml.config import read_study
from trialml.data.read import locate, read_table
from trialml.data.read_text import _exact, _fast
from trialml.errors import DataError
from trialml.study import read_trial


@pytest.fixture
def read(tmp_path):
    def read_text(content):
        (tmp_path / "trial.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table("trial.csv", tmp_path)

    return read_text


@pytest.mark.parametrize(("mark", "word"), [(",", "commas"), (";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_the_delimiter_is_found_and_stated(read, mark, word):
    table = read(f"a{mark}b\n1{mark}2\n")
    assert table.frame.to_dict("list") == {"a": ["1"], "b": ["2"]}
    assert f"Values are separated by {word}." in table.statements


def test_a_delimiter_inside_quotes_does_not_count(read):
    table = read('"name; given, family";"b"\n"Lee; Kim, x";2\n')
    assert list(table.frame.columns) == ["name; given, family", "b"]
    assert table.frame.iloc[0, 0] == "Lee; Kim, x"


@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
def test_line_endings_of_every_system_are_read(read, line):
    assert read(line.join(["a,b", "1,2", "3,4", ""])).frame["b"].tolist() == ["2", "4"]


def test_a_quoted_line_break_stays_inside_its_value_and_rows_keep_their_numbers(read):
    frame = read('a,b\n"two\nlines",1\n\nx,2\n').frame
    assert frame["a"].tolist() == ["two\nlines", "x"]
    assert frame.index.tolist() == [2, 4]
    assert frame.index.name == "file_row"


def test_none_is_a_category_and_empty_words_are_missing(read):
    frame = read("a,b\nNone,1\nNA,2\n ,3\n.,4\nnan,5\nnull,6\n").frame
    assert frame["a"].tolist() == ["None", None, None, None, None, "null"]


def test_a_byte_order_mark_and_other_encodings_are_stated(read):
    assert read(b"\xef\xbb\xbfa,b\n1,2\n").frame.columns[0] == "a"
    assert "byte-order mark" in read(b"\xef\xbb\xbfa,b\n1,2\n").statements[0]
    table = read("a,b\ncaf\xe9,2\n".encode("cp1252"))
    assert table.frame.iloc[0, 0] == "caf\xe9"
    assert "Windows-1252" in table.statements[0]


def test_a_decimal_comma_is_seen_unless_points_are_there_too(read):
    assert read("a;b\n1,5;2\n").decimal_comma
    assert not read("a;b\n1,5;2.5\n").decimal_comma
    assert not read('a,b\n"1,5",2\n').decimal_comma


def test_the_digest_is_that_of_the_file(read):
    assert read("a,b\n1,2\n").sha256 == hashlib.sha256(b"a,b\n1,2\n").hexdigest()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n3\n", "File row 3 has 1 values, but the heading has 2"),
        ("a,b\n1,2,3\n", "File row 2 has 3 values"),
        ("a, a\n1,2\n", "the column 'a' twice"),
        ("a,b\n", "a heading and no rows"),
        ("", r"is empty \(0 bytes\)"),
        (b"a,b\n1,\x00\n", "null bytes"),
        ('a,b\n"1,2\n', "not a well-formed delimited file"),
    ],
)
def test_a_file_that_is_no_table_is_refused(read, content, words):
    with pytest.raises(DataError, match=words):
        read(content)


def test_a_column_without_a_heading_gets_its_place(read):
    assert list(read("a,,c\n1,2,3\n").frame.columns) == ["a", "(column 2)", "c"]


def test_a_source_is_found_beside_the_study_file_or_inside_a_package(tmp_path):
    (tmp_path / "with blank").mkdir()
    (tmp_path / "with blank" / "x.csv").write_text("a\n1\n")
    assert locate("with blank/x.csv", tmp_path).name == "x.csv"
    assert locate(str(tmp_path / "with blank" / "x.csv"), tmp_path / "elsewhere").name == "x.csv"
    assert locate("lifelines:datasets/ACTG175.csv", tmp_path).name == "ACTG175.csv"


def test_a_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.csv").write_text("a\n1\n")
    assert locate("~/x.csv", tmp_path / "elsewhere") == (tmp_path / "x.csv").resolve()


@pytest.mark.parametrize(
    "source", ["none.csv", ".", "nothere:x.csv", "__main__:x.csv", "a\0b", "a" * 5000, "~no-such-user/x"]
)
def test_a_source_that_is_not_there_is_a_sentence(tmp_path, source):
    with pytest.raises(DataError, match="source = "):
        locate(source, tmp_path)


def test_utf_16_with_its_byte_order_mark_is_read_and_said_so(read):
    for encoding in ("utf-16", "utf-16-be"):
        mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
        table = read(mark + "a;b\nж;2\n".encode(encoding))
        assert table.frame.to_dict("list") == {"a": ["ж"], "b": ["2"]}
        assert "The text is UTF-16." in table.statements
    with pytest.raises(DataError, match=r"UTF-16 without a byte-order mark, give \[data\] encoding"):
        read("a,b\n1,2\n".encode("utf-16-le"))


def test_a_declared_encoding_is_taken_and_a_wrong_one_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes("a,b\n\u0141\u00f3d\u017a,2\n".encode("iso-8859-2"))
    table = read_table("t.csv", tmp_path, encoding="iso-8859-2")
    assert table.frame["a"].tolist() == ["\u0141\u00f3d\u017a"]
    assert table.statements[0] == "The text was read as iso-8859-2, as the study file says."
    with pytest.raises(DataError, match="is not utf-8 text throughout"):
        read_table("t.csv", tmp_path, encoding="utf-8")
    with pytest.raises(DataError, match="encoding = 'latin-99' is not known"):
        read_table("t.csv", tmp_path, encoding="latin-99")
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    assert list(read_table("t.csv", tmp_path, encoding="utf-8").frame) == ["a", "b"]


def test_text_that_is_neither_utf_8_nor_windows_1252_is_refused(read):
    with pytest.raises(DataError, match="neither UTF-8 nor Windows-1252"):
        read(b"a,b\n\x81\x8d,2\n")


def test_latin_1_text_is_said_to_be_so_and_noted(read):
    table = read("a,b\nM\xfcller,2\n".encode("latin-1"))
    assert table.frame["a"].tolist() == ["M\xfcller"]
    assert "Latin-1" in table.statements[0]
    assert [(one.rule, one.subject) for one in table.findings] == [("encoding", "the file")]


def test_trimmed_blanks_and_words_for_missing_are_counted_by_column(read):
    table = read("a,b\n x,NA\ny ,.\nz,\nx,1\n")
    assert {(one.rule, one.subject): one.count for one in table.findings} == {
        ("blanks", "a"): 2,
        ("missing word", "b"): 2,
    }


def test_only_the_columns_asked_for_are_kept_while_every_row_is_checked(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n4,5,6\n")
    table = read_table("t.csv", tmp_path, columns={"c", "a"})
    assert table.frame.to_dict("list") == {"a": ["1", "4"], "c": ["3", "6"]}
    assert table.heading == ("a", "b", "c")
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n4,5\n")
    with pytest.raises(DataError, match="File row 3 has 2 values"):
        read_table("t.csv", tmp_path, columns={"a"})


def test_a_comma_that_may_mark_thousands_is_not_guessed(read, tmp_path):
    assert not read("a;b\n1,234;x\n").decimal_comma
    assert read("a;b\n1,234;x\n0,5;x\n").decimal_comma
    assert read_table("trial.csv", tmp_path, decimal=".").decimal_comma is False


PLAIN = st.text(st.characters(codec="utf-8", exclude_characters='",\r\n\0', exclude_categories=["Cs"]), max_size=6)


@given(st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=30))
def test_the_fast_and_the_exact_reader_give_the_same_columns(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        lines = "".join(f"{first},{second}\n" for first, second in rows)
        path.write_bytes(f"a,b\n{lines}".encode())
        fast, exact = _fast(path, "t.csv", ",", None), _exact(path, "t.csv", "utf-8", ",", None)
        assert fast is not None
        for name in ("a", "b"):
            assert fast.arrays[name].to_pylist() == exact.arrays[name].to_pylist() == [row[name == "b"] for row in rows]
        assert fast.rows.tolist() == exact.rows.tolist()


@pytest.mark.parametrize("rows", [1, 49_999, 50_000, 50_001, 120_003])
def test_a_file_longer_than_a_block_keeps_every_row_and_its_number(tmp_path, rows):
    for quote in ("", '"'):
        lines = "".join(f"{quote}{row}{quote},{row % 3}\n" for row in range(rows))
        (tmp_path / "t.csv").write_text(f"a,b\n{lines}")
        frame = read_table("t.csv", tmp_path).frame
        assert len(frame) == rows
        assert frame["a"].iloc[[0, -1]].tolist() == ["0", str(rows - 1)]
        assert frame.index[-1] == rows + 1


def test_the_row_number_of_a_ragged_row_deep_in_a_file_is_exact(tmp_path):
    lines = [f"{row},1" for row in range(70_000)]
    lines[61_234] = "1,2,3"
    (tmp_path / "t.csv").write_text("a,b\n" + "\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"File row 61236 has 3 values, but the heading has 2"):
        read_table("t.csv", tmp_path)


def test_equal_values_share_one_object_so_that_a_long_column_is_small(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"a long word,{row}\n" for row in range(1000)))
    assert len({id(value) for value in read_table("t.csv", tmp_path).frame["a"]}) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
@pytest.mark.parametrize(("separator", "comma"), [(",", False), (";", False), (";", True), ("\t", True), ("|", True)])
def test_a_trial_is_the_same_in_every_encoding_and_with_every_mark(
    tmp_path, write_study, patients, encoding, separator, comma
):
    frame = patients()
    frame["site"] = frame["site"].replace("lung", "L\N{LATIN SMALL LETTER U WITH DIAERESIS}ng")
    path = write_study(tmp_path, data=frame.to_csv(index=False).encode())
    plain = read_trial(read_study(path)).frame
    if comma:
        marker = frame["marker"]
        frame["marker"] = marker.map(lambda value: str(value).replace(".", ","), na_action="ignore")
    for line_end in ("\n", "\r\n"):
        data = frame.to_csv(index=False, sep=separator, lineterminator=line_end).encode(encoding)
        trial = read_trial(read_study(write_study(tmp_path, data=data)))
        assert trial.frame.equals(plain)
        assert ("Numbers carry a decimal comma." in trial.statements) == comma
