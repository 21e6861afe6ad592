"""What the two models rest on, as it is counted and said."""

import numpy as np
import pytest

from trialml import read_study
from trialml.analysis import Watcher
from trialml.effects.adjusted import AdjustedContrast
from trialml.errors import AnalysisError, StudyFileError
from trialml.models.coefficients import Coefficients
from trialml.strata.effects import StratumEffects
from trialml.study import analyse
from trialml.validation.benefit import BenefitCalibration
from trialml.validation.by_group import GroupPerformance
from trialml.validation.calibration_curve import CalibrationCurve
from trialml.validation.net_benefit import NetBenefit


@pytest.fixture(scope="module")
def done(write_study, tmp_path_factory):
    """Restricted means over 200 days of a trial followed for up to 900; some events fall on day 200 itself."""

    def on_the_day(frame):
        first = frame.index[(frame["progressed"] == 1) & (frame["days"] > 200)][:3]
        frame.loc[first, "days"] = 200

    path = write_study(
        tmp_path_factory.mktemp("learning"),
        rows=360,
        change=on_the_day,
        study={
            "endpoints.tau": 200,
            "models.response.repeats": 6,
            "models.risk.thresholds": [0.3, 0.5, 0.7],
            "models.risk.groups": ["prior", "site"],
        },
    )
    return analyse(read_study(path), quick=True)


def test_events_after_tau_are_no_information_on_restricted_means(done):
    trial = done.trial.only("old", "new")
    by_tau, every = int((trial.event & (trial.time <= 200)).sum()), int(trial.event.sum())
    assert (trial.event & (trial.time == 200)).any()
    assert by_tau < every
    risk, benefit = (
        next(one for one in done.about(Coefficients) if one.subject == name) for name in ("risk", "benefit")
    )
    assert (risk.events, benefit.events) == (every, by_tau)
    assert benefit.scalars()["events_per_parameter"] == pytest.approx(by_tau / len(benefit.rows))
    assert benefit.scalars()["events"] == by_tau
    assert f"with {by_tau} events by 200 days" in benefit.text()
    assert f"with {every} events: " in risk.text()
    adjusted = done.only(AdjustedContrast)
    assert adjusted.adjusted.events == by_tau
    assert f"{by_tau} events by then" in adjusted.text()


def test_strata_count_the_events_by_tau_beside_all_of_them(done):
    trial = done.trial.only("old", "new")
    strata = done.only(StratumEffects)
    assert strata.rows["events_by_tau"].sum() == pytest.approx((trial.event & (trial.time <= 200)).sum())
    assert strata.rows["events"].sum() == pytest.approx(trial.event.sum())
    assert (strata.rows["events_by_tau"] < strata.rows["events"]).all()
    assert {"Events", "Events by 200 days"} <= set(strata.table().columns)


def test_the_shrinkage_is_reported_with_its_monte_carlo_error(done):
    found, model = done.only(BenefitCalibration), done.response.response.estimator
    assert found.shrinkage == model.shrinkage
    assert found.shrinkage_mc_error == model.slope_mc_error_
    assert np.isfinite(found.shrinkage_mc_error)
    benefit = next(one for one in done.about(Coefficients) if one.subject == "benefit")
    assert "Monte Carlo error of the 20 splits" in benefit.text()


def test_the_risk_model_is_judged_for_decisions_and_within_groups_that_the_study_file_names(done):
    at = {"horizon": done.trial.endpoint.horizon, "unit": done.trial.endpoint.unit}
    curve, decisions = done.only(CalibrationCurve), done.only(NetBenefit)
    assert (curve.horizon, curve.ici.kind) == (at["horizon"], "crossfit")
    control = done.trial.only("old", "new")
    assert f"control arm, {(~control.treated).sum():,} patients" in decisions.text()
    by_prior, by_site = done.about(GroupPerformance)
    assert (by_prior.factor, by_site.factor) == ("prior", "site")
    assert set(by_prior.groups["group"]) <= {"no", "yes", "missing"}


def test_no_group_of_few_patients_is_named(done):
    """Levels of fewer than 11 patients are one group, as in every table."""
    names = [set(one.groups["group"]) for one in done.about(GroupPerformance)]
    trial = done.trial.only("old", "new")
    for name, shown in zip(("prior", "site"), names, strict=True):
        counts = trial.baseline[name].value_counts()
        assert not {str(level) for level in counts.index[counts < 11]} & shown


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("models.risk.thresholds", [0.3, 0.2], "thresholds = 0.3, 0.2 do not ascend"),
        ("models.risk.groups", ["age"], "groups names 'age', which is numeric"),
        ("models.risk.groups", ["sitte"], "groups names 'sitte', which is no covariate with categories"),
    ],
)
def test_thresholds_and_groups_that_will_not_do_are_refused(write_study, tmp_path, key, value, sentence):
    with pytest.raises(StudyFileError, match=sentence):
        read_study(write_study(tmp_path, study={key: value}))


def test_a_model_for_larger_trials_is_refused_before_anything_is_learned(write_study, tmp_path):
    path = write_study(tmp_path, rows=90, study={"models.response.model": "forest_scores"})
    done = []

    class Told(Watcher):
        def told(self, result):
            done.append(result.chapter)

    with pytest.raises(
        AnalysisError, match="is for 1,000 patients or more, and the primary contrast has 60: name ridge"
    ):
        analyse(read_study(path), quick=True, watcher=Told())
    assert set(done) <= {"data", "survival", "effects"}


def test_a_trial_with_20_events_runs_though_folds_hold_too_few_for_a_model_of_an_arm(write_study, tmp_path):
    def few(frame):
        happened = frame.index[(frame["progressed"] == 1) & frame["arm"].isin(["old", "new"])]
        frame.loc[happened[20:], "progressed"] = 0
        frame.loc[happened[20:], "days"] = 500

    done = analyse(read_study(write_study(tmp_path, rows=180, change=few)), quick=True)
    assert done.trial.only("old", "new").event.sum() == 20
    assert np.isfinite(done.only(StratumEffects).rows["rmst_difference"]).all()
