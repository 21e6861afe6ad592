"""What is refused before anything is estimated, and the codes that may hide another outcome."""

import numpy as np
import pandas as pd
import pytest

from trialml.config import read_study
from trialml.data.analysis_set import analysis_set
from trialml.data.event_codes import censoring_findings
from trialml.errors import AnalysisError, StudyFileError
from trialml.study import read_trial


@pytest.fixture
def selected(write_study, tmp_path):
    def select(**keywords):
        return analysis_set(read_trial(read_study(write_study(tmp_path, **keywords))))

    return select


def test_trap_1_a_censoring_flag_of_adam_is_not_read_as_an_event(write_study, tmp_path):
    def renamed(frame):
        return frame.rename(columns={"progressed": "CNSR"})

    def path(**study):
        return write_study(tmp_path, change=renamed, study={"endpoints.event": "CNSR"} | study)

    with pytest.raises(StudyFileError, match=r"CNSR.*0 means that the event happened: add event_values = \[0\]"):
        read_study(path())
    codes = {"endpoints.event_values": [0], "endpoints.censored_values": [1]}
    trial = read_trial(read_study(path(**codes)))
    usual = read_trial(read_study(write_study(tmp_path)))
    np.testing.assert_array_equal(trial.event, ~usual.event)


def test_trap_1_the_flow_names_the_events_of_both_arms(selected):
    trial, flow = selected()
    old, new = (int(trial.only(arm).event.sum()) for arm in ("old", "new"))
    assert f"The event happened in {old} of 80 with old and {new} of 80 with new." in flow.text()


@pytest.mark.parametrize("name", ["horizon", "tau"])
def test_traps_13_and_41_a_time_that_hardly_anybody_was_followed_to_is_refused_with_one_that_will_do(selected, name):
    trial, _ = selected()
    tenth = min(np.sort(trial.only(arm).time)[-10] for arm in ("old", "new"))
    with pytest.raises(AnalysisError, match=f"{name} = {tenth + 1:g} days, to when .* choose {name} = "):
        selected(study={f"endpoints.{name}": float(tenth + 1)})
    selected(study={f"endpoints.{name}": float(tenth)})


def test_trap_7_patients_followed_just_to_tau_are_followed_to_tau_whatever_the_rounding(selected):
    def change(frame):
        last = frame["days"].astype(float) >= 365
        frame["days"] = frame["days"].astype(float).mask(last, 365 * (1 - 1e-13))
        frame.loc[last, "progressed"] = 0

    selected(change=change)


def test_trap_46_an_allocation_that_cannot_be_is_refused(selected):
    with pytest.raises(AnalysisError, match=r"allocation = 0.9, but 80 of the 160 patients .* p <0.001"):
        selected(study={"treatment.allocation": 0.9})


def test_trap_10_several_codes_for_censored_are_a_warning_with_their_counts():
    column = pd.Series(["1", "0", "2", "2", None, "0", "0"], name="status")
    (one,) = censoring_findings(column, ("0", "2"))
    assert one.severity == "warning"
    assert "'0' in 3, '2' in 2 patients" in one.finding
    assert "competing" not in one.done
    assert one.count == 2
    assert censoring_findings(column, ("0", "9")) == ()
