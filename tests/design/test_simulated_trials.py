"""Simulated trials by brute force: each test of each look from the same patients, cut and compared one by one."""

import math

import numpy as np
import pandas as pd
import pytest

from trialml.design.group_sequential import Design
from trialml.design.look_tests import _is_rarer, cut_patients, look_test
from trialml.design.patient_groups import Group
from trialml.design.scenario import Scenario
from trialml.design.sequential_effect import look_effects, sequential_power
from trialml.design.simulate import simulate, simulate_one_trial
from trialml.design.simulated import SimulatedTrials
from trialml.design.trial_loop import count_calendar, logrank_at, nth_event_month, order_ends
from trialml.design.trial_plan import plan_of
from trialml.design.trial_sums import LookRules, run_logrank, run_plan, tally_of
from trialml.errors import AnalysisError
from trialml.survival.logrank import logrank, logrank_arrays
from trialml.survival.normal_maximum import tail_of_largest
from trialml.survival.rmst import restricted_mean

HAZARD = math.log(2) / 12
GROUPS = [
    (0.3, [0.0], [0.1], [0.05]),
    (0.5, [0.0, 6.0], [0.02, 0.05], [0.02, 0.02]),
    (0.2, [0.0, 9.0], [0.05, 0.0], [0.05, 0.0]),
]
DESIGN = Design(information_fractions=(0.5, 0.75, 1.0))
SCENARIO = Scenario.from_median(
    "main", control_median_months=12, hazard_ratio=0.7, accrual_per_month=500 / 18, patients=500
)


def no_bounds(targets, *, months=None, timing="events", stratified=False, horizon=50.0):
    none = np.full(len(targets), -np.inf)
    months = np.zeros(len(targets)) if months is None else np.array(months)
    return LookRules(np.array(targets), months, timing, -none, none, none, stratified, horizon)


@pytest.mark.parametrize("entry", ["even", "poisson", "uniform"])
@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("horizon", [2.0, 50.0, 5000.0])
def test_every_look_has_the_logrank_test_of_its_patients(entry, stratified, horizon):
    """Against `survival.logrank`, itself held to R's survdiff."""
    plan = plan_of(200, accrual=([0.0, 5.0], [5.0, 20.0]), groups=GROUPS, dropout=(0.01, 0.02), entry=entry)
    rules = no_bounds((20, 50, 80), stratified=stratified, horizon=horizon)
    looks = run_logrank(plan, rules, 7, 30, 20)
    for j in range(20):
        drawn = plan.draw(7, 30 + j)
        calendar = np.sort((drawn.entry + drawn.time)[drawn.event == 1])
        for look, target in enumerate(rules.targets):
            assert looks.months[j, look] == calendar[target - 1]
            cut = cut_patients(drawn, calendar[target - 1])
            test = logrank(cut.time, cut.event, cut.arm, strata=cut.strata if stratified else None)
            assert looks.z[j, look] == pytest.approx(-test.z, rel=1e-9, abs=1e-10)
            if not stratified:
                assert looks.log_hazard_ratio[j, look] == pytest.approx(math.log(test.hazard_ratio), rel=1e-9)
            assert looks.events[j, look] == target == cut.event.sum()
            assert looks.enrolled[j, look] == (drawn.entry <= calendar[target - 1]).sum()


def test_ties_take_the_hypergeometric_variance():
    """Times in whole months, against `survival.logrank_arrays` with the same ties."""
    draw, n = np.random.default_rng(1), 150
    start, order, piece = np.zeros(n + 1, np.int64), np.zeros(n, np.uint32), np.zeros(n, np.uint32)
    seen, mark, sums = np.zeros(n + 1), np.zeros(n + 1, np.uint8), np.zeros(2)
    for _ in range(50):
        entry = np.sort(draw.integers(0, 12, n)).astype(float)
        time = np.ceil(draw.exponential(10, n))
        arm, event = draw.integers(0, 2, n).astype(np.uint8), draw.integers(0, 2, n).astype(np.uint8)
        ordered = np.zeros(n), np.zeros(n), np.zeros(n, np.uint8)
        used = order_ends(20.0, 5.0, entry, time, arm, event, start, order, piece, *ordered)
        for cut in (8.0, 14.0, 20.0):
            inside = entry < cut
            sums[:] = 0
            logrank_at(cut, int(inside.sum()), used, entry, time, arm, *ordered, seen, mark, sums)
            ended = entry + time <= cut
            follow = np.where(ended, time, cut - entry)[inside]
            known = logrank_arrays(follow, (ended & (event == 1))[inside], arm[inside].astype(np.intp), 2)
            assert sums[0] == pytest.approx(known.observed[1] - known.expected[1], abs=1e-10)
            assert sums[1] == pytest.approx(known.covariance[1, 1], abs=1e-10)


def test_the_month_of_an_event_is_found_as_by_sorting():
    draw, n = np.random.default_rng(2), 80
    piece, counts, month, scratch = np.zeros(n, np.uint32), np.zeros(30, np.int64), np.zeros(n), np.zeros(n)
    for horizon in (0.5, 10.0, 400.0):
        entry, time = np.sort(draw.uniform(0, 10, n)), draw.exponential(20, n).round(1)
        event = draw.integers(0, 2, n).astype(np.uint8)
        total = count_calendar(entry, time, event, horizon, piece, counts, month)
        known = np.sort((entry + time)[event == 1])
        assert total == known.size
        found = [nth_event_month(k, piece, counts, month, scratch) for k in range(1, total + 1)]
        assert found == known.tolist()


def test_looks_by_calendar_or_by_events_whichever_is_later():
    plan = plan_of(100, accrual=([0.0], [10.0]), groups=[(1.0, [0.0], [0.05], [0.05])])
    months = (8.0, 30.0)
    by_month = run_logrank(plan, no_bounds((0, 0), months=months, timing="months"), 1, 0, 30)
    by_events = run_logrank(plan, no_bounds((20, 50)), 1, 0, 30)
    later = run_logrank(plan, no_bounds((20, 50), months=months, timing="events-and-months"), 1, 0, 30)
    assert (by_month.months == months).all()
    np.testing.assert_array_equal(later.months, np.maximum(by_events.months, months))
    assert len(set(by_month.events[:, 0])) > 1
    for j in range(30):
        drawn = plan.draw(1, j)
        assert by_month.events[j, 0] == cut_patients(drawn, 8.0).event.sum()


def test_too_few_events_are_looked_at_when_the_last_one_is_in_and_counted():
    plan = plan_of(60, accrual=([0.0], [10.0]), groups=[(1.0, [0.0, 10.0], [0.05, 0.0], [0.05, 0.0])])
    rules = no_bounds((10, 40))
    looks = run_logrank(plan, rules, 3, 0, 200)
    tally = tally_of(looks, rules.targets)
    assert 0 < tally.short[1] == (looks.events[:, 1] < 40).sum() <= 200
    j = int(np.argmin(looks.events[:, 1]))
    drawn = plan.draw(3, j)
    assert looks.months[j, 1] == np.max((drawn.entry + drawn.time)[np.isfinite(drawn.time)])


def test_a_look_without_an_event_is_no_test_and_stops_nothing():
    plan = plan_of(40, accrual=([0.0], [10.0]), groups=[(1.0, [0.0], [0.05], [0.05])])
    rules = no_bounds((0, 0), months=(1e-6, 20.0), timing="months")._replace(futility=np.array([0.5, -np.inf]))
    looks = run_logrank(plan, rules, 1, 0, 20)
    assert not looks.events[:, 0].any()
    assert not looks.decision[:, 0].any()
    assert not looks.z[:, 0].any()
    assert looks.events[:, 1].all()


def test_trials_stop_at_the_first_bound_they_cross():
    plan = plan_of(200, accrual=([0.0], [20.0]), groups=[(1.0, [0.0], [0.05], [0.03])])
    free = no_bounds((50, 80, 110))
    full = run_logrank(plan, free, 5, 0, 2000)
    bounded = free._replace(
        upper=np.array([2.5, 2.2, 2.0]), futility=np.array([0.0, 0.5, -np.inf]), lower=np.full(3, -3.0)
    )
    tally = run_plan(plan, bounded, trials=2000, seed=5)
    decisions = []
    for z in full.z:
        for look in range(3):
            hit = (
                1
                if z[look] >= bounded.upper[look]
                else -1
                if z[look] <= -3
                else -2
                if z[look] < bounded.futility[look]
                else 0
            )
            if hit or look == 2:
                decisions.append((look, hit))
                break
    for look in range(3):
        for k, code in enumerate((1, -1, -2)):
            assert tally.stopped[look, k] == decisions.count((look, code))
    ends = [full.events[j, look] for j, (look, _) in enumerate(decisions)]
    assert tally.final_sums[3] == sum(ends)
    assert tally.final_squares[3] == sum(end**2 for end in ends)
    assert tally.reached.tolist() == [
        2000,
        sum(look > 0 for look, _ in decisions),
        sum(look > 1 for look, _ in decisions),
    ]


def test_the_number_of_workers_changes_nothing():
    one, two, three = (simulate(DESIGN, SCENARIO, 3500, 9, workers=workers) for workers in (1, 2, 3))
    for other in (two, three):
        pd.testing.assert_frame_equal(one.looks, other.looks, check_exact=True)
        pd.testing.assert_frame_equal(one.totals, other.totals, check_exact=True)


def test_another_seed_is_another_simulation():
    assert simulate(DESIGN, SCENARIO, 1000, 1).power.value != simulate(DESIGN, SCENARIO, 1000, 2).power.value


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_is_told_after_each_part(workers):
    told = []
    simulate(DESIGN, SCENARIO, 3500, 1, workers=workers, progress=lambda: told.append(1))
    assert len(told) == 4


def test_the_slow_path_with_weights_of_one_is_the_fast_path():
    fast = simulate(DESIGN, SCENARIO, 400, 2)
    slow = simulate(DESIGN, SCENARIO, 400, 2, test="fleming-harrington", weightings=((0, 0),))
    assert slow.looks["reject"].tolist() == fast.looks["reject"].tolist()
    for name in ("z", "months", "events", "enrolled"):
        np.testing.assert_allclose(slow.looks[name], fast.looks[name], rtol=1e-12)
    assert "hazard_ratio" not in set(slow.totals["figure"])
    assert "Hazard ratio" in fast.table()
    assert "Hazard ratio" not in slow.table()


def test_restricted_means_are_compared_as_in_the_survival_chapter():
    plan = plan_of(300, accrual=([0.0], [30.0]), groups=[(1.0, [0.0], [0.05], [0.03])])
    looks = look_test("rmst", tau_months=12).run(plan, no_bounds((100,)), 3, 0, 10)
    for j in range(10):
        cut = cut_patients(plan.draw(3, j), looks.months[j, 0])
        arm = np.where(cut.arm == 1, "e", "c")
        known = restricted_mean(cut.time, cut.event, arm, control="c", experimental="e", tau=12).difference
        assert looks.z[j, 0] == pytest.approx(known.value / known.se, rel=1e-10)


def test_restricted_means_beyond_follow_up_stop_no_trial():
    plan = plan_of(100, accrual=([0.0], [30.0]), groups=[(1.0, [0.0], [0.05], [0.01])])
    rules = no_bounds((20,))._replace(upper=np.array([-5.0]))
    looks = look_test("rmst", tau_months=500).run(plan, rules, 3, 0, 5)
    assert not looks.decision.any()


def test_the_tail_of_maxcombo_is_decided_as_by_integration():
    draw = np.random.default_rng(4)
    for m in (2, 3, 4):
        for _ in range(8):
            root = draw.normal(size=(m, m)) + 1.5
            covariance = root @ root.T
            spread = np.sqrt(np.diag(covariance))
            correlation = covariance / np.outer(spread, spread)
            z = float(draw.uniform(0.5, 3))
            tail = tail_of_largest(correlation, z)
            for p in (tail.value * 0.999, tail.value * 1.001, 0.025):
                assert _is_rarer(correlation, z, p) == (tail.value <= p)


def test_one_trial_is_that_of_the_simulation():
    looks = run_logrank(plan_of(
        500, accrual=([0.0], [500 / 18]), groups=[(1.0, [0.0], [HAZARD], [0.7 * HAZARD])]
    ), no_bounds((169, 253, 337)), 1, 12, 1)  # fmt: skip
    for look, events in enumerate((169, 253, 337)):
        frame = simulate_one_trial(SCENARIO, 1, 12, events=events)
        test = logrank(frame["time_months"], frame["event"], frame["arm"], order=["control", "experimental"])
        assert test.z == pytest.approx(-looks.z[0, look], rel=1e-9)
        assert frame["event"].sum() == events
        by_month = simulate_one_trial(SCENARIO, 1, 12, months=looks.months[0, look])
        pd.testing.assert_frame_equal(frame, by_month)
    whole = simulate_one_trial(SCENARIO, 1, 12)
    assert len(whole) == 500
    assert whole["event"].all()


def test_a_simulation_is_stratified_by_the_groups_of_its_scenario():
    """Against the stratified test of the survival chapter, over the patients of the very same trials."""
    groups = (Group("low", 0.6, control_hazard_per_month=0.02), Group("high", 0.4, control_hazard_per_month=0.2))
    scenario = Scenario("mixed", hazard_ratio=0.6, accrual_per_month=20, patients=200, groups=groups)
    design, z = Design(), []
    for trial in range(40):
        frame = simulate_one_trial(scenario, 3, trial, events=100)
        assert set(frame["group"]) == {"low", "high"}
        test = logrank(
            frame["time_months"], frame["event"], frame["arm"], order=["control", "experimental"], strata=frame["group"]
        )
        z.append(-test.z)
    found = simulate(design, scenario, 40, 3, events=100)
    assert found.looks["z"].iloc[0] == pytest.approx(np.mean(z), rel=1e-9)
    assert found.power.value == np.mean(np.array(z) >= design.critical_values[0])
    assert "stratified log-rank test" in found.text()
    plain = simulate(design, scenario, 40, 3, events=100, stratified=False)
    assert plain.looks["z"].iloc[0] != found.looks["z"].iloc[0]
    assert "stratified" not in plain.text()
    assert plain.looks["computed_reject"].isna().all()


def test_a_result_says_what_was_simulated_and_survives_storage():
    found = simulate(DESIGN, SCENARIO, 2000, 5)
    assert found.power.kind == "simulated"
    p = found.power.value
    assert found.power.mc_error == pytest.approx(math.sqrt(p * (1 - p) / 2000))
    assert found.power.low < p < found.power.high
    assert p == pytest.approx(found.looks["reject"].sum()) == found.looks["cumulative_power"].iloc[-1]
    assert "alpha 0.025 one-sided" in found.text()
    assert "2,000 simulated trials of 500 patients" in found.text()
    again = SimulatedTrials.from_dict(found.to_dict())
    assert again.text() == found.text()
    pd.testing.assert_frame_equal(again.frame(), found.frame())
    assert f"{100 * found.looks['computed_reject'].sum():.2f} % by integration" in found.text()
    numbers = found.scalars()
    assert numbers["simulated_power"] == p
    assert numbers["simulated_power_mc_error"] == found.power.mc_error
    assert found.looks["planned_events"].tolist() == [169, 253, 337]
    ends = found.looks["reject"].to_numpy().copy()
    ends[-1] = 1 - ends[:-1].sum()
    assert found.estimate("events").value == pytest.approx(ends @ [169, 253, 337])


def test_what_integration_gives_stands_beside_what_was_simulated():
    """336 events have whole events at all fractions, so the figures are the design's own."""
    design = Design(information_fractions=(0.5, 0.75, 1.0), futility_z=(0.0, 0.5))
    drift = -math.log(0.7) * math.sqrt(336 / 4)
    found = simulate(design, SCENARIO, 10, events=336)
    np.testing.assert_allclose(found.looks["computed_reject"], design.exit_probabilities(drift), rtol=1e-9)
    np.testing.assert_allclose(
        found.looks["computed_futility"], [*design.futility_probabilities(drift)[:-1], 0], rtol=1e-9
    )
    later = simulate(design, SCENARIO, 10, events=336, timing="months", look_months=(10, 20, 30))
    assert later.looks[["computed_reject", "planned_events"]].isna().all(axis=None)


def test_a_delayed_effect_is_integrated_under_its_average_hazard_ratio():
    """The very figures of `sequential_power`, which is held to gsDesign2 where it is written."""
    scenario = Scenario.from_median(
        "late",
        control_median_months=12,
        hazard_ratios=(1, 0.6),
        hazard_ratio_breaks_months=(0, 4),
        accrual_per_month=30,
        patients=380,
    )
    design = Design(information_fractions=(0.6, 1.0))
    found = simulate(design, scenario, 10, 3, events=250)
    looks = look_effects(scenario, [scenario.months_to_events(events) for events in (150, 250)])
    known = sequential_power(design, looks).rejects
    np.testing.assert_allclose(
        found.looks["computed_reject"], known, rtol=2e-4
    )  # its bounds are those of its information
    assert "by integration under the average hazard ratio of each look" in found.text()


def test_a_result_can_be_drawn():
    from matplotlib.figure import Figure

    figure = Figure()
    simulate(DESIGN, SCENARIO, 100, 5).draw(figure)
    assert figure.axes[0].get_xlabel() == "Look"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 0}, "trials is 0: give a whole number from 1 to"),
        ({"trials": 10.5}, "trials is 10.5: give a whole number"),
        ({"seed": -1}, "seed is -1: give a whole number from 0 to"),
        ({"workers": 0}, "workers is 0: give a whole number from 1 to 1,024"),
        ({"events": 600}, "500 patients can give at most 500.0 events, but 600.0 are needed"),
        ({"timing": "month"}, "timing is 'month', which is not known: .*months"),
        ({"look_months": (3,)}, "look_months is given, but the looks are timed by events"),
        ({"timing": "months", "look_months": (3, 5)}, "look_months holds 3, 5, but the design has 3 looks"),
        ({"timing": "months", "look_months": (3, 9, 5)}, "look_months holds 3, 9, 5, .* in rising order"),
        ({"test": "log-rank"}, "test is 'log-rank', which is not known: .*logrank"),
        ({"test": "rmst"}, "restricted means need it"),
        ({"tau_months": 4.0}, "test 'logrank' with tau_months 4.0"),
        ({"test": "fleming-harrington"}, "test 'fleming-harrington' with 0 weightings .*: give one pair"),
        ({"test": "maxcombo", "weightings": ((0, 0),)}, "test 'maxcombo' with 1 weightings .*: give 2 to 10"),
        ({"weightings": ((0, 0),)}, "test 'logrank' with 1 weightings .*: give none"),
    ],
)
def test_what_cannot_be_simulated_is_refused(options, message):
    given = {"trials": 10, "seed": 1} | options
    with pytest.raises(AnalysisError, match=message):
        simulate(DESIGN, SCENARIO, given.pop("trials"), given.pop("seed"), **given)


def test_a_scenario_without_effect_needs_the_number_of_events_and_designs_must_fit():
    none = Scenario.from_median("null", control_median_months=12, hazard_ratio=1, accrual_per_month=20, patients=300)
    with pytest.raises(AnalysisError, match=r"scenario 'null' has no hazard ratio below 1 .*: give events"):
        simulate(DESIGN, none, 10)
    with pytest.raises(AnalysisError, match="test 'maxcombo' is one-sided here, but the design has two sides"):
        simulate(Design(sides=2), none, 10, events=100, test="maxcombo")
    with pytest.raises(AnalysisError, match="the design allocates 2:1 and scenario 'null' 1:1"):
        simulate(Design(allocation_ratio=2), none, 10, events=100)


def test_one_trial_refuses_two_cuts_and_events_that_it_does_not_have():
    with pytest.raises(AnalysisError, match="events and months are both given"):
        simulate_one_trial(SCENARIO, events=10, months=3)
    with pytest.raises(AnalysisError, match="has 500 events, but 501 are asked for"):
        simulate_one_trial(SCENARIO, events=501)
