"""Kaplan-Meier curves against R's survfit (survival 3.5.3)."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError, DataError
from trialml.survival.kaplan_meier import censoring_curve, kaplan_meier, product_limit, step_at

REFERENCE = Path(__file__).parents[1] / "reference"
CLOSE = {"rtol": 1e-8, "atol": 1e-10}


def case(name):
    return json.loads((REFERENCE / f"{name}.json").read_text())["outputs"]


def data(name):
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv")


def number(value):
    return {"Inf": np.inf, None: np.inf}.get(value, value)


@pytest.fixture(scope="module")
def lung():
    return data("lung").assign(event=lambda d: d["status"] == 2, sex=lambda d: "sex=" + d["sex"].astype(str))


def test_every_step_of_the_lung_curve_is_survfits(lung):
    """survfit(Surv(time, status) ~ sex, lung, conf.type = "log-log"): all 206 steps."""
    oracle = case("surv_km_curve_full")
    found = kaplan_meier(lung["time"], lung["event"], group=lung["sex"]).frame()
    np.testing.assert_allclose(found["time"], oracle["time"], **CLOSE)
    for mine, theirs in (("n_risk", "n_risk"), ("n_event", "n_event"), ("n_censor", "n_censor")):
        assert found[mine].tolist() == oracle[theirs]
    np.testing.assert_allclose(found["survival"], oracle["surv"], **CLOSE)
    for mine, theirs in (("low", "lower"), ("high", "upper")):
        limits = pd.to_numeric(pd.Series(oracle[theirs]), errors="coerce")
        np.testing.assert_allclose(found[mine], limits, **CLOSE)
    for sex in ("sex=1", "sex=2"):
        rows = found["group"] == sex
        curve = product_limit(lung["time"][lung["sex"] == sex], lung["event"][lung["sex"] == sex])
        at = np.flatnonzero(rows)
        np.testing.assert_allclose(curve.se_log, np.array(oracle["std_err_logscale"], float)[at], **CLOSE)
        np.testing.assert_allclose(curve.cumulative_hazard, np.array(oracle["cumhaz"])[at], **CLOSE)


@pytest.mark.parametrize("interval", ["plain", "log", "log-log"])
@pytest.mark.parametrize(("name", "group"), [("surv_km_lung", None), ("surv_km_lung_sex", "sex")])
def test_probabilities_quartiles_and_limits_are_survfits(lung, interval, name, group):
    """summary(survfit(..., conf.type), times) and quantile(survfit, c(.25, .5, .75)) for three kinds of limits."""
    oracle = case(name)[interval]
    found = kaplan_meier(lung["time"], lung["event"], group=None if group is None else lung[group], interval=interval)
    for i, time in enumerate(oracle["time"]):
        which = None if group is None else oracle["strata"][i]
        at = found.at(time, which)
        wanted = [oracle[key][i] for key in ("surv", "std_err_surv", "lower", "upper")]
        np.testing.assert_allclose([at.value, at.se, at.low, at.high], wanted, **CLOSE)
    quartiles = oracle["quantiles"]
    for j, p in enumerate(quartiles["probs"]):
        for k, label in enumerate(found.groups):
            got = found.quantile(p, label)
            wanted = []
            for key in ("quantile", "lower", "upper"):
                cells = quartiles[key]
                wanted.append(number(cells["rows"][k][j] if "rows" in cells else list(cells.values())[j]))
            assert [got.value, got.low, got.high] == pytest.approx(wanted)


def test_a_median_that_is_not_reached_is_infinite_and_printed_nr():
    """GBSG2 by hormonal therapy: survfit's upper limits are NA where the upper curve stays above one half."""
    gbsg2 = data("gbsg2")
    oracle = case("surv_km_gbsg2_horTh")["log-log"]["quantiles"]
    found = kaplan_meier(gbsg2["time"], gbsg2["cens"] == 1, group=gbsg2["horTh"], order=["no", "yes"])
    for k, label in enumerate(("no", "yes")):
        median = found.median(label)
        wanted = [number(oracle[key]["rows"][k][1]) for key in ("quantile", "lower", "upper")]
        assert [median.value, median.low, median.high] == pytest.approx(wanted)
    assert np.isinf(found.median("yes").high)
    assert "NR" in found.table().iloc[1]["Median, days (95% CI)"]


def test_actg175_arms_agree_with_survfit():
    """tests/reference/actg175.R: quantiles, 730-day survival with log-log limits, reverse Kaplan-Meier follow-up."""
    oracle = json.loads((REFERENCE / "actg175.json").read_text())["arms"]
    trial = pd.read_csv(str(files("lifelines") / "datasets" / "ACTG175.csv"))
    found = kaplan_meier(trial["days"], trial["cens"] == 1, group=trial["arms"], milestone=730)
    for arm, wanted in oracle.items():
        at = found.at(730, arm)
        assert (at.n, at.events) == (wanted["n"], wanted["events"])
        np.testing.assert_allclose(
            [at.value, at.se, at.low, at.high],
            [wanted[key] for key in ("survival_730", "se_730", "lower_730", "upper_730")],
            **CLOSE,
        )
        for p, value, low, high in zip(*(wanted[k] for k in ("probs", "quantile", "lower", "upper")), strict=True):
            got = found.quantile(p, arm)
            assert [got.value, got.low, got.high] == pytest.approx([number(value), number(low), number(high)])
        assert found.follow_up(arm).value == pytest.approx(number(wanted["median_follow_up"]))


def test_the_censoring_curve_takes_events_out_before_censorings_of_the_same_time():
    """By hand: at time 2 one event and one censoring among 4 at risk leave 1 - 1/3, not 1 - 1/4."""
    curve = censoring_curve([1, 2, 2, 3, 4], [True, True, False, False, True])
    np.testing.assert_allclose(curve.survival, [1, 2 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(step_at(curve.time, curve.survival, [2, 3], left=True), [1, 2 / 3])


def test_with_no_censoring_the_curve_is_the_empirical_one():
    time = np.random.default_rng(1).permutation(np.arange(1.0, 101))
    curve = product_limit(time, np.ones(100, bool))
    np.testing.assert_allclose(curve.survival, 1 - np.arange(1, 101) / 100, atol=1e-12)
    np.testing.assert_allclose(censoring_curve(time, np.ones(100, bool)).survival, 1)


def test_whole_weights_are_copies():
    rng = np.random.default_rng(2)
    time, event, copies = rng.integers(1, 20, 60).astype(float), rng.random(60) < 0.6, rng.integers(1, 4, 60)
    weighted = product_limit(time, event, copies)
    copied = product_limit(np.repeat(time, copies), np.repeat(event, copies))
    np.testing.assert_allclose(weighted.survival, copied.survival, atol=1e-14)
    finite = np.isfinite(copied.se_log)
    np.testing.assert_allclose(weighted.se_log[finite], copied.se_log[finite], rtol=1e-12)


def test_times_within_the_tolerance_are_ties():
    apart = product_limit([1.0, 1.0 + 1e-12, 2.0], [True, True, False])
    assert apart.n_event.tolist() == [2, 0]
    assert product_limit([1.0, 1.0 + 1e-6, 2.0], [True, True, False]).time.size == 3


def test_step_at_reads_values_and_left_limits():
    assert step_at([1, 2], [0.6, 0.3], [0.5, 1, 1.5, 2, 9]).tolist() == [1, 0.6, 0.6, 0.3, 0.3]
    assert step_at([1, 2], [0.6, 0.3], [1, 2, 9], left=True).tolist() == [1, 0.6, 0.3]
    assert step_at([1, 2], [0.1, 0.4], 0.5, initial=0.0) == 0


def test_reading_beyond_follow_up_is_refused_unless_the_curve_is_zero():
    censored_last = kaplan_meier([1, 2, 3], [True, True, False])
    with pytest.raises(AnalysisError, match="ends at 3 days"):
        censored_last.at(4)
    event_last = kaplan_meier([1, 2, 3], [True, False, True])
    assert event_last.at(4).value == 0


@pytest.mark.parametrize(
    ("time", "event", "message"),
    [
        ([1, np.nan], [True, False], "missing or infinite in 1 of 2"),
        ([1, 0], [True, False], "above 0"),
        ([1, -3], [True, False], "above 0"),
        ([1, 2], [True, 2], "value 2"),
        ([1, 2], [True], "one flag a patient"),
        (["a", 2], [True, False], "not numbers"),
        ([[1, 2]], [[True, False]], "one value a patient"),
    ],
)
def test_unusable_follow_up_is_refused(time, event, message):
    with pytest.raises(DataError, match=message):
        product_limit(time, event)


def test_groups_are_checked():
    with pytest.raises(DataError, match="name each of them once"):
        kaplan_meier([1, 2], [True, False], group=["a", "b"], order=["a", "c"])
    with pytest.raises(DataError, match="missing in 1 of 2"):
        kaplan_meier([1, 2], [True, False], group=["a", None])
    with pytest.raises(DataError, match="nearest name is 'a1'"):
        kaplan_meier([1, 2], [True, False], group=["a1", "b"]).at(1, "a")


def test_the_result_survives_json_and_draws_on_a_subfigure(lung):
    from matplotlib.figure import Figure

    found = kaplan_meier(lung["time"], lung["event"], group=lung["sex"], order=["sex=2", "sex=1"], milestone=365)
    again = type(found).from_dict(json.loads(json.dumps(found.to_dict())))
    pd.testing.assert_frame_equal(again.frame(), found.frame())
    assert again.text() == found.text()
    assert again.table()["Group"].tolist() == ["sex=2", "sex=1"]
    parts = Figure(figsize=(7, 5), layout="constrained").subfigures(1, 2)
    again.draw(parts[0])
    curves, at_risk = parts[0].axes
    assert curves.get_ylabel() == "Event-free probability"
    # At day 0 everybody is at risk: the first number of each row is the number of patients.
    numbers = {text.get_text() for text in at_risk.texts if text.get_position()[0] == 0}
    assert numbers == {"90", "138"}


def test_curves_are_drawn_while_a_tenth_of_the_group_is_at_risk():
    from matplotlib.figure import Figure

    found = kaplan_meier(np.arange(1.0, 101), np.ones(100, bool))
    figure = Figure()
    found.draw(figure)
    assert figure.axes[0].lines[0].get_xdata()[-1] == 91


def test_cumulative_hazards_are_nelson_and_aalens(lung):
    """survfit(Surv(time, status) ~ sex, lung, stype = 1, ctype = 1)$cumhaz at four times."""
    oracle = case("surv_nelson_aalen")["stype1_ctype1"]
    for sex, time, wanted in zip(oracle["strata"], oracle["time"], oracle["cumhaz"], strict=True):
        mine = lung["sex"] == sex
        curve = product_limit(lung["time"][mine], lung["event"][mine])
        found = step_at(curve.time, curve.cumulative_hazard, time, initial=0.0)
        np.testing.assert_allclose(found, wanted, **CLOSE)


def test_one_patient_has_a_median_without_limits_in_the_singular():
    """R: survfit(Surv(5, 1) ~ 1) has median 5 and NA for both limits; summary(times = 3) has survival 1."""
    found = kaplan_meier([5.0], [True], milestone=3)
    assert found.median().value == 5
    assert np.isnan([found.median().low, found.median().high]).all()
    assert found.table().iloc[0]["Median, days (95% CI)"] == "5.00"
    assert found.table().iloc[0]["Event-free at 3 days (95% CI)"] == "1.00"
    assert "1 event in 1, the median event-free time was 5.00 days, and 1.00 were event-free" in found.text()
    censored = kaplan_meier([5.0], [False])
    assert "no events in 1, the median event-free time was not reached" in censored.text()
    assert np.isnan(censored.follow_up().low)


def test_words_of_groups_without_events_by_the_milestone_have_no_limits():
    time, event = [3.0, 5, 6, 7, 8, 9], [0] * 6
    found = kaplan_meier(time, event, group=list("abcabc"), milestone=4)
    assert "a 100.0 %; b 100.0 %; c 100.0 %" in found.text()
