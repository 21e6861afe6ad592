"""Strata in words: conditions met by new patients or refused, partitions proved, protocol text and JSON read back."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from trialml.data.trial import Covariate
from trialml.errors import AnalysisError, ModelInputError
from trialml.models.input_contract import InputContract
from trialml.strata.conditions import Condition, Rule, exact_words
from trialml.strata.cut_points import Questions, cut_between, quantile_cuts
from trialml.strata.strata import Strata, Stratum, quantile_strata, risk_by_benefit_strata
from trialml.strata.wording import StrataWording, strata_wording

CD4 = Condition("cd4", "CD4", "below", 350.0, False, unit="cells/mm3")
PRIOR = Condition("prior", "prior therapy", "below", 1.0, binary=True)
SITE = Condition("stage", "stage", "is", ("II",), None, known=("I", "II", "III"))


def tree():
    """CD4 below 350 and no prior therapy; all others."""
    rules = (
        Rule(0, (CD4, PRIOR)),
        Rule(1, (CD4, PRIOR.opposite())),
        Rule(1, (CD4.opposite(),)),
    )
    strata = (
        Stratum("Lower predicted effect", rules[0].words()),
        Stratum("Higher predicted effect", f"{rules[1].words()}; or {rules[2].words()}"),
    )
    return Strata(strata, (), "tree", rules)


def patients(**columns):
    return pd.DataFrame({"cd4": [349.9, 350.0, 100.0, np.nan], "prior": [0.0, 0.0, 1.0, 0.0]} | columns)


def test_strata_are_words_that_a_protocol_can_print():
    strata = tree()
    assert strata.strata[0].rule == "CD4 below 350 cells/mm3 and prior therapy: no"
    assert (
        strata.strata[1].rule
        == "CD4 below 350 cells/mm3 and prior therapy: yes; or CD4 at least 350 cells/mm3 (or missing)"
    )
    said = strata.protocol()
    assert "1. Lower predicted effect: CD4 below 350 cells/mm3 and prior therapy: no." in said
    assert "A missing value of CD4 belongs where the rules say 'or missing'." in said
    assert "prior therapy must be known." in said


def test_the_report_shows_the_words_of_the_protocol():
    found = strata_wording(tree())
    assert found.table()["Rule"].tolist() == [one.rule for one in tree().strata]
    assert all(statement in tree().protocol() for statement in found.statements)
    assert found.text().startswith(
        "The strata are made by the leaves of a tree on doubly robust scores. Each patient is allotted"
    )
    again = StrataWording.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()


def test_new_patients_are_placed_a_value_on_the_cut_above_it_and_a_missing_one_on_its_stated_side():
    assert tree().place(patients()).tolist() == [0, 1, 1, 1]


def test_a_rule_on_a_column_that_new_data_lack_is_refused_in_words():
    with pytest.raises(ModelInputError, match="lack the column 'cd4'; the nearest name is 'CD4'"):
        tree().place(pd.DataFrame({"CD4": [1.0], "prior": [0.0]}))


def test_text_for_a_number_and_a_number_for_a_text_are_refused():
    with pytest.raises(ModelInputError, match="'cd4' holds values that are no numbers"):
        tree().place(patients(cd4=["high", "low", "low", "low"]))
    with pytest.raises(ModelInputError, match="'stage' holds numbers"):
        SITE.met(pd.DataFrame({"stage": [1, 2]}))
    with pytest.raises(ModelInputError, match="'prior' is neither 0 nor 1 in 1 patients"):
        tree().place(patients(prior=[0.0, 2.0, 1.0, 0.0]))


def test_an_unseen_category_is_refused_or_taken_for_another():
    new = pd.DataFrame({"stage": ["II", "IV", "I"]})
    with pytest.raises(
        ModelInputError, match="in 1 of 3 patients a category that the trial did not have: use one of I, II, III"
    ):
        SITE.met(new)
    assert SITE.met(new, unseen="other").tolist() == [True, False, False]
    assert SITE.opposite().words() == "stage is not II"


def test_a_missing_value_of_which_the_rule_says_nothing_is_refused():
    with pytest.raises(ModelInputError, match="'prior' is missing in 1 of 4 patients"):
        tree().place(patients(prior=[0.0, np.nan, 1.0, 0.0]))
    with pytest.raises(ModelInputError, match="'stage' is missing in 1 of 2"):
        SITE.met(pd.DataFrame({"stage": ["I", None]}))


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ((Rule(0, (CD4,)), Rule(1, (CD4.opposite(), PRIOR))), "meets no rule"),
        ((Rule(0, (CD4,)), Rule(1, ())), "meets 2 rules"),
        ((Rule(0, (CD4,)), Rule(2, (CD4.opposite(),))), "a rule is of stratum 3, but there are 2"),
        ((Rule(0, (CD4,)), Rule(1, (Condition("cd4", "CD4", "at least", 350.0),))), "differ in whether it is a number"),
        ((Rule(0, (CD4,)), Rule(1, (Condition("cd4", "CD4", "at least", 350.0, False),))), "cd4 = nan meets no rule"),
    ],
)
def test_rules_that_are_no_partition_are_refused(rules, words):
    with pytest.raises(ModelInputError, match=words):
        Strata((Stratum("a", ""), Stratum("b", "")), (), "tree", rules)


@pytest.mark.parametrize(
    "strata",
    [
        tree(),
        quantile_strata(np.arange(90.0), 3, model="m", unit="days"),
        quantile_strata(np.linspace(0, 1, 90), 3, model="m", unit="of the event by 730 days", kind="risk"),
        risk_by_benefit_strata(np.linspace(0, 1, 90), np.arange(90.0) % 7, risk_words="risk", benefit_words="score"),
    ],
    ids=["tree", "benefit", "risk", "grid"],
)
def test_strata_are_read_back_from_their_json(strata):
    again = Strata.from_json(strata.to_json())
    assert again == strata
    assert again.protocol() == strata.protocol()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "has the format 'other'"),
        ({"kind": "forest"}, "of the kind 'forest'"),
        ({"strata": None}, "does not hold what trialml exports"),
        ({"rules": []}, "meets no rule"),
    ],
)
def test_json_that_describes_no_strata_is_refused(change, words):
    stored = json.loads(tree().to_json()) | change
    with pytest.raises(ModelInputError, match=words):
        Strata.from_json(json.dumps(stored))


def test_a_condition_that_was_tampered_with_is_refused():
    for change in ({"side": "above"}, {"missing": "left"}, {"value": ["a"]}, {"value": math.inf}):
        with pytest.raises(ModelInputError, match="a condition on 'cd4'"):
            Condition.from_state(CD4.state() | change)
    with pytest.raises(ModelInputError, match="is no JSON"):
        Strata.from_json("{")


def test_by_risk_and_by_grid_new_patients_bring_the_scores():
    risk = quantile_strata(np.linspace(0, 1, 91), 2, model="T-risk", unit="of the event by 730 days", kind="risk")
    assert risk.names == ("Lower risk", "Higher risk")
    assert risk.strata[0].rule == "risk of the event by 730 days by T-risk below 0.5"
    assert risk.place(pd.DataFrame({"risk": [0.1, 0.5]})).tolist() == [0, 1]
    with pytest.raises(ModelInputError, match="lack the column 'risk'"):
        risk.place(pd.DataFrame({"benefit_score": [0.1]}))
    with pytest.raises(ModelInputError, match="the risk is missing in 1 of 2 patients"):
        risk.place(pd.DataFrame({"risk": [0.1, np.nan]}))
    grid = risk_by_benefit_strata(
        np.linspace(0, 1, 91), np.arange(91.0) * 37 % 91, risk_words="risk", benefit_words="score"
    )
    assert grid.names == (
        "Lower risk, lower benefit score", "Lower risk, higher benefit score",
        "Higher risk, lower benefit score", "Higher risk, higher benefit score",
    )  # fmt: skip
    new = pd.DataFrame({"risk": [0.4, 0.4, 0.6, 0.6], "benefit_score": [10.0, 50.0, 10.0, 50.0]})
    assert grid.place(new).tolist() == [0, 1, 2, 3]
    with pytest.raises(ModelInputError, match="use place with the columns risk, benefit_score"):
        grid.assign(np.zeros(2))
    with pytest.raises(AnalysisError, match="a grid of 5 by 2"):
        risk_by_benefit_strata(new["risk"], new["risk"], (5, 2), risk_words="", benefit_words="")


@pytest.mark.parametrize(
    ("low", "high", "round_number"),
    [(349, 352, 350), (49, 50, 50), (0.1231, 0.1239, 0.1235), (-0.2, 0.7, 0), (95, 105, 100), (-3.4, -3.1, -3.2)],
)
def test_a_cut_is_the_roundest_number_between_two_values(low, high, round_number):
    assert cut_between(low, high) == round_number


def test_a_cut_parts_any_two_floats_and_its_words_are_exact():
    generator = np.random.default_rng(4)
    for _ in range(2000):
        low = float(generator.normal() * 10.0 ** generator.integers(-6, 7))
        high = (
            low + abs(low) * 10.0 ** -generator.integers(1, 17)
            if generator.random() < 0.9
            else math.nextafter(low, 1e9)
        )
        if not high > low:
            continue
        cut = cut_between(low, high)
        assert low < cut <= high
        assert float(exact_words(cut).replace(",", "").replace("\N{MINUS SIGN}", "-")) == cut


def test_a_rare_value_has_a_cut_point_of_its_own_where_the_values_are_few_and_there_are_32_at_most():
    X = pd.DataFrame({"few": np.repeat([1.0, 2.0, 3.0], [500, 2, 498]), "many": np.arange(1000.0)})
    covariates = tuple(Covariate(name, "numeric", name) for name in X)
    few, many = Questions.learn(X, InputContract.learn(covariates, X)).asked
    assert few.cuts == (2.0, 3.0)
    assert len(many.cuts) == 32
    sizes = np.bincount(many.bins(X))
    assert sizes.max() - sizes.min() <= 1


def test_ties_give_fewer_parts_none_of_them_empty():
    values = np.repeat([1.0, 2.0, 3.0], [50, 30, 20])
    assert quantile_cuts(values, 5).tolist() == [2.0, 3.0]
    assert quantile_cuts(np.repeat([1.0, 2.0], [95, 5]), 3).tolist() == [2.0]
    assert quantile_cuts(np.ones(9), 4).size == 0
