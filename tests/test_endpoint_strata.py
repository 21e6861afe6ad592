"""Strata of every kind and response models on outcomes, through a run on a binary or continuous endpoint."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from trialml import read_study
from trialml.analysis import Analysis, Watcher
from trialml.benefit_model import explain_benefit_model, fit_benefit_model
from trialml.design.outcome_enrichment import OutcomeEnrichment
from trialml.effects.not_done import NotDone
from trialml.effects.primary_outcome import prediction_name
from trialml.endpoint_learning import OutcomeLearning
from trialml.endpoint_run import refuse_unready
from trialml.endpoint_verdicts import OutcomeFacts
from trialml.errors import AnalysisError, StudyFileError
from trialml.explain.explained import ModelExplanation
from trialml.publish import prepare_output, publish
from trialml.run_params import run_params
from trialml.strata.crossfit import estimand_words
from trialml.strata.outcome_effects import OutcomeStratumEffects
from trialml.strata.policy_tree import NOT_RECOMMENDED, RECOMMENDED
from trialml.strata.profile import StrataProfile
from trialml.strata.rule_stability import RuleStability
from trialml.strata.shrunken import ShrunkenEffects
from trialml.strata.stability import StrataStability
from trialml.strata.wording import StrataWording
from trialml.stratifier import Stratifier
from trialml.study import analyse, look_at_data
from trialml.wording import run_verdicts, summarise

QUICK = {
    **{f"endpoints.{key}": None for key in ("time", "event", "horizon", "tau", "unit")},
    "models.response.repeats": 6,
    "models.response.folds": 3,
    "models.risk.folds": 3,
    "models.risk.bootstrap": 0,
    "strata.groups": 2,
    "strata.leaf_patients": 11,
}
CONTINUOUS = QUICK | {
    "endpoints.kind": "continuous",
    "endpoints.value": "grip",
    "endpoints.unit": "kg",
    "endpoints.name": "grip",
    "endpoints.label": "Grip strength",
    "endpoints.direction": "higher is better",
}
BINARY = QUICK | {
    "endpoints.kind": "binary",
    "endpoints.event": "walks",
    "endpoints.name": "walking",
    "endpoints.label": "Walks unaided",
    "endpoints.direction": "event is benefit",
}
SURVIVAL_WORDS = re.compile(r"hazard|RMST|restricted mean|log-rank|event-free|Kaplan|Cox|censor", re.IGNORECASE)


def add_grip(frame):
    """Grip strength and walking, which the new drug helps in patients treated before and in nobody else."""
    draw = np.random.default_rng(23)
    prior, new = frame["prior"].astype(float), (frame["arm"] == "new").astype(float)
    grip = 25 + 2 * pd.to_numeric(frame["marker"]).fillna(0.0) + 8 * prior * new + draw.normal(0, 3, len(frame))
    frame["grip"] = grip.round(2)
    frame["walks"] = (draw.random(len(frame)) < 1 / (1 + np.exp((27 - grip) / 3))).astype(int)


def run(write_study, folder, study, rows=300):
    return analyse(read_study(write_study(folder, rows=rows, change=add_grip, study=study)), quick=True)


ASKED = {
    "tree, continuous": (CONTINUOUS, {"strata.kind": "tree", "strata.bootstrap": 20, "strata.leaf_events": 10_000}),
    "policy tree, binary": (BINARY, {"strata.kind": "policy tree", "strata.leaf_events": 4, "strata.bootstrap": 20}),
    "risk by benefit, binary": (BINARY, {"strata.kind": "risk by benefit", "strata.bootstrap": 20}),
    "risk, continuous": (CONTINUOUS, {"strata.kind": "risk"}),
    "benefit, binary": (BINARY, {"models.response.model": "t_learner_binary"}),
}


@pytest.fixture(scope="module", params=ASKED)
def done(request, write_study, tmp_path_factory):
    study, keys = ASKED[request.param]
    return run(write_study, tmp_path_factory.mktemp("strata"), {**study, **keys})


def test_strata_of_the_kind_asked_for_are_judged_on_patients_not_seen(done):
    strata, asked = done.response.response.strata, done.study.strata
    assert strata.kind == asked.kind
    found = done.only(OutcomeStratumEffects)
    assert list(found.rows["stratum"]) == list(strata.names)
    assert found.repeats == 6
    predicted = prediction_name(done.trial.endpoint.kind, higher_is_better=True)
    assert found.estimand == estimand_words(asked.kind, predicted)
    assert ("range of the expected outcome" in found.estimand) == (asked.kind == "risk")
    assert found.rows["share"].isna().equals(found.rows["n"].isna())
    if asked.kind == "risk":
        assert "made by quantiles of the expected outcome." in done.only(StrataWording).text()
        assert run_params(done, "response")["strata.rule"] == "quantiles of the expected outcome"
    assert done.only(StrataWording).rows["rule"].tolist() == [one.rule for one in strata.strata]
    assert done.about(StrataProfile)
    assert done.about(StrataStability)
    assert done.about(ShrunkenEffects) or ShrunkenEffects.title in [one.what for one in done.about(NotDone)]
    assert len(done.about(RuleStability)) == (asked.bootstrap > 0)


def test_the_model_stores_its_strata_and_puts_new_patients_into_them(done, tmp_path):
    patients = done.trial.only("old", "new").baseline.head(40)
    done.response.write(tmp_path)
    again = Stratifier.read(tmp_path)
    scored = again.predict(patients)
    pd.testing.assert_frame_equal(scored, done.response.predict(patients))
    assert again.response.strata == done.response.response.strata
    assert set(scored["stratum"]) - {""} <= set(again.response.strata.names)
    assert (again.risk is not None) == (done.study.strata.kind in ("risk", "risk by benefit"))
    rows = done.only(OutcomeStratumEffects).rows.set_index("stratum")
    wanted = rows.loc[scored["stratum"], "benefit"].to_numpy()
    np.testing.assert_allclose(scored["stratum_benefit"], wanted, rtol=1e-12)
    if done.study.strata.kind == "policy tree":
        assert again.response.strata.names == (NOT_RECOMMENDED, RECOMMENDED)
    if done.study.strata.kind == "risk":
        # Read by hand: the expected outcome under control against the one cut-point.
        higher = scored["expected_outcome"].to_numpy() >= again.response.strata.cuts[0]
        assert (scored["stratum"] == "Higher expected outcome").tolist() == higher.tolist()


def test_enriched_are_those_with_the_worse_prognosis_and_the_higher_benefit(done):
    """A higher grip and walking are better: the worse prognosis is the lower prediction."""
    rows, plans = done.only(OutcomeStratumEffects).rows, done.only(OutcomeEnrichment).plans
    enriched = plans[(plans["prevalence"] < 1) & ~plans["model_useless"] & (plans["design"] == "fixed")]
    if len(rows) == 1:
        assert enriched.empty
        return
    place = {"risk": 0, "risk by benefit": 1}.get(done.study.strata.kind, len(rows) - 1)
    wanted = rows.iloc[place]
    assert len(enriched) == (1 if done.study.strata.kind == "risk by benefit" else len(rows) - 1)
    assert enriched["population"].iloc[-1] == f"{wanted['stratum']} only"
    known = {"risk": "Lower expected outcome", "risk by benefit": "Lower probability, higher benefit score"}
    assert wanted["stratum"] == known.get(done.study.strata.kind, wanted["stratum"])
    assert enriched["benefit"].iloc[-1] == pytest.approx(wanted["benefit"], rel=1e-12)
    facts = OutcomeFacts.of(done)
    far = dataclasses.replace(facts.strata.difference, low=-3.0, high=-1.0)
    apart = dataclasses.replace(facts, strata=dataclasses.replace(facts.strata, difference=far))
    assert apart.gain_differs == (done.study.strata.kind == "risk")
    assert ("the lower strata" in apart.enriched) == (done.study.strata.kind == "risk")


def test_words_fit_the_endpoint_whatever_the_strata(done, tmp_path):
    said = [result.heading() + " " + result.text() for result in done.results if result.chapter != "data"]
    summary, verdicts = summarise(done), run_verdicts(done)
    said += [summary.verdict, verdicts.response, verdicts.decision, *done.response.response.strata.names]
    assert [words for words in said if SURVIVAL_WORDS.search(words)] == []
    prepare_output(tmp_path)
    page = publish(done, tmp_path, ["trialml", "run"]).report.read_text(encoding="utf-8")
    assert "The strata in words" in page


def test_a_tree_asks_about_the_covariate_on_which_the_effect_was_made_to_depend(write_study, tmp_path):
    """8 kg in patients treated before, 0 in the others: the truth lies within the cross-fitted intervals of both strata."""
    asked = {"strata.kind": "tree", "strata.depth": 1, "strata.bootstrap": 20}
    found = run(write_study, tmp_path, {**CONTINUOUS, **asked})
    (question, _) = found.response.response.strata.rules
    assert [one.column for one in question.conditions] == ["prior"]
    for row, truth in zip(found.only(OutcomeStratumEffects).rows.itertuples(), (0.0, 8.0), strict=True):
        assert row.benefit_low < truth < row.benefit_high
    assert found.only(RuleStability).questions["found"].iloc[0] > 0.9


def test_leaves_hold_the_events_asked_for_where_the_endpoint_has_events(write_study, tmp_path):
    with pytest.raises(
        AnalysisError, match="events in the control arm do not fill one leaf of a tree, which needs 200"
    ):
        run(write_study, tmp_path, {**BINARY, "strata.kind": "tree", "strata.leaf_events": 200})


@pytest.mark.parametrize("name", ["s_learner_continuous", "s_learner_binary", "t_learner_continuous"])
def test_a_model_on_outcomes_is_learned_and_explained_though_it_has_no_coefficients(name, write_study, tmp_path):
    asked = (BINARY if name.endswith("binary") else CONTINUOUS) | {"models.response.model": name}
    study = read_study(write_study(tmp_path, rows=240, change=add_grip, study=asked))
    look = look_at_data(study)
    refuse_unready(study)
    analysis = Analysis(study, look.trial, True, Watcher())
    learning = OutcomeLearning(analysis, look.quality)
    every, scores = np.arange(len(learning.X)), np.where(learning.X["prior"].astype(float) > 0, 8.0, 0.0)
    model = fit_benefit_model(learning, every, scores, fold=True)
    # Higher is better in both trials, and the drug helps those treated before.
    said = model.benefit_score(learning.X)
    assert said[scores > 0].mean() > said[scores == 0].mean()
    assert model.average_ == pytest.approx(scores.mean())
    explain_benefit_model(learning, model, "kg")
    explained = analysis.only(ModelExplanation)
    assert explained.importance["covariate"].iloc[0] == learning.labels["prior"]
    assert explained.perturbation.startswith("interventional")
    assert not analysis.about(NotDone)


def test_where_the_rule_recommends_the_treatment_to_nobody_the_empty_stratum_has_no_numbers(write_study, tmp_path):
    keys = {**CONTINUOUS, "strata.kind": "policy tree", "strata.margin": 10_000.0}
    found = run(write_study, tmp_path, keys, rows=240)
    effects = found.only(OutcomeStratumEffects)
    assert effects.rows["share"].tolist() == [1.0, 0.0]
    assert np.isnan(effects.rows["benefit"].iloc[1])
    assert "a repeat left an outer stratum empty" in effects.text()
    assert [one.what for one in found.about(NotDone)].count(ShrunkenEffects.title) == 1


@pytest.mark.parametrize(
    ("study", "model", "words"),
    [
        (CONTINUOUS, "t_learner_binary", "is for a binary endpoint, but this one is continuous"),
        (BINARY, "cox_interaction", "is for a time to event endpoint, but this one is binary"),
    ],
)
def test_a_response_model_of_another_kind_of_endpoint_is_refused(study, model, words, write_study, tmp_path):
    with pytest.raises(StudyFileError, match=words):
        run(write_study, tmp_path, {**study, "models.response.model": model}, rows=60)
