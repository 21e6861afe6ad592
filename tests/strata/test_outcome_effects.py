"""Effects of binary and continuous endpoints by stratum, against sums spelled out."""

import json
import math

import numpy as np
import pytest

from trialml.result import Result
from trialml.strata.crossfit import HeldOutStrata, estimand_words
from trialml.strata.outcome_effects import (
    ObservedOutcomes,
    outcome_population,
    outcome_scales,
    outcome_stratum_effects,
)
from trialml.strata.shrunken import shrunken_effects
from trialml.strata.strata import quantile_strata
from trialml.validation.benefit import HeldOutBenefit, group_mean


@pytest.fixture(scope="module")
def made():
    draw = np.random.default_rng(5)
    n, repeats = 300, 4
    treated, x = np.arange(n) % 2 == 1, draw.normal(size=n)
    value = 10 + x + treated * (1 + x) + draw.normal(size=n)
    score = (value - 10) * (2 * treated - 1) * 2 + draw.normal(size=(repeats, n))
    rank = np.clip((np.argsort(np.argsort(x)) + 0.5) / n + draw.normal(0, 0.02, (repeats, n)), 0.001, 0.999)
    held = HeldOutBenefit(score, x + np.zeros((repeats, 1)), x + np.zeros((repeats, 1)), rank)
    return ObservedOutcomes(value, treated), held, x


def effects(made, binary=False, held=None):
    outcomes, found, x = made
    held = found if held is None else held
    if binary:
        outcomes = ObservedOutcomes((outcomes.value > 11).astype(float), outcomes.treated)
    strata = quantile_strata(x, 3, model="m", unit="points")
    return outcome_stratum_effects(
        outcomes,
        held,
        strata,
        naive_scores=held.score.mean(axis=0),
        naive_members=strata.assign(x),
        heterogeneity_p=0.2,
        scale="difference in means, experimental less control",
        unit="" if binary else "points",
        binary=binary,
    )


def test_the_benefit_of_a_group_is_the_mean_of_its_scores_and_the_ratio_that_of_its_arms(made):
    outcomes, held, _ = made
    inside = held.rank > 0.5
    found = outcome_population(outcomes, held, inside)
    value, se = group_mean(held.score, inside)
    assert (found["benefit"], found["benefit_se"]) == (value, se)
    arms = [[outcomes.value[member & (outcomes.treated == arm)] for arm in (False, True)] for member in inside]
    control, experimental = (np.mean([one[arm].mean() for one in arms]) for arm in (0, 1))
    assert found["control_mean"] == pytest.approx(control)
    assert found["ratio"] == pytest.approx(experimental / control)
    variances = [np.mean([one[arm].var(ddof=1) / len(one[arm]) for one in arms]) for arm in (0, 1)]
    spread = math.sqrt(variances[0] / control**2 + variances[1] / experimental**2)
    assert math.log(found["ratio_high"] / found["ratio"]) == pytest.approx(1.959963984540054 * spread)
    pooled = [
        (((one[0] - one[0].mean()) ** 2).sum() + ((one[1] - one[1].mean()) ** 2).sum())
        / (len(one[0]) + len(one[1]) - 2)
        for one in arms
    ]
    assert found["sd"] == pytest.approx(math.sqrt(np.mean(pooled)))


def test_a_mean_that_is_not_above_0_leaves_no_ratio_and_an_empty_arm_no_mean(made):
    outcomes, held, _ = made
    below = ObservedOutcomes(outcomes.value - 100, outcomes.treated)
    assert math.isnan(outcome_population(below, held, held.rank > 0.5)["ratio"])
    alone = np.tile(outcomes.treated, (len(held.score), 1))
    assert math.isnan(outcome_population(outcomes, held, alone)["control_mean"])


def test_words_name_the_scale_and_never_a_hazard(made):
    for binary in (False, True):
        found = effects(made, binary)
        words = found.text() + " ".join(found.table().columns) + found.methods
        assert "hazard" not in words.lower()
        assert "RMST" not in words
        assert "difference in means, experimental less control" in found.text()
        assert "exploratory" in found.text()
        assert Result.from_dict(json.loads(json.dumps(found.to_dict()))).text() == found.text()
    assert "Risk ratio (95% CI)" in effects(made, True).table().columns


@pytest.mark.parametrize("binary", [False, True])
def test_a_stratum_that_a_repeat_left_empty_has_no_effect_and_no_number_is_printed_for_it(made, binary):
    held = made[1]._replace(rank=np.vstack((np.maximum(made[1].rank[:1], 0.4), made[1].rank[1:])))
    found = effects(made, binary, held)
    assert "experimental less control is not estimable in the stratum 'Lower benefit score'" in found.text()
    assert "The difference cannot be estimated" in found.text()
    assert "n/a" not in found.text()


def test_the_difference_of_the_outer_strata_is_wider_than_independence_would_have_it(made):
    found = effects(made)
    outer = found.rows.iloc[-1], found.rows.iloc[0]
    assert found.difference.value == pytest.approx(outer[0]["benefit"] - outer[1]["benefit"])
    assert found.difference.se == pytest.approx(
        1.15 * math.hypot(outer[0]["benefit_se"], outer[1]["benefit_se"]), rel=0.02
    )
    assert set(found.scalars()) >= {"benefit_crossfit_lower_benefit_score", "benefit_crossfit_highest_less_lowest_low"}


def test_shrunken_effects_take_a_prior_in_the_outcomes_own_unit(made):
    for binary in (False, True):
        found = effects(made, binary)
        absolute, relative = outcome_scales(found)
        rows = found.rows
        control, sd = (np.average(rows[name], weights=rows["share"]) for name in ("control_mean", "sd"))
        assert absolute.prior_scale == pytest.approx(0.25 * (control * (1 - control) if binary else sd))
        assert relative.effects == pytest.approx(np.log(rows["ratio"]))
        assert relative.errors == pytest.approx(np.log(rows["ratio"] / rows["ratio_low"]) / 1.959963984540054)
        shrunk = shrunken_effects(list(rows["stratum"]), (absolute, relative))
        frame = shrunk.frame()
        assert np.ptp(frame.loc[frame["scale"] == absolute.name, "shrunk"]) < np.ptp(rows["benefit"])


def in_refitted_strata(made, member, binary=False):
    """Effects where every repeat says, by a rule of its own, who is in which of two strata."""
    outcomes, held, x = made
    if binary:
        outcomes = ObservedOutcomes((outcomes.value > 11).astype(float), outcomes.treated)
    strata = quantile_strata(x, 2, model="m-risk", unit="of y", kind="risk", risk_name="expected outcome")
    return outcome_stratum_effects(
        outcomes,
        HeldOutStrata(held.score, member, np.zeros_like(member)),
        strata,
        naive_scores=held.score.mean(axis=0),
        naive_members=strata.assign(x),
        heterogeneity_p=0.2,
        scale="difference in means, experimental less control",
        unit="" if binary else "points",
        binary=binary,
    )


def test_in_strata_that_were_refitted_the_benefit_is_the_mean_score_of_each_repeats_members(made):
    held, draw = made[1], np.random.default_rng(2)
    member = draw.integers(0, 2, held.score.shape)
    found = in_refitted_strata(made, member)
    for place, row in enumerate(found.rows.to_dict("records")):
        means = [scores[own == place].mean() for scores, own in zip(held.score, member, strict=True)]
        assert row["benefit"] == pytest.approx(np.mean(means), rel=1e-12)
        assert row["n"] == pytest.approx((member == place).sum() / len(member))
    assert found.rows["stratum"].tolist() == ["Lower expected outcome", "Higher expected outcome"]
    assert found.rows["rule"].iloc[0].startswith("expected outcome of y by m-risk below ")
    assert found.estimand == estimand_words("risk")
    assert found.estimand in found.text()
    assert "4 repeats are few" in found.text()


def test_a_small_or_empty_stratum_hides_its_size_and_takes_no_part_in_the_prior(made):
    outcomes, held, _ = made
    small = np.zeros(held.score.shape, dtype=np.intp)
    small[:, :8] = 1
    hidden = in_refitted_strata(made, small)
    assert hidden.rows[["n", "share"]].isna().all(axis=None)
    assert math.isfinite(hidden.prior_scale)
    assert hidden.table()["Patients (mean over repeats)"].tolist() == ["suppressed", "suppressed"]
    for binary in (False, True):
        empty = in_refitted_strata(made, np.zeros_like(small), binary)
        share = (outcomes.value > 11)[~outcomes.treated].mean()
        deviation = [outcomes.value[outcomes.treated == arm] for arm in (False, True)]
        pooled = math.sqrt(sum(((one - one.mean()) ** 2).sum() for one in deviation) / (len(outcomes.value) - 2))
        assert empty.prior_scale == pytest.approx(0.25 * (share * (1 - share) if binary else pooled))
        assert "a repeat left an outer stratum empty" in empty.text()
