import pytest

from trialml.errors import StudyFileError
from trialml.report.formats import parse_formats, write_formats


def test_formats_are_named_in_any_case_and_once():
    assert parse_formats("html, PDF,html") == ("html", "pdf")


@pytest.mark.parametrize(("words", "message"), [("htm", "nearest name is 'html'"), (" ,", "no format of the report")])
def test_a_format_that_does_not_exist_is_refused_with_the_nearest(words, message):
    with pytest.raises(StudyFileError, match=message):
        parse_formats(words)


def test_each_format_gets_its_file(documents, tmp_path):
    pytest.importorskip("typst", reason="needs typst, of the extra [pdf]")
    pytest.importorskip("docx", reason="needs python-docx, of the extra [word]")
    written = write_formats(documents(results=[]), tmp_path / "new", ("html", "pdf", "docx"))
    assert {name: path.read_bytes()[:4] for name, path in written.items()} == {
        "html": b"<!do",
        "pdf": b"%PDF",
        "docx": b"PK\x03\x04",
    }
