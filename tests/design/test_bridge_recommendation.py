"""The recommendation, its gate, its tornado and the value of more data: brute force, closed forms, and what is said."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import ndtr

from trialml.design.bridge_comparison import compare_options
from trialml.design.bridge_sensitivity import bridge_sensitivity
from trialml.design.judged_options import claims_of, judged_options, posterior_nodes
from trialml.design.recommendation import Gate, chosen_option, recommend
from trialml.design.response_evidence import Misclassification, Validation
from trialml.design.value_of_information import _future, updated_posterior, value_of_more_data
from trialml.errors import AnalysisError
from trialml.result import Result

OPEN = Gate(level=1, difference_probability=0.0)


@pytest.fixture(scope="module")
def close(bridge):
    """Evidence in which the options are close, its setting, and the options judged."""
    evidence = bridge.survival_evidence(mean=(-0.35, -0.2), misclassification=Misclassification(0.2, 0.1))
    setting = bridge.survival_setting(budget=400, dropout_per_month=0.005)
    return evidence, setting, judged_options(evidence, setting, draws=128)


def test_the_probability_of_being_best_is_the_share_of_truths_drawn_at_random(close):
    # 20,000 draws of both benefits; the adaptive option's own surface at all of them. Four Monte Carlo errors and the width of the nodes.
    evidence, _, judged = close
    draw = np.random.default_rng(5).multivariate_normal(evidence.benefit_mean, evidence.benefit_covariance, 20_000)
    nodes = judged.nodes._replace(inside=draw[:, 0], outside=draw[:, 1], weight=np.full(20_000, 1 / 20_000))
    nets = {
        name: claims_of(option, nodes, 0.4, judged.minimum, draws=128).net for name, option in judged.options.items()
    }
    stacked = np.stack(list(nets.values()))
    best = np.argmax(stacked >= stacked.max(axis=0) - 0.005, axis=0)
    for place, (name, share) in enumerate(judged.best_shares().items()):
        assert share == pytest.approx(float((best == place).mean()), abs=4 * math.sqrt(0.25 / 20_000) + 0.02), name
        assert judged.expected_net()[name] == pytest.approx(
            nets[name].mean(), abs=4 * nets[name].std() / math.sqrt(20_000) + 2e-3
        )


def test_the_option_with_the_largest_net_is_recommended_with_its_probability(close):
    evidence, setting, judged = close
    found = recommend(evidence, setting, gate=OPEN, judged=judged)
    nets = judged.expected_net()
    assert found.option == max(nets, key=lambda name: nets[name])
    assert found.probability == judged.best_shares()[found.option]
    assert found.gate_open
    assert f"with probability {100 * found.probability:.0f} %" in found.text()
    assert chosen_option({"all comers": 0.3, "enriched": 0.3}, gate_open=True) == "all comers"


@pytest.mark.parametrize(
    ("changes", "gate", "why"),
    [
        ({"heterogeneity_p": 0.2}, Gate(), "the global test of heterogeneity has p = 0.20, not below 0.2"),
        ({"mean": (-0.25, -0.3)}, Gate(), "the selected benefit more with probability 39 %, below 50 %"),
        (
            {"mean": (-0.3, -0.25)},
            Gate(difference_probability=0.9),
            "the selected benefit more with probability 61 %, below 90 %",
        ),
        (
            {"validation": Validation(passed=False, failed=("events",))},
            Gate(),
            "the model did not pass its validation (events)",
        ),
        ({"heterogeneity_p": 0.04}, Gate(level=0.01), "not below 0.01"),
    ],
)
def test_a_closed_gate_recommends_all_comers_and_says_why(bridge, changes, gate, why):
    evidence = bridge.survival_evidence(**changes)
    found = recommend(evidence, bridge.survival_setting(), gate=gate, draws=16)
    assert found.option == "all comers"
    assert not found.gate_open
    assert any(why in one for one in found.shortcomings)
    assert "because the gate to enrichment is closed: " in found.text()
    other = f"'{found.without_gate}' would be the best with probability"
    assert ("It would be the best of 5 options" if found.without_gate == "all comers" else other) in found.text()


@pytest.mark.parametrize("costs", [{}, {"cost_screen": 100.0, "cost_patient": 20_000.0, "budget": 6e6}])
def test_what_the_favoured_option_takes_beside_all_comers_is_said(bridge, costs):
    """Its margin with a useless model is that of the comparison's own rows."""
    evidence = bridge.survival_evidence(mean=(-0.5, -0.45), heterogeneity_p=0.5)
    setting = bridge.survival_setting(**({"budget": 300} | costs))
    found = recommend(evidence, setting, draws=16)
    options = compare_options(evidence, setting, draws=16)
    own, everyone = (options.row(name, useless=True)["net"] for name in (found.without_gate, "all comers"))
    assert found.without_gate == "enriched"
    assert f"it would be {100 * own:.1f} points against {100 * everyone:.1f} points" in found.text()
    assert f"The option 'enriched' screens {options.row('enriched')['screened']:,.0f} patients over" in found.text()
    assert (
        "; time has no price in the budget" if costs else "; neither screening nor time has a price"
    ) in found.text()


def test_the_gate_can_be_told_what_not_to_ask(bridge):
    failed = bridge.survival_evidence(validation=Validation(passed=False, failed=("events",)), heterogeneity_p=1.0)
    assert not Gate(level=1, validated=False).shortcomings(failed)
    with pytest.raises(AnalysisError, match="difference_probability of the gate is 1"):
        Gate(difference_probability=1.0)
    with pytest.raises(AnalysisError, match="the level of the gate is 0"):
        Gate(level=0.0)


def test_nothing_to_find_leaves_all_comers_nearly_always(bridge):
    # The gate's price with no heterogeneity: at most the level of the global test, whatever the rest of the evidence happens to say.
    draw = np.random.default_rng(8)
    opened = 0
    for _ in range(400):
        evidence = bridge.survival_evidence(
            mean=(float(-0.3 + 0.14 * draw.normal()), float(-0.3 + 0.14 * draw.normal())),
            heterogeneity_p=float(draw.uniform()),
        )
        opened += not Gate().shortcomings(evidence)
    assert opened / 400 <= Gate().level


def test_the_posterior_after_more_data_is_the_normal_conjugate_one():
    # Two precisions add: V' = (V^-1 + E^-1)^-1 and m' = V' (V^-1 m + E^-1 x).
    before, errors = np.array([[0.02, 0.005], [0.005, 0.02]]), np.diag([0.15, 0.1])
    mean, seen = np.array([0.5, 0.1]), np.array([[0.2, 0.3], [0.9, -0.4]])
    after, spread = updated_posterior(mean, before, seen, errors)
    precision = np.linalg.inv(before) + np.linalg.inv(errors)
    assert spread == pytest.approx(np.linalg.inv(precision), rel=1e-12)
    for one, found in zip(seen, after, strict=True):
        expected = np.linalg.solve(precision, np.linalg.solve(before, mean) + np.linalg.solve(errors, one))
        assert found == pytest.approx(expected, rel=1e-12)


def test_reweighted_nodes_give_what_new_nodes_at_the_new_posterior_give(close):
    evidence, _, judged = close
    errors = np.asarray(evidence.data_covariance) * 1000 / 200
    future = _future(judged, OPEN, 200, 8, 3)
    half = np.random.default_rng(3).standard_normal((4, 2))
    seen = (
        evidence.benefit_mean
        + np.concatenate([half, -half]) @ np.linalg.cholesky(evidence.benefit_covariance + errors).T
    )
    after, spread = updated_posterior(evidence.benefit_mean, evidence.benefit_covariance, seen, errors)
    for place in range(8):
        nodes = posterior_nodes(after[place], spread, 0.4, judged.minimum)
        for name in ("all comers", "enriched", "co-primary"):
            anew = claims_of(judged.options[name], nodes, 0.4, judged.minimum).net @ nodes.weight
            assert future.weights[place] @ judged.claims[name].net == pytest.approx(anew, abs=1e-4)


def test_more_data_change_a_close_decision_and_are_worth_nothing_for_a_clear_one(bridge, close):
    evidence, setting, judged = close
    found = value_of_more_data(evidence, setting, gate=OPEN, judged=judged, draws=1000)
    assert 0 <= found.change_probability <= 1
    # Without a gate the decision with the data is the best under them, so that the gain cannot be negative.
    assert found.gain >= 0
    assert found.gate_opens == 1
    assert sum(found.shares.values()) == pytest.approx(1.0)
    more = value_of_more_data(evidence, setting, gate=OPEN, judged=judged, patients=2000, draws=1000)
    assert more.gain >= found.gain
    clear = bridge.survival_evidence()
    nothing = value_of_more_data(
        clear, bridge.survival_setting(), gate=OPEN, judged=judged_options(clear, setting, draws=64)
    )
    assert nothing.change_probability < 0.02
    assert nothing.gain == pytest.approx(0.0, abs=1e-3)
    with pytest.raises(AnalysisError, match="the number of further patients is 0"):
        value_of_more_data(evidence, setting, patients=0, judged=judged)


def test_the_gate_opens_as_often_as_the_global_z_says(bridge):
    # p and posterior carried by hand: z = (sqrt(n) z0 + sqrt(m) d / sd) / sqrt(n + m), d normal with the predictive variance.
    evidence = bridge.survival_evidence(heterogeneity_p=0.08)
    setting = bridge.survival_setting()
    found = value_of_more_data(
        evidence, setting, gate=Gate(level=0.05, difference_probability=0.0), patients=500, draws=4000,
        judged=judged_options(evidence, setting, draws=16),
    )  # fmt: skip
    before = 1.7506860712521692  # the normal quantile of 1 - 0.08 / 2
    sampling = (0.03 + 0.02) * 2
    predictive = sampling + 0.02 + 0.02 - 2 * 0.005
    need = (1.959963984540054 * math.sqrt(1500) - math.sqrt(1000) * before) / math.sqrt(500) * math.sqrt(sampling)
    opposite = (-1.959963984540054 * math.sqrt(1500) - math.sqrt(1000) * before) / math.sqrt(500) * math.sqrt(sampling)
    expected = ndtr((0.4 - need) / math.sqrt(predictive)) + ndtr((opposite - 0.4) / math.sqrt(predictive))
    assert found.gate_opens == pytest.approx(float(expected), abs=4 * found.gate_opens_mc_error)


def test_the_tornado_plans_again_under_each_assumption(bridge, close):
    evidence, setting, _ = close
    found = bridge_sensitivity(evidence, setting, gate=OPEN, draws=32)
    names = set(found.rows["assumption"])
    assert names == {
        "effect inside",
        "effect outside",
        "prevalence",
        "misclassification",
        "hazard under control",
        "accrual",
        "dropout",
    }
    swings = found.rows.groupby("assumption", sort=False)["net"].agg(lambda net: net.max() - net.min())
    assert list(swings) == sorted(swings, reverse=True)
    # One of them by hand.
    raised = evidence.replaced(mean=(-0.35 - math.sqrt(0.02), -0.2))
    again = judged_options(raised, bridge.survival_setting(budget=400, dropout_per_month=0.005), draws=32)
    row = found.rows[(found.rows["assumption"] == "effect inside") & (found.rows["side"] == "high")].iloc[0]
    assert row["net"] == pytest.approx(again.expected_net()[found.option], abs=1e-12)
    assert row["value"] == "hazard ratio 0.612"
    assert "as assumed" in found.text()
    with_costs = bridge.survival_setting(budget=8e6, cost_screen=1000, cost_patient=20_000)
    assert {"cost of screening", "cost of a patient"} <= set(
        bridge_sensitivity(evidence, with_costs, draws=8).rows["assumption"]
    )


def test_an_assumption_that_leaves_no_trial_is_a_row_with_words(bridge):
    # At the slower accrual the stratum cannot be enrolled in time.
    evidence = bridge.survival_evidence()
    tight = bridge.survival_setting(max_duration_months=63)
    found = bridge_sensitivity(evidence, tight, gate=OPEN, draws=8)
    row = found.rows[(found.rows["assumption"] == "accrual") & (found.rows["side"] == "low")].iloc[0]
    assert found.option == "enriched"
    assert math.isnan(row["net"])
    assert "accrual is too slow" in row["note"]
    assert row["best"] != "enriched"


def test_every_result_draws_speaks_and_comes_back_from_storage(close):
    evidence, setting, judged = close
    results = (
        compare_options(evidence, setting, draws=128, judged=judged),
        recommend(evidence, setting, judged=judged),
        bridge_sensitivity(evidence, setting, draws=8),
        value_of_more_data(evidence, setting, judged=judged, draws=100),
        evidence,
    )
    for result in results:
        again = Result.from_dict(result.to_dict())
        assert again.text() == result.text()
        assert again.scalars() == pytest.approx(dict(result.scalars()), nan_ok=True)
        assert all(isinstance(value, float) for value in result.scalars().values())
        assert result.chapter == "design"
        if result.has_figure:
            figure = Figure(figsize=result.figure_size, layout="constrained")
            result.draw(figure)
            figure.draw_without_rendering()


def test_an_open_gate_without_a_significant_test_is_said_to_be_no_finding(bridge):
    setting = bridge.survival_setting(budget=400)
    texts = [
        recommend(bridge.survival_evidence(mean=(-0.7, -0.05), heterogeneity_p=p), setting, draws=16).text()
        for p in (0.01, 0.12)
    ]
    assert "no finding of a subgroup" not in texts[0]
    assert "(p = 0.12) does not show that the effect differs between patients" in texts[1]
