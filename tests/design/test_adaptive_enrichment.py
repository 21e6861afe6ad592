"""Enrichment trials: rpact's simulation, one trial followed by hand, type I error, and refusals."""

import dataclasses
import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import ndtr, ndtri
from scipy.stats import binom, norm

from trialml.design.adaptive_enrichment import (
    simulate_enrichment,
    simulate_enrichment_statistics,
    simulated_enrichment_rows,
)
from trialml.design.closed_test import closed_test
from trialml.design.combination import stage_weights
from trialml.design.enrichment_characteristics import EnrichmentCharacteristics
from trialml.design.enrichment_comparison import EnrichmentComparison, compare_enrichment
from trialml.design.enrichment_design import EnrichmentDesign
from trialml.design.group_sequential import Design
from trialml.design.patient_groups import Group
from trialml.design.scenario import Scenario
from trialml.design.stage_statistics import StageZ, logrank_increment, population_scores
from trialml.design.trial_plan import plan_of
from trialml.errors import AnalysisError

TRUTHS = ((1.0, 1.0), (0.6, 1.0), (0.6, 0.8))
"""Hazard ratios in the subgroup and in the rest."""


def people(
    subgroup=1.0, rest=1.0, *, patients=400, prevalence=0.4, rate=25.0, entry="poisson", hazard=0.06, prognosis=1.0
):
    groups = [(prevalence, [0.0], [hazard * prognosis], [hazard * prognosis * subgroup])]
    groups.append((1 - prevalence, [0.0], [hazard], [hazard * rest]))
    return plan_of(patients, accrual=([0.0], [rate]), groups=groups, dropout=(0.002, 0.002), entry=entry)


# rpact --------------------------------------------------------------------------------------------------------------


def cube(case, *place):
    """Return rpact's array of (stage, truth, population)."""
    stored = case.get(*place)
    return np.array(stored["values_column_major"]).reshape(stored["dim"], order="F")


class Band:
    """Compares simulated numbers with rpact's within the combined Monte Carlo error, all together at 1 in 1,000."""

    def __init__(self):
        self.pairs = []

    def add(self, ours, theirs, theirs_trials, ours_trials, spread=None):
        for a, b, n, m, s in np.broadcast(
            ours, theirs, theirs_trials, ours_trials, np.nan if spread is None else spread
        ):
            pooled = (a * m + b * n) / (m + n)
            variance = pooled * (1 - pooled) if math.isnan(s) else s * s
            self.pairs.append((a - b, math.sqrt(max(variance, 0.0) * (1 / n + 1 / m))))

    def check(self, at_least):
        assert len(self.pairs) >= at_least
        limit = norm.isf(0.001 / (2 * len(self.pairs)))
        for difference, error in self.pairs:
            # rpact's figures are multiples of 1 / 2,000, and where it saw none of a rare event its error is not 0
            assert abs(difference) <= limit * error + 1e-9, (difference, error, limit)


@pytest.fixture(scope="module")
def statistics():
    """100,000 trials on test statistics by rule and truth."""
    designs = {
        "best": EnrichmentDesign(120, 120),
        "epsilon": EnrichmentDesign(120, 120, rule="epsilon", epsilon=0.1),
        "all": EnrichmentDesign(120, 120, rule="all"),
    }
    return {
        name: [simulate_enrichment_statistics(design, truth, 0.4, 100_000, seed=7)[1] for truth in TRUTHS]
        for name, design in designs.items()
    }


def conditional_power(rows):
    """rpact's: of the Bonferroni test of both populations, under the less favourable effect whatever was selected."""
    halves = Design(information_fractions=(0.5, 1.0))
    weights, bound = stage_weights(halves), halves.critical_values[1]
    z = rows[["z1_subgroup", "z1_full"]].to_numpy()
    events = rows[["interim_events_subgroup"]].to_numpy(), np.full((len(rows), 1), 120.0)
    effect = -z / np.sqrt(np.hstack(events) / 4)
    p = np.minimum(2 * ndtr(-z.max(axis=1)), 1 - 1e-7)
    needed = (bound + weights[0] * ndtri(p)) / weights[1]
    return ndtr(-(needed + effect.max(axis=1) * math.sqrt(120 / 4)))


@pytest.mark.parametrize("rule", ["best", "epsilon", "all"])
def test_test_statistics_agree_with_rpacts_simulation_in_every_number(oracle, statistics, rule):
    case, band, m, n = oracle("sim_enrichment_survival_rpact"), Band(), 100_000, 2000
    wanted = {
        key: cube(case, rule, key)
        for key in ("selectedPopulations", "rejectedPopulationsPerStage", "singleNumberOfEventsPerStage")
    }
    plain = {key: np.array(case.take(rule, key), dtype=float) for key in ("rejectAtLeastOne", "successPerStage", "iterations", "earlyStop",
             "numberOfPopulations", "expectedNumberOfEvents", "conditionalPowerAchieved", "futilityPerStage", "futilityStop")}  # fmt: skip
    for i, rows in enumerate(statistics[rule]):
        on = rows["stop"] == 0
        selected, interim = rows["selected"].astype(int), rows["rejected_interim"].astype(int)
        rejected = rows["rejected"].astype(int)
        goes_on, theirs_on = float(on.mean()), plain["iterations"][1, i]
        assert plain["iterations"][0, i] == n
        assert plain["futilityPerStage"][0, i] == plain["futilityStop"][i] == (rows["stop"] == 2).sum() == 0
        band.add(goes_on, theirs_on / n, n, m)
        band.add((rejected > 0).mean(), plain["rejectAtLeastOne"][i], n, m)
        band.add((rows["stop"] == 1).mean(), plain["successPerStage"][0, i], n, m)
        band.add((rows["stop"] == 1).mean(), plain["earlyStop"][0, i], n, m)
        succeeded = on & ((rejected & selected) == selected)
        band.add(succeeded.mean(), plain["successPerStage"][1, i], n, m)
        for place, bit in enumerate((1, 2)):
            band.add((on & (selected & bit > 0)).mean(), wanted["selectedPopulations"][1, i, place], n, m)
            assert wanted["selectedPopulations"][0, i, place] == 1
            early = interim & bit > 0
            band.add(early.mean(), wanted["rejectedPopulationsPerStage"][0, i, place], n, m)
            late = (rejected & bit > 0) & ~early
            band.add(late.mean(), wanted["rejectedPopulationsPerStage"][1, i, place], n, m)
            part = ("subgroup", "rest")[place]
            first = rows[f"interim_events_{part}"]
            np.testing.assert_allclose(wanted["singleNumberOfEventsPerStage"][0, i, place], first.iloc[0], rtol=1e-10)
            added = (rows[f"events_{part}"] - first)[on]
            spread = max(added.std(), 1e-6)
            band.add(added.mean(), wanted["singleNumberOfEventsPerStage"][1, i, place], theirs_on, m * goes_on, spread)
        many = np.where(selected == 3, 2, 1)[on]
        assert plain["numberOfPopulations"][0, i] == 2
        band.add(many.mean(), plain["numberOfPopulations"][1, i], theirs_on, m * goes_on, many.std())
        total = rows["events_subgroup"] + rows["events_rest"]
        band.add(total.mean(), plain["expectedNumberOfEvents"][i], n, m, total.std())
        power = conditional_power(rows[on])
        band.add(power.mean(), plain["conditionalPowerAchieved"][1, i], theirs_on, m * goes_on, power.std())
    assert np.isnan(plain["conditionalPowerAchieved"][0]).all()
    band.check(48)
    case.agrees([120, 240], rule, "plannedEvents")
    for name in ("maxNumberOfIterations", "seed", "allocationRatioPlanned", "directionUpper", "populations", "intersectionTest",
                 "stratifiedAnalysis", "adaptations", "typeOfSelection", "effectMeasure", "successCriterion", "threshold", "epsilonValue"):  # fmt: skip
        if name in case.outputs[rule]:
            case.aside(rule, name, reason="an argument of the call, not a result")
    for name in ("correlationComputation", "eventsPerStage"):
        case.aside(rule, name, reason="empty in rpact's answer")
    for other in {"best", "epsilon", "all"} - {rule}:
        case.aside(other, reason="compared in another case of this test")


def test_patients_agree_with_test_statistics_where_the_approximation_holds():
    """Same prognosis, no dropout to speak of, enough patients that the events split as the statistics assume."""
    design = EnrichmentDesign(120, 120, rule="all")
    plan = people(0.75, 1.0, patients=2000, rate=200, hazard=0.02)
    on_patients = simulate_enrichment(design, plan, 20_000, seed=3).scalars()
    statistics, _ = simulate_enrichment_statistics(design, (0.75, 1.0), 0.4, 100_000, seed=4)
    for name in ("rejected_any", "rejected_subgroup", "rejected_full"):
        error = math.hypot(on_patients[f"{name}_mc_error"], statistics.scalars()[f"{name}_mc_error"])
        # The score's mean is -log(HR) I only near HR = 1: an allowance of half a percentage point for 0.75.
        assert abs(on_patients[name] - statistics.scalars()[name]) < 4 * error + 0.005, name


# One trial by hand --------------------------------------------------------------------------------------------------


class ByHand:
    """The trial of a number, followed in plain Python with the survival chapter's log-rank test."""

    def __init__(self, plan, design, trial, seed):
        pool = dataclasses.replace(plan, patients=4000).draw(seed, trial)
        self.pool, self.n, self.design = pool, plan.patients, design
        self.ends, self.happens = pool.entry + pool.time, pool.event == 1
        self.member = pool.group == 0

    def month(self, enrolled, events):
        months = np.sort(self.ends[enrolled & self.happens])
        return months[min(events, len(months)) - 1] if len(months) else 0.0

    def scores(self, enrolled, cut):
        seen = enrolled & (self.pool.entry < cut)
        event = self.happens & (self.ends <= cut)
        time = np.where(self.ends <= cut, self.pool.time, cut - self.pool.entry)
        return population_scores(time[seen], event[seen], self.pool.arm[seen] == 1, self.member[seen])

    def events(self, enrolled, cut):
        happened = enrolled & self.happens & (self.ends <= cut)
        return happened.sum(), (happened & self.member).sum()

    def fill(self, interim):
        """Whom the trial enrols if the subgroup alone goes on."""
        early = (self.pool.entry <= interim) & (np.arange(self.member.size) < self.n)
        later = np.flatnonzero((self.pool.entry > interim) & self.member)[: self.n - early.sum()]
        enrolled = early.copy()
        enrolled[later] = True
        return enrolled, early


def everyone(trial):
    return np.arange(trial.member.size) < trial.n


@pytest.mark.parametrize("entry", ["poisson", "even"])
@pytest.mark.parametrize("stages", ["increments", "patients"])
@pytest.mark.parametrize("test", ["simes", "spiessens-debois"])
def test_a_simulated_trial_is_the_one_that_plain_python_and_the_survival_chapter_make(entry, stages, test):
    plan = people(0.6, 0.9, patients=150, prevalence=0.3, rate=12.0, entry=entry, prognosis=1.5)
    first = 40 if stages == "patients" else None
    design = EnrichmentDesign(
        30, 25, rule="best", test=test, subgroup_events=20, stages=stages, first_stage_events=first
    )
    fixed = Design() if stages == "patients" else design.design
    rows = simulated_enrichment_rows(design, plan, 40, seed=9)
    kinds = set()
    for number, row in rows.iterrows():
        trial = ByHand(plan, design, number, 9)
        all_comers = everyone(trial)
        interim = trial.month(all_comers, 30)
        one = logrank_increment(trial.scores(all_comers, interim))
        assert row["interim_month"] == pytest.approx(interim, rel=1e-12)
        now = trial.scores(all_comers, interim)
        peto = (
            now.subgroup / now.subgroup_variance,
            (now.subgroup + now.rest) / (now.subgroup_variance + now.rest_variance),
        )
        selected = 1 if peto[0] <= peto[1] else 2
        assert row["selected"] == selected
        filled, early = trial.fill(interim)
        enrolled = filled if selected == 1 else all_comers
        testable = enrolled & trial.member if selected == 1 else enrolled
        if stages == "increments":
            before = trial.events(testable, interim)[0]
            end = trial.month(testable, before + (20 if selected == 1 else 25))
            two = logrank_increment(trial.scores(enrolled, end), now)
            if selected == 1:
                gained = trial.scores(testable, end)
                two = logrank_increment(gained._replace(rest=now.rest, rest_variance=now.rest_variance), now)
        else:
            fresh = testable & ~early
            then = trial.month(early, 40)
            one = logrank_increment(trial.scores(early, then))
            later = trial.month(fresh, 20 if selected == 1 else 25)
            # Nobody may be left to enrol: a stage without events counts as z = 0.
            two = logrank_increment(trial.scores(fresh, later)) if later else StageZ(0.0, 0.0, 0.5)
            end = max(then, later)
        np.testing.assert_allclose([row["z1_subgroup"], row["z1_full"]], one[:2], rtol=1e-9)
        stop = row["stop"] == 1
        if not stop:
            second = (two.subgroup, math.nan) if selected == 1 else (math.nan, two.full)
            np.testing.assert_allclose([row["z2_subgroup"], row["z2_full"]], second, rtol=1e-9)
            assert row["end_month"] == pytest.approx(end, rel=1e-12)
            until = end if stages == "increments" else later
            entered = early | (enrolled & (trial.pool.entry <= until))
            assert row["patients_subgroup"] == (entered & trial.member).sum()
            assert row["patients_rest"] == (entered & ~trial.member).sum()
            found = combined(design, fixed, one, second, test)
            assert row["rejected"] == found
        kinds.add((selected, stop, row["rejected"]))
    assert len(kinds) >= 3


def combined(design, fixed, one, second, test):
    """Return what the closed test of the analysis chapter rejects, as 1 for the subgroup plus 2 for everyone."""
    if design.stages == "increments":
        z = np.transpose([one[:2], second])
        found = closed_test(design.design, *z, test=test, subgroup_share=[one.subgroup_share, 0.5])
        return sum(bit for bit, row in zip((1, 2), found.populations.itertuples(), strict=True) if row.rejected)
    both = closed_test(fixed, [one.subgroup], [one.full], test=test, subgroup_share=one.subgroup_share)
    z_both = -ndtri(both.stages["p"].iloc[0])
    w = stage_weights(design.design)
    place = 0 if math.isnan(second[1]) else 1
    bound = -ndtri(0.025)
    alone = w[0] * one[place] + w[1] * second[place] >= bound
    return (1, 2)[place] if alone and w[0] * z_both + w[1] * second[place] >= bound else 0


# Type I error -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "design",
    [
        EnrichmentDesign(80, 80),
        EnrichmentDesign(80, 80, rule="conditional-power", test="spiessens-debois"),
        EnrichmentDesign(80, 80, rule="best", stages="patients", first_stage_events=110),
    ],
    ids=["best", "promising", "patients"],
)
def test_the_familywise_error_is_at_most_alpha_without_any_effect(design):
    plan = people(patients=300, rate=20.0, prevalence=0.4, prognosis=1.4)
    trials = 50_000
    found = simulate_enrichment(design, plan, trials, seed=12)
    wrong = round(found.scalars()["false_rejection"] * trials)
    # Log-rank statistics of this many events are normal to about a tenth of alpha (benchmarks/enrichment_type_one_error.txt).
    assert binom.sf(wrong - 1, trials, 0.0265) > 0.001


def test_a_subgroup_without_effect_is_not_rejected_for_the_effect_of_the_others():
    plan = people(1.0, 0.5, patients=300, rate=20.0)
    trials = 20_000
    found = simulate_enrichment(EnrichmentDesign(80, 80, rule="all"), plan, trials, seed=5)
    assert found.scalars()["rejected_full"] > 0.4
    assert binom.sf(round(found.scalars()["false_rejection"] * trials) - 1, trials, 0.0265) > 0.001


def test_the_design_of_one_population_has_the_power_of_its_group_sequential_design():
    """All comers, no dropout: the simulated power is that of the bounds with the information of the events."""
    design = EnrichmentDesign.all_comers(120, 120)
    found = simulate_enrichment(design, people(0.75, 0.75, patients=1500, rate=150, hazard=0.03), 20_000, seed=6)
    power = float(design.design.exit_probabilities(-math.log(0.75) * math.sqrt(240 / 4)).sum())
    assert abs(found.scalars()["rejected_any"] - power) < 4 * found.scalars()["rejected_any_mc_error"] + 0.005


def test_the_answer_is_the_same_for_one_worker_and_for_three():
    design, plan = EnrichmentDesign(60, 60), people(0.7, 1.0, patients=200)
    seen = []
    one = simulate_enrichment(design, plan, 3500, seed=2, workers=1, progress=lambda: seen.append(1))
    three = simulate_enrichment(design, plan, 3500, seed=2, workers=3)
    assert one.frame().equals(three.frame())
    assert len(seen) == 4


def test_the_hierarchical_and_the_enriched_design_are_of_the_same_family():
    plan = people(0.6, 1.0, patients=300)
    enriched = simulate_enrichment(EnrichmentDesign.enriched(80, 80), plan, 2000).scalars()
    assert enriched["patients"] == enriched["patients_subgroup"]
    assert enriched["rejected_full"] == 0
    first = simulate_enrichment(EnrichmentDesign.hierarchical(80, 80, first="full"), plan, 2000).scalars()
    assert first["rejected_any"] == first["rejected_full"]
    assert (
        enriched["rejected_any"]
        > simulate_enrichment(EnrichmentDesign.all_comers(80, 80), plan, 2000).scalars()["rejected_any"]
    )


def test_a_scenario_with_groups_is_the_plan_that_its_pieces_give():
    truth = Scenario(
        "two groups", accrual_per_month=25, patients=200, dropout_per_month=0.002, groups=(
            Group("marker high", 0.4, control_hazard_per_month=0.06, hazard_ratio=0.6),
            Group("marker low", 0.6, control_hazard_per_month=0.06, hazard_ratio=1.0),
        ),
    )  # fmt: skip
    design = EnrichmentDesign(60, 60)
    named = simulate_enrichment(design, truth, 1000, subgroup=["marker high"])
    assert named.figures.equals(simulate_enrichment(design, people(0.6, 1.0, patients=200), 1000).figures)
    assert "two groups" in named.text()
    with pytest.raises(AnalysisError, match="nearest name is 'marker low'"):
        simulate_enrichment(design, truth, 1000, subgroup=["marker lov"])


def test_how_often_the_events_run_short_is_counted():
    """Planned: 80 further events of the subgroup alone, more than it can often give in 150 patients."""
    plan = people(patients=150, rate=20.0)
    found = simulate_enrichment(EnrichmentDesign(60, 60, subgroup_events=80), plan, 500, seed=8)
    rows = simulated_enrichment_rows(EnrichmentDesign(60, 60, subgroup_events=80), plan, 500, seed=8)
    alone = rows["selected"] == 1
    gained = rows["events_subgroup"] + rows["events_rest"] - 60
    lacking = np.where(alone, rows["events_subgroup"] - rows["interim_events_subgroup"] < 80, gained < 60) & (
        rows["stop"] == 0
    )
    assert found.scalars()["short"] == pytest.approx(lacking.mean(), rel=1e-12)
    assert 0.1 < lacking.mean() < 0.9


def test_the_result_has_monte_carlo_errors_and_survives_json():
    found = simulate_enrichment(EnrichmentDesign(60, 60), people(0.7, 1.0, patients=200), 1000)
    again = EnrichmentCharacteristics.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()
    estimate = found.estimate("rejected_any")
    assert estimate.kind == "simulated"
    p = estimate.value
    assert estimate.mc_error == pytest.approx(math.sqrt(p * (1 - p) / 999), rel=1e-12)
    assert "alpha 0.025 one-sided" in found.text()
    assert len(found.table()) == 18


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: EnrichmentDesign(0, 80), "interim_events is 0"),
        (lambda: EnrichmentDesign(80, 80, rule="bset"), "nearest name is 'best'"),
        (lambda: EnrichmentDesign(80, 80, test="dunnett"), "intersection test is 'dunnett'"),
        (lambda: EnrichmentDesign(80, 80, tested="none"), "tested of the enrichment design is 'none'"),
        (lambda: EnrichmentDesign(80, 80, success="some"), "success is 'some'"),
        (lambda: EnrichmentDesign(80, 80, design=Design()), "1 looks: give a design of two"),
        (lambda: EnrichmentDesign(80, 80, design=Design(information_fractions=(0.7, 0.5, 1.0))), "do not increase"),
        (lambda: EnrichmentDesign(80, 80, design=Design(information_fractions=(0.5, 1.0), sides=2)), "has two sides"),
        (lambda: EnrichmentDesign(80, 80, design=Design(information_fractions=(0.5, 1.0), futility_z=(0.0,))), "has a futility bound"),
        (lambda: EnrichmentDesign(80, 80, thresholds=(0.0, 1.0)), "a threshold"),
        (lambda: EnrichmentDesign(80, 80, conditional_powers=(1.0, 0.5)), "conditional power is 1"),
        (lambda: EnrichmentDesign(80, 80, stages="patients"), "first_stage_events None"),
        (lambda: EnrichmentDesign(80, 80, first_stage_events=90), "stages is 'increments' and first_stage_events 90"),
        (lambda: EnrichmentDesign(80, 80, stages="patients", first_stage_events=70), "must not decrease"),
        (lambda: EnrichmentDesign.hierarchical(80, 80, first="rest"), "first is 'rest'"),
        (lambda: simulate_enrichment(EnrichmentDesign(80, 80), people(), subgroup=()), "prevalence 0"),
        (lambda: simulate_enrichment(EnrichmentDesign(80, 80), people(), subgroup=(0, 1)), "prevalence 1"),
        (lambda: simulate_enrichment(EnrichmentDesign(80, 80), people(), subgroup=(2,)), "names group 2"),
        (lambda: simulate_enrichment(EnrichmentDesign(80, 80), people(entry="uniform")), "give poisson or even"),
        (lambda: simulate_enrichment(EnrichmentDesign(300, 300), people()), "400 at most"),
        (lambda: simulate_enrichment(EnrichmentDesign(180, 10), people(patients=200, hazard=0.002)), "patients give .* at most: enrol more"),
        (lambda: simulate_enrichment(EnrichmentDesign(80, 80), people(), 0), "trials is 0"),
        (lambda: simulate_enrichment(EnrichmentDesign(80, 80), people(), seed=-1), "seed is -1"),
        (lambda: simulate_enrichment_statistics(EnrichmentDesign(80, 80), (1.0, 1.0), 0.0), "prevalence is 0"),
        (lambda: simulate_enrichment_statistics(EnrichmentDesign(80, 80), (1.0, 1.0), 1.0), "prevalence is 1"),
        (lambda: simulate_enrichment_statistics(EnrichmentDesign(80, 80), (-1.0, 1.0), 0.5), "a hazard ratio is -1"),
        (lambda: simulate_enrichment_statistics(EnrichmentDesign.enriched(80, 80), (1, 1), 0.5), "simulate patients"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(AnalysisError, match=words):
        call()


def test_an_unknown_measure_is_refused_with_the_known_ones():
    found = simulate_enrichment(EnrichmentDesign(40, 40), people(patients=200), 100)
    with pytest.raises(AnalysisError, match="choose one of rejected_any"):
        found.estimate("power")


# Side by side -------------------------------------------------------------------------------------------------------


def test_designs_side_by_side_are_the_simulations_one_by_one():
    designs = {"adaptive": EnrichmentDesign(60, 60), "all comers": EnrichmentDesign.all_comers(60, 60)}
    truths = {"subgroup only": people(0.6, 1.0, patients=250), "everyone": people(0.75, 0.75, patients=250)}
    found = compare_enrichment(designs, truths, 1000, seed=3)
    rows = found.rows.set_index(["design", "truth"])
    for name, design in designs.items():
        for truth, plan in truths.items():
            alone = simulate_enrichment(design, plan, 1000, seed=3).scalars()
            assert rows.loc[(name, truth), "rejected_any"] == alone["rejected_any"]
            assert rows.loc[(name, truth), "events_mc_error"] == alone["events_mc_error"]
    again = EnrichmentComparison.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()
    assert "subgroup only: adaptive" in found.text()
    null = compare_enrichment(designs, {"no effect": people(patients=250)}, 2000, seed=3)
    assert "no effect, where every rejection is false: " in null.text()
    assert "alpha 0.025 one-sided" in found.text()
    assert len(found.table()) == 4
    found.draw(Figure())
    assert "adaptive_everyone" in found.scalars()
    with pytest.raises(AnalysisError, match="at least one of each"):
        compare_enrichment({}, truths)
    other = EnrichmentDesign(60, 60, design=Design(alpha=0.05, information_fractions=(0.5, 1.0)))
    with pytest.raises(AnalysisError, match="different one-sided alphas"):
        compare_enrichment(designs | {"other": other}, truths)
