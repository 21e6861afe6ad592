"""Delimited files as text: whatever software wrote them."""

import hashlib

import pytest

from trialml.data.read import locate, read_table
from trialml.errors import DataError


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
