"""Strata of every kind through a run: learned, cross-fitted, shrunk, kept in the model that scores new patients."""

import dataclasses

import numpy as np
import pytest

from trialml import read_study
from trialml.effects.not_done import NotDone
from trialml.errors import ModelInputError, StudyFileError
from trialml.learning import Learning
from trialml.strata.effects import StratumEffects
from trialml.strata.policy_tree import NOT_RECOMMENDED, RECOMMENDED
from trialml.strata.profile import StrataProfile
from trialml.strata.rule_stability import RuleStability
from trialml.strata.shrunken import ShrunkenEffects
from trialml.strata.stability import StrataStability
from trialml.strata_learning import StrataLearning
from trialml.stratifier import Stratifier
from trialml.study import analyse

SMALL = {"strata.leaf_patients": 11, "strata.leaf_events": 4}


@pytest.fixture(scope="module", params=["tree", "policy tree", "risk by benefit", "risk"])
def done(request, write_study, tmp_path_factory):
    keys = {"strata.kind": request.param, "strata.groups": 2, "models.response.repeats": 6, **SMALL}
    if request.param == "tree":
        keys["strata.bootstrap"] = 20
    path = write_study(tmp_path_factory.mktemp("strata"), rows=360, study=keys)
    return request.param, analyse(read_study(path), quick=True)


def test_a_run_makes_the_strata_asked_for_and_judges_them_on_patients_not_seen(done):
    kind, analysis = done
    strata = analysis.response.response.strata
    assert strata.kind == kind
    effects = analysis.only(StratumEffects)
    assert list(effects.rows["stratum"]) == list(strata.names)
    assert effects.repeats == 6
    # The strata part all patients; a small one is hidden with its share, and then one more, so that it does not follow.
    hidden = effects.rows["share"].isna()
    assert hidden.equals(effects.rows["n"].isna())
    assert hidden.sum() != 1
    assert effects.rows["share"].sum() == pytest.approx(1) if not hidden.any() else effects.rows["share"].sum() < 1
    assert "average over the rules that the repeats learned" in effects.text() or len(strata.strata) == 1
    assert analysis.about(StrataProfile)
    assert analysis.about(StrataStability)
    assert analysis.about(ShrunkenEffects) or [
        one for one in analysis.about(NotDone) if one.what == ShrunkenEffects.title
    ]
    assert len(analysis.about(RuleStability)) == (kind == "tree")


def test_a_model_of_prognosis_chosen_once_from_candidates_is_said_to_be(done):
    kind, analysis = done
    learning = Learning(analysis, analysis.results[1])
    assert "decided once" not in StrataLearning(learning, None)._estimand()
    risk = analysis.study.models.risk.model_copy(update={"candidates": ("cox_elastic_net",)})
    models = analysis.study.models.model_copy(update={"risk": risk})
    learning.analysis = dataclasses.replace(analysis, study=analysis.study.model_copy(update={"models": models}))
    said = StrataLearning(learning, None)._estimand()
    assert ("decided once, on all patients" in said) == (kind in ("risk", "risk by benefit"))


def test_the_stratifier_puts_new_patients_into_these_strata(done, tmp_path):
    kind, analysis = done
    stratifier = analysis.response
    patients = analysis.trial.baseline.head(40)
    stratifier.write(tmp_path)
    again = Stratifier.read(tmp_path)
    scored = again.predict(patients)
    assert set(scored.loc[scored["refused"] == "", "stratum"]) <= set(stratifier.response.strata.names)
    assert again.response.strata == stratifier.response.strata
    np.testing.assert_array_equal(scored["stratum"], stratifier.predict(patients)["stratum"])
    if kind == "policy tree":
        assert again.response.strata.names == (NOT_RECOMMENDED, RECOMMENDED)
    if kind in ("risk", "risk by benefit"):
        # Strata keep the horizon that they were made at, whatever horizon the risk is read at.
        sooner = again.predict(patients, {"horizon": again.risk.horizon / 2})
        np.testing.assert_array_equal(sooner["stratum"], scored["stratum"])
        assert (sooner["risk"] < scored["risk"]).all()
        alone = dataclasses.replace(again, risk=None)
        with pytest.raises(ModelInputError, match="The strata need a risk, but the model holds no risk model"):
            alone.predict(patients)


def test_where_the_rule_recommends_the_treatment_to_nobody_the_empty_stratum_has_no_numbers(write_study, tmp_path):
    keys = {"strata.kind": "policy tree", "strata.margin": 10_000.0, "models.response.repeats": 6, **SMALL}
    analysis = analyse(read_study(write_study(tmp_path, rows=360, study=keys)), quick=True)
    effects = analysis.only(StratumEffects)
    assert effects.rows["share"].tolist() == [1.0, 0.0]
    assert np.isnan(effects.rows["rmst_difference"].iloc[1])
    assert "a repeat left an outer stratum empty" in effects.text()
    assert [one.what for one in analysis.about(NotDone)].count(ShrunkenEffects.title) == 1
    assert set(analysis.response.predict(analysis.trial.baseline.head(5))["stratum"]) <= {NOT_RECOMMENDED, ""}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"strata.kind": "forest"}, "kind"),
        ({"strata.kind": "policy tree", "strata.depth": 3}, "not searched exhaustively"),
        ({"strata.kind": "risk by benefit", "strata.groups": 4}, "too many cells of a grid"),
        ({"strata.bootstrap": 5}, "must be 0 \\(none\\) or at least 20"),
    ],
)
def test_what_no_strata_can_be_made_of_is_refused_when_the_study_file_is_read(keys, words, write_study, tmp_path):
    with pytest.raises(StudyFileError, match=words):
        read_study(write_study(tmp_path, study=keys))
