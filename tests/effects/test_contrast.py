"""The contrasts of ACTG 175 against R (tests/reference/actg175.json, survival 3.5.3), and the adjusted difference."""

import json
import math
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.effects.adjusted import AdjustedContrast, adjusted_contrast
from trialml.effects.contrast import HAZARD_RATIO, MILESTONE_DIFFERENCE, RMST_DIFFERENCE, Contrast, contrast
from trialml.errors import AnalysisError, DataError
from trialml.result import Estimate

ORACLE = json.loads((Path(__file__).parents[1] / "reference" / "actg175.json").read_text())
Z = 1.959963984540054


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(str(resources.files("lifelines") / "datasets" / "ACTG175.csv"))


def compared(table, **changes):
    asked = {
        "time": table["days"].to_numpy(float),
        "event": table["cens"].to_numpy() == 1,
        "arm": table["arms"].astype(str).to_numpy(object),
        "factor": table["strat"].astype(str).to_numpy(),
    } | changes
    return contrast(
        asked.pop("time"), asked.pop("event"), asked.pop("arm"), control="0", experimental="1", secondary=("2", "3"),
        labels={"0": "ZDV"}, horizon=730, tau=730, unit="days", **asked,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(table):
    return compared(table)


def row(found, arm, scale):
    rows = found.frame()
    return rows[(rows["arm"] == arm) & (rows["scale"] == scale)].iloc[0]


def test_trap_42_the_stratified_hazard_ratios_of_actg_175(found):
    """0.492, 0.521 and 0.588: coxph(Surv(days, cens) ~ arm + strata(strat)) on each two-arm subset."""
    shown = [round(row(found, arm, HAZARD_RATIO)["value"], 3) for arm in "123"]
    assert shown == [0.492, 0.521, 0.588]
    for arm in "123":
        wanted = ORACLE["arms_vs_0"][arm]["cox_stratified"]
        one = row(found, arm, HAZARD_RATIO)
        np.testing.assert_allclose([one["value"]], wanted["hazard_ratio"], rtol=1e-7)
        np.testing.assert_allclose([one["low"], one["high"]], wanted["ci"][0], rtol=1e-7)
        assert (one["n"], one["events"]) == (wanted["n"], wanted["events"])


def test_trap_41_differences_of_restricted_means_and_their_errors_are_rs(found):
    """print(survfit(...), rmean = 730) by arm; the variances of the arms add up."""
    control = ORACLE["arms"]["0"]
    for arm in "123":
        other, one = ORACLE["arms"][arm], row(found, arm, RMST_DIFFERENCE)
        half = Z * math.hypot(other["se_rmean_730"], control["se_rmean_730"])
        value = other["rmean_730"] - control["rmean_730"]
        np.testing.assert_allclose(
            [one["value"], one["low"], one["high"]], [value, value - half, value + half], rtol=1e-8
        )
        assert one["unit"] == "days"


def test_differences_at_the_milestone_and_their_errors_are_rs(found):
    control = ORACLE["arms"]["0"]
    for arm in "123":
        other, one = ORACLE["arms"][arm], row(found, arm, MILESTONE_DIFFERENCE)
        half = Z * math.hypot(other["se_730"], control["se_730"])
        value = other["survival_730"] - control["survival_730"]
        np.testing.assert_allclose(
            [one["value"], one["low"], one["high"]], 100 * np.array([value, value - half, value + half]), rtol=1e-8
        )


def test_trap_39_and_72_scale_direction_strata_and_multiplicity_are_said(found):
    text = found.text()
    assert "stratified by the 3 cells of the randomisation" in text
    assert "experimental less control" in text
    assert "not adjusted for multiplicity" in text
    assert found.estimate(HAZARD_RATIO).scale == "hazard ratio, conditional on the stratification factors"
    assert "marginal" in found.estimate(RMST_DIFFERENCE).scale
    assert "hazard ratio, conditional on the stratification factors, 0.492" in text
    assert "the marginal difference in restricted mean" in text
    heads = " ".join(found.table().columns)
    assert "Hazard ratio, conditional (95% CI)" in heads
    assert "RMST difference, marginal, days" in heads
    assert "Event-free difference, marginal" in heads


def test_restricted_means_and_milestones_count_the_events_they_rest_on(table, found):
    """sum(cens & days <= 730) of the two arms; the hazard ratio rests on all events."""
    two = table[table["arms"].isin([0, 1])]
    by_then = int(((two["cens"] == 1) & (two["days"] <= 730)).sum())
    assert row(found, "1", RMST_DIFFERENCE)["events"] == row(found, "1", MILESTONE_DIFFERENCE)["events"] == by_then
    assert row(found, "1", HAZARD_RATIO)["events"] == two["cens"].sum() > by_then


def test_a_trial_without_stratification_is_not_called_stratified(table):
    found = compared(table, factor=np.full(len(table), "all"))
    assert "stratified" not in found.text()
    assert "conditional" not in found.text() + " ".join([*found.table().columns, *found.frame()["scale"]])
    assert found.estimate(HAZARD_RATIO).scale == "hazard ratio, marginal, unadjusted"
    assert "Hazard ratio, unadjusted (95% CI)" in found.table().columns
    wanted = ORACLE["arms_vs_0"]["1"]["cox_unstratified"]["hazard_ratio"]
    np.testing.assert_allclose(found.estimate(HAZARD_RATIO).value, wanted, rtol=1e-7)


def test_a_secondary_contrast_that_cannot_be_estimated_is_a_row_of_words(table):
    time = np.where(table["arms"] == 3, np.minimum(table["days"], 400), table["days"]).astype(float)
    found = compared(table, time=time)
    assert np.isnan(row(found, "3", RMST_DIFFERENCE)["value"])
    assert "730" in row(found, "3", RMST_DIFFERENCE)["note"]
    assert "3 against ZDV" in found.text()
    shown = found.table()
    assert not shown.isna().any().any()
    assert (shown.iloc[2] == "not estimable").sum() == 3
    assert np.isfinite(row(found, "2", RMST_DIFFERENCE)["value"])


def test_arrays_that_do_not_fit_are_refused_in_a_sentence(table):
    with pytest.raises(DataError, match="event has shape"):
        compared(table, event=(table["cens"] == 1).to_numpy()[:-1])
    with pytest.raises(DataError, match=r"arm has shape \(3,\)"):
        compared(table, arm=np.array(["0", "1", "1"], dtype=object))
    with pytest.raises(DataError, match="factor has shape"):
        compared(table, factor=table["strat"].astype(str).to_numpy()[:-1])
    with pytest.raises(DataError, match="event holds values that are not numbers"):
        compared(table, event=pd.array([None, *[True] * (len(table) - 1)], dtype="boolean"))


def test_a_primary_contrast_that_cannot_be_estimated_is_refused(table):
    time = np.where(table["arms"] == 1, np.minimum(table["days"], 400), table["days"]).astype(float)
    with pytest.raises(AnalysisError):
        compared(table, time=time)


def test_contrasts_survive_a_round_trip(found):
    again = Contrast.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert again.text() == found.text()


def test_the_adjusted_difference_has_the_mean_of_all_scores_and_the_error_of_one_repeat():
    scores = np.random.default_rng(1).normal(50, 280, (4, 500))
    unadjusted = Estimate(48.0, 24.0, 72.0, unit="days", scale=RMST_DIFFERENCE, se=13.0)
    found = adjusted_contrast(scores, unadjusted=unadjusted, events=140, tau=730)
    # Root mean square over repeats of one repeat's error, 498 degrees of freedom; t(.975, 498) from R: qt(.975, 498).
    se = math.sqrt(np.mean([((one - one.mean()) ** 2).sum() / 498 / 500 for one in scores]))
    estimate, t = found.adjusted, 1.9647389829672885
    value = scores.mean()
    np.testing.assert_allclose(
        [estimate.value, estimate.se, estimate.low, estimate.high],
        [value, se, value - t * se, value + t * se],
        rtol=1e-12,
    )
    assert estimate.kind == "crossfit"
    assert found.precision_gain == pytest.approx((13.0 / se) ** 2)
    assert "marginal difference in restricted mean event-free time over 730 days" in found.text()
    again = AdjustedContrast.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert "supporting analysis" in found.methods
