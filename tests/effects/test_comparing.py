"""The effects part of a run: what the study file asks for is done, or said not to be, and no patient shows."""

import json

import numpy as np
import pytest

from trialml.analysis import Analysis, Watcher
from trialml.comparing import compare
from trialml.config import read_study
from trialml.data.analysis_set import analysis_set
from trialml.data.quality import data_quality
from trialml.effects.adjusted_logrank import AdjustedLogRank
from trialml.effects.contrast import Contrast
from trialml.effects.not_done import NotDone
from trialml.effects.subgroups import SubgroupEffects
from trialml.effects.tipping_point import TippingPoint
from trialml.errors import AnalysisError, StudyFileError
from trialml.study import read_trial

SUBGROUPS = {
    "effects.subgroups": ["region", "prior", "marker", "site"],
    "effects.cut_points": {"marker": [0]},
    "effects.labels": {"region": "Region"},
    "effects.levels": {"region": {"south": "South", "north": "North"}},
}


@pytest.fixture
def compared(write_study, tmp_path):
    def run(study=None, **patients):
        asked = read_study(write_study(tmp_path, study=study, **patients))
        selected, _ = analysis_set(read_trial(asked))
        analysis = Analysis(asked, selected, False, Watcher())
        compare(analysis, data_quality(selected))
        return analysis

    return run


def test_without_a_word_a_run_adjusts_and_tips_but_forms_no_subgroups(compared):
    kinds = [type(result) for result in compared().results]
    assert kinds == [Contrast, AdjustedLogRank, TippingPoint]


def test_the_subgroups_of_the_study_file_stand_in_its_order_and_words(compared):
    found = compared(SUBGROUPS, rows=600).only(SubgroupEffects)
    shown = [tuple(pair) for pair in found.rows[["factor", "subgroup"]].to_numpy()]
    assert shown == [
        ("Overall", "all patients"),
        ("Region", "South"),
        ("Region", "North"),
        ("prior", "no"),
        ("prior", "yes"),
        ("marker", "below 0"),
        ("marker", "0 or more"),
        ("site", "None"),
        ("site", "liver"),
        ("site", "lung"),
    ]
    tests = found.tests.set_index("factor")
    assert tests.loc["marker", "missing"] > 10  # left out of the marker's subgroups, and counted
    assert tests.loc["Region", "missing"] == 0


def test_several_stratification_factors_are_told_apart(compared):
    study = {
        "treatment.stratification": ["region", "site"],
        "covariates.categorical": [],
        "effects.subgroups": ["site", "region"],
    }
    found = compared(study, rows=600).only(SubgroupEffects)
    assert list(found.rows["subgroup"][1:]) == ["None", "liver", "lung", "north", "south"]


def test_an_analysis_that_cannot_be_done_is_a_result_of_words(compared):
    analysis = compared({"endpoints.horizon": 200, "endpoints.tau": 200, "effects.adjusted_logrank": False})
    (said,) = analysis.about(NotDone)
    assert said.heading() == "Tipping point of the primary comparison: not done"
    assert "censored before 200 days" in said.text()
    again = NotDone.from_dict(json.loads(json.dumps(said.to_dict())))
    assert again.to_dict() == said.to_dict()


def test_factors_that_cannot_be_told_apart_are_said_and_do_not_stop_the_run(compared):
    def slashed(frame):
        frame["region"] = frame["region"].replace("north", "north / west")

    study = {
        "treatment.stratification": ["region", "site"],
        "covariates.categorical": [],
        "effects.subgroups": ["site"],
    }
    (said,) = compared(study, change=slashed).about(NotDone)
    assert "list it in [covariates] too" in said.text()


def test_a_primary_contrast_that_cannot_be_estimated_stops_the_run(compared):
    def early(frame):
        frame.loc[frame["arm"] == "new", "days"] = np.minimum(frame.loc[frame["arm"] == "new", "days"].astype(int), 100)
        return frame

    with pytest.raises(AnalysisError):
        compared(change=early)


def test_each_can_be_left_out(compared):
    analysis = compared({"effects.adjusted_logrank": False, "effects.tipping_point_imputations": 0})
    assert [type(result) for result in analysis.results] == [Contrast]


def test_trap_76_no_identifier_and_no_small_count_leaves(compared, subject_mark):
    def rare(frame):
        frame["site"] = np.where(np.arange(len(frame)) < 9, "rare", "common")
        return frame

    analysis = compared({"effects.subgroups": ["site"]}, change=rare)
    stored = json.dumps([result.to_dict() for result in analysis.results])
    assert subject_mark not in stored
    rows = analysis.only(SubgroupEffects).rows
    assert rows.loc[rows["factor"] == "site", "n"].isna().all()


REFUSED = [
    ({"effects.subgroups": ["marker"]}, "the numeric covariate 'marker' without cut-points"),
    ({"effects.subgroups": ["week8"]}, "'week8', which is neither a covariate nor a stratification factor"),
    ({"effects.subgroups": ["prior", "prior"]}, "'prior' twice"),
    ({"effects.subgroups": ["marker"], "effects.cut_points": {"marker": [1, 1]}}, "does not rise"),
    ({"effects.cut_points": {"marker": [1]}}, "is no numeric covariate of"),
    ({"effects.labels": {"prior": "Prior"}}, "which [effects] subgroups does not list"),
    ({"effects.levels": {"prior": {"0": "None"}}}, "which [effects] subgroups does not list"),
    ({"effects.subgroups": ["prior", "site"], "effects.labels": {"prior": "site"}}, "'site' for two things"),
    ({"effects.subgroups": ["prior"], "effects.levels": {"prior": {"0": "x", "1": "x"}}}, "'x' for two things"),
    ({"effects.tipping_point_imputations": 1}, "must be 0 (none) or at least 2"),
    ({"effects.adjusted_logrank": "yes"}, "adjusted_logrank"),
    ({"effects.shrinkage_scale": 0}, "shrinkage_scale"),
    ({"effects.subgroup": []}, "'subgroup' is not a key; the nearest name is 'subgroups'"),
]


@pytest.mark.parametrize(("study", "words"), REFUSED)
def test_a_contradiction_in_the_effects_table_is_refused(write_study, tmp_path, study, words):
    with pytest.raises(StudyFileError) as refused:
        read_study(write_study(tmp_path, rows=3, study=study))
    assert words in str(refused.value)
