"""Restricted means against survRM2 (1.0.4) and survfit's rmean (survival 3.5.3)."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError, DataError
from trialml.survival.rmst import restricted_mean, restricted_mean_one

REFERENCE = Path(__file__).parents[1] / "reference"
ORACLE = json.loads((REFERENCE / "surv_rmst.json").read_text())["outputs"]


def data(name):
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv")


def trial(name):
    if name == "pbc":
        table = data("pbc_rct")
        return table["time"], table["death"], table["trt"], "2", "1"
    if name == "veteran":
        table = data("veteran")
        return table["time"], table["status"], table["trt"], "1", "2"
    if name == "gbsg2":
        table = data("gbsg2")
        return table["time"], table["cens"], table["horTh"], "no", "yes"
    table = data("colon_death")
    return table["time"], table["status"], table["rx"], "Obs", "Lev+5FU"


@pytest.mark.parametrize("name", ["pbc", "veteran", "gbsg2", "colon_lev5fu_vs_obs"])
def test_means_difference_and_ratio_are_survrm2s(name):
    """rmst2(time, status, arm, tau): arm means with their variance, difference and ratio with limits and p."""
    time, event, group, control, experimental = trial(name)
    wanted = ORACLE[name]
    found = restricted_mean(time, event, group, control=control, experimental=experimental, tau=wanted["tau"])
    for row, arm in zip(found.arms.itertuples(), ("arm0", "arm1"), strict=True):
        np.testing.assert_allclose([row.rmst, row.se, row.low, row.high], list(wanted[arm].values()), rtol=1e-8)
        np.testing.assert_allclose(row.se**2, wanted[f"{arm}_var"], rtol=1e-8)
    rows = wanted["contrasts"]["rows"]
    for estimate, p, row in (
        (found.difference, found.p_difference, rows[0]),
        (found.ratio, found.p_ratio, rows[1]),
    ):
        np.testing.assert_allclose([estimate.value, estimate.low, estimate.high, p], row, rtol=1e-7)


def test_survfits_restricted_mean_of_the_veteran_trial_is_matched():
    """summary(survfit(Surv(time, status) ~ trt, veteran), rmean = 365)$table."""
    table, wanted = data("veteran"), ORACLE["survfit_rmean_veteran_365"]
    place = [wanted["colnames"].index(name) for name in ("rmean", "se(rmean)")]
    for arm, row in zip((1, 2), wanted["rows"], strict=True):
        mine = table["trt"] == arm
        found = restricted_mean_one(table["time"][mine], table["status"][mine], 365)
        np.testing.assert_allclose(found, [row[i] for i in place], rtol=1e-8)


def test_actg175_arms_agree_with_survfit():
    """tests/reference/actg175.R: rmean and its error at 730 days in four arms."""
    oracle = json.loads((REFERENCE / "actg175.json").read_text())["arms"]
    table = pd.read_csv(str(files("lifelines") / "datasets" / "ACTG175.csv"))
    for arm, wanted in oracle.items():
        mine = table["arms"] == int(arm)
        found = restricted_mean_one(table["days"][mine], table["cens"][mine], 730)
        np.testing.assert_allclose(found, [wanted["rmean_730"], wanted["se_rmean_730"]], rtol=1e-8)


def test_without_censoring_it_is_the_mean_of_the_cut_times():
    time = np.random.default_rng(1).exponential(10, 500)
    value, se = restricted_mean_one(time, np.ones(500, bool), 12.0)
    cut = np.minimum(time, 12.0)
    assert value == pytest.approx(cut.mean(), rel=1e-12)
    assert se == pytest.approx(cut.std() / np.sqrt(500), rel=1e-10)


def test_a_tau_beyond_an_arms_follow_up_is_refused_with_the_largest_possible():
    time, event, group = [5, 8, 12, 4, 9, 20], [True, False, False, True, True, False], list("aaabbb")
    with pytest.raises(AnalysisError, match=r"arm 'a' ends at 12 .* largest tau possible is 12 weeks"):
        restricted_mean(time, event, group, control="a", experimental="b", tau=15, unit="weeks")
    restricted_mean(time, event, group, control="a", experimental="b", tau=12)
    event[2] = True  # the curve of arm a has reached 0 at its last time, so its area is known for ever
    event[1] = True
    assert restricted_mean(time, event, group, control="a", experimental="b", tau=15).tau == 15


def test_unknown_arms_and_odd_taus_are_refused():
    time, event, group = [5, 8, 12, 9], [True, False, True, True], list("aabb")
    with pytest.raises(DataError, match="no patient is in arm 'c'"):
        restricted_mean(time, event, group, control="a", experimental="c", tau=5)
    with pytest.raises(DataError, match="name two arms"):
        restricted_mean(time, event, group, control="a", experimental="a", tau=5)
    with pytest.raises(DataError, match="above 0"):
        restricted_mean(time, event, group, control="a", experimental="b", tau=-1)


def test_the_result_survives_json_and_counts_both_arms():
    time, event, group, control, experimental = trial("gbsg2")
    found = restricted_mean(time, event, group, control=control, experimental=experimental, tau=1826)
    again = type(found).from_dict(json.loads(json.dumps(found.to_dict())))
    pd.testing.assert_frame_equal(again.frame(), found.frame())
    assert again.text() == found.text()
    assert again.difference == found.difference
    assert found.difference.n == 686
    assert found.table().iloc[-1]["Arm"] == "yes / no"


def test_events_after_tau_do_not_count_as_information_on_the_restricted_mean():
    """R: table(gbsg2$horTh, gbsg2$cens & gbsg2$time <= tau): 205 and 94 in all, fewer by 500 days."""
    time, event, group, control, experimental = trial("gbsg2")
    call = {"control": control, "experimental": experimental}
    early, whole = (restricted_mean(time, event, group, tau=tau, **call) for tau in (500, 2015))
    counted = [int(((time <= 500) & (event == 1) & (group == arm)).sum()) for arm in (control, experimental)]
    assert list(early.arms["events"]) == counted
    assert early.difference.events == early.ratio.events == sum(counted)
    assert whole.difference.events == int(((time <= 2015) & (event == 1)).sum())
    assert list(early.table()["Events by then"]) == [*map(str, counted), *[str(sum(counted))] * 2]
    late = time.where(time <= 500, time + 100)  # what happens after tau, and when, changes nothing
    again = restricted_mean(late, np.where(time <= 500, event, 0), group, tau=500, **call)
    assert again.to_dict() == early.to_dict()


def test_an_arm_without_events_by_tau_has_a_mean_without_limits_and_adds_no_variance():
    """Arm b: events at 3 and 4 of two patients. Up to 8 its mean is 3.5, its variance (1/2)^2 / 2 = 1/8; arm a lost nothing."""
    found = restricted_mean([9, 9, 3, 4], [0, 0, 1, 1], list("aabb"), control="a", experimental="b", tau=8)
    none, some = found.arms.itertuples()
    assert (none.rmst, none.se) == (8, 0)
    assert np.isnan([none.low, none.high]).all()
    assert (some.rmst, some.se) == (3.5, pytest.approx(np.sqrt(1 / 8)))
    assert found.difference.se == some.se
    assert found.difference.method.endswith("the control arm has no variance and adds none")
