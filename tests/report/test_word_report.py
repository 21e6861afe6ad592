import io
import itertools
import re
import sys
import zipfile

import pytest

from trialml.errors import OutputError
from trialml.report.word import render

docx = pytest.importorskip("docx", reason="needs python-docx, of the extra [word]")


@pytest.fixture(scope="module")
def content(crowded, crowded_layout):
    return render(crowded, crowded_layout)


@pytest.fixture(scope="module")
def word(content):
    return docx.Document(io.BytesIO(content))


def test_headings_are_words_own_and_go_down_one_step_at_a_time(word):
    styles = [paragraph.style.name for paragraph in word.paragraphs]
    levels = [int(name[-1]) for name in styles if name.startswith("Heading")]
    assert styles.count("Title") == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_tables_are_real_and_their_heads_repeat_on_each_page(word):
    covariates = next(table for table in word.tables if len(table.rows) == 61)
    assert covariates.cell(1, 1).text == "12 (2%)"
    assert all("w:tblHeader" in table.rows[0]._tr.xml for table in word.tables)


def test_every_picture_has_words(content):
    xml = zipfile.ZipFile(io.BytesIO(content)).read("word/document.xml").decode()
    words = re.findall(r'<wp:docPr [^>]*descr="([^"]+)"', xml)
    assert len(words) == len(re.findall("<pic:pic\\b", xml)) == 3
    assert words[1].startswith("Time to the first event. The median was NR")


def test_right_to_left_words_run_from_the_right_and_others_do_not(word):
    turned = [paragraph.text for paragraph in word.paragraphs if "<w:bidi/>" in paragraph._p.xml]
    assert "\u0639\u0644\u0627\u062c \u0633\u0627\u0628\u0642" in turned
    assert not [text for text in turned if re.match(r"[A-Za-z]", text)]


def test_markup_control_characters_and_chinese_are_words(documents):
    named = documents(results=[], title="A\x00B\x1f <b>\u65e2\u5f80</b> $x_1$")
    said = docx.Document(io.BytesIO(render(named)))
    assert said.core_properties.title == "A\ufffdB\ufffd <b>\u65e2\u5f80</b> $x_1$"
    assert any("<b>\u65e2\u5f80</b>" in paragraph.text for paragraph in said.paragraphs)


def test_without_python_docx_the_remedy_is_named(document, monkeypatch):
    monkeypatch.setitem(sys.modules, "docx", None)
    with pytest.raises(OutputError, match=r"pip install 'trialml\[word\]'"):
        render(document)
