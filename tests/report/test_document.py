import json
import math

import pytest

from trialml.errors import DataError
from trialml.report.document import Document, Summary, assemble
from trialml.report.html import render
from trialml.result import CHAPTERS


def test_results_given_in_any_order_stand_in_the_order_of_the_chapters(document):
    keys = [chapter.key for chapter in document.chapters]
    assert keys == ["data", "survival", "validation", "explain", "design", "other"]
    assert [type(result).__name__ for result in document.results] == [
        "Listing",
        "Curve",
        "Performance",
        "Picture",
        "Sentence",
        "Elsewhere",
    ]


def test_every_chapter_has_a_title_and_a_question_that_ends_in_a_question_mark(documents):
    chapters = documents(leads=dict.fromkeys((*CHAPTERS, "other"), "Words.")).chapters
    assert [chapter.title for chapter in chapters] == [
        "Patients and data",
        "Survival",
        "Treatment effect",
        "Models",
        "Validation",
        "Explanation",
        "Strata",
        "The next trial",
        "Other analyses",
    ]
    assert all(chapter.question.endswith("?") for chapter in chapters)


def test_a_chapter_with_a_lead_and_no_result_is_kept_to_say_why(document):
    explain = next(chapter for chapter in document.chapters if chapter.key == "explain")
    assert explain.lead == "No explanation was asked for."
    assert explain.results == ()


def test_a_lead_for_an_unknown_chapter_is_refused_and_the_chapters_are_listed(documents):
    with pytest.raises(DataError, match=r"no chapter 'surivval': the chapters are data, survival"):
        documents(leads={"surivval": "Words."})


def test_one_string_where_a_list_is_needed_is_refused():
    with pytest.raises(TypeError, match=r"Summary\.next_steps is the string 'Run it'"):
        Summary(question="?", next_steps="Run it")


def test_a_document_goes_through_json_and_renders_to_the_same_bytes(document, stored_types):
    stored = json.loads(json.dumps(document.to_dict(), allow_nan=False))
    again = Document.from_dict(stored)
    assert again.to_dict() == document.to_dict()
    assert render(again) == render(document)


def test_a_stored_document_builds_no_class_from_outside_the_package(document):
    stored = json.loads(json.dumps(document.to_dict()))
    with pytest.raises(DataError, match="not one of trialml's"):
        Document.from_dict(stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 99}, "has format 99"), ({"chapters": None}, "cannot be read"), ({"summary": {}}, "cannot be read")],
)
def test_a_stored_document_that_is_damaged_is_refused_in_one_sentence(document, change, message):
    with pytest.raises(DataError, match=message):
        Document.from_dict({**document.to_dict(), **change})


def test_a_stored_document_that_lacks_a_part_is_refused(document):
    stored = document.to_dict()
    del stored["limitations"]
    with pytest.raises(DataError, match="limitations"):
        Document.from_dict(stored)


def test_settings_of_any_type_become_json_types():
    import numpy as np

    document = assemble(
        [],
        title="T",
        study="S",
        summary=Summary(question="?"),
        reproduce={"seed": np.int64(3), "where": {1: {"b", "a"}}, "limit": math.inf},
        defaults={"a": np.float64(0.5)},
    )
    assert document.reproduce == {"seed": 3, "where": {"1": ["a", "b"]}, "limit": "inf"}
    assert document.defaults == (("a", 0.5),)
    assert json.dumps(document.to_dict(), allow_nan=False)
