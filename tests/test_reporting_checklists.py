"""TRIPOD+AI has 27 items (Collins GS, et al. BMJ 2024;385:e078378); ICH E9(R1) has five attributes of an estimand."""

import dataclasses

import pytest

from trialml.config import read_study
from trialml.effects.contrast import Contrast
from trialml.headline import headline
from trialml.reporting_checklists import estimand_checklist, tripod_checklist
from trialml.result import Result
from trialml.study import analyse
from trialml.tripod import TRIPOD_ITEMS
from trialml.wording import summarise

CANNOT_BE_KNOWN = ("2", "3a", "3c", "5b", "6a", "8b", "8c", "9c", "17", "18a", "18b", "18c", "18d", "19", "27b")
"""Items that no data file and no study file hold: ethics, funding, settings, dates, assessors."""


@pytest.fixture(scope="module")
def analysis(write_study, tmp_path_factory):
    path = write_study(
        tmp_path_factory.mktemp("trial"), rows=240, arms=("old", "new"), study={"treatment.secondary": None}
    )
    return analyse(read_study(path), quick=True)


@pytest.fixture(scope="module")
def tripod(analysis):
    return tripod_checklist(analysis)


def test_all_27_items_are_asked_in_order():
    numbers = [int("".join(letter for letter in item.split()[0] if letter.isdigit())) for item in TRIPOD_ITEMS]
    assert sorted(set(numbers)) == list(range(1, 28))
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("item", CANNOT_BE_KNOWN)
def test_what_a_run_cannot_know_is_left_to_the_author_and_never_ticked(tripod, item):
    rows = tripod.rows[tripod.rows["item"].str.split().str[0] == item]
    assert rows["status"].tolist() == ["author to complete"]
    assert rows["answer"].tolist() == ["Author to complete."]


def test_what_the_run_knows_is_answered_with_its_own_numbers(tripod, analysis):
    answers = tripod.rows.set_index("item")["answer"]
    primary = len(analysis.trial)
    assert answers["21 Development"].startswith(f"{primary} patients of the two primary arms")
    assert "Discrimination of the risk model" in answers["23a Performance"]
    assert "2 folds, 2 times (risk)" in answers["12c Methods"]
    assert "progression" in answers["8a Outcome"].lower()


def test_places_named_in_the_answers_are_headings_of_the_report(tripod, analysis):
    headings = {result.heading() for result in analysis.results}
    named = [answer for answer in tripod.rows["answer"] if answer.startswith("See ") and ";" in answer]
    assert named
    for answer in named:
        for place in answer.split(".")[0].removeprefix("See ").split("; "):
            assert place in headings | {"see the model cards"} or "Methods" in place, place


def test_the_estimand_has_five_attributes_and_the_strategy_is_read_from_the_words(analysis):
    rows = estimand_checklist(analysis).rows.set_index("item")
    assert list(rows.index[:5]) == [
        "Treatment",
        "Population",
        "Variable",
        "Intercurrent events",
        "Population-level summary",
    ]
    assert rows.loc["Strategies", "answer"].startswith("Named: treatment policy.")
    assert rows.loc["Main estimator", "answer"] == analysis.only(Contrast).text()


def test_an_attribute_that_is_still_to_be_filled_in_is_the_authors(analysis):
    estimand = analysis.study.estimand.model_copy(update={"intercurrent_events": "fill in", "variable": ""})
    changed = dataclasses.replace(analysis, study=analysis.study.model_copy(update={"estimand": estimand}))
    rows = estimand_checklist(changed).rows.set_index("item")
    for name in ("Variable", "Intercurrent events", "Strategies"):
        assert rows.loc[name, "status"] == "author to complete"


def test_a_checklist_is_a_result_that_is_stored_and_read_back(tripod):
    again = Result.from_dict(tripod.to_dict())
    assert again.text() == tripod.text()
    assert len(again.table()) == len(TRIPOD_ITEMS)


def test_the_first_page_opens_with_a_decision_that_the_verdict_explains(analysis):
    said = summarise(analysis)
    assert said.decision == headline(analysis)
    assert len(said.decision.split()) <= 15
    assert said.figure == "Event-free probability"
    assert {finding.standing for finding in said.answer} <= {
        "", "shown", "not shown", "estimated", "internal validation only", "cross-fitted", "computed from assumptions",
    }  # fmt: skip
