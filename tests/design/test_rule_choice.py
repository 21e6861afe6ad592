"""The place at which strata are cut: the largest net of all rules that pass the gate, recomputed rule by rule."""

import pytest

from trialml.design.judged_options import judged_options
from trialml.design.recommendation import Gate
from trialml.design.rule_choice import choose_rule
from trialml.result import Result


@pytest.fixture(scope="module")
def two(bridge):
    """Evidence of a wide rule, with that of a narrow one with the larger effect."""
    narrow = bridge.survival_evidence(mean=(-0.7, -0.15), rule="the highest third", count=200, n=600)
    wide = bridge.survival_evidence(mean=(-0.5, -0.1), rule="the upper two thirds", count=400, n=600)
    return narrow.replaced(other_rules=(wide,))


@pytest.mark.parametrize("cost_screen", [1.0, 30.0])
def test_the_rule_with_the_largest_net_is_taken(bridge, two, cost_screen):
    # Screening at the price of three patients makes the narrow rule too dear.
    setting = bridge.survival_setting(budget=4000, cost_screen=cost_screen, cost_patient=10.0)
    found = choose_rule(two, setting, gate=Gate(), draws=32)
    rules = (two.replaced(other_rules=()), *two.other_rules)
    nets = [max(judged_options(rule, setting, draws=32).expected_net().values()) for rule in rules]
    best = rules[nets.index(max(nets))]
    assert found.evidence.rule == best.rule
    assert found.judged.evidence.rule == best.rule
    assert [one.rule for one in found.evidence.other_rules] == [one.rule for one in rules if one is not best]
    rows = found.choice.frame().set_index("rule")
    assert rows.loc[best.rule, "net"] == pytest.approx(max(nets), rel=1e-12)
    assert best.rule in found.choice.text()
    assert Result.from_dict(found.choice.to_dict()).frame().equals(found.choice.frame())


def test_where_the_gate_is_closed_the_first_rule_stays(bridge, two):
    setting = bridge.survival_setting(budget=400)
    shut = two.replaced(
        heterogeneity_p=0.5, other_rules=tuple(r.replaced(heterogeneity_p=0.5) for r in two.other_rules)
    )
    found = choose_rule(shut, setting, draws=16)
    assert found.evidence.rule == two.rule
    assert "with none of them does the evidence pass the gate" in found.choice.text()
    assert set(found.choice.table()["Gate"]) == {"closed"}


def test_a_rule_without_a_trial_has_a_note(bridge, two):
    harm = two.other_rules[0].replaced(mean=(0.3, 0.3))
    found = choose_rule(two.replaced(other_rules=(harm,)), bridge.survival_setting(budget=400), draws=16)
    assert found.evidence.rule == two.rule
    assert found.choice.table()["Best option"].str.contains("favour control").any()
