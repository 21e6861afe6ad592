"""Multiple imputation, Rubin's rules and tipping points: by hand, by limits, and by simulation."""

import json
import math
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialml.effects.imputation import impute_outcome, rubin
from trialml.effects.tipping_outcome import imputed_difference, tipping_point_outcome
from trialml.effects.tipping_point import TippingPoint, first_crossing
from trialml.effects.tipping_survival import _Draws, follow_on, tipping_point_survival
from trialml.errors import AnalysisError, DataError
from trialml.survival.cox import cox


def test_rubins_rules_by_hand():
    """m = 3, estimates 1, 2, 3, variances 1, 2, 3: W = 2, B = 1, T = 2 + 4/3; df by Barnard and Rubin's formula."""
    found = rubin([1, 2, 3], [1, 2, 3], df_complete=20)
    total, share = 10 / 3, 0.4
    old, observed = 2 / share**2, 21 / 23 * 20 * (1 - share)
    assert found.value == 2
    assert found.se == pytest.approx(math.sqrt(total), rel=1e-14)
    assert found.missing_information == pytest.approx(share, rel=1e-14)
    assert found.df == pytest.approx(old * observed / (old + observed), rel=1e-14)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=30), st.floats(0.1, 5), st.floats(3, 500))
def test_barnard_and_rubins_degrees_of_freedom_never_exceed_those_of_complete_data(estimates, variance, complete):
    found = rubin(estimates, [variance] * len(estimates), df_complete=complete)
    assert found.df <= complete
    assert found.se >= math.sqrt(variance) * (1 - 1e-12)
    large = rubin(estimates, [variance] * len(estimates))
    share = large.missing_information
    if share > 1e-6:
        assert large.df == pytest.approx((len(estimates) - 1) / share**2, rel=1e-9)  # Rubin 1987


def trial(n, draw, *, binary=False):
    """A visit on the way foretells both the outcome and who is lost; the effect on the outcome is 0.5 (continuous)."""
    X = draw.normal(size=(n, 1))
    arm = draw.permutation(np.arange(n) % 2) == 1
    visit = 0.7 * X[:, 0] + 0.3 * arm + draw.normal(size=n)
    outcome = visit + 0.2 * arm + draw.normal(size=n)
    outcome = (outcome > 0).astype(float) if binary else outcome
    lost = draw.random(n) < 1 / (1 + np.exp(1 - 1.5 * visit))
    return X, visit, arm, outcome, np.where(lost, np.nan, outcome)


def test_imputation_from_the_visit_on_the_way_is_unbiased_where_complete_cases_are_not():
    """150 trials of 300 patients, a third lost in dependence on the visit: bias, standard error and coverage."""
    draw, rows, complete = np.random.default_rng(1), [], []
    for seed in range(150):
        X, visit, arm, _, seen = trial(300, draw)
        found = imputed_difference(
            seen, arm, X, kind="continuous", intermediate=visit, imputations=10, seed=seed, adjusted=False
        )
        rows.append((found.value - 0.5, found.se, found.low <= 0.5 <= found.high))
        known = ~np.isnan(seen)
        complete.append(seen[known & arm].mean() - seen[known & ~arm].mean() - 0.5)
    error, se, cover = np.asarray(rows, dtype=float).T
    mc = error.std() / math.sqrt(150)
    assert abs(error.mean()) < 3 * mc
    assert abs(np.mean(complete)) > 2 * abs(error.mean())
    assert math.sqrt((se**2).mean()) == pytest.approx(error.std(), rel=0.2)
    assert cover.mean() > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 150)


def test_binary_imputation_recovers_the_risks():
    draw = np.random.default_rng(3)
    X, visit, arm, outcome, seen = trial(6000, draw, binary=True)
    drawn = impute_outcome(seen, arm, X, kind="binary", intermediate=visit, imputations=5, seed=1)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    for mask in (arm, ~arm):
        se = math.sqrt(0.25 / (mask & np.isnan(seen)).sum())
        truth, imputed = outcome[mask & np.isnan(seen)].mean(), drawn[:, mask & np.isnan(seen)].mean()
        assert abs(imputed - truth) < 4 * se


def test_observed_outcomes_stay_and_the_seed_decides():
    X, visit, arm, _, seen = trial(100, np.random.default_rng(4))
    one, two = (impute_outcome(seen, arm, X, kind="continuous", intermediate=visit, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    known = ~np.isnan(seen)
    np.testing.assert_array_equal(one[:, known], np.tile(seen[known], (20, 1)))
    assert not np.isnan(one).any()
    assert one[:, ~known].std(axis=0).min() > 0


def test_one_arms_outcomes_do_not_touch_the_other_arms_imputations():
    X, visit, arm, _, seen = trial(100, np.random.default_rng(4))
    base = impute_outcome(seen, arm, X, kind="continuous", intermediate=visit, seed=5)
    moved = impute_outcome(np.where(arm, seen + 100, seen), arm, X, kind="continuous", intermediate=visit, seed=5)
    np.testing.assert_allclose(moved[:, ~arm], base[:, ~arm])
    np.testing.assert_allclose(moved[:, arm], base[:, arm] + 100, rtol=1e-9)


def test_a_visit_missed_and_a_later_one_seen_are_both_used():
    draw = np.random.default_rng(6)
    X, visit, arm, _, seen = trial(400, draw)
    later = visit + 0.1 * draw.normal(size=400)
    visits = np.column_stack([np.where(draw.random(400) < 0.3, np.nan, visit), later])
    drawn = impute_outcome(seen, arm, X, kind="continuous", intermediate=visits, imputations=3, seed=1)
    lost = np.isnan(seen)
    assert np.corrcoef(drawn[:, lost].mean(axis=0), later[lost])[0, 1] > 0.6


def test_the_shift_moves_continuous_imputations_of_the_experimental_arm_alone():
    X, visit, arm, _, seen = trial(100, np.random.default_rng(4))
    ask = {"kind": "continuous", "intermediate": visit, "seed": 5}
    base, moved = (impute_outcome(seen, arm, X, shift=shift, **ask) for shift in (0.0, -2.0))
    lost = np.isnan(seen)
    np.testing.assert_allclose(moved[:, lost & arm], base[:, lost & arm] - 2)
    np.testing.assert_array_equal(moved[:, ~(lost & arm)], base[:, ~(lost & arm)])


def test_bad_input_is_refused_in_a_sentence():
    X, visit, arm, _, seen = trial(60, np.random.default_rng(1))
    ask = {"kind": "continuous"}
    with pytest.raises(AnalysisError, match="the control arm has 0 observed outcomes"):
        impute_outcome(np.full(60, np.nan), arm, X, **ask)
    with pytest.raises(AnalysisError, match="all 60 patients are in the experimental arm"):
        impute_outcome(seen, np.ones(60), X, **ask)
    with pytest.raises(DataError, match="baseline is missing or infinite in 1 of 60 rows"):
        impute_outcome(seen, arm, np.where(np.arange(60) == 3, np.nan, X[:, 0]), **ask)
    with pytest.raises(DataError, match="one row a patient"):
        impute_outcome(seen, arm, X[:50], **ask)
    with pytest.raises(DataError, match="infinite"):
        impute_outcome(np.where(np.arange(60) == 3, np.inf, seen), arm, X, **ask)
    with pytest.raises(DataError, match="other than 0 and 1"):
        impute_outcome(seen, arm, X, kind="binary")
    with pytest.raises(DataError, match="imputations is 1"):
        impute_outcome(seen, arm, X, imputations=1, **ask)
    with pytest.raises(DataError, match="kind"):
        impute_outcome(seen, arm, X, kind="count")
    with pytest.raises(AnalysisError, match="all alike"):
        impute_outcome(np.where(np.isnan(seen), np.nan, 1.0), arm, X, **ask)
    with pytest.raises(AnalysisError, match="nothing can tip"):
        tipping_point_outcome(visit, arm, X, [0, 1], **ask)
    with pytest.raises(DataError, match="must rise from 0"):
        tipping_point_outcome(seen, arm, X, [1, 2], **ask)
    for estimates, variances in (([1], [1]), ([1, np.nan], [1, 1]), ([1, 2], [1, 0])):
        with pytest.raises(DataError):
            rubin(estimates, variances)


def test_an_imputation_model_that_separates_stays_finite():
    """A predictor that foretells a binary outcome without error: the prior keeps the model finite."""
    x = np.linspace(-1, 1, 80)
    outcome = np.where(np.arange(80) % 5 == 0, np.nan, (x > 0).astype(float))
    drawn = impute_outcome(outcome, np.arange(80) % 2, x, kind="binary", imputations=5, seed=1)
    lost = np.isnan(outcome)
    assert drawn[:, lost & (x > 0.5)].mean() > 0.8
    assert drawn[:, lost & (x < -0.5)].mean() < 0.2


def test_a_shift_tips_the_conclusion_where_the_line_crosses():
    X, visit, arm, _, seen = trial(400, np.random.default_rng(2))
    ask = {"kind": "continuous", "intermediate": visit, "unit": "points", "imputations": 10, "seed": 3}
    found = tipping_point_outcome(seen, arm, X, [0, 0.5, 1, 2, 4], **ask)
    assert found.concluded
    assert (np.diff(found.rows["value"]) < 0).all()
    at = imputed_difference(seen, arm, X, shift=-found.tipping, **ask)
    assert abs(at.low) < 0.02
    worse = tipping_point_outcome(-seen, arm, X, [0, 0.5, 1, 2, 4], higher_is_better=False, **ask)
    assert worse.tipping == pytest.approx(found.tipping, rel=0.3)


def test_a_binary_tipping_point_shows_the_worst_case():
    X, visit, arm, _, seen = trial(400, np.random.default_rng(2), binary=True)
    found = tipping_point_outcome(
        seen, arm, X, [0, 1, 2, 8], kind="binary", intermediate=visit, imputations=5, adjusted=False
    )
    assert found.worst <= found.rows["value"].iloc[-1] + 0.02
    assert "had been no event" in found.text()


@pytest.fixture(scope="module")
def actg():
    return pd.read_csv(str(resources.files("lifelines") / "datasets" / "ACTG175.csv")).query("arms <= 1")


def tip(table, **asked):
    asked = {"until": 730, "unit": "days", "strata": table["strat"], "seed": 1} | asked
    return tipping_point_survival(table["days"], table["cens"] == 1, table["arms"] == 1, **asked)


def test_following_on_reads_the_hazard_beyond_the_censoring():
    """H jumps by .5 at 1, 2 and 3; an exponential of .8 is reached at the second jump after censoring, at once with delta 4."""
    draws = _Draws(np.array([1.0, 2, 3]), np.array([0.5, 1.0, 1.5]), np.array([0.8, 0.8, 0.8]))
    at = np.array([0.5, 1.5, 2.5])
    time, event = follow_on(at, draws, 1.0, 2.9)
    np.testing.assert_array_equal(time, [2.0, 2.9, 2.9])
    np.testing.assert_array_equal(event, [True, False, False])
    time, event = follow_on(at, draws, 4.0, 3.0)
    np.testing.assert_array_equal(time, [1.0, 2.0, 3.0])
    assert event.all()


def test_followed_on_times_have_the_hazard_they_were_given():
    """Exponential hazard 1 on a fine grid, delta 3, censored at .2: half of the patients have the event within log(2)/3."""
    grid = np.linspace(0.001, 8, 8000)
    draws = _Draws(grid, grid.copy(), np.random.default_rng(1).exponential(size=20_000))
    time, event = follow_on(np.full(20_000, 0.2), draws, 3.0, 7.9)
    assert event.all()
    assert abs((time - 0.2 <= math.log(2) / 3).mean() - 0.5) < 3 * 0.5 / math.sqrt(20_000)


def test_without_a_worse_assumption_actg_175_keeps_its_hazard_ratio(actg):
    found = tip(actg)
    plain = cox(actg["days"], actg["cens"] == 1, actg[["arms"]], strata=actg["strat"]).hazard_ratio("arms")
    assert found.rows["value"].iloc[0] == pytest.approx(plain.value, rel=0.02)
    assert (np.diff(found.rows["value"]) > 0).all()
    assert (np.diff(found.rows["imputed_events"]) > 0).all()
    assert found.imputed == ((actg["arms"] == 1) & (actg["cens"] == 0) & (actg["days"] < 730)).sum()
    assert found.rows["imputed_events"].iloc[-1] < found.imputed
    assert math.isnan(found.tipping)
    assert "no assumption that was tried changes the conclusion" in found.text()
    # Everybody at once is the worst: an event in place of each early censoring.
    event = (actg["cens"] == 1) | ((actg["arms"] == 1) & (actg["days"] < 730))
    worst = cox(actg["days"], event, actg[["arms"]], strata=actg["strat"]).hazard_ratio("arms")
    np.testing.assert_allclose(
        [found.worst, found.worst_low, found.worst_high], [worst.value, worst.low, worst.high], rtol=1e-9
    )


def test_the_tipping_point_is_where_the_upper_limit_reaches_1(actg):
    thinned = actg.assign(cens=np.where((actg["arms"] == 1) & (actg["pidnum"] % 3 == 0), 0, actg["cens"]))
    late = thinned.assign(days=np.where(thinned["cens"] == 0, np.minimum(thinned["days"], 500), thinned["days"]))
    found = tip(late, deltas=(1, 2, 4, 8), imputations=10)
    assert found.concluded
    assert 1 < found.tipping < 8
    again = tip(late, deltas=(1, found.tipping), imputations=10)
    assert again.rows["high"].iloc[1] == pytest.approx(1, abs=0.02)
    assert f"delta = {found.tipping:.2f}" in found.text()


def test_a_tipping_point_needs_a_conclusion(actg):
    dealt_anew = actg.assign(arms=(actg["pidnum"] // 10) % 2)
    found = tip(dealt_anew, deltas=(1, 2))
    assert not found.concluded
    assert math.isnan(found.tipping)
    assert "no conclusion that could tip" in found.text()


def test_the_seed_decides_and_another_one_agrees_within_the_imputations_error(actg):
    one, two, other = tip(actg), tip(actg), tip(actg, seed=2)
    assert one.to_dict() == two.to_dict()
    np.testing.assert_allclose(np.log(one.rows["value"]), np.log(other.rows["value"]), atol=0.03)


def test_bad_tipping_input_is_refused_in_a_sentence(actg):
    with pytest.raises(AnalysisError, match="no patient of the experimental arm was censored before 5 days"):
        tip(actg, until=5)
    for arm, name in ((1, "experimental"), (0, "control")):  # follow-up cut at 600 days with patients still event-free
        short = actg.assign(
            cens=np.where((actg["arms"] == arm) & (actg["days"] > 600), 0, actg["cens"]),
            days=np.where(actg["arms"] == arm, np.minimum(actg["days"], 600), actg["days"]),
        )
        with pytest.raises(
            AnalysisError, match=f"until is 730, but follow-up of the {name} arm ends at 600 .* is 600 days"
        ):
            tip(short)
        assert tip(short, until=600, deltas=(1, 2), imputations=2).imputed > 0
    with pytest.raises(DataError, match="must rise from 1"):
        tip(actg, deltas=(1, 1))
    with pytest.raises(DataError, match="until is nan"):
        tip(actg, until=math.nan)
    with pytest.raises(DataError, match="imputations is 1"):
        tip(actg, imputations=1)
    with pytest.raises(AnalysisError, match="the experimental arm has no events"):
        tip(actg.assign(cens=np.where(actg["arms"] == 1, 0, actg["cens"])))
    with pytest.raises(AnalysisError, match="had the event"):
        tip(actg.assign(cens=0))


def test_crossings_are_interpolated():
    assert first_crossing([1, 4], [-1, 1], null=0, lower_is_better=True, log_delta=True) == pytest.approx(2)
    assert first_crossing([0, 4], [3, -1], null=0, lower_is_better=False, log_delta=False) == pytest.approx(3)
    assert math.isnan(first_crossing([0, 4], [3, 1], null=0, lower_is_better=False, log_delta=False))
    assert math.isnan(first_crossing([1, 2], [0.5, 1], null=0, lower_is_better=True, log_delta=True))


def test_tipping_points_survive_a_round_trip_and_can_be_drawn(actg):
    from matplotlib.figure import Figure

    found = tip(actg, deltas=(1, 4))
    again = TippingPoint.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert len(again.table()) == 2
    figure = Figure()
    again.draw(figure)
    assert figure.axes[0].get_ylabel().startswith("Hazard ratio")


def test_a_comparison_in_favour_of_control_is_not_said_to_include_no_effect():
    generator = np.random.default_rng(31)
    treated = np.arange(300) % 2 == 0
    event_time = generator.exponential(np.where(treated, 20.0, 90.0))
    last = generator.uniform(5, 60, 300)
    found = tipping_point_survival(
        np.minimum(event_time, last), event_time <= last, treated, until=40.0, imputations=5, unit="days", seed=1
    )
    assert found.rows["low"].iloc[0] > 1
    assert "it favours the control arm" in found.text()
    assert "includes 1" not in found.text()
