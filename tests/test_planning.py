"""From a whole quick analysis to the plan and the first page: what is planned, what is claimed, and what is not."""

import dataclasses
import hashlib
import json
import math

import numpy as np
import pandas as pd
import pytest

from trialml.analysis import Analysis
from trialml.bridge import response_evidence
from trialml.config import read_study
from trialml.design.enrichment_plan import EnrichmentPlan
from trialml.design.next_trial import OperatingCharacteristics
from trialml.design.response_evidence import ResponseEvidence
from trialml.design.risk_evidence import RiskEvidence
from trialml.effects.contrast import HAZARD_RATIO, Contrast
from trialml.effects.heterogeneity import Heterogeneity
from trialml.effects.shrinkage import shrink
from trialml.errors import AnalysisError
from trialml.learning import Learning
from trialml.models.coefficients import Coefficients
from trialml.planning import plan_next_trial, smallest_block
from trialml.publish import publish
from trialml.result import Estimate, Result
from trialml.strata.effects import StratumEffects, population_numbers, stratum_members
from trialml.strata.stability import StrataStability
from trialml.study import analyse
from trialml.summary import chapter_leads, limitations, summarise
from trialml.survival.rmst import RestrictedMean
from trialml.validation.benefit import BenefitCalibration
from trialml.validation.calibration import Calibration
from trialml.validation.discrimination import Discrimination
from trialml.verdicts import verdicts

Z = 1.959963984540054


@pytest.fixture(scope="module")
def study(write_study, tmp_path_factory):
    """300 invented patients in two arms."""
    path = write_study(
        tmp_path_factory.mktemp("trial"), rows=300, arms=("old", "new"),
        study={"treatment.secondary": None, "models.risk.folds": 3, "models.response.folds": 3},
    )  # fmt: skip
    return read_study(path)


@pytest.fixture(scope="module")
def analysis(study):
    return analyse(study, quick=True)


def replaced(analysis, **changes):
    """The same analysis with some results changed, by class."""
    results = [
        dataclasses.replace(result, **changes[type(result).__name__]) if type(result).__name__ in changes else result
        for result in analysis.results
    ]
    return dataclasses.replace(analysis, results=results)


def with_effect(analysis, value, low, high, p):
    """The primary hazard ratio and the log-rank p set to numbers."""
    rows = analysis.only(Contrast).rows.copy()
    rows.loc[rows["scale"] == HAZARD_RATIO, ["value", "low", "high"]] = value, low, high
    return replaced(analysis, Contrast={"rows": rows}, LogRank={"p": p})


def with_strata(analysis, low, p):
    found = analysis.only(StratumEffects).difference
    difference = dataclasses.replace(found, value=40.0, low=low, high=90.0)
    return replaced(analysis, Heterogeneity={"p": p}, StratumEffects={"difference": difference, "heterogeneity_p": p})


def test_trap_33_two_runs_give_every_result_to_the_last_digit(study, analysis):
    again = analyse(study, quick=True)
    assert len(again.results) == len(analysis.results)
    for one, other in zip(analysis.results, again.results, strict=True):
        assert json.dumps(one.to_dict()) == json.dumps(other.to_dict()), type(one).__name__


def test_every_result_survives_a_round_trip(analysis):
    for result in analysis.results:
        again = type(result).from_dict(json.loads(json.dumps(result.to_dict())))
        assert isinstance(again, Result)
        assert again.text() == result.text()


def test_trap_57_all_comers_are_planned_with_the_estimate_less_favourable_by_the_asked_standard_errors(analysis):
    ratio = analysis.only(Contrast).estimate(HAZARD_RATIO)
    se = (math.log(ratio.high) - math.log(ratio.low)) / (2 * Z)
    asked = analysis.study.design.discount_standard_errors
    plans = analysis.only(EnrichmentPlan).plans
    everyone = plans[plans["population"] == "All comers"]
    assert len(everyone)
    assert (everyone["effect_kind"] == "direct").all()
    np.testing.assert_allclose(everyone["planning_hazard_ratio"], ratio.value * math.exp(asked * se), rtol=1e-9)
    np.testing.assert_allclose(everyone["hazard_ratio"], ratio.value, rtol=1e-12)
    assert (everyone["planning_hazard_ratio"] > ratio.value).all()
    fixed = analysis.only(OperatingCharacteristics)
    if everyone["note"].iloc[0] == "":
        assert fixed.events == everyone["events"].iloc[0]


def test_trap_57_enriched_populations_come_from_cross_fitted_numbers_never_from_naive_ones(analysis):
    plans = analysis.only(EnrichmentPlan).plans
    enriched = plans[(plans["prevalence"] < 1) & ~plans["model_useless"]]
    assert set(enriched["effect_kind"]) == {"crossfit"}
    top = analysis.only(StratumEffects).rows.iloc[-1]
    only = enriched[enriched["population"] == f"{top['stratum']} only"].iloc[0]
    asked = analysis.study.design.discount_standard_errors
    wanted = math.exp(top["log_hazard_ratio"] + asked * top["log_hazard_ratio_se"])
    np.testing.assert_allclose([only["hazard_ratio"], only["planning_hazard_ratio"]], [top["hazard_ratio"], wanted])
    np.testing.assert_allclose(only["prevalence"], top["share"])


def test_trap_57_an_effect_in_the_wrong_direction_gives_words_and_no_plan(analysis):
    harmed = with_effect(analysis, 1.3, 1.1, 1.54, 0.002)
    empty = dataclasses.replace(harmed, results=[], subjects=[])
    learning = Learning(analysis, analysis.results[1])
    held, by_stratum = _held(analysis), analysis.only(StratumEffects)
    plan_next_trial(empty, harmed.only(Contrast), by_stratum, held, learning.outcomes)
    assert not empty.about(OperatingCharacteristics)
    row = empty.only(EnrichmentPlan).plans.iloc[0]
    assert "no trial: planning hazard ratio" in row["note"]
    assert np.isnan(row["patients"])


def test_trap_57_the_evidence_of_a_run_is_cross_fitted_shrunken_and_never_naive(analysis):
    found, strata = analysis.only(ResponseEvidence), analysis.only(StratumEffects)
    top = strata.rows.iloc[-1]
    np.testing.assert_allclose(found.data_covariance[0][0], top["log_hazard_ratio_se"] ** 2, rtol=1e-12)
    np.testing.assert_allclose(found.share, top["share"], rtol=1e-12)
    np.testing.assert_allclose(found.inside.control_hazard_per_month, top["control_hazard_per_month"], rtol=1e-12)
    assert found.heterogeneity_p == strata.heterogeneity_p
    assert found.data_sha256 == analysis.trial.sha256
    assert "naive" not in found.frame()
    # Rules that had not seen the patient, against the final one: by the stratum's row of the table of moves.
    moves = analysis.only(StrataStability).moves
    np.testing.assert_allclose(found.misclassification.lost, 1 - moves.iloc[-1, -1], rtol=1e-9)
    slope = analysis.only(BenefitCalibration).slope
    assert ("the calibration slope of the benefit score" in found.validation.failed) == (not slope.value > 0)


def test_the_evidence_is_the_shrunken_pair_of_the_two_sides(analysis):
    learning = Learning(analysis, analysis.results[1])
    held, strata = _held(analysis), analysis.only(StratumEffects)
    found = response_evidence(analysis, strata, held, learning.outcomes, first=1)
    inside = stratum_members(held, len(strata.rows)) >= 1
    endpoint = analysis.trial.endpoint
    sides = [
        population_numbers(learning.outcomes, held, one, endpoint.horizon, endpoint.months_per_unit)
        for one in (inside, ~inside)
    ]
    wanted = shrink(*([side[name] for side in sides] for name in ("log_hazard_ratio", "log_hazard_ratio_se")))
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-12)
    np.testing.assert_allclose(found.covariance, wanted.covariance, rtol=1e-12)
    assert found.count == pytest.approx(inside.mean() * held.score.shape[1])
    assert " at least " in found.rule
    assert found.complement == found.rule.replace(" at least ", " below ")
    for first, whom in ((0, "everybody"), (len(strata.rows), "nobody")):
        with pytest.raises(AnalysisError, match=f"select {whom}"):
            response_evidence(analysis, strata, held, learning.outcomes, first=first)


def test_trap_57_the_risk_models_evidence_is_of_patients_not_seen(analysis):
    found = analysis.only(RiskEvidence)
    assert found.concordance == analysis.only(Discrimination).without_arm
    assert found.slope == analysis.only(Calibration).slope_under_control
    assert found.concordance.kind == "crossfit"
    assert found.bins["share"].sum() == pytest.approx(1.0)
    # 11 control patients or more a bin.
    assert found.bins["share"].min() * 150 >= 11 - 1e-9
    ratio = analysis.only(Calibration).ratio_under_control
    assert found.observed.value == pytest.approx(
        ratio.value * float(found.bins["risk"] @ found.bins["share"]), rel=1e-9
    )


def _held(analysis):
    """Ranks and scores of any kind: only the all-comers row is looked at."""
    from trialml.validation.benefit import HeldOutBenefit

    n = analysis.only(Contrast).estimate(HAZARD_RATIO).n
    rank = np.tile(np.linspace(0, 0.999, n), (2, 1))
    return HeldOutBenefit(rank, rank, rank, rank)


BETTER, WORSE, UNSURE = (0.6, 0.45, 0.8, 0.001), (1.5, 1.2, 1.9, 0.001), (0.9, 0.7, 1.16, 0.42)


@pytest.mark.parametrize(
    ("effect", "low", "p", "said", "unsaid"),
    [
        (BETTER, 5.0, 0.01, "weigh a trial enriched", "exploratory"),
        (BETTER, -5.0, 0.01, "the strata do not yet tell them apart: nothing here is ground to restrict", "enriched"),
        (BETTER, 5.0, 0.48, "not shown to differ between patients", "enriched"),
        (BETTER, 5.0, 0.48, "exploratory", "agree that the effect differs"),
        (BETTER, -5.0, 0.48, "not shown to differ between patients: nothing here is ground to restrict", "gain"),
        (WORSE, 5.0, 0.01, "nothing here supports a further trial", "plan it"),
        (UNSURE, -5.0, 0.48, "did not show a difference", "plan it"),
        (UNSURE, 5.0, 0.01, "which does not show that there is none", "enriched"),
    ],
)
def test_the_decision_claims_no_more_than_the_tests(analysis, effect, low, p, said, unsaid):
    """Trap 43: the strata alone never make a claim; the global test gates it, and the primary test gates the plan."""
    decision = verdicts(with_strata(with_effect(analysis, *effect), low, p)).decision
    assert said in decision
    assert unsaid not in decision
    assert "95% CI" in decision
    assert "two-sided" in decision


def test_the_first_page_follows_the_decision(analysis):
    page = summarise(with_strata(with_effect(analysis, *BETTER), 5.0, 0.48))
    findings = {finding.label: finding for finding in page.answer}
    gain = next(finding for label, finding in findings.items() if label.startswith("Gain in"))
    assert gain.label.endswith("exploratory")
    assert "95% CI" in gain.detail
    assert findings["Does the hazard ratio differ between patients?"].value == "not shown"
    ordered = findings["Risk model: patients ordered rightly"]
    within = analysis.only(Discrimination).without_arm.value
    assert ordered.value.startswith(f"{100 * within:.0f} % of pairs (95% CI")
    assert "within arms" in ordered.detail
    assert any("no test has shown" in step for step in page.next_steps) or len(page.next_steps) < 3
    assert any("about four times in five" in sentence for sentence in page.certainty)


def test_the_first_page_without_a_plan_says_why(analysis):
    plan = analysis.only(EnrichmentPlan)
    plans = plan.plans.assign(note="no trial: planning hazard ratio 1.20 is not below 1")
    numbers = plans.columns[plans.columns.get_loc("effect_kind") + 1 : plans.columns.get_loc("note")]
    plans[list(numbers)] = np.nan
    page = summarise(replaced(with_effect(analysis, *WORSE), EnrichmentPlan={"plans": plans}))
    shown = page.answer[-1]
    assert shown.value == "not planned"
    assert "not below 1" in shown.detail
    assert len(page.next_steps) == 1
    assert "nothing here supports a further trial" in page.verdict


def test_a_single_stratum_makes_no_claim_on_the_first_page(analysis):
    found = analysis.only(StratumEffects)
    alone = found.rows.iloc[:1].assign(stratum="All patients")
    nothing = Estimate(math.nan, scale=found.difference.scale, unit=found.difference.unit)
    one = replaced(
        with_effect(analysis, *BETTER), StratumEffects={"rows": alone, "difference": nothing}, Heterogeneity={"p": 0.4}
    )
    page = summarise(one)
    assert not any(finding.label.startswith("Gain") for finding in page.answer)
    assert "plan it in all comers" in page.verdict
    assert "stratum" not in verdicts(one).response


def test_trap_75_verdicts_name_kind_interval_and_horizon(analysis):
    said = verdicts(with_strata(analysis, 5.0, 0.48))
    assert said.risk.startswith(("QUICK RUN  PASS", "QUICK RUN  REVIEW"))
    for words in ("within arms", "95% CI", "cross-fitted", "365 days", "internal validation only"):
        assert words in said.risk
    assert said.response.startswith("QUICK RUN  NO HETEROGENEITY SHOWN")
    assert "exploratory" in said.response
    shown = verdicts(with_strata(analysis, 5.0, 0.01)).response
    assert shown.startswith("QUICK RUN  HETEROGENEITY SHOWN")
    assert not verdicts(dataclasses.replace(analysis, quick=False)).response.startswith("QUICK")
    assert "exploratory" not in shown


def test_trap_67_leads_and_limitations_say_what_assurance_and_censoring_rest_on(analysis):
    leads, said = chapter_leads(analysis), " ".join(limitations(analysis))
    assert "sampling uncertainty of this trial's hazard ratio" in leads["design"]
    assert "one-sided" in leads["design"]
    assert "prior doubt" in said
    assert "Censoring is assumed to be independent of the event within each arm" in said
    assert "not adjusted for multiplicity" in said
    assert "quick run" in limitations(analysis)[0]


def test_the_results_are_about_the_primary_contrast(analysis):
    assert isinstance(analysis, Analysis)
    n = analysis.only(Contrast).estimate(HAZARD_RATIO).n
    assert analysis.only(Heterogeneity).n == n == 300
    assert analysis.only(RestrictedMean).difference.value == pytest.approx(
        analysis.only(Contrast).rows.set_index("scale")["value"].iloc[1]
    )
    assert isinstance(analysis.only(StratumEffects).rows, pd.DataFrame)


@pytest.mark.parametrize(("allocation", "block"), [(0.5, 4), (2 / 3, 6), (0.6667, 6), (0.75, 4), (0.4, 5), (0.2, 5)])
def test_trap_56_patients_come_in_blocks_that_hold_whole_arms(allocation, block):
    assert smallest_block(allocation) == block


def test_the_first_page_and_the_plan_name_the_same_enriched_population(analysis):
    plan = analysis.only(EnrichmentPlan)
    steps = " ".join(summarise(with_effect(analysis, *BETTER)).next_steps)
    enriched = plan.plans[(plan.plans["prevalence"] < 1) & ~plan.plans["model_useless"] & (plan.plans["note"] == "")]
    assert len(enriched)
    first = enriched["population"].iloc[0]
    assert f"Enrolling '{first}'" in steps
    assert f"“{first}”" in plan.text()


def test_a_risk_model_short_of_the_policy_says_in_what(analysis):
    """Trap 22 and the promotion policy: the control arm's calibration counts, since new patients get that risk."""
    calibrated = analysis.only(Calibration)
    good = dataclasses.replace(calibrated.slope, value=1.0, low=0.9, high=1.1)
    bad = dataclasses.replace(good, value=1.5, low=1.2, high=1.8)
    size = next(found for found in analysis.about(Coefficients) if found.subject == "risk")
    c = dataclasses.replace(analysis.only(Discrimination).without_arm, value=0.7, low=0.65, high=0.75)
    arms = {"control": good, "experimental": good}

    def risk(**changes):
        known = {"slope": good, "ratio": good, "slope_by_arm": arms, "ratio_by_arm": arms} | changes
        big = dataclasses.replace(size, events=changes.pop("events", 400))
        results = [big if one is size else one for one in analysis.results]
        known.pop("events", None)
        whole = dataclasses.replace(analysis, results=results, quick=False)
        return verdicts(replaced(whole, Calibration=known, Discrimination={"without_arm": c})).risk

    assert risk().startswith("PASS")
    assert risk(slope_by_arm=arms | {"control": bad}).startswith("REVIEW")
    assert "short of the policy in the calibration slope under control" in risk(slope_by_arm=arms | {"control": bad})
    assert "short of the policy in events, events per parameter" in risk(events=30)


def test_the_study_file_beside_the_report_is_the_one_that_made_it(analysis, tmp_path):
    """It may be edited while a long run goes on."""
    path = analysis.study.path
    made = path.read_bytes()
    path.write_bytes(made + b"# edited meanwhile\n")
    try:
        published = publish(analysis, tmp_path, ["trialml", "run", "study.toml"])
    finally:
        path.write_bytes(made)
    assert (published.folder / "study.toml").read_bytes() == made
    assert hashlib.sha256(made).hexdigest() in published.report.read_text(encoding="utf-8")
