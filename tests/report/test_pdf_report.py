import re
import shutil
import subprocess
import sys
import zlib

import pytest

from trialml.errors import OutputError
from trialml.report.pdf import render

pytest.importorskip("typst", reason="needs typst, of the extra [pdf]")


@pytest.fixture(scope="module")
def pdf(crowded, crowded_layout):
    return render(crowded, crowded_layout)


@pytest.fixture(scope="module")
def objects(pdf):
    """The file with what it compresses written out."""
    parts = [pdf]
    for found in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", pdf, flags=re.DOTALL):
        try:
            parts.append(zlib.decompress(found[1]))
        except zlib.error:
            continue
    return b"\n".join(parts)


@pytest.fixture(scope="module")
def text(pdf, tmp_path_factory):
    if shutil.which("pdftotext") is None:
        pytest.skip("needs pdftotext")
    path = tmp_path_factory.mktemp("pdf") / "report.pdf"
    path.write_bytes(pdf)
    found = subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, text=True, check=True).stdout
    return " ".join(found.replace("\u200b", "").split())


def test_the_pdf_is_tagged_and_says_that_it_is_pdf_ua(objects):
    assert b"<pdfuaid:part>1</pdfuaid:part>" in objects
    for name in (b"/StructTreeRoot", b"/Marked true", b"/Lang", b"/DisplayDocTitle true"):
        assert name in objects, name
    for tag in (b"/H1", b"/H2", b"/Table", b"/TH", b"/TD", b"/Figure", b"/L"):
        assert re.search(tag + rb"\b", objects), tag


def test_every_picture_has_words_and_none_is_made_of_pixels(objects):
    # The words of the survival curves, of calibration, and again of the curves on the first page.
    assert len(re.findall(rb"/S/Figure/P \d+ 0 R/Alt\(", objects)) == len(re.findall(rb"/S/Figure\b", objects)) == 3
    assert b"/Subtype/Image" not in objects.replace(b" ", b"")


def test_markup_of_html_and_of_typst_is_inert(text):
    for words in ("<script>alert(1)</script>", "#set page(width: 1cm)", "*a* _b_ @c \\["):
        assert words in text, words


def test_mathematics_and_long_words_are_printed_as_they_are(text):
    assert "$x_1$" in text
    assert "letters!" in text


def test_all_sixty_covariates_are_there(text):
    assert all(re.search(rf"\b{place}\b", text) for place in range(60))


def test_the_decision_stands_on_the_first_page_before_the_contents(text):
    assert text.index("How sure this is") < text.index("Contents")
    assert "exploratory" in text[: text.index("Contents")]


def test_the_same_document_gives_the_same_bytes(document):
    assert render(document) == render(document)


def test_a_character_that_no_font_has_is_named_in_the_log_and_in_the_pdf(documents, caplog, tmp_path):
    strange = documents(results=[], notes=["\U0001f9ec and \u1b83"])
    pdf = render(strange)
    assert "No installed font can draw" in caplog.text
    assert "U+1B83" in caplog.text
    assert pdf.startswith(b"%PDF")


def test_without_typst_the_remedy_is_named(document, monkeypatch):
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(OutputError, match=r"pip install 'trialml\[pdf\]'"):
        render(document)
