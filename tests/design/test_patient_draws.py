"""The random patients of simulated trials against their distributions, in closed form."""

import math

import numpy as np
import pytest
from scipy import stats

from trialml.design.patient_draws import DRAWS_PER_PATIENT, _mixed, exponential, trial_key, uniform
from trialml.design.patient_groups import Group
from trialml.design.scenario import Scenario
from trialml.design.trial_plan import plan_of, trial_plan
from trialml.errors import AnalysisError

ONE_GROUP = [(1.0, [0.0], [0.05], [0.03])]
# Four tests of fit at this level: their seeds are fixed, and all of them together fail by chance once in 250.
LEVEL = 0.001


def test_the_random_numbers_are_those_of_splitmix64():
    """The first five numbers of the seed 1234567 as Java's SplittableRandom and Vigna's splitmix64.c give them."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    step = 0x9E3779B97F4A7C15
    made = [int(_mixed(np.uint64((1234567 + k * step) % 2**64))) for k in range(1, 6)]
    assert made == known


def test_two_trials_of_a_seed_share_no_draw():
    """Trial j has the numbers j 2**24 to (j + 1) 2**24 - 1 of one sequence, whose period is 2**64."""
    step, seed = 0x9E3779B97F4A7C15, np.uint64(5)
    start = int(trial_key(seed, np.uint64(0)))
    for trial in (1, 7, 123_456_789):
        assert int(trial_key(seed, np.uint64(trial))) == (start + trial * 2**24 * step) % 2**64
    assert 1_000_000 * DRAWS_PER_PATIENT + DRAWS_PER_PATIENT <= 2**24


def test_uniform_draws_are_the_middles_of_equal_slices_of_the_unit_interval():
    """So that neither 0 nor 1 can come: 52 leading bits and a half."""
    key = int(trial_key(np.uint64(3), np.uint64(4)))
    for k in range(200):
        word = int(_mixed(np.uint64((key + (k + 1) * 0x9E3779B97F4A7C15) % 2**64)))
        assert uniform(np.uint64(key), np.uint64(k)) == ((word >> 12) + 0.5) / 2**52


def test_exponential_draws_are_minus_the_logarithm_of_the_uniform_ones():
    key = trial_key(np.uint64(3), np.uint64(4))
    u = np.array([uniform(key, np.uint64(k)) for k in range(5000)])
    e = np.array([exponential(key, np.uint64(k)) for k in range(5000)])
    np.testing.assert_allclose(e, -np.log(u), rtol=1e-14)
    assert stats.kstest(u, "uniform").pvalue > LEVEL
    assert u.min() > 0
    assert u.max() < 1


def test_times_follow_the_hazards_of_their_pieces_and_leave_a_cured_share():
    breaks, control, experimental = np.array([0.0, 4.0, 10.0]), [0.05, 0.2, 0.0], [0.1, 0.02, 0.0]
    plan = plan_of(40_000, accrual=([0.0], [100.0]), groups=[(1.0, breaks, control, experimental)])
    drawn = plan.draw(1)
    assert (drawn.event == 1).all()
    for arm, hazards in enumerate((control, experimental)):
        time = drawn.time[drawn.arm == arm]
        area = 4 * hazards[0] + 6 * hazards[1]
        cured = np.isinf(time)
        assert abs(stats.binomtest(int(cured.sum()), time.size, math.exp(-area)).pvalue) > LEVEL
        t = time[~cured]
        spent = np.where(t < 4, hazards[0] * t, 4 * hazards[0] + hazards[1] * (t - 4))
        # Of those not cured, 1 - exp(-H(t)) is uniform up to 1 - exp(-area).
        assert stats.kstest(-np.expm1(-spent) / -np.expm1(-area), "uniform").pvalue > LEVEL
        assert t.max() <= 10.0


def test_dropout_competes_with_the_event_at_the_rate_of_its_arm():
    plan = plan_of(60_000, accrual=([0.0], [100.0]), groups=ONE_GROUP, dropout=(0.01, 0.03))
    drawn = plan.draw(2)
    for arm, (hazard, leaving) in enumerate(((0.05, 0.01), (0.03, 0.03))):
        mine = drawn.arm == arm
        share = hazard / (hazard + leaving)
        assert stats.binomtest(int(drawn.event[mine].sum()), int(mine.sum()), share).pvalue > LEVEL
        assert stats.kstest(drawn.time[mine] * (hazard + leaving), "expon").pvalue > LEVEL


def test_dropout_of_one_arm_alone_leaves_the_other_untouched():
    drawn = plan_of(2000, accrual=([0.0], [100.0]), groups=ONE_GROUP, dropout=(0.0, 0.05)).draw(2)
    assert drawn.event[drawn.arm == 0].all()
    assert not drawn.event[drawn.arm == 1].all()


def test_even_entry_is_one_patient_for_each_expected_one():
    plan = plan_of(7, accrual=([0.0, 2.0], [1.0, 4.0]), groups=ONE_GROUP, entry="even")
    np.testing.assert_allclose(plan.draw(1).entry, [1, 2, 2.25, 2.5, 2.75, 3, 3.25], rtol=1e-14)


@pytest.mark.parametrize("entry", ["poisson", "uniform"])
def test_random_entry_follows_the_accrual_in_pieces(entry):
    plan = plan_of(30_000, accrual=([0.0, 2.0, 4.0], [1000.0, 2000.0, 4000.0]), groups=ONE_GROUP, entry=entry)
    months = plan.draw(9).entry
    assert (np.diff(months) > 0).all()
    expected = np.interp(months, [0, 2, 4, 100], [0, 2000, 6000, 6000 + 96 * 4000])
    if entry == "uniform":
        assert stats.kstest(expected / 30_000, "uniform").pvalue > LEVEL
    else:
        assert stats.kstest(np.diff(expected, prepend=0.0), "expon").pvalue > LEVEL


def test_groups_have_random_sizes_and_their_own_hazards():
    groups = [(0.3, [0.0], [0.1], [0.1]), (0.7, [0.0], [0.02], [0.01])]
    plan = plan_of(500, accrual=([0.0], [100.0]), groups=groups)
    sizes = np.array([np.bincount(plan.draw(4, trial).group, minlength=2)[0] for trial in range(2000)])
    # Binomial: mean 150, variance 105.
    assert abs(sizes.mean() - 150) < 4 * math.sqrt(105 / 2000)
    assert 0.85 < sizes.var() / 105 < 1.15
    drawn = plan_of(50_000, accrual=([0.0], [100.0]), groups=groups).draw(5)
    assert stats.kstest(drawn.time[(drawn.group == 1) & (drawn.arm == 1)] * 0.01, "expon").pvalue > LEVEL


@pytest.mark.parametrize(("ratio", "block", "most"), [(1.0, None, 2), (2.0, None, 2), (0.5, 3, 1), (1.5, 10, 4)])
def test_permuted_blocks_balance_each_group(ratio, block, most):
    groups = [(0.4, [0.0], [0.1], [0.1]), (0.6, [0.0], [0.1], [0.1])]
    plan = plan_of(301, accrual=([0.0], [100.0]), groups=groups, allocation_ratio=ratio, block=block)
    share = ratio / (1 + ratio)
    for trial in range(50):
        drawn = plan.draw(6, trial)
        for g in (0, 1):
            arms = drawn.arm[drawn.group == g]
            whole = len(arms) // plan.block * plan.block
            assert arms[:whole].sum() == pytest.approx(whole * share)
            assert np.abs(np.cumsum(arms) - share * np.arange(1, len(arms) + 1)).max() <= most


def test_every_order_of_a_block_is_as_likely():
    plan = plan_of(4 * 12_000, accrual=([0.0], [100.0]), groups=ONE_GROUP, block=4)
    orders = plan.draw(8).arm.reshape(-1, 4) @ [8, 4, 2, 1]
    counts = np.unique(orders, return_counts=True)[1]
    assert counts.size == 6
    assert stats.chisquare(counts).pvalue > LEVEL


def test_simple_allocation_is_a_coin():
    arms = plan_of(10_000, accrual=([0.0], [100.0]), groups=ONE_GROUP, allocation_ratio=3, block=0).draw(8).arm
    assert stats.binomtest(int(arms.sum()), 10_000, 0.75).pvalue > LEVEL


def test_a_plan_of_a_scenario_has_its_hazards_groups_and_accrual():
    scenario = Scenario(
        "",
        accrual_per_month=(10, 0, 20),
        accrual_breaks_months=(0, 3, 5),
        patients=50,
        hazard_breaks_months=(0, 6),
        control_hazards_per_month=(0.1, 0.05),
        hazard_ratio_breaks_months=(0, 4),
        hazard_ratios=(1, 0.6),
        dropout_per_month=0.01,
        experimental_dropout_per_month=0.02,
        allocation_ratio=2,
        groups=(Group("carriers", 0.4), Group("others", 0.6, control_hazard_per_month=0.02, hazard_ratio=1)),
    )
    plan = trial_plan(scenario, entry="even")
    np.testing.assert_allclose(plan.prevalence, [0.4, 1.0], rtol=1e-14)
    np.testing.assert_allclose(plan.breaks, [[0, 4, 6], [0, np.inf, np.inf]])
    np.testing.assert_allclose(plan.hazards[0], [[0.1, 0.1, 0.05], [0.1, 0.06, 0.03]], rtol=1e-14)
    np.testing.assert_allclose(plan.cumulative[0], [[0.0, 0.4, 0.6], [0.0, 0.4, 0.52]], rtol=1e-14)
    np.testing.assert_allclose(plan.hazards[1, :, 0], [0.02, 0.02], rtol=1e-14)
    assert (plan.patients, plan.block, plan.experimental, plan.dropout.tolist()) == (50, 6, 4, [0.01, 0.02])
    # Nobody enters during the pause; who is expected just before it enters before it.
    np.testing.assert_allclose(plan.draw(1).entry, [*np.arange(1, 31) / 10, *(5 + np.arange(1, 21) / 20)], rtol=1e-13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": 5}, "block is 5, which does not fit an allocation of 1:1: give a multiple of 2"),
        ({"allocation_ratio": math.pi}, "does not fit an allocation of 3.14159:1"),
        ({"entry": "poison"}, "entry is 'poison', which is not known: .*poisson"),
        ({"groups": [(0.5, [0.0], [0.1], [0.1])]}, "prevalences of the groups add up to 0.5"),
        ({"patients": 1}, "a simulated trial has 1 patients"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change, message):
    given = {"patients": 100, "accrual": ([0.0], [10.0]), "groups": ONE_GROUP} | change
    with pytest.raises(AnalysisError, match=message):
        plan_of(given.pop("patients"), **given)
