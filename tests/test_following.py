"""Curves and tests of a run, and what is added where other events end the follow-up."""

import dataclasses

import numpy as np
import pytest

from trialml.analysis import Analysis, Watcher
from trialml.config import read_study
from trialml.data.analysis_set import analysis_set
from trialml.effects.not_done import NotDone
from trialml.following import follow
from trialml.study import read_trial
from trialml.survival.cause_specific import CauseSpecific
from trialml.survival.cox import CoxFit
from trialml.survival.cumulative_incidence import CumulativeIncidence, cumulative_incidence
from trialml.survival.fine_gray import FineGray
from trialml.survival.gray import GrayTest
from trialml.survival.kaplan_meier import KaplanMeier


@pytest.fixture
def followed(write_study, tmp_path):
    def run(deaths=None):
        study = read_study(write_study(tmp_path))
        trial, _ = analysis_set(read_trial(study))
        if deaths is not None:
            cause = trial.event.astype(float)
            cause[deaths(trial)] = 2.0
            endpoint = dataclasses.replace(trial.endpoint, cause="cause", competing=("Death",))
            frame = trial.frame.assign(cause=cause, event=(cause == 1).astype(object))
            trial = dataclasses.replace(trial, frame=frame, endpoint=endpoint)
        analysis = Analysis(study, trial, True, Watcher())
        follow(analysis)
        return analysis

    return run


def test_without_competing_events_nothing_of_them_is_said(followed):
    analysis = followed()
    assert analysis.about(KaplanMeier)
    assert not any(analysis.about(kind) for kind in (CumulativeIncidence, GrayTest, CauseSpecific, FineGray, NotDone))


def test_trap_10_a_competing_event_brings_incidences_gray_s_test_and_both_kinds_of_hazard_ratio(followed):
    analysis = followed(lambda trial: np.flatnonzero(trial.event)[::4])
    trial = analysis.trial
    found = analysis.only(CumulativeIncidence)
    alone = cumulative_incidence(
        trial.time, trial.cause, group=trial.arm_labels, order=["old", "new", "other"],
        causes={1: "progression", 2: "Death"}, milestone=365,
    )  # fmt: skip
    assert found.to_dict() == alone.to_dict()
    assert {"Death", "progression"} == set(found.frame()["cause"])
    (gray,) = analysis.about(GrayTest)
    assert "progression" in gray.text()
    specific = analysis.only(CauseSpecific)
    assert len(specific.frame()["cause"].unique()) == 2
    assert analysis.only(FineGray).frame()["hazard_ratio"].notna().all()
    # The cause-specific hazard ratio is that of the Cox model which takes deaths as censored, strata apart.
    assert analysis.about(CoxFit)
    curve = analysis.only(KaplanMeier)
    for arm in ("old", "new"):
        incidence = found.at(365, "progression", arm).value
        assert incidence < 1 - curve.at(365, arm).value


def test_a_competing_event_too_rare_to_test_is_said_in_words(followed):
    analysis = followed(lambda trial: np.flatnonzero(trial.event & ~trial.treated)[:1])
    assert analysis.about(CumulativeIncidence)
    for missing in analysis.about(NotDone):
        assert missing.text().endswith(".")
        assert "was not done" in missing.text()
