"""Shrinkage of effects in strata: on two scales at once, with a prior on the absolute scale in closed form."""

import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from trialml.effects.shrinkage import shrink
from trialml.errors import AnalysisError
from trialml.strata.crossfit import HeldOutStrata
from trialml.strata.effects import stratum_effects
from trialml.strata.population import StratumOutcomes
from trialml.strata.shrunken import (
    ShrunkenEffects,
    StratumScale,
    rmst_prior_scale,
    shrunken_effects,
    survival_scales,
)
from trialml.strata.strata import quantile_strata

NAMES = ("Lower risk", "Middle risk", "Higher risk")


def outcomes(n, seed=1):
    generator = np.random.default_rng(seed)
    treated = np.arange(n) % 2 == 0
    time, last = generator.exponential(np.exp(0.6 * treated) * 300, n), generator.uniform(400, 900, n)
    return StratumOutcomes(np.minimum(time, last), time <= last, treated, np.full(n, "all"))


def test_the_prior_on_the_absolute_scale_is_that_of_log_hazard_ratios_seen_through_the_control_curve():
    """Exponential control arm: the integral of -S log S to tau is (1 - exp(-x) (1 + x)) / rate, x = rate tau."""
    rate, tau = 1 / 300, 365.0
    x = rate * tau
    found = rmst_prior_scale(outcomes(60_000), tau)
    assert found == pytest.approx(0.25 * (1 - math.exp(-x) * (1 + x)) / rate, rel=0.02)
    with pytest.raises(AnalysisError, match="no event by tau = 1000"):
        rmst_prior_scale(outcomes(500), 1000.0)


def test_each_scale_is_shrunk_on_its_own_and_ratios_are_shown_as_ratios():
    values, errors = np.array([10.0, 40.0, 90.0]), np.array([20.0, 25.0, 30.0])
    logs, log_errors = np.log([0.9, 0.7, 0.5]), np.array([0.2, 0.25, 0.3])
    found = shrunken_effects(
        NAMES,
        [
            StratumScale("RMST difference", "days", values, errors, 12.0, naive=values + 5),
            StratumScale("hazard ratio", "", logs, log_errors, 0.25, ratio=True),
        ],
    )
    absolute, relative = shrink(values, errors, prior_scale=12.0), shrink(logs, log_errors)
    rows = found.frame()
    for scale, wanted, back in (("RMST difference", absolute, np.asarray), ("hazard ratio", relative, np.exp)):
        own = rows[rows["scale"] == scale]
        for name, expected in (("shrunk", wanted.mean), ("shrunk_low", wanted.low), ("shrunk_high", wanted.high)):
            assert own[name].to_numpy() == pytest.approx(back(expected), rel=1e-12)
    assert found.estimate("Higher risk", "hazard ratio").value == pytest.approx(math.exp(relative.mean[2]), rel=1e-12)
    assert found.between["sd"].tolist() == pytest.approx([absolute.tau, relative.tau])
    spread = rows[rows["scale"] == "RMST difference"]
    assert np.ptp(spread["shrunk"]) < np.ptp(spread["crossfit"])
    assert "the naive effects, 15.0 days and 95.0 days, are biased" in found.text()
    assert "95% credible interval" in found.text()
    assert len(found.table()) == 6
    again = ShrunkenEffects.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()
    figure = Figure()
    found.draw(figure)
    assert len(figure.axes) == 2


def test_a_stratum_without_an_estimate_takes_no_part_and_a_scale_without_two_is_left_out():
    values, errors = np.array([10.0, np.nan, 90.0]), np.array([20.0, np.nan, 30.0])
    alone = StratumScale("hazard ratio", "", np.array([0.1, np.nan, np.nan]), errors, 0.25, ratio=True)
    found = shrunken_effects(NAMES, [StratumScale("RMST difference", "days", values, errors, 12.0), alone])
    assert found.rows["shrunk"].isna().tolist() == [False, True, False]
    assert found.rows["scale"].unique().tolist() == ["RMST difference"]
    assert found.table()["Shrunk (95% credible interval)"][1] == "not estimable"
    with pytest.raises(AnalysisError, match="On no scale do two strata have an effect"):
        shrunken_effects(NAMES, [alone])


def test_the_scales_of_a_trial_are_those_of_the_effects_in_its_strata():
    known = outcomes(600)
    scores = np.random.default_rng(2).normal(40, 200, (6, 600))
    member = np.tile(np.arange(600) % 3, (6, 1))
    strata = quantile_strata(np.arange(90.0), 3, model="m", unit="of the event by 365 days", kind="risk")
    by_stratum = stratum_effects(
        known, HeldOutStrata(scores, member, member), strata, naive_scores=scores[0], naive_members=member[0],
        heterogeneity_p=0.5, horizon=365, tau=365, unit="days", months_per_unit=1 / 30.4375,
    )  # fmt: skip
    absolute, relative = survival_scales(by_stratum, known)
    assert (absolute.name, relative.name) == ("RMST difference", "hazard ratio")
    assert absolute.errors == pytest.approx(
        [math.sqrt(np.mean([row[member[0] == place].var() / 200 for row in scores]) * 600 / 599) for place in range(3)],
        rel=1e-9,
    )
    found = shrunken_effects(strata.names, [absolute, relative])
    assert len(found.rows) == 6
    assert {"hazard_ratio_shrunk_higher_risk", "rmst_difference_shrunk_lower_risk_low"} <= set(found.scalars())
