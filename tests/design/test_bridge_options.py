"""The options of the next trial: closed forms, the patient-level simulator, rpact's worked ratios, and what is refused."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import multivariate_normal

from trialml.design.adaptive_enrichment import simulate_enrichment, simulated_enrichment_rows
from trialml.design.bridge_comparison import BridgeOptions, compare_options
from trialml.design.bridge_options import OPTIONS, planned_options
from trialml.design.bridge_setting import Information, TrialSetting
from trialml.design.enrichment_design import EnrichmentDesign
from trialml.design.event_curves import mean_event_probability
from trialml.design.group_sequential import Design
from trialml.design.joint_rejection import both_above
from trialml.design.judged_options import claims_of, judged_options, overall_nodes, posterior_nodes
from trialml.design.response_evidence import GroupEvidence, Misclassification, PlannedEndpoint, ResponseEvidence
from trialml.design.scenario import Group, Scenario
from trialml.design.trial_plan import trial_plan
from trialml.errors import AnalysisError
from trialml.result import Result

Z = -float(ndtri(0.025))


def bivariate(h, k, r):
    return multivariate_normal.cdf([-h, -k], [0, 0], [[1, r], [r, 1]], abseps=1e-12, releps=1e-12)


def test_two_correlated_tests_reject_together_as_scipys_bivariate_normal():
    draw = np.random.default_rng(3)
    for r in (0.0, 0.35, 0.8, 0.97, 0.99):
        for h, k in draw.normal(0, 2.5, (6, 2)):
            assert both_above(h, k, r) == pytest.approx(bivariate(h, k, r), abs=1e-10)


@pytest.mark.parametrize("dropout", [0.0, 0.01])
def test_the_mean_event_probability_is_that_of_a_scenario(dropout):
    # Entry from month 0 to 20 at a constant rate, analysis at month 30: the scenario's closed form over pieces, and a sum over entry months.
    one = Scenario(
        "one",
        hazard_ratio=1.0,
        accrual_per_month=10,
        control_hazard_per_month=0.05,
        patients=200,
        dropout_per_month=dropout,
    )
    found = mean_event_probability(0.05, dropout, 0.0, 20.0, 30.0)
    assert found == pytest.approx(float(one.event_probability(30.0).control), rel=1e-10)
    u = 30 - (np.arange(20_000) + 0.5) / 1000
    total = 0.05 + dropout
    assert found == pytest.approx(np.mean(0.05 / total * -np.expm1(-total * u)), rel=1e-7)
    assert mean_event_probability(0.05, dropout, 4.0, 4.0, 10.0) == pytest.approx(0.05 / total * -np.expm1(-total * 6))


def test_single_stage_options_have_the_closed_forms_of_a_normal_mean(bridge):
    # n patients, 1:1, standard deviation 10: information n / 400.
    evidence = bridge.continuous_evidence()
    options = planned_options(evidence, bridge.continuous_setting())
    b_in, b_out = 3.0, 1.5
    inside, rest = 0.4 * 300 / 400, 0.6 * 300 / 400
    of_stratum = math.sqrt(inside) * b_in
    of_all = (inside * b_in + rest * b_out) / math.sqrt(inside + rest)
    r = math.sqrt(0.4)
    both = bivariate(Z - of_stratum, Z - of_all, r)
    half = -float(ndtri(0.0125))
    expected = {
        "all comers": (0, ndtr(of_all - Z), 0),
        "enriched": (ndtr(math.sqrt(options["enriched"].patients / 400) * b_in - Z), 0, 0),
        "hierarchical": (ndtr(of_stratum - Z) - both, 0, both),
        "co-primary": (
            ndtr(of_stratum - half) - bivariate(half - of_stratum, Z - of_all, r),
            ndtr(of_all - half) - bivariate(Z - of_stratum, half - of_all, r),
            both,
        ),
    }
    for name, numbers in expected.items():
        assert np.array(options[name].chances(b_in, b_out)[:3]) == pytest.approx(np.array(numbers), abs=1e-10), name


@pytest.mark.parametrize(("prevalence", "ratio"), [(0.75, 1.78), (0.5, 4.0), (0.25, 16.0)])
def test_all_comers_need_simon_and_maitournams_multiple_of_the_enriched_patients(bridge, prevalence, ratio):
    # Simon and Maitournam (2004): with no effect outside, 1 / prevalence^2 patients for the same power.
    evidence = bridge.continuous_evidence(count=1000 * prevalence)
    enriched = planned_options(evidence, bridge.continuous_setting(budget=120))["enriched"]
    power = enriched.chances(4.0, 0.0).stratum_only
    everyone = planned_options(evidence, bridge.continuous_setting(budget=120 / prevalence**2 + 1))["all comers"]
    size = everyone.patients
    assert size / 120 == pytest.approx(ratio, abs=0.02)
    assert everyone.chances(4.0, 0.0).full_only == pytest.approx(power, abs=0.02)
    exact = dataclasses.replace(everyone, patients=120 / prevalence**2)
    assert exact.chances(4.0, 0.0).full_only == pytest.approx(power, abs=1e-12)


@pytest.mark.parametrize(("prevalence", "ratio"), [(0.75, 1.31), (0.5, 1.78), (0.25, 2.56)])
def test_half_the_effect_outside_gives_the_printed_ratios_too(prevalence, ratio):
    # The overall benefit is p + (1 - p) / 2 of the stratum's.
    assert 1 / (prevalence + (1 - prevalence) / 2) ** 2 == pytest.approx(ratio, abs=0.005)


def test_assurance_and_right_conclusions_have_their_closed_forms(bridge):
    # With b ~ N(m, s^2) and information I: Phi((m sqrt I - z) / sqrt(1 + s^2 I)); jointly with b >= minimum a bivariate normal.
    evidence = bridge.continuous_evidence()
    found = compare_options(evidence, bridge.continuous_setting(), draws=64)
    for name, mean, sd, n in (("all comers", *evidence.overall, 300), ("enriched", 4.0, 1.0, 300)):
        root = math.sqrt(n / 400)
        spread = math.sqrt(1 + sd**2 * root**2)
        row = found.row(name)
        assert row["assurance"] == pytest.approx(ndtr((mean * root - Z) / spread), abs=1e-8)
        right = bivariate((Z - mean * root) / spread, (2.0 - mean) / sd, sd * root / spread)
        assert row["right_conclusion"] == pytest.approx(right, abs=1e-7)
        assert row["false_claim"] == pytest.approx(row["assurance"] - right, abs=1e-7)
        assert row["net"] == pytest.approx(row["right_conclusion"] - row["false_claim"], abs=1e-12)
    assert found.row("enriched")["excludes_benefiting"] == pytest.approx(ndtr((1.0 - 2.0) / math.sqrt(0.8)), abs=1e-8)
    assert found.row("all comers")["excludes_benefiting"] == 0


def test_if_the_model_is_useless_every_option_is_judged_at_one_benefit(bridge):
    evidence = bridge.continuous_evidence()
    found = compare_options(evidence, bridge.continuous_setting(), draws=64)
    assert list(found.rows["option"]) == [name for name in OPTIONS for _ in range(2)]
    assert list(found.rows["model_useless"]) == [False, True] * 5
    mean, sd = evidence.overall
    root = math.sqrt(300 / 400)
    expected = ndtr((mean * root - Z) / math.sqrt(1 + sd**2 * root**2))
    # 300 patients of one kind, whoever they are.
    assert found.row("enriched", useless=True)["assurance"] == pytest.approx(expected, abs=1e-8)
    assert found.row("all comers", useless=True)["assurance"] == pytest.approx(expected, abs=1e-8)


def test_hierarchical_and_coprimary_options_agree_with_a_sum_over_the_posterior(bridge):
    # A midpoint sum over 401 by 401 cells of the posterior, its error that of the cells at the jumps.
    evidence, setting = bridge.survival_evidence(), bridge.survival_setting()
    judged = judged_options(evidence, setting, draws=64)
    root = np.linalg.cholesky(evidence.benefit_covariance)
    u = ndtri((np.arange(401) + 0.5) / 401)
    first, second = (one.ravel() for one in np.meshgrid(u, u, indexing="ij"))
    inside = evidence.benefit_mean[0] + root[0, 0] * first
    outside = evidence.benefit_mean[1] + root[1, 0] * first + root[1, 1] * second
    minimum = -math.log(0.85)
    right_all = 0.4 * inside + 0.6 * outside >= minimum
    for name in ("hierarchical", "co-primary"):
        chance = judged.options[name].chances(inside, outside)
        right = (
            chance.stratum_only * (inside >= minimum)
            + chance.full_only * right_all
            + chance.both * ((inside >= minimum) | right_all)
        )
        wrong = (
            chance.stratum_only * (inside < minimum)
            + chance.full_only * ~right_all
            + chance.both * ((inside < minimum) | ~right_all)
        )
        assert judged.claims[name].right[0] @ judged.nodes.weight == pytest.approx(right.mean(), abs=2e-3)
        assert judged.claims[name].wrong[0] @ judged.nodes.weight == pytest.approx(wrong.mean(), abs=2e-3)
    shares = judged.best_shares()
    assert sum(shares.values()) == pytest.approx(1.0)


@pytest.fixture(scope="module")
def simulated():
    """Z of the stratum and of all comers in 6,000 trials of 800 patients, by the simulator of patients, and the truth."""
    truth = Scenario(
        "truth",
        accrual_per_month=40,
        patients=800,
        groups=(
            Group("inside", prevalence=0.4, control_hazard_per_month=0.05, hazard_ratio=0.65),
            Group("outside", prevalence=0.6, control_hazard_per_month=0.04, hazard_ratio=0.9),
        ),
    )
    events, early = (round(float(truth.expected_events(month))) for month in (32.0, 6.0))
    rules = EnrichmentDesign.co_primary(early, events - early, design=Design(information_fractions=(0.5, 1.0)))
    rows = simulated_enrichment_rows(rules, trial_plan(truth), 6000, 1)
    first = rows["interim_events_subgroup"], rows["interim_events_subgroup"] + rows["interim_events_rest"]
    last = rows["events_subgroup"], rows["events_subgroup"] + rows["events_rest"]
    z = {}
    for name, at, end in zip(("subgroup", "full"), first, last, strict=True):
        later = rows[f"z2_{name}"] * np.sqrt(end - at)
        z[name] = ((rows[f"z1_{name}"] * np.sqrt(at) + later) / np.sqrt(end)).to_numpy()
    went_on = (rows["stop"] == 0).to_numpy()
    return truth, pd.DataFrame(z)[went_on], float(went_on.mean())


def test_normal_theory_agrees_with_trials_simulated_on_patients(bridge, simulated):
    # Within four Monte Carlo errors and one point, the error of the normal approximation with the events expected.
    _, z, went_on = simulated
    assert went_on > 0.99
    stratum, full, half = z["subgroup"] >= Z, z["full"] >= Z, -float(ndtri(0.0125))
    seen = {
        "all comers": (0, full, 0),
        "hierarchical": (stratum & ~full, 0, stratum & full),
        "co-primary": ((z["subgroup"] >= half) & ~full, (z["full"] >= half) & ~stratum, stratum & full),
    }
    options = planned_options(bridge.survival_evidence(), bridge.survival_setting())
    for name, flags in seen.items():
        found = options[name].chances(-math.log(0.65), -math.log(0.9))
        for ours, flag in zip(found[:3], flags, strict=True):
            share = float(np.mean(flag))
            error = 4 * math.sqrt(share * (1 - share) / len(z))
            assert float(ours) == pytest.approx(share, abs=error + 0.01), name


def test_the_adaptive_option_agrees_with_trials_simulated_on_patients(bridge, simulated):
    truth = simulated[0]
    option = planned_options(bridge.survival_evidence(), bridge.survival_setting())["adaptive enrichment"]
    stages = option.stages
    benefits = np.array([-math.log(0.65)]), np.array([-math.log(0.9)])
    events = 4 * stages.by_stage(option.groups, *benefits)[0]
    rules = EnrichmentDesign(
        round(events[0].sum()), round(events[1].sum()), subgroup_events=round(events[2, 0]), rule="conditional-power",
        design=Design(information_fractions=(stages.fraction, 1.0)), conditional_powers=(0.5, 0.0),
    )  # fmt: skip
    seen = simulate_enrichment(rules, truth, 6000, 1).scalars()
    found = option.chances(*benefits, draws=16_000)
    ours = {
        "rejected_any": found.stratum_only + found.full_only + found.both,
        "rejected_subgroup": found.stratum_only + found.both,
        "rejected_full": found.full_only + found.both,
        "selected_subgroup_alone": found.left_out,
    }
    for name, value in ours.items():
        error = 4 * math.sqrt(0.25 / 6000 + 0.25 / 16_000)
        assert float(value[0]) == pytest.approx(seen[name], abs=error + 0.01), name
    assert float(found.stopped[0]) == 0


def test_the_adaptive_option_read_from_its_surface_is_that_simulated(bridge):
    evidence = bridge.survival_evidence()
    option = planned_options(evidence, bridge.survival_setting())["adaptive enrichment"]
    nodes = posterior_nodes(evidence.benefit_mean, evidence.benefit_covariance, 0.4, 0.16)
    some = np.argsort(nodes.weight)[-200:]
    surface = option.chances(nodes.inside, nodes.outside, draws=512)
    direct = option.chances(nodes.inside[some], nodes.outside[some], draws=512)
    weight = nodes.weight[some] / nodes.weight[some].sum()
    for read, simulated_one in zip(surface, direct, strict=True):
        assert read[some] @ weight == pytest.approx(simulated_one @ weight, abs=2e-3)


def test_no_effect_anywhere_is_rejected_with_at_most_alpha(bridge):
    options = planned_options(bridge.survival_evidence(), bridge.survival_setting())
    for name, option in options.items():
        found = option.chances(0.0, 0.0, draws=16_000)
        any_rejection = float(np.sum(found[:3]))
        assert any_rejection <= 0.025 + (4 * math.sqrt(0.025 / 16_000) if name == "adaptive enrichment" else 1e-12)


def test_all_options_cost_the_same(bridge):
    money = bridge.survival_setting(cost_screen=1000, cost_patient=20_000, budget=21_000_000)
    options = planned_options(bridge.survival_evidence(), money)
    # 1,000,000 / 21,000 a patient; of the stratum 1000 / 0.4 + 20,000.
    assert options["all comers"].patients == 1000
    assert options["enriched"].patients == math.floor(21_000_000 / 22_500)
    assert options["enriched"].screened == pytest.approx(options["enriched"].patients / 0.4)
    for option in options.values():
        assert 21_000_000 - 22_500 < option.cost <= 21_000_000
    stages = options["adaptive enrichment"].stages
    assert stages.first * 21_000 + stages.alone * 22_500 <= 21_000_000
    page = compare_options(bridge.survival_evidence(), money, draws=64)
    assert page.budget_unit == "money"
    row = page.row("enriched")
    assert row["patients_low"] < row["patients"] < row["patients_high"]
    assert row["screened_low"] < row["screened"] < row["screened_high"]
    at_patients = planned_options(bridge.survival_evidence(), bridge.survival_setting())
    assert {option.patients for option in at_patients.values()} == {800}


def test_without_a_budget_all_comers_have_the_power_wanted(bridge):
    evidence = bridge.survival_evidence()
    option = planned_options(evidence, bridge.survival_setting(budget=None))["all comers"]
    assert 0.9 <= float(option.chances(*evidence.benefit_mean).full_only) < 0.901


def test_a_binary_endpoint_takes_the_variance_of_both_rates(bridge):
    asked = bridge.survival_setting(minimum_effect=0.05, allocation_ratio=2.0, lost=0.1, covariate_r_squared=0.2)
    endpoint = PlannedEndpoint("binary", "relapse", scale="risk difference")
    each = Information(endpoint, asked).of(GroupEvidence(control_mean=0.3), 0.1, 0.0, 10.0, 30.0)
    variance = 0.2 * 0.8 / (2 / 3) + 0.3 * 0.7 / (1 / 3)
    assert float(each) == pytest.approx(0.9 / (variance * 0.8), rel=1e-12)
    # Half of those who enter until month 10 have their outcome, known after 12 months, at month 17.
    half = Information(endpoint, asked).of(GroupEvidence(control_mean=0.3), 0.1, 0.0, 10.0, 17.0)
    assert float(half) == pytest.approx(float(each) / 2, rel=1e-12)


def test_nodes_have_the_moments_of_the_posterior(bridge):
    evidence = bridge.survival_evidence()
    nodes = posterior_nodes(evidence.benefit_mean, evidence.benefit_covariance, 0.4, 0.16)
    pair = np.stack([nodes.inside, nodes.outside])
    assert pair @ nodes.weight == pytest.approx(evidence.benefit_mean, abs=1e-7)
    gap = pair - evidence.benefit_mean[:, None]
    assert (gap * nodes.weight) @ gap.T == pytest.approx(evidence.benefit_covariance, abs=1e-7)
    overall = overall_nodes(0.26, 0.1, 0.16)
    assert overall.weight[overall.inside >= 0.16].sum() == pytest.approx(ndtr(1.0), abs=1e-7)


def test_the_page_says_what_it_holds_and_comes_back_from_storage(bridge):
    page = compare_options(bridge.survival_evidence(), bridge.survival_setting(), draws=64)
    again = BridgeOptions.from_dict(page.to_dict())
    assert again.text() == page.text()
    assert "If the model were useless" in page.text()
    assert "one-sided" in page.text()
    assert page.table()["Option"].str.contains("if the model is useless").sum() == 5
    assert page.row("adaptive enrichment")["assurance_mc_error"] > 0
    assert page.row("all comers")["assurance_mc_error"] == 0
    evidence = bridge.survival_evidence()
    assert ResponseEvidence.from_dict(evidence.to_dict()).text() == evidence.text()
    assert isinstance(Result.from_dict(evidence.to_dict()), ResponseEvidence)


def test_rules_that_err_dilute_effects_of_true_groups_once(bridge):
    # Of 400 inside 25 % are lost, of 600 outside 10 % are taken: 300 + 60 selected, 100 + 540 left.
    errs = Misclassification(0.25, 0.1)
    diluted = bridge.survival_evidence(misclassification=errs, effects_of="true groups")
    assert diluted.share == pytest.approx(0.36)
    inside, outside = (300 * 0.5 + 60 * 0.1) / 360, (100 * 0.5 + 540 * 0.1) / 640
    assert diluted.benefit_mean == pytest.approx([inside, outside])
    assert diluted.overall.mean == pytest.approx(0.26)
    assert diluted.groups[0].control_hazard_per_month == pytest.approx((300 * 0.05 + 60 * 0.04) / 360)
    kept = bridge.survival_evidence(misclassification=errs)
    assert kept.benefit_mean == pytest.approx([0.5, 0.1])
    assert kept.difference_probability == pytest.approx(ndtr(0.4 / math.sqrt(0.03)))


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        ({"count": 0}, "selects nobody (0 of 1,000 patients)"),
        ({"count": 1000}, "selects everybody"),
        ({"covariance": ((0.02, 0.03), (0.03, 0.02))}, "not positive definite"),
        ({"covariance": ((0.02, 0.01), (0.0, 0.02))}, "symmetric"),
        ({"data_covariance": ((0.0, 0.0), (0.0, 0.02))}, "not positive definite"),
        ({"heterogeneity_p": 1.2}, "from 0 to 1"),
        ({"mean": (math.nan, -0.1)}, "the effect inside the stratum"),
        ({"inside": GroupEvidence()}, "control_hazard_per_month inside the stratum"),
    ],
)
def test_evidence_that_cannot_be_planned_with_is_refused(bridge, evidence, said):
    with pytest.raises(AnalysisError, match=said.replace("(", r"\(").replace(")", r"\)")):
        bridge.survival_evidence(**evidence)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"cost_screen": 0.0, "cost_patient": 1.0}, "cost_screen is 0, but nothing is free"),
        ({"cost_screen": 10.0, "cost_patient": -5.0}, "cost_patient is -5"),
        ({"cost_screen": 10.0}, "cost_screen is given without cost_patient"),
        ({"max_duration_months": 12}, "no time is left to enrol"),
        ({"interim_share": 1.0}, "interim_share is 1"),
        ({"budget": 0}, "budget is 0"),
        ({"screened_per_month": 0}, "screened_per_month is 0"),
    ],
)
def test_settings_without_sense_are_refused(bridge, setting, said):
    with pytest.raises(AnalysisError, match=said):
        bridge.survival_setting(**setting)


@pytest.mark.parametrize(
    ("minimum", "said"),
    [(1.0, "below 1 favours experimental"), (1.3, "as a hazard ratio"), (0.05, "at least 0.2 and below 1")],
)
def test_an_absurd_least_effect_is_refused(bridge, minimum, said):
    with pytest.raises(AnalysisError, match=said):
        planned_options(bridge.survival_evidence(), bridge.survival_setting(minimum_effect=minimum))


def test_differences_have_their_own_bounds_of_a_least_effect(bridge):
    for minimum in (-1.0, 25.0):
        with pytest.raises(AnalysisError, match=r"above 0 and below 20\.0, 2 standard deviations"):
            planned_options(bridge.continuous_evidence(), bridge.continuous_setting(minimum_effect=minimum))
    asked = TrialSetting(screened_per_month=1, follow_up_months=1, minimum_effect=0.4)
    with pytest.raises(AnalysisError, match="what the share under control leaves"):
        asked.minimum_benefit(PlannedEndpoint("binary", "relapse"), GroupEvidence(control_mean=0.3))


def test_effects_that_favour_control_are_refused_in_words(bridge):
    with pytest.raises(AnalysisError, match=r"favour control, inside the stratum \(hazard ratio 1.22\)"):
        planned_options(bridge.survival_evidence(mean=(0.2, 0.1)), bridge.survival_setting())
    harmful_outside = bridge.survival_evidence(mean=(-0.2, 0.4))
    with pytest.raises(AnalysisError, match="give a budget"):
        planned_options(harmful_outside, bridge.survival_setting(budget=None))
    assert planned_options(harmful_outside, bridge.survival_setting())["enriched"].feasible


def test_an_accrual_too_slow_for_the_stratum_names_the_months(bridge):
    options = planned_options(bridge.survival_evidence(), bridge.survival_setting(max_duration_months=40))
    # 800 of the stratum: 2,000 screened at 40 a month are 50 months, and 12 of follow-up.
    assert (
        "take 50.0 months to enrol, so that the trial lasts 62.0 months where 40 are allowed"
        in options["enriched"].note
    )
    assert options["all comers"].feasible
    page = compare_options(bridge.survival_evidence(), bridge.survival_setting(max_duration_months=40), draws=64)
    assert math.isnan(page.row("enriched")["assurance"])
    assert "Note" in page.table()
    with pytest.raises(AnalysisError, match="the option 'enriched' has no trial: accrual is too slow"):
        options["enriched"].chances(0.5, 0.1)
    with pytest.raises(AnalysisError, match="all comers: accrual is too slow"):
        planned_options(bridge.survival_evidence(), bridge.survival_setting(max_duration_months=20))


def test_an_accrual_too_fast_to_adapt_is_said(bridge):
    fast = planned_options(bridge.survival_evidence(), bridge.survival_setting(screened_per_month=400))
    assert "accrual is too fast to adapt" in fast["adaptive enrichment"].note
    claims = claims_of(fast["enriched"], overall_nodes(0.2, 0.1, 0.16), 0.4, 0.16)
    assert claims.net.shape == claims.rejects.shape[1:]
