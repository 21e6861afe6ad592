"""Prognostic enrichment and the gain from adjustment: BioPET, closed forms, brute force, and what is refused."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.special import expit, logit

from trialml.design.group_sequential import Design
from trialml.design.prognostic_enrichment import enriched_patients, prognostic_enrichment
from trialml.design.recalibration import Recalibrated, recalibrated, recalibrated_draws
from trialml.design.response_evidence import PlannedEndpoint
from trialml.design.risk_evidence import NO_NUMBER, RiskEvidence, binned_risks
from trialml.design.sample_size import survival_events
from trialml.design.score_adjustment import (
    explained_by_risks,
    explained_of_score,
    marginal_hazard_ratio,
    score_adjustment,
)
from trialml.errors import AnalysisError
from trialml.result import Estimate, Result

CASES = json.loads((Path(__file__).parents[1] / "reference" / "prognostic_enrichment.json").read_text())["outputs"][
    "cases"
]
BINS = pd.DataFrame({"risk": [0.1, 0.2, 0.3, 0.5], "share": [0.25, 0.25, 0.25, 0.25]})
HARM = PlannedEndpoint("binary", "relapse", scale="risk difference")
DEATH = PlannedEndpoint("time to event", "death", horizon_months=24.0)


def estimate(value, half=0.0, kind="crossfit", **more):
    return Estimate(
        value, value - 1.959963984540054 * half, value + 1.959963984540054 * half, kind=kind, se=half, **more
    )


def evidence(endpoint=HARM, **changes):
    numbers = {
        "endpoint": endpoint,
        "bins": BINS,
        "observed": estimate(0.3, 0.02),
        "concordance": estimate(0.9, 0.02),
        "slope": estimate(0.8, 0.1),
        "n": 400,
        "events": 120,
    }
    return RiskEvidence(**(numbers | changes))


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case['event_rate']}-{case['reduction']}-{case['power']}-{case['alpha']}"
)
def test_the_patients_of_a_binary_endpoint_are_biopets(case):
    everybody = Recalibrated(np.array([case["event_rate"]]), np.ones(1))
    design = Design(alpha=case["alpha"], power=case["power"])
    found = enriched_patients(everybody, 1 - case["reduction"], design, follow_up_months=None)
    assert found == pytest.approx(case["patients"], rel=1e-8)


def test_the_patients_of_a_time_to_event_are_schoenfelds_events_over_their_probability():
    risk, share = np.array([0.2, 0.6]), np.array([0.5, 0.5])
    design = Design(alpha=0.025, power=0.9)
    found = enriched_patients(Recalibrated(risk, share), 0.75, design, follow_up_months=12, horizon_months=24)
    control = 1 - np.sqrt(1 - risk)
    treated = 1 - np.sqrt(1 - risk) ** 0.75
    # rpact: 507.8443 events for a hazard ratio of .75 and a power of 90 %.
    assert found == pytest.approx(507.8443 / np.mean((control + treated) / 2), rel=1e-6)


def test_calibrated_risks_have_the_slope_and_the_mean_observed():
    found = recalibrated(evidence())
    assert found.risk @ found.share == pytest.approx(0.3, abs=1e-10)
    assert np.diff(logit(found.risk)) == pytest.approx(0.8 * np.diff(logit(BINS["risk"].to_numpy())), abs=1e-9)
    timed = recalibrated(evidence(DEATH))
    cloglog = [np.log(-np.log1p(-one)) for one in (timed.risk, BINS["risk"].to_numpy())]
    assert np.diff(cloglog[0]) == pytest.approx(0.8 * np.diff(cloglog[1]), abs=1e-9)


@pytest.mark.parametrize("endpoint", [HARM, DEATH], ids=["binary", "time to event"])
def test_a_spread_that_the_concordance_does_not_bear_out_is_not_counted_on(endpoint):
    # Brute force: the risks' own concordance, over all pairs of bins, is the one given.
    low = recalibrated(evidence(endpoint, concordance=estimate(0.6)))
    assert np.ptp(low.risk) < np.ptp(recalibrated(evidence(endpoint)).risk)
    first, second = np.meshgrid(np.arange(4), np.arange(4))
    if endpoint is HARM:
        weight = low.risk[first] * (1 - low.risk[second])
        c = (weight * (0.5 * (first == second) + (first > second))).sum() / weight.sum()
    else:
        hazard = -np.log1p(-low.risk)
        c = np.mean(np.maximum(hazard[first], hazard[second]) / (hazard[first] + hazard[second]))
    assert c == pytest.approx(0.6, abs=1e-3)


def test_thresholds_keep_the_highest_risks_and_cut_a_bin_in_part():
    known = Recalibrated(np.array([0.1, 0.2, 0.3, 0.5]), np.full(4, 0.25))
    kept = known.above(0.4)
    assert kept.risk == pytest.approx([0.2, 0.3, 0.5])
    assert kept.share == pytest.approx(np.array([0.1, 0.25, 0.25]) / 0.6)
    assert known.above(0.0).risk @ known.above(0.0).share == pytest.approx(0.275)
    assert known.threshold(0.4) == 0.2
    assert known.threshold(0.5) == 0.3


def test_the_table_of_thresholds_follows_from_its_parts():
    asked = {
        "relative_effect": 0.75,
        "screened_per_month": 20,
        "follow_up_months": 6,
        "cost_screen": 100,
        "cost_patient": 1000,
    }
    found = prognostic_enrichment(evidence(), **asked, left_out=(0.0, 0.5, 0.75), draws=50)
    row = found.rows.iloc[1]
    best = recalibrated(evidence())
    rate = best.risk[2:].mean()
    assert row["event_rate"] == pytest.approx(rate)
    patients = enriched_patients(best.above(0.5), 0.75, Design(alpha=0.025, power=0.9), follow_up_months=None)
    assert row["patients"] == pytest.approx(patients)
    assert row["screened"] == pytest.approx(2 * patients)
    assert row["months"] == pytest.approx(2 * patients / 20 + 6)
    assert row["cost"] == pytest.approx(1100 * patients + 100 * patients)
    for name in ("event_rate", "patients", "screened", "months", "cost"):
        assert (found.rows[f"{name}_low"] <= found.rows[name]).all()
        assert (found.rows[name] <= found.rows[f"{name}_high"]).all()
    assert found.least["cost"] == found.rows["cost"].min()
    assert prognostic_enrichment(evidence(), **asked, draws=50).rows.equals(
        prognostic_enrichment(evidence(), **asked, draws=50).rows
    )


def test_without_costs_the_headline_is_no_extreme_and_says_what_it_trades():
    """Oracle: the rows themselves; the fewest patients of all are those of the highest threshold, which nobody would run."""
    asked = {"relative_effect": 0.75, "screened_per_month": 20, "follow_up_months": 6, "draws": 20}
    free = prognostic_enrichment(evidence(), **asked)
    assert free.rows["left_out"][free.rows["patients"].idxmin()] >= 0.75
    assert free.least["left_out"] == 0.5
    first, best = free.rows.iloc[0], free.rows.iloc[5]
    saved, more = (f"{abs(best[name] - first[name]):,.0f}" for name in ("patients", "screened"))
    assert f"randomises {saved} fewer and screens {more} " in free.text()
    assert "no threshold is the best" in free.text()
    within = 0.5 * (free.rows["months"].iloc[2] + free.rows["months"].iloc[3])
    timely = prognostic_enrichment(evidence(), **asked, max_months=within)
    allowed = free.rows[(free.rows["months"] <= within) & (free.rows["left_out"] <= 0.5)]
    assert timely.least["left_out"] == allowed.loc[allowed["patients"].idxmin(), "left_out"]
    assert f"within {within:g} months" in timely.text()


def test_with_costs_the_cheapest_threshold_that_ends_in_time_is_taken():
    asked = {"relative_effect": 0.75, "screened_per_month": 20, "follow_up_months": 6, "draws": 20}
    asked |= {"cost_screen": 1.0, "cost_patient": 10_000.0}
    free = prognostic_enrichment(evidence(), **asked)
    assert free.least["left_out"] == 0.8
    within = free.rows["months"].iloc[8] - 0.1
    timely = prognostic_enrichment(evidence(), **asked, max_months=within)
    allowed = free.rows[free.rows["months"] <= within]
    assert timely.least["left_out"] == allowed.loc[allowed["cost"].idxmin(), "left_out"] < 0.8


def test_an_interval_is_that_of_the_slope_where_nothing_else_is_uncertain():
    # The event rate of the upper half rises with the slope, so that its limits are those at the slope's limits.
    sure = evidence(observed=estimate(0.3), concordance=NO_NUMBER)
    found = prognostic_enrichment(
        sure, relative_effect=0.75, screened_per_month=20, follow_up_months=6, left_out=(0.0, 0.5), draws=4000
    )
    for side, slope in (("low", 0.8 - 0.196), ("high", 0.8 + 0.196)):
        at = recalibrated(sure, slope=slope).risk[2:].mean()
        assert found.rows[f"event_rate_{side}"].iloc[1] == pytest.approx(at, abs=2e-3)
    assert found.rows["event_rate_low"].iloc[0] == pytest.approx(0.3)


def test_a_model_without_spread_saves_nothing():
    # As the slope goes to 0 every threshold leaves the event rate as it is.
    flat = evidence(slope=estimate(0.001))
    found = prognostic_enrichment(flat, relative_effect=0.75, screened_per_month=20, follow_up_months=6, draws=20)
    assert found.rows["patients"].to_numpy() == pytest.approx(found.rows["patients"].iloc[0], rel=2e-3)
    assert found.rows["screened"].iloc[-1] == pytest.approx(10 * found.rows["patients"].iloc[0], rel=2e-3)


def test_the_share_of_the_log_rank_score_explained_is_that_of_simulated_residuals():
    # 200,000 patients of four risks, followed for 1.7 horizons: martingale residuals under the marginal hazard, by brute force.
    draw = np.random.default_rng(1)
    risks = Recalibrated(np.array([0.1, 0.3, 0.5, 0.8]), np.array([0.3, 0.3, 0.2, 0.2]))
    total = -np.log1p(-risks.risk) * 1.7
    group = draw.choice(4, 200_000, p=risks.share)
    time = draw.exponential(1 / total[group])
    event, time = time < 1, np.minimum(time, 1.0)
    months = np.linspace(0, 1, 2001)
    hazard = -np.log(risks.share @ np.exp(-total[:, None] * months))
    residual = event - np.interp(time, months, hazard)
    between = sum(share * residual[group == one].mean() ** 2 for one, share in enumerate(risks.share))
    assert explained_of_score(risks, 1.7) == pytest.approx(between / residual.var(), abs=0.006)


def test_other_gains_have_closed_forms():
    risks = Recalibrated(np.array([0.2, 0.6]), np.array([0.5, 0.5]))
    assert explained_by_risks(risks) == pytest.approx(0.04 / (0.4 * 0.6))
    free = [np.mean((1 - risks.risk) ** ratio) for ratio in (1.0, 0.7)]
    assert marginal_hazard_ratio(risks, 0.7, 1.0) == pytest.approx(math.log(free[1]) / math.log(free[0]))
    assert marginal_hazard_ratio(Recalibrated(np.array([0.4]), np.ones(1)), 0.7, 1.0) == pytest.approx(0.7)


def test_the_gain_is_labelled_by_estimand():
    timed = score_adjustment(evidence(DEATH), relative_effect=0.72, follow_up_months=24, draws=50)
    assert list(timed.rows["estimand"]) == ["marginal", "marginal", "conditional on the score"]
    marginal, cox = timed.rows.iloc[1], timed.rows.iloc[2]
    assert marginal["relative_size"] == pytest.approx(1 - marginal["r_squared"])
    assert cox["effect"] == 0.72 < marginal["effect"] < 1
    events = [survival_events(ratio, alpha=0.025, power=0.9) for ratio in (0.72, marginal["effect"])]
    assert cox["relative_size"] == pytest.approx(events[0] / events[1])
    assert "of another number" in timed.text()
    binary = score_adjustment(evidence(), draws=50)
    assert binary.rows["relative_size"].iloc[1] == pytest.approx(1 - explained_by_risks(recalibrated(evidence())))
    continuous = dataclasses.replace(
        evidence(),
        endpoint=PlannedEndpoint("continuous", "score", scale="difference"),
        r_squared=estimate(0.3, 0.05),
        bins=BINS.head(0),
    )
    found = score_adjustment(continuous)
    # EFFECTS: R squared .3 takes n to .7 of it.
    assert found.rows["relative_size"].iloc[1] == pytest.approx(0.7)
    assert found.rows["relative_size_low"].iloc[1] == pytest.approx(0.7 - 0.05 * 1.959963984540054)


def test_bins_hold_eleven_patients_or_more():
    bins = binned_risks(np.linspace(0.01, 0.99, 100))
    assert len(bins) == 9
    assert bins["share"].min() >= 0.11
    assert bins["share"].sum() == pytest.approx(1.0)
    assert bins["risk"].is_monotonic_increasing
    with pytest.raises(AnalysisError, match="21 patients are too few"):
        binned_risks(np.full(21, 0.2))


def test_draws_have_the_spread_of_the_observed_risk():
    known = evidence(slope=estimate(0.8), concordance=NO_NUMBER)
    means = [one.risk @ one.share for one in recalibrated_draws(known, 2000, 4)]
    spread = (logit(known.observed.high) - logit(known.observed.low)) / (2 * 1.959963984540054)
    assert np.std(logit(means)) == pytest.approx(spread, rel=0.08)
    assert expit(np.mean(logit(means))) == pytest.approx(0.3, abs=0.003)


def test_results_draw_speak_and_come_back_from_storage():
    asked = {"relative_effect": 0.75, "screened_per_month": 20, "follow_up_months": 6}
    results = (
        evidence(),
        prognostic_enrichment(evidence(), **asked, draws=20),
        prognostic_enrichment(evidence(DEATH), **asked, cost_screen=1.0, cost_patient=9.0, draws=20),
        score_adjustment(evidence(DEATH), follow_up_months=12, draws=20),
    )
    for result in results:
        again = Result.from_dict(result.to_dict())
        assert again.text() == result.text()
        assert dict(again.scalars()) == pytest.approx(dict(result.scalars()), nan_ok=True)
        if result.has_figure:
            figure = Figure(figsize=result.figure_size, layout="constrained")
            result.draw(figure)
            figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"concordance": estimate(0.7, kind="apparent")}, "the concordance of the risk model is apparent"),
        ({"slope": estimate(1.0, kind="apparent")}, "the slope of the risk model is apparent"),
        ({"bins": BINS.head(0)}, "has no risks"),
        ({"bins": BINS.assign(share=0.3)}, "sum to 1.2"),
        ({"bins": BINS.assign(risk=[0.0, 0.2, 0.3, 0.5])}, "a predicted risk is 0"),
        ({"observed": NO_NUMBER}, "the observed risk under control"),
    ],
)
def test_evidence_that_promises_too_much_or_nothing_is_refused(changes, said):
    with pytest.raises(AnalysisError, match=said):
        evidence(**changes)


@pytest.mark.parametrize(
    ("known", "changes", "said"),
    [
        (evidence(), {"relative_effect": 1.2}, "does not favour the experimental arm"),
        (evidence(), {"cost_screen": 5.0}, "without the other"),
        (evidence(), {"cost_screen": 0.0, "cost_patient": 5.0}, "cost_screen is 0"),
        (evidence(), {"left_out": (0.1, 0.5)}, "the first one 0"),
        (evidence(), {"left_out": (0.0, 1.0)}, "below 1"),
        (evidence(), {"draws": 5}, "at least 20"),
        (evidence(), {"max_months": 7.0}, "accrual is too slow: at 20 screened per month"),
        (evidence(slope=estimate(-0.2)), {}, "calibration slope of the risk model is -0.2"),
        (evidence(dataclasses.replace(HARM, higher_is_better=True)), {}, "is a benefit"),
        (evidence(PlannedEndpoint("continuous", "score")), {}, "no event rate to raise"),
    ],
)
def test_enrichment_without_sense_is_refused(known, changes, said):
    with pytest.raises(AnalysisError, match=said):
        prognostic_enrichment(
            known, **({"relative_effect": 0.75, "screened_per_month": 20, "follow_up_months": 6} | changes)
        )
