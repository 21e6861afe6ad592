"""Trials without a subgroup, through a run's own code path: made as they claim, and how often one is declared."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from trialml import read_study
from trialml.data.roles import Covariate, Endpoint, Treatment
from trialml.data.trial import Trial
from trialml.errors import AnalysisError
from trialml.null_trials import NullTrials, analyse_null_trials, permuted_trial, planted_trial
from trialml.study import read_trial
from trialml.survival.cox_fit import fit_cox

ACTG175 = Path(__file__).parents[1] / "examples" / "actg175" / "study.toml"


@pytest.fixture(scope="module")
def actg175():
    return read_study(ACTG175)


def exponential_trial(n, generator):
    """Return a trial without an effect whose hazard is exp(x), followed for 0.5 to 3 years."""
    x = generator.normal(size=n)
    event_time, last = generator.exponential(np.exp(-x)), generator.uniform(0.5, 3, n)
    frame = pd.DataFrame(
        {
            "arm": np.resize(["old", "new"], n).astype(object),
            "time": np.minimum(event_time, last),
            "event": event_time <= last,
            "factor": "all",
            "x": x,
        }
    )
    endpoint = Endpoint(
        name="death", label="Death", kind="time to event", time="time", event="event", unit="years", horizon=1, tau=1
    )
    treatment = Treatment("arm", "old", "new", secondary=(), labels={}, allocation=0.5, stratification=())
    return Trial("INVENTED", frame, endpoint, treatment, (Covariate("x", "numeric", "x"),), "made", "0")


def test_permuting_keeps_arms_in_each_cell_and_touches_nothing_else(actg175):
    trial = read_trial(actg175)
    dealt = permuted_trial(trial, np.random.default_rng(1))
    counted = [one.frame.groupby(["factor", "arm"]).size().to_dict() for one in (trial, dealt)]
    assert counted[0] == counted[1]
    others = [column for column in trial.frame if column != "arm"]
    pd.testing.assert_frame_equal(trial.frame[others], dealt.frame[others])
    beside = trial.frame["arm"].isin(trial.treatment.secondary)
    assert (trial.frame["arm"][beside] == dealt.frame["arm"][beside]).all()
    moved = (trial.frame["arm"] != dealt.frame["arm"])[~beside]
    assert 0.4 < moved.mean() < 0.6


@pytest.mark.parametrize("ratio", [0.4, 0.7, 1.0])
def test_the_planted_hazard_ratio_is_found_again_given_the_covariate(ratio):
    # The data are exponential given x, so that a Cox model with arm and x is right: its coefficient estimates log(ratio).
    generator = np.random.default_rng(5)
    planted = planted_trial(exponential_trial(8000, generator), ratio, generator)
    X = np.column_stack([planted.treated, planted.frame["x"]]).astype(float)
    fit = fit_cox(planted.time, planted.event, X)
    assert abs(fit.coefficients[0] - np.log(ratio)) < 3 * np.sqrt(fit.covariance[0, 0])
    # The ratio is the same for everybody: no interaction with x.
    crossed = fit_cox(planted.time, planted.event, np.column_stack([X, X[:, 0] * X[:, 1]]))
    assert abs(crossed.coefficients[2]) < 3 * np.sqrt(crossed.covariance[2, 2])


def test_who_is_moved_is_followed_at_least_as_long_as_before():
    generator = np.random.default_rng(6)
    trial = exponential_trial(500, generator)
    planted = planted_trial(trial, 0.5, np.random.default_rng(7))
    assert (planted.time >= trial.time - 1e-12).all()
    same = ~planted.treated | ~trial.event
    np.testing.assert_array_equal(planted.time[same], trial.time[same])
    np.testing.assert_array_equal(planted.event[same], trial.event[same])


@pytest.mark.parametrize("ratio", [0.0, 1.5, float("nan")])
def test_a_ratio_that_cannot_be_planted_is_refused(ratio):
    with pytest.raises(AnalysisError, match="cannot be planted in a time to event endpoint"):
        planted_trial(exponential_trial(50, np.random.default_rng(1)), ratio, np.random.default_rng(1))


def test_twenty_null_trials_of_actg175_declare_a_subgroup_no_oftener_than_chance(actg175):
    # Ten without any effect, ten with one hazard ratio for everybody; 200 of each are in benchmarks/null_trials.txt.
    both = [analyse_null_trials(actg175, 10, hazard_ratio=ratio, seed=20, workers=2) for ratio in (1.0, 0.6)]
    declared = sum(int(found.trials["declared"].sum()) for found in both)
    # With a size of 5 % more than 5 of 20 come once in 3,000 times.
    assert binom.sf(5, 20, 0.05) < 1 / 3000
    assert declared <= 5
    for found in both:
        assert int(found.trials["enriched"].sum()) <= int(found.trials["declared"].sum())


def test_shares_have_exact_limits_and_shards_add_up():
    trials = pd.DataFrame({"p": [0.01, 0.2, 0.5, 0.9], "declared": [True, False, False, False], "enriched": False})
    found = NullTrials(trials, 1.0, "INVENTED")
    # R 4.2.2: binom.test(1, 4)$conf.int and binom.test(0, 4)$conf.int.
    assert found.estimate().low == pytest.approx(0.006309463, abs=1e-8)
    assert found.estimate().high == pytest.approx(0.805879550, abs=1e-8)
    assert found.estimate("enriched").high == pytest.approx(0.602364636, abs=1e-8)
    assert "no effect in anybody, 1 declared a subgroup" in found.text()
    assert found.scalars()["null_declared"] == 0.25


def test_a_shard_holds_the_trials_of_its_numbers(write_study, tmp_path):
    study = read_study(write_study(tmp_path, rows=240))
    whole = analyse_null_trials(study, 2, seed=3)
    second = analyse_null_trials(study, 1, seed=3, first=1)
    assert whole.trials["p"].iloc[1] == second.trials["p"].iloc[0]
