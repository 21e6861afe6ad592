"""Strata as rules: cut-points, state, profile with suppressed cells, stability by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from trialml.data.trial import Covariate
from trialml.errors import AnalysisError
from trialml.strata.population import enriched_groups
from trialml.strata.profile import StrataProfile, strata_profile
from trialml.strata.stability import StrataStability, strata_stability
from trialml.strata.strata import Strata, quantile_strata, risk_by_benefit_strata


@pytest.mark.parametrize("groups", [2, 3, 4, 5])
def test_groups_are_equal_in_size_and_a_score_on_a_cut_belongs_above(groups):
    score = np.random.default_rng(1).normal(size=60 * groups)
    strata = quantile_strata(score, groups, model="T-response", unit="days")
    assert list(np.bincount(strata.assign(score))) == [60] * groups
    by_quantile = np.searchsorted(np.quantile(score, np.arange(1, groups) / groups), score, side="right")
    np.testing.assert_array_equal(strata.assign(score), by_quantile)
    assert list(strata.assign(np.asarray(strata.cuts))) == list(range(1, groups))
    assert len(set(strata.names)) == groups


def test_the_state_goes_through_json():
    strata = quantile_strata(np.arange(90.0), 3, model="T-response", unit="days")
    assert Strata.from_state(json.loads(json.dumps(strata.state()))) == strata
    assert strata.strata[0].rule.endswith("days")


def test_the_cut_that_the_words_show_is_the_cut_that_is_applied():
    score = np.random.default_rng(3).normal(size=900)
    strata = quantile_strata(score, 5, model="T-response", unit="days")
    shown = [float(one.rule.split(" days")[0].split()[-1].replace("\N{MINUS SIGN}", "-")) for one in strata.strata[:-1]]
    assert tuple(shown) == strata.cuts
    assert (
        quantile_strata(np.arange(90.0), 3, model="m", unit="days").strata[0].rule == "benefit score of m below 30 days"
    )


def test_names_promise_no_benefit_and_old_states_are_read_with_the_names_that_they_have():
    strata = quantile_strata(-np.arange(90.0), 3, model="T-response", unit="days")
    assert strata.names == ("Lower benefit score", "Middle benefit score", "Higher benefit score")
    old = {"strata": [["Lower benefit", "below 1"], ["Higher benefit", "at least 1"]], "cuts": [1.0]}
    assert list(Strata.from_state(old).assign(np.array([0.0, 1.0]))) == [0, 1]
    assert Strata.from_state(old).names == ("Lower benefit", "Higher benefit")


def test_equal_scores_are_one_stratum_and_mostly_equal_ones_are_two():
    assert quantile_strata(np.full(50, 3.0), 3, model="m", unit="days").names == ("All patients",)
    mostly = quantile_strata(np.repeat([1.0, 2.0], [40, 10]), 3, model="m", unit="days")
    assert mostly.cuts == (2.0,)


def test_a_number_of_groups_without_names_is_refused():
    with pytest.raises(AnalysisError, match="groups = 6"):
        quantile_strata(np.arange(90.0), 6, model="m", unit="days")


TWO = quantile_strata(np.arange(60.0), 2, model="m", unit="days")
MEMBERS = np.repeat([0, 1], 30)


def test_trap_76_small_cells_of_the_profile_are_suppressed_and_their_differences_too():
    baseline = pd.DataFrame(
        {
            "age": np.arange(60.0),
            "prior": np.r_[np.ones(20), np.zeros(10), np.ones(15), np.zeros(15)],
            "rare": np.r_[np.ones(3), np.zeros(57)],
        }
    )
    covariates = tuple(Covariate(name, kind, name) for name, kind in (("age", "numeric"), ("prior", "binary"), ("rare", "binary")))  # fmt: skip
    found = strata_profile(baseline, covariates, MEMBERS, TWO)
    rows = found.frame().set_index("characteristic")
    assert rows.loc["rare", "Lower benefit score"] == "suppressed"
    assert np.isnan(rows.loc["rare", "smd"])
    # 10 without it in the lower stratum are few, and the share of all patients would give them back from the other.
    assert list(rows.loc["prior", ["Lower benefit score", "Higher benefit score"]]) == ["suppressed", "suppressed"]
    assert rows.loc["age", "Higher benefit score"] == "44 (37 to 52)"
    low, high = np.arange(30.0), np.arange(30.0, 60.0)
    wanted = 30.0 / np.sqrt((low.var(ddof=1) + high.var(ddof=1)) / 2)
    assert rows.loc["age", "smd"] == pytest.approx(wanted, rel=1e-9)
    assert found.frame()["characteristic"].iloc[0] == "age"
    again = StrataProfile.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()


def test_a_hidden_level_does_not_follow_from_the_levels_beside_it():
    """Two, one of three in each stratum: without a second hidden level, 100 % less those shown would give them back."""
    sex = np.array(["F"] * 15 + ["M"] * 13 + ["other (1 level)"] * 2 + ["F"] * 13 + ["M"] * 16 + ["other (1 level)"])
    found = strata_profile(pd.DataFrame({"sex": sex}), (Covariate("sex", "categorical", "Sex"),), MEMBERS, TWO)
    rows = found.frame().set_index("characteristic")
    counts = pd.crosstab(sex, MEMBERS)
    for place, name in enumerate(("Lower benefit score", "Higher benefit score")):
        hidden = rows.index[rows[name] == "suppressed"].str.removeprefix("Sex: ")
        assert "other (1 level)" in hidden
        assert len(hidden) > 1
        assert counts.loc[hidden, place].sum() >= 11


def test_agreement_and_kappa_by_hand():
    """Two repeats of six patients: shares 1/2 and 1/2, 1/3 and 2/3; five of six agree; chance 1/2, kappa 2/3."""
    final = np.array([0, 0, 0, 1, 1, 1])
    members = np.array([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]])
    found = strata_stability(members, final, TWO)
    assert found.agreement == pytest.approx(11 / 12)
    assert found.kappa == pytest.approx((5 / 6 - 1 / 2) / (1 - 1 / 2))
    assert found.moves["Higher benefit score"].tolist() == pytest.approx([1 / 6, 1.0])
    again = StrataStability.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()


def test_rules_that_agree_by_chance_alone_have_kappa_near_zero():
    members = np.random.default_rng(2).integers(0, 2, (8, 2000))
    assert abs(strata_stability(members, members[0], TWO).kappa) < 0.03


def test_groups_for_enrichment_leave_out_one_stratum_more_each_time_from_the_end_where_there_is_least_to_gain():
    x = np.arange(90.0)
    benefit = quantile_strata(x, 3, model="m", unit="days")
    risk = quantile_strata(x, 3, model="m", unit="", kind="risk")
    grid = risk_by_benefit_strata(x, x[::-1] % 7, (2, 3), risk_words="risk", benefit_words="score")
    upward = [("Middle {} and above", (1, 2)), ("Higher {} only", (2,))]
    downward = [("Middle {} and below", (0, 1)), ("Lower {} only", (0,))]

    def groups(strata, low):
        return [tuple(one) for one in enriched_groups(strata, worst_is_low=low)]

    def named(wanted, what):
        return [(name.format(what), places) for name, places in wanted]

    for low in (False, True):
        assert groups(benefit, low) == named(upward, "benefit score")
    assert groups(risk, False) == named(upward, "risk")
    assert groups(risk, True) == named(downward, "risk")
    assert groups(grid, False) == [("Higher risk, higher benefit score only", (5,))]
    assert groups(grid, True) == [("Lower risk, higher benefit score only", (2,))]
    assert groups(quantile_strata(np.ones(9), 3, model="m", unit="days"), True) == []


def test_a_score_that_is_not_known_makes_no_cut_points():
    score = np.append(np.arange(20.0), np.nan)
    with pytest.raises(AnalysisError, match="The benefit is missing or infinite in 1 of 21 patients"):
        quantile_strata(score, 3, model="m", unit="days")
    with pytest.raises(AnalysisError, match="The risk is missing or infinite in 1 of 21 patients"):
        risk_by_benefit_strata(score, np.arange(21.0), risk_words="risk", benefit_words="score")
