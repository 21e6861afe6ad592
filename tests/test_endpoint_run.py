"""A run on a binary and on a continuous endpoint: its flow, its words, its models for new patients, and what it refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml import read_study
from trialml.analysis import Analysis, Watcher
from trialml.design.outcome_enrichment import OutcomeEnrichment
from trialml.design.response_evidence import ResponseEvidence
from trialml.design.risk_evidence import RiskEvidence
from trialml.effects.continuous import ContinuousContrast, mean_difference
from trialml.effects.heterogeneity import Heterogeneity
from trialml.effects.outcome_subgroups import OutcomeSubgroups
from trialml.effects.primary_outcome import PrimaryOutcome
from trialml.effects.standardisation import StandardisedContrast
from trialml.endpoint_comparing import compare_outcome
from trialml.endpoint_run import refuse_unready
from trialml.endpoint_verdicts import OutcomeFacts
from trialml.errors import AnalysisError, ModelInputError, StudyFileError
from trialml.models.learned_model import LearnedModel
from trialml.publish import prepare_output, publish
from trialml.result import CHAPTERS, Result
from trialml.run_params import run_params
from trialml.strata.outcome_effects import OutcomeStratumEffects
from trialml.stratifier import Stratifier
from trialml.study import analyse, look_at_data
from trialml.tracking.records import Metric, Undefined, records_of
from trialml.validation.benefit import BenefitCalibration
from trialml.validation.binary import BinaryPerformance
from trialml.validation.binary_calibration import BinaryCalibration
from trialml.validation.continuous import ContinuousPerformance
from trialml.validation.net_benefit import NetBenefit
from trialml.validation.optimism import Optimism
from trialml.validation.outcome_by_group import OutcomeGroups
from trialml.wording import limitations, run_verdicts, summarise

ROOT = Path(__file__).parents[1]
NONE = {f"endpoints.{key}": None for key in ("time", "event", "horizon", "tau", "unit")}
CONTINUOUS = {
    **NONE,
    "endpoints.kind": "continuous",
    "endpoints.value": "score",
    "endpoints.unit": "points",
    "endpoints.name": "score",
    "endpoints.label": "Score at week 8",
    "endpoints.direction": "lower is better",
    "effects.adjust_for": ["marker"],
    "effects.subgroups": ["prior", "region"],
    "models.risk.bootstrap": 20,
}
BINARY = {
    **NONE,
    "endpoints.kind": "binary",
    "endpoints.event": "responded",
    "endpoints.name": "response",
    "endpoints.label": "Response by week 8",
    "endpoints.direction": "event is benefit",
    "models.risk.thresholds": [0.3, 0.6],
    "models.risk.groups": ["prior", "site"],
    "models.risk.bootstrap": 20,
}
SURVIVAL_WORDS = re.compile(r"hazard|RMST|restricted mean|log-rank|event-free|Kaplan|Cox|censor", re.IGNORECASE)


def add_outcomes(frame):
    """A score that the marker raises and the new drug lowers, and a response that is likelier where the score is low."""
    draw = np.random.default_rng(17)
    marker = pd.to_numeric(frame["marker"]).fillna(0.0)
    new = (frame["arm"] == "new").astype(float)
    score = 50 + 4 * marker + 2 * frame["prior"].astype(float) - new * (5 + 2 * marker) + draw.normal(0, 5, len(frame))
    frame["score"] = score.round(2)
    frame["responded"] = (draw.random(len(frame)) < 1 / (1 + np.exp((score - 48) / 4))).astype(int)


def run(write_study, folder, study, rows=420, **asked):
    path = write_study(folder, rows=rows, change=add_outcomes, study=study)
    return analyse(read_study(path), quick=True, **asked)


@pytest.fixture(scope="module")
def continuous(write_study, tmp_path_factory):
    return run(write_study, tmp_path_factory.mktemp("continuous"), CONTINUOUS)


@pytest.fixture(scope="module")
def binary(write_study, tmp_path_factory):
    return run(write_study, tmp_path_factory.mktemp("binary"), BINARY)


@pytest.fixture(params=["continuous", "binary"])
def done(request):
    return request.getfixturevalue(request.param)


def test_a_run_carries_its_models_into_a_design_on_the_planning_scale(done):
    found, strata = done.only(ResponseEvidence), done.only(OutcomeStratumEffects)
    top = strata.rows.iloc[-1]
    np.testing.assert_allclose(found.data_covariance[0][0], top["benefit_se"] ** 2, rtol=1e-12)
    np.testing.assert_allclose(found.inside.control_mean, top["control_mean"], rtol=1e-12)
    assert found.endpoint.scale == strata.scale
    assert found.sign == 1.0
    risk = done.only(RiskEvidence)
    if done.trial.endpoint.kind == "continuous":
        assert risk.r_squared == done.only(ContinuousPerformance).estimate("R² within arm", "the risk model")
    else:
        assert risk.concordance == done.only(BinaryPerformance).estimate("AUC", "the risk model")
        assert risk.slope == done.only(BinaryCalibration).slope["control"]


def test_the_primary_analysis_of_a_mean_is_adjusted_for_what_the_study_file_names(continuous):
    found, trial = continuous.only(PrimaryOutcome), continuous.trial.only("old", "new")
    assert found.direction == "better"
    assert found.difference.value < 0
    assert found.difference.n == len(trial)
    plain = mean_difference(trial.value, trial.treated)
    assert found.difference.se < plain.se
    assert 0 < found.r_squared < 1
    adjusted = continuous.about(StandardisedContrast)[0]
    assert adjusted.estimate("mean_difference").value == pytest.approx(found.difference.value)
    assert len(continuous.about(StandardisedContrast)) == 2
    assert "(secondary)" in continuous.about(StandardisedContrast)[1].heading()


def test_the_primary_analysis_of_an_event_is_stratified_as_the_randomisation(binary):
    found = binary.only(PrimaryOutcome)
    assert found.test == "Cochran-Mantel-Haenszel test"
    assert found.direction == "better"
    assert found.difference.value > 0


def test_subgroups_are_those_of_the_study_file(continuous):
    found = continuous.only(OutcomeSubgroups)
    assert found.tests["factor"].tolist() == ["prior", "region"]


def test_a_benefit_is_above_0_whichever_way_is_better(done):
    """A lower score is better in one trial, a response in the other: the arms' difference changes sign, the benefit does not."""
    plan = done.only(OutcomeEnrichment).plans.iloc[0]
    assert plan["benefit"] > 0
    assert plan["benefit"] == pytest.approx(abs(done.only(PrimaryOutcome).difference.value))
    strata = done.only(OutcomeStratumEffects)
    assert (strata.rows["benefit"] * strata.rows["share"]).sum() > 0
    arms = strata.rows["experimental_mean"] - strata.rows["control_mean"]
    sign = 1 if done.trial.endpoint.higher_is_better else -1
    assert np.corrcoef(sign * arms, strata.rows["benefit"])[0, 1] > 0
    assert done.only(BenefitCalibration).scale == strata.scale


def test_the_model_is_judged_on_patients_not_seen_and_by_the_bootstrap(continuous, binary):
    found = continuous.only(ContinuousPerformance)
    assert found.estimate("R²", "the risk model").value > 0
    assert found.kind == "crossfit"
    assert [one.threshold for one in binary.about(BinaryPerformance)] == [0.3, 0.6]
    assert {"both arms", "control"} <= set(binary.only(BinaryCalibration).slope)
    for done in (continuous, binary):
        assert len(done.only(Optimism).samples) == 20


def test_words_fit_the_endpoint_and_no_other(done):
    said = [result.heading() + " " + result.text() for result in done.results if result.chapter != "data"]
    summary = summarise(done)
    said += [summary.question, summary.verdict, *summary.next_steps, *summary.certainty]
    said += [f"{one.label} {one.value} {one.detail}" for one in summary.answer]
    verdicts = run_verdicts(done)
    said += [verdicts.risk, verdicts.response, verdicts.decision, *limitations(done)]
    wrong = [words for words in said if SURVIVAL_WORDS.search(words)]
    allowed = "was simulated for a time to event"
    assert [words for words in wrong if allowed not in words] == []
    if done.trial.endpoint.kind == "continuous":
        assert "AUC" not in verdicts.risk
        assert " events" not in verdicts.risk
    assert "Patients did better with new than with old" in verdicts.decision


def test_the_facts_are_those_of_the_results(done):
    facts = OutcomeFacts.of(done)
    assert facts.heterogeneity is done.only(Heterogeneity)
    risk = next(one for one in done.results if getattr(one, "subject", "") == "risk")
    assert facts.informative == risk.events
    assert facts.per_parameter == risk.events_per_parameter


def test_every_result_survives_its_storage(done):
    for result in done.results:
        again = Result.from_dict(json.loads(json.dumps(result.to_dict())))
        assert again.text() == result.text()


def test_a_report_and_its_cards_are_written(done, tmp_path):
    prepare_output(tmp_path)
    published = publish(done, tmp_path, ["trialml", "run"])
    page = published.report.read_text(encoding="utf-8")
    assert "<h2" in page
    assert "nan" not in re.sub(r"<[^>]*>", " ", page).split()
    assert done.trial.endpoint.label in published.card["risk"]


def test_parameters_name_kind_and_direction_and_no_time(done):
    for subject in ("risk", "response"):
        params = run_params(done, subject)
        assert params["endpoint.kind"] == done.trial.endpoint.kind
        assert params["endpoint.direction"] == done.trial.endpoint.direction
        assert not {"horizon", "tau", "censoring_model"} & set(params)
        assert ("cohort.events" in params) == (done.trial.endpoint.kind == "binary")
    assert run_params(done, "risk")["model.name"] in ("linear_ridge", "logistic_ridge")


def test_the_metrics_that_the_guide_names_are_logged(continuous, binary):
    page = (
        (ROOT / "docs" / "guide" / "tracking.md").read_text(encoding="utf-8").partition("## Binary and continuous")[2]
    )
    named = [word for word in re.findall(r"`([^`\s]+)`", page) if word.partition("/")[0] in CHAPTERS]
    logged = {
        record.name
        for done in (continuous, binary)
        for record in records_of(done.results)
        if isinstance(record, Metric | Undefined)
    }
    assert len(named) > 15
    assert [name for name in named if name not in logged] == []


def test_new_patients_are_scored_by_what_was_stored(done, tmp_path):
    new = done.trial.only("old", "new").baseline.head(40)
    for part, name in ((done.risk, "risk"), (done.response, "response")):
        part.write(tmp_path / name)
        again = Stratifier.read(tmp_path / name)
        pd.testing.assert_frame_equal(again.predict(new), part.predict(new))
        assert [column for column, _ in part.columns()] == list(part.predict(new).columns)
    output = "expected_outcome" if done.trial.endpoint.kind == "continuous" else "probability"
    scored = done.risk.predict(new)
    model = done.risk.risk.estimator
    assert scored[output].to_numpy() == pytest.approx(model.predict(new.assign(treated=0.0)))
    with pytest.raises(ModelInputError, match="has no follow-up"):
        done.risk.predict(new, {"horizon": 30})


def test_the_model_is_judged_within_the_groups_of_the_study_file(binary):
    assert [one.factor for one in binary.about(OutcomeGroups)] == ["prior", "site"]
    assert not binary.about(NetBenefit)


def test_an_event_that_is_harm_gives_a_risk_and_a_decision_curve(write_study, tmp_path):
    found = run(write_study, tmp_path, {**BINARY, "endpoints.direction": "event is harm"})
    assert found.only(NetBenefit).kind == "crossfit"
    assert found.risk.columns()[0] == ("risk", "double")
    assert found.only(PrimaryOutcome).direction == "worse"
    assert "Patients did worse" in run_verdicts(found).decision
    assert found.only(OutcomeEnrichment).plans["note"].iloc[0].startswith("no trial")


def test_a_candidate_and_the_control_arm_alone(write_study, tmp_path):
    asked = {"models.risk.candidates": ["boosted_continuous"], "models.risk.treatment": "control arm"}
    found = run(write_study, tmp_path, {**CONTINUOUS, **asked})
    control = int((found.trial.only("old", "new").frame["arm"] == "old").sum())
    assert found.only(ContinuousPerformance).n == control
    assert found.risk.risk.estimator.treatment is None
    assert any(type(result).__name__ == "ModelComparison" for result in found.results)


@pytest.mark.parametrize("study", [BINARY, CONTINUOUS], ids=["binary", "continuous"])
def test_a_response_model_on_outcomes_runs_and_its_words_are_those_of_the_endpoint(write_study, tmp_path, study):
    kind = study["endpoints.kind"]
    asked = {"models.response.model": f"t_learner_{kind}", "models.response.gate": 0.1, "models.risk.bootstrap": 0}
    found = run(write_study, tmp_path, {**study, **asked})
    described = next(one for one in found.about(LearnedModel) if one.subject == "benefit")
    counted = int(found.trial.only("old", "new").outcome.sum()) if kind == "binary" else described.n
    assert described.events == counted
    assert ("events for each" if kind == "binary" else "patients for each") in described.text()
    assert "in the chapter Explanation" in described.text()
    assert any(one.chapter == "explain" for one in found.results_about("response"))
    model = found.response.response.estimator
    rows = described.settings.set_index("setting")["value"]
    assert rows["gate"].startswith("open" if model.gate_p_ <= 0.1 else "closed")
    new = found.trial.only("old", "new").baseline.head(20)
    found.response.write(tmp_path / "stored")
    pd.testing.assert_frame_equal(Stratifier.read(tmp_path / "stored").predict(new), found.response.predict(new))


def test_a_run_gives_the_same_numbers_again(write_study, tmp_path, continuous):
    again = run(write_study, tmp_path, CONTINUOUS)
    for first, second in zip(continuous.results, again.results, strict=True):
        assert first.text() == second.text()


def test_the_example_says_what_r_says_of_the_same_patients():
    """The difference is R's (analysis of covariance by arm, `tests/reference/outcomes.json`), the shares of the arms the data's."""
    study = read_study(ROOT / "examples" / "actg175_cd4" / "study.toml")
    look = look_at_data(study)
    refuse_unready(study)
    done = Analysis(study, look.trial, True, Watcher())
    found = compare_outcome(done, look.quality)
    wanted = json.loads((ROOT / "tests" / "reference" / "outcomes.json").read_text())
    assert found.difference.value == pytest.approx(wanted["covariance"]["value"], rel=1e-8)
    assert found.direction == "better"
    plain = next(result for result in done.results if isinstance(result, ContinuousContrast))
    assert plain.estimate("mean_difference").low == pytest.approx(wanted["welch"]["low"], rel=1e-8)
    assert plain.estimate("stratified_mean_difference").se == pytest.approx(wanted["stratified"]["se"], rel=1e-8)
    subgroups = done.only(OutcomeSubgroups).tests.set_index("factor")
    assert subgroups.loc["Prior antiretroviral therapy", "p"] == pytest.approx(wanted["subgroups"]["p"], rel=1e-8)


REFUSED = {
    "no direction": ({"endpoints.direction": None}, "direction is missing.*'higher is better' or 'lower is better'"),
    "a direction of another kind": ({"endpoints.direction": "event is harm"}, "does not suit a continuous endpoint"),
    "a risk model of another kind": ({"models.risk.model": "cox_ridge"}, "is for a time to event endpoint"),
    "a response model of another kind": (
        {"models.response.model": "cox_interaction"},
        "is for a time to event endpoint",
    ),
    "an adjustment for no covariate": ({"effects.adjust_for": ["markr"]}, "no covariate.*'marker'"),
    "an adjustment twice": ({"effects.adjust_for": ["marker", "marker"]}, "lists 'marker' twice"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_study_file_that_such_a_run_cannot_use_is_refused(write_study, tmp_path, case):
    changed, words = REFUSED[case]
    path = write_study(tmp_path, rows=60, change=add_outcomes, study={**CONTINUOUS, **changed})
    with pytest.raises(StudyFileError, match=words):
        analyse(read_study(path), quick=True)


TOO_LITTLE = {
    "an arm without events": (
        BINARY,
        lambda frame: frame.__setitem__("responded", frame["responded"].where(frame["arm"] != "old", 0)),
        "happened in 0 of the 60 patients of the control arm 'old'",
    ),
    "few events": (
        BINARY,
        lambda frame: frame.__setitem__("responded", (frame.index < 24).astype(int)),
        "happened in 16 of 120 patients .* at least 20 with and 20 without",
    ),
    "an adjustment for a constant": (
        CONTINUOUS,
        lambda frame: frame.__setitem__("marker", 1.0),
        "adjust_for names 'marker', which has one value",
    ),
    "one value": (
        CONTINUOUS,
        lambda frame: frame.__setitem__("score", 4.0),
        "values of the endpoint 'score' .* are the same",
    ),
    "the outcome as a covariate": (
        CONTINUOUS,
        lambda frame: frame.__setitem__("age", frame["score"] + 1e-6 * np.arange(len(frame))),
        "it is the outcome, or was measured later",
    ),
}


@pytest.mark.parametrize("case", TOO_LITTLE)
def test_data_that_do_not_permit_such_a_run_are_refused_in_words(write_study, tmp_path, case):
    study, change, words = TOO_LITTLE[case]

    def changed(frame):
        add_outcomes(frame)
        change(frame)

    path = write_study(tmp_path, rows=180, change=changed, study={**study, "models.risk.groups": []})
    with pytest.raises(AnalysisError, match=words):
        analyse(read_study(path), quick=True)


def test_patients_without_an_outcome_are_counted_and_a_few_missing_covariates_leave_the_adjustment(
    write_study, tmp_path
):
    def change(frame):
        add_outcomes(frame)
        frame.loc[frame.index[:12], "score"] = None

    found = run_changed(write_study, tmp_path, change)
    assert found.only(PrimaryOutcome).difference.n == len(found.trial.only("old", "new"))
    assert "12 of 120 patients of the file are not analysed" in " ".join(summarise(found).certainty)


def run_changed(write_study, folder, change):
    path = write_study(folder, rows=120, change=change, study=CONTINUOUS)
    return analyse(read_study(path), quick=True)


def test_a_window_with_times_is_sent_to_the_run_of_a_time_to_event(write_study, tmp_path):
    path = write_study(tmp_path, rows=60, change=add_outcomes, study={**BINARY, "endpoints.time": "days"})
    with pytest.raises(StudyFileError, match="'time to event' with horizon = the window"):
        read_study(path)


def test_an_adjustment_of_a_time_to_event_is_refused(write_study, tmp_path):
    path = write_study(tmp_path, study={"effects.adjust_for": ["marker"]})
    with pytest.raises(StudyFileError, match="adjust_for is for a binary or continuous endpoint"):
        read_study(path)
