"""What the two models rest on, as it is counted and said."""

import numpy as np
import pytest

from trialml import read_study
from trialml.effects.adjusted import AdjustedContrast
from trialml.models.coefficients import Coefficients
from trialml.strata.effects import StratumEffects
from trialml.study import analyse
from trialml.validation.benefit import BenefitCalibration


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
        study={"endpoints.tau": 200, "models.response.repeats": 6},
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
