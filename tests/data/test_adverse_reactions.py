"""`[harm]` of a study file: read, counted by hand, beside R on the pilot study, learned by arm, and weighed against benefit."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from trialml.analysis import Analysis, Watcher
from trialml.config import read_study
from trialml.data.analysis_set import analysis_set
from trialml.effects.not_done import NotDone
from trialml.errors import DataError, StudyFileError
from trialml.harm import ARM_ALONE, crossfit_harm, follow_harm, learn_harm, weigh_harm
from trialml.models.coefficients import Coefficients
from trialml.result import Estimate
from trialml.strata.benefit_harm import ALL, BenefitHarm
from trialml.strata.effects import StratumEffects
from trialml.study import analyse, look_at_data, read_harm, read_trial
from trialml.summary import limitations
from trialml.survival.cause_specific import CauseSpecific
from trialml.survival.cumulative_incidence import CumulativeIncidence
from trialml.survival.incidence_rates import IncidenceRates
from trialml.survival.rmst import restricted_mean
from trialml.validation.by_group import GroupPerformance
from trialml.validation.performance import Performance

HARM = {"harm.name": "Reaction", "harm.label": "First reaction", "harm.unit": "days", "harm.horizon": 60}
PILOT = json.loads((Path(__file__).parents[1] / "reference" / "pilot_harm.json").read_text())
SKIN = "SKIN AND SUBCUTANEOUS TISSUE DISORDERS"


def prepared(path):
    study = read_study(path)
    trial, _ = analysis_set(read_trial(study))
    return Analysis(study, trial, True, Watcher()), read_harm(study, trial)


@pytest.fixture
def example(write_adam):
    return lambda **more: prepared(write_adam(study={**HARM, **more}))


def test_the_patients_at_risk_are_the_treated_and_first_events_are_counted_by_hand(example, adam_datasets):
    analysis, harm = example()
    sets = adam_datasets()
    adsl, adae = sets["ADSL"].set_index("USUBJID"), sets["ADAE"]
    start, end = adsl["TRTSDT"], adsl["TRTEDT"].where(~(adsl["EOSDT"] < adsl["TRTEDT"]), adsl["EOSDT"])
    mine = adae[adae["TRTEMFL"] == "Y"]
    known = mine["USUBJID"].map(start), mine["USUBJID"].map(end)
    first = mine[(mine["ASTDT"] >= known[0]) & (mine["ASTDT"] <= known[1])].groupby("USUBJID")["ASTDT"].min()
    when = pd.Series(adsl.index.map(first), index=adsl.index)
    days = (when.fillna(end) - start).dt.days + 1
    treated = start.notna() & end.notna() & (adsl["TRT01P"] != "")
    assert len(harm) == int(treated.sum()) < len(analysis.trial)
    follow_harm(analysis, harm)
    rates = analysis.only(IncidenceRates).rates.set_index("group")
    for arm in ("Placebo", "Active"):
        own = treated & (adsl["TRT01P"] == arm)
        assert rates.loc[arm, "events"] == int(when[own].notna().sum())
        assert rates.loc[arm, "patient_years"] == pytest.approx(days[own].sum() / 365.25, rel=1e-12)


def test_incidences_start_with_the_first_dose(example):
    analysis, harm = example(**{"harm.at_risk_until": "end of study"})
    follow_harm(analysis, harm)
    found = analysis.only(CumulativeIncidence)
    assert found.since == "first dose"
    figure = Figure(figsize=found.figure_size)
    found.draw(figure)
    assert figure.axes[0].get_xlabel() == "Time from first dose\n(days)"
    assert found.causes == ("Reaction", "Death", "Discontinuation")


def test_without_competing_events_leaving_is_censoring(example):
    analysis, harm = example(**{"harm.competing": []})
    assert set(harm.cause) == {0, 1}
    follow_harm(analysis, harm)
    assert analysis.about(IncidenceRates)


def test_a_prediction_does_not_know_its_patient_s_outcome(example):
    """A later time of one patient leaves the folds and its own predictions as they were, and moves others'."""
    _, harm = example()
    known = {"folds": 4, "repeats": 2, "seed": 3, "tuning": 5}
    one, alone = crossfit_harm(harm, **known)
    place = int(np.flatnonzero((harm.cause == 1) & (harm.time > 20))[0])
    frame = harm.frame.copy()
    frame.iloc[place, frame.columns.get_loc("time")] = 1.0
    other, alone_then = crossfit_harm(replace(harm, frame=frame), **known)
    assert np.array_equal(one[:, place], other[:, place])
    assert np.array_equal(alone[:, place], alone_then[:, place])
    assert not np.allclose(one, other, rtol=1e-12)
    again, _ = crossfit_harm(harm, **known)
    assert np.array_equal(one, again)


def test_the_risk_by_arm_is_described_and_judged_beside_the_arm_alone(example):
    analysis, harm = example()
    learn_harm(analysis, harm)
    said = [one.subject for one in analysis.about(Coefficients)]
    assert said == ["the risk of reaction with Placebo", "the risk of reaction with Active"]
    judged = analysis.only(Performance)
    gap = judged.estimate("Brier score", "Reaction, model by arm", reference=ARM_ALONE)
    apart = [judged.estimate("Brier score", name).value for name in ("Reaction, model by arm", ARM_ALONE)]
    assert gap.value == pytest.approx(apart[0] - apart[1], rel=1e-9, abs=1e-14)
    assert judged.kind == "crossfit"
    assert set(analysis.only(GroupPerformance).groups["group"]) == {"Placebo", "Active"}


def test_too_few_reactions_for_a_model_are_said_in_words(example):
    analysis, harm = example()
    rare = harm.frame.copy()
    later = np.flatnonzero((harm.cause == 1) & harm.treated)[3:]
    rare.iloc[later, rare.columns.get_loc("cause")] = 0
    learn_harm(analysis, replace(harm, frame=rare))
    (missing,) = analysis.about(NotDone)
    assert "Risk model of reaction by arm was not done: A Cox model cannot be fitted to 3 events" in missing.text()


def test_benefit_and_harm_are_of_the_same_patients(example):
    """All patients: Aalen-Johansen of the treated by arm; the never treated are in the benefit and not in the harm."""
    analysis, harm = example()
    trial = analysis.trial
    means = restricted_mean(
        trial.time, trial.event, trial.arm_labels, control="Placebo", experimental="Active", tau=180, unit="days"
    )
    analysis.add(means)
    follow_harm(analysis, harm)
    names = ["Lower benefit", "Higher benefit"]
    rows = pd.DataFrame(
        {
            "stratum": names,
            "rule": names,
            "rmst_difference": 1.0,
            "rmst_difference_low": 0.5,
            "rmst_difference_high": 1.5,
        }
    )
    effects = StratumEffects(rows, means.difference, Estimate(1.0), 0.5, 2, 180.0, 180.0, "days")
    held = SimpleNamespace(rank=np.random.default_rng(2).random((2, len(trial))))
    weigh_harm(analysis, harm, trial, held, effects)
    page, incidence = analysis.only(BenefitHarm), analysis.only(CumulativeIncidence)
    arms = [incidence.at(60, "Reaction", arm) for arm in ("Placebo", "Active")]
    found = page.estimate(ALL)
    assert found.value == pytest.approx(arms[1].value - arms[0].value, rel=1e-10)
    assert page.rows["harm_se"].iloc[0] == pytest.approx(np.hypot(arms[0].se, arms[1].se), rel=1e-10)
    assert page.estimate(ALL, "benefit").value == means.difference.value
    assert page.rows["control_n"].iloc[0] + page.rows["experimental_n"].iloc[0] == len(harm)


def test_harm_needs_a_folder_and_its_own_keys(write_study, tmp_path):
    path = write_study(tmp_path, study=HARM)
    study = read_study(path)
    trial, _ = analysis_set(read_trial(study))
    with pytest.raises(DataError, match=r"\[harm\] needs the adverse events of an ADaM folder"):
        read_harm(study, trial)
    with pytest.raises(StudyFileError, match=r"\[harm\] 'within' is not a key"):
        read_study(write_study(tmp_path / "more", study={**HARM, "harm.within": 30}))
    with pytest.raises(StudyFileError, match=r"\[harm\] 'horizon' is missing"):
        read_study(write_study(tmp_path / "less", study={**HARM, "harm.horizon": None}))
    without = read_study(write_study(tmp_path / "none"))
    assert read_harm(without, trial) is None


def test_a_condition_that_no_record_meets_is_refused(example):
    with pytest.raises(DataError, match="AEBODSYS"):
        example(**{"harm.where": {"AEBODSYS": "NOTHING"}})


def test_the_pilot_s_first_skin_reaction_is_that_of_r(pilot, write_study, tmp_path):
    """Derived a second time in R from the transport files (pilot_harm.R): survival, cmprsk and poisson.test."""
    changes = {
        "data.source": str(pilot), "data.subject": "USUBJID", "data.population": "ITTFL", "data.post_baseline": [],
        "treatment.column": "TRT01P", "treatment.control": "Placebo", "treatment.experimental": "Xanomeline High Dose",
        "treatment.secondary": ["Xanomeline Low Dose"], "treatment.stratification": [],
        "endpoints.time": None, "endpoints.event": None, "endpoints.parameter": "TTDE", "endpoints.unit": "days",
        "endpoints.horizon": 60, "endpoints.tau": 60, "covariates.numeric": ["AGE", "BMIBL"], "covariates.binary": [],
        "covariates.categorical": ["SEX"], **HARM, "harm.where": {"AEBODSYS": SKIN}, "harm.horizon": 90,
    }  # fmt: skip
    analysis, harm = prepared(write_study(tmp_path, study=changes))
    follow_harm(analysis, harm)
    rates, incidence = analysis.only(IncidenceRates), analysis.only(CumulativeIncidence)
    for stored in PILOT["arms"]:
        arm = stored["arm"]
        cause = harm.frame.loc[harm.frame["arm"] == arm, "cause"].astype(int)
        assert np.bincount(cause, minlength=4).tolist() == stored["causes"]
        rate, at = rates.estimate(arm), incidence.at(90, "Reaction", arm)
        assert [rate.value, rate.low, rate.high] == pytest.approx([stored["rate"], *stored["limits"]], rel=1e-10)
        assert [at.value, at.se, at.value] == pytest.approx(
            [stored["incidence"], stored["se"], stored["cmprsk"]], rel=1e-8
        )
    ratio = rates.estimate("Xanomeline High Dose", "rate ratio")
    assert [ratio.value, ratio.low, ratio.high] == pytest.approx([PILOT["ratio"], *PILOT["ratio_limits"]], rel=1e-8)
    specific = analysis.only(CauseSpecific)
    assert specific.causes == ("Reaction", "Death or Discontinuation")
    first = specific.frame().iloc[0]
    assert [first["coefficient"], first["se"]] == pytest.approx(
        [PILOT["log_hazard_ratio"], PILOT["log_hazard_ratio_se"]], rel=1e-7
    )


def test_a_run_shows_rates_risk_by_arm_and_benefit_against_harm(write_adam):
    """From the study file to the limitations; a check reads the same patients."""
    study = read_study(write_adam(study={**HARM, "models.response.repeats": 6}))
    looked = look_at_data(study)
    done = analyse(study, quick=True)
    (rates,), (page,) = done.about(IncidenceRates), done.about(BenefitHarm)
    judged = [one for one in done.about(GroupPerformance) if one.factor == "arm, risk of reaction"]
    order = [next(place for place, one in enumerate(done.results) if one is this) for this in (rates, *judged, page)]
    assert len(order) == 3
    assert order == sorted(order)
    assert page.rows["stratum"].tolist() == [ALL, *done.only(StratumEffects).rows["stratum"]]
    assert looked.harm is not None
    assert done.only(IncidenceRates).rates["patients"].sum() == len(looked.harm)
    assert (
        "Time at risk of an adverse event runs from TRTSDT to the end of treatment" in done.only(IncidenceRates).text()
    )
    said = " ".join(limitations(done))
    assert "One adverse reaction stands beside the benefit" in said
    assert "do not enter the benefit" not in said


def test_what_was_noticed_of_the_reaction_alone_is_said_beside_its_rates(write_adam):
    def change(sets):
        emergent = sets["ADAE"].index[sets["ADAE"]["TRTEMFL"] == "Y"]
        sets["ADAE"].loc[emergent[:2], "ASTDT"] = pd.NaT

    analysis, harm = prepared(write_adam(study=HARM, change=change))
    follow_harm(analysis, harm)
    said = analysis.only(IncidenceRates).text()
    assert "2 adverse event record(s) have no date of start. They were not counted as first events." in said
    assert "The wait for the event was ended" not in said
